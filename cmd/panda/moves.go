package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/isolation"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/sharding"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// Where tenants' rows lie: databases of their own, and moves between them.

// movesJob is the name of the job that ends moves which a crash has left.
const movesJob = "moves"

const (
	// pauseWait is how long a move waits until the writer stops between two ranges. A
	// writer of another node never does.
	pauseWait = 30 * time.Second
	// moveGrace is how long old rows are kept where other nodes may be reading them:
	// longer than a query may take.
	moveGrace = 6 * time.Minute
)

// newDatabases names the database of a new tenant whose plan gives it one; nil, if new
// tenants have none.
func (c *Config) newDatabases(shards uint32) func(tenantID string) string {
	if c.Isolation != isolationHybrid {
		return nil
	}
	base := warehouse.Config{URL: c.ClickHouseURL}.DatabaseName()
	return func(tenantID string) string {
		return placement.DatabaseOf(shardDatabase(base, sharding.Of(tenantID, shards)), tenantID)
	}
}

// prepareDatabase makes a tenant's own database, or brings its tables up to date.
func (s *shard) prepareDatabase(ctx context.Context, name string) error {
	db, err := s.db.ForDatabase(ctx, name)
	if err != nil {
		return err
	}
	return errors.Join(db.Migrate(ctx, schemas.Migrations()), db.Close())
}

// restoreWith writes a range again, and never in the pause of a move: the rows would go
// to the place that is about to be the old one.
func (s *shard) restoreWith(replayer *ingest.Replayer) func(context.Context, uint64) (int, error) {
	return func(ctx context.Context, from uint64) (int, error) {
		s.restoring.RLock()
		defer s.restoring.RUnlock()
		return replayer.Restore(ctx, from)
	}
}

// mover moves tenants of the shard on behalf of somebody.
func (s *shard) mover(by tenancy.Actor) *isolation.Mover {
	p := s.p
	cfg := isolation.Config{
		Shard: s.ID, Places: s.placement, Pause: s.pauseCounting, Hold: p.holdMoves,
		Place: func(ctx context.Context, tenant string, to tenancy.Isolation, database string) error {
			_, err := p.registry.Place(ctx, by, tenant, to, database)
			return err
		},
		CatchUp: p.registry.CatchUp,
		Logger:  p.logger.With().Str("part", "moves").Logger(),
	}
	if p.cfg.ClickHouseURL != "" {
		cfg.Grace = moveGrace
		cfg.Redo = func(ctx context.Context, tenant string, after uint64) error {
			_, err := s.worker.RedoTenant(ctx, tenant, after)
			return err
		}
	}
	return isolation.New(cfg, s.db)
}

// move brings a tenant's rows to the shared database or to one of its own; see
// isolation.Mover. It takes as long as it takes to copy them.
func (p *pipeline) move(ctx context.Context, by tenancy.Actor, tenant string, to tenancy.Isolation, progress isolation.Progress) (isolation.Result, error) {
	if err := errors.Join(p.ready(), p.counting()); err != nil {
		return isolation.Result{}, err
	}
	return p.of(tenant).mover(by).Move(ctx, tenant, to, progress)
}

// moveFor is move as the API has it.
func (p *pipeline) moveFor(ctx context.Context, by tenancy.Actor, tenant string, to tenancy.Isolation, step httpapi.Step) (httpapi.Moved, error) {
	r, err := p.move(ctx, by, tenant, to, isolation.Progress(step))
	return httpapi.Moved{
		TenantID: tenant, From: r.From, To: r.To, Rows: r.Rows, Windows: r.Windows, Position: r.Position, PausedMS: r.Paused.Milliseconds(),
	}, err
}

// holdMoves takes the lease of moves, and that of erasures: what is erased in one place
// while it is copied to another would come back.
func (p *pipeline) holdMoves(ctx context.Context, name string) (held context.Context, release func(), err error) {
	leases := jobLease{p.log}
	held, first, err := leases.Hold(ctx, erasure.Lease)
	if err != nil {
		return nil, nil, err
	}
	held, second, err := leases.Hold(held, name)
	if err != nil {
		first()
		return nil, nil, err
	}
	return held, func() { second(); first() }, nil
}

// pauseCounting stops repairs, passes and commits, in this order, so that commits are
// stopped for the shortest time. Events are taken in as ever.
func (s *shard) pauseCounting(ctx context.Context) (paused context.Context, resume func(), err error) {
	writer := s.writing.Load()
	if writer == nil {
		return nil, nil, errNotCounting
	}
	s.restoring.Lock()
	pass := s.worker.Pause()
	open := func() { pass(); s.restoring.Unlock() }
	asking, stop := context.WithTimeout(ctx, pauseWait)
	defer stop()
	paused, write, err := writer.Pause(asking)
	if err != nil {
		open()
		return nil, nil, fmt.Errorf("ask the node that writes: %w", err)
	}
	// The pause is over too when whoever moves is told to stop.
	paused, cancel := context.WithCancel(paused)
	ended := context.AfterFunc(ctx, cancel)
	return paused, sync.OnceFunc(func() { ended(); cancel(); write(); open() }), nil
}

// endMoves goes on with moves that were begun, and takes away what they left.
func (p *pipeline) endMoves(ctx context.Context) (string, error) {
	for _, s := range p.shards {
		err := s.mover(tenancy.Actor{ID: "system:" + movesJob}).Recover(ctx)
		if errors.Is(err, schemas.ErrConflict) {
			return "a move is under way", nil
		}
		if err != nil {
			return "", err
		}
	}
	return "nothing is left of a move", nil
}

// recoverMoves ends moves once counting has begun. What cannot be ended now is tried
// again by the job, and does not stop the counting.
func (p *pipeline) recoverMoves(ctx context.Context) error {
	if err := p.jobs.Trigger(ctx, movesJob); err != nil && ctx.Err() == nil && !errors.Is(err, schemas.ErrConflict) {
		p.logger.Error().Err(err).Msg("a move could not be ended; it is tried again")
	}
	return nil
}
