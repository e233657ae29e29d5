package client

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// A fault is what happens to one request. Failed and failed-but-applied are
// different faults: the client cannot tell them apart, and must not need to.
type fault int

const (
	none fault = iota
	status500
	status429     // with Retry-After: 7
	dropBefore    // the connection breaks before anything is applied
	dropAfter     // ... and after everything was
	hangBefore    // no answer within the attempt
	hangAfter     // ... though everything was applied
	shortReceipt  // 200 that accounts for too few events
	proxyPage     // 200 with a page that is not ours
	refusedKey    // 401
	tooLarge      // 413
	badRequest    // 400 that names no event
	proxyRejected // 400 that is not ours
)

var errDropped = errors.New("connection reset")

// oracle is a server that counts each event by id. It is the truth that the
// client is held to.
type oracle struct {
	t *testing.T

	mu       sync.Mutex
	faults   []fault                    // of the requests to come; none beyond
	events   map[string]string          // id -> content
	bodies   [][]byte                   // compressed, as received
	batches  [][]string                 // ids
	verdict  func(id string) string     // "" is accepted
	poison   func(event wireEvent) bool // whole batch answered 422 without naming it
	requests int
}

func newOracle(t *testing.T, faults ...fault) *oracle {
	return &oracle{t: t, faults: faults, events: map[string]string{}}
}

// RoundTrip lets the oracle stand in for the network, so that time can be the
// test's own.
func (o *oracle) RoundTrip(r *http.Request) (*http.Response, error) {
	f := o.nextFault()
	switch f {
	case dropBefore:
		return nil, errDropped
	case hangBefore:
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	rec := httptest.NewRecorder()
	o.serve(rec, r, f)
	switch f {
	case dropAfter:
		return nil, errDropped
	case hangAfter:
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return rec.Result(), nil
}

// ServeHTTP is the same over a real connection.
func (o *oracle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := o.nextFault()
	if f == dropBefore {
		panic(http.ErrAbortHandler)
	}
	rec := httptest.NewRecorder()
	o.serve(rec, r, f)
	if f == dropAfter {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

func (o *oracle) nextFault() fault {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests++
	if len(o.faults) == 0 {
		return none
	}
	f := o.faults[0]
	o.faults = o.faults[1:]
	return f
}

func (o *oracle) serve(w http.ResponseWriter, r *http.Request, f fault) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if got := r.Method + " " + r.URL.String(); got != "POST http://panda.test/v1/events?verdicts=rejected" &&
		got != "POST /v1/events?verdicts=rejected" {
		o.t.Errorf("request is %s", got)
	}
	if r.Header.Get("Authorization") != "Bearer panda_test" || r.Header.Get("Content-Type") != "application/cloudevents-batch+json" {
		o.t.Errorf("headers are %v", r.Header)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		o.t.Errorf("read body: %v", err)
	}
	o.bodies = append(o.bodies, body)
	events := o.decode(r, body)
	switch f {
	case status500:
		http.Error(w, "boom", http.StatusInternalServerError)
	case status429:
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
	case refusedKey:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"code":"key_revoked","detail":"this key was revoked"}`)
	case tooLarge:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	case badRequest:
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"code":"invalid","detail":"the body is not valid"}`)
	case proxyRejected:
		http.Error(w, "<html>bad request</html>", http.StatusBadRequest)
	case proxyPage:
		_, _ = io.WriteString(w, "<html>welcome to the hotel</html>")
	case shortReceipt:
		_, _ = io.WriteString(w, `{"accepted":0,"duplicates":0,"rejected":0}`)
	default:
		o.apply(w, events)
	}
}

func (o *oracle) decode(r *http.Request, body []byte) []wireEvent {
	var events []wireEvent
	zr, err := gzip.NewReader(newReader(body))
	if err != nil || r.Header.Get("Content-Encoding") != "gzip" {
		o.t.Fatalf("body is not gzip: %v", err)
	}
	if err := json.NewDecoder(zr).Decode(&events); err != nil {
		o.t.Fatalf("body is not a batch: %v", err)
	}
	var ids []string
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	o.batches = append(o.batches, ids)
	return events
}

// apply gives verdicts and counts events.
func (o *oracle) apply(w http.ResponseWriter, events []wireEvent) {
	type line struct {
		Index   int    `json:"index"`
		ID      string `json:"id"`
		Verdict string `json:"verdict"`
		Code    string `json:"code"`
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	}
	if o.poison != nil {
		for _, e := range events {
			if o.poison(e) {
				w.WriteHeader(http.StatusUnprocessableEntity)
				_, _ = io.WriteString(w, `{"code":"invalid","detail":"something in here is wrong"}`)
				return
			}
		}
	}
	var accepted, duplicates int
	lines := []line{}
	for i, e := range events {
		content, _ := json.Marshal(e)
		if was, there := o.events[e.ID]; there {
			if was != string(content) {
				o.t.Errorf("event %s came again with other content", e.ID)
			}
			duplicates++
			continue
		}
		if o.verdict != nil && o.verdict(e.ID) != "" {
			lines = append(lines, line{i, e.ID, o.verdict(e.ID), "out_of_range", "/data/tokens/input", "too many"})
			continue
		}
		o.events[e.ID] = string(content)
		accepted++
	}
	if accepted+duplicates == 0 && len(lines) > 0 {
		w.WriteHeader(http.StatusUnprocessableEntity)
		p := map[string]any{"code": "invalid"}
		var errs []map[string]string
		for _, l := range lines {
			errs = append(errs, map[string]string{"pointer": fmt.Sprintf("/%d%s", l.Index, l.Pointer), "code": l.Code, "detail": l.Detail})
		}
		p["errors"] = errs
		_ = json.NewEncoder(w).Encode(p)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"accepted": accepted, "duplicates": duplicates,
		"rejected": len(lines), "stream": "USAGE", "seq": 1, "events": lines})
}

// seen returns the ids of each batch so far.
func (o *oracle) seen() [][]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.batches)
}

// wantExactly checks that the ids, and no others, were counted, once each.
func (o *oracle) wantExactly(ids ...string) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		if o.events[id] == "" {
			o.t.Errorf("event %s was lost", id)
		}
	}
	if len(o.events) != len(ids) {
		o.t.Errorf("the server counts %d events, want %d", len(o.events), len(ids))
	}
}
