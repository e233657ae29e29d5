package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/api"
	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/sharding"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// A shard is everything behind the door for a part of the tenants: a stream of the log,
// a database with a ledger, a writer with a lease of its own, live totals, windows, and
// who proves and mends them. Nothing of it knows of other shards, so one shard is the
// whole pipeline, and several are that many of them.
type shard struct {
	schemas.Shard
	p      *pipeline
	logger zerolog.Logger

	lag  *lagMonitor
	acks *ackTimes
	// places knows where messages were erased from the log.
	places *erasure.Places
	// writerMetrics outlive a warehouse that had to be opened, or counting begun, again.
	writerMetrics *ingest.WriterMetrics

	// The rest is there once the pipeline is open.
	db *warehouse.DB
	// placement says in which database a tenant's rows lie.
	placement *placement.Map
	store     *ingest.Tables
	live      *aggregate.Live
	reader    *aggregate.Reader
	worker    *rollup.Worker
	billing   *rollup.Billing

	verifier *rollup.Verifier
	repairer *rollup.Repairer
	auditor  *rollup.Auditor
	eraser   *erasure.Eraser

	// writing is the writer that runs, nil while none does.
	writing atomic.Pointer[ingest.Writer]
	// restoring is read-held while a range is restored, and held by a move in its pause.
	restoring sync.RWMutex
	// verified is up to where the ledger was held against everything in this process.
	verified atomic.Uint64
}

// newShards makes the shards that the log has, as far as they need the log alone.
func (p *pipeline) newShards() []*shard {
	var list []*shard
	for _, id := range schemas.Shards(p.log.Shards()) {
		s := &shard{Shard: id, p: p, logger: p.logger, lag: newLagMonitor(p.cfg.LagMax), acks: newAckTimes(time.Now), places: erasure.NewPlaces(p.log, id)}
		var labels prometheus.Labels
		if id.Split() {
			s.logger = p.logger.With().Str("shard", id.String()).Logger()
			labels = prometheus.Labels{"shard": id.String()}
		}
		s.writerMetrics = ingest.NewWriterMetrics(prometheus.WrapRegistererWith(labels, p.metrics))
		list = append(list, s)
	}
	return list
}

// of returns the shard that a tenant is in.
func (p *pipeline) of(tenant string) *shard {
	return p.shards[sharding.Of(tenant, uint32(len(p.shards))).ID]
}

// shardDatabase names the database of a shard: the first has the warehouse's own.
func shardDatabase(base string, id schemas.Shard) string {
	if id.ID == 0 {
		return base
	}
	return base + "_s" + id.String()
}

// open makes the parts that need the warehouse.
func (s *shard) open(ctx context.Context) (err error) {
	p := s.p
	s.db = p.db
	if s.ID > 0 {
		if s.db, err = p.db.ForDatabase(ctx, shardDatabase(p.db.Database(), s.Shard)); err != nil {
			return err
		}
	}
	if err := s.db.Migrate(ctx, schemas.Migrations()); err != nil {
		return err
	}
	s.placement = placement.New(placement.Config{Shared: s.db.Database(), Placed: s.placed, Prepare: s.prepareDatabase})
	s.store = ingest.NewTables(s.db, s.placement)
	s.live = aggregate.NewLive(aggregate.LiveConfig{Shard: s.ID}, aggregate.NewLiveTables(s.db, s.placement))
	s.worker = rollup.New(rollup.Config{Shard: s.ID, Log: s.logger.With().Str("part", "rollup").Logger()}, rollup.NewTables(s.db, s.placement))
	s.reader = aggregate.NewReader(aggregate.ReaderConfig{Shard: s.ID, Live: s.live, Rollups: s.worker, Places: s.placement}, s.db)
	replayer := ingest.NewReplayer(ingest.ReplayerConfig{Shard: s.ID, Key: p.signing, Gone: s.places.Cover, Erased: s.store.Erased},
		s.usageLog(), s.store, p.prices)
	s.verifier = rollup.NewVerifier(rollup.VerifyConfig{
		Shard: s.ID, Log: countedLog{p.log, s.Shard, p.signing}, Replay: replayer.Check, NotOnLog: ingest.ErrNotOnLog,
		BehindMax: p.cfg.behindMax(), Places: s.placement,
	}, s.db)
	s.repairer = rollup.NewRepairer(rollup.RepairConfig{
		Restore: s.restoreWith(replayer), NotOnLog: ingest.ErrNotOnLog, Rebuild: s.live.Rebuild, Monitor: p.monitor, Metrics: p.auditMetrics,
		Log: s.logger.With().Str("part", "repair").Logger(),
	}, s.verifier, s.worker)
	if s.billing, err = s.newBilling(); err != nil {
		return err
	}
	s.eraser = s.newEraser()
	s.auditor = rollup.NewAuditor(rollup.AuditConfig{BehindMax: p.cfg.behindMax(), Excused: s.eraser.Outstanding}, s.repairer)
	return nil
}

// close closes the database of a shard that has one beside the warehouse's own.
func (s *shard) close() error {
	if s.db == nil || s.db == s.p.db {
		return nil
	}
	return s.db.Close()
}

// placed is which tenants of the shard have a database of their own.
func (s *shard) placed() map[string]string {
	all := s.p.registry.Placed()
	if !s.Split() {
		return all
	}
	own := map[string]string{}
	for tenant, database := range all {
		if s.p.of(tenant) == s {
			own[tenant] = database
		}
	}
	return own
}

func (s *shard) usageLog() usageLog { return usageLog{log: s.p.log, shard: s.Shard, erased: s.places} }

// newWriter returns a writer of the shard.
func (s *shard) newWriter() *ingest.Writer {
	p := s.p
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	holder := fmt.Sprintf("%s/%d", host, os.Getpid())
	return ingest.NewWriter(ingest.WriterConfig{
		Shard: s.ID, Key: p.signing, CommitEvery: p.cfg.CommitEvery, ClockBackMax: p.cfg.ClockBackMax,
		Acquire: func(ctx context.Context) (ingest.Lease, error) {
			lease, err := p.log.Acquire(ctx, "writer-"+s.String(), holder, writerLeaseTTL)
			if err != nil {
				return nil, err
			}
			// Whoever wrote before may have heard that a tenant has another place.
			if err := p.registry.CatchUp(ctx); err != nil {
				writerLease{lease}.Release()
				return nil, err
			}
			return writerLease{lease}, nil
		},
		BehindMax: p.cfg.behindMax(),
		Claims:    &writerClaims{log: p.log, shard: s.ID},
		Gone:      s.places.Cover,
		OnCommit:  s.committed,
		OnResume:  s.resumed,
		Metrics:   s.writerMetrics,
		Logger:    s.logger.With().Str("part", "writer").Logger(),
	}, s.usageLog(), s.store, p.prices)
}

// run counts until ctx ends or a stage stops for a reason that does not pass by itself.
func (s *shard) run(ctx context.Context, writer *ingest.Writer) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		s.writing.Store(writer)
		defer s.writing.Store(nil)
		return writer.Run(ctx)
	})
	group.Go(func() error { return s.worker.Run(ctx) })
	if s.p.cfg.ClickHouseURL != "" {
		group.Go(func() error { return s.follow(ctx) })
	}
	group.Go(func() error { return s.auditor.Run(ctx) })
	return group.Wait()
}

// catchUp holds the newest ranges against the ledger before anything is added to
// them, because a key that a power cut took would let an event count twice; then
// it makes the live totals.
func (s *shard) catchUp(ctx context.Context) error {
	const retryEvery = 500 * time.Millisecond
	for {
		err := s.auditor.Tail(ctx)
		if err == nil {
			err = s.live.Rebuild(ctx)
		}
		if !errors.Is(err, schemas.ErrUnavailable) {
			return err
		}
		s.logger.Warn().Err(err).Msg("the engine is away; catch up again")
		timer := time.NewTimer(retryEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// appended notes a message that was acknowledged here.
func (s *shard) appended(seq uint64) {
	s.lag.appended(seq)
	s.acks.appended(seq)
}

// committed hands accepted rows to the live totals and wakes the rollups.
func (s *shard) committed(rows []schemas.Accepted, to uint64) {
	s.live.Apply(rows, to)
	s.lag.committed(to)
	s.worker.Nudge()
	s.p.alerts.committed(rows, s.acks.oldest(rows))
}

// resumed brings the live totals to a position of the ledger that no commit here
// reported: another writer led, or the answer to the last commit was lost.
func (s *shard) resumed(ctx context.Context, position uint64) error {
	if s.live.Position().Seq < position {
		if err := s.live.Rebuild(ctx); err != nil {
			return err
		}
	}
	s.lag.committed(position)
	s.worker.Nudge()
	s.p.alerts.sweep()
	return nil
}

// answers is the shard as the API asks it.
func (s *shard) answers() *api.Shard {
	return &api.Shard{Reader: s.reader, Live: s.live, Tables: s.store, Rollup: s.worker, Billing: s.billing, End: func(ctx context.Context) (uint64, error) {
		last, _, err := s.usageLog().End(ctx)
		return last, err
	}}
}

// stop tells whoever waits for a commit or a pass that none will come, and why; with
// nil, that they may come again.
func (s *shard) stop(why error) {
	s.live.Stop(why)
	s.worker.Stop(why)
}

// verify holds everything of the shard against everything.
func (s *shard) verify(ctx context.Context, opts rollup.VerifyOptions) (rollup.Report, error) {
	report, err := s.verifier.Verify(ctx, opts, nil)
	if err != nil && s.Split() {
		return report, fmt.Errorf("shard %s: %w", s, err)
	}
	return report, err
}

// inAll calls f for every shard at the same time and returns what went wrong first.
func (p *pipeline) inAll(f func(*shard) error) error {
	var group errgroup.Group
	for _, s := range p.shards {
		group.Go(func() error { return f(s) })
	}
	return group.Wait()
}

// named puts the shard before the names of what was checked and done in it, where
// there are others.
func (s *shard) named(r rollup.Repair) rollup.Repair {
	if !s.Split() {
		return r
	}
	for i := range r.Report.Checks {
		r.Report.Checks[i].Name = "shard " + s.String() + ": " + r.Report.Checks[i].Name
	}
	for i := range r.Done {
		r.Done[i] = "shard " + s.String() + ": " + r.Done[i]
	}
	return r
}

// together makes one outcome of those of several shards.
func together(all []rollup.Repair) rollup.Repair {
	sum := all[0]
	for i := range all[1:] {
		r := &all[1+i]
		sum.Done = append(sum.Done, r.Done...)
		sum.Report.Checks = append(sum.Report.Checks, r.Report.Checks...)
		sum.Report.Broken = append(sum.Report.Broken, r.Report.Broken...)
	}
	return sum
}

// appended notes the acknowledgement of a message of a tenant.
func (p *pipeline) appended(tenant string, seq uint64) { p.of(tenant).appended(seq) }
