package demo

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// Progress shows how far a load is.
type Progress struct {
	W io.Writer
	// Terminal says that W can redraw a line; else there is a line now and then.
	Terminal bool
	Total    int64
	// Sent returns how many events are acknowledged.
	Sent func() int64
}

const (
	redrawEvery = 100 * time.Millisecond
	lineEvery   = 3 * time.Second
)

// Run draws until ctx ends, and then the last state.
func (p *Progress) Run(ctx context.Context) {
	every := lineEvery
	if p.Terminal {
		every = redrawEvery
	}
	began := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.draw(time.Since(began))
			if p.Terminal {
				_, _ = fmt.Fprintln(p.W)
			}
			return
		case <-tick.C:
			p.draw(time.Since(began))
		}
	}
}

// draw writes the current state. A progress that cannot be written stops nothing.
func (p *Progress) draw(took time.Duration) {
	line := progressLine(p.Sent(), p.Total, took)
	if p.Terminal {
		_, _ = fmt.Fprint(p.W, "\r"+line+"\x1b[K")
		return
	}
	_, _ = fmt.Fprintln(p.W, line)
}

// progressLine is a bar, the share, the rate and the time that is left.
func progressLine(sent, total int64, took time.Duration) string {
	const cells = 24
	filled := int(min(sent, total) * cells / total)
	bar := strings.Repeat("█", filled) + strings.Repeat("░", cells-filled)
	line := fmt.Sprintf("%s %3d%%  %s of %s events", bar, sent*100/total, grouped(sent), grouped(total))
	if millis := took.Milliseconds(); millis > 0 && sent > 0 {
		rate := sent * 1000 / millis
		line += "  " + grouped(rate) + "/s"
		if left := total - sent; left > 0 && rate > 0 {
			line += fmt.Sprintf("  %d s left", (left+rate-1)/rate)
		}
	}
	return line
}

func grouped(n int64) string { return schemas.GroupDigits(strconv.FormatInt(n, 10)) }
