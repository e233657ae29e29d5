package alerting

import (
	"flag"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

var (
	seedFlag   = flag.Uint64("seed", 57, "seed of the random paths; it is printed")
	roundsFlag = flag.Int("rounds", 40, "how many random paths")
)

// TestOnceWhateverHappens draws paths of usage, voids, changed limits, months and days
// that go by, clocks that jump, restarts and refused decisions, judged by two evaluators
// at once over one log, and holds what stands on the log against an oracle of plain maps
// and big integers. It shares no code with what it checks.
func TestOnceWhateverHappens(t *testing.T) {
	log := eventlogtest.Open(t)
	for round := range *roundsFlag {
		seed := *seedFlag + uint64(round)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { newPath(t, log, seed).run(30) })
	}
}

// path is one random path of one tenant.
type path struct {
	t      *testing.T
	log    *eventlog.Log
	rng    *rand.Rand
	tenant string
	meter  *meter
	nodes  [2]*node
	faults [2]*faultyLog
	limits map[string]*pathLimit
	used   map[string]int64 // by limit and period
	oracle oracle
	trace  []string
}

// pathLimit is a limit of the path, nil where it was taken away.
type pathLimit struct {
	word, name string
	unit       Unit
	daily      bool
	max        int64
	revision   string
}

func newPath(t *testing.T, log *eventlog.Log, seed uint64) *path {
	p := &path{t: t, log: log, rng: rand.New(rand.NewPCG(seed, 5)), tenant: fmt.Sprint("ten_", seed), meter: newMeter(valentine),
		limits: map[string]*pathLimit{}, used: map[string]int64{}, oracle: newOracle()}
	for i := range p.nodes {
		p.faults[i] = &faultyLog{Log: log, rng: rand.New(rand.NewPCG(seed, uint64(i))), share: 0.2}
		p.restart(i)
	}
	return p
}

func (p *path) restart(i int) {
	if p.nodes[i] != nil {
		p.nodes[i].stop()
	}
	p.nodes[i] = start(p.t, p.faults[i], p.meter, nil, false)
}

func (p *path) run(steps int) {
	p.begin()
	for range steps {
		p.step()
		if p.t.Failed() {
			p.t.Fatalf("after:\n%s", strings.Join(p.trace, "\n"))
		}
	}
}

// begin gives the tenant its limits.
func (p *path) begin() {
	for _, l := range []pathLimit{{word: "monthly_budget", unit: UnitUSD}, {word: "daily_budget", unit: UnitUSD, daily: true},
		{word: "department_budget", name: "Sales", unit: UnitUSD}, {word: "monthly_tokens", unit: UnitTokens},
		{word: "concurrent_sessions", unit: UnitSessions}} {
		p.limits[l.word] = &l
		p.change(&l)
	}
}

// change gives a limit another value.
func (p *path) change(l *pathLimit) {
	p.meter.control++
	l.max = []int64{0, 50, 100, 120, 200}[p.rng.IntN(5)]
	l.revision = fmt.Sprintf("%d-%d", p.meter.control, l.max)
}

func (p *path) note(format string, args ...any) {
	p.trace = append(p.trace, fmt.Sprintf(format, args...))
}

// step changes something and lets the nodes look at it.
func (p *path) step() {
	if p.turn(); p.rng.IntN(12) == 0 {
		i := p.rng.IntN(2)
		p.restart(i)
		p.note("restart of node %d", i)
	}
	p.publish()
	if p.rng.IntN(4) == 0 {
		return // nobody looked in time
	}
	p.settle()
	p.oracle.look(p)
	p.check()
}

// turn changes something.
func (p *path) turn() {
	words := slices.Sorted(maps.Keys(p.limits))
	word := words[p.rng.IntN(len(words))]
	l := p.limits[word]
	switch p.rng.IntN(11) {
	case 0, 1, 2, 3, 4: // usage, or a void
		if l != nil {
			amount := p.rng.Int64N(60) - 15
			p.used[p.key(l)] += amount
			p.note("use %d of %s, %d", amount, word, p.used[p.key(l)])
		}
	case 5, 6:
		if l != nil {
			p.change(l)
			p.note("%s is %s", word, l.revision)
		}
	case 7:
		if l == nil {
			l = &pathLimit{word: word, unit: UnitUSD, daily: word == "daily_budget"}
			p.limits[word] = l
			p.change(l)
			p.note("%s again, %s", word, l.revision)
		} else if word == "monthly_budget" || word == "daily_budget" {
			p.limits[word] = nil
			p.meter.control++
			p.note("no %s", word)
		}
	case 8:
		p.meter.at = p.meter.at.Add(time.Duration(p.rng.Int64N(int64(40 * time.Hour))))
		p.note("at %s", p.meter.at)
	case 9:
		jump := p.rng.IntN(3) - 1
		p.meter.at = p.meter.at.AddDate(0, jump, 0)
		p.note("the clock jumps to %s", p.meter.at)
	case 10:
		p.meter.quiet[p.tenant] = !p.meter.quiet[p.tenant]
		p.note("quiet is %t", p.meter.quiet[p.tenant])
	}
}

func (p *path) period(l *pathLimit) string {
	if l.daily {
		return p.meter.at.Format(time.DateOnly)
	}
	return p.meter.at.Format("2006-01")
}

func (p *path) key(l *pathLimit) string {
	if l.unit == UnitSessions {
		return l.word // a level has no period
	}
	return l.word + " " + p.period(l)
}

// publish makes the numbers those of the source.
func (p *path) publish() {
	p.meter.set(func() {
		var limits []Limit
		for _, l := range p.limits {
			if l == nil {
				continue
			}
			amount := func(n int64) Amount {
				if l.unit == UnitUSD {
					return Amount{Unit: UnitUSD, Money: schemas.Pico(n)}
				}
				return Amount{Unit: l.unit, Count: n}
			}
			limits = append(limits, Limit{Limit: l.word, Name: l.name, Period: p.period(l), Revision: l.revision,
				Used: amount(p.used[p.key(l)]), Max: amount(l.max)})
		}
		p.meter.limits[p.tenant] = limits
	})
}

// settle lets the nodes look until nothing is left: one after the other, or at once.
func (p *path) settle() {
	first := p.rng.IntN(2)
	if p.rng.IntN(2) == 0 {
		var work sync.WaitGroup
		for _, n := range p.nodes {
			work.Go(func() { n.settle(p.t, p.tenant) })
		}
		work.Wait()
	}
	p.nodes[first].settle(p.t, p.tenant)
	p.nodes[1-first].settle(p.t, p.tenant)
}

// check holds the log and both books against the oracle.
func (p *path) check() {
	counted := map[string]map[Kind]int{}
	for _, r := range records(p.t, p.log, p.tenant) {
		name := identityText(&r.Identity)
		if counted[name] == nil {
			counted[name] = map[Kind]int{}
		}
		counted[name][r.Kind]++
	}
	want, states := map[string]map[Kind]int{}, map[string]State{}
	for name, a := range p.oracle.alerts {
		want[name] = map[Kind]int{Fired: 1}
		if a.reopened > 0 {
			want[name][Reopened] = a.reopened
		}
		if a.resolved > 0 {
			want[name][Resolved] = a.resolved
		}
		states[name] = a.state
	}
	if diff := cmp.Diff(want, counted); diff != "" {
		p.t.Errorf("the log, -want +got:\n%s", diff)
	}
	for i, n := range p.nodes {
		got := map[string]State{}
		alerts, _ := n.book.List(Query{Tenant: p.tenant})
		for _, a := range alerts {
			got[identityText(&a.Identity)] = a.State
		}
		if diff := cmp.Diff(states, got); diff != "" {
			p.t.Errorf("the book of node %d, -want +got:\n%s", i, diff)
		}
	}
}

// oracle knows what must have been decided, in the words of the promise and without the
// code that keeps it.
type oracle struct{ alerts map[string]*oracleAlert }

type oracleAlert struct {
	word, name, period, revision string
	threshold                    int
	state                        State
	since                        time.Time
	reopened, resolved           int
}

func newOracle() oracle { return oracle{map[string]*oracleAlert{}} }

func (o *oracle) crossed(used, limit int64, threshold int) bool {
	if limit == 0 {
		return used > 0 || used == 0 && threshold <= 100
	}
	share := big.NewRat(used*100, limit)
	return share.Cmp(big.NewRat(int64(threshold), 1)) >= 0
}

// over says that a period lies before the one of a moment.
func (o *oracle) over(period string, at time.Time) bool {
	return period < at.Format("2006-01-02")[:len(period)]
}

// look is what an evaluation of the path as it is now must come to.
func (o *oracle) look(p *path) {
	o.end(p)
	if p.meter.quiet[p.tenant] {
		return
	}
	for _, l := range p.limits {
		if l == nil {
			continue
		}
		for _, threshold := range []int{80, 90, 100} {
			if o.crossed(p.used[p.key(l)], l.max, threshold) {
				o.fire(p, l, threshold)
			}
		}
	}
}

func (o *oracle) fire(p *path, l *pathLimit, threshold int) {
	identity := Identity{Limit: l.word, Name: l.name, Period: p.period(l), Revision: l.revision, Threshold: threshold}
	name := identityText(&identity)
	switch a := o.alerts[name]; {
	case a == nil:
		for _, other := range o.alerts { // it takes the place of one before a change
			if other.word == l.word && other.name == l.name && other.period == identity.Period && other.threshold == threshold && other.state == Firing {
				other.state = Replaced
			}
		}
		o.alerts[name] = &oracleAlert{word: l.word, name: l.name, period: identity.Period, revision: l.revision, threshold: threshold, state: Firing, since: p.meter.at}
	case a.state == Ended || a.state == Over:
		a.state, a.since = Firing, p.meter.at
		a.reopened++
	}
}

// end resolves what fires and must not any more.
func (o *oracle) end(p *path) {
	for _, a := range o.alerts {
		if a.state != Firing {
			continue
		}
		l := p.limits[a.word]
		to := State("")
		switch {
		case o.over(a.period, p.meter.at):
			to = Over
		case l == nil:
			to = Ended
		case p.period(l) != a.period: // of a time that the clock has yet to come to
		case o.crossed(p.used[p.key(l)], l.max, a.threshold):
		case l.unit == UnitSessions && l.revision == a.revision && p.meter.at.Sub(a.since) < 10*time.Minute:
		default:
			to = Ended
		}
		if to != "" {
			a.state, a.since = to, p.meter.at
			a.resolved++
		}
	}
}
