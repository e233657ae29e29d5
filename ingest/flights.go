package ingest

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/agentik-os/panda/internal/httpapi"
)

// flights keeps one tenant's flood from slowing others: it bounds what a tenant
// has on the way through a gateway, and refuses the rest before it is read. Of
// what is let in, a few requests at a time are decoded and appended while other
// tenants send too, because the log syncs one message after the other: whoever
// has 30 of them in the queue makes everybody wait for 30 syncs.
//
// It holds an entry per tenant with a request on the way. A crash leaves nothing.
type flights struct {
	requestsMax int
	bytesMax    int64
	lanes       int
	now         func() time.Time

	mu      sync.Mutex // guards what follows
	tenants map[string]*flight
	// recent are the two tenants that sent last, the newest first.
	recent [2]seen
}

type seen struct {
	tenant string
	at     time.Time
}

// flight is what one tenant has on the way.
type flight struct {
	requests int
	bytes    int64
	active   int             // requests that are decoded or appended
	waiting  []chan struct{} // those that wait for it, oldest first
}

// shareFor is how long a tenant that has sent counts as one that others have to
// share with. Between two batches of an idle runtime lie seconds.
const shareFor = 10 * time.Second

// inFlightRetry is what a refused client waits: what is on the way takes
// milliseconds, and Retry-After has no finer unit.
const inFlightRetry = time.Second

func newFlights(cfg *GatewayConfig) *flights {
	return &flights{requestsMax: cfg.TenantRequestsMax, bytesMax: cfg.TenantBytesMax, lanes: cfg.TenantLanes, now: cfg.Now,
		tenants: map[string]*flight{}}
}

// enter lets a request in that may hold so many bytes, or returns the answer to
// it. Every enter without an error needs a leave.
func (f *flights) enter(tenant string, bytes int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tenants[tenant]
	if t == nil {
		t = &flight{}
		f.tenants[tenant] = t
	}
	if t.requests >= f.requestsMax || t.requests > 0 && t.bytes+bytes > f.bytesMax {
		return httpapi.Problem{Status: http.StatusTooManyRequests, Code: httpapi.CodeTooManyInFlight, Title: "Too many requests at once",
			RetryAfter: inFlightRetry,
			Detail: fmt.Sprintf("%d requests of this tenant are on the way here, with up to %d bytes; at most %d and %d may be. Send fewer at once, and this one again",
				t.requests, t.bytes, f.requestsMax, f.bytesMax)}
	}
	t.requests++
	t.bytes += bytes
	if f.recent[0].tenant != tenant {
		f.recent[1] = f.recent[0]
	}
	f.recent[0] = seen{tenant, f.now()}
	return nil
}

func (f *flights) leave(tenant string, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tenants[tenant]
	t.bytes -= bytes
	if t.requests--; t.requests == 0 {
		delete(f.tenants, tenant)
	}
}

// lane returns when the request may be decoded and appended, or with the
// context's error. Every lane without an error needs a done.
func (f *flights) lane(ctx context.Context, tenant string) error {
	f.mu.Lock()
	t := f.tenants[tenant]
	if t.active < f.lanesOf(tenant) {
		t.active++
		f.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	t.waiting = append(t.waiting, turn)
	f.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	for i := range t.waiting {
		if t.waiting[i] == turn {
			t.waiting = append(t.waiting[:i], t.waiting[i+1:]...)
			f.mu.Unlock()
			return ctx.Err()
		}
	}
	f.mu.Unlock()
	f.done(tenant) // its turn came at the same moment
	return ctx.Err()
}

// done ends a lane and begins those whose turn it is.
func (f *flights) done(tenant string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tenants[tenant]
	t.active--
	for lanes := f.lanesOf(tenant); len(t.waiting) > 0 && t.active < lanes; {
		close(t.waiting[0])
		t.waiting = t.waiting[1:]
		t.active++
	}
}

// lanesOf is how many requests of a tenant may be decoded and appended at once:
// all there may be, unless somebody else sends too.
func (f *flights) lanesOf(tenant string) int {
	now := f.now()
	for _, r := range f.recent {
		if r.tenant != "" && r.tenant != tenant && now.Sub(r.at) < shareFor {
			return f.lanes
		}
	}
	return f.requestsMax
}
