package erasure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Registry is who knows tenants, as an Eraser sees it.
type Registry interface {
	// Closed returns nil if nothing of the tenant's is taken in any more, and why not
	// otherwise: a tenant has to be deleted before it can be erased.
	Closed(ctx context.Context, tenant string) error
	// Subjects are those of CONTROL that hold records of the tenant alone. Once it is
	// erased, its slug is free, and the slug's subject is not among them.
	Subjects(tenant string) []string
	// Erased records that a tenant is erased, with its certificate, and returns the
	// position of that record. It can be repeated.
	Erased(ctx context.Context, by tenancy.Actor, tenant string, certificate json.RawMessage) (uint64, error)
	// UserErased records the same of a user.
	UserErased(ctx context.Context, actor, tenant string, certificate json.RawMessage) error
}

// Store is another place that holds something of a tenant.
type Store struct {
	Name string
	// Erase removes it and returns how many things went. It can be repeated.
	Erase func(ctx context.Context, tenant string) (int, error)
}

// Config is what an Eraser needs to know. Zero fields take the default named beside
// them.
type Config struct {
	// Shard is what the log, the ledger and the tables are of.
	Shard    schemas.Shard
	Registry Registry
	// Events returns how many events a message of the usage log holds, as the ledger
	// counts them.
	Events func(*eventlog.Record) int
	// Carries reports whether a message of the usage log holds an event of a user, or
	// may, if it cannot be read.
	Carries func(r *eventlog.Record, user string) bool
	// Names reports whether the body of a rejected event names a user.
	Names func(body []byte, user string) bool
	// Hold takes a lease for as long as an erasure runs; one runs at a time.
	Hold func(ctx context.Context, name string) (context.Context, func(), error)
	// Halted says why nothing is counted now, nil if it is.
	Halted func() error
	// Rebuild makes the live totals anew from the tables.
	Rebuild func(ctx context.Context) error
	// Placement says in which database a tenant's rows lie; nil is one for all. No
	// tenant may move while an erasure runs: Hold's lease is that of moves too.
	Placement *placement.Map
	// Drop removes the database of its own that an erased tenant had, which is empty by
	// then. It can be repeated. Nil: there are none.
	Drop func(ctx context.Context, database string) error
	// Stores are other places.
	Stores []Store
	// CountedMax is how long counting may take to come to the end of the log, 10 min.
	CountedMax time.Duration
	// ForgetMax is how long replaced files may take to go, 10 min: on a cluster they
	// go by themselves after eight.
	ForgetMax time.Duration
	// Now is the clock; time.Now.
	Now    func() time.Time
	Logger zerolog.Logger
}

// Progress is told how far a step is.
type Progress func(step string, done, total uint64)

// Eraser erases tenants and users.
type Eraser struct {
	cfg      Config
	log      Log
	db       DB
	places   *Places
	progress Progress
}

// New returns an Eraser that does nothing until it is asked.
func New(cfg Config, log Log, db DB, places *Places) *Eraser {
	if cfg.CountedMax == 0 {
		cfg.CountedMax = 10 * time.Minute
	}
	if cfg.ForgetMax == 0 {
		cfg.ForgetMax = 10 * time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Placement == nil {
		cfg.Placement = placement.Shared(db.Database())
	}
	return &Eraser{cfg: cfg, log: log, db: db, places: places, progress: func(string, uint64, uint64) {}}
}

// held runs f under the lease, after everything that was interrupted is completed: two
// erasures under way at once would hide rows of each other.
func (e *Eraser) held(ctx context.Context, progress Progress, f func(context.Context, *Eraser) error) error {
	ctx, release, err := e.cfg.Hold(ctx, Lease)
	if err != nil {
		return fmt.Errorf("another erasure runs: %w", err)
	}
	defer release()
	run := *e
	if progress != nil {
		run.progress = progress
	}
	states, err := run.all(ctx)
	if err != nil {
		return err
	}
	if err := run.places.prune(ctx, states); err != nil {
		return err
	}
	for _, st := range states {
		if st.Phase == phasePlanned || st.Phase == phaseErased {
			if err := run.complete(ctx, st); err != nil && st.Phase != phaseBegun {
				return fmt.Errorf("complete the erasure of %s that was interrupted: %w", st.Tenant, err)
			}
		}
	}
	return f(ctx, &run)
}

// EraseTenant erases a tenant that is deleted. Asked again, it completes what was
// interrupted, or returns the certificate. progress may be nil.
//
// Errors: what Registry.Closed returns; schemas.ErrConflict (another erasure runs);
// schemas.ErrUnavailable (nothing is counted now, or a store is away): ask again.
func (e *Eraser) EraseTenant(ctx context.Context, tenant string, by tenancy.Actor, progress Progress) (cert Certificate, err error) {
	err = e.held(ctx, progress, func(ctx context.Context, e *Eraser) error {
		st, err := e.load(ctx, tenant)
		if err != nil {
			return err
		}
		if st == nil {
			st = &state{Erasure: newID(), Tenant: tenant, Whole: true, Actor: by.ID, IP: by.IP, StartedAt: e.cfg.Now().UTC(), Phase: phaseBegun}
		}
		if st.Phase == phaseBegun {
			if err := e.cfg.Registry.Closed(ctx, tenant); err != nil {
				return err
			}
			if err := e.begin(ctx, st, ""); err != nil {
				return err
			}
		}
		if err := e.complete(ctx, st); err != nil {
			return err
		}
		cert = *st.Certificate
		return nil
	})
	if err != nil {
		return Certificate{}, fmt.Errorf("erase tenant %s: %w", tenant, err)
	}
	return cert, nil
}

// EraseUser takes the name of one end user out of a tenant's data, and everything that
// goes with it. Events of that user that come later are new ones. Who it was is kept
// nowhere, so an erasure that was interrupted before it was planned has to be asked for
// again; after that it is completed like any other. Errors are those of EraseTenant.
func (e *Eraser) EraseUser(ctx context.Context, tenant, user, actor string, progress Progress) (cert Certificate, err error) {
	if user == "" {
		return cert, fmt.Errorf("erase a user of %s: %w: no user is named", tenant, schemas.ErrInvalid)
	}
	err = e.held(ctx, progress, func(ctx context.Context, e *Eraser) error {
		st := &state{Erasure: newID(), Tenant: tenant, Actor: actor, StartedAt: e.cfg.Now().UTC(), Phase: phaseBegun}
		if err := e.begin(ctx, st, user); err != nil {
			return err
		}
		if err := e.complete(ctx, st); err != nil {
			return err
		}
		cert = *st.Certificate
		return nil
	})
	if err != nil {
		return Certificate{}, fmt.Errorf("erase a user of tenant %s: %w", tenant, err)
	}
	return cert, nil
}

// begin plans: from its end on, everything of the erasure is decided.
func (e *Eraser) begin(ctx context.Context, st *state, user string) error {
	newest, err := e.log.LastOf(ctx, e.cfg.Shard.Stream(), e.cfg.Shard.Subjects()...)
	if err != nil {
		return err
	}
	if st.Erased == nil {
		st.Erased = map[string]uint64{}
	}
	// Not the newest message: rows of one that was erased may lie behind it.
	if st.Position, err = e.counted(ctx, max(newest, st.After)); err != nil {
		return err
	}
	e.progress("plan", 0, 1)
	var entries []entry
	if st.Whole {
		var months []Month
		if entries, months, err = e.planTenant(ctx, st, st.After); err != nil {
			return err
		}
		st.addMonths(months)
	} else if entries, err = e.planUser(ctx, st, user); err != nil {
		return err
	}
	st.count(entries)
	if err := e.record(ctx, st, entries); err != nil {
		return err
	}
	if st.Whole {
		keys, err := e.keysLeft(ctx, st)
		if err != nil {
			return err
		}
		st.Erased["usage_keys"] += keys
	}
	failpoint.Hit(failpoint.ErasureRecorded)
	if err := e.places.put(ctx, st.plan(), entries); err != nil {
		return err
	}
	st.Phase = phasePlanned
	// THE COMMIT POINT of the state: whoever finds it completes the erasure. Until the
	// row of mark is there too, all that is planned is stored, and counts.
	return e.save(ctx, st)
}

// roundsMax bounds how often what came meanwhile is erased too. A tenant that is
// deleted sends nothing; what was under way then is there by the second round.
const roundsMax = 5

// complete carries out what is planned, as often as it takes.
func (e *Eraser) complete(ctx context.Context, st *state) error {
	for ; st.Phase == phasePlanned; st.Round++ {
		if err := e.carryOut(ctx, st); err != nil {
			return err
		}
		more, err := e.later(ctx, st)
		if err != nil {
			return err
		}
		if !more {
			st.Phase = phaseErased
			if err := e.save(ctx, st); err != nil {
				return err
			}
			break
		}
		if st.Round >= roundsMax {
			return fmt.Errorf("messages of the tenant keep coming in: %w", schemas.ErrConflict)
		}
		next := *st
		next.Round, next.After, next.Phase = st.Round+1, st.Position, phaseBegun
		if err := e.begin(ctx, &next, ""); err != nil {
			return err
		}
		round := st.Round
		*st = next
		st.Round = round // the loop counts it
	}
	if st.Phase == phaseErased {
		return e.certify(ctx, st)
	}
	return nil
}

// carryOut erases what a plan names, and looks whether it is gone.
func (e *Eraser) carryOut(ctx context.Context, st *state) error {
	known, err := e.known(ctx, st)
	if err != nil {
		return err
	}
	if st.Whole && st.Phase == phasePlanned && !known {
		if err := e.cfg.Registry.Closed(ctx, st.Tenant); err != nil {
			st.Phase = phaseBegun // it was restored meanwhile; nothing has gone
			return errors.Join(err, e.save(ctx, st))
		}
	}
	// THE COMMIT POINT: from here on nobody looks at what is planned.
	if err := e.mark(ctx, st, statePlanned); err != nil {
		return err
	}
	failpoint.Hit(failpoint.ErasureMarked)
	// A repair that began before it may write rows again until it ends.
	const triesMax = 3
	for try := 1; ; try++ {
		if err := e.eraseTables(ctx, st); err != nil {
			return err
		}
		if !st.Whole {
			break
		}
		left, err := e.inTables(ctx, st)
		if err != nil {
			return err
		}
		if left == 0 {
			break
		}
		later, err := e.later(ctx, st)
		if err != nil {
			return err
		}
		if later {
			break // they are of messages that have their own round
		}
		if try == triesMax {
			return fmt.Errorf("%d rows of the tenant were written again: %w", left, schemas.ErrUnavailable)
		}
	}
	entries, err := e.places.of(ctx, st.plan())
	if err != nil {
		return err
	}
	var seqs []uint64
	for i := range entries {
		seqs = append(seqs, entries[i].Seqs...)
	}
	e.progress("log", 0, uint64(len(seqs)))
	if err := e.log.Erase(ctx, e.cfg.Shard.Stream(), seqs); err != nil {
		return err
	}
	failpoint.Hit(failpoint.ErasureLog)
	if st.Whole {
		if err := e.eraseStores(ctx, st); err != nil {
			return err
		}
	}
	if err := e.cfg.Rebuild(ctx); err != nil {
		return fmt.Errorf("rebuild live totals: %w", err)
	}
	if err := e.mark(ctx, st, stateDone); err != nil {
		return err
	}
	failpoint.Hit(failpoint.ErasureDone)
	return nil
}

// eraseStores erases what lies elsewhere.
func (e *Eraser) eraseStores(ctx context.Context, st *state) error {
	for _, stream := range []string{schemas.StreamDecisions} {
		seqs, err := e.log.Find(ctx, stream, []string{"decision." + st.Tenant, "decision." + st.Tenant + ".>"}, ^uint64(0), nil)
		if err != nil {
			return err
		}
		if err := e.log.Erase(ctx, stream, seqs); err != nil {
			return err
		}
		st.Erased[strings.ToLower(stream)] += uint64(len(seqs))
	}
	for _, store := range e.cfg.Stores {
		n, err := store.Erase(ctx, st.Tenant)
		if err != nil {
			return fmt.Errorf("erase from %s: %w", store.Name, err)
		}
		st.Erased[store.Name] += uint64(n)
	}
	return nil
}

// later reports whether messages of a tenant came after the plan.
func (e *Eraser) later(ctx context.Context, st *state) (bool, error) {
	if !st.Whole {
		return false, nil
	}
	newest, err := e.log.LastOf(ctx, e.cfg.Shard.Stream(), e.subjects(st.Tenant)...)
	return newest > st.Position, err
}

// certify makes the certificate, has it recorded, and erases the registry's records.
func (e *Eraser) certify(ctx context.Context, st *state) error {
	if st.Certificate == nil {
		scope := "user"
		if st.Whole {
			scope = "tenant"
			seqs, err := e.log.Find(ctx, schemas.StreamControl, e.cfg.Registry.Subjects(st.Tenant), ^uint64(0), nil)
			if err != nil {
				return err
			}
			st.Control = seqs
			st.Erased["control"] = uint64(len(seqs))
		}
		st.Certificate = &Certificate{Version: certificateVersion, Erasure: st.Erasure, TenantID: st.Tenant, Scope: scope, Actor: st.Actor,
			StartedAt: st.StartedAt, FinishedAt: e.cfg.Now().UTC(), Position: st.Position, Erased: st.Erased, Months: st.Months}
		st.Certificate.seal()
		if err := e.save(ctx, st); err != nil {
			return err
		}
	}
	text, err := json.Marshal(st.Certificate)
	if err != nil {
		return err
	}
	if st.Whole {
		record, err := e.cfg.Registry.Erased(ctx, tenancy.Actor{ID: st.Actor, IP: st.IP}, st.Tenant, text)
		if err != nil {
			return fmt.Errorf("record the certificate: %w", err)
		}
		failpoint.Hit(failpoint.ErasureCertified)
		own := slices.DeleteFunc(st.Control, func(seq uint64) bool { return seq >= record })
		if err := e.log.Erase(ctx, schemas.StreamControl, own); err != nil {
			return err
		}
		if _, err := e.eraseControl(ctx, st.Tenant, record); err != nil {
			return err
		}
	} else if err := e.cfg.Registry.UserErased(ctx, st.Actor, st.Tenant, text); err != nil {
		return fmt.Errorf("record the certificate: %w", err)
	}
	if st.Whole && e.cfg.Drop != nil {
		databases, err := e.databases(ctx, st.Tenant)
		if err != nil {
			return err
		}
		for _, name := range databases {
			if name == e.db.Database() {
				continue
			}
			if err := e.cfg.Drop(ctx, name); err != nil {
				return fmt.Errorf("drop the tenant's database: %w", err)
			}
		}
	}
	st.Phase = phaseDone
	if err := e.save(ctx, st); err != nil {
		return err
	}
	e.cfg.Logger.Info().Str("erasure", st.Erasure).Str("tenant", st.Tenant).Str("scope", st.Certificate.Scope).
		Str("actor", st.Actor).Str("sha256", st.Certificate.SHA256).Msg("erased for ever")
	return nil
}

// eraseControl erases what is on the subjects of an erased tenant besides the record of
// its erasure, and returns how many records went. A node that is behind may write one
// after they were listed, and even after the erasure is recorded, before it reads that.
func (e *Eraser) eraseControl(ctx context.Context, tenant string, record uint64) (gone int, err error) {
	seqs, err := e.log.Find(ctx, schemas.StreamControl, e.cfg.Registry.Subjects(tenant), ^uint64(0), nil)
	if err != nil {
		return 0, err
	}
	seqs = slices.DeleteFunc(seqs, func(seq uint64) bool { return seq == record })
	return len(seqs), e.log.Erase(ctx, schemas.StreamControl, seqs)
}
