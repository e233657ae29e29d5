package httpapi

import (
	"context"
	"sync"
	"time"
)

// refusals paces the answers 429. Who is refused and asks again at once costs as much
// as who is served, or more: the body that nobody read is still sent, and taken off
// the connection. So a tenant that goes on is kept waiting for its refusals, and with
// that its connections, which is what it floods with. A client that comes back when
// Retry-After says so never waits.
//
// It keeps a moment per tenant that was refused lately. A crash leaves nothing.
type refusals struct {
	mu      sync.Mutex           // guards what follows
	due     map[string]time.Time // when a tenant's next refusal may be answered
	sweptAt time.Time
}

const (
	// refusalEvery is the pace of a tenant's refusals.
	refusalEvery = 50 * time.Millisecond
	// refusalsAtOnce are answered without delay after a time without any: a fleet
	// that runs into its limit together.
	refusalsAtOnce = 20
	// refusalHeldMax is the longest that a request waits for its refusal: less than
	// any client's patience, and short enough that few hold their connections here.
	refusalHeldMax = 2 * time.Second
)

func newRefusals() *refusals { return &refusals{due: map[string]time.Time{}} }

// take returns how long a tenant's refusal has to wait.
func (f *refusals) take(tenant string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.sweep(now)
	due := f.due[tenant]
	if rested := now.Add(-refusalsAtOnce * refusalEvery); due.Before(rested) {
		due = rested
	}
	due = due.Add(refusalEvery)
	wait := due.Sub(now)
	if wait > refusalHeldMax {
		// Those that wait this long already are so many that one more is no matter.
		return refusalHeldMax
	}
	f.due[tenant] = due
	return max(wait, 0)
}

// sweep forgets the tenants that have rested.
func (f *refusals) sweep(now time.Time) {
	if now.Sub(f.sweptAt) < time.Minute {
		return
	}
	f.sweptAt = now
	for tenant, due := range f.due {
		if now.Sub(due) > refusalsAtOnce*refusalEvery {
			delete(f.due, tenant)
		}
	}
}

// hold waits until a tenant's refusal may be answered, and returns how long that was:
// less when the client goes away or the server is about to end.
func (f *refusals) hold(ctx context.Context, ending <-chan struct{}, tenant string) time.Duration {
	wait := f.take(tenant)
	if wait == 0 {
		return 0
	}
	began := time.Now()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-ending:
	}
	return time.Since(began)
}
