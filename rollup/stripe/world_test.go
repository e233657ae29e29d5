package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/stripefake"
	"github.com/agentik-os/panda/rollup/stripe"
	"github.com/agentik-os/panda/schemas"
)

// memory is a store as a bucket is one: compare-and-set on a revision of the whole.
type memory struct {
	mu       sync.Mutex
	revision uint64
	entries  map[string]eventlog.Entry
	// before and after are called around each write; an error of before loses the write,
	// one of after its acknowledgement.
	before, after func() error
}

func newMemory() *memory { return &memory{entries: map[string]eventlog.Entry{}} }

func (m *memory) Get(ctx context.Context, key string) (eventlog.Entry, error) {
	if err := ctx.Err(); err != nil {
		return eventlog.Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	if !ok {
		return e, eventlog.ErrNotFound
	}
	return e, nil
}

func (m *memory) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return m.Update(ctx, key, value, 0)
}

func (m *memory) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if m.before != nil {
		if err := m.before(); err != nil {
			return 0, err
		}
	}
	m.mu.Lock()
	if m.entries[key].Revision != revision {
		m.mu.Unlock()
		return 0, schemas.ErrConflict
	}
	m.revision++
	rev := m.revision
	m.entries[key] = eventlog.Entry{Key: key, Value: slices.Clone(value), Revision: rev}
	m.mu.Unlock()
	if m.after != nil {
		if err := m.after(); err != nil {
			return 0, err
		}
	}
	return rev, nil
}

func (m *memory) Keys(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for k := range m.entries {
		keys = append(keys, k)
	}
	return keys, nil
}

// leases are held by one at a time.
type leases struct {
	mu   sync.Mutex
	held map[string]bool
	lie  bool // everybody gets it: what a holder that was stopped too long believes
}

func (l *leases) Hold(ctx context.Context, name string) (context.Context, func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lie {
		return ctx, func() {}, nil
	}
	if l.held[name] {
		return nil, nil, fmt.Errorf("lease %s: %w", name, schemas.ErrConflict)
	}
	if l.held == nil {
		l.held = map[string]bool{}
	}
	l.held[name] = true
	return ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, name)
	}, nil
}

// world is an account at the fake and a pusher on it.
type world struct {
	t     *testing.T
	fake  *stripefake.Server
	store *memory
	lease *leases
	cfg   stripe.Config
	plain *reader
}

func newWorld(t *testing.T, faults *stripefake.Faults) *world {
	t.Helper()
	fake := stripefake.New(stripefake.Config{Faults: faults, Keys: map[string]stripefake.Rights{
		"rk_test_panda": {"invoices": "write", "invoiceitems": "write", "customers": "read", "events": "read"},
		"sk_test_human": nil,
	}})
	w := &world{
		t: t, fake: fake, store: newMemory(), lease: &leases{},
		cfg:   stripe.Config{Key: "rk_test_panda", Transport: fake.Transport(), URL: "https://fake.invalid"},
		plain: &reader{t, fake},
	}
	return w
}

func (w *world) pusher() *stripe.Pusher {
	w.t.Helper()
	p, err := stripe.NewPusher(w.cfg, w.store, w.lease)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) bill(customer string, lines int) stripe.Bill {
	b := stripe.Bill{
		Tenant: "acme-corp", Month: "2026-02", Statement: "st_1", Checksum: "abc", Currency: "USD", Customer: customer,
		Start: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
	}
	for i := range lines {
		amount := int64(100 + 37*i)
		if i%7 == 3 {
			amount = -amount / 2 // a credit
		}
		b.Lines = append(b.Lines, stripe.Line{
			ID: fmt.Sprintf("l%03d", i), Description: fmt.Sprintf("claude-sonnet-4-5, input & output (%d)", i), Amount: amount,
			Quantity: "1234567", Exact: "1.000001",
		})
		b.Total += amount
	}
	return b
}

// reader is somebody with a browser and a key that may do everything: no faults on the way.
type reader struct {
	t    *testing.T
	fake *stripefake.Server
}

func (r *reader) do(method, path, form string, into any) int {
	r.t.Helper()
	status, err := r.fake.Human(method, path, form, "sk_test_human", into)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return status
}

func (r *reader) customer() string {
	r.t.Helper()
	var c struct{ ID string }
	r.do(http.MethodPost, "/v1/customers", "name=Acme", &c)
	return c.ID
}

type foundInvoice struct {
	ID, Status, Number string
	Total              int64
	Metadata           map[string]string
}

func (r *reader) invoices(customer string) []foundInvoice {
	r.t.Helper()
	var list struct{ Data []foundInvoice }
	r.do(http.MethodGet, "/v1/invoices?limit=100&customer="+customer, "", &list)
	return list.Data
}

type foundItem struct {
	ID       string
	Amount   int64
	Metadata map[string]string
}

func (r *reader) items(invoice string) []foundItem {
	r.t.Helper()
	var all []foundItem
	after := ""
	for {
		var list struct {
			Data    []foundItem
			HasMore bool `json:"has_more"`
		}
		r.do(http.MethodGet, "/v1/invoiceitems?limit=100&invoice="+invoice+after, "", &list)
		all = append(all, list.Data...)
		if !list.HasMore {
			return all
		}
		after = "&starting_after=" + all[len(all)-1].ID
	}
}

// wrong says what is wrong with what a customer was charged for a bill; empty is nothing.
// Only what is finalized is a charge; done says that there must be one.
func (r *reader) wrong(b stripe.Bill, done bool) string {
	r.t.Helper()
	charged := 0
	for _, inv := range r.invoices(b.Customer) {
		if inv.Status == "draft" {
			continue
		}
		charged++
		counts := map[string]int{}
		for _, it := range r.items(inv.ID) {
			counts[fmt.Sprint(it.Metadata["panda_line"], " ", it.Amount)]++
		}
		for _, l := range b.Lines {
			if n := counts[fmt.Sprint(l.ID, " ", l.Amount)]; n != 1 {
				return fmt.Sprintf("line %s is charged %d times", l.ID, n)
			}
		}
		if len(counts) != len(b.Lines) || inv.Total != b.Total {
			return fmt.Sprintf("invoice %s has %d lines and %d, want %d and %d", inv.ID, len(counts), inv.Total, len(b.Lines), b.Total)
		}
	}
	if charged > 1 || (done && charged == 0) {
		return fmt.Sprintf("%d invoices are finalized", charged)
	}
	return ""
}

var errCrash = errors.New("the process died")
