package main

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
)

// countingReader counts the bytes that were read from a file, as packed.
type countingReader struct {
	r io.Reader
	n atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

const (
	// barEvery is how often the bar moves on a terminal.
	barEvery = 100 * time.Millisecond
	// linesEvery is how often a line is written where there is no terminal.
	linesEvery = 10 * time.Second
)

// startProgress shows on standard error how far an import is: a bar on a
// terminal, else a line now and then. The function it returns ends that and
// waits until nothing more is written.
func (a *app) startProgress(name string, size int64, read *countingReader, run *importRun) (stop func()) {
	every, show, end := linesEvery, a.progressLine(name, size, read, run), func() {}
	if isTerminal(a.stderr) {
		bar := progressbar.NewOptions64(size,
			progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription(name),
			progressbar.OptionShowBytes(true), progressbar.OptionShowTotalBytes(size >= 0),
			progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(30),
			progressbar.OptionUseANSICodes(true), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetTheme(a.barTheme()))
		every = barEvery
		// A terminal that cannot be written to is no reason to stop.
		show, end = func() { _ = bar.Set64(min(read.n.Load(), barLimit(size))) }, func() { _ = bar.Clear() }
	}
	return ticking(every, show, end)
}

// ticking calls show now and then, until the function it returns is called, which waits
// until nothing more is written.
func ticking(every time.Duration, show, end func()) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				end()
				return
			case <-tick.C:
				show()
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// barLimit keeps the bar from finishing, which it does by itself at its end: the
// last batches are under way after the last byte was read.
func barLimit(size int64) int64 {
	if size < 1 {
		return 1 << 62
	}
	return size - 1
}

func (a *app) barTheme() progressbar.Theme {
	return progressbar.Theme{
		Saucer: a.sign("█", "#"), SaucerHead: a.sign("█", "#"), SaucerPadding: a.sign("░", "."), BarStart: "", BarEnd: "",
	}
}

// progressLine writes a line such as "trace.csv: 120,000 rows, 45% in 20s".
func (a *app) progressLine(name string, size int64, read *countingReader, run *importRun) func() {
	start := time.Now()
	return func() {
		share := ""
		if size > 0 {
			share = fmt.Sprintf(", %d%%", read.n.Load()*100/size)
		}
		a.say("%s: %s rows%s in %s\n", name, grouped(run.rowsRead.Load()), share, time.Since(start).Round(time.Second))
	}
}
