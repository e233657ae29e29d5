package aggregate_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/schemas"
)

// spanOracle adds up rows one by one.
func spanOracle(rows []schemas.Accepted, tenant string, from, to time.Time, name func(*schemas.Accepted) string) []aggregate.SpanTotal {
	totals, latencies := map[string]*aggregate.SpanTotal{}, map[string][]int64{}
	var names []string
	for i := range rows {
		r := &rows[i]
		if r.Tenant != tenant || r.Event.Time < from.UnixMilli() || r.Event.Time >= to.UnixMilli() {
			continue
		}
		n := name(r)
		if totals[n] == nil {
			totals[n] = &aggregate.SpanTotal{Name: n}
			names = append(names, n)
		}
		t := totals[n]
		t.Calls += int64(r.Calls)
		if r.Event.Status == schemas.StatusError {
			t.Errors += int64(r.Calls)
		}
		if r.Priced {
			t.Cost = t.Cost.Add(r.Cost)
		} else {
			t.Unpriced += int64(r.Calls)
		}
		if r.Calls > 0 {
			latencies[n] = append(latencies[n], r.Event.LatencyMS)
		}
	}
	slices.Sort(names)
	var list []aggregate.SpanTotal
	for _, n := range names {
		if l := latencies[n]; len(l) > 0 {
			slices.Sort(l)
			totals[n].P95 = time.Duration(l[len(l)*95/100]) * time.Millisecond
		}
		list = append(list, *totals[n])
	}
	return list
}

// Error rate, latency and cost of a span are those of its calls, one by one: with voids,
// calls without a price, copies, another tenant and both ends.
func TestSpanIsWhatItsCallsSay(t *testing.T) {
	p := newProject(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var rows []schemas.Accepted
	models := []string{"opus", "haiku", ""}
	tenants := []string{"acme", "acme", "acme", "globex"}
	for i := range 400 {
		seq := uint64(len(rows) + 1)
		at := noon.Add(-time.Duration(rng.Int64N(int64(2 * time.Hour))).Truncate(time.Millisecond))
		if i < 2 {
			at = noon.Add(-time.Hour * time.Duration(i)) // the ends
		}
		c := call(tenants[rng.IntN(len(tenants))], seq, at, models[rng.IntN(len(models))], 100, rng.Int64N(1_000_000))
		c.Event.LatencyMS = rng.Int64N(5000)
		if rng.IntN(5) == 0 {
			c.Event.Status = schemas.StatusError
		}
		if rng.IntN(6) == 0 {
			c.Priced, c.Cost = false, schemas.Money{}
		}
		rows = append(rows, c)
		if rng.IntN(10) == 0 {
			rows = append(rows, void(c, seq+1))
		}
	}
	p.commit(uint64(len(rows)), rows...)
	p.insert(rows[:50]) // as after a crash
	reader := aggregate.NewReader(aggregate.ReaderConfig{Now: clock}, p.db)
	from := noon.Add(-time.Hour)
	for by, name := range map[schemas.Dimension]func(*schemas.Accepted) string{
		"":              func(*schemas.Accepted) string { return "" },
		schemas.ByModel: func(r *schemas.Accepted) string { return r.Event.Model },
	} {
		got, err := reader.Span(t.Context(), "acme", from, noon, by)
		if err != nil {
			t.Fatal(err)
		}
		want := spanOracle(rows, "acme", from, noon, name)
		equal := cmp.Comparer(func(a, b schemas.Money) bool { return a == b })
		if diff := cmp.Diff(want, got, equal); diff != "" || len(want) == 0 {
			t.Errorf("by %q the span is another (-calls +engine):\n%s", by, diff)
		}
	}
	got, err := reader.Span(t.Context(), "nobody", from, noon, "")
	if err != nil || len(got) > 1 || len(got) == 1 && got[0] != (aggregate.SpanTotal{}) {
		t.Errorf("of nobody there is %+v, %v", got, err)
	}
}

// The newest call is found with and without rollups, and a void is no call.
func TestLastCall(t *testing.T) {
	p := newProject(t)
	reader := aggregate.NewReader(aggregate.ReaderConfig{Now: clock}, p.db)
	want := func(at time.Time, found bool) {
		t.Helper()
		got, ok, err := reader.LastCall(t.Context(), "acme")
		if err != nil || ok != found || !got.Equal(at) {
			t.Errorf("the newest call was at %s, %t, %v; want %s", got, ok, err, at)
		}
	}
	want(time.Time{}, false)
	old, newer := call("acme", 1, noon.AddDate(0, 0, -40), "opus", 1, 1), call("acme", 2, noon.AddDate(0, 0, -35), "opus", 1, 1)
	p.commit(4, old, newer, void(old, 3), call("globex", 4, noon, "opus", 1, 1))
	want(noon.AddDate(0, 0, -35), true)
	p.window("acme", "hour", noon.AddDate(0, 0, -35).Truncate(time.Hour), []string{"opus"}, []int64{1}, []int64{1})
	want(noon.AddDate(0, 0, -35), true)
	days, err := reader.Days(t.Context(), "acme", noon.AddDate(0, 0, -60).Truncate(24*time.Hour), noon)
	if err != nil || len(days) != 0 {
		t.Errorf("without rollups of days there are %v, %v", days, err)
	}
	p.window("acme", "day", noon.AddDate(0, 0, -35).Truncate(24*time.Hour), []string{"opus"}, []int64{1}, []int64{1})
	if days, err = reader.Days(t.Context(), "acme", noon.AddDate(0, 0, -60).Truncate(24*time.Hour), noon); err != nil || len(days) != 1 || days[0].Calls != 1 {
		t.Errorf("with one there are %v, %v", days, err)
	}
}
