package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/internal/tenancy"
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
		if err := p.closeWarehouse(); err != nil {
			return err
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
	err := p.inAll(func(s *shard) error { return s.catchUp(ctx) })
	if err == nil {
		p.open.Store(true)
		p.logger.Info().Msg("warehouse is open")
		err = p.runStages(ctx)
	}
	// What was said while no stage ran is about what is over.
	drain(p.breach)
	drain(p.mended)
	if ctx.Err() != nil || !p.monitor.Halt(err) {
		return err
	}
	p.stopWaiting(errNotCounting)
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
	for _, s := range p.shards {
		s.worker.Forget()
	}
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

// stopWaiting tells whoever waits for a commit or a pass that none will come, and why:
// a request that hangs would hold up the end of the server. With nil, they may come
// again.
func (p *pipeline) stopWaiting(why error) {
	for _, s := range p.shards {
		s.stop(why)
	}
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
	for _, s := range p.shards {
		done, err := s.repairer.Repair(ctx, rollup.VerifyOptions{}, s.restorable(ctx), nil)
		if err != nil {
			s.logger.Error().Err(err).Msg("it could not be mended")
			return false
		}
		if !done.Report.OK() {
			return false
		}
	}
	return true
}

// restorable reports whether everything that was ever counted is still on the log,
// and the engine is our own: then a part may be taken out without a person.
func (s *shard) restorable(ctx context.Context) bool {
	state, err := s.p.log.State(ctx, s.Stream())
	if err != nil || s.p.cfg.ClickHouseURL != "" {
		return false
	}
	whole, err := s.places.Cover(ctx, 1, state.First-1) // what was erased is not missed
	return err == nil && whole
}

// errNotCounting is the answer to who waits for something to be counted.
var errNotCounting = fmt.Errorf("nothing is counted now: %w", schemas.ErrUnavailable)

// runStages counts until ctx ends or a stage stops for a reason that does not
// pass by itself.
func (p *pipeline) runStages(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	p.stopWaiting(nil)
	stop := context.AfterFunc(ctx, func() { p.stopWaiting(errNotCounting) })
	defer stop()
	for _, s := range p.shards {
		writer := s.newWriter()
		group.Go(func() error { return s.run(ctx, writer) })
	}
	group.Go(func() error { return p.jobs.Run(ctx) })
	group.Go(func() error { return p.recoverMoves(ctx) })
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
	for _, s := range p.shards {
		if err := s.open(ctx); err != nil {
			return err
		}
	}
	p.exporter = p.newExporter()
	return p.addJobs()
}

// closeWarehouse closes what openWarehouse has opened.
func (p *pipeline) closeWarehouse() error {
	if p.db == nil {
		return nil
	}
	var errs []error
	for _, s := range p.shards {
		errs = append(errs, s.close())
	}
	return errors.Join(append(errs, p.db.Close())...)
}

// addJobs makes the schedule. The rollups are not on it: they follow commits.
func (p *pipeline) addJobs() error {
	p.jobs = rollup.NewJobs(rollup.JobsConfig{
		Lease: jobLease{p.log}, Log: p.logger.With().Str("part", "jobs").Logger(),
	}, p.db)
	return errors.Join(
		p.jobs.Add(rollup.Job{Name: "attempts", Schedule: "51 * * * *", Run: p.trimAttempts}),
		p.jobs.Add(rollup.Job{Name: "audit", Schedule: failpoint.Schedule("17 * * * *"), Run: p.auditAll}),
		p.jobs.Add(rollup.Job{Name: movesJob, Schedule: failpoint.Schedule("29 * * * *"), Run: p.endMoves}),
		p.jobs.Add(rollup.Job{Name: billingJob, Schedule: "13 * * * *", Run: p.closeMonths}),
		p.jobs.Add(rollup.Job{Name: "erase", Schedule: failpoint.Schedule("23 * * * *"), Run: p.eraseDue}),
		p.jobs.Add(rollup.Job{Name: trialsJob, Schedule: "7 * * * *", Run: p.endTrials}),
		p.jobs.Add(rollup.Job{Name: "trim", Schedule: failpoint.Schedule("41 * * * *"), Run: p.trim}),
	)
}

// trim takes from the log what is old, counted, and was held against the ledger as a
// whole.
func (p *pipeline) trim(ctx context.Context) (string, error) {
	var begins []string
	for _, s := range p.shards {
		first, err := p.log.Trim(ctx, s.Stream(), p.cfg.LogAge, s.verified.Load())
		if err != nil {
			return "", err
		}
		begins = append(begins, strconv.FormatUint(first, 10))
	}
	return "the log begins at " + strings.Join(begins, ", "), nil
}

// trimAttempts takes old refused attempts from the audit log.
func (p *pipeline) trimAttempts(ctx context.Context) (string, error) {
	n, err := tenancy.TrimAttempts(ctx, p.log, time.Now())
	if err != nil {
		return "", err
	}
	return plural(int64(n), "refused attempt", "refused attempts") + " forgotten", nil
}

// auditAll holds everything against everything. What it finds stops the counting;
// then it is mended, if it can be.
func (p *pipeline) auditAll(ctx context.Context) (string, error) {
	for _, s := range p.shards {
		due, err := s.eraser.Outstanding(ctx)
		if due && err == nil {
			_, err = p.eraseDue(ctx) // what a backup brought back is no breach
		}
		if err != nil {
			return "", err
		}
	}
	settings := errors.Join(p.log.CheckSettings(ctx), p.db.CheckSettings(ctx))
	checks, reached := 0, make([]uint64, len(p.shards))
	var err error
	for i, s := range p.shards {
		report, failed := s.verify(ctx, rollup.VerifyOptions{Salt: uint64(time.Now().Unix())})
		err = errors.Join(err, failed)
		for j := range report.Checks {
			err = errors.Join(err, report.Checks[j].Breach())
		}
		checks += len(report.Checks)
		reached[i] = report.To
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
	for i, s := range p.shards {
		s.verified.Store(reached[i])
	}
	for _, name := range []invariant.Name{invariant.SettingsHold, invariant.WindowsEqualRaw, invariant.ReplayIsEqual, invariant.FilesAreWhole} {
		p.monitor.Held(name)
	}
	return fmt.Sprintf("%d checks hold", checks), nil
}

// halt stops the counting for a breach that was found beside the stages.
func (p *pipeline) halt(breach error) {
	select {
	case p.breach <- breach:
	default: // one is enough
	}
}

// verify holds everything against everything, in every shard. breach is what was found,
// nil if nothing was.
func (p *pipeline) verify(ctx context.Context, opts rollup.VerifyOptions) (found rollup.Repair, breach, err error) {
	var all []rollup.Repair
	for _, s := range p.shards {
		report, err := s.verify(ctx, opts)
		if err != nil {
			return rollup.Repair{Report: report}, nil, err
		}
		for i := range report.Checks {
			breach = errors.Join(breach, report.Checks[i].Breach())
		}
		all = append(all, s.named(rollup.Repair{Report: report}))
	}
	return together(all), breach, nil
}

// repair holds everything against everything and mends what is broken. Nothing is
// counted meanwhile; if all is well then, the counting goes on.
func (p *pipeline) repair(ctx context.Context, opts rollup.VerifyOptions) (rollup.Repair, error) {
	found, breach, err := p.verify(ctx, opts)
	if err != nil || breach == nil && p.monitor.Halted() == nil {
		return found, err
	}
	const lookEvery = 20 * time.Millisecond
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for p.monitor.Halted() == nil {
		p.halt(errors.Join(errors.New("a repair was asked for"), breach))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return found, ctx.Err()
		}
	}
	p.repairing.Lock()
	defer p.repairing.Unlock()
	var all []rollup.Repair
	for _, s := range p.shards {
		// An engine of our own has no replicas that a part would be taken from too, and
		// nobody else who counts into it.
		done, err := s.repairer.Repair(ctx, opts, p.cfg.ClickHouseURL == "", nil)
		if err != nil {
			return done, err
		}
		all = append(all, s.named(done))
	}
	done := together(all)
	if done.Report.OK() {
		select {
		case p.mended <- struct{}{}:
		default:
		}
	}
	return done, nil
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
