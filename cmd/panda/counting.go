package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
	"golang.org/x/sync/errgroup"
)

// The half of the pipeline behind the log: it opens the warehouse, counts, and
// stops counting, with the doors open, when something must not be.

// count opens the warehouse and counts until ctx ends.
func (p *pipeline) count(ctx context.Context) error {
	err := p.openWarehouse(ctx)
	// The lock of the log says that no other server runs on this data: an engine that
	// holds the warehouse is that of a server which was killed, and ends by itself
	// when it notices. On a busy machine that takes longer than a start.
	const orphanMax = 30 * time.Second
	for began := time.Now(); errors.Is(err, engine.ErrDataDirInUse) && time.Since(began) < orphanMax; {
		p.logger.Warn().Err(err).Msg("wait for the engine of the server before to end")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
		err = p.openWarehouse(ctx)
	}
	// An engine that is killed while it starts is started again, as it is later. A
	// server elsewhere that does not answer is more likely a wrong address.
	const opensMax = 3
	for opens := 1; opens < opensMax && p.cfg.ClickHouseURL == "" && errors.Is(err, schemas.ErrUnavailable); opens++ {
		p.logger.Warn().Err(err).Msg("open the warehouse again")
		if p.db != nil {
			if err := p.db.Close(); err != nil {
				return err
			}
		}
		err = p.openWarehouse(ctx)
	}
	for err == nil && ctx.Err() == nil {
		err = p.countUntilBroken(ctx)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// countUntilBroken counts until ctx ends, or until an invariant is broken and then
// until it is mended. It returns an error if counting ended otherwise.
func (p *pipeline) countUntilBroken(ctx context.Context) error {
	writer, err := p.newWriter(), p.catchUp(ctx)
	if err == nil {
		p.open.Store(true)
		p.logger.Info().Msg("warehouse is open")
		err = p.runStages(ctx, writer)
	}
	// What was said while no stage ran is about what is over.
	drain(p.breach)
	drain(p.mended)
	if ctx.Err() != nil || !p.monitor.Halt(err) {
		return err
	}
	p.stopWaiting()
	// The doors stay open: what comes in is safe on the log, and is counted when
	// this is over. A process that ended could not be asked why.
	p.logger.Error().Err(err).Str("invariant", string(invariant.Of(err))).
		Msg("counting is halted; events are still taken in. Run panda verify --repair")
	p.open.Store(true) // what is counted may be read
	if !p.mendAlone(ctx, err) {
		select {
		case <-ctx.Done():
			return nil
		case <-p.mended:
		}
	}
	p.monitor.Resume()
	p.worker.Forget()
	p.logger.Info().Msg("everything agrees again; counting goes on")
	return nil
}

// drain takes what waits in a channel.
func drain[T any](c chan T) {
	select {
	case <-c:
	default:
	}
}

// stopWaiting tells whoever waits for a commit or a pass that none will come: a
// request that hangs would hold up the end of the server.
func (p *pipeline) stopWaiting() {
	p.live.Stop(errNotCounting)
	p.worker.Stop(errNotCounting)
}

// mendAloneEvery is the least time between two repairs that nobody asked for: if one
// did not last, a person has to look.
const mendAloneEvery = 10 * time.Minute

// mendAlone mends, while nothing is counted, what needs no person: rows, keys and
// rejects that are on the log, windows whose rows are there, and damaged files while
// the log still has everything. It reports whether
// everything agrees then.
func (p *pipeline) mendAlone(ctx context.Context, breach error) bool {
	switch invariant.Of(breach) {
	case invariant.LedgerEqualsRaw, invariant.KeysEqualRaw, invariant.RejectsEqualLedger, invariant.WindowsEqualRaw:
	case invariant.FilesAreWhole:
		// It may be a part that an insert on a failing disk left for a moment.
	default:
		return false
	}
	if !p.mendedAlone.IsZero() && time.Since(p.mendedAlone) < mendAloneEvery {
		return false
	}
	p.mendedAlone = time.Now()
	p.repairing.Lock()
	defer p.repairing.Unlock()
	done, err := p.repairer.Repair(ctx, rollup.VerifyOptions{}, p.restorable(ctx), nil)
	if err != nil {
		p.logger.Error().Err(err).Msg("it could not be mended")
		return false
	}
	return done.Report.OK()
}

// restorable reports whether everything that was ever counted is still on the log,
// and the engine is our own: then a part may be taken out without a person.
func (p *pipeline) restorable(ctx context.Context) bool {
	state, err := p.log.State(ctx, schemas.StreamUsage)
	if err != nil || p.cfg.ClickHouseURL != "" {
		return false
	}
	whole, err := p.places.Cover(ctx, 1, state.First-1) // what was erased is not missed
	return err == nil && whole
}

// catchUp holds the newest ranges against the ledger before anything is added to
// them, because a key that a power cut took would let an event count twice; then
// it makes the live totals.
func (p *pipeline) catchUp(ctx context.Context) error {
	const retryEvery = 500 * time.Millisecond
	for {
		err := p.auditor.Tail(ctx)
		if err == nil {
			err = p.live.Rebuild(ctx)
		}
		if !errors.Is(err, schemas.ErrUnavailable) {
			return err
		}
		p.logger.Warn().Err(err).Msg("the engine is away; catch up again")
		timer := time.NewTimer(retryEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// errNotCounting is the answer to who waits for something to be counted.
var errNotCounting = fmt.Errorf("nothing is counted now: %w", schemas.ErrUnavailable)

// runStages counts until ctx ends or a stage stops for a reason that does not
// pass by itself.
func (p *pipeline) runStages(ctx context.Context, writer *ingest.Writer) error {
	group, ctx := errgroup.WithContext(ctx)
	p.live.Stop(nil)
	p.worker.Stop(nil)
	stop := context.AfterFunc(ctx, p.stopWaiting)
	defer stop()
	group.Go(func() error {
		p.writing.Store(writer)
		defer p.writing.Store(nil)
		return writer.Run(ctx)
	})
	group.Go(func() error { return p.worker.Run(ctx) })
	group.Go(func() error { return p.jobs.Run(ctx) })
	group.Go(func() error { return p.recoverMoves(ctx) })
	if p.cfg.ClickHouseURL != "" {
		group.Go(func() error { return p.follow(ctx) })
	}
	group.Go(func() error { return p.auditor.Run(ctx) })
	group.Go(func() error {
		select {
		case err := <-p.breach:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	return group.Wait()
}

func (p *pipeline) openWarehouse(ctx context.Context) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own executable: %w", err)
	}
	p.db, err = warehouse.Open(ctx, warehouse.Config{
		URL: p.cfg.ClickHouseURL, Cluster: p.cfg.ClickHouseCluster,
		Engine: warehouse.EngineConfig{
			Command: p.cfg.engineCommand(self), LibPath: p.cfg.getenv("PANDA_ENGINE_LIB"),
			DataDir: filepath.Join(p.cfg.Data, "warehouse"), MemoryLimitBytes: p.cfg.EngineMemory,
			Listen: p.cfg.EngineListen, Token: p.cfg.EngineToken,
		},
		Runs: p.queries.runs, Logger: p.logger.With().Str("part", "warehouse").Logger(),
	})
	if err != nil {
		return err
	}
	if err := p.db.Migrate(ctx, schemas.Migrations()); err != nil {
		return err
	}
	p.placement = placement.New(placement.Config{Shared: p.db.Database(), Placed: p.registry.Placed, Prepare: p.prepareDatabase})
	p.store = ingest.NewTables(p.db, p.placement)
	p.live = aggregate.NewLive(aggregate.LiveConfig{Shard: shard}, aggregate.NewLiveTables(p.db, p.placement))
	p.worker = rollup.New(rollup.Config{Shard: shard, Log: p.logger.With().Str("part", "rollup").Logger()}, rollup.NewTables(p.db, p.placement))
	p.reader = aggregate.NewReader(aggregate.ReaderConfig{Shard: shard, Live: p.live, Rollups: p.worker, Places: p.placement}, p.db)
	replayer := ingest.NewReplayer(ingest.ReplayerConfig{Shard: shard, Key: p.signing, Gone: p.places.Cover, Erased: p.store.Erased},
		usageLog{log: p.log, erased: p.places}, p.store, p.prices)
	p.verifier = rollup.NewVerifier(rollup.VerifyConfig{
		Shard: shard, Log: countedLog{p.log, p.signing}, Replay: replayer.Check, NotOnLog: ingest.ErrNotOnLog,
		BehindMax: p.cfg.behindMax(), Places: p.placement,
	}, p.db)
	p.repairer = rollup.NewRepairer(rollup.RepairConfig{
		Restore: p.restoreWith(replayer), NotOnLog: ingest.ErrNotOnLog, Rebuild: p.live.Rebuild, Monitor: p.monitor, Metrics: p.auditMetrics,
		Log: p.logger.With().Str("part", "repair").Logger(),
	}, p.verifier, p.worker)
	if p.billing, err = p.newBilling(); err != nil {
		return err
	}
	p.eraser, p.exporter = p.newEraser(), p.newExporter()
	p.auditor = rollup.NewAuditor(rollup.AuditConfig{BehindMax: p.cfg.behindMax(), Excused: p.eraser.Outstanding}, p.repairer)
	return p.addJobs()
}

// newWriter returns a writer of the shard.
func (p *pipeline) newWriter() *ingest.Writer {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	holder := fmt.Sprintf("%s/%d", host, os.Getpid())
	return ingest.NewWriter(ingest.WriterConfig{
		Shard: shard, Key: p.signing, CommitEvery: p.cfg.CommitEvery, ClockBackMax: p.cfg.ClockBackMax,
		Acquire: func(ctx context.Context) (ingest.Lease, error) {
			lease, err := p.log.Acquire(ctx, fmt.Sprintf("writer-%d", shard), holder, writerLeaseTTL)
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
		Claims:    &writerClaims{log: p.log, shard: shard},
		Gone:      p.places.Cover,
		OnCommit:  p.committed,
		OnResume:  p.resumed,
		Metrics:   p.writerMetrics,
		Logger:    p.logger.With().Str("part", "writer").Logger(),
	}, usageLog{log: p.log, erased: p.places}, p.store, p.prices)
}

// committed hands accepted rows to the live totals and wakes the rollups.
func (p *pipeline) committed(rows []schemas.Accepted, to uint64) {
	p.live.Apply(rows, to)
	p.lag.committed(to)
	p.worker.Nudge()
	p.alerts.committed(rows)
}

// resumed brings the live totals to a position of the ledger that no commit here
// reported: another writer led, or the answer to the last commit was lost.
func (p *pipeline) resumed(ctx context.Context, position uint64) error {
	if p.live.Position().Seq < position {
		if err := p.live.Rebuild(ctx); err != nil {
			return err
		}
	}
	p.lag.committed(position)
	p.worker.Nudge()
	p.alerts.evaluator.Sweep()
	return nil
}

// addJobs makes the schedule. The rollups are not on it: they follow commits.
func (p *pipeline) addJobs() error {
	p.jobs = rollup.NewJobs(rollup.JobsConfig{
		Lease: jobLease{p.log}, Log: p.logger.With().Str("part", "jobs").Logger(),
	}, p.db)
	return errors.Join(
		p.jobs.Add(rollup.Job{Name: "audit", Schedule: failpoint.Schedule("17 * * * *"), Run: p.auditAll}),
		p.jobs.Add(rollup.Job{Name: movesJob, Schedule: failpoint.Schedule("29 * * * *"), Run: p.endMoves}),
		p.jobs.Add(rollup.Job{Name: billingJob, Schedule: "13 * * * *", Run: p.closeMonths}),
		p.jobs.Add(rollup.Job{Name: "erase", Schedule: failpoint.Schedule("23 3 * * *"), Run: p.eraseDue}),
		p.jobs.Add(rollup.Job{Name: trialsJob, Schedule: "7 * * * *", Run: p.endTrials}),
		p.jobs.Add(rollup.Job{Name: "trim", Schedule: failpoint.Schedule("41 * * * *"), Run: p.trim}),
	)
}

// trim takes from the log what is old, counted, and was held against the ledger as a
// whole.
func (p *pipeline) trim(ctx context.Context) (string, error) {
	first, err := p.log.Trim(ctx, schemas.StreamUsage, p.cfg.LogAge, p.verified.Load())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("the log begins at %d", first), nil
}

// auditAll holds everything against everything. What it finds stops the counting;
// then it is mended, if it can be.
func (p *pipeline) auditAll(ctx context.Context) (string, error) {
	if due, err := p.eraser.Outstanding(ctx); err != nil || due {
		if err == nil {
			_, err = p.eraseDue(ctx) // what a backup brought back is no breach
		}
		if err != nil {
			return "", err
		}
	}
	settings := errors.Join(p.log.CheckSettings(ctx), p.db.CheckSettings(ctx))
	report, err := p.verifier.Verify(ctx, rollup.VerifyOptions{Salt: uint64(time.Now().Unix())}, nil)
	for i := range report.Checks {
		err = errors.Join(err, report.Checks[i].Breach())
	}
	if settings != nil && !errors.Is(settings, schemas.ErrUnavailable) {
		err = errors.Join(err, invariant.Broken(invariant.SettingsHold, "%v", settings))
	}
	if invariant.Of(err) != "" {
		p.halt(err)
	}
	if err != nil {
		return "", err
	}
	p.verified.Store(report.To)
	for _, name := range []invariant.Name{invariant.SettingsHold, invariant.WindowsEqualRaw, invariant.ReplayIsEqual, invariant.FilesAreWhole} {
		p.monitor.Held(name)
	}
	return fmt.Sprintf("%d checks hold", len(report.Checks)), nil
}

// halt stops the counting for a breach that was found beside the stages.
func (p *pipeline) halt(breach error) {
	select {
	case p.breach <- breach:
	default: // one is enough
	}
}

// repair holds everything against everything and mends what is broken. Nothing is
// counted meanwhile; if all is well then, the counting goes on.
func (p *pipeline) repair(ctx context.Context, opts rollup.VerifyOptions) (rollup.Repair, error) {
	report, err := p.verifier.Verify(ctx, opts, nil)
	if err != nil || report.OK() && p.monitor.Halted() == nil {
		return rollup.Repair{Report: report}, err
	}
	const lookEvery = 20 * time.Millisecond
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for p.monitor.Halted() == nil {
		breach := errors.New("a repair was asked for")
		for i := range report.Checks {
			breach = errors.Join(breach, report.Checks[i].Breach())
		}
		p.halt(breach)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return rollup.Repair{Report: report}, ctx.Err()
		}
	}
	p.repairing.Lock()
	defer p.repairing.Unlock()
	// An engine of our own has no replicas that a part would be taken from too, and
	// nobody else who counts into it.
	done, err := p.repairer.Repair(ctx, opts, p.cfg.ClickHouseURL == "", nil)
	if err == nil && done.Report.OK() {
		select {
		case p.mended <- struct{}{}:
		default:
		}
	}
	return done, err
}

// counting says that the counting is halted, and by what; where, is for the
// platform alone to see.
func (p *pipeline) counting() error {
	err := p.monitor.Halted()
	if err == nil {
		return nil
	}
	return fmt.Errorf("counting is halted because %s is broken; panda verify and the server's log say where", invariant.Of(err))
}

// ready says why a question cannot be answered yet.
func (p *pipeline) ready() error {
	if !p.open.Load() {
		return fmt.Errorf("the warehouse is being opened: %w", schemas.ErrUnavailable)
	}
	return nil
}

// Counting waits until the warehouse is open, or until the pipeline has failed.
func (p *pipeline) Counting(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !p.open.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ended:
			return p.err
		case <-tick.C:
		}
	}
	return nil
}
