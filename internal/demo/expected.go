package demo

import (
	"math/big"

	"github.com/agentik-os/panda/schemas"
)

// Line is what some usage comes to. Cost is in pico-USD.
type Line struct {
	Calls, Errors, Unpriced, LatencyMS int64
	Tokens                             schemas.Tokens
	Cost                               *big.Int
}

func newLine() Line { return Line{Cost: new(big.Int)} }

func (l *Line) add(t *tally) {
	l.Calls += t.calls
	l.Errors += t.errors
	l.Unpriced += t.unpriced
	l.LatencyMS += t.latencyMS
	for b, n := range t.tokens {
		l.Tokens[b] += n
	}
	l.Cost.Add(l.Cost, big.NewInt(t.pico))
}

// Usage is a tenant's month: the whole, and its parts by name.
type Usage struct {
	Total                          Line
	ByModel, ByAgent, ByDepartment map[string]Line
}

// Counts are what became of everything that was sent.
type Counts struct {
	// Sent is every event or unreadable message, however often it was sent.
	Sent int64
	// Accepted are those that were counted: calls, and what corrects them.
	Accepted int64
	// Duplicates came again with the same content, Conflicts with other content.
	Duplicates, Conflicts int64
	// Rejected were refused by the gateway, Quarantined kept apart by the writer.
	Rejected, Quarantined int64
	// Unpriced are accepted calls of a model that no price is known for.
	Unpriced int64
	// OutOfOrder are accepted calls that were sent after one of the same tenant
	// that happened more than an hour later.
	OutOfOrder int64
}

// Expected is what a correct pipeline must answer for everything that was sent.
type Expected struct {
	Counts Counts
	// Usage is by tenant, in the order of Tenants.
	Usage [tenantCount]Usage
}

// tally sums what the generator sent of one pair. 64 bits hold 9 million
// dollars; the most a month of EventsMax costs is a twentieth of it.
type tally struct {
	calls, errors, unpriced, latencyMS, pico int64
	tokens                                   schemas.Tokens
}

// call counts an accepted call.
func (t *tally) call(c *call) {
	t.calls++
	t.latencyMS += c.latencyMS
	if c.failure != "" {
		t.errors++
	}
	if c.pair.model.priced {
		t.pico += c.pair.model.cost(&c.tokens)
	} else {
		t.unpriced++
	}
	for b, n := range c.tokens {
		t.tokens[b] += n
	}
}

// void takes a priced call without failure back, whole.
func (t *tally) void(c *call) {
	t.calls--
	t.latencyMS -= c.latencyMS
	t.pico -= c.pair.model.cost(&c.tokens)
	for b, n := range c.tokens {
		t.tokens[b] -= n
	}
}

// Expected returns what everything that Next returned so far must come to.
func (g *Generator) Expected() Expected {
	e := Expected{Counts: g.counts}
	for i := range g.tenants {
		u := Usage{Total: newLine(), ByModel: map[string]Line{}, ByAgent: map[string]Line{}, ByDepartment: map[string]Line{}}
		for j := range g.tenants[i].pairs {
			x := &g.tenants[i].pairs[j]
			if x.sum == (tally{}) {
				continue
			}
			u.Total.add(&x.sum)
			addTo(u.ByModel, x.model.id, &x.sum)
			addTo(u.ByAgent, x.agent.name, &x.sum)
			addTo(u.ByDepartment, x.agent.department, &x.sum)
		}
		e.Usage[i] = u
		e.Counts.Unpriced += u.Total.Unpriced
	}
	return e
}

func addTo(lines map[string]Line, name string, t *tally) {
	l, ok := lines[name]
	if !ok {
		l = newLine()
	}
	l.add(t)
	lines[name] = l
}
