package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/schemas"
)

// door is a server that takes batches as the gateway's answers say, and refuses
// every tenth. The pipeline itself is loaded by the test of panda bench.
type door struct {
	mu       sync.Mutex
	requests int
	ids      map[string]bool
	tenants  map[string]int
	answer   string // instead of the true one
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	events, decodeErr := ingest.DecodeDirect(body)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests++
	switch {
	case err != nil || decodeErr != nil || r.Header.Get("Authorization") != "Bearer secret":
		http.Error(w, "no", http.StatusBadRequest)
		return
	case d.requests%10 == 0:
		http.Error(w, "later", http.StatusServiceUnavailable)
		return
	case d.answer != "":
		_, _ = io.WriteString(w, d.answer)
		return
	}
	d.tenants[r.URL.Query().Get("tenant")]++
	for i := range events {
		d.ids[events[i].Event.ID] = true
	}
	_ = json.NewEncoder(w).Encode(acknowledgement{Accepted: int64(len(events)), Seq: uint64(d.requests)})
}

func openDoor(t *testing.T) (*door, string) {
	t.Helper()
	d := &door{ids: map[string]bool{}, tenants: map[string]int{}}
	s := httptest.NewServer(d)
	t.Cleanup(s.Close)
	return d, s.URL
}

func TestLoadSendsWhatItSays(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		d, address := openDoor(t)
		l := Load{URL: address, Key: "secret", Tenants: []string{"a", "b"}, Events: 20, Workers: 3, For: time.Minute, Total: 1000, Fresh: fresh}
		spec, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		in, hold := io.Pipe() // its end would be the end of the parent
		go func() { _, _ = hold.Write(append(spec, '\n')) }()
		if err := Generate(t.Context(), in, &out); err != nil {
			t.Fatal(err)
		}
		_ = hold.Close()
		var got Loaded
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Accepted != 1000 || len(d.ids) != 1000 || len(got.Acks) != 50 || got.Refused == 0 || got.Requests != int64(d.requests) {
			t.Errorf("fresh %v: accepted %d, ids %d, acks %d, refused %d, requests %d of %d",
				fresh, got.Accepted, len(d.ids), len(got.Acks), got.Refused, got.Requests, d.requests)
		}
		if d.tenants["a"] != 25 || d.tenants["b"] != 25 {
			t.Errorf("tenants: %v", d.tenants)
		}
		if got.Took <= 0 || got.CPU <= 0 || got.Bytes <= 0 || got.LastSeq == 0 || slices.Min(got.Acks) <= 0 || got.Share() <= 0 {
			t.Errorf("a figure is missing: %+v", got)
		}
	}
}

func TestLoadKeepsItsPace(t *testing.T) {
	d, address := openDoor(t)
	l := Load{URL: address, Key: "secret", Tenants: []string{"a"}, Events: 1, Workers: 4, Rate: 200, For: 250 * time.Millisecond}
	got, err := l.Run(t.Context())
	if err != nil || got.Accepted != 50 || len(d.ids) != 50 {
		t.Errorf("accepted %d, ids %d, %v", got.Accepted, len(d.ids), err)
	}
	if got.Took < 240*time.Millisecond {
		t.Errorf("it took %s", got.Took)
	}
}

func TestLoadEndsOnAWrongAnswer(t *testing.T) {
	l := Load{Key: "secret", Tenants: []string{"a"}, Events: 5, Workers: 1, For: time.Minute}
	d, address := openDoor(t)
	d.answer = `{"accepted":4,"rejected":1,"seq":1}`
	l.URL = address
	if _, err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "rejected") {
		t.Errorf("a rejected event: %v", err)
	}
	l.Key = "wrong"
	if _, err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("a refused batch: %v", err)
	}
	l.Events = schemas.BatchEventsMax + 1
	if _, err := l.Run(t.Context()); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a batch that is too large: %v", err)
	}
}

func TestGenerateEndsWithItsParent(t *testing.T) {
	_, address := openDoor(t)
	spec, err := json.Marshal(Load{URL: address, Key: "secret", Tenants: []string{"a"}, Events: 1, Workers: 1, Rate: 1, For: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := Generate(t.Context(), bytes.NewReader(append(spec, '\n')), io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
