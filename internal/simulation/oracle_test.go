package simulation

import (
	"math/big"
	"strconv"
	"strings"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/schemas"
)

// A fact is an event as its client means it. It is comparable: two sends of one
// event are equal facts, and that is the oracle's whole idea of content.
type fact struct {
	tenant, source, id string
	kind               schemas.EventType
	time               int64 // Unix milliseconds
	model, dept        string
	status             string
	in, out, latency   int64
	amount             int64 // pico-USD, of an adjustment
	level              int64 // of a resource sample
	corrects           string
}

const (
	source    = "/sim" // of all events
	levelName = schemas.LevelAgents
)

func (f *fact) event() schemas.Event {
	e := schemas.Event{
		ID: f.id, Source: f.source, Type: f.kind, Time: f.time, Department: f.dept,
		Status: f.status, LatencyMS: f.latency,
	}
	if f.model != "" {
		e.Provider, e.Model = "p", f.model
	}
	e.Tokens[schemas.Input], e.Tokens[schemas.Output] = f.in, f.out
	if f.kind == schemas.TypeAdjustment {
		e.Amount, e.HasAmount = schemas.Pico(f.amount), true
	}
	if f.kind == schemas.TypeResourceSample {
		e.Units = []schemas.Unit{{Name: levelName, Count: f.level}}
	}
	if f.corrects != "" {
		e.Corrects = schemas.EventRef{Source: source, ID: f.corrects}
	}
	return e
}

// factOf reads an event from the log back.
func factOf(tenant string, e *schemas.Event) fact {
	amount, _ := e.Amount.Int64()
	level := int64(0)
	for _, u := range e.Units {
		level += u.Count
	}
	return fact{
		tenant: tenant, source: e.Source, id: e.ID, kind: e.Type, time: e.Time, model: e.Model, dept: e.Department,
		status: e.Status, in: e.Tokens[schemas.Input], out: e.Tokens[schemas.Output], latency: e.LatencyMS,
		amount: amount, level: level, corrects: e.Corrects.ID,
	}
}

// A counted event is one that the oracle counts, and what it adds to the sums.
type counted struct {
	fact      // with a void's time and names those of its target
	said fact // as it came
	place
	sums
	priced bool
}

// verdicts count what became of the events of a part of the log.
type verdicts struct{ messages, events, accepted, duplicates, conflicts, quarantined uint64 }

func (v *verdicts) add(o verdicts) {
	v.messages, v.events, v.accepted = v.messages+o.messages, v.events+o.events, v.accepted+o.accepted
	v.duplicates, v.conflicts, v.quarantined = v.duplicates+o.duplicates, v.conflicts+o.conflicts, v.quarantined+o.quarantined
}

// An oracle recounts the log in the plainest way: one event after the other, a
// map, big integers. Of the product it uses the decoder of envelopes alone, and
// what that gives is held against what clients made.
type oracle struct {
	s        *sim
	upto     uint64
	rows     []counted
	verdicts []verdicts // by message, from 1
	rejects  map[place]string
	onLog    map[fact]bool
	first    map[string]counted // by tenant and id
	voided   map[string]bool
	revision int64
}

func newOracle(s *sim) *oracle {
	return &oracle{s: s, verdicts: make([]verdicts, 1), rejects: map[place]string{}, onLog: map[fact]bool{},
		first: map[string]counted{}, voided: map[string]bool{}}
}

// read takes in what is new on the log.
func (o *oracle) read() {
	for _, r := range o.s.log.records[min(o.upto, o.s.log.last()):] {
		o.upto = r.Seq
		o.verdicts = append(o.verdicts, verdicts{messages: 1})
		o.message(&r)
	}
}

func (o *oracle) message(r *ingest.Record) {
	at := place{seq: r.Seq}
	door, tenant, _ := strings.Cut(r.Subject, ".")
	switch door {
	case "prices":
		n, err := strconv.ParseInt(string(r.Data), 10, 32)
		if err != nil || n <= 0 {
			o.refuse(at, ingest.ReasonUnreadable)
			return
		}
		o.revision = n
	case "envelope":
		_, tenant, _ = strings.Cut(tenant, ".")
		events, _, err := ingest.DecodeEnvelope(r.Data, tenant, []byte(signingKey))
		if err != nil {
			o.refuse(at, "") // forged or unreadable
			return
		}
		for i := range events {
			at.idx = uint16(i)
			o.event(at, factOf(tenant, &events[i]))
		}
	case "usage":
		facts, ok := o.s.direct[string(r.Data)]
		if !ok {
			o.refuse(at, "") // poison
			return
		}
		received := r.Time.UnixMilli()
		for i, f := range facts {
			at.idx = uint16(i)
			const minute, day = 60_000, 86_400_000
			if f.time > received+5*minute || f.time < received-400*day {
				o.onLog[f] = true
				o.s.rare("an event was too early or too late for the door without a gateway")
				o.refuse(at, "")
				continue
			}
			o.event(at, f)
		}
	default:
		o.refuse(at, "")
	}
}

func (o *oracle) refuse(at place, why string) {
	v := &o.verdicts[at.seq]
	v.events, v.quarantined = v.events+1, v.quarantined+1
	o.rejects[at] = why
}

// event gives one event its verdict.
func (o *oracle) event(at place, f fact) {
	if !o.s.made[f] {
		o.s.fail("message %d holds an event that no client made for %s: %+v", at.seq, f.tenant, f)
	}
	o.onLog[f] = true
	v := &o.verdicts[at.seq]
	name := f.tenant + "|" + f.id
	if first, ok := o.first[name]; ok {
		v.events++
		if first.said == f {
			v.duplicates++
			return
		}
		v.conflicts++
		o.rejects[at] = "conflict"
		if first.seq == at.seq {
			o.s.rare("a conflict inside a message")
		} else {
			o.s.rare("a conflict across messages")
		}
		return
	}
	c := counted{fact: f, said: f, place: at, priced: true}
	if f.kind == schemas.TypeVoid {
		target, ok := o.first[f.tenant+"|"+f.corrects]
		switch {
		case o.voided[f.tenant+"|"+f.corrects]:
			o.s.rare("a void of what was voided")
			o.refuse(at, ingest.ReasonVoidTwice)
			return
		case !ok:
			o.s.rare("a void of what is not there")
			o.refuse(at, ingest.ReasonVoidUnknown)
			return
		case target.kind == schemas.TypeVoid:
			o.s.rare("a void of a void")
			o.refuse(at, ingest.ReasonVoidOfVoid)
			return
		}
		if target.seq == at.seq {
			o.s.rare("a void in the message of its target")
		}
		o.voided[f.tenant+"|"+f.corrects] = true
		c = target.negated(f, at)
	} else {
		o.price(&c)
	}
	v.events, v.accepted = v.events+1, v.accepted+1
	o.first[name] = c
	o.rows = append(o.rows, c)
}

// price works out what an event adds. Revision n asks n*1000 pico-USD for a token
// of input and n*5000 for one of output, of model m and no other.
func (o *oracle) price(c *counted) {
	c.sums.in, c.sums.out = c.fact.in, c.fact.out
	switch c.kind {
	case schemas.TypeAdjustment:
		c.cost.SetInt64(c.amount)
		return
	case schemas.TypeResourceSample:
		return // a level is not summed
	case schemas.TypeMessage:
		c.calls, c.sums.latency = 1, c.fact.latency
		return
	}
	c.calls, c.sums.latency = 1, c.fact.latency
	if c.status == "error" {
		c.errors = 1
	}
	if c.model != "m" || o.revision == 0 {
		c.unpriced, c.priced = 1, false
		return
	}
	input := new(big.Int).Mul(big.NewInt(c.fact.in), big.NewInt(1000*o.revision))
	output := new(big.Int).Mul(big.NewInt(c.fact.out), big.NewInt(5000*o.revision))
	c.cost.Add(input, output)
}

// negated is what a void adds: its target's sums taken back, in the same windows.
func (c *counted) negated(f fact, at place) counted {
	n := counted{fact: f, said: f, place: at, priced: c.priced}
	n.time, n.dept = c.time, c.dept
	n.calls, n.errors, n.unpriced = -c.calls, -c.errors, -c.unpriced
	n.sums.latency, n.sums.in, n.sums.out = -c.sums.latency, -c.sums.in, -c.sums.out
	n.cost.Neg(&c.cost)
	return n
}

// level returns a tenant's newest sample as of a position: by its own time, and of
// one time the later in the log.
func (o *oracle) level(tenant string, position uint64) (newest counted, ok bool) {
	for i := range o.rows {
		c := &o.rows[i]
		if c.seq <= position && c.tenant == tenant && c.kind == schemas.TypeResourceSample && (!ok || c.time >= newest.time) {
			newest, ok = *c, true
		}
	}
	return newest, ok
}

// windows returns the sums of every window as of a position, by department.
func (o *oracle) windows(position uint64) map[windowKey]map[string]*sums {
	all := map[windowKey]map[string]*sums{}
	for i := range o.rows {
		c := &o.rows[i]
		if c.seq > position {
			break
		}
		for _, grain := range []schemas.Grain{schemas.GrainHour, schemas.GrainDay, schemas.GrainMonth} {
			key := windowKey{c.tenant, grain, startOf(grain, c.time/1000)}
			if all[key] == nil {
				all[key] = map[string]*sums{}
			}
			sumOf(all[key], c.dept).add(&c.sums)
		}
	}
	return all
}
