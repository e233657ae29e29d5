package bench

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/schemas"
	"github.com/agentik-os/panda/schemas/prices"
)

// decoded reads a body as the gateway does.
func decoded(t *testing.T, b *Body) []schemas.Event {
	t.Helper()
	all, err := ingest.DecodeDirect(b.Text)
	if err != nil {
		t.Fatalf("%v: %s", err, b.Text)
	}
	events := make([]schemas.Event, len(all))
	for i := range all {
		if all[i].Err != nil {
			t.Fatalf("event %d: %v: %s", i, all[i].Err, all[i].Raw)
		}
		events[i] = all[i].Event
	}
	return events
}

func TestBodyIsTakenAndPriced(t *testing.T) {
	now := time.Date(2026, 2, 14, 9, 26, 53, 589_000_000, time.UTC)
	revision, err := prices.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	book, err := schemas.BuildPriceBook(revision)
	if err != nil {
		t.Fatal(err)
	}
	const n = 500
	b := NewBody(7, n, now)
	if len(b.Text) > schemas.RequestBytesMax {
		t.Errorf("a batch has %d bytes, the gateway takes %d", len(b.Text), schemas.RequestBytesMax)
	}
	events := decoded(t, b)
	if len(events) != n {
		t.Fatalf("%d events", len(events))
	}
	models := map[string]int{}
	for i := range events {
		e := &events[i]
		if r := book.Rate(e); !r.Priced {
			t.Errorf("event %d of model %s has no price: %s", i, e.Model, r.Reason)
		}
		if at := e.Timestamp(); at.After(now) || now.Sub(at) > 2*time.Second {
			t.Errorf("event %d happened at %s, the batch is of %s", i, at, now)
		}
		id, err := uuid.Parse(e.ID)
		if err != nil || id.Version() != 7 || id.Variant() != uuid.RFC4122 {
			t.Errorf("event %d: id %s: version %d, %v", i, e.ID, id.Version(), err)
		}
		if sec, nsec := id.Time().UnixTime(); time.Unix(sec, nsec).UnixMilli() != e.Time {
			t.Errorf("event %d: the id is of %s, the event of %s", i, time.Unix(sec, nsec).UTC(), e.Timestamp())
		}
		models[e.Model]++
	}
	if len(models) != len(shapes()) {
		t.Errorf("models: %v", models)
	}
}

func TestBodyRenewChangesIDsAndTimesAlone(t *testing.T) {
	now := time.Date(2026, 2, 14, 9, 26, 53, 0, time.UTC)
	b := NewBody(1, 300, now)
	before := bytes.Clone(b.Text)
	first := decoded(t, b)
	b.Renew(now.Add(time.Hour))
	second := decoded(t, b)
	seen := map[string]bool{}
	for i := range first {
		for _, id := range []string{first[i].ID, second[i].ID} {
			if seen[id] {
				t.Fatalf("id %s comes twice", id)
			}
			seen[id] = true
		}
		if second[i].Time-first[i].Time != time.Hour.Milliseconds() {
			t.Errorf("event %d moved by %d ms", i, second[i].Time-first[i].Time)
		}
		second[i].ID, second[i].Time = first[i].ID, first[i].Time
		if ingest.ContentOf(&first[i]) != ingest.ContentOf(&second[i]) {
			t.Errorf("event %d changed", i)
		}
	}
	if len(before) != len(b.Text) {
		t.Errorf("the body had %d bytes and has %d", len(before), len(b.Text))
	}
}

func TestBodySeedMakesTheSameEvents(t *testing.T) {
	now := time.Date(2026, 2, 14, 9, 26, 53, 0, time.UTC)
	if a, b := NewBody(3, 50, now), NewBody(3, 50, now); !bytes.Equal(a.Text, b.Text) {
		t.Error("one seed, two bodies")
	}
	if a, b := NewBody(3, 50, now), NewBody(4, 50, now); bytes.Equal(a.Text, b.Text) {
		t.Error("two seeds, one body")
	}
}

// BenchmarkRenew and BenchmarkFill are what the load generator costs per batch
// of 500, before it is sent.
func BenchmarkRenew(b *testing.B) {
	body := NewBody(1, 500, time.Now())
	for b.Loop() {
		body.Renew(time.Now())
	}
}

func BenchmarkFill(b *testing.B) {
	body := NewBody(1, 500, time.Now())
	for b.Loop() {
		body.Fill(500, time.Now())
	}
}
