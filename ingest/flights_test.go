package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

func testFlights() *flights {
	return newFlights(&GatewayConfig{TenantRequestsMax: 4, TenantBytesMax: 1000, Lanes: 6, TenantLanes: 2, Now: time.Now})
}

func TestFlightsBoundATenant(t *testing.T) {
	f := testFlights()
	for i := range 4 {
		if err := f.enter("flood", 100); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if err := f.enter("flood", 1); err == nil {
		t.Error("a fifth request came in")
	}
	if err := f.enter("quiet", 1000); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	f.leave("flood", 100)
	if err := f.enter("flood", 701); err == nil {
		t.Error("1001 bytes came in")
	}
	if err := f.enter("flood", 700); err != nil {
		t.Errorf("1000 bytes: %v", err)
	}
	for range 3 {
		f.leave("flood", 100)
	}
	f.leave("flood", 700)
	f.leave("quiet", 1000)
	// One request is let in however large it is: its own limit is elsewhere.
	if err := f.enter("flood", 5000); err != nil {
		t.Errorf("one alone: %v", err)
	}
	f.leave("flood", 5000)
	if len(f.tenants) != 0 {
		t.Errorf("%d tenants are remembered", len(f.tenants))
	}
}

// TestFlightsShare: alone, a tenant has all the lanes; beside another one it has
// two, and the rest follows in order; the other one never waits for it.
func TestFlightsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := testFlights()
		enter := func(tenant string) {
			t.Helper()
			if err := f.enter(tenant, 1); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 {
			enter("flood")
		}
		for range 4 {
			if err := f.lane(t.Context(), "flood", 100); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 {
			f.done("flood")
		}
		enter("quiet")
		f.leave("quiet", 1)
		var mu sync.Mutex
		var order []int
		for i := range 4 {
			go func() {
				if err := f.lane(t.Context(), "flood", 100); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		for step, want := range []string{"[0 1]", "[0 1 2]", "[0 1 2 3]"} {
			if got := fmt.Sprint(order); got != want {
				t.Errorf("step %d: %s run, not %s", step, got, want)
			}
			enter("quiet")
			if err := f.lane(t.Context(), "quiet", 100); err != nil {
				t.Error(err)
			}
			f.done("quiet")
			f.leave("quiet", 1)
			f.done("flood")
			synctest.Wait()
		}
		f.done("flood")
		time.Sleep(shareFor) // the other one is gone
		order = nil
		for i := range 4 {
			if err := f.lane(t.Context(), "flood", 100); err != nil {
				t.Errorf("alone again, request %d: %v", i, err)
			}
		}
	})
}

func TestFlightsGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := testFlights()
		f.recent[0] = seen{"quiet", time.Now()}
		for range 4 {
			if err := f.enter("flood", 1); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := f.lane(t.Context(), "flood", 100); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.lane(ctx, "flood", 100); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waited for nothing: %v", err)
		}
		f.done("flood")
		if err := f.lane(t.Context(), "flood", 100); err != nil || f.tenants["flood"].active != 2 || len(f.tenants["flood"].waiting) != 0 {
			t.Errorf("after one that gave up: %v, %+v", err, f.tenants["flood"])
		}
	})
}

// TestFlightsTakeTurnsByBytes: where all lanes are taken, who was served least goes
// next, whoever came first.
func TestFlightsTakeTurnsByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights(&GatewayConfig{TenantRequestsMax: 10, TenantBytesMax: 1 << 40, Lanes: 1, TenantLanes: 10, Now: time.Now})
		var mu sync.Mutex
		var order []string
		ask := func(tenant string, bytes int) {
			if err := f.enter(tenant, 1); err != nil {
				t.Error(err)
			}
			go func() {
				if err := f.lane(t.Context(), tenant, bytes); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, tenant)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				f.done(tenant)
				f.leave(tenant, 1)
			}()
			synctest.Wait()
		}
		for range 4 {
			ask("large", 1<<20)
		}
		for range 4 {
			ask("small", 1000)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		// All of what is small costs less than one of what is large.
		if got, want := strings.Join(order, " "), "large small small small small large large large"; got != want {
			t.Errorf("%s, not %s", got, want)
		}
		if f.free != 1 || len(f.ready) != 0 || len(f.tenants) != 0 {
			t.Errorf("%d free, %d ready, %d tenants", f.free, len(f.ready), len(f.tenants))
		}
	})
}

// TestFlightsLoseNothing: whatever gives up when, every lane comes back.
func TestFlightsLoseNothing(t *testing.T) {
	f := newFlights(&GatewayConfig{TenantRequestsMax: 64, TenantBytesMax: 1 << 40, Lanes: 3, TenantLanes: 2, Now: time.Now})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			tenant := fmt.Sprint("tenant-", i%5)
			for j := range 300 {
				if err := f.enter(tenant, 1); err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(j%7)*20*time.Microsecond)
				if f.lane(ctx, tenant, j) == nil {
					f.done(tenant)
				}
				cancel()
				f.leave(tenant, 1)
			}
		})
	}
	wg.Wait()
	if f.free != 3 || len(f.ready) != 0 || len(f.tenants) != 0 {
		t.Errorf("%d of 3 lanes are free, %d tenants ready, %d remembered", f.free, len(f.ready), len(f.tenants))
	}
}

// heldLog holds every append of a tenant until it is let go.
type heldLog struct {
	envelopeLog
	mu      sync.Mutex
	held    string
	entered chan struct{}
	release chan struct{}
}

func (l *heldLog) Append(ctx context.Context, subject, id string, data []byte) (uint64, bool, error) {
	if _, tenant := schemas.ParseUsageSubject(subject); tenant == l.held {
		l.entered <- struct{}{}
		<-l.release
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.envelopeLog.Append(ctx, subject, id, data)
}

// TestGatewayUnderAFlood: while a tenant has as much on the way as it may, its
// next request is refused unread, and another tenant's is served.
func TestGatewayUnderAFlood(t *testing.T) {
	log := &heldLog{envelopeLog: envelopeLog{t: t}, held: "flood", entered: make(chan struct{}), release: make(chan struct{})}
	h := testGateway(t, log, func(c *GatewayConfig) { c.TenantRequestsMax = 2 })
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			got := post(t, h, "/v1/events", call(fmt.Sprint("held-", i)), "Authorization", "Bearer flood:ingest")
			if got.Status != http.StatusOK {
				t.Errorf("what was let in: %+v", got)
			}
		})
		<-log.entered
	}
	for i := range 10 {
		r := httptest.NewRequest(http.MethodPost, "/v1/events", unread{t})
		r.Header.Set("Authorization", "Bearer flood:ingest")
		got := send(t, h, r)
		if got.Status != 429 || got.Code != "too_many_in_flight" || got.RetryAfter != "1" || !strings.Contains(got.Detail, "2 requests of this tenant") {
			t.Errorf("too many: %+v", got)
		}
		if got := post(t, h, "/v1/events", call(fmt.Sprint("quiet-", i))); got.Status != http.StatusOK || got.Accepted != 1 {
			t.Errorf("another tenant: %+v", got)
		}
	}
	close(log.release)
	wg.Wait()
	if got := post(t, h, "/v1/events", call("after")); got.Status != http.StatusOK {
		t.Errorf("after the flood: %+v", got)
	}
}

type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body of a refused request was read")
	return 0, errors.New("not to be read")
}

// TestGatewayAsksAgainBeforeItStores: a tenant that is suspended while its body is
// read gets nothing on the log.
func TestGatewayAsksAgainBeforeItStores(t *testing.T) {
	log := &envelopeLog{t: t}
	suspended := false
	h := testGateway(t, log, func(c *GatewayConfig) {
		c.MayStore = func(scope tenancy.Scope, tenant string) error {
			if scope.TenantID() != "acme" || tenant != "acme" {
				t.Errorf("asked about %s by %s", tenant, scope.TenantID())
			}
			if suspended {
				return tenancy.ErrNotFound
			}
			return nil
		}
	})
	r := httptest.NewRequest(http.MethodPost, "/v1/events", readThen{strings.NewReader(call("e")), func() { suspended = true }})
	r.Header.Set("Authorization", "Bearer acme:ingest")
	if got := send(t, h, r); got.Status != 404 || len(log.events) != 0 {
		t.Errorf("suspended meanwhile: %+v, %d events stored", got, len(log.events))
	}
	suspended = false
	if got := post(t, h, "/v1/events", call("e")); got.Status != 200 || len(log.events) != 1 {
		t.Errorf("not suspended: %+v", got)
	}
}

// readThen calls then when the body has been read.
type readThen struct {
	*strings.Reader
	then func()
}

func (r readThen) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil {
		r.then()
	}
	return n, err
}
