package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/bench"
)

// A served pipeline is `panda serve` as a process of its own.
type served struct {
	cmd    *exec.Cmd
	log    bytes.Buffer
	exited chan struct{} // closed when it has ended
	began  time.Time
}

// serve starts `panda serve` on a directory and an address.
func (b *benchRun) serve(data, address string) (*served, error) {
	s := &served{exited: make(chan struct{})}
	s.cmd = exec.Command(b.self, "serve", "--data", data, "--listen", address, "--log-level", "warn")
	s.cmd.Stderr = &s.log
	s.began = time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start panda serve: %w", err)
	}
	go func() {
		_ = s.cmd.Wait() // it is killed; what it wrote says more
		close(s.exited)
	}()
	return s, nil
}

// kill ends the process as a power cut would, and its engine with it.
func (s *served) kill() error {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill panda serve: %w", err)
	}
	<-s.exited
	return nil
}

// until asks again and again until the answer is yes, and returns how long that
// took since the process was started.
func (s *served) until(ctx context.Context, what string, ask func() bool) (time.Duration, error) {
	const (
		every = 2 * time.Millisecond
		most  = 10 * time.Minute
	)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ask() {
			return time.Since(s.began), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-s.exited:
			return 0, fmt.Errorf("panda serve ended before %s: %s", what, strings.TrimSpace(s.log.String()))
		case <-tick.C:
		}
		if time.Since(s.began) > most {
			return 0, fmt.Errorf("panda serve: no %s after %s", what, most)
		}
	}
}

// freeAddress is one that nobody listens on now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// process measures what can only be seen from outside: memory under load with
// many tenants, and the way back after a kill.
func (b *benchRun) process(ctx context.Context) (err error) {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	data := filepath.Join(b.dir, "process")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	s, err := b.serve(data, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.kill()) }()
	c := benchClient("http://"+address, "")
	answers := func(path string) func() bool {
		return func() bool {
			_, err := c.raw(ctx, request{method: http.MethodGet, path: path})
			return err == nil
		}
	}
	empty, err := s.until(ctx, "readiness", answers("/readyz"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(data, "admin.key"))
	if err != nil {
		return fmt.Errorf("read the key of the platform: %w", err)
	}
	c.key = strings.TrimSpace(string(key))
	b.progress("rss, restart: register %s tenants", grouped(int64(b.sizes.tenantsMany)))
	tenants, err := benchTenants(ctx, c, b.sizes.tenantsMany)
	if err != nil {
		return err
	}
	loaded, err := b.memory(ctx, s, bench.Load{URL: "http://" + address, Key: c.key, Tenants: tenants})
	if err != nil || !b.wants(rowRestart) {
		return err
	}
	b.report.Note(rowRestart, "start to ready, empty", "%s", bench.Format(bench.UnitDuration, float64(empty)))
	if err := s.kill(); err != nil {
		return err
	}
	c.http.CloseIdleConnections()
	b.progress("restart: after kill -9 with %s events", grouped(loaded.Accepted))
	if s, err = b.serve(data, address); err != nil {
		return err
	}
	return b.restart(ctx, s, c, tenants[0], &loaded)
}

// memory loads the process and reads the peak of its resident memory.
func (b *benchRun) memory(ctx context.Context, s *served, l bench.Load) (bench.Loaded, error) {
	b.progress("rss, restart: load %s events", grouped(b.sizes.restartRows))
	idle, _, err := bench.Memory(s.cmd.Process.Pid)
	if err != nil {
		return bench.Loaded{}, err
	}
	l.Events, l.Workers, l.For, l.Total = benchBatch, b.sizes.workers, time.Hour, b.sizes.restartRows
	wait, err := b.load(ctx, l)
	if err != nil {
		return bench.Loaded{}, err
	}
	loaded, err := wait()
	if err != nil {
		return loaded, fmt.Errorf("%w; panda serve said: %s", err, strings.TrimSpace(s.log.String()))
	}
	_, peak, err := bench.Memory(s.cmd.Process.Pid)
	if err != nil {
		return loaded, err
	}
	_, enginePeak, err := bench.Memory(bench.ChildOf(s.cmd.Process.Pid))
	if err != nil {
		return loaded, err
	}
	b.report.Note(rowRSS, "load", "%s events in %s", grouped(loaded.Accepted), bench.Format(bench.UnitDuration, float64(loaded.Took)))
	b.report.Note(rowRSS, "engine's own peak", "%s", bench.Format(bench.UnitBytes, float64(enginePeak)))
	if b.wants(rowRSS) {
		b.report.Add(bench.Row{Name: rowRSS, Measure: fmt.Sprintf("peak RSS of log + gateway + writer + fold at %s tenants under that load",
			grouped(int64(len(l.Tenants)))), Unit: bench.UnitBytes, Must: 1e9, Aim: 500e6, Got: float64(peak), Limit: float64(idle),
			LimitOf: "the same process before the load"})
	}
	return loaded, nil
}

// restart measures the way back, and that nothing is lost or counted twice on it.
func (b *benchRun) restart(ctx context.Context, s *served, c *apiClient, tenant string, loaded *bench.Loaded) (err error) {
	defer func() { err = errors.Join(err, s.kill()) }()
	event := bench.NewBody(b.flags.seed^1<<41, 1, time.Now())
	firstAck, err := s.until(ctx, "acknowledgement", func() bool {
		_, err := c.raw(ctx, request{method: http.MethodPost, path: "/v1/events", query: params("tenant", tenant),
			body: event.Text, media: "application/cloudevents-batch+json"})
		return err == nil
	})
	if err != nil {
		return err
	}
	ready, err := s.until(ctx, "readiness", func() bool {
		_, err := c.raw(ctx, request{method: http.MethodGet, path: "/readyz"})
		return err == nil
	})
	if err != nil {
		return err
	}
	var sum summary
	counted, err := s.until(ctx, "the last event counted", func() bool {
		answer, _, err := call[summary](ctx, c, get("/v1/summary", nil))
		sum = answer
		return err == nil && sum.Position.Ledger > 0 && sum.Position.Ledger >= sum.Position.Log
	})
	if err != nil {
		return err
	}
	if want := loaded.Accepted + 1; sum.Accepted != want || sum.Duplicates != 0 {
		return fmt.Errorf("%w: %d events were acknowledged, %d are counted and %d as duplicates", errFoundWrong, want, sum.Accepted, sum.Duplicates)
	}
	verified, err := b.verified(ctx, c)
	if err != nil {
		return err
	}
	show := func(d time.Duration) string { return bench.Format(bench.UnitDuration, float64(d)) }
	b.report.Note(rowRestart, "to ready", "%s", show(ready))
	b.report.Note(rowRestart, "until all is counted", "%s: %s acknowledged, as many counted", show(counted), grouped(sum.Accepted))
	b.report.Note(rowRestart, "verify after that", "%s", verified)
	b.report.Add(bench.Row{Name: rowRestart, Measure: "kill -9 to first ack, " + grouped(loaded.Accepted) + " events", Unit: bench.UnitDuration,
		Must: float64(5 * time.Second), Aim: float64(2 * time.Second), Got: float64(firstAck)})
	return nil
}

// verified runs verify and returns what it says; a check that does not hold is
// an error.
func (b *benchRun) verified(ctx context.Context, c *apiClient) (string, error) {
	body, err := c.raw(ctx, request{method: http.MethodPost, path: "/v1/verify", header: http.Header{"Accept": {"application/x-ndjson"}}})
	if err != nil {
		return "", fmt.Errorf("verify: %w", err)
	}
	var out bytes.Buffer
	quiet := *b.app
	quiet.stdout, quiet.output, quiet.noColor = &out, outputTable, true
	if err := quiet.drawVerify(bytes.NewReader(body)); err != nil {
		return "", fmt.Errorf("%w: %s", err, out.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[len(lines)-1], nil
}
