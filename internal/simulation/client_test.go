package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// tenants share all their event ids.
var tenants = []string{"ten_a", "ten_b"}

// An action is one thing a client does, planned before the run begins.
type action struct {
	id      string
	at      time.Duration
	tenant  string
	gateway int
	facts   []fact
	// imported: it goes through the door without a limit on age.
	imported bool
	// subject and data: what is published without a gateway, if subject is set.
	subject string
	data    []byte
}

// A history is what a client knows about an event it sent.
type history struct {
	ok      bool // acknowledged at least once
	unknown bool // at least once without an answer
}

// planActions makes what clients do. It depends on the seed alone.
func (s *sim) planActions() {
	rng := rand.New(rand.NewPCG(s.cfg.seed, 1))
	sent := map[string][]fact{}
	for i := range s.cfg.shape.actions {
		a := action{
			id: fmt.Sprintf("c%d", i), at: time.Duration(rng.Int64N(int64(s.cfg.shape.span))),
			tenant: tenants[rng.IntN(len(tenants))], gateway: rng.IntN(s.cfg.shape.gateways),
		}
		kind := rng.IntN(100)
		if i == 0 {
			a.at, kind = 0, 99 // prices from the beginning on
		}
		for range 1 + rng.IntN(s.cfg.shape.eventsMax) {
			f := s.planFact(rng, a.tenant, a.at, sent)
			a.facts = append(a.facts, f)
			sent[a.tenant] = append(sent[a.tenant], f)
			s.made[f] = true
		}
		switch {
		case kind < 8:
			a.imported = true
		case kind < 80:
		case kind < 90:
			a.subject = schemas.DirectSubject(a.tenant)
			a.data = encode(a.facts)
			s.direct[string(a.data)] = a.facts
		case kind < 92:
			a.subject, a.data = schemas.DirectSubject(a.tenant), []byte("{not json")
		case kind < 94:
			events := []schemas.Event{a.facts[0].event()}
			a.subject = schemas.Shard{}.EnvelopeSubject(a.tenant)
			a.data = ingest.EncodeEnvelope(nil, a.tenant, events, 0, []byte("another key"))
		case kind < 95:
			a.subject, a.data = schemas.Shard{}.PricesSubject(), []byte("dear")
		case kind < 96:
			a.subject, a.data = "elsewhere.x.y.z", []byte("what is this")
		default:
			a.subject, a.data = schemas.Shard{}.PricesSubject(), fmt.Appendf(nil, "%d", 1+rng.IntN(len(s.cfg.books)-1))
		}
		if s.cfg.actions == nil || s.cfg.actions[a.id] {
			s.actions = append(s.actions, a)
		}
	}
}

// planFact makes an event: a new one, one that was sent before, one that was sent
// before with other content, or a void.
func (s *sim) planFact(rng *rand.Rand, tenant string, at time.Duration, sent map[string][]fact) fact {
	before := sent[tenant]
	if len(before) > 0 && rng.IntN(100) < 22 {
		f := before[rng.IntN(len(before))]
		if rng.IntN(5) == 0 && f.kind == schemas.TypeLLMCall {
			f.in++ // another content under the same id
		}
		return f
	}
	now := s.began.Add(at)
	past := []time.Duration{0, time.Minute, time.Hour, 3 * time.Hour, 26 * time.Hour, 20 * 24 * time.Hour, 400*24*time.Hour - time.Hour,
		0, 0, 0, time.Minute, 0, time.Hour, 0, 402 * 24 * time.Hour, -10 * time.Minute}
	f := fact{
		tenant: tenant, source: source, id: fmt.Sprintf("e%d", len(before)), kind: schemas.TypeLLMCall, model: "m", status: "ok",
		time: now.Add(-past[rng.IntN(len(past))]).UnixMilli(), dept: []string{"", "ops", "dev"}[rng.IntN(3)],
		in: 1 + rng.Int64N(1_000_000), out: rng.Int64N(1000), latency: rng.Int64N(500),
	}
	switch roll := rng.IntN(20); {
	case roll < 3:
		target := fmt.Sprintf("e%d", rng.IntN(len(before)+3)) // there, to come, or neither
		if len(before) > 0 && rng.IntN(3) == 0 {
			target = before[len(before)-1].id
		}
		f = fact{tenant: tenant, source: source, id: fmt.Sprintf("e%d", len(before)), kind: schemas.TypeVoid, status: "ok", time: f.time, corrects: target}
	case roll == 3:
		f.model = "unheard-of"
	case roll == 4:
		f.status = "error"
	case roll == 5:
		f = fact{tenant: tenant, source: source, id: f.id, kind: schemas.TypeMessage, status: "ok", time: f.time, dept: f.dept, latency: f.latency}
	case roll == 7:
		f = fact{tenant: tenant, source: source, id: f.id, kind: schemas.TypeResourceSample, status: "ok", time: f.time, level: rng.Int64N(50)}
	case roll == 6:
		f = fact{tenant: tenant, source: source, id: f.id, kind: schemas.TypeAdjustment, status: "ok", time: f.time, dept: f.dept, amount: rng.Int64N(2_000_000) - 1_000_000}
	}
	return f
}

func encode(facts []fact) []byte {
	body := []byte("[")
	for i := range facts {
		if i > 0 {
			body = append(body, ',')
		}
		e := facts[i].event()
		body = ingest.EncodeEvent(body, &e)
	}
	return append(body, ']')
}

// startClients lets every action run by itself: that is how they overtake each
// other.
func (s *sim) startClients() {
	for i := range s.actions {
		a := &s.actions[i]
		s.busy++
		s.all.Go(func() {
			s.wait(a.at)
			if a.subject != "" {
				s.publish(a)
			} else {
				s.send(a, a.id, a.facts, 1)
			}
			s.mu.Lock()
			s.busy--
			s.mu.Unlock()
		})
	}
}

// wait is a sleep that the end of the run cuts short.
func (s *sim) wait(d time.Duration) {
	ctx, cancel := context.WithTimeout(s.ctx, d)
	defer cancel()
	<-ctx.Done()
}

// publish sends a message as a runtime with credentials does, and again until it
// is acknowledged.
func (s *sim) publish(a *action) {
	port := logPort{s: s, who: a.id}
	for range 4 {
		ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
		_, _, err := port.Append(ctx, a.subject, "", a.data)
		cancel()
		if _, mine := s.direct[string(a.data)]; mine {
			s.record(a.facts, err == nil, err != nil)
		}
		if err == nil {
			return
		}
		s.wait(300 * time.Millisecond)
	}
}

// record notes what an answer says about events.
func (s *sim) record(facts []fact, ok, unknown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range facts {
		h := s.history[f]
		s.history[f] = history{h.ok || ok, h.unknown || unknown}
	}
}

// send sends events through a gateway, and those without an answer again, with the
// same ids, grouped anew.
func (s *sim) send(a *action, name string, facts []fact, attempt int) {
	const attemptsMax = 4
	if s.request(a, fmt.Sprintf("%s/%d", name, attempt), facts) || attempt == attemptsMax {
		return
	}
	s.wait(time.Duration(attempt) * s.between(100*time.Millisecond, 1200*time.Millisecond, name, "backoff", fmt.Sprint(attempt)))
	if len(facts) > 1 && s.hash(name, "regroup", fmt.Sprint(attempt))%2 == 0 {
		s.note("a retry was grouped anew")
		half := len(facts) / 2
		s.send(a, name+"l", facts[:half], attempt+1)
		s.send(a, name+"r", facts[half:], attempt+1)
		return
	}
	s.send(a, name, facts, attempt+1)
}

// request is one request on its way there and back. It reports whether it was
// answered.
func (s *sim) request(a *action, name string, facts []fact) bool {
	o := &op{kind: "http", faults: []outcome{dropped, lost, twice}, apply: func() error { return nil }}
	err := s.call(s.ctx, name, o)
	if err != nil && o.how != lost || s.ctx.Err() != nil {
		s.record(facts, false, true) // the client cannot know that it never arrived
		return false
	}
	gateway := s.gateways[a.gateway]
	if o.how == twice {
		s.note("a request was delivered twice")
		s.mu.Lock()
		s.busy++
		s.mu.Unlock()
		s.all.Go(func() {
			gateway.serve(s, a, name+"again", facts)
			s.mu.Lock()
			s.busy--
			s.mu.Unlock()
		})
	}
	status, answer := gateway.serve(s, a, name, facts)
	switch {
	case o.how == lost:
		s.note("the answer to a client was lost")
		s.record(facts, false, true)
		return false
	case status == http.StatusOK:
		for _, e := range answer.Events {
			// A refusal concerns this event alone; the others are on the log.
			s.record(facts[e.Index:e.Index+1], e.Verdict != "rejected", false)
		}
		return true
	case status < 500:
		s.note("a request was refused")
		s.record(facts, false, false)
		return true
	}
	s.record(facts, false, true)
	return false
}

// A gateway is one process that takes requests.
type gatewayNode struct {
	name    string
	proc    *process
	handler *ingest.Gateway
}

func (g *gatewayNode) start(s *sim, incarnation int) {
	g.proc = s.newProcess(fmt.Sprintf("%s#%d", g.name, incarnation))
	proc := g.proc
	g.handler = ingest.NewGateway(ingest.GatewayConfig{Key: []byte(signingKey), Now: proc.now, EnvelopeBytesMax: s.cfg.shape.envelopeBytes},
		logPort{s: s, proc: proc, who: proc.name})
}

type reply struct {
	Events []struct {
		Index   int
		Verdict string
	}
}

// serve hands a request to the gateway's handler, which has two seconds for it.
func (g *gatewayNode) serve(s *sim, a *action, name string, facts []fact) (status int, answer reply) {
	ctx, cancel := context.WithTimeout(context.WithValue(s.ctx, whoKey{}, name), 2*time.Second)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/events", bytes.NewReader(encode(facts)))
	r.Header.Set("Content-Type", "application/cloudevents-batch+json")
	w := httptest.NewRecorder()
	s.mu.Lock()
	handler := g.handler // a crash may put another in its place
	s.mu.Unlock()
	door, permission := handler.Events, tenancy.PermissionIngest
	if a.imported {
		door, permission = handler.Import, tenancy.PermissionImport
	}
	if err := door(w, r, tenancy.ScopeOf(a.tenant, "simulation", permission)); err != nil {
		return httpapi.ProblemOf(err).Status, reply{}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		panic(fmt.Sprintf("the gateway's answer cannot be read: %v", err))
	}
	return http.StatusOK, answer
}
