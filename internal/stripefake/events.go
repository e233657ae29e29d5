package stripefake

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// eventsKept is how long events are listed (/api/events).
const eventsKept = 30 * 24 * time.Hour

// retries are the pauses after a delivery that failed. Stripe tries for up to three days
// in live mode with growing pauses (/webhooks); the pauses themselves are assumed.
func retries() []time.Duration {
	return []time.Duration{
		time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 12 * time.Hour, 18 * time.Hour, 24 * time.Hour,
	}
}

// delivery is an event on its way to one endpoint.
type delivery struct {
	event    *event
	endpoint string
	due      time.Time
	attempts int
	done     bool // taken, or given up
}

// emit makes an event and a delivery of it for each endpoint that wants it.
func (w *world) emit(s *Server, kind string, object any, now int64) string {
	e := &event{
		ID: w.newID("evt"), Object: "event", APIVersion: Version, Created: now, Livemode: w.live,
		Data: map[string]any{"object": frozen(object)}, Type: kind, Request: map[string]any{"id": nil, "idempotency_key": nil},
	}
	w.events = append(w.events, e)
	f := s.cfg.Faults
	for _, end := range newest(w, w.endpoints, func(end *endpoint) bool {
		return !end.Deleted && (slices.Contains(end.EnabledEvents, "*") || slices.Contains(end.EnabledEvents, kind))
	}) {
		due, copies := s.cfg.Now(), 1
		if f != nil {
			n := func(what string) int { return int(f.roll(e.ID, end.ID, what) % 1000) }
			if n("lost") < f.EventLost {
				e.failed = true
				continue
			}
			if n("twice") < f.EventTwice {
				copies = 2
			}
			if n("late") < f.EventLate {
				due = due.Add(f.delay(e.ID, end.ID))
			}
		}
		for i := range copies {
			e.PendingWebhooks++
			w.deliveries = append(w.deliveries, &delivery{event: e, endpoint: end.ID, due: due.Add(time.Duration(i) * time.Second)})
		}
	}
	return e.ID
}

// frozen is an object as it is now: events carry snapshots (/event-destinations).
func frozen(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("stripefake: an object that is not JSON: " + err.Error())
	}
	return b
}

func (w *world) forget(now time.Time) {
	w.events = slices.DeleteFunc(w.events, func(e *event) bool { return now.Sub(time.Unix(e.Created, 0)) > eventsKept })
	w.deliveries = slices.DeleteFunc(w.deliveries, func(d *delivery) bool { return d.done })
}

func getEvent(r *request) (any, *apiError) {
	for _, e := range r.events {
		if e.ID == r.id {
			return e, nil
		}
	}
	return nil, missing("event", r.id)
}

func listEvents(r *request) (any, *apiError) {
	types := r.form.list("types")
	if t := r.form.Get("type"); t != "" {
		types = append(types, t)
	}
	var all []*event
	for _, e := range slices.Backward(r.events) {
		f := r.form
		if (len(types) == 0 || slices.Contains(types, e.Type)) &&
			(!f.Has("created[gte]") || e.Created >= f.int("created[gte]")) &&
			(!f.Has("created[gt]") || e.Created > f.int("created[gt]")) &&
			(!f.Has("created[lte]") || e.Created <= f.int("created[lte]")) &&
			(!f.Has("delivery_success") || f.bool("delivery_success") != e.failed) {
			all = append(all, e)
		}
	}
	return listOf(r, all, func(e *event) string { return e.ID })
}

func createEndpoint(r *request) (any, *apiError) {
	kinds := r.form.list("enabled_events")
	if len(kinds) == 0 {
		return nil, invalid("parameter_missing", "enabled_events", "Missing required param: enabled_events.")
	}
	id := r.newID("we")
	sum := sha256.Sum256([]byte(id))
	end := &endpoint{
		ID: id, Object: "webhook_endpoint", APIVersion: r.form.Get("api_version"), Created: r.s.cfg.Now().Unix(), EnabledEvents: kinds,
		Livemode: r.live, Metadata: r.form.mergeMetadata(nil), Secret: "whsec_" + hex.EncodeToString(sum[:16]), Status: "enabled", URL: r.form.Get("url"),
	}
	r.endpoints[id] = end
	return end, nil
}

func listEndpoints(r *request) (any, *apiError) {
	var all []*endpoint
	for _, end := range newest(r.world, r.endpoints, func(end *endpoint) bool { return !end.Deleted }) {
		v := *end
		v.Secret = ""
		all = append(all, &v)
	}
	return listOf(r, all, func(end *endpoint) string { return end.ID })
}

func deleteEndpoint(r *request) (any, *apiError) {
	end := r.endpoints[r.id]
	if end == nil || end.Deleted {
		return nil, missing("webhook endpoint", r.id)
	}
	end.Deleted = true
	return map[string]any{"id": end.ID, "object": "webhook_endpoint", "deleted": true}, nil
}

// Sign returns the Stripe-Signature of a payload: HMAC-SHA256 of "time.payload" under the
// endpoint's secret (/webhooks#verify-manually).
func Sign(payload []byte, secret string, at time.Time) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at.Unix(), payload)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}

// Pump does what time has made due and delivers the webhooks that are due, each once.
// Whoever wants deliveries calls it again and again; it returns how many were answered
// with success.
func (s *Server) Pump(ctx context.Context) int {
	type post struct {
		*delivery
		end     endpoint
		payload []byte
	}
	var posts []post
	s.mu.Lock()
	now := s.cfg.Now()
	for _, live := range []bool{false, true} {
		w := s.worlds[live]
		w.tick(s)
		for _, d := range w.deliveries {
			if end := w.endpoints[d.endpoint]; !d.done && !d.due.After(now) && end != nil {
				posts = append(posts, post{d, *end, frozen(d.event)})
			}
		}
	}
	s.mu.Unlock()
	taken := 0
	for _, p := range posts {
		ok := s.post(ctx, p.end, p.payload, now)
		s.mu.Lock()
		p.attempts++
		switch pauses := retries(); {
		case ok || p.end.Deleted:
			taken++
			p.done = true
			s.worlds[p.end.Livemode].delivered(p.delivery, now)
		case p.attempts > len(pauses):
			p.done, p.event.failed = true, true
		default:
			p.due, p.event.failed = now.Add(pauses[p.attempts-1]), true
		}
		s.mu.Unlock()
	}
	return taken
}

// delivered notes when the last endpoint took an invoice.created: the draft hour begins.
func (w *world) delivered(d *delivery, now time.Time) {
	d.event.PendingWebhooks--
	d.event.failed = false
	for _, other := range w.deliveries {
		if other.event == d.event && !other.done {
			return
		}
	}
	for _, inv := range w.invoices {
		if inv.event == d.event.ID && inv.WebhooksDeliveredAt == 0 {
			inv.WebhooksDeliveredAt = max(w.nowOf(inv), now.Unix())
		}
	}
}

// nowOf is the frozen time of an invoice's customer, 0 without a test clock.
func (w *world) nowOf(inv *invoice) int64 {
	if k := w.clocks[w.customers[inv.Customer].TestClock]; k != nil {
		return k.FrozenTime
	}
	return 0
}

func (s *Server) post(ctx context.Context, end endpoint, payload []byte, now time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, end.URL, bytes.NewReader(payload))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "Stripe/1.0 (fake)")
	req.Header.Set("Stripe-Signature", Sign(payload, end.Secret, now))
	resp, err := s.cfg.Client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, bodyBytesMax))
	return err == nil && resp.StatusCode/100 == 2
}
