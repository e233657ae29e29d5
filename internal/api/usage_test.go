package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

type gotTotals struct {
	Calls, Errors, Unpriced int64
	LatencyMS               int64            `json:"latency_ms"`
	Tokens                  map[string]int64 `json:"tokens"`
	Input                   int64            `json:"input_tokens_total"`
	Output                  int64            `json:"output_tokens_total"`
	All                     int64            `json:"tokens_total"`
	Cost                    string
}

type gotRow struct {
	Provider, Model, Department, Agent *string
	CostCenter                         *string `json:"cost_center"`
	gotTotals
}

type gotUsage struct {
	Tenant     tenantRef
	Month, Day string
	By         []string
	Source     string
	AsOf       position `json:"as_of"`
	Rows       []gotRow
	Total      gotTotals
}

// label is a row's names as one text; dimensions that were not asked for are "-".
func (r *gotRow) label() string {
	var words []string
	for _, name := range []*string{r.Provider, r.Model, r.Department, r.CostCenter, r.Agent} {
		if name == nil {
			words = append(words, "-")
		} else {
			words = append(words, *name)
		}
	}
	return strings.Join(words, "|")
}

func (u *gotUsage) lines() (lines []string) {
	for i := range u.Rows {
		r := &u.Rows[i]
		lines = append(lines, fmt.Sprintf("%s calls %d cost %s", r.label(), r.Calls, r.Cost))
	}
	return lines
}

// month of usage: three calls that differ in every dimension, at three times.
func callsAt(prefix string, at time.Time) []string {
	return []string{
		call(prefix+"1", at, `"provider":"house","model":"alpha","department":"eng","cost_center":"c1","agent":"a1",
			"latency_ms":100,"tokens":{"input":1000000,"output":500000}`),
		call(prefix+"2", at.Add(-time.Hour), `"provider":"house","model":"team/beta","department":"eng","cost_center":"c2","agent":"a2",
			"latency_ms":200,"status":"error","tokens":{"input":50000}`),
		call(prefix+"3", at.AddDate(0, 0, -1), `"provider":"away","model":"mystery","department":"R&D <x>","cost_center":"c1","agent":"a1",
			"tokens":{"input":7,"cache_read":5,"output":3}`),
	}
}

func TestUsageByEveryDimension(t *testing.T) {
	s := newStack(t)
	// The same usage in a month of the live totals and in one of the rollups.
	old := s.now.AddDate(0, -3, 0)
	s.send(s.acme.key, slices.Concat(callsAt("new", s.now), callsAt("old", old))...)
	s.send(s.beta.key, callsAt("new", s.now)[0])

	total := gotTotals{
		Calls: 3, Errors: 1, Unpriced: 1, LatencyMS: 300, Input: 1_050_012, Output: 500_003, All: 1_550_015, Cost: "2.500000",
		Tokens: map[string]int64{"input": 1_050_007, "cache_read": 5, "cache_write_5m": 0, "cache_write_1h": 0,
			"output": 500_003, "reasoning": 0, "audio_in": 0, "audio_out": 0, "image": 0},
	}
	for by, want := range map[string][]string{
		"":            nil,
		"provider":    {"house|-|-|-|- calls 2 cost 2.500000", "away|-|-|-|- calls 1 cost 0.000000"},
		"model":       {"-|alpha|-|-|- calls 1 cost 2.000000", "-|team/beta|-|-|- calls 1 cost 0.500000", "-|mystery|-|-|- calls 1 cost 0.000000"},
		"department":  {"-|-|eng|-|- calls 2 cost 2.500000", "-|-|R&D <x>|-|- calls 1 cost 0.000000"},
		"cost_center": {"-|-|-|c1|- calls 2 cost 2.000000", "-|-|-|c2|- calls 1 cost 0.500000"},
		"agent":       {"-|-|-|-|a1 calls 2 cost 2.000000", "-|-|-|-|a2 calls 1 cost 0.500000"},
		"agent,provider,model,department,cost_center": {"house|alpha|eng|c1|a1 calls 1 cost 2.000000",
			"house|team/beta|eng|c2|a2 calls 1 cost 0.500000", "away|mystery|R&D <x>|c1|a1 calls 1 cost 0.000000"},
	} {
		for source, at := range map[string]time.Time{"live": s.now, "rollup": old} {
			month := at.Format("2006-01")
			a := s.get(s.acme.key, "/v1/usage?fresh=1&month="+month+"&by="+by)
			got := into[gotUsage](t, a)
			if got.Source != source || got.Month != month || got.Day != "" || strings.Join(got.By, ",") != by {
				t.Errorf("by %q: source %s, month %s, by %v", by, got.Source, got.Month, got.By)
			}
			if diff := cmp.Diff(want, got.lines()); diff != "" {
				t.Errorf("by %q from %s (-want +got):\n%s", by, source, diff)
			}
			if diff := cmp.Diff(total, got.Total); diff != "" {
				t.Errorf("by %q from %s, total (-want +got):\n%s", by, source, diff)
			}
			if by == "department" && !strings.Contains(a.body, `"R&D <x>"`) {
				t.Errorf("a name is not as it was sent: %s", a.body)
			}
			if got.Tenant != (tenantRef{s.acme.ID, "acme-corp", "Acme Corporation"}) || got.AsOf.PriceRevision != 1 || got.AsOf.Seq == 0 {
				t.Errorf("tenant %+v as of %+v", got.Tenant, got.AsOf)
			}
		}
	}
}

func TestUsageOfADayAndSeries(t *testing.T) {
	s := newStack(t)
	old := s.now.AddDate(0, -3, 0)
	s.rolledUp(s.send(s.acme.key, slices.Concat(callsAt("new", s.now), callsAt("old", old))...))
	for _, at := range []time.Time{s.now, old} {
		day, before := at.Format(time.DateOnly), at.AddDate(0, 0, -1).Format(time.DateOnly)
		for name, want := range map[string]string{day: "2.500000", before: "0.000000", at.AddDate(0, 0, -2).Format(time.DateOnly): "0.000000"} {
			got := into[gotUsage](t, s.get(s.acme.key, "/v1/usage?fresh=1&day="+name))
			if got.Day != name || got.Month != "" || got.Total.Cost != want || got.Rows == nil || len(got.Rows) != 0 {
				t.Errorf("day %s: %+v", name, got)
			}
		}
		series := func(query string) (lines []string) {
			got := into[struct{ Rows []seriesRow }](t, s.get(s.acme.key, "/v1/usage/series?"+query))
			for _, r := range got.Rows {
				lines = append(lines, fmt.Sprintf("%s %d %d %s", r.Window, r.Calls, r.TokensTotal, r.Cost))
			}
			return lines
		}
		month := at.Format("2006-01")
		days := []string{before + " 1 15 0.000000", day + " 2 1550000 2.500000"}
		if diff := cmp.Diff(days, series("month="+month)); diff != "" {
			t.Errorf("days (-want +got):\n%s", diff)
		}
		hours := []string{before + "T12 1 15 0.000000", day + "T11 1 50000 0.500000", day + "T12 1 1500000 2.000000"}
		if diff := cmp.Diff(hours, series("grain=hour&month="+month)); diff != "" {
			t.Errorf("hours (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(hours[1:], series("grain=hour&day="+day)); diff != "" {
			t.Errorf("hours of a day (-want +got):\n%s", diff)
		}
	}
	// Without a month it is the current one; a tenant without usage has none.
	if got := into[gotUsage](t, s.get(s.acme.key, "/v1/usage")); got.Month != s.now.Format("2006-01") || got.Total.Calls != 3 {
		t.Errorf("the current month: %+v", got)
	}
	if got := into[gotUsage](t, s.get(s.beta.key, "/v1/usage?by=model")); got.Rows == nil || got.Total.Calls != 0 {
		t.Errorf("a tenant without usage: %+v", got)
	}
}

// An answer that is asked to be fresh counts what was acknowledged just before.
func TestFreshCountsWhatWasAcknowledged(t *testing.T) {
	s := newStack(t)
	for i := range 10 {
		event := call(fmt.Sprint("e", i), s.now, `"model":"alpha","tokens":{"input":1}`)
		if a := s.ask(s.acme.key, "POST", "/v1/events", "["+event+"]"); a.status != 200 {
			t.Fatal(a.body)
		}
		got := into[gotUsage](t, s.get(s.acme.key, "/v1/usage?fresh=1"))
		if got.Total.Calls != int64(i+1) {
			t.Fatalf("after %d acknowledged calls there are %d", i+1, got.Total.Calls)
		}
	}
}

func TestEntitlements(t *testing.T) {
	s := newStack(t)
	type answer struct {
		Decision string
		Limit    *entitlementLimit
	}
	if got := into[answer](t, s.get(s.acme.key, "/v1/entitlements")); got.Decision != "allow" || got.Limit != nil {
		t.Errorf("without limits: %+v", got)
	}
	budget := func(slug string, n tenancy.NewTenant) string {
		n.Name, n.Slug = slug, slug
		if _, _, err := s.registry.CreateTenant(t.Context(), tenancy.Actor{ID: "test"}, n); err != nil {
			t.Fatal(err)
		}
		return slug
	}
	usd := func(n int64) schemas.Money { return schemas.Pico(n * schemas.PicoPerUSD) }
	spends := budget("spends", tenancy.NewTenant{MonthlyBudget: usd(10), HasBudget: true, QuotaOverrides: tenancy.QuotaOverrides{tenancy.MaxMonthlyTokens: 100_000_000}})
	for i, row := range []struct {
		millions int
		want     answer
	}{
		{7, answer{"allow", &entitlementLimit{"monthly_budget", "10.000000", "7.000000", 70, 0}}},
		{1, answer{"warn", &entitlementLimit{"monthly_budget", "10.000000", "8.000000", 80, 80}}},
		{2, answer{"throttle", &entitlementLimit{"monthly_budget", "10.000000", "10.000000", 100, 100}}},
	} {
		event := call(fmt.Sprint("e", i), s.now, fmt.Sprintf(`"model":"alpha","tokens":{"input":%d}`, row.millions*1_000_000))
		a := s.ask(s.platform, "POST", "/v1/events?tenant="+spends, "["+event+"]")
		s.judged(into[struct{ Seq uint64 }](t, a).Seq)
		got := into[answer](t, s.get(s.platform, "/v1/entitlements?tenant="+spends))
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("after step %d (-want +got):\n%s", i, diff)
		}
	}
	counts := budget("counts", tenancy.NewTenant{QuotaOverrides: tenancy.QuotaOverrides{tenancy.MaxMonthlyTokens: 1000}})
	a := s.ask(s.platform, "POST", "/v1/events?tenant="+counts, "["+call("e", s.now, `"model":"alpha","tokens":{"input":900}`)+"]")
	s.judged(into[struct{ Seq uint64 }](t, a).Seq)
	got := into[answer](t, s.get(s.platform, "/v1/entitlements?tenant="+counts))
	if diff := cmp.Diff(answer{"warn", &entitlementLimit{"monthly_tokens", "1000", "900", 90, 90}}, got); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
}
