package aggregate

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agentik-os/panda/schemas"
)

// TestSpentIsASum draws commits and holds the cost per name against plain sums,
// with limits so small that combinations share a slot, and with months that go.
func TestSpentIsASum(t *testing.T) {
	type key struct {
		tenant, window, name string
		kind                 int
	}
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 5, 15, 12, 0, 0, 0, time.UTC)
		limits := DefaultFoldLimits()
		limits.CombosPerTenantMax = rapid.SampledFrom([]int{2, 1000}).Draw(t, "combos")
		limits.NamesPerTenantMax = rapid.SampledFrom([]int{3, 1000}).Draw(t, "names")
		fold := NewFold(limits, Keep{})
		want := map[key]schemas.Money{}
		var position uint64
		for range rapid.IntRange(1, 10).Draw(t, "commits") {
			var rows []schemas.Accepted
			for range rapid.IntRange(0, 8).Draw(t, "events") {
				position++
				name := rapid.SampledFrom([]string{"", "x", "y", "z"})
				a := schemas.Accepted{Seq: position, Tenant: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tenant"), Calls: 1, Priced: true,
					Cost: schemas.Pico(rapid.Int64Range(-5, 5).Draw(t, "cost"))}
				a.Event.Time = now.Add(-time.Duration(rapid.Int64Range(0, int64(80*24*time.Hour)).Draw(t, "age"))).UnixMilli()
				a.Event.Department, a.Event.Agent, a.Event.CostCenter = name.Draw(t, "department"), name.Draw(t, "agent"), name.Draw(t, "cost center")
				rows = append(rows, a)
				for kind, name := range [budgetKinds]string{OfDepartment: a.Event.Department, OfAgent: a.Event.Agent, OfCostCenter: a.Event.CostCenter} {
					for _, form := range []string{"2006-01", time.DateOnly} {
						k := key{a.Tenant, a.Event.Timestamp().Format(form), name, kind}
						want[k] = want[k].Add(a.Cost)
					}
				}
			}
			fold.Apply(rows, position)
			if rapid.Bool().Draw(t, "advance") {
				fold.Advance(KeepAt(now.AddDate(0, rapid.IntRange(-2, 0).Draw(t, "months"), 0)))
			}
		}
		for k, sum := range want {
			w := schemas.Window{Grain: schemas.GrainMonth}
			var err error
			if w.Start, err = time.Parse("2006-01", k.window); err != nil {
				w.Grain = schemas.GrainDay
				w.Start, _ = time.Parse(time.DateOnly, k.window)
			}
			if k.name == "" || !fold.Keeps(w) {
				continue
			}
			got, known := fold.Spent(k.tenant, w, k.kind, k.name)
			account := Account{Window: w, Kind: k.kind, Name: k.name}
			if s := fold.spending(k.tenant, &account); s.Known != known || s.Known && s.Cost != got {
				t.Fatalf("%+v: its account says %+v, and the fold %s, %t", k, s, got, known)
			}
			if known && got != sum {
				t.Fatalf("%+v: got %s, want %s", k, got, sum)
			}
			if !known && limits.NamesPerTenantMax == 1000 {
				t.Fatalf("%+v is not known", k)
			}
		}
	})
}

// A fold that was rebuilt from sums has the cost per name of its months and days.
func TestSpentAfterARebuild(t *testing.T) {
	day := schemas.WindowOf(schemas.GrainDay, time.Date(2026, 5, 15, 12, 0, 0, 0, time.UTC))
	month := schemas.WindowOf(schemas.GrainMonth, day.Start)
	fold := NewFold(DefaultFoldLimits(), KeepAt(day.Start))
	names := [dimensionCount]string{"p", "m", "Sales", "CC", "bot"}
	fold.load("acme", names, month, &Totals{Calls: 1, Cost: schemas.Pico(7)})
	fold.load("acme", names, month, &Totals{Calls: 1, Cost: schemas.Pico(3)})
	fold.load("acme", names, day, &Totals{Calls: 1, Cost: schemas.Pico(3)})
	for _, row := range []struct {
		account Account
		want    Spending
	}{
		{Account{month, OfDepartment, "Sales"}, Spending{Known: true, Cost: schemas.Pico(10)}},
		{Account{day, OfDepartment, "Sales"}, Spending{Known: true, Cost: schemas.Pico(3)}},
		{Account{day, OfAgent, "bot"}, Spending{Known: true, Cost: schemas.Pico(3)}},
		{Account{day, OfCostCenter, "Sales"}, Spending{Known: true}},
		{Account{day, OfTenant, ""}, Spending{Known: true, Cost: schemas.Pico(3)}},
		{Account{schemas.WindowOf(schemas.GrainDay, day.Start.AddDate(0, 0, -2)), OfTenant, ""}, Spending{}},
	} {
		if got := fold.spending("acme", &row.account); got != row.want {
			t.Errorf("%+v: %+v, want %+v", row.account, got, row.want)
		}
	}
}

// With more names than have a place, those that came first stay exact, and what
// came later is not known rather than nothing.
func TestSpentBeyondTheLimit(t *testing.T) {
	limits := DefaultFoldLimits()
	limits.NamesPerTenantMax = 2
	at := time.Date(2026, 5, 15, 12, 0, 0, 0, time.UTC)
	live := NewLive(LiveConfig{Limits: limits, Now: func() time.Time { return at }}, nil)
	live.ready.Store(true)
	var rows []schemas.Accepted
	for i := range 4 {
		a := schemas.Accepted{Tenant: "acme", Seq: 1, Idx: uint16(i), Calls: 1, Priced: true, Cost: schemas.Pico(1)}
		a.Event.Time, a.Event.Agent = at.UnixMilli(), fmt.Sprint("agent-", i)
		rows = append(rows, a)
	}
	live.Apply(rows, 1)
	month := schemas.WindowOf(schemas.GrainMonth, at)
	limited := NoLimits()
	limited.Budgets[OfAgent] = Budget{schemas.Pico(10), true}
	for i := range 5 {
		ask := Request{Agent: fmt.Sprint("agent-", i)}
		d, asOf, err := live.Decide("acme", month, &limited, 0, &ask)
		if known := i < 2; known != (err == nil) || known && (d.UsageCost != schemas.Pico(1) || asOf.Seq != 1) ||
			!known && !errors.Is(err, schemas.ErrUnavailable) {
			t.Errorf("agent %d: %+v, %v", i, d, err)
		}
	}
	unlimited := NoLimits()
	if _, _, err := live.Decide("acme", month, &unlimited, 0, &Request{Agent: "agent-4"}); err != nil {
		t.Errorf("without a budget it does not matter: %v", err)
	}
	if _, _, err := live.Decide("acme", schemas.WindowOf(schemas.GrainMonth, at.AddDate(0, -2, 0)), &unlimited, 0, &Request{}); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("a month that is not kept: %v", err)
	}
}

// TestLiveDecides holds a decision against the levels and sums that were applied.
func TestLiveDecides(t *testing.T) {
	at := time.Date(2026, 5, 15, 12, 0, 0, 0, time.UTC)
	live := NewLive(LiveConfig{Now: func() time.Time { return at }}, nil)
	month, limits, ask := schemas.WindowOf(schemas.GrainMonth, at), NoLimits(), Request{Action: ActionCreateAgent}
	limits.Agents = 100
	if _, _, err := live.Decide("acme", month, &limits, 0, &ask); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("before the first rebuild: %v", err)
	}
	if _, err := live.Standing("acme", nil); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("standing before the first rebuild: %v", err)
	}
	live.ready.Store(true)
	sample := func(seq uint64, agents int64) {
		a := schemas.Accepted{Tenant: "acme", Seq: seq}
		a.Event.Type, a.Event.Time = schemas.TypeResourceSample, at.UnixMilli()
		a.Event.Units = []schemas.Unit{{Name: schemas.LevelAgents, Count: agents}, {Name: schemas.LevelConcurrentSessions, Count: 7},
			{Name: schemas.LevelStorageBytes, Count: 8}}
		live.Apply([]schemas.Accepted{a}, seq)
	}
	for i, want := range []Verdict{Warn, Deny} {
		sample(uint64(i+1), int64(99+i))
		d, asOf, err := live.Decide("acme", month, &limits, 0, &ask)
		if err != nil || d.Verdict != want || d.Usage != int64(99+i) || asOf.Seq != uint64(i+1) {
			t.Errorf("%d agents: %+v as of %d, %v", 99+i, d, asOf.Seq, err)
		}
	}
	limits.Sessions, limits.StorageBytes = 10, 10
	for action, want := range map[Action]int64{ActionStartSession: 7, ActionUpload: 8} {
		if d, _, err := live.Decide("acme", month, &limits, 0, &Request{Action: action}); err != nil || d.Usage != want {
			t.Errorf("%s: %+v, %v", action, d, err)
		}
	}
	if s, err := live.Standing("acme", []Account{{Window: month, Kind: OfTenant}}); err != nil || s.Agents != 100 || s.Sessions != 7 || s.StorageBytes != 8 ||
		s.AsOf.Seq != 2 || !s.Spent[0].Known {
		t.Errorf("standing: %+v, %v", s, err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _, _ = live.Decide("acme", month, &limits, 0, &ask) }); n != 0 {
		t.Errorf("a decision allocates %v times", n)
	}
}
