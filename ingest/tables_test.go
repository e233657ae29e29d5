package ingest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/schemas"
	"github.com/google/go-cmp/cmp"
)

func openTables(t *testing.T) (*Tables, *warehouse.DB) {
	t.Helper()
	db := warehousetest.Open(t)
	if err := db.Migrate(t.Context(), schemas.Migrations()); err != nil {
		t.Fatal(err)
	}
	return NewTables(db, nil), db
}

// writeAll runs a writer over a log, on a store, until the ledger has its end.
func writeAll(t *testing.T, log *memoryLog, store Store, rows int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	end := uint64(len(log.records))
	w := newTestWriter(t, log, store)
	w.cfg.BatchRowsMax, w.cfg.BatchRecordsMax, w.cfg.CommitEvery = rows, rows, time.Millisecond
	w.cfg.OnCommit = func(_ []schemas.Accepted, to uint64) {
		if to == end {
			cancel()
		}
	}
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if head, err := store.Head(t.Context(), 0); err != nil || head.To != end {
		t.Fatalf("the ledger ends at %d of %d: %v", head.To, end, err)
	}
}

// TestTablesHoldWhatTheMemoryStoreHolds writes one log to the real engine and to
// the store in memory: rows, keys, ledger and rejects must be the same.
func TestTablesHoldWhatTheMemoryStoreHolds(t *testing.T) {
	t.Parallel()
	const seed = 11
	t.Logf("seed %d", seed)
	log := &memoryLog{}
	rng := rand.New(rand.NewPCG(seed, 3))
	for range 4 {
		fillLog(log, rng)
	}
	tables, db := openTables(t)
	writeAll(t, log, tables, 40)
	want := &memoryStore{rejects: map[string]string{}, fault: func(string) error { return nil }}
	writeAll(t, log, want, 1000)

	var refs []TenantRef
	for id, row := range want.collapsed(t) {
		ref := TenantRef{row.Tenant, schemas.EventRef{Source: row.Event.Source, ID: row.Event.ID}}
		// Among them one that nobody sent, from a source that there is.
		refs = append(refs, ref, TenantRef{row.Tenant, schemas.EventRef{Source: row.Event.Source, ID: "nobody"}})
		got, err := tables.Accepted(t.Context(), []TenantRef{ref}, 1<<63)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %d rows, %v", id, len(got), err)
		}
		if diff := cmp.Diff(row, got[0], cmp.AllowUnexported(schemas.Money{})); diff != "" {
			t.Fatalf("%s (-memory +engine):\n%s", id, diff)
		}
	}
	all, err := tables.Accepted(t.Context(), refs, 1<<63)
	if err != nil || len(all) != len(want.collapsed(t)) {
		t.Errorf("all at once: %d rows, %v", len(all), err)
	}
	for name, n := range map[string]int{
		"usage_raw FINAL": len(want.collapsed(t)), "usage_keys FINAL": len(want.keys), "conflicts FINAL": countReason(want, "conflict"),
		"quarantine FINAL": len(want.rejects) - countReason(want, "conflict"),
	} {
		if got := count(t, db, name); got != uint64(n) {
			t.Errorf("%s has %d rows, memory %d", name, got, n)
		}
	}
}

func countReason(s *memoryStore, reason string) (n int) {
	for _, r := range s.rejects {
		if r == reason {
			n++
		}
	}
	return n
}

func count(t *testing.T, db *warehouse.DB, table string) (n uint64) {
	t.Helper()
	if err := db.QueryRow(t.Context(), "SELECT count() FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestTablesSurviveARepeat writes a log, forgets the ledger, and writes it again
// in other batches: every row is there twice and must read as once.
func TestTablesSurviveARepeat(t *testing.T) {
	t.Parallel()
	log := &memoryLog{}
	fillLog(log, rand.New(rand.NewPCG(5, 5)))
	tables, db := openTables(t)
	writeAll(t, log, tables, 3)
	before := fingerprint(t, db)
	if err := db.Exec(t.Context(), "TRUNCATE TABLE ledger"); err != nil {
		t.Fatal(err)
	}
	writeAll(t, log, tables, 17)
	if after := fingerprint(t, db); after != before {
		t.Errorf("after the repeat %s, before %s", after, before)
	}
}

func fingerprint(t *testing.T, db *warehouse.DB) string {
	t.Helper()
	var rows uint64
	var tokens int64
	var cost string
	err := db.QueryRow(t.Context(), "SELECT count(), sum(input_tokens), toString(sum(ifNull(cost, 0))) FROM usage_raw FINAL").Scan(&rows, &tokens, &cost)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d rows, %d tokens, cost %s, %d keys", rows, tokens, cost, count(t, db, "usage_keys FINAL"))
}

// TestTablesTakeManyMonths writes more months in one range than ClickHouse takes
// partitions in one block.
func TestTablesTakeManyMonths(t *testing.T) {
	t.Parallel()
	tables, db := openTables(t)
	var rows []schemas.Accepted
	for month := range 130 {
		rows = append(rows, schemas.Accepted{Tenant: "ten_a", Seq: 1, Idx: uint16(month), Calls: 1, Priced: true, Event: schemas.Event{
			ID: fmt.Sprint(month), Source: "/s", Type: schemas.TypeLLMCall,
			Time: time.Date(2010, time.Month(1+month), 1, 0, 0, 0, 0, time.UTC).UnixMilli(),
		}})
	}
	if err := tables.WriteRows(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	if got := count(t, db, "usage_raw FINAL"); got != 130 {
		t.Errorf("%d of 130 rows", got)
	}
}

// TestQuarantineStates lists, marks and lists again.
func TestQuarantineStates(t *testing.T) {
	t.Parallel()
	tables, _ := openTables(t)
	open := []Quarantined{
		{Tenant: "ten_a", Seq: 5, Idx: 1, Subject: "usage.ten_a", Reason: ReasonUnreadable, Body: []byte{0xff, 0x00}},
		{Tenant: "ten_b", Seq: 6, Subject: "usage.ten_b", Reason: ReasonForged},
	}
	if err := tables.WriteRejects(t.Context(), nil, open); err != nil {
		t.Fatal(err)
	}
	list := func(tenant, state string) (places []Place) {
		t.Helper()
		rows, err := tables.Quarantine(t.Context(), tenant, state, Place{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			places = append(places, Place{r.Seq, r.Idx})
		}
		return places
	}
	if diff := cmp.Diff([]Place{{6, 0}, {5, 1}}, list("", "")); diff != "" {
		t.Errorf("all, newest first:\n%s", diff)
	}
	row, ok, err := tables.Quarantined(t.Context(), "ten_a", Place{5, 1})
	if err != nil || !ok || string(row.Body) != "\xff\x00" {
		t.Fatalf("one: %+v %v %v", row, ok, err)
	}
	if _, ok, err := tables.Quarantined(t.Context(), "ten_b", Place{5, 1}); ok || err != nil {
		t.Fatalf("another tenant's: found %v, %v", ok, err)
	}
	if err := tables.Replayed(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Place{{5, 1}}, list("ten_a", StateReplayed)); diff != "" {
		t.Errorf("replayed:\n%s", diff)
	}
	if got := list("ten_a", StateOpen); got != nil {
		t.Errorf("still open: %v", got)
	}
}

// TestLookup finds which message brought an event.
func TestLookup(t *testing.T) {
	t.Parallel()
	log := &memoryLog{}
	fillLog(log, rand.New(rand.NewPCG(6, 6)))
	tables, _ := openTables(t)
	store := &memoryStore{rejects: map[string]string{}, fault: func(string) error { return nil }}
	writeAll(t, log, tables, 10)
	writeAll(t, log, store, 10)
	want, ids := map[string]uint64{}, []string{"no such id"}
	for _, r := range store.collapsed(t) {
		if r.Tenant == "ten_a" {
			want[r.Event.ID] = r.Seq
			ids = append(ids, r.Event.ID)
		}
	}
	got, err := tables.Lookup(t.Context(), "ten_a", "/s", ids)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
