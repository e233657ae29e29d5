package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/schemas"
)

func month(t testing.TB, text string) schemas.Window {
	t.Helper()
	m, err := schemas.ParseMonth(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newTestGenerator(t testing.TB, cfg Config) *Generator {
	t.Helper()
	g, err := NewGenerator(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func batches(g *Generator) []Batch {
	var all []Batch
	for b, ok := g.Next(); ok; b, ok = g.Next() {
		all = append(all, b)
	}
	return all
}

// equalBig compares costs by value.
var equalBig = cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })

func TestSameSeedSameBytes(t *testing.T) {
	cfg := Config{Seed: 7, Events: 5_000, Month: month(t, "2026-10")}
	g, again := newTestGenerator(t, cfg), newTestGenerator(t, cfg)
	first, second := batches(g), batches(again)
	if len(first) != len(second) {
		t.Fatalf("two runs of one seed make %d and %d batches", len(first), len(second))
	}
	for i := range first {
		if !bytes.Equal(first[i].Body, second[i].Body) {
			t.Fatalf("batch %d of one seed differs between two runs", i)
		}
	}
	if diff := cmp.Diff(g.Expected(), again.Expected(), equalBig); diff != "" {
		t.Errorf("the expectations of one seed differ: %s", diff)
	}
	cfg.Seed = 8
	if other := batches(newTestGenerator(t, cfg)); bytes.Equal(first[0].Body, other[0].Body) {
		t.Error("another seed makes the same bytes")
	}
}

// wireEvent is a CloudEvent as a naive reader sees it.
type wireEvent struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Time        time.Time `json:"time"`
	Data        struct {
		Provider   string           `json:"provider"`
		Model      string           `json:"model"`
		Department string           `json:"department"`
		CostCenter string           `json:"cost_center"`
		Agent      string           `json:"agent"`
		User       string           `json:"user"`
		Session    string           `json:"session"`
		LatencyMS  int64            `json:"latency_ms"`
		Status     string           `json:"status"`
		Error      string           `json:"error"`
		Tokens     map[string]int64 `json:"tokens"`
		Amount     string           `json:"amount"`
		Corrects   struct{ Source, ID string }
	} `json:"data"`
}

// recount does to the bytes that were sent what panda promises to do, in the
// plainest way: maps, encoding/json, fractions.
type recount struct {
	t      *testing.T
	month  schemas.Window
	seen   map[string][]byte
	events map[string]wireEvent
	voided map[string]bool
	newest map[int]time.Time
	got    Expected
}

func newRecount(t *testing.T, m schemas.Window) *recount {
	r := &recount{t: t, month: m, seen: map[string][]byte{}, events: map[string]wireEvent{},
		voided: map[string]bool{}, newest: map[int]time.Time{}}
	for i := range r.got.Usage {
		r.got.Usage[i] = Usage{Total: newLine(), ByModel: map[string]Line{}, ByAgent: map[string]Line{}, ByDepartment: map[string]Line{}}
	}
	return r
}

func (r *recount) batch(b Batch) {
	var raws []json.RawMessage
	if err := json.Unmarshal(b.Body, &raws); err != nil {
		var one wireEvent
		if json.Unmarshal(b.Body, &one) == nil {
			raws = []json.RawMessage{b.Body}
		} else {
			r.got.Counts.Sent++
			r.got.Counts.Quarantined++
			return
		}
	}
	if len(raws) != b.Events {
		r.t.Errorf("a batch of %d events says %d", len(raws), b.Events)
	}
	if len(raws) > schemas.BatchEventsMax || len(b.Body) > schemas.RequestBytesMax {
		r.t.Errorf("a batch has %d events and %d bytes", len(raws), len(b.Body))
	}
	rejected := 0
	for _, raw := range raws {
		if r.event(b, raw) {
			rejected++
		}
	}
	if rejected != b.Rejected {
		r.t.Errorf("%d events of a batch are bad; it says %d", rejected, b.Rejected)
	}
}

func (r *recount) event(b Batch, raw []byte) (rejected bool) {
	c := &r.got.Counts
	c.Sent++
	var e wireEvent
	if err := json.Unmarshal(raw, &e); err != nil {
		r.t.Fatalf("%s: %v", raw, err)
	}
	if r.bad(&e) {
		if b.Door == DoorNATS {
			c.Quarantined++
			return false
		}
		c.Rejected++
		return true
	}
	key := fmt.Sprint(b.Tenant, "|", e.Source, "|", e.ID)
	if first, ok := r.seen[key]; ok {
		if bytes.Equal(first, raw) {
			c.Duplicates++
		} else {
			c.Conflicts++
		}
		return false
	}
	if e.Type == "void" {
		target := fmt.Sprint(b.Tenant, "|", e.Data.Corrects.Source, "|", e.Data.Corrects.ID)
		original, ok := r.events[target]
		if !ok || r.voided[target] {
			c.Quarantined++
			return false
		}
		r.voided[target] = true
		r.count(b.Tenant, &original, -1)
	} else {
		r.count(b.Tenant, &e, 1)
	}
	r.seen[key], r.events[key] = append([]byte(nil), raw...), e
	c.Accepted++
	if e.Type == "llm.call" && !b.Last {
		if r.newest[b.Tenant].Sub(e.Time) > time.Hour {
			c.OutOfOrder++
		}
		if e.Time.After(r.newest[b.Tenant]) {
			r.newest[b.Tenant] = e.Time
		}
	}
	return false
}

func (r *recount) bad(e *wireEvent) bool {
	for name, n := range e.Data.Tokens {
		if _, ok := schemas.ParseBucket(name); n < 0 || !ok {
			return true
		}
	}
	known := schemas.EventType(e.Type).Known()
	return !known || (e.Type == "llm.call" && e.Data.Model == "") || !e.Time.Before(r.month.End())
}

// perMillion are the list prices as fractions of a dollar per million tokens.
var perMillion = map[string]map[string]string{
	"claude-opus-4-6":   {"input": "5", "cache_read": "0.5", "cache_write_5m": "6.25", "cache_write_1h": "10", "output": "25", "reasoning": "25"},
	"claude-sonnet-4-5": {"input": "3", "cache_read": "0.3", "cache_write_5m": "3.75", "cache_write_1h": "6", "output": "15", "reasoning": "15"},
	"claude-haiku-4-5":  {"input": "1", "cache_read": "0.1", "cache_write_5m": "1.25", "cache_write_1h": "2", "output": "5", "reasoning": "5"},
	"gpt-4o":            {"input": "2.5", "cache_read": "1.25", "output": "10"},
}

func (r *recount) count(tenant int, e *wireEvent, sign int64) {
	line := newLine()
	pico := new(big.Rat)
	if e.Type == "llm.call" {
		line.Calls, line.LatencyMS = sign, sign*e.Data.LatencyMS
		if e.Data.Status == "error" {
			line.Errors = sign
		}
		prices, priced := perMillion[e.Data.Model]
		if !priced {
			line.Unpriced = sign
			r.got.Counts.Unpriced += sign
		}
		for name, n := range e.Data.Tokens {
			bucket, _ := schemas.ParseBucket(name)
			line.Tokens[bucket] = sign * n
			if priced {
				price, ok := new(big.Rat).SetString(prices[name])
				if !ok {
					r.t.Fatalf("%s has no price for %s", e.Data.Model, name)
				}
				pico.Add(pico, price.Mul(price, big.NewRat(sign*n*1_000_000, 1)))
			}
		}
	}
	if e.Data.Amount != "" {
		amount, _ := new(big.Rat).SetString(e.Data.Amount)
		pico.Add(pico, amount.Mul(amount, big.NewRat(schemas.PicoPerUSD, 1)))
	}
	if !pico.IsInt() {
		r.t.Fatalf("%s costs a fraction of a pico-dollar", e.ID)
	}
	line.Cost = pico.Num()
	u := &r.got.Usage[tenant]
	u.Total = plus(u.Total, line)
	for _, by := range []struct {
		lines map[string]Line
		name  string
	}{{u.ByModel, e.Data.Model}, {u.ByAgent, e.Data.Agent}, {u.ByDepartment, e.Data.Department}} {
		by.lines[by.name] = plus(by.lines[by.name], line)
	}
}

func plus(a, b Line) Line {
	if a.Cost == nil {
		a.Cost = new(big.Int)
	}
	sum := Line{Calls: a.Calls + b.Calls, Errors: a.Errors + b.Errors, Unpriced: a.Unpriced + b.Unpriced,
		LatencyMS: a.LatencyMS + b.LatencyMS, Tokens: a.Tokens, Cost: new(big.Int).Add(a.Cost, b.Cost)}
	sum.Tokens.Add(&b.Tokens)
	return sum
}

func TestExpectedEqualsNaiveRecount(t *testing.T) {
	for _, events := range []int{EventsMin, 60_000} {
		cfg := Config{Seed: 42, Events: events, Month: month(t, "2026-02"), BatchEvents: 250}
		g := newTestGenerator(t, cfg)
		r := newRecount(t, cfg.Month)
		first := 0
		for _, b := range batches(g) {
			first += b.First
			r.batch(b)
		}
		if first != events {
			t.Errorf("%d first sends of %d events", first, events)
		}
		want := g.Expected()
		if diff := cmp.Diff(want, r.got, equalBig); diff != "" {
			t.Errorf("%d events: expected (-) and recount (+) differ:\n%s", events, diff)
		}
		c := want.Counts
		if sum := c.Accepted + c.Duplicates + c.Conflicts + c.Rejected + c.Quarantined; sum != c.Sent {
			t.Errorf("%d sent, but %d have a fate", c.Sent, sum)
		}
		if c.Duplicates == 0 || c.Conflicts == 0 || c.Quarantined == 0 || c.Rejected == 0 || c.OutOfOrder == 0 {
			t.Errorf("a month without trouble: %+v", c)
		}
	}
}

// TestMonthResemblesGuide holds the calibration: at the reference number of
// events the tenants cost about what the guide's do, and Acme's agents and models
// have about the guide's shares.
func TestMonthResemblesGuide(t *testing.T) {
	const events = ReferenceEvents / 5
	g := newTestGenerator(t, Config{Seed: 1, Events: events, Month: month(t, "2026-10")})
	batches(g)
	want := g.Expected()
	near := func(what string, pico *big.Int, cents int64, percent int64) {
		t.Helper()
		wanted := new(big.Int).Mul(big.NewInt(cents), big.NewInt(schemas.PicoPerCent*events/ReferenceEvents))
		off := new(big.Int).Sub(pico, wanted)
		if off.Abs(off).Cmp(new(big.Int).Div(new(big.Int).Mul(wanted, big.NewInt(percent)), big.NewInt(100))) > 0 {
			t.Errorf("%s costs %v, more than %d %% away from %v pico-USD", what, pico, percent, wanted)
		}
	}
	for i, cents := range []int64{84_732, 342_100, 12_300, 45_600} {
		near(Tenants()[i].Name, want.Usage[i].Total.Cost, cents, 5)
	}
	for model, cents := range map[string]int64{"claude-opus-4-6": 52_418, "claude-sonnet-4-5": 21_344, "claude-haiku-4-5": 8_912, "gpt-4o": 2_058} {
		near(model, want.Usage[0].ByModel[model].Cost, cents, 10)
	}
	for agent, cents := range map[string]int64{"Customer Support": 31_245, "Code Reviewer": 18_923, "Data Analyst": 15_678, "Email Assistant": 9_865, "Research Bot": 4_532} {
		near(agent, want.Usage[0].ByAgent[agent].Cost, cents, 10)
	}
	agents := []int{}
	for i := range want.Usage {
		agents = append(agents, len(want.Usage[i].ByAgent))
	}
	if diff := cmp.Diff([]int{87, 324, 12, 45}, agents); diff != "" {
		t.Errorf("numbers of agents: %s", diff)
	}
	calls, failed := int64(0), int64(0)
	for i := range want.Usage {
		calls, failed = calls+want.Usage[i].Total.Calls, failed+want.Usage[i].Total.Errors
	}
	if failed*1000 < calls*10 || failed*1000 > calls*20 {
		t.Errorf("%d of %d calls failed; want 1 to 2 %%", failed, calls)
	}
}

// TestRhythm: a business sleeps at night and on Sundays.
func TestRhythm(t *testing.T) {
	acme := profiles()[0].rhythm
	m := month(t, "2026-02")
	hours := acme.schedule(m, 100_000, newRandom(3, 3))
	var sum uint64
	byHour, byDay := map[int]uint64{}, map[time.Weekday]uint64{}
	for i, n := range hours {
		local := m.Start.Add(time.Duration(i-5) * time.Hour)
		byHour[local.Hour()] += n
		byDay[local.Weekday()] += n
		sum += n
	}
	if sum != 100_000 || len(hours) != 28*24 {
		t.Errorf("%d events in %d hours", sum, len(hours))
	}
	if byHour[10] < 10*byHour[3] || byDay[time.Wednesday] < 4*byDay[time.Sunday] {
		t.Errorf("no rhythm: hours %v, days %v", byHour, byDay)
	}
}

func TestHeavyHasMeanOne(t *testing.T) {
	var sum, most int64
	const draws = 1 << 22
	for i := range uint32(draws) {
		n := heavy(i<<10 | i>>12)
		sum += n
		most = max(most, n)
	}
	if thousandths := sum * 1000 / draws / unit; thousandths < 990 || thousandths > 1010 {
		t.Errorf("the mean factor is %d/1000", thousandths)
	}
	if most < 40*unit || most > 64*unit {
		t.Errorf("the largest factor is %d/1024", most)
	}
}

func TestConfigRefuses(t *testing.T) {
	good := Config{Events: EventsMin, Month: month(t, "2026-10")}
	for name, spoil := range map[string]func(*Config){
		"few": func(c *Config) { c.Events = 10 }, "many": func(c *Config) { c.Events = EventsMax + 1 },
		"day": func(c *Config) { c.Month.Grain = schemas.GrainDay }, "batch": func(c *Config) { c.BatchEvents = 1001 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := NewGenerator(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	now := time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)
	if got := LastMonth(now).String(); got != "2026-10" {
		t.Errorf("last month is %s", got)
	}
	for text, ok := range map[string]bool{"2026-10": true, "2025-11": true, "2026-11": false, "2025-10": false} {
		if err := CheckMonth(month(t, text), now); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAgentNamesAreDistinct(t *testing.T) {
	for _, p := range profiles() {
		names := map[string]bool{}
		for _, a := range p.agents() {
			names[a.name] = true
		}
		if len(names) != len(p.named)+int(p.restCount) {
			t.Errorf("%s: %d names of %d agents", p.Name, len(names), len(p.named)+int(p.restCount))
		}
	}
}

func BenchmarkGenerator(b *testing.B) {
	m := month(b, "2026-10")
	for b.Loop() {
		g := newTestGenerator(b, Config{Seed: 5, Events: 100_000, Month: m})
		for _, ok := g.Next(); ok; _, ok = g.Next() {
		}
	}
	b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds(), "events/s")
}
