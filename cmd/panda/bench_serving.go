package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/internal/bench"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/schemas"
)

const (
	// benchBatch is the events of a batch where throughput counts, benchPacedBatch
	// where latency does, at benchPace batches a second.
	benchBatch      = 500
	benchPacedBatch = 100
	benchPace       = 100
	// benchPacedWorkers is enough that a batch which is due never waits for a
	// connection.
	benchPacedWorkers = 32
)

// serving measures everything on one pipeline that takes events in: the paced
// rows on an almost empty table first, then the throughput.
func (b *benchRun) serving(ctx context.Context) (err error) {
	p, err := b.start(ctx, "serving", 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	var version string
	if err := p.db.QueryRow(ctx, "SELECT version()").Scan(&version); err != nil {
		return fmt.Errorf("ask the engine's version: %w", err)
	}
	b.report.Fact("clickhouse", "%s (libchdb %s), in a child process", version, engine.Version)
	c := benchClient(p.URL(), p.AdminKey())
	tenants, err := benchTenants(ctx, c, b.sizes.tenants)
	if err != nil {
		return err
	}
	l := bench.Load{URL: p.URL(), Key: p.AdminKey(), Tenants: tenants}
	if b.wants(rowAck) {
		if err := b.ack(ctx, p, l); err != nil {
			return err
		}
	}
	if b.wants(rowVisible, rowDecision, rowFresh) {
		if err := b.reading(ctx, p, c, l); err != nil {
			return err
		}
	}
	if b.wants(rowFair) {
		if err := b.fair(ctx, p, c, rowFair); err != nil {
			return err
		}
	}
	if b.wants(rowThroughput, rowShare, rowPeer) {
		return b.throughput(ctx, p, l)
	}
	return nil
}

func benchClient(address, key string) *apiClient {
	const connections = 32
	return &apiClient{base: address, key: key, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}}
}

// benchTenants registers tenants and returns their ids.
func benchTenants(ctx context.Context, c *apiClient, n int) ([]string, error) {
	ids := make([]string, n)
	const atOnce = 16
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range ids {
		group.Go(func() error {
			name := "bench-" + strconv.Itoa(i)
			r, err := post("/v1/tenants", nil, map[string]any{"name": name, "slug": name, "plan": "pro",
				"quotas": map[string]any{"max_monthly_tokens": int64(1e15), "max_api_calls_per_minute": "unlimited"}})
			if err != nil {
				return err
			}
			made, _, err := call[struct {
				ID string `json:"id"`
			}](running, c, r)
			ids[i] = made.ID
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("register tenants: %w", err)
	}
	return ids, nil
}

// paced makes a load evenly spaced.
func (b *benchRun) paced(l bench.Load) bench.Load {
	l.Events, l.Workers, l.Rate, l.For = benchPacedBatch, benchPacedWorkers, benchPace, b.sizes.paced
	return l
}

// ack measures how long an acknowledgement takes at an even pace, and the log's
// own append of the same bytes at the same pace.
func (b *benchRun) ack(ctx context.Context, p *pipeline, l bench.Load) error {
	b.progress("ack: %d batches/s of %d events for %s", benchPace, benchPacedBatch, b.sizes.paced)
	wait, err := b.load(ctx, b.paced(l))
	if err != nil {
		return err
	}
	loaded, err := wait()
	if err != nil {
		return err
	}
	if err := p.shards[0].live.WaitFor(ctx, loaded.LastSeq); err != nil {
		return err
	}
	record, err := p.log.Get(ctx, schemas.StreamUsage, loaded.LastSeq)
	if err != nil {
		return fmt.Errorf("read an envelope: %w", err)
	}
	bare, err := b.bareAppends(ctx, p, record)
	if err != nil {
		return err
	}
	limit := fmt.Sprintf("append of the same %d bytes to a log", len(record.Data))
	b.report.Add(bench.Row{Name: rowAck, Measure: "ack p50 at 100 batches/s", Unit: bench.UnitDuration,
		Must: float64(5 * time.Millisecond), Aim: float64(2 * time.Millisecond),
		Got: float64(loaded.Acks.P50()), Limit: float64(bare.P50()), LimitOf: limit})
	b.report.Add(bench.Row{Name: rowAck, Measure: "ack p99 at 100 batches/s", Unit: bench.UnitDuration,
		Must: float64(25 * time.Millisecond), Aim: float64(10 * time.Millisecond),
		Got: float64(loaded.Acks.P99()), Limit: float64(bare.P99()), LimitOf: limit})
	b.report.Note(rowAck, "longest of all", "%s of %s batches", bench.Format(bench.UnitDuration, float64(loaded.Acks.Quantile(1000))), grouped(loaded.Requests))
	return nil
}

// bareAppends appends a record's bytes to a log of its own, in this process and
// on this disk, at the pace of the load.
func (b *benchRun) bareAppends(ctx context.Context, p *pipeline, record eventlog.Record) (_ bench.Samples, err error) {
	log, err := eventlog.Open(ctx, eventlog.Config{DataDir: filepath.Join(b.dir, "bare"), Replicas: 1, UsageMaxBytes: p.cfg.LogBytes, Logger: p.logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	pace := time.NewTicker(time.Second / benchPace)
	defer pace.Stop()
	var samples bench.Samples
	for range b.sizes.paced / 2 * benchPace / time.Second {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-pace.C:
		}
		began := time.Now()
		if _, err := log.Append(ctx, eventlog.Message{Subject: record.Subject, Data: record.Data}); err != nil {
			return nil, err
		}
		samples = append(samples, time.Since(began))
	}
	return samples, nil
}

// reading measures what readers see while events come in at an even pace.
func (b *benchRun) reading(ctx context.Context, p *pipeline, c *apiClient, l bench.Load) error {
	b.progress("visible, decision, fresh: questions while %d batches/s come in", benchPace)
	load := b.paced(l)
	load.Tenants = l.Tenants[1:] // the first one is asked about
	load.For = 4 * b.sizes.paced // ended when the questions are
	loading, stop := context.WithCancel(ctx)
	defer stop()
	wait, err := b.load(loading, load)
	if err != nil {
		return err
	}
	var rows []bench.Row
	if b.wants(rowVisible) {
		row, err := b.visible(ctx, c, l.Tenants[0])
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	if b.wants(rowFresh) {
		row, err := b.fresh(ctx, c, l.Tenants[0])
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	if b.wants(rowDecision) {
		more, err := b.decisions(ctx, p, c, l.Tenants[0])
		if err != nil {
			return err
		}
		rows = append(rows, more...)
	}
	stop()
	_, _ = wait() // it was stopped; what it sent is not measured here
	for i := range rows {
		if r := &rows[i]; r.Name == rowVisible || r.Name == rowFresh {
			if r.Limit, err = b.writeAlone(ctx, p, benchPacedBatch); err != nil {
				return err
			}
			r.LimitOf = fmt.Sprintf("rows, keys and ledger row of %d events alone, p99", benchPacedBatch)
		}
		b.report.Add(rows[i])
	}
	return nil
}

// visible measures from an acknowledgement to the first answer of GET /v1/usage
// that counts the event.
func (b *benchRun) visible(ctx context.Context, c *apiClient, tenant string) (bench.Row, error) {
	samples, err := b.seen(ctx, c, tenant, get("/v1/usage", params("tenant", tenant, "month", currentMonth().String())), b.sizes.paced)
	if err != nil {
		return bench.Row{}, err
	}
	b.report.Note(rowVisible, "p50", "%s of %d events", bench.Format(bench.UnitDuration, float64(samples.P50())), len(samples))
	return bench.Row{Name: rowVisible, Measure: "ack → counted by GET /v1/usage, asked every 2 ms, p99", Unit: bench.UnitDuration,
		Must: float64(time.Second), Aim: float64(200 * time.Millisecond), Got: float64(samples.P99())}, nil
}

// seen sends single events and returns how long it took from each acknowledgement
// until the answer to a question is as of it.
func (b *benchRun) seen(ctx context.Context, c *apiClient, tenant string, question request, during time.Duration) (bench.Samples, error) {
	event := bench.NewBody(b.flags.seed^1<<40, 1, time.Now())
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	var samples bench.Samples
	for began := time.Now(); time.Since(began) < during; {
		event.Renew(time.Now())
		ack, _, err := call[struct {
			Seq uint64 `json:"seq"`
		}](ctx, c, request{method: http.MethodPost, path: "/v1/events", query: params("tenant", tenant),
			body: event.Text, media: "application/cloudevents-batch+json"})
		if err != nil {
			return nil, fmt.Errorf("send an event: %w", err)
		}
		acked := time.Now()
		for seen := uint64(0); seen < ack.Seq; {
			answer, _, err := call[struct {
				AsOf struct {
					Seq uint64 `json:"seq"`
				} `json:"as_of"`
			}](ctx, c, question)
			if err != nil {
				return nil, fmt.Errorf("ask %s: %w", question.path, err)
			}
			seen = answer.AsOf.Seq
			<-poll.C
		}
		samples = append(samples, time.Since(acked))
	}
	return samples, nil
}

// decisions measures may-this-call-run, in the process and over HTTP.
func (b *benchRun) decisions(ctx context.Context, p *pipeline, c *apiClient, tenant string) ([]bench.Row, error) {
	limits := aggregate.NoLimits()
	limits.MonthlyTokens, limits.CallsPerMinute = 1e15, 1e6
	limits.MonthlyBudget = aggregate.Budget{Max: schemas.Mul(schemas.PicoPerUSD, 1e6), Set: true}
	limits.Budgets[aggregate.OfDepartment] = limits.MonthlyBudget
	window, asked := currentMonth(), aggregate.Request{Department: "support"}
	inside, err := bench.Times(b.sizes.decisions, func() error {
		d, _, err := p.shards[0].live.Decide(tenant, window, &limits, 1, &asked)
		if err == nil && d.Verdict != aggregate.Allow {
			err = fmt.Errorf("decision %q", d.Verdict)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	clock, err := bench.Times(b.sizes.decisions, func() error { return nil })
	if err != nil {
		return nil, err
	}
	ask := func(path string, query ...string) (bench.Samples, error) {
		return bench.Times(b.sizes.questions, func() error {
			_, err := c.raw(ctx, request{method: http.MethodGet, path: path, query: params(query...)})
			return err
		})
	}
	outside, err := ask("/v1/entitlements", "tenant", tenant)
	if err != nil {
		return nil, fmt.Errorf("ask for a decision: %w", err)
	}
	bare, err := ask("/livez")
	if err != nil {
		return nil, fmt.Errorf("ask for nothing: %w", err)
	}
	b.report.Note(rowDecision, "p50 in the process", "%s", inside.P50())
	b.report.Note(rowDecision, "p50 over HTTP", "%s", bench.Format(bench.UnitDuration, float64(outside.P50())))
	return []bench.Row{
		{Name: rowDecision, Measure: "decision p99, in the process", Unit: bench.UnitDuration, Must: float64(50 * time.Microsecond),
			Aim: float64(5 * time.Microsecond), Got: float64(inside.P99()), Limit: float64(max(clock.P99(), 1)), LimitOf: "two looks at the clock"},
		{Name: rowDecision, Measure: "decision p99, GET /v1/entitlements", Unit: bench.UnitDuration, Must: float64(5 * time.Millisecond),
			Aim: float64(time.Millisecond), Got: float64(outside.P99()), Limit: float64(bare.P99()), LimitOf: "GET /livez"},
	}, nil
}

// profiled runs f under the profile that was asked for, if any.
func (b *benchRun) profiled(f func() error) (err error) {
	if b.flags.cpuProfile == "" {
		return f()
	}
	file, err := os.Create(b.flags.cpuProfile)
	if err != nil {
		return fmt.Errorf("make profile: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return fmt.Errorf("start profile: %w", err)
	}
	defer pprof.StopCPUProfile()
	return f()
}
