package demo

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/agentik-os/panda/schemas"
)

// A Mismatch is a number that panda counted otherwise than it was sent.
type Mismatch struct {
	Where, What string
	Want, Got   string
}

func (m Mismatch) String() string {
	return fmt.Sprintf("%s: %s is %s, sent was %s", m.Where, m.What, m.Got, m.Want)
}

// Compare lists every number that differs between what was sent, what the doors
// answered and what panda counted. None is the proof the demo is after.
func Compare(want Expected, doors Loaded, got Got) []Mismatch {
	var c comparison
	for i, t := range Tenants() {
		w, g := want.Usage[i], got.Usage[i]
		c.line(t.Name, w.Total, g.Total)
		c.lines(t.Name+", model ", w.ByModel, g.ByModel)
		c.lines(t.Name+", agent ", w.ByAgent, g.ByAgent)
		c.lines(t.Name+", department ", w.ByDepartment, g.ByDepartment)
	}
	c.summary(want, doors, got.Summary)
	return c.found
}

// Numbers returns how many numbers Compare compares for what was sent.
func Numbers(want Expected) int {
	var c comparison
	for i := range want.Usage {
		w := want.Usage[i]
		c.line("", w.Total, w.Total)
		c.lines("", w.ByModel, w.ByModel)
		c.lines("", w.ByAgent, w.ByAgent)
		c.lines("", w.ByDepartment, w.ByDepartment)
	}
	c.summary(want, Loaded{}, Summary{})
	return c.compared
}

type comparison struct {
	found    []Mismatch
	compared int
}

func (c *comparison) same(where, what, want, got string) {
	c.compared++
	if want != got {
		c.found = append(c.found, Mismatch{where, what, want, got})
	}
}

func (c *comparison) number(where, what string, want, got int64) {
	c.same(where, what, fmt.Sprint(want), fmt.Sprint(got))
}

// upTo compares a count that may be larger by what was sent again without
// knowing whether it had arrived.
func (c *comparison) upTo(what string, want, got, resent int64) {
	if resent == 0 || got < want || got > want+resent {
		c.number("everything", what, want, got)
		return
	}
	c.compared++
}

func (c *comparison) lines(where string, want, got map[string]Line) {
	for _, name := range names(want, got) {
		c.line(where+name, want[name], got[name])
	}
}

// names returns the keys of both maps in order.
func names(a, b map[string]Line) []string {
	var all []string
	for name := range a {
		all = append(all, name)
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func (c *comparison) line(where string, want, got Line) {
	c.number(where, "number of calls", want.Calls, got.Calls)
	c.number(where, "number of errors", want.Errors, got.Errors)
	c.number(where, "number of unpriced calls", want.Unpriced, got.Unpriced)
	c.number(where, "latency in ms", want.LatencyMS, got.LatencyMS)
	for b := range schemas.BucketCount {
		c.number(where, schemas.Bucket(b).Column(), want.Tokens[b], got.Tokens[b])
	}
	c.same(where, "cost in pico-USD", pico(want.Cost), pico(got.Cost))
}

func pico(n *big.Int) string {
	if n == nil {
		return "0"
	}
	return n.String()
}

func (c *comparison) summary(want Expected, doors Loaded, got Summary) {
	const all = "everything"
	total := newLine()
	for i := range want.Usage {
		t := &want.Usage[i].Total
		total.Calls += t.Calls
		total.Tokens.Add(&t.Tokens)
		total.Cost.Add(total.Cost, t.Cost)
	}
	n := want.Counts
	c.number(all, "number of accepted events", n.Accepted, got.Accepted)
	c.number(all, "number of unpriced calls", n.Unpriced, got.Unpriced)
	c.number(all, "number of calls", total.Calls, got.Calls)
	c.number(all, "number of tokens", total.Tokens.Total(), got.TokensTotal)
	c.same(all, "cost in pico-USD", total.Cost.String(), got.Cost.Big().String())
	c.number(all, "number of rejected events", n.Rejected, doors.Rejected)
	// The gateway drops a copy within a batch; the writer finds the others.
	c.upTo("number of duplicates", n.Duplicates, doors.Duplicates+got.Duplicates, doors.Resent)
	c.upTo("number of conflicts", n.Conflicts, got.Conflicts, doors.Resent)
	c.upTo("number of quarantined events", n.Quarantined, got.Quarantined, doors.Resent)
}
