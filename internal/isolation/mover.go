package isolation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// DB is the warehouse as this package uses it; *warehouse.DB is one.
type DB interface {
	// Database is the one that tenants share.
	Database() string
	Exec(ctx context.Context, sql string, params ...warehouse.Param) error
	Query(ctx context.Context, sql string, params ...warehouse.Param) (*warehouse.Rows, error)
	// DropDatabase takes a database away with all that is in it; one that is not there
	// is no error.
	DropDatabase(ctx context.Context, name string) error
}

// Config is what a Mover needs to know. Zero limits take the default named beside
// them.
type Config struct {
	// Shard is the ledger's shard.
	Shard uint32
	// Places are those in force.
	Places *placement.Map
	// Place makes a tenant's place another one and returns when this node knows it. The
	// database is "" for the shared one. It is called again after schemas.ErrUnavailable
	// and schemas.ErrConflict.
	Place func(ctx context.Context, tenant string, to tenancy.Isolation, database string) error
	// Pause stops commits, passes and repairs on every node until resume is called. The
	// context it returns ends if the pause cannot be relied on any more.
	Pause func(ctx context.Context) (paused context.Context, resume func(), err error)
	// Hold takes a lease, as rollup.JobLease does: one move at a time, over all nodes, and
	// none while anything is erased.
	Hold func(ctx context.Context, name string) (held context.Context, release func(), err error)
	// CatchUp returns when this node knows every place that was in force at the call; nil
	// where no other node gives any.
	CatchUp func(ctx context.Context) error
	// Grace is how long after the change old rows are kept for readers of other nodes,
	// which may not have heard of it. 0 where there are none.
	Grace time.Duration
	// Redo makes the windows of a tenant again that came of ranges after a position. It is
	// called after Grace: a node that had not heard of the change may have replaced some
	// of them in the old place. nil where there are no other nodes.
	Redo func(ctx context.Context, tenant string, after uint64) error
	// ChunkRows is how many rows one statement copies, 100,000: a second or two, for
	// which the writer may have to wait when it wants to insert into the same table. A
	// smaller number reads more: events that came in another order than they happened
	// lie scattered, and each chunk looks at all of them.
	ChunkRows uint32
	// TailRows is how many rows may be left to copy in the pause, 5,000.
	TailRows uint64
	// RoundsMax bounds how often what came meanwhile is copied before the pause, 20. A
	// tenant that is written to faster than it can be copied is paused for longer.
	RoundsMax int
	// PauseMax bounds the pause before the change, 1 min. A move that needs longer is
	// given up before the change and can be made again.
	PauseMax time.Duration
	Now      func() time.Time
	Logger   zerolog.Logger
	// at, in tests, is told each crash point that is passed.
	at func(failpoint.Point)
}

func (c Config) withDefaults() Config {
	orDefault(&c.ChunkRows, 100_000)
	orDefault(&c.TailRows, 5_000)
	orDefault(&c.RoundsMax, 20)
	orDefault(&c.PauseMax, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.at == nil {
		c.at = func(failpoint.Point) {}
	}
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// ErrDiffers says that two places do not hold the same rows or windows of a tenant.
var ErrDiffers = errors.New("the two places of the tenant differ")

// Mover moves tenants.
type Mover struct {
	cfg Config
	db  DB
}

// New returns a Mover.
func New(cfg Config, db DB) *Mover { return &Mover{cfg: cfg.withDefaults(), db: db} }

// The steps of a move, in order. All but the last two are told to Progress.
const (
	StepCopy    = "copy"
	StepPaused  = "paused"
	StepPlaced  = "placed"
	StepCompare = "compare"
	StepClean   = "clean"
)

// Progress is told how far a move is: rows copied in this call, of about total.
type Progress func(step string, rows, total uint64)

// A Result says what a Move did.
type Result struct {
	// From and To are databases. They are the same if there was nothing to do.
	From, To string
	// Rows and Windows are what was held against each other and is in the new place.
	Rows, Windows uint64
	// Position is that of the ledger at the change: what came later went to the new
	// place at once.
	Position uint64
	// Paused is for how long nothing was counted.
	Paused time.Duration
}

// Move brings a tenant's content to the shared database or to one of its own, and
// returns when the old rows are gone. One that was begun before goes on. A tenant
// that is there already is no error. progress may be nil.
//
// Errors: ErrDiffers, schemas.ErrConflict (a move is under way), schemas.ErrInvalid,
// schemas.ErrUnavailable (try again: it goes on from where it was).
func (m *Mover) Move(ctx context.Context, tenant string, to tenancy.Isolation, progress Progress) (Result, error) {
	var target string
	switch to {
	case tenancy.SharedDatabase:
		target = m.db.Database()
	case tenancy.IsolatedDatabase:
		target = placement.DatabaseOf(m.db.Database(), tenant)
	default:
		return Result{}, schemas.Invalid("/to", schemas.CodeUnknown, "%q is no isolation model; use %s or %s",
			string(to), tenancy.SharedDatabase, tenancy.IsolatedDatabase)
	}
	held, release, err := m.cfg.Hold(ctx, "move")
	if err != nil {
		return Result{}, fmt.Errorf("move tenant %s: %w", tenant, err)
	}
	defer release()
	r, err := m.move(held, tenant, target, progress)
	if err != nil {
		return r, fmt.Errorf("move tenant %s to database %s: %w", tenant, target, err)
	}
	return r, nil
}

// Recover ends what a crash has left: it goes on with moves that were begun, and takes
// away rows and databases that are in force for nobody. Call it at each start, when
// counting has begun.
func (m *Mover) Recover(ctx context.Context) error {
	held, release, err := m.cfg.Hold(ctx, "move")
	if err != nil {
		return fmt.Errorf("recover moves: %w", err)
	}
	defer release()
	open, err := m.openMoves(held)
	if err != nil {
		return fmt.Errorf("recover moves: %w", err)
	}
	for _, s := range open {
		m.cfg.Logger.Info().Str("tenant", s.tenant).Str("database", s.target).Uint64("copied", s.copied).Msg("a move that was begun goes on")
		if _, err := m.move(held, s.tenant, s.target, nil); err != nil {
			return fmt.Errorf("go on with moving tenant %s to database %s: %w", s.tenant, s.target, err)
		}
	}
	if err := m.sweep(held); err != nil {
		return fmt.Errorf("recover moves: %w", err)
	}
	return nil
}

func (m *Mover) move(ctx context.Context, tenant, target string, progress Progress) (Result, error) {
	if progress == nil {
		progress = func(string, uint64, uint64) {}
	}
	source, err := m.sourceOf(ctx, tenant)
	if err != nil {
		return Result{}, err
	}
	r := Result{From: source, To: target}
	t, err := m.resume(ctx, tenant)
	if err != nil {
		return r, err
	}
	switch {
	case source == target && t.state.target == target && (t.state.step == stepCopied || t.state.step == stepCleaning):
		// The change stands; what is left is to take the old rows away.
		r.From, r.Position = m.other(tenant, target), t.state.copied
		return r, m.finish(ctx, t, &r, progress)
	case source == target:
		if t.open() && t.state.target != target { // to the other place, given up before the change
			if err := m.clear(ctx, tenant, t.state.target); err != nil {
				return r, err
			}
			return r, m.note(ctx, t, stepGivenUp, t.state.target, 0)
		}
		return r, nil
	case !t.open() || t.state.target != target || t.state.step == stepBegun:
		if err := m.begin(ctx, t, target); err != nil {
			return r, err
		}
	}
	if target != m.db.Database() {
		if err := m.cfg.Places.Prepare(ctx, target); err != nil {
			return r, err
		}
	}
	if err := m.copyAhead(ctx, t, source, progress); err != nil {
		return r, err
	}
	if err := m.change(ctx, t, source, &r, progress); err != nil {
		return r, err
	}
	return r, m.finish(ctx, t, &r, progress)
}

// sourceOf returns the database that a tenant's content is in.
func (m *Mover) sourceOf(ctx context.Context, tenant string) (string, error) {
	view, err := m.cfg.Places.View(ctx)
	if err != nil {
		return "", err
	}
	defer view.Close()
	return view.Database(tenant), nil
}

// other returns the place of a tenant that is not this one.
func (m *Mover) other(tenant, database string) string {
	if database == m.db.Database() {
		return placement.DatabaseOf(database, tenant)
	}
	return m.db.Database()
}

// hit marks a crash point.
func (m *Mover) hit(p failpoint.Point) {
	failpoint.Hit(p)
	m.cfg.at(p)
}

// begin writes down that a move has begun, and empties its target of what an earlier
// one may have left: a row that was erased since would come back with it.
func (m *Mover) begin(ctx context.Context, t *transfer, target string) error {
	if err := m.note(ctx, t, stepBegun, target, 0); err != nil {
		return err
	}
	m.hit(failpoint.MoveBegun)
	if err := m.clear(ctx, t.tenant, target); err != nil {
		return err
	}
	return m.note(ctx, t, stepCopied, target, 0)
}

// change is the pause: what is left is copied and the tenant gets its new place.
func (m *Mover) change(ctx context.Context, t *transfer, source string, r *Result, progress Progress) error {
	paused, resume, err := m.cfg.Pause(ctx)
	if err != nil {
		return fmt.Errorf("pause counting: %w", err)
	}
	defer resume()
	began := m.cfg.Now()
	progress(StepPaused, t.rows, t.rows)
	m.hit(failpoint.MovePaused)
	bounded, cancel := context.WithTimeout(paused, m.cfg.PauseMax)
	defer cancel()
	if err := m.copyRest(bounded, t, source, r); err != nil {
		return err
	}
	m.hit(failpoint.MoveVerified)

	// THE CHANGE. Before this record the old place is in force and the copy does not
	// count; after it the new one is, and the old rows do not count. If its answer is
	// lost it is asked for again, with counting paused: a writer that went on while it
	// is under way could write to the place that is no longer in force.
	to, database := tenancy.IsolatedDatabase, t.state.target
	if database == m.db.Database() {
		to, database = tenancy.SharedDatabase, ""
	}
	const retryEvery = 200 * time.Millisecond
	for {
		err := m.cfg.Place(paused, t.tenant, to, database)
		if err == nil {
			break
		}
		again := errors.Is(err, schemas.ErrUnavailable) || errors.Is(err, schemas.ErrConflict) // or somebody changed the tenant
		if !again || paused.Err() != nil {
			return fmt.Errorf("place the tenant: %w", err)
		}
		m.cfg.Logger.Warn().Err(err).Str("tenant", t.tenant).Msg("the tenant's new place is not on the log yet; ask again")
		timer := time.NewTimer(retryEvery)
		select {
		case <-timer.C:
		case <-paused.Done():
			timer.Stop()
			return fmt.Errorf("place the tenant: %w", err)
		}
	}
	m.hit(failpoint.MovePlaced)
	resume()
	r.Paused = m.cfg.Now().Sub(began)
	progress(StepPlaced, t.rows, t.rows)
	m.cfg.Logger.Info().Str("tenant", t.tenant).Str("from", source).Str("to", t.state.target).
		Uint64("position", r.Position).Uint64("rows", t.rows).Dur("paused", r.Paused).Msg("a tenant has another place")
	return nil
}

// finish takes the old rows away once nobody reads them any more and both places were
// compared in whole.
func (m *Mover) finish(ctx context.Context, t *transfer, r *Result, progress Progress) error {
	if err := m.cfg.Places.Drain(ctx); err != nil {
		return err
	}
	if m.cfg.Grace > 0 {
		timer := time.NewTimer(m.cfg.Grace)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if m.cfg.Redo != nil {
		if err := m.cfg.Redo(ctx, t.tenant, t.redoAfter); err != nil {
			return fmt.Errorf("make the newest windows again: %w", err)
		}
	}
	progress(StepCompare, t.rows, t.rows)
	gone, err := m.missing(ctx, r.From)
	if err != nil {
		return err
	}
	if !gone {
		sums, err := m.compareRows(ctx, t.tenant, r.From, r.To, 0, r.Position)
		// Some may be taken away already, by the attempt before this one.
		if errors.Is(err, ErrDiffers) && sums.source.rows < sums.target.rows && t.state.step == stepCleaning {
			err = nil
		}
		if err != nil {
			return err
		}
		r.Rows = sums.target.rows
	}
	if err := m.note(ctx, t, stepCleaning, r.To, r.Position); err != nil {
		return err
	}
	progress(StepClean, t.rows, t.rows)
	if err := m.clear(ctx, t.tenant, r.From); err != nil {
		return err
	}
	m.hit(failpoint.MoveCleaned)
	return m.note(ctx, t, stepDone, r.To, r.Position)
}
