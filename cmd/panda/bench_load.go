package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/bench"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// spent is the processor time of the two processes of a pipeline.
type spent struct{ panda, engine time.Duration }

func spentBy(p *pipeline) (s spent, err error) {
	if s.panda, err = bench.CPU(os.Getpid()); err != nil {
		return s, err
	}
	s.engine, err = bench.CPU(p.db.Health().PID)
	return s, err
}

// lastRecord is the newest place on the log.
func lastRecord(ctx context.Context, p *pipeline) (uint64, error) {
	state, err := p.log.State(ctx, schemas.StreamUsage)
	return state.Last, err
}

// throughput measures events per second until the last of them is committed,
// and then what the log, the warehouse and another way of writing do alone.
func (b *benchRun) throughput(ctx context.Context, p *pipeline, l bench.Load) error {
	l.Events, l.Workers, l.For = benchBatch, b.sizes.workers, b.sizes.load
	b.progress("throughput: %d events a batch for %s", l.Events, l.For)
	first, err := lastRecord(ctx, p)
	if err != nil {
		return err
	}
	if err := p.shards[0].live.WaitFor(ctx, first); err != nil { // what earlier rows sent
		return err
	}
	var loaded bench.Loaded
	var drained time.Duration
	before, err := spentBy(p)
	if err != nil {
		return err
	}
	err = b.profiled(func() error {
		wait, err := b.load(ctx, l)
		if err != nil {
			return err
		}
		if loaded, err = wait(); err != nil {
			return err
		}
		began := time.Now()
		err = p.shards[0].live.WaitFor(ctx, loaded.LastSeq)
		drained = time.Since(began)
		return err
	})
	if err != nil {
		return err
	}
	after, err := spentBy(p)
	if err != nil {
		return err
	}
	commits, accepted, err := b.committedAfter(ctx, p, first)
	if err != nil {
		return err
	}
	if accepted != loaded.Accepted {
		return fmt.Errorf("%w: %d events were acknowledged and the ledger has %d", errFoundWrong, loaded.Accepted, accepted)
	}
	rate := float64(accepted) / (loaded.Took + drained).Seconds()
	b.noteThroughput(&loaded, drained, spent{after.panda - before.panda, after.engine - before.engine}, commits)
	limit, limitOf, err := b.alone(ctx, p, first, loaded.LastSeq, accepted, int(accepted/max(commits, 1)))
	if err != nil {
		return err
	}
	if b.wants(rowThroughput) {
		b.report.Add(bench.Row{Name: rowThroughput, Measure: "events/s, HTTP batch of 500 → acked → in raw with verdict and cost",
			Unit: bench.UnitRate, More: true, Must: 100_000, Aim: 250_000, Got: rate, Limit: limit, LimitOf: limitOf})
	}
	if b.wants(rowShare) {
		b.report.Add(bench.Row{Name: rowShare, Measure: "share of the slower stage alone (" + limitOf + ")", Unit: bench.UnitPercent, More: true,
			Must: 35, Aim: 60, Got: 100 * rate / limit})
	}
	if b.wants(rowPeer) {
		return b.peer(ctx, p, rate)
	}
	return nil
}

func (b *benchRun) noteThroughput(loaded *bench.Loaded, drained time.Duration, cpu spent, commits int64) {
	r, n := &b.report, float64(loaded.Accepted)
	perMillion := func(d time.Duration) string { return fmt.Sprintf("%.2f s per million events", d.Seconds()/n*1e6) }
	r.Note(rowThroughput, "acknowledged", "%s events in %s, all committed %s later", grouped(loaded.Accepted),
		bench.Format(bench.UnitDuration, float64(loaded.Took)), bench.Format(bench.UnitDuration, float64(drained)))
	r.Note(rowThroughput, "acknowledged per second", "%s", bench.Format(bench.UnitRate, n/loaded.Took.Seconds()))
	r.Note(rowThroughput, "ack p50, p99 under this load", "%s, %s", bench.Format(bench.UnitDuration, float64(loaded.Acks.P50())),
		bench.Format(bench.UnitDuration, float64(loaded.Acks.P99())))
	r.Note(rowThroughput, "commits", "%s, of %s events each", grouped(commits), grouped(loaded.Accepted/max(commits, 1)))
	r.Note(rowThroughput, "processor time of panda", "%s", perMillion(cpu.panda))
	r.Note(rowThroughput, "processor time of the engine", "%s, %.0f %% of both", perMillion(cpu.engine),
		100*cpu.engine.Seconds()/max((cpu.engine+cpu.panda).Seconds(), 1e-9))
	r.Note(rowThroughput, "processor time of the load generator", "%s, %.1f %% of a core per 100,000 events/s, %.0f %% of all",
		perMillion(loaded.CPU), 100*loaded.Share(), 100*loaded.CPU.Seconds()/max((cpu.engine+cpu.panda+loaded.CPU).Seconds(), 1e-9))
	r.Note(rowThroughput, "bytes sent per event", "%.0f", float64(loaded.Bytes)/n)
	r.Note(rowThroughput, "answers 429 or 503", "%s", grouped(loaded.Refused))
}

// committedAfter reads from the ledger what was committed after a position.
func (b *benchRun) committedAfter(ctx context.Context, p *pipeline, seq uint64) (commits, accepted int64, err error) {
	var n uint64
	var sum int64
	err = p.db.QueryRow(ctx, "SELECT count(), toInt64(sum(accepted)) FROM ledger FINAL WHERE from_seq > {seq:UInt64}", param("seq", seq)).Scan(&n, &sum)
	if err != nil {
		return 0, 0, fmt.Errorf("read ledger: %w", err)
	}
	return int64(n), sum, nil
}

// alone measures the two stages by themselves, on the same engine and log, with
// the same events and blocks of the same size. It returns the slower one.
func (b *benchRun) alone(ctx context.Context, p *pipeline, first, last uint64, events int64, block int) (float64, string, error) {
	b.progress("share: the log read alone, the warehouse written alone")
	if err := b.quiet(ctx, p, last); err != nil {
		return 0, "", err
	}
	consumed, err := consumeAlone(ctx, p, first, last)
	if err != nil {
		return 0, "", err
	}
	read := float64(events) / consumed.Seconds()
	blocks, err := b.blocks(ctx, p, first, last, block)
	if err != nil {
		return 0, "", err
	}
	inserted, err := b.insertAlone(ctx, p, "alone", blocks, b.sizes.insert)
	if err != nil {
		return 0, "", err
	}
	r := &b.report
	r.Note(rowShare, "log consume alone", "%s", bench.Format(bench.UnitRate, read))
	r.Note(rowShare, "warehouse insert alone", "%s in blocks of %s", bench.Format(bench.UnitRate, inserted.Rate()), grouped(int64(len(blocks[0].Rows))))
	r.Note(rowShare, "insert of a block into usage_raw, usage_keys alone; whole commit (p50)", "%s, %s; %s",
		bench.Format(bench.UnitDuration, float64(inserted.Raw.P50())), bench.Format(bench.UnitDuration, float64(inserted.Keys.P50())),
		bench.Format(bench.UnitDuration, float64(inserted.Commit.P50())))
	if read < inserted.Rate() {
		return read, "log consume alone", nil
	}
	return inserted.Rate(), "warehouse insert alone", nil
}

// quiet waits until rollups and merges have caught up, so that they do not share
// the machine with what is measured alone.
func (b *benchRun) quiet(ctx context.Context, p *pipeline, seq uint64) error {
	waiting, cancel := context.WithTimeout(ctx, b.sizes.settle)
	defer cancel()
	if err := p.shards[0].worker.WaitFor(waiting, seq); err != nil && waiting.Err() == nil {
		return err
	}
	quiet, err := bench.Settle(ctx, p.db, b.sizes.settle)
	if err == nil && (!quiet || waiting.Err() != nil) {
		b.report.Note(rowShare, "not quiet", "merges or rollups still ran while the stages were measured alone")
	}
	return err
}

func consumeAlone(ctx context.Context, p *pipeline, first, last uint64) (time.Duration, error) {
	began := time.Now()
	reader, err := p.log.Read(ctx, eventlog.ReadConfig{Stream: schemas.StreamUsage, From: first + 1})
	if err != nil {
		return 0, fmt.Errorf("read log: %w", err)
	}
	defer reader.Close()
	for at := first; at < last; {
		const recordsMax = 4096
		records, err := reader.Next(ctx, recordsMax, recordBytesMax, time.Second)
		if err != nil {
			return 0, fmt.Errorf("read log: %w", err)
		}
		if len(records) > 0 {
			at = records[len(records)-1].Seq
		}
	}
	return time.Since(began), nil
}

// blocks reads events back from the log and rates them, as the writer does.
func (b *benchRun) blocks(ctx context.Context, p *pipeline, first, last uint64, size int) ([]bench.Block, error) {
	book, err := p.prices.Current(ctx)
	if err != nil {
		return nil, err
	}
	reader, err := p.log.Read(ctx, eventlog.ReadConfig{Stream: schemas.StreamUsage, From: first + 1})
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	defer reader.Close()
	size = max(1, min(size, b.sizes.blockRows))
	var blocks []bench.Block
	var block bench.Block
	for at, rows := first, 0; at < last && rows < b.sizes.blockRows; {
		records, err := reader.Next(ctx, 1, recordBytesMax, time.Second)
		if err != nil {
			return nil, fmt.Errorf("read log: %w", err)
		}
		for i := range records {
			at = records[i].Seq
			before := len(block.Rows)
			if err := addRecord(&block, &records[i], p.signing, book); err != nil {
				return nil, err
			}
			rows += len(block.Rows) - before
		}
		if len(block.Rows) >= size {
			blocks, block = append(blocks, block), bench.Block{}
		}
	}
	if len(blocks) == 0 {
		blocks = append(blocks, block)
	}
	return blocks, nil
}

func addRecord(block *bench.Block, record *eventlog.Record, key []byte, book *schemas.PriceBook) error {
	kind, tenant := schemas.ParseUsageSubject(record.Subject)
	if kind != schemas.SubjectEnvelope {
		return nil
	}
	events, _, err := ingest.DecodeEnvelope(record.Data, tenant, key)
	if err != nil {
		return err
	}
	for i := range events {
		e := &events[i]
		rating := book.Rate(e)
		block.Rows = append(block.Rows, schemas.Accepted{Tenant: tenant, Seq: record.Seq, Idx: uint16(i), ReceivedAt: record.Time.UnixMilli(),
			Event: *e, Calls: schemas.CallsOf(e.Type), Cost: rating.Cost, Priced: rating.Priced, UnpricedReason: rating.Reason, PriceRevision: rating.Revision})
		block.Keys = append(block.Keys, ingest.NewKey{Key: ingest.KeyOf(tenant, e.Source, e.ID),
			KeyRow: ingest.KeyRow{Content: ingest.ContentOf(e), Seq: record.Seq}})
	}
	return nil
}

// insertAlone writes blocks into tables of the same kind, in a database of its own.
func (b *benchRun) insertAlone(ctx context.Context, p *pipeline, name string, blocks []bench.Block, during time.Duration) (_ bench.Inserted, err error) {
	db, err := p.db.ForDatabase(ctx, "bench_"+name)
	if err != nil {
		return bench.Inserted{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Migrate(ctx, schemas.Migrations()); err != nil {
		return bench.Inserted{}, err
	}
	return bench.Insert(ctx, ingest.NewTables(db, nil), blocks, during)
}

// writeAlone returns the p99 of what a commit of a few events costs by itself.
func (b *benchRun) writeAlone(ctx context.Context, p *pipeline, events int) (float64, error) {
	last, err := lastRecord(ctx, p)
	if err != nil {
		return 0, err
	}
	blocks, err := b.blocks(ctx, p, 0, last, events)
	if err != nil {
		return 0, err
	}
	inserted, err := b.insertAlone(ctx, p, "small", blocks[:1], b.sizes.paced/4)
	return float64(inserted.Commit.P99()), err
}

// peer measures another way of writing the same rows to the same engine.
func (b *benchRun) peer(ctx context.Context, p *pipeline, ours float64) (err error) {
	b.progress("peer: text INSERT … VALUES of %d rows", benchBatch)
	last, err := lastRecord(ctx, p)
	if err != nil {
		return err
	}
	const batches = 20
	blocks, err := b.blocks(ctx, p, 0, last, batches*benchBatch)
	if err != nil {
		return err
	}
	db, err := p.db.ForDatabase(ctx, "bench_peer")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Migrate(ctx, schemas.Migrations()); err != nil {
		return err
	}
	for _, way := range []struct {
		lookup bool
		text   string
	}{
		{false, "text INSERT … VALUES of 500 rows"},
		{true, "text INSERT … VALUES of 500 rows, one duplicate lookup per event"},
	} {
		rate, err := bench.Peer(ctx, db, &blocks[0], min(benchBatch, len(blocks[0].Rows)), way.lookup, b.sizes.peer)
		if err != nil {
			return err
		}
		b.report.Add(bench.Row{Name: rowPeer, Measure: "whole pipeline against " + way.text, Unit: bench.UnitRate, More: true,
			Got: ours, Limit: rate, LimitOf: way.text})
	}
	return nil
}
