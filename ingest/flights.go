package ingest

import (
	"container/heap"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/agentik-os/panda/internal/httpapi"
)

// flights keeps one tenant's flood from slowing others. It bounds what a tenant
// has on the way through a gateway, and refuses the rest before it is read. Of
// what is let in, a few requests at a time are decoded and appended, because the
// log syncs one message after the other: whoever has 30 of them there makes
// everybody wait for 30 syncs. Who is next is decided by start-time fair queuing
// (Goyal, Vin and Cheng, 1996): a request's turn comes by the bytes that its tenant
// was served before, so that the few small batches of one go ahead of the many
// large ones of another.
//
// It holds an entry per tenant with a request on the way. A crash leaves nothing.
type flights struct {
	requestsMax, lanes int
	bytesMax           int64
	now                func() time.Time

	mu      sync.Mutex // guards what follows
	tenants map[string]*flight
	free    int     // requests that may begin to be decoded
	ready   readyBy // tenants whose oldest waiting request may begin when one is free
	// virtual is the start of the request that began last, in bytes of service.
	virtual int64
	// recent are the two tenants that sent last, the newest first.
	recent [2]seen
}

type seen struct {
	tenant string
	at     time.Time
}

// flight is what one tenant has on the way.
type flight struct {
	name     string
	requests int
	bytes    int64
	active   int       // requests that are decoded or appended
	waiting  []*waiter // those that wait for it, oldest first
	finish   int64     // where its newest request ends, in bytes of service
	place    int       // in ready, -1 if not there
}

type waiter struct {
	turn  chan struct{} // closed when it may begin
	start int64         // in bytes of service
}

const (
	// shareFor is how long a tenant that has sent counts as one that others have to
	// share with. Between two batches of an idle runtime lie seconds.
	shareFor = 10 * time.Second
	// inFlightRetry is what a refused client waits: what is on the way takes
	// milliseconds, and Retry-After has no finer unit.
	inFlightRetry = time.Second
	// requestCost is what a request costs beside its bytes, in bytes: a sync takes as
	// long as decoding so many.
	requestCost = 64 << 10
)

func newFlights(cfg *GatewayConfig) *flights {
	return &flights{requestsMax: cfg.TenantRequestsMax, bytesMax: cfg.TenantBytesMax, lanes: cfg.TenantLanes, now: cfg.Now,
		free: cfg.Lanes, tenants: map[string]*flight{}}
}

// enter lets a request in that may hold so many bytes, or returns the answer to
// it. Every enter without an error needs a leave.
func (f *flights) enter(tenant string, bytes int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tenants[tenant]
	if t == nil {
		t = &flight{name: tenant, place: -1}
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

// lane returns when a request of so many bytes may be decoded and appended, or with
// the context's error. Every lane without an error needs a done.
func (f *flights) lane(ctx context.Context, tenant string, bytes int) error {
	f.mu.Lock()
	t := f.tenants[tenant]
	w := &waiter{turn: make(chan struct{}), start: max(f.virtual, t.finish)}
	t.finish = w.start + int64(bytes) + requestCost
	t.waiting = append(t.waiting, w)
	f.begin(t)
	f.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	default:
	}
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(t.waiting, w); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		f.begin(t)
		return ctx.Err()
	}
	f.end(t) // its turn came at the same moment
	return ctx.Err()
}

// done ends a lane.
func (f *flights) done(tenant string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end(f.tenants[tenant])
}

func (f *flights) end(t *flight) {
	t.active--
	f.free++
	f.begin(t)
}

// begin begins all that may begin, after something about t has changed.
func (f *flights) begin(t *flight) {
	f.place(t)
	for f.free > 0 && len(f.ready) > 0 {
		next := f.ready[0]
		w := next.waiting[0]
		next.waiting = next.waiting[1:]
		next.active++
		f.free--
		f.virtual = max(f.virtual, w.start)
		close(w.turn)
		f.place(next)
	}
}

// place puts a tenant into ready, or takes it out.
func (f *flights) place(t *flight) {
	may := len(t.waiting) > 0 && t.active < f.lanesOf(t.name)
	switch {
	case may && t.place < 0:
		heap.Push(&f.ready, t)
	case may:
		heap.Fix(&f.ready, t.place)
	case t.place >= 0:
		heap.Remove(&f.ready, t.place)
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

// readyBy is a heap of tenants by the start of their oldest waiting request.
type readyBy []*flight

func (r readyBy) Len() int           { return len(r) }
func (r readyBy) Less(i, j int) bool { return r[i].waiting[0].start < r[j].waiting[0].start }
func (r readyBy) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].place, r[j].place = i, j
}
func (r *readyBy) Push(x any) {
	t := x.(*flight) // heap.Push in place is the only caller
	t.place = len(*r)
	*r = append(*r, t)
}
func (r *readyBy) Pop() any {
	last := len(*r) - 1
	t := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	t.place = -1
	return t
}
