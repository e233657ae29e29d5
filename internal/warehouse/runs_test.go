package warehouse_test

import (
	"sync"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
)

// What was run is known by name, tenant and numbers; texts and parameters are not.
func TestRuns(t *testing.T) {
	t.Parallel()
	db := warehousetest.Open(t)
	const sql = "SELECT number, {tenant:String} FROM numbers({n:UInt64})"
	runs := warehouse.NewRuns(warehouse.RunsConfig{Names: map[string]string{sql: "test/numbers", "SELECT 2": "test/never"}})
	db.Observe(runs)
	ask := func(tenant string, n uint64) {
		t.Helper()
		rows, err := db.Query(t.Context(), sql, warehouse.Param{Name: "tenant", Value: tenant}, warehouse.Param{Name: "n", Value: n})
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close() // twice is once
	}
	ask("ten_a", 1000)
	ask("ten_b", 10)
	ask("", 1)
	if err := db.Exec(t.Context(), "SELECT throwIf(1)"); err == nil {
		t.Fatal("the statement was to fail")
	}

	tally := runs.Tallies()["test/numbers"]
	if tally.Runs != 3 || tally.AllTenants != 1 || tally.Failed != 0 || tally.Slowest <= 0 {
		t.Errorf("tally %+v", tally)
	}
	if never, ok := runs.Tallies()["test/never"]; !ok || never.Runs != 0 {
		t.Errorf("a statement that never ran: %+v %v", never, ok)
	}
	unnamed, beyond := runs.Unnamed()
	if got := unnamed["SELECT throwIf(1)"]; len(unnamed) != 1 || got.Failed != 1 || got.Runs != 1 || beyond.Runs != 0 {
		t.Errorf("unnamed %+v, beyond %+v", unnamed, beyond)
	}
	found, kept := runs.Slowest("ten_a", time.Time{}, 10)
	if len(found) != 1 || found[0].Name != "test/numbers" || found[0].Rows != 1000 || found[0].RowsRead != 1000 || found[0].BytesRead == 0 || !kept.IsZero() {
		t.Errorf("slowest of ten_a: %+v, kept %v", found, kept)
	}
	if found, _ := runs.Slowest("", time.Time{}, 10); len(found) != 4 {
		t.Errorf("%d runs, want 4", len(found))
	} else {
		for i := 1; i < len(found); i++ {
			if found[i].Duration > found[i-1].Duration {
				t.Errorf("not the longest first: %+v", found)
			}
		}
	}
	if found, _ := runs.Slowest("", time.Now().Add(time.Hour), 10); len(found) != 0 {
		t.Errorf("%d runs of the future", len(found))
	}
}

// The memory is bounded, and slow runs outlive usual ones.
func TestRunsAreBounded(t *testing.T) {
	t.Parallel()
	db := warehousetest.Open(t)
	runs := warehouse.NewRuns(warehouse.RunsConfig{SlowMin: 30 * time.Millisecond, SlowMax: 4, TenantMax: 8, OtherMax: 8, UnnamedMax: 2})
	db.Observe(runs)
	if err := db.Exec(t.Context(), "SELECT sleep(0.05), {tenant:String}", warehouse.Param{Name: "tenant", Value: "ten_a"}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := db.Exec(t.Context(), "SELECT {tenant:String}", warehouse.Param{Name: "tenant", Value: "ten_a"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Exec(t.Context(), "SELECT 3"); err != nil {
		t.Fatal(err)
	}
	found, kept := runs.Slowest("ten_a", time.Time{}, 100)
	if len(found) < 9 || len(found) > 12 || found[0].Duration < 50*time.Millisecond || kept.IsZero() {
		t.Errorf("%d runs, the first took %v, kept since %v", len(found), found[0].Duration, kept)
	}
	if unnamed, beyond := runs.Unnamed(); len(unnamed) != 2 || beyond.Runs != 1 {
		t.Errorf("unnamed %v, beyond %+v", unnamed, beyond)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 10 {
				if err := db.Exec(t.Context(), "SELECT 3"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if _, beyond := runs.Unnamed(); beyond.Runs != 41 {
		t.Errorf("%d runs beyond the limit, want 41", beyond.Runs)
	}
}
