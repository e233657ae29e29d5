package isolation_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/isolation"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// load commits and makes passes until stop is called, and looks at the tenant that
// moves: what is read lies between what was committed before the look and after it.
func (w *world) load() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			w.commit(40)
		}
	})
	group.Go(func() {
		for ctx.Err() == nil {
			w.pass()
		}
	})
	group.Go(func() {
		for looks := 0; ctx.Err() == nil; looks++ {
			before, position := w.committed(mover)
			got, err := w.reader.Usage(ctx, aggregate.Query{Tenant: mover, Window: month, MinSeq: position})
			if ctx.Err() != nil {
				return
			}
			after, _ := w.committed(mover)
			// A commit is in the tables a moment before it is counted here.
			if err != nil || got.Total.Calls < before || got.Total.Calls > after+40 {
				w.t.Errorf("look %d: %d calls, committed were %d before and %d after: %v", looks, got.Total.Calls, before, after, err)
				return
			}
		}
	})
	return func() { cancel(); group.Wait() }
}

func TestMoveThereAndBackUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 20 {
		w.commit(100)
	}
	w.check()
	own := placement.DatabaseOf(w.db.Database(), mover)
	m := isolation.New(w.config(), w.db)

	stop := w.load()
	steps := map[string]bool{}
	r, err := m.Move(t.Context(), mover, tenancy.IsolatedDatabase, func(step string, _, _ uint64) { steps[step] = true })
	stop()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("moved %d rows and %d windows up to %d, paused for %s", r.Rows, r.Windows, r.Position, r.Paused)
	for _, step := range []string{isolation.StepCopy, isolation.StepPaused, isolation.StepPlaced, isolation.StepCompare, isolation.StepClean} {
		if !steps[step] {
			t.Errorf("progress was not told of step %s", step)
		}
	}
	if n := w.stored(w.db.Database(), mover); n != 0 {
		t.Errorf("%d rows and windows are left in the shared database", n)
	}
	if w.stored(own, mover) == 0 || w.stored(own, stayer) != 0 {
		t.Errorf("the tenant's own database has %d of its and %d of another's", w.stored(own, mover), w.stored(own, stayer))
	}
	w.check()

	again, err := m.Move(t.Context(), mover, tenancy.IsolatedDatabase, nil)
	if err != nil || again.From != again.To {
		t.Errorf("moved again to where it is: %+v, %v", again, err)
	}

	stop = w.load()
	_, err = m.Move(t.Context(), mover, tenancy.SharedDatabase, nil)
	stop()
	if err != nil {
		t.Fatal(err)
	}
	if w.exists(own) {
		t.Error("the tenant's own database is still there")
	}
	w.check()
}

var errCrash = errors.New("crash")

// crashes runs f, which ends at a crash point or not at all.
func crashes(f func()) (crashed bool) {
	defer func() {
		if r := recover(); r != nil {
			if r != errCrash {
				panic(r)
			}
			crashed = true
		}
	}()
	f()
	return false
}

// TestMoveDiesAnywhere ends a move at each crash point, there and back, with all that a
// process has in memory; what comes next finds one place in force and ends the move.
func TestMoveDiesAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 8 {
		w.commit(60)
	}
	w.pass()
	points := []failpoint.Point{
		failpoint.MoveBegun, failpoint.MoveCopied, failpoint.MovePaused, failpoint.MoveVerified, failpoint.MovePlaced, failpoint.MoveCleaned,
	}
	own := placement.DatabaseOf(w.db.Database(), mover)
	for i, point := range points {
		for _, to := range []tenancy.Isolation{tenancy.IsolatedDatabase, tenancy.SharedDatabase} {
			pass := 0
			cfg := w.config().At(func(p failpoint.Point) {
				if p == point {
					if pass++; p != failpoint.MoveCopied || pass == 2 {
						panic(errCrash)
					}
				}
			})
			died := crashes(func() { _, _ = isolation.New(cfg, w.db).Move(t.Context(), mover, to, nil) })
			if !died {
				t.Fatalf("to %s: point %s was not passed", to, point)
			}
			w.start()
			view, err := w.places.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			isThere := (view.Database(mover) == own) == (to == tenancy.IsolatedDatabase)
			view.Close()
			if isThere != (i >= 4) {
				t.Errorf("to %s: after a death at %s the new place is in force: %t", to, point, isThere)
			}
			w.commit(20) // counting goes on before the move does
			w.check()
			if err := isolation.New(w.config(), w.db).Recover(t.Context()); err != nil {
				t.Fatalf("to %s: recover after %s: %v", to, point, err)
			}
			w.check()
			shared, isolated := w.stored(w.db.Database(), mover), w.exists(own)
			if to == tenancy.IsolatedDatabase && (shared != 0 || !isolated) || to == tenancy.SharedDatabase && (shared == 0 || isolated) {
				t.Errorf("to %s: after %s and recovery %d rows and windows are shared; a database of its own: %t", to, point, shared, isolated)
			}
			if t.Failed() {
				t.Fatalf("to %s, point %s", to, point)
			}
		}
	}
}

// TestMoveAsksAgain: the answer to the change is lost, or comes late.
func TestMoveAsksAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(100)
	w.pass()
	asked := 0
	w.placer = func() error {
		if asked++; asked < 3 {
			return schemas.ErrUnavailable
		}
		if w.pause.TryRLock() {
			t.Error("counting goes on while it is not known where the tenant is")
		}
		return nil
	}
	if _, err := isolation.New(w.config(), w.db).Move(t.Context(), mover, tenancy.IsolatedDatabase, nil); err != nil {
		t.Fatal(err)
	}
	w.check()
}

// TestMoveRefusesWhatDiffers: something is in the target that is not in the source.
func TestMoveRefusesWhatDiffers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(100)
	w.pass()
	cfg := w.config().At(func(p failpoint.Point) {
		if p == failpoint.MoveCopied {
			err := w.db.Exec(context.Background(), "INSERT INTO "+placement.DatabaseOf(w.db.Database(), mover)+
				".usage_raw (tenant, time, source, event_id, rank, calls) VALUES ('"+mover+"', '2026-05-05 00:00:00', 's', 'strange', bitNot(toUInt64(1)), 1)")
			if err != nil {
				t.Error(err)
			}
		}
	})
	if _, err := isolation.New(cfg, w.db).Move(t.Context(), mover, tenancy.IsolatedDatabase, nil); !errors.Is(err, isolation.ErrDiffers) {
		t.Fatalf("moved with a row that is in the target alone: %v", err)
	}
	w.check()
	if _, err := isolation.New(w.config(), w.db).Move(t.Context(), mover, tenancy.IsolatedDatabase, nil); err != nil {
		t.Fatalf("and again: %v", err)
	}
	w.check()
}

// TestMoveWaitsForReaders: who took a view before the change reads the old place to the
// end.
func TestMoveWaitsForReaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(200)
	w.pass()
	view, err := w.places.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := w.stored(view.Database(mover), mover)
	var left atomic.Bool
	var reader sync.WaitGroup
	_, err = isolation.New(w.config(), w.db).Move(t.Context(), mover, tenancy.IsolatedDatabase, func(step string, _, _ uint64) {
		switch step {
		case isolation.StepPlaced:
			reader.Go(func() {
				if now := w.stored(view.Database(mover), mover); now != before {
					t.Errorf("%d rows and windows before the change, %d after it", before, now)
				}
				left.Store(true)
				view.Close()
			})
		case isolation.StepCompare:
			if !left.Load() {
				t.Error("the old place is about to be emptied while somebody reads it")
			}
		}
	})
	reader.Wait()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMoveUnheardOf: a node that has not heard of the change makes a pass by the places
// before it. The windows are made again where they belong.
func TestMoveUnheardOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(100)
	w.pass()
	w.commit(100)
	elsewhere := rollup.New(rollup.Config{}, rollup.NewTables(w.db, nil))
	cfg := w.config()
	cfg.Redo = func(ctx context.Context, tenant string, after uint64) error {
		pass, err := w.worker.RedoTenant(ctx, tenant, after)
		if pass.Hours == 0 || pass.Days == 0 || pass.Months == 0 {
			t.Errorf("made again: %+v", pass)
		}
		return err
	}
	_, err := isolation.New(cfg, w.db).Move(t.Context(), mover, tenancy.IsolatedDatabase, func(step string, _, _ uint64) {
		if step == isolation.StepPlaced {
			if _, err := elsewhere.Pass(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	w.check()
}

// TestRepairInTheTenantsPlace: what is missing in a tenant's own database is found and
// comes back there.
func TestRepairInTheTenantsPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.commit(100)
	w.pass()
	if _, err := isolation.New(w.config(), w.db).Move(t.Context(), mover, tenancy.IsolatedDatabase, nil); err != nil {
		t.Fatal(err)
	}
	own := placement.DatabaseOf(w.db.Database(), mover)
	rows, _, err := w.reader.Recent(t.Context(), mover, 500, "")
	if err != nil || len(rows) != 100 {
		t.Fatalf("%d events: %v", len(rows), err)
	}
	if err := w.db.Exec(t.Context(), "ALTER TABLE "+own+".usage_raw DELETE WHERE tenant = '"+mover+"'"); err != nil {
		t.Fatal(err)
	}
	repairer := rollup.NewRepairer(rollup.RepairConfig{
		Restore: func(ctx context.Context, _ uint64) (int, error) {
			return len(rows), w.tables.WriteRows(ctx, rows)
		},
	}, rollup.NewVerifier(rollup.VerifyConfig{Places: w.places}, w.db), w.worker)
	done, err := repairer.Repair(t.Context(), rollup.VerifyOptions{}, false, nil)
	if err != nil || !done.Report.OK() || len(done.Done) == 0 {
		t.Errorf("repair did %v: %v", done.Done, err)
	}
	if n := w.stored(w.db.Database(), mover); n != 0 {
		t.Errorf("%d rows came back in the shared database", n)
	}
	w.check()
}
