package demo

import (
	"sort"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// Limits of a Config.
const (
	// EventsMin is the fewest calls: below it a tenant would have none.
	EventsMin = 1_000
	// EventsMax is the most: the generator's sums stay far inside 64 bits, and
	// the month fits the disk of a large machine.
	EventsMax = 100_000_000
	// batchEventsMin leaves room for an event and its twin.
	batchEventsMin = 16
)

// Config says which month to make. The same Config makes the same bytes.
type Config struct {
	Seed uint64
	// Events is the number of different calls, EventsMin to EventsMax. What comes
	// twice, is refused or corrects another is sent on top, about 1 %.
	Events int
	// Month is the UTC month in which the calls happen. The doors refuse events
	// more than 400 days old and those that have not happened yet.
	Month schemas.Window
	// BatchEvents is the most events of a batch, at most schemas.BatchEventsMax,
	// which is also the default, 0.
	BatchEvents int
}

func (c *Config) check() error {
	if c.Events < EventsMin || c.Events > EventsMax {
		return schemas.Invalid("/events", schemas.CodeOutOfRange,
			"%d is outside %d to %d events", c.Events, EventsMin, EventsMax)
	}
	if c.Month.Grain != schemas.GrainMonth {
		return schemas.Invalid("/month", schemas.CodeMissing, "a demo needs a month such as 2026-02")
	}
	if c.BatchEvents == 0 {
		c.BatchEvents = schemas.BatchEventsMax
	}
	if c.BatchEvents < batchEventsMin || c.BatchEvents > schemas.BatchEventsMax {
		return schemas.Invalid("/batch", schemas.CodeOutOfRange,
			"%d is outside %d to %d events", c.BatchEvents, batchEventsMin, schemas.BatchEventsMax)
	}
	return nil
}

// LastMonth returns the newest UTC month that is over.
func LastMonth(now time.Time) schemas.Window {
	this := schemas.WindowOf(schemas.GrainMonth, now).Start
	return schemas.Window{Grain: schemas.GrainMonth, Start: this.AddDate(0, -1, 0)}
}

// CheckMonth refuses a month that the doors would not take whole.
func CheckMonth(month schemas.Window, now time.Time) error {
	if month.End().After(now) {
		return schemas.Invalid("/month", schemas.CodeTooEarly,
			"%s is not over; the newest month that is over is %s", month, LastMonth(now))
	}
	if month.Start.Before(now.Add(-schemas.PastMax).Add(time.Hour)) {
		return schemas.Invalid("/month", schemas.CodeTooLate, "%s began more than %d days ago; events that old are refused",
			month, int(schemas.PastMax/(24*time.Hour)))
	}
	return nil
}

// A Generator makes the batches of a month, one after the other. It is for one
// goroutine.
type Generator struct {
	cfg     Config
	rnd     *random
	write   *writer
	tenants [tenantCount]tenantState
	counts  Counts

	hour, cell int    // the hour and the tenant being made
	done       uint64 // events made of that hour and tenant
	ended      bool
	ready      []Batch
	// sending holds the events that are sent hours after they happened, and
	// those that are sent a second time, by the hour in which that is.
	sending [][]held
}

// held is an event to be sent in a later hour.
type held struct {
	tenant int
	raw    []byte
	at     int64
	again  bool // it was sent before
}

type tenantState struct {
	profile
	pairs    []pair
	weight   uint64
	calls    uint64   // of the month
	schedule []uint64 // calls by hour
	number   uint64   // of the newest call
	newest   int64    // time of the newest call that was sent
	batch    builder
	// specimens are calls that are corrected or contradicted at the end.
	specimens []call
}

// NewGenerator returns the Generator of a month. The error matches
// schemas.ErrInvalid.
func NewGenerator(cfg Config) (*Generator, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	const callStream = 1
	g := &Generator{cfg: cfg, rnd: newRandom(cfg.Seed, callStream), write: newWriter(cfg.Seed)}
	var weight uint64
	for i, p := range profiles() {
		t := &g.tenants[i]
		t.profile = p
		t.pairs, t.weight = p.pairsOf()
		weight += t.weight
	}
	events, before := uint64(cfg.Events), uint64(0)
	var weightUpTo uint64
	for i := range g.tenants {
		t := &g.tenants[i]
		for j := range t.pairs {
			t.pairs[j].scale(weight)
		}
		weightUpTo += t.weight
		upTo := events * weightUpTo / weight
		t.calls, before = upTo-before, upTo
		t.schedule = t.rhythm.schedule(cfg.Month, t.calls, g.rnd)
		t.batch.open(i, 0, g.cfg.BatchEvents)
	}
	g.sending = make([][]held, len(g.tenants[0].schedule)+1)
	return g, nil
}

// Next returns the next batch, or false after the last one.
func (g *Generator) Next() (Batch, bool) {
	for len(g.ready) == 0 {
		if g.ended {
			return Batch{}, false
		}
		g.step()
	}
	b := g.ready[0]
	g.ready = g.ready[1:]
	return b, true
}

// stepEvents bounds what is made at a time, and so what waits in ready.
const stepEvents = 512

// step makes some events of the current hour and tenant.
func (g *Generator) step() {
	if g.hour == len(g.tenants[0].schedule) {
		g.release(g.hour)
		for i := range g.tenants {
			g.flush(&g.tenants[i])
		}
		g.finish()
		g.ended = true
		return
	}
	if g.cell == 0 && g.done == 0 {
		g.release(g.hour)
	}
	t := &g.tenants[g.cell]
	n := t.schedule[g.hour]
	for upTo := min(n, g.done+stepEvents); g.done < upTo; g.done++ {
		g.event(t, g.done, n)
	}
	if g.done < n {
		return
	}
	g.done = 0
	if g.cell++; g.cell == tenantCount {
		g.cell = 0
		g.hour++
	}
}

// event makes the i-th of n calls of the current hour.
func (g *Generator) event(t *tenantState, i, n uint64) {
	g.room(t)
	const hourMillis = 3_600_000
	share := hourMillis / n
	c := call{pair: t.pick(g.rnd), number: t.number}
	c.at = g.cfg.Month.Start.UnixMilli() + int64(g.hour)*hourMillis + int64(hourMillis*i/n)
	if share > 1 {
		c.at += int64(g.rnd.below(share))
	}
	t.number++
	c.draw(g.rnd, t.users)
	c.pair.sum.call(&c)
	g.counts.Accepted++
	g.counts.Sent++
	t.keep(&c)
	if g.delayed(t, &c) {
		return
	}
	t.newest = max(t.newest, c.at)
	from := t.batch.begin()
	t.batch.body = g.write.call(t.batch.body, &c)
	t.batch.end(from, kindFirst)
	g.trouble(t, &c, from)
}

// pick returns a pair by weight.
func (t *tenantState) pick(rnd *random) *pair {
	at := rnd.below(t.weight)
	return &t.pairs[sort.Search(len(t.pairs), func(i int) bool { return t.pairs[i].upTo > at })]
}

// specimensMax is how many calls of a tenant are kept for the end.
const specimensMax = 8

// keep remembers a call now and then, from all over the month.
func (t *tenantState) keep(c *call) {
	due := uint64(len(t.specimens)) * (t.calls / specimensMax)
	if len(t.specimens) < specimensMax && t.number > due && c.failure == "" && c.pair.model.priced {
		t.specimens = append(t.specimens, *c)
	}
}

// room makes sure that two events fit the tenant's batch.
func (g *Generator) room(t *tenantState) {
	if t.batch.full() {
		g.flush(t)
	}
}

// flush hands the tenant's batch out and opens the next one.
func (g *Generator) flush(t *tenantState) {
	b := &t.batch
	if b.events == 0 {
		return
	}
	again := g.regroup(b)
	g.ready = append(g.ready, b.close())
	b.open(b.tenant, b.number+1, g.cfg.BatchEvents)
	for _, raw := range again {
		g.repeat(t, raw)
	}
}

// repeat sends an event again, as it was.
func (g *Generator) repeat(t *tenantState, raw []byte) {
	from := t.batch.begin()
	t.batch.body = append(t.batch.body, raw...)
	t.batch.end(from, kindAgain)
	g.counts.Sent++
	g.counts.Duplicates++
}
