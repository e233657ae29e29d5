package isolation_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/isolation"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

func TestMain(m *testing.M) { os.Exit(warehousetest.Main(m)) }

// The tenants of a world; mover is the one that moves.
const (
	mover  = "ten_mover"
	stayer = "ten_stayer"
)

// month is when everything happens.
var month = schemas.WindowOf(schemas.GrainMonth, time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC))

// A world is a warehouse on the real engine, with the stages' own tables, a writer that
// commits made-up events as ingest.Writer does, and the facts that CONTROL would have.
type world struct {
	t      *testing.T
	db     *warehouse.DB
	placed atomic.Pointer[map[string]string]
	// pause is held by a move, and read-held by each commit, pass and repair.
	pause sync.RWMutex

	places *placement.Map
	tables *ingest.Tables
	live   *aggregate.Live
	worker *rollup.Worker
	reader *aggregate.Reader

	mu     sync.Mutex // guards what follows; of the writer
	rng    *rand.Rand
	next   uint64
	calls  map[string]int64 // committed, by tenant
	placer func() error     // nil, or what Place does first
}

func newWorld(t *testing.T) *world {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := &world{t: t, db: warehousetest.Open(t), rng: rand.New(rand.NewPCG(seed, 1)), next: 1, calls: map[string]int64{}}
	if err := w.db.Migrate(t.Context(), schemas.Migrations()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, tenant := range []string{mover, stayer} {
			if err := w.db.DropDatabase(context.Background(), placement.DatabaseOf(w.db.Database(), tenant)); err != nil {
				t.Error(err)
			}
		}
	})
	w.start()
	return w
}

// start makes everything that a process has in memory, as after a crash.
func (w *world) start() {
	w.t.Helper()
	w.places = placement.New(placement.Config{
		Shared: w.db.Database(),
		Placed: func() map[string]string {
			if placed := w.placed.Load(); placed != nil {
				return *placed
			}
			return nil
		},
		Prepare: w.prepare,
	})
	w.tables = ingest.NewTables(w.db, w.places)
	w.live = aggregate.NewLive(aggregate.LiveConfig{Now: month.End().Add(-time.Hour).UTC}, aggregate.NewLiveTables(w.db, w.places))
	w.worker = rollup.New(rollup.Config{}, rollup.NewTables(w.db, w.places))
	w.reader = aggregate.NewReader(aggregate.ReaderConfig{Rollups: w.worker, Places: w.places}, w.db)
	if err := w.live.Rebuild(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) prepare(ctx context.Context, database string) error {
	other, err := w.db.ForDatabase(ctx, database)
	if err != nil {
		return err
	}
	err = other.Migrate(ctx, schemas.Migrations())
	if closed := other.Close(); err == nil {
		err = closed
	}
	return err
}

// place is the fact on CONTROL.
func (w *world) place(_ context.Context, tenant string, to tenancy.Isolation, database string) error {
	if w.placer != nil {
		if err := w.placer(); err != nil {
			return err
		}
	}
	placed := map[string]string{}
	if to == tenancy.IsolatedDatabase {
		placed[tenant] = database
	}
	w.placed.Store(&placed)
	return nil
}

func (w *world) config() isolation.Config {
	return isolation.Config{
		Places: w.places, Place: w.place, ChunkRows: 300, TailRows: 50,
		Pause: func(ctx context.Context) (context.Context, func(), error) {
			w.pause.Lock()
			return ctx, sync.OnceFunc(w.pause.Unlock), nil
		},
		Hold: func(ctx context.Context, _ string) (context.Context, func(), error) { return ctx, func() {}, nil },
	}
}

// event makes up an accepted event of a tenant.
func (w *world) event(tenant string, seq uint64, idx uint16) schemas.Accepted {
	at := month.Start.Add(time.Duration(w.rng.Int64N(int64(20 * 24 * time.Hour)))).Truncate(time.Millisecond)
	a := schemas.Accepted{Tenant: tenant, Seq: seq, Idx: idx, ReceivedAt: at.UnixMilli(), Calls: 1, PriceRevision: 1}
	a.Event = schemas.Event{
		ID: fmt.Sprintf("e-%d-%d", seq, idx), Source: "/runtime", Type: schemas.TypeLLMCall, Time: at.UnixMilli(),
		Provider: "p", Model: fmt.Sprintf("m%d", w.rng.IntN(3)), Department: "d", Agent: fmt.Sprintf("a%d", w.rng.IntN(4)),
		Status: schemas.StatusOK, Units: []schemas.Unit{{Name: "pages", Count: int64(w.rng.IntN(9))}}, Tags: []schemas.Tag{{Key: "k", Value: "v"}},
	}
	a.Event.Tokens[0], a.Event.Tokens[4] = w.rng.Int64N(1000), w.rng.Int64N(1000)
	if a.Priced = w.rng.IntN(5) > 0; a.Priced {
		a.Cost = schemas.Pico(w.rng.Int64N(1e12))
	} else {
		a.UnpricedReason = "unknown_model"
	}
	return a
}

// commit writes a range of the log with some events of every tenant, as the writer does:
// rows and keys, then the ledger row.
func (w *world) commit(perTenant int) {
	w.t.Helper()
	w.pause.RLock()
	defer w.pause.RUnlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	row := ingest.LedgerRow{Epoch: 1, From: w.next, To: w.next + 9, Messages: 10, CommittedAt: time.Now().UTC(), PriceRevision: 1}
	var rows []schemas.Accepted
	var keys []ingest.NewKey
	dirty := map[string]bool{}
	for i := range perTenant {
		for _, tenant := range []string{mover, stayer} {
			a := w.event(tenant, row.From+uint64(i%10), uint16(len(rows)))
			rows = append(rows, a)
			keys = append(keys, ingest.NewKey{Key: ingest.KeyOf(tenant, a.Event.Source, a.Event.ID), KeyRow: ingest.KeyRow{Content: 1, Seq: a.Seq}})
			row.Events, row.Accepted, row.Calls = row.Events+1, row.Accepted+1, row.Calls+1
			row.Tokens += a.Event.Tokens.Total()
			row.RowHash += ingest.RowHash(&a)
			if a.Priced {
				row.Cost = row.Cost.Add(a.Cost)
			} else {
				row.Unpriced++
			}
			hour := a.Event.Timestamp().Truncate(time.Hour)
			if name := tenant + hour.String(); !dirty[name] {
				dirty[name] = true
				row.DirtyTenants, row.DirtyHours = append(row.DirtyTenants, tenant), append(row.DirtyHours, hour)
			}
		}
	}
	ctx := context.Background()
	for _, err := range []error{w.tables.WriteRows(ctx, rows), w.tables.WriteKeys(ctx, keys), w.tables.Commit(ctx, &row)} {
		if err != nil {
			w.t.Errorf("commit: %v", err)
			return
		}
	}
	w.live.Apply(rows, row.To)
	for i := range rows {
		w.calls[rows[i].Tenant]++
	}
	w.next = row.To + 1
}

// pass makes a pass of the rollups.
func (w *world) pass() {
	w.t.Helper()
	w.pause.RLock()
	defer w.pause.RUnlock()
	if _, err := w.worker.Pass(context.Background()); err != nil {
		w.t.Errorf("pass: %v", err)
	}
}

// committed returns what counts of a tenant, and up to where.
func (w *world) committed(tenant string) (calls int64, position uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[tenant], w.next - 1
}

// check holds every way to read against what was committed, and everything against
// everything.
func (w *world) check() {
	w.t.Helper()
	w.pass()
	ctx := context.Background()
	rebuilt := aggregate.NewLive(aggregate.LiveConfig{Now: month.End().Add(-time.Hour).UTC}, aggregate.NewLiveTables(w.db, w.places))
	if err := rebuilt.Rebuild(ctx); err != nil {
		w.t.Fatal(err)
	}
	for _, tenant := range []string{mover, stayer} {
		want, position := w.committed(tenant)
		got, err := w.reader.Usage(ctx, aggregate.Query{Tenant: tenant, Window: month, MinSeq: position})
		if err != nil || got.Total.Calls != want {
			w.t.Errorf("%s: windows have %d calls, want %d: %v", tenant, got.Total.Calls, want, err)
		}
		for name, live := range map[string]*aggregate.Live{"live": w.live, "rebuilt": rebuilt} {
			if got, _, ok := live.Totals(tenant, month); !ok || got.Calls != want {
				w.t.Errorf("%s: %s totals have %d calls, want %d", tenant, name, got.Calls, want)
			}
		}
	}
	w.verify()
}

func (w *world) verify() {
	w.t.Helper()
	report, err := rollup.NewVerifier(rollup.VerifyConfig{Places: w.places}, w.db).Verify(context.Background(), rollup.VerifyOptions{}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range report.Checks {
		for _, f := range c.Findings {
			w.t.Errorf("verify: %s: %s", c.Name, f.String())
		}
	}
}

// stored returns how many rows and windows of a tenant lie in a database.
func (w *world) stored(database, tenant string) (n uint64) {
	w.t.Helper()
	err := w.db.QueryRow(context.Background(), "SELECT (SELECT count() FROM {database:Identifier}.usage_raw WHERE tenant = {tenant:String}) "+
		"+ (SELECT count() FROM {database:Identifier}.rollup WHERE tenant = {tenant:String})",
		warehouse.Param{Name: "database", Value: database}, warehouse.Param{Name: "tenant", Value: tenant}).Scan(&n)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// exists reports whether a database is there.
func (w *world) exists(database string) bool {
	w.t.Helper()
	var n uint64
	err := w.db.QueryRow(context.Background(), "SELECT count() FROM system.databases WHERE name = {name:String}",
		warehouse.Param{Name: "name", Value: database}).Scan(&n)
	if err != nil {
		w.t.Fatal(err)
	}
	return n == 1
}
