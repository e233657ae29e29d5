package demo

import "github.com/agentik-os/panda/schemas"

// How often things go wrong: once in so many calls, except where it says
// batches. Together with the errors of providers this is a usual month of a
// fleet of runtimes on a usual network.
const (
	lateOf       = 160    // sent hours or days after it happened
	againAtOnce  = 1_200  // sent twice in the same batch
	againLater   = 200    // sent again one to four hours later
	regroupOf    = 24     // batches of which a part is sent again with the next
	conflictOf   = 25_000 // sent again with other content
	rejectedOf   = 10_000 // an event no door takes comes along
	lateHoursMax = 72
)

// delayed decides whether a call is sent late, as when a laptop was closed.
func (g *Generator) delayed(t *tenantState, c *call) bool {
	if !g.rnd.one(lateOf) {
		return false
	}
	// Mostly a few hours, sometimes three days.
	hours := 2 + g.rnd.below(6)
	if g.rnd.one(4) {
		hours += g.rnd.below(lateHoursMax - 8)
	}
	g.hold(int(hours), held{tenant: t.batch.tenant, raw: g.write.call(nil, c), at: c.at})
	return true
}

// hold keeps an event for a later hour, the end of the month at the latest.
func (g *Generator) hold(hours int, h held) {
	at := min(g.hour+hours, len(g.sending)-1)
	g.sending[at] = append(g.sending[at], h)
}

// release sends what was held for an hour.
func (g *Generator) release(hour int) {
	for _, h := range g.sending[hour] {
		t := &g.tenants[h.tenant]
		g.room(t)
		if h.again {
			g.repeat(t, h.raw)
			continue
		}
		const hourMillis = 3_600_000
		if h.at < t.newest-hourMillis {
			g.counts.OutOfOrder++
		}
		t.newest = max(t.newest, h.at)
		from := t.batch.begin()
		t.batch.body = append(t.batch.body, h.raw...)
		t.batch.end(from, kindFirst)
	}
	g.sending[hour] = nil
}

// trouble follows a call with what networks and people add to it. from is where
// the call is in its batch.
func (g *Generator) trouble(t *tenantState, c *call, from int) {
	b := &t.batch
	raw := b.body[from:]
	switch {
	case g.rnd.one(againAtOnce):
		g.repeat(t, raw)
	case g.rnd.one(againLater):
		copied := append([]byte(nil), raw...)
		g.hold(1+int(g.rnd.below(4)), held{tenant: b.tenant, raw: copied, at: c.at, again: true})
	case g.rnd.one(conflictOf):
		// In the same batch: whichever worker sends it, the twin comes second.
		g.twin(t, *c)
	case g.rnd.one(rejectedOf):
		g.spoiled(t, *c)
	}
}

// twin appends a call that has the id of c and other content.
func (g *Generator) twin(t *tenantState, c call) {
	c.tokens[schemas.Output] += 7
	from := t.batch.begin()
	t.batch.body = g.write.call(t.batch.body, &c)
	t.batch.end(from, kindOther)
	g.counts.Sent++
	g.counts.Conflicts++
}

// spoiled appends an event that is not valid. The gateway refuses it; on the log
// itself nobody is there to refuse, so the writer puts it into quarantine.
func (g *Generator) spoiled(t *tenantState, c call) {
	c.number = t.number
	t.number++
	from := t.batch.begin()
	t.batch.body = g.write.bad(t.batch.body, &c, g.rnd.below(badKinds))
	g.counts.Sent++
	if t.batch.door == DoorNATS {
		t.batch.end(from, kindOther)
		g.counts.Quarantined++
		return
	}
	t.batch.end(from, kindRejected)
	g.counts.Rejected++
}

// regroup returns copies of events of a batch whose answer a client missed: it
// sends the last of them again, together with new ones.
func (g *Generator) regroup(b *builder) [][]byte {
	if len(b.firsts) == 0 || !g.rnd.one(regroupOf) {
		return nil
	}
	n := 1 + int(g.rnd.below(uint64(min(len(b.firsts), b.eventsMax/8))))
	var again [][]byte
	for _, s := range b.firsts[len(b.firsts)-n:] {
		again = append(again, append([]byte(nil), b.body[s.from:s.to]...))
	}
	return again
}

// credit is the demo's adjustment, in pico-USD: a courtesy of $2.50.
const credit = -2_500_000_000_000

// finish makes the last batches: corrections, contradictions, and messages that
// are no events at all.
func (g *Generator) finish() {
	for i := range g.tenants {
		t := &g.tenants[i]
		g.flush(t) // what a regrouping left behind
		t.batch.door = DoorHTTP
		g.spoiled(t, t.specimens[0])
		for j := range t.specimens {
			switch j {
			case 0, 1:
				g.twin(t, t.specimens[j])
			case 2, 3, 4:
				g.repeat(t, g.write.call(nil, &t.specimens[j]))
			}
		}
		if i == 0 {
			g.correct(t)
		}
		b := t.batch.close()
		b.Last = true
		g.ready = append(g.ready, b)
	}
	g.poison()
}

// correct appends a void, a second void of the same call, one of a call that
// never was, and a credit. The two voids in the middle end in quarantine.
func (g *Generator) correct(t *tenantState) {
	last := g.cfg.Month.End().UnixMilli() - 1
	target := &t.specimens[len(t.specimens)-1]
	id := g.write.id(target.number)
	add := func(raw []byte) {
		from := t.batch.begin()
		t.batch.body = append(t.batch.body, raw...)
		t.batch.end(from, kindOther)
		g.counts.Sent++
	}
	add(g.write.void(nil, "void-1", last, target.pair.source, id))
	add(g.write.void(nil, "void-2", last, target.pair.source, id))
	add(g.write.void(nil, "void-3", last, target.pair.source, "never-was"))
	x := &t.pairs[0]
	add(g.write.adjustment(nil, "credit-1", last, x, schemas.Pico(credit)))
	target.pair.sum.void(target)
	x.sum.pico += credit
	g.counts.Accepted += 2
	g.counts.Quarantined += 2
}

// poison makes messages for the door of NATS that end in quarantine: no JSON, an
// array that breaks off, an event of an unknown type, and one bad event between
// two good ones, which must not suffer from it.
func (g *Generator) poison() {
	message := func(tenant int, events int, body string) {
		g.ready = append(g.ready, Batch{Tenant: tenant, Door: DoorNATS, Body: []byte(body), Events: events, Last: true})
		g.counts.Sent += int64(events)
	}
	var bodies [tenantCount][]byte
	var calls [tenantCount][2]call
	for i := range g.tenants {
		t := &g.tenants[i]
		for j := range calls[i] {
			c := call{pair: &t.pairs[0], number: t.number, at: g.cfg.Month.End().UnixMilli() - 1000}
			t.number++
			c.draw(g.rnd, t.users)
			calls[i][j] = c
		}
		bodies[i] = g.write.call(nil, &calls[i][0])
	}
	const unknownType = 2
	message(0, 1, "usage of february, see attachment")
	message(1, 1, "["+string(bodies[1])+`,{"specversion":"1.0","id":`)
	message(2, 1, string(g.write.bad(nil, &calls[2][0], unknownType)))
	g.counts.Quarantined += 3

	last := tenantCount - 1
	bad := calls[last][1]
	bad.number = g.tenants[last].number
	message(last, 3, "["+string(bodies[last])+","+string(g.write.bad(nil, &bad, 0))+","+
		string(g.write.call(nil, &calls[last][1]))+"]")
	g.counts.Quarantined++
	g.counts.Accepted += 2
	for j := range calls[last] {
		calls[last][j].pair.sum.call(&calls[last][j])
	}
}
