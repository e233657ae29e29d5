package httpapi

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestRefusals: who is refused now and then is told at once; who goes on waits, and
// nobody else with it; nobody waits longer than refusalHeldMax.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRefusals()
		hold := func(tenant string) time.Duration { return f.hold(t.Context(), nil, tenant) }
		for i := range refusalsAtOnce {
			if held := hold("flood"); held != 0 {
				t.Fatalf("refusal %d was held for %s", i, held)
			}
		}
		if held := hold("flood"); held != refusalEvery {
			t.Errorf("the next was held for %s, want %s", held, refusalEvery)
		}
		if held := hold("quiet"); held != 0 {
			t.Errorf("another tenant's was held for %s", held)
		}
		time.Sleep(refusalsAtOnce * refusalEvery)
		if held := hold("flood"); held != 0 {
			t.Errorf("after a rest it was held for %s", held)
		}

		const connections = 1000
		began, answered := time.Now(), make(chan time.Duration, connections)
		for range connections {
			go func() { answered <- hold("flood") }()
		}
		for range connections {
			if held := <-answered; held > refusalHeldMax {
				t.Fatalf("held for %s, at most %s", held, refusalHeldMax)
			}
		}
		if took := time.Since(began); took < refusalHeldMax {
			t.Errorf("%d connections were answered in %s", connections, took)
		}
		time.Sleep(2 * time.Minute)
		hold("other")
		if len(f.due) != 1 {
			t.Errorf("%d tenants are remembered, want the last", len(f.due))
		}
	})
}

// TestRefusalsEnd: neither a client that is gone nor the end of the server waits.
func TestRefusalsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRefusals()
		for range 2 * refusalsAtOnce {
			f.take("flood")
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if held := f.hold(gone, nil, "flood"); held != 0 {
			t.Errorf("held for %s after the client was gone", held)
		}
		ending := make(chan struct{})
		close(ending)
		if held := f.hold(t.Context(), ending, "flood"); held != 0 {
			t.Errorf("held for %s while the server ends", held)
		}
	})
}
