package demo

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/schemas"
)

// doors is a server that does what the doors promise, by the recount, and whose
// network is bad: of some requests it refuses the first try, and of some it
// loses the answer.
type doors struct {
	mu    sync.Mutex // guards everything
	count *recount
	tries int
	lost  int // answers lost after the batch was taken
}

func (d *doors) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries++
	tenant := strings.Index("0123", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer key-"))
	if r.URL.String() != "/v1/events?verdicts=rejected" || tenant < 0 {
		http.Error(w, "", http.StatusNotFound)
		return
	}
	switch d.tries % 7 {
	case 2:
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case 4:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var raws []json.RawMessage
	if err := json.Unmarshal(body, &raws); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	before := d.count.got.Counts.Rejected
	for _, raw := range raws {
		d.count.event(Batch{Tenant: tenant, Last: true}, raw)
	}
	rejected := int(d.count.got.Counts.Rejected - before)
	if d.tries%7 == 6 {
		d.lost++
		d.count.got.Counts.Rejected = before // nobody was told
		panic(http.ErrAbortHandler)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"accepted": len(raws) - rejected, "rejected": rejected})
}

func (d *doors) publish(_ context.Context, subject string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tries++; d.tries%7 == 1 {
		return schemas.ErrUnavailable
	}
	tenant := strings.Index("0123", strings.TrimPrefix(subject, "usage.ten_"))
	var raws []json.RawMessage
	if json.Unmarshal(data, &raws) != nil {
		if raws = []json.RawMessage{data}; !json.Valid(data) {
			d.count.got.Counts.Quarantined++
			return nil
		}
	}
	for _, raw := range raws {
		d.count.event(Batch{Tenant: tenant, Door: DoorNATS, Last: true}, raw)
	}
	return nil
}

func testAccess() (all []Access) {
	for _, n := range []string{"0", "1", "2", "3"} {
		all = append(all, Access{ID: "ten_" + n, Key: "key-" + n})
	}
	return all
}

func TestLoadThroughBadNetwork(t *testing.T) {
	g := newTestGenerator(t, Config{Seed: 11, Events: 20_000, Month: month(t, "2026-10"), BatchEvents: 100})
	d := &doors{count: newRecount(t, g.cfg.Month)}
	server := httptest.NewServer(d)
	defer server.Close()
	l := &Loader{URL: server.URL, HTTP: server.Client(), Access: testAccess(), Publish: d.publish}
	loaded, err := l.Load(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	if d.lost == 0 || loaded.Resent == 0 || l.Sent() != 20_000 || loaded.Messages == 0 {
		t.Errorf("%d answers lost, %d sent, %+v", d.lost, l.Sent(), loaded)
	}
	want := g.Expected()
	if found := Compare(want, loaded, gotOf(&d.count.got)); found != nil {
		t.Errorf("%d numbers differ, such as %v", len(found), found[0])
	}
	// Without the allowance the lost answers show.
	loaded.Resent = 0
	if found := Compare(want, loaded, gotOf(&d.count.got)); len(found) == 0 {
		t.Error("batches that arrived twice are not noticed")
	}
}

// gotOf is what the API would answer for a recount.
func gotOf(e *Expected) Got {
	g := Got{Usage: e.Usage}
	c := e.Counts
	g.Summary = Summary{Accepted: c.Accepted, Duplicates: c.Duplicates, Conflicts: c.Conflicts, Quarantined: c.Quarantined, Unpriced: c.Unpriced}
	for i := range e.Usage {
		g.Summary.Calls += e.Usage[i].Total.Calls
		g.Summary.TokensTotal += e.Usage[i].Total.Tokens.Total()
		cost, _ := schemas.MoneyFromBig(e.Usage[i].Total.Cost)
		g.Summary.Cost = g.Summary.Cost.Add(cost)
	}
	return g
}

func TestLoadGivesUp(t *testing.T) {
	refused := errors.New("403")
	for name, answer := range map[string]http.HandlerFunc{
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, refused.Error(), http.StatusForbidden) },
		"too few":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"accepted":1}`) },
		"no JSON":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `fine`) },
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			g := newTestGenerator(t, Config{Seed: 1, Events: EventsMin, Month: month(t, "2026-10")})
			l := &Loader{URL: server.URL, HTTP: server.Client(), Access: testAccess(),
				Publish: func(context.Context, string, []byte) error { return nil }}
			if _, err := l.Load(t.Context(), g); err == nil || !strings.Contains(err.Error(), "send batch of ") {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			cancel()
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		defer server.Close()
		g := newTestGenerator(t, Config{Seed: 1, Events: EventsMin, Month: month(t, "2026-10")})
		l := &Loader{URL: server.URL, HTTP: server.Client(), Access: testAccess(),
			Publish: func(context.Context, string, []byte) error { return schemas.ErrUnavailable }}
		if _, err := l.Load(ctx, g); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCompareFindsEveryDifference(t *testing.T) {
	g := newTestGenerator(t, Config{Seed: 2, Events: EventsMin, Month: month(t, "2026-10")})
	batches(g)
	spoiled := func(spoil func(*Got, *Loaded)) []Mismatch {
		want := g.Expected()
		got, doors := gotOf(&want), Loaded{Rejected: want.Counts.Rejected}
		spoil(&got, &doors)
		return Compare(g.Expected(), doors, got)
	}
	if found := spoiled(func(*Got, *Loaded) {}); found != nil {
		t.Fatalf("equal numbers differ: %v", found)
	}
	line := func(g *Got) *Line { return &g.Usage[1].Total }
	for name, spoil := range map[string]func(*Got, *Loaded){
		"calls":       func(g *Got, _ *Loaded) { line(g).Calls++ },
		"errors":      func(g *Got, _ *Loaded) { line(g).Errors++ },
		"unpriced":    func(g *Got, _ *Loaded) { line(g).Unpriced++ },
		"latency":     func(g *Got, _ *Loaded) { line(g).LatencyMS++ },
		"reasoning":   func(g *Got, _ *Loaded) { line(g).Tokens[schemas.Reasoning]++ },
		"pico-dollar": func(g *Got, _ *Loaded) { line(g).Cost.Add(line(g).Cost, big.NewInt(1)) },
		"accepted":    func(g *Got, _ *Loaded) { g.Summary.Accepted++ },
		"duplicates":  func(g *Got, _ *Loaded) { g.Summary.Duplicates-- },
		"conflicts":   func(g *Got, _ *Loaded) { g.Summary.Conflicts++ },
		"quarantined": func(g *Got, _ *Loaded) { g.Summary.Quarantined++ },
		"sum":         func(g *Got, _ *Loaded) { g.Summary.Cost = g.Summary.Cost.Add(schemas.Pico(1)) },
		"tokens":      func(g *Got, _ *Loaded) { g.Summary.TokensTotal-- },
		"rejected":    func(_ *Got, d *Loaded) { d.Rejected++ },
		"few":         func(g *Got, d *Loaded) { d.Resent = 100; g.Summary.Duplicates-- },
		"many":        func(g *Got, d *Loaded) { d.Resent = 100; g.Summary.Duplicates += 101 },
	} {
		if found := spoiled(spoil); len(found) != 1 {
			t.Errorf("%s: found %v", name, found)
		}
	}
	found := spoiled(func(g *Got, _ *Loaded) { delete(g.Usage[0].ByModel, "gpt-4o") })
	if len(found) == 0 || !strings.HasPrefix(found[0].Where, "Acme Corporation, model gpt-4o") {
		t.Errorf("a missing model: %v", found)
	}
	found = spoiled(func(g *Got, _ *Loaded) { g.Usage[0].ByAgent["(other)"] = Line{Calls: 3} })
	if diff := cmp.Diff([]Mismatch{{"Acme Corporation, agent (other)", "number of calls", "0", "3"}}, found); diff != "" {
		t.Errorf("an agent nobody sent: %s", diff)
	}
}
