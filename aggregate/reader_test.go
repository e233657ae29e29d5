package aggregate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

var (
	noon  = time.Date(2026, 5, 15, 12, 0, 0, 0, time.UTC)
	month = schemas.WindowOf(schemas.GrainMonth, noon)
)

func clock() time.Time { return noon }

func newLive(p *project) *aggregate.Live {
	return aggregate.NewLive(aggregate.LiveConfig{Now: clock}, aggregate.NewLiveTables(p.db, nil))
}

func totalsOf(calls, tokens int64, pico int64) aggregate.Totals {
	return aggregate.Totals{
		Calls: calls, LatencyMS: 10 * calls, Tokens: schemas.Tokens{schemas.Input: tokens}, Cost: schemas.Pico(pico),
	}
}

// Live totals beside a writer that does not lead are those of the ledger, as if
// every commit had been reported.
func TestLiveFollowsTheLedger(t *testing.T) {
	p := newProject(t)
	live := newLive(p)
	follow := func(position uint64, want aggregate.Totals) {
		t.Helper()
		reached, _, err := live.Follow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, at, _ := live.Totals("acme", month)
		if got != want || at.Seq != position || reached.Seq != position {
			t.Errorf("%+v at %d, reached %d; want %+v at %d", got, at.Seq, reached.Seq, want, position)
		}
	}
	follow(0, aggregate.Totals{}) // not ready
	p.commit(1, call("acme", 1, noon, "opus", 100, 5))
	if err := live.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	follow(1, totalsOf(1, 100, 5))
	second := call("acme", 2, noon, "opus", 20, 3)
	p.commit(2, second)
	p.insert([]schemas.Accepted{second})                                // a copy, as of a range that was repeated
	p.insert([]schemas.Accepted{call("acme", 3, noon, "opus", 900, 9)}) // not committed yet
	follow(2, totalsOf(2, 120, 8))
	live.Apply([]schemas.Accepted{second}, 2) // the writer leads again and reports what is known
	follow(2, totalsOf(2, 120, 8))
	p.commit(4, call("globex", 4, noon, "opus", 1, 1))
	follow(4, totalsOf(3, 1020, 17))
	// A commit that begins with what was read as another writer's.
	live.Apply([]schemas.Accepted{call("acme", 3, noon, "opus", 900, 9), call("acme", 5, noon, "opus", 1, 1)}, 5)
	if got, at, _ := live.Totals("acme", month); got != totalsOf(4, 1021, 18) || at.Seq != 5 {
		t.Errorf("after an overlapping commit: %+v at %d", got, at.Seq)
	}
}

func TestLiveIsAsOfACommit(t *testing.T) {
	p := newProject(t)
	live := newLive(p)
	before := []schemas.Accepted{call("acme", 1, noon, "opus", 100, 5), call("acme", 2, noon.Add(-40*24*time.Hour), "opus", 7, 1)}
	// Not ready: nothing to read, and a commit is left to the rebuild.
	live.Apply(before, 2)
	if _, _, ok := live.Totals("acme", month); ok || live.Ready() {
		t.Error("there are live totals before a rebuild")
	}
	p.commit(2, before...)
	p.insert([]schemas.Accepted{call("acme", 3, noon, "opus", 900, 9)}) // not committed yet
	if err := live.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, at, ok := live.Totals("acme", month)
	if want := totalsOf(1, 100, 5); !ok || got != want || at.Seq != 2 {
		t.Errorf("after the rebuild: %+v at %d, %v", got, at.Seq, ok)
	}
	rows := []schemas.Accepted{call("acme", 3, noon, "opus", 900, 9)}
	for range 2 { // reported twice
		live.Apply(rows, 4)
	}
	live.Apply(before, 2) // and one that was known to the rebuild
	if got, at, _ := live.Totals("acme", month); got != totalsOf(2, 1000, 14) || at.Seq != 4 {
		t.Errorf("after the commit: %+v at %d", got, at.Seq)
	}
	if _, _, ok := live.Totals("acme", schemas.Window{Grain: schemas.GrainMonth, Start: month.Start.AddDate(0, -2, 0)}); ok {
		t.Error("a month that is not kept is answered")
	}
	if got := live.Size(); got.Tenants != 1 || got.Combos != 1 {
		t.Errorf("size %+v", got)
	}
}

func TestLiveWaits(t *testing.T) {
	p := newProject(t)
	live := newLive(p)
	p.commit(1, call("acme", 1, noon, "opus", 1, 1))
	if err := live.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- live.WaitFor(context.Background(), 3) }()
	live.Apply(nil, 2)
	live.Apply(nil, 3)
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := live.WaitFor(ctx, 99); !errors.Is(err, context.Canceled) {
		t.Errorf("it returned %v", err)
	}
}

// TestLiveReadsSeeWholeCommits feeds commits that add one call and one token to
// each of two groups while readers look: no reader may see half a commit.
func TestLiveReadsSeeWholeCommits(t *testing.T) {
	p := newProject(t)
	live := newLive(p)
	if err := live.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				groups, total, at, ok := live.Groups("acme", month, []schemas.Dimension{schemas.ByModel})
				if n := int64(at.Seq); !ok || total.Calls != 2*n || n > 0 && (len(groups) != 2 || groups[0].Calls != n || groups[1].Calls != n) {
					t.Errorf("at %d: %d calls, %v", at.Seq, total.Calls, groups)
					return
				}
			}
		})
	}
	for seq := uint64(1); seq <= 2000; seq++ {
		live.Apply([]schemas.Accepted{call("acme", seq, noon, "opus", 1, 1), call("acme", seq, noon, "haiku", 1, 1)}, seq)
	}
	close(stop)
	readers.Wait()
}

func TestReaderChecksTheQuestion(t *testing.T) {
	p := newProject(t)
	reader := aggregate.NewReader(aggregate.ReaderConfig{}, p.db)
	for name, q := range map[string]aggregate.Query{
		"no tenant":         {Window: month},
		"no grain":          {Tenant: "acme", Window: schemas.Window{Start: noon}},
		"not a start":       {Tenant: "acme", Window: schemas.Window{Grain: schemas.GrainMonth, Start: noon}},
		"unknown dimension": {Tenant: "acme", Window: month, By: []schemas.Dimension{"colour"}},
		"dimension twice":   {Tenant: "acme", Window: month, By: []schemas.Dimension{schemas.ByModel, schemas.ByModel}},
	} {
		if _, err := reader.Usage(t.Context(), q); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := reader.Recent(t.Context(), "acme", 10, "bogus"); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a cursor from elsewhere: %v", err)
	}
	if _, _, err := reader.Recent(t.Context(), "acme", 0, ""); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a page of nothing: %v", err)
	}
	if _, _, err := reader.Series(t.Context(), "acme", month, schemas.GrainMonth); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a series of months: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := reader.Usage(ctx, aggregate.Query{Tenant: "acme", Window: month, MinSeq: 5}); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait without end: %v", err)
	}
}

// window puts a row into the rollups, as a pass would.
func (p *project) window(tenant, grain string, start time.Time, models []string, calls []int64, pico []int64) {
	p.t.Helper()
	var total, cost int64
	for i := range calls {
		total, cost = total+calls[i], cost+pico[i]
	}
	err := p.db.Exec(context.Background(), `INSERT INTO rollup
			(tenant, grain, window, gen, calls, tokens, cost, by.provider, by.model, by.department, by.cost_center, by.agent,
			by.calls, by.errors, by.unpriced, by.latency_ms, by.input_tokens, by.cache_read_tokens, by.cache_write_5m_tokens,
			by.cache_write_1h_tokens, by.output_tokens, by.reasoning_tokens, by.audio_in_tokens, by.audio_out_tokens,
			by.image_tokens, by.cost)
		WITH arrayMap(x -> '', {models:Array(String)}) AS none, arrayMap(x -> toInt64(0), {models:Array(String)}) AS zero
		SELECT {tenant:String}, {grain:String}, {start:DateTime('UTC')}, 1, {calls:Int64}, 0,
			reinterpret(toInt128({cost:Int64}), 'Decimal(38, 12)'), none, {models:Array(String)}, none, none, none,
			{by_calls:Array(Int64)}, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero,
			arrayMap(x -> reinterpret(toInt128(x), 'Decimal(38, 12)'), {by_pico:Array(Int64)})`,
		warehouse.Param{Name: "tenant", Value: tenant}, warehouse.Param{Name: "grain", Value: grain},
		warehouse.Param{Name: "start", Value: start}, warehouse.Param{Name: "calls", Value: total},
		warehouse.Param{Name: "cost", Value: cost}, warehouse.Param{Name: "models", Value: models},
		warehouse.Param{Name: "by_calls", Value: calls}, warehouse.Param{Name: "by_pico", Value: pico})
	if err != nil {
		p.t.Fatalf("insert window: %v", err)
	}
}

func (p *project) rollupsAt(position uint64) {
	p.t.Helper()
	err := p.db.Insert(context.Background(), "job_runs",
		warehouse.Column{Name: "job", Values: []string{"rollup"}}, warehouse.Column{Name: "outcome", Values: []string{"ok"}},
		warehouse.Column{Name: "started_at", Values: []time.Time{time.Now()}}, warehouse.Column{Name: "finished_at", Values: []time.Time{time.Now()}},
		warehouse.Column{Name: "position", Values: []uint64{position}})
	if err != nil {
		p.t.Fatalf("insert run: %v", err)
	}
}

func TestReaderTakesHistoryFromRollups(t *testing.T) {
	p := newProject(t)
	live := newLive(p)
	if err := live.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := month.Start.AddDate(0, -3, 0)
	p.window("acme", "month", old, []string{"opus", "haiku", "gpt"}, []int64{3, 4, 0}, []int64{70, 700, 0})
	p.window("other", "month", old, []string{"opus"}, []int64{1000}, []int64{1000})
	for day := range 3 {
		p.window("acme", "day", old.AddDate(0, 0, day), []string{"opus"}, []int64{int64(day)}, []int64{int64(day)})
	}
	p.rollupsAt(7)
	reader := aggregate.NewReader(aggregate.ReaderConfig{Live: live, Now: clock}, p.db)
	window := schemas.Window{Grain: schemas.GrainMonth, Start: old}
	got, err := reader.Usage(t.Context(), aggregate.Query{Tenant: "acme", Window: window, By: []schemas.Dimension{schemas.ByModel}})
	if err != nil {
		t.Fatal(err)
	}
	var text string
	for _, g := range got.Groups {
		text += fmt.Sprintf("%s %d %s, ", g.Names[0], g.Calls, g.Cost)
	}
	if want := "haiku 4 0.0000000007, opus 3 0.00000000007, "; text != want || got.Total.Calls != 7 {
		t.Errorf("groups %q of %+v, want %q", text, got.Total, want)
	}
	if got.Source != aggregate.SourceRollup || got.AsOf.Seq != 7 || got.AsOf.Time.IsZero() {
		t.Errorf("source %s as of %+v", got.Source, got.AsOf)
	}
	top, err := reader.Top(t.Context(), "acme", window, schemas.ByModel, 1)
	if err != nil || len(top.Groups) != 1 || top.Groups[0].Names[0] != "haiku" || top.Total.Calls != 7 {
		t.Errorf("top: %+v, %v", top, err)
	}
	points, at, err := reader.Series(t.Context(), "acme", window, schemas.GrainDay)
	if err != nil || len(points) != 3 || at.Seq != 7 || points[2].Calls != 2 || points[2].Cost != schemas.Pico(2) || !points[2].Start.Equal(old.AddDate(0, 0, 2)) {
		t.Errorf("series %+v at %d, %v", points, at.Seq, err)
	}
	none, err := reader.Usage(t.Context(), aggregate.Query{Tenant: "acme", Window: schemas.WindowOf(schemas.GrainMonth, old.AddDate(-1, 0, 0))})
	if err != nil || none.Total != (aggregate.Totals{}) || none.Groups != nil {
		t.Errorf("a month without usage: %+v, %v", none, err)
	}
}

// TestReaderGoesToRollupsForManyCombinations: the fold's total is exact and its
// groups are not, so a breakdown comes from the rollups and a total does not.
func TestReaderGoesToRollupsForManyCombinations(t *testing.T) {
	p := newProject(t)
	limits := aggregate.DefaultFoldLimits()
	limits.CombosPerTenantMax = 1
	live := aggregate.NewLive(aggregate.LiveConfig{Now: clock, Limits: limits}, aggregate.NewLiveTables(p.db, nil))
	if err := live.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	live.Apply([]schemas.Accepted{call("acme", 1, noon, "opus", 1, 1), call("acme", 2, noon, "haiku", 1, 1)}, 2)
	reader := aggregate.NewReader(aggregate.ReaderConfig{Live: live, Now: clock}, p.db)
	for source, by := range map[aggregate.Source][]schemas.Dimension{aggregate.SourceLive: nil, aggregate.SourceRollup: {schemas.ByModel}} {
		got, err := reader.Usage(t.Context(), aggregate.Query{Tenant: "acme", Window: month, By: by})
		if err != nil || got.Source != source {
			t.Errorf("by %v from %s, %v", by, got.Source, err)
		}
	}
}

func TestReaderShowsEvents(t *testing.T) {
	p := newProject(t)
	var rows []schemas.Accepted
	for seq := uint64(1); seq <= 7; seq++ {
		// Seconds, hours and years back.
		age := []time.Duration{0, time.Second, time.Hour, 50 * time.Hour, 30 * 24 * time.Hour, 300 * 24 * time.Hour, 2000 * 24 * time.Hour}[seq-1]
		rows = append(rows, call("acme", seq, noon.Add(-age), "opus", int64(seq), int64(seq)))
	}
	rows[1].Priced, rows[1].Cost = false, schemas.Money{}
	rows[2].Event.Units = []schemas.Unit{{Name: "web_search", Count: 3}}
	undo := void(rows[3], 8)
	stranger := call("other", 9, noon, "opus", 1, 1)
	p.commit(9, append(rows, undo, stranger)...)
	p.insert(rows) // copies are shown once
	reader := aggregate.NewReader(aggregate.ReaderConfig{Now: clock}, p.db)
	var seqs []uint64
	var events []schemas.Accepted
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		page, next, err := reader.Recent(t.Context(), "acme", 3, cursor)
		if err != nil || pages > 5 {
			t.Fatal(err)
		}
		for _, a := range page {
			seqs = append(seqs, a.Seq)
		}
		events, cursor = append(events, page...), next
	}
	if diff := cmp.Diff([]uint64{1, 2, 3, 8, 4, 5, 6, 7}, seqs); diff != "" {
		t.Errorf("recent -want +got:\n%s", diff)
	}
	for i, want := range []schemas.Accepted{rows[0], rows[1], rows[2], undo} {
		if diff := cmp.Diff(want, events[i], cmp.Comparer(func(a, b schemas.Money) bool { return a == b })); diff != "" {
			t.Errorf("event %d -want +got:\n%s", i, diff)
		}
	}
	found, err := reader.Find(t.Context(), "acme", "/test", rows[3].Event.ID)
	if err != nil || len(found) != 2 || found[0].Seq != 4 || found[1].Seq != 8 {
		t.Errorf("find: %+v, %v", found, err)
	}
	if found, err := reader.Find(t.Context(), "acme", "/test", stranger.Event.ID); err != nil || len(found) != 0 {
		t.Errorf("another tenant's event: %+v, %v", found, err)
	}
}

func TestReaderCountsWhatIsNotUsage(t *testing.T) {
	p := newProject(t)
	p.commit(3, call("acme", 1, noon, "opus", 1, 1), call("acme", 2, noon, "opus", 1, 1))
	text := func(name, value string) warehouse.Column {
		return warehouse.Column{Name: name, Values: []string{value}}
	}
	at := func(tm time.Time) warehouse.Column {
		return warehouse.Column{Name: "received_at", Values: []time.Time{tm}}
	}
	number := func(name string, n uint64) warehouse.Column {
		return warehouse.Column{Name: name, Values: []uint64{n}}
	}
	for _, insert := range []struct {
		table   string
		columns []warehouse.Column
	}{
		{"conflicts", []warehouse.Column{text("tenant", "acme"), number("seq", 3), at(noon)}},
		{"conflicts", []warehouse.Column{text("tenant", "other"), number("seq", 4), at(noon)}},
		{"quarantine", []warehouse.Column{text("tenant", "acme"), number("seq", 5), number("version", 1), text("state", "open"), at(noon)}},
		{"quarantine", []warehouse.Column{text("tenant", "acme"), number("seq", 6), number("version", 1), text("state", "open"), at(noon)}},
		{"quarantine", []warehouse.Column{text("tenant", "acme"), number("seq", 6), number("version", 2), text("state", "replayed"), at(noon)}},
		{"quarantine", []warehouse.Column{text("tenant", "acme"), number("seq", 7), number("version", 1), text("state", "open"), at(noon.AddDate(0, 1, 0))}},
	} {
		if err := p.db.Insert(t.Context(), insert.table, insert.columns...); err != nil {
			t.Fatal(err)
		}
	}
	reader := aggregate.NewReader(aggregate.ReaderConfig{Now: clock}, p.db)
	rejects, err := reader.Rejects(t.Context(), "acme", month.Start, month.End())
	if want := (aggregate.Rejects{Conflicts: 1, Quarantined: 2, Open: 1}); err != nil || rejects != want {
		t.Errorf("rejects %+v, %v", rejects, err)
	}
	intake, err := reader.Intake(t.Context(), time.UnixMilli(0), time.UnixMilli(4_000_000_000_000))
	if want := (aggregate.Intake{Messages: 3, Events: 2, Accepted: 2}); err != nil || intake != want {
		t.Errorf("intake %+v, %v", intake, err)
	}
}
