package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// gatewayNow is the gateways' clock in tests.
var gatewayNow = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

var gatewayKey = []byte("a key for tests")

// envelopeLog is an Appender that opens every envelope as a writer would.
type envelopeLog struct {
	t        testing.TB
	err      error // of the appends from failFrom on
	failFrom int
	subjects []string
	flags    []EnvelopeFlags
	events   []schemas.Event
	ids      map[string]uint64
}

func (l *envelopeLog) Append(ctx context.Context, subject, id string, data []byte) (uint64, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	if l.err != nil && len(l.subjects) >= l.failFrom {
		return 0, false, l.err
	}
	if seq, ok := l.ids[id]; ok {
		return seq, true, nil
	}
	kind, tenant := schemas.ParseUsageSubject(subject)
	events, flags, err := DecodeEnvelope(data, tenant, gatewayKey)
	if err != nil || kind != schemas.SubjectEnvelope {
		l.t.Errorf("a message no writer can read on %s: %v", subject, err)
	}
	l.subjects = append(l.subjects, subject)
	l.flags = append(l.flags, flags)
	l.events = append(l.events, events...)
	if l.ids == nil {
		l.ids = map[string]uint64{}
	}
	l.ids[id] = uint64(len(l.subjects))
	return uint64(len(l.subjects)), false, nil
}

// testGateway serves a gateway as the binary does. The bearer token is the
// tenant and the permission, "acme:ingest".
func testGateway(t testing.TB, log Appender, change func(*GatewayConfig)) http.Handler {
	t.Helper()
	cfg := GatewayConfig{Key: gatewayKey, Now: func() time.Time { return gatewayNow },
		Shard: func(string) schemas.Shard { return schemas.Shard{ID: 3, Of: 4} }, Logger: zerolog.Nop()}
	if change != nil {
		change(&cfg)
	}
	server := httpapi.New(httpapi.Config{
		Metrics: prometheus.NewRegistry(), Logger: zerolog.Nop(),
		Authenticate: func(r *http.Request) (tenancy.Scope, error) {
			token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			tenant, permission, _ := strings.Cut(token, ":")
			if !ok {
				return tenancy.Scope{}, httpapi.Problem{Status: http.StatusUnauthorized, Code: "key_missing"}
			}
			return tenancy.ScopeOf(tenant, "test", tenancy.Permission(permission)), nil
		},
	})
	NewGateway(cfg, log).Routes(server)
	return server.Handler()
}

// A reply is what the gateway answered, of either kind.
type reply struct {
	Status     int    `json:"-"`
	RetryAfter string `json:"-"`

	Accepted, Duplicates, Conflicts, Rejected int
	Stream                                    string
	Seq                                       uint64
	Events                                    []replyEvent

	Code, Title, Detail string
	Errors              []httpapi.FieldProblem
}

type replyEvent struct {
	Index                              int
	ID, Verdict, Code, Pointer, Detail string
}

func post(t testing.TB, h http.Handler, path, body string, header ...string) reply {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer acme:ingest")
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return send(t, h, r)
}

func send(t testing.TB, h http.Handler, r *http.Request) reply {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	out := reply{Status: w.Code, RetryAfter: w.Header().Get("Retry-After")}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%d: the answer is not JSON: %v: %s", w.Code, err, w.Body)
	}
	want := "application/json"
	if w.Code != http.StatusOK {
		want = httpapi.ContentTypeProblem
	}
	if got := w.Header().Get("Content-Type"); got != want {
		t.Errorf("%d with Content-Type %q", w.Code, got)
	}
	return out
}

// call is a good event.
func call(id string) string {
	return `{"specversion":"1.0","id":"` + id + `","source":"/s","type":"llm.call","time":"2026-01-15T11:59:00Z",` +
		`"data":{"model":"m","tokens":{"input":7}}}`
}

func batchOf(events ...string) string { return "[" + strings.Join(events, ",") + "]" }

func TestGatewayStoresBeforeItAnswers(t *testing.T) {
	log := &envelopeLog{t: t}
	h := testGateway(t, log, nil)
	got := post(t, h, "/v1/events", batchOf(call("a"), call("b")))
	want := reply{Status: 200, Accepted: 2, Stream: "USAGE-3", Seq: 1, Events: []replyEvent{
		{Index: 0, ID: "a", Verdict: "accepted"}, {Index: 1, ID: "b", Verdict: "accepted"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(log.events) != 2 || log.events[0].ID != "a" || log.subjects[0] != "envelope.3.acme" || log.flags[0] != 0 {
		t.Errorf("the log holds %+v on %v", log.events, log.subjects)
	}
	if got := post(t, h, "/v1/events?verdicts=rejected", batchOf(call("c"), `{}`)); got.Accepted != 1 ||
		got.Rejected != 1 || len(got.Events) != 1 || got.Events[0].Index != 1 {
		t.Errorf("the short answer: %+v", got)
	}
	if got := post(t, h, "/v1/events?verdicts=some", call("d")); got.Status != 422 || got.Errors[0].Pointer != "/verdicts" {
		t.Errorf("an unknown kind of answer: %+v", got)
	}
	if got := post(t, h, "/v1/events", " [] "); got.Status != 200 || got.Accepted != 0 || got.Seq != 0 || len(log.subjects) != 2 {
		t.Errorf("an empty batch: %+v", got)
	}
}

// Every bad event of the table, in the middle of a batch and alone.
func TestGatewayRejectsBadEventsAlone(t *testing.T) {
	endless := map[string]bool{"an event that ends in the middle": true, "a second event behind the first": true,
		"an array in place of an event": true}
	for _, bad := range badEvents(t) {
		t.Run(bad.name, func(t *testing.T) {
			log := &envelopeLog{t: t}
			h := testGateway(t, log, nil)
			if !endless[bad.name] {
				got := post(t, h, "/v1/events", batchOf(call("x"), call("y"), bad.event, call("z")))
				if got.Status != 200 || got.Accepted != 3 || got.Rejected != 1 || len(log.events) != 3 {
					t.Fatalf("the neighbours were touched: %+v", got)
				}
				if e := got.Events[2]; e.Verdict != "rejected" || e.Code != bad.code || e.Pointer != "/2"+bad.pointer || e.Detail == "" {
					t.Errorf("have %+v, want %s at /2%s", e, bad.code, bad.pointer)
				}
			}
			if bad.event == "[]" {
				return
			}
			stored := len(log.events)
			got := post(t, h, "/v1/events", bad.event)
			status := 422
			if !json.Valid([]byte(bad.event)) {
				status = 400
			}
			if got.Status != status || len(got.Errors) != 1 || got.Errors[0].Code != bad.code || got.Errors[0].Pointer != bad.pointer {
				t.Errorf("alone: have %+v, want %d", got, status)
			}
			if len(log.events) != stored {
				t.Error("a rejected event was stored")
			}
		})
	}
}

// Requests share buffers one after the other, never at the same time.
func TestGatewayServesManyAtOnce(t *testing.T) {
	const clients, rounds = 8, 20
	log := &envelopeLog{t: t}
	var mu sync.Mutex
	h := testGateway(t, appenderFunc(func(ctx context.Context, subject, id string, data []byte) (uint64, bool, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Append(ctx, subject, id, data)
	}), nil)
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			for round := range rounds {
				id := fmt.Sprintf("%d-%d", client, round)
				body := batchOf(call(id+"-a"), `{}`, call(id+"-b"))
				got := post(t, h, "/v1/events", body, "Authorization", fmt.Sprintf("Bearer tenant%d:ingest", client))
				if got.Accepted != 2 || got.Rejected != 1 || got.Events[0].ID != id+"-a" || got.Events[2].ID != id+"-b" {
					t.Errorf("%s: have %+v", id, got)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, e := range log.events {
		seen[e.ID] = true
	}
	if len(log.events) != 2*clients*rounds || len(seen) != len(log.events) {
		t.Errorf("%d events of %d ids, want %d", len(log.events), len(seen), 2*clients*rounds)
	}
}

type appenderFunc func(ctx context.Context, subject, id string, data []byte) (uint64, bool, error)

func (f appenderFunc) Append(ctx context.Context, subject, id string, data []byte) (uint64, bool, error) {
	return f(ctx, subject, id, data)
}

func TestGatewayCounts(t *testing.T) {
	reg := prometheus.NewRegistry()
	h := testGateway(t, &envelopeLog{t: t}, func(cfg *GatewayConfig) { cfg.Metrics = NewGatewayMetrics(reg) })
	post(t, h, "/v1/events", batchOf(call("a"), call("a"), `{}`))
	post(t, h, "/v1/events", "hello")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	sent := float64(len(batchOf(call("a"), call("a"), `{}`)) + len("hello"))
	want := map[string]float64{
		"panda_gateway_requests_total 200": 1, "panda_gateway_requests_total 400": 1,
		"panda_gateway_events_total accepted": 1, "panda_gateway_events_total duplicate": 1,
		"panda_gateway_events_total conflict": 0, "panda_gateway_events_total rejected": 1,
		"panda_gateway_append_seconds": 1, "panda_gateway_body_bytes_total sent": sent, "panda_gateway_body_bytes_total plain": sent,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestGatewayKnowsRepeats(t *testing.T) {
	log := &envelopeLog{t: t}
	h := testGateway(t, log, nil)
	other := strings.Replace(call("a"), `"input":7`, `"input":8`, 1)
	batch := batchOf(call("a"), call("a"), other, call("b"))
	got := post(t, h, "/v1/events", batch)
	if got.Accepted != 2 || got.Duplicates != 1 || got.Conflicts != 1 || len(log.events) != 3 {
		t.Fatalf("have %+v", got)
	}
	if e := got.Events[1]; e.Verdict != "duplicate" || !strings.Contains(e.Detail, "index 0") {
		t.Errorf("the resend: %+v", e)
	}
	if e := got.Events[2]; e.Verdict != "conflict" || !strings.Contains(e.Detail, "index 0") {
		t.Errorf("the conflict: %+v", e)
	}
	if log.events[1].Tokens[schemas.Input] != 8 {
		t.Error("the conflicting event did not reach the log, so nobody can look at it")
	}
	// The answer was lost and the client sends the batch again.
	got = post(t, h, "/v1/events", batch)
	if got.Status != 200 || got.Accepted != 0 || got.Duplicates != 3 || got.Conflicts != 1 || got.Seq != 1 || len(log.events) != 3 {
		t.Errorf("the same batch again: %+v", got)
	}
}

func TestGatewayChecksTimes(t *testing.T) {
	at := func(d time.Duration) string {
		return strings.Replace(call("a"), "2026-01-15T11:59:00Z", gatewayNow.Add(d).Format(time.RFC3339), 1)
	}
	const day = 24 * time.Hour
	for _, c := range []struct {
		path   string
		ago    time.Duration
		status int
		code   string
	}{
		{"/v1/events", 4 * time.Minute, 200, ""},
		{"/v1/events", 6 * time.Minute, 422, schemas.CodeTooEarly},
		{"/v1/events", -40 * day, 200, ""},
		{"/v1/events", -400*day + time.Minute, 200, ""},
		{"/v1/events", -401 * day, 422, schemas.CodeTooLate},
		{"/v1/import", -401 * day, 200, ""},
		{"/v1/import", -4000 * day, 200, ""},
		{"/v1/import", 6 * time.Minute, 422, schemas.CodeTooEarly},
	} {
		log := &envelopeLog{t: t}
		got := post(t, testGateway(t, log, nil), c.path, at(c.ago), "Authorization", "Bearer acme:"+strings.TrimPrefix(
			strings.Replace(c.path, "events", "ingest", 1), "/v1/"))
		if got.Status != c.status || (c.code != "" && (got.Errors[0].Code != c.code || got.Errors[0].Pointer != "/time")) {
			t.Errorf("%s %s: have %+v, want %d %s", c.path, c.ago, got, c.status, c.code)
		}
		if c.status == 200 && (log.flags[0] == FlagImport) != (c.path == "/v1/import") {
			t.Errorf("%s: the envelope says %d", c.path, log.flags[0])
		}
	}
}

func TestGatewayAsksWhoItIs(t *testing.T) {
	log := &envelopeLog{t: t}
	h := testGateway(t, log, nil)
	for _, c := range []struct {
		path, bearer string
		status       int
	}{
		{"/v1/events", "", 401},
		{"/v1/events", "Bearer acme:read", 403},
		{"/v1/import", "Bearer acme:ingest", 403},
		{"/v1/events", "Bearer :ingest", 403}, // the platform has no usage of its own
	} {
		if got := post(t, h, c.path, call("a"), "Authorization", c.bearer); got.Status != c.status || got.Code == "" {
			t.Errorf("%s as %q: %+v", c.path, c.bearer, got)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/events", nil))
	if w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
	if len(log.subjects) > 0 {
		t.Error("something was stored")
	}
	// Naming another tenant is not found, and stores nothing.
	if got := post(t, h, "/v1/events?tenant=other", call("a")); got.Status != 404 {
		t.Errorf("another tenant's name: %+v", got)
	}
	if len(log.subjects) > 0 {
		t.Error("something was stored for another tenant")
	}
	// Even if the wiring finds another tenant for a tenant's key, it is not reached;
	// a key of the platform reaches whom it names.
	careless := testGateway(t, log, func(cfg *GatewayConfig) {
		cfg.FindTenant = func(tenancy.Scope, string) (string, error) { return "other", nil }
	})
	if got := post(t, careless, "/v1/events?tenant=other", call("a")); got.Status != 404 || len(log.subjects) > 0 {
		t.Errorf("another tenant's name, found: %+v, stored on %v", got, log.subjects)
	}
	got := post(t, careless, "/v1/events?tenant=other", call("p"), "Authorization", "Bearer :ingest")
	if got.Status != 200 || len(log.subjects) != 1 || log.subjects[0] != "envelope.3.other" {
		t.Errorf("the platform for a tenant: %+v, stored on %v", got, log.subjects)
	}
	log.subjects = nil
	// The tenant is the key's, whatever else is said.
	post(t, h, "/v1/events", strings.Replace(call("a"), `"id"`, `"subject":"other","id"`, 1), "X-Tenant-Id", "other")
	if len(log.subjects) != 1 || log.subjects[0] != "envelope.3.acme" {
		t.Errorf("stored on %v", log.subjects)
	}
}

func TestGatewayPassesRefusalsOn(t *testing.T) {
	full := fmt.Errorf("append: %w", eventlog.ErrFull)
	away := fmt.Errorf("append: no leader at 10.0.0.7: %w", schemas.ErrUnavailable)
	for _, c := range []struct {
		name        string
		admit       error
		append      error
		status      int
		code, after string
	}{
		{"the disk fills", schemas.ErrUnavailable, nil, 503, "unavailable", "7"},
		{"the tenant floods", httpapi.Problem{Status: 429, Code: "rate_limited"}, nil, 429, "rate_limited", "7"},
		{"the log is away", nil, away, 503, "unavailable", "1"},
		{"the log is full", nil, full, 503, "log_full", "30"},
		{"the log took too long", nil, context.DeadlineExceeded, 503, "timeout", "1"},
		{"the log finds it too large", nil, schemas.ErrInvalid, 500, "internal", ""},
		{"a mistake of ours", nil, errors.New("boom"), 500, "internal", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := testGateway(t, &envelopeLog{t: t, err: c.append}, func(cfg *GatewayConfig) {
				cfg.Admit = func(tenant string) (time.Duration, error) { return 7 * time.Second, c.admit }
			})
			got := post(t, h, "/v1/events", batchOf(call("a")))
			if got.Status != c.status || got.Code != c.code || got.RetryAfter != c.after || strings.Contains(got.Detail, "10.0.0.7") {
				t.Errorf("have %+v", got)
			}
		})
	}
}

func TestGatewaySplitsWhatDoesNotFit(t *testing.T) {
	var events []string
	for i := range 9 {
		events = append(events, call(fmt.Sprintf("id-%d-%s", i, strings.Repeat("x", 200))))
	}
	events[4] = `{}`
	small := func(cfg *GatewayConfig) { cfg.EnvelopeBytesMax = 600 }
	log := &envelopeLog{t: t}
	got := post(t, testGateway(t, log, small), "/v1/events", batchOf(events...))
	if got.Status != 200 || got.Accepted != 8 || got.Rejected != 1 || len(log.subjects) != 4 || got.Seq != 4 {
		t.Fatalf("have %+v in %d messages", got, len(log.subjects))
	}
	for i, e := range log.events {
		if want := fmt.Sprintf("id-%d-", i+i/4); !strings.HasPrefix(e.ID, want) {
			t.Errorf("event %d on the log is %s, want %s", i, e.ID, want)
		}
	}

	// The log goes away after the second message of four.
	log = &envelopeLog{t: t, err: schemas.ErrUnavailable, failFrom: 2}
	h := testGateway(t, log, small)
	got = post(t, h, "/v1/events", batchOf(events...))
	if got.Status != 503 || got.RetryAfter == "" || len(got.Errors) != 4 || !strings.HasPrefix(got.Detail, "4 of 8") {
		t.Fatalf("have %+v", got)
	}
	if got.Errors[0].Pointer != "/5" || got.Errors[0].Code != "not_stored" {
		t.Errorf("the first event that is missing: %+v", got.Errors[0])
	}
	// It is back, and the client sends all of it again.
	log.err = nil
	got = post(t, h, "/v1/events", batchOf(events...))
	if got.Status != 200 || got.Accepted != 4 || got.Duplicates != 4 || len(log.events) != 8 {
		t.Errorf("again: %+v, %d stored", got, len(log.events))
	}
}

func TestGatewayClientGoesAway(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	log := &envelopeLog{t: t}
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/events", strings.NewReader(call("a")))
	r.Header.Set("Authorization", "Bearer acme:ingest")
	if got := send(t, testGateway(t, log, nil), r); got.Status != 503 || len(log.subjects) != 0 {
		t.Errorf("have %+v", got)
	}
	r = httptest.NewRequest(http.MethodPost, "/v1/events", io.MultiReader(strings.NewReader(call("a")), brokenReader{}))
	r.Header.Set("Authorization", "Bearer acme:ingest")
	if got := send(t, testGateway(t, log, nil), r); got.Status != 400 || len(log.subjects) != 0 {
		t.Errorf("a connection that broke: %+v", got)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// logAppender is the real log behind the port.
type logAppender struct{ log *eventlog.Log }

func (a logAppender) Append(ctx context.Context, subject, id string, data []byte) (uint64, bool, error) {
	ack, err := a.log.Append(ctx, eventlog.Message{Subject: subject, ID: id, Data: data})
	return ack.Seq, ack.Duplicate, err
}

func TestGatewayOnTheRealLog(t *testing.T) {
	log := eventlogtest.Open(t)
	server := httptest.NewServer(testGateway(t, logAppender{log}, nil))
	defer server.Close()
	send := func() reply {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/events", bytes.NewReader(benchBatch(500)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer acme:ingest")
		r.Header.Set("Content-Type", "application/cloudevents-batch+json")
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		out := reply{Status: answer.StatusCode}
		if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := send(); got.Status != 200 || got.Accepted != 500 || got.Seq != 1 {
		t.Fatalf("first: %d %d accepted at %d", got.Status, got.Accepted, got.Seq)
	}
	if got := send(); got.Status != 200 || got.Duplicates != 500 || got.Seq != 1 {
		t.Errorf("again: %d %d duplicates at %d", got.Status, got.Duplicates, got.Seq)
	}
}
