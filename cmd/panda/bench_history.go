package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/bench"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

func param(name string, value any) warehouse.Param { return warehouse.Param{Name: name, Value: value} }

// disk measures what an event takes on disk, from events that are all different.
func (b *benchRun) disk(ctx context.Context) (err error) {
	b.progress("disk: %s events", grouped(b.sizes.diskRows))
	p, err := b.start(ctx, "disk", 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	tenants, err := benchTenants(ctx, benchClient(p.URL(), p.AdminKey()), b.sizes.tenants)
	if err != nil {
		return err
	}
	wait, err := b.load(ctx, bench.Load{URL: p.URL(), Key: p.AdminKey(), Tenants: tenants, Events: benchBatch,
		Workers: b.sizes.workers, For: time.Hour, Total: b.sizes.diskRows, Fresh: true})
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
	raw, keys, columns, err := bench.Sizes(ctx, p.db)
	if err != nil {
		return err
	}
	space, err := p.log.Space(ctx)
	if err != nil {
		return err
	}
	n := float64(loaded.Accepted)
	b.report.Columns = columns
	b.report.Note(rowDisk, "usage_raw, usage_keys", "%.1f B, %.1f B of %s events", raw, keys, grouped(loaded.Accepted))
	b.report.Note(rowDisk, "as JSON", "%.0f B per event", float64(loaded.Bytes)/n)
	b.report.Add(bench.Row{Name: rowDisk, Measure: "disk per event in raw + keys, after merges", Unit: bench.UnitPerEvent,
		Must: 80, Aim: 50, Got: raw + keys, Limit: float64(space.UsageBytes) / n, LimitOf: "the same event on the log"})
	return nil
}

// hourRuns is how often one hour is recomputed at each size; the median counts.
const hourRuns = 9

// A history is a data directory with a month of usage that the engine made.
type history struct {
	tenants  []string
	month    schemas.Window
	next     uint64 // place in the log that the next filled row takes
	revision uint32
}

// history measures questions about a month that is over, and rollups over a
// table that grows. The month is made by the engine: 20 million events take
// seconds that way.
func (b *benchRun) history(ctx context.Context) error {
	h, err := b.prepareHistory(ctx)
	if err != nil {
		return err
	}
	if err := b.fillHistory(ctx, h); err != nil {
		return err
	}
	if !b.wants(rowMonth) {
		return nil
	}
	return b.month(ctx, h)
}

// prepareHistory registers the tenants and puts as many records on the log as
// the filled rows will stand for: a ledger that is ahead of its log is refused.
func (b *benchRun) prepareHistory(ctx context.Context) (_ *history, err error) {
	p, err := b.start(ctx, "history", 1)
	if err != nil {
		return nil, err
	}
	now := schemas.WindowOf(schemas.GrainMonth, time.Now()).Start
	// Two months back: neither live totals nor a rebuild of them hold it.
	h := &history{month: schemas.WindowOf(schemas.GrainMonth, now.AddDate(0, -2, 0))}
	last := uint64(0)
	err = func() error {
		if h.tenants, err = benchTenants(ctx, benchClient(p.URL(), p.AdminKey()), b.sizes.monthTenants); err != nil {
			return err
		}
		if last, err = lastRecord(ctx, p); err != nil {
			return err
		}
		if err := p.shards[0].live.WaitFor(ctx, last); err != nil {
			return err
		}
		book, err := p.prices.Current(ctx)
		if err != nil {
			return err
		}
		h.next, h.revision = last+1, book.Number()
		return nil
	}()
	if err := errors.Join(err, p.Close()); err != nil {
		return nil, err
	}
	log, err := eventlog.Open(ctx, eventlog.Config{DataDir: filepath.Join(p.cfg.Data, "log"), Replicas: 1, UsageMaxBytes: p.cfg.LogBytes, Logger: p.logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	first, rest := b.split()
	for range bench.Records(first) + bench.Records(rest) + 2*hourRuns {
		if _, err := log.Append(ctx, eventlog.Message{Subject: schemas.DirectSubject(h.tenants[0]), Data: []byte("{}")}); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// split returns the rows before the table grows and those that make it ten times
// as large.
func (b *benchRun) split() (first, rest int) {
	const growth = 10
	return b.sizes.monthRows / growth, b.sizes.monthRows - b.sizes.monthRows/growth
}

// fillHistory fills the table for a tenth of the tenants, recomputes one hour,
// fills the rest, and recomputes the same hour.
func (b *benchRun) fillHistory(ctx context.Context, h *history) (err error) {
	cfg := b.config("history")
	db, err := warehouse.Open(ctx, warehouse.Config{Logger: cfg.logger(b.stderr), Engine: warehouse.EngineConfig{
		Command: cfg.engineCommand(b.self), LibPath: b.getenv("PANDA_ENGINE_LIB"),
		DataDir: filepath.Join(cfg.Data, "warehouse"), MemoryLimitBytes: cfg.EngineMemory}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	worker := rollup.New(rollup.Config{Log: cfg.logger(b.stderr)}, rollup.NewTables(db, nil))
	first, rest := b.split()
	few := len(h.tenants) / 10
	var hour [2]bench.Samples
	for i, part := range []struct {
		tenants []string
		rows    int
	}{{h.tenants[:few], first}, {h.tenants[few:], rest}} {
		if err := b.fill(ctx, db, h, worker, part.tenants, part.rows); err != nil {
			return err
		}
		if hour[i], err = b.recompute(ctx, db, h, worker); err != nil {
			return err
		}
	}
	if b.wants(rowHour) {
		b.report.Note(rowHour, "one hour, its day and its month", "%s with %s events in the table, %s with %s",
			bench.Format(bench.UnitDuration, float64(hour[0].P50())), grouped(int64(first)),
			bench.Format(bench.UnitDuration, float64(hour[1].P50())), grouped(int64(first+rest)))
		b.report.Add(bench.Row{Name: rowHour, Measure: "hour window recompute when the table grows 10×", Unit: bench.UnitTimes,
			Must: 1.5, Aim: 1.1, Got: float64(hour[1].P50()) / float64(hour[0].P50())})
	}
	return nil
}

func (b *benchRun) fill(ctx context.Context, db *warehouse.DB, h *history, worker *rollup.Worker, tenants []string, rows int) error {
	b.progress("month, hour: fill the table with %s events", grouped(int64(rows)))
	fill := bench.Fill{Tenants: tenants, Month: h.month, Rows: rows, From: h.next, PriceRevision: h.revision}
	began := time.Now()
	if err := fill.Run(ctx, db); err != nil {
		return err
	}
	h.next += bench.Records(rows)
	filled := time.Since(began)
	b.progress("month, hour: roll up %s events", grouped(int64(rows)))
	windows, took, err := bench.Roll(ctx, worker)
	if err != nil {
		return err
	}
	b.report.Note(rowHour, fmt.Sprintf("%s events", grouped(int64(rows))), "filled by the engine in %s, %s windows rolled up in %s",
		bench.Format(bench.UnitDuration, float64(filled)), grouped(int64(windows)), bench.Format(bench.UnitDuration, float64(took)))
	_, err = bench.Settle(ctx, db, b.sizes.settle)
	return err
}

// recompute times the pass that one late event in the middle of the month makes
// due.
func (b *benchRun) recompute(ctx context.Context, db *warehouse.DB, h *history, worker *rollup.Worker) (bench.Samples, error) {
	hour := h.month.Start.AddDate(0, 0, 14).Add(10 * time.Hour)
	var samples bench.Samples
	for range hourRuns {
		if err := bench.Touch(ctx, db, h.tenants[0], hour, h.next, h.revision); err != nil {
			return nil, err
		}
		h.next++
		windows, took, err := bench.Roll(ctx, worker)
		if err != nil {
			return nil, err
		}
		const due = 3 // the hour, its day, its month
		if windows != due {
			return nil, fmt.Errorf("one late event made %d windows due", windows)
		}
		samples = append(samples, took)
	}
	return samples, nil
}

// month asks for a month by model and department, over HTTP.
func (b *benchRun) month(ctx context.Context, h *history) (err error) {
	b.progress("month: %d questions", b.sizes.questions)
	p, err := b.start(ctx, "history", 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	c := benchClient(p.URL(), p.AdminKey())
	ask := request{method: http.MethodGet, path: "/v1/usage",
		query: params("tenant", h.tenants[len(h.tenants)/2], "month", h.month.String(), "by", "model,department")}
	var calls int64
	samples, err := bench.Times(b.sizes.questions, func() error {
		usage, _, err := call[struct {
			Source string `json:"source"`
			Total  struct {
				Calls int64 `json:"calls"`
			} `json:"total"`
		}](ctx, c, ask)
		if err == nil && (usage.Source != "rollup" || usage.Total.Calls == 0) {
			err = fmt.Errorf("the answer comes from %q and has %d calls", usage.Source, usage.Total.Calls)
		}
		calls = usage.Total.Calls
		return err
	})
	if err != nil {
		return fmt.Errorf("ask for a month: %w", err)
	}
	ping, err := bench.Times(b.sizes.questions, func() error { return p.db.Ping(ctx) })
	if err != nil {
		return err
	}
	scan, err := b.scanMonth(ctx, p, h)
	if err != nil {
		return err
	}
	b.report.Note(rowMonth, "p50", "%s, of %s calls", bench.Format(bench.UnitDuration, float64(samples.P50())), grouped(calls))
	b.report.Note(rowMonth, "the same sums from raw rows (p50)", "%s", bench.Format(bench.UnitDuration, float64(scan.P50())))
	b.report.Add(bench.Row{Name: rowMonth, Measure: fmt.Sprintf("month by model and department, one tenant, %s events in the table, GET /v1/usage, p99",
		strings.Replace(grouped(int64(b.sizes.monthRows)), ",000,000", " M", 1)),
		Unit: bench.UnitDuration, Must: float64(30 * time.Millisecond), Aim: float64(10 * time.Millisecond),
		Got: float64(samples.P99()), Limit: float64(ping.P99()), LimitOf: "SELECT 1 on the engine"})
	return nil
}

// scanMonth sums the month from raw rows, which is what the rollups save.
func (b *benchRun) scanMonth(ctx context.Context, p *pipeline, h *history) (bench.Samples, error) {
	const times = 5
	return bench.Times(times, func() error {
		rows, err := p.db.Query(ctx, `SELECT model, department, sum(calls), sum(input_tokens), sum(cache_read_tokens), sum(output_tokens), sum(cost)
			FROM usage_raw FINAL WHERE tenant = {tenant:String} AND time >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
				AND time < fromUnixTimestamp64Milli({to:Int64}, 'UTC') GROUP BY model, department`,
			param("tenant", h.tenants[len(h.tenants)/2]), param("from", h.month.Start.UnixMilli()), param("to", h.month.End().UnixMilli()))
		if err != nil {
			return fmt.Errorf("sum raw rows: %w", err)
		}
		for rows.Next() { // the answer is not looked at
		}
		return errors.Join(rows.Err(), rows.Close())
	})
}
