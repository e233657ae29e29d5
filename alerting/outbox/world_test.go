package outbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/channel"
	"github.com/agentik-os/panda/alerting/channel/channeltest"
	"github.com/agentik-os/panda/internal/contact"
	"github.com/agentik-os/panda/internal/eventlog"
)

func TestMain(m *testing.M) {
	channeltest.ServeMail()
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// patience bounds waits for what comes by itself; nothing waits for it to pass.
const patience = 30 * time.Second

var valentine = time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)

// world is a clock, people and channels that a test sets.
type world struct {
	mu      sync.Mutex
	now     time.Time
	parties map[string]Party
	gone    map[string]bool
	senders map[string]channel.Channel // by id of the channel
	got     []alerting.Message         // what arrived at those without a sender
	ids     map[string]map[string]bool // by record and receiver, the ids that arrived
	// try may refuse a message before it arrives, and after.
	before, after func(m *alerting.Message) error
	changed       chan struct{} // closed and replaced with every arrival
}

func newWorld() *world {
	return &world{now: valentine, parties: map[string]Party{}, gone: map[string]bool{}, senders: map[string]channel.Channel{},
		ids: map[string]map[string]bool{}, changed: make(chan struct{})}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) CatchUp(context.Context) error { return nil }

func (w *world) Audience(tenant string) (Audience, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Audience{Tenant: w.parties[tenant], Platform: w.parties[""]}, !w.gone[tenant]
}

func (w *world) Channel(tenant, id string) (Opened, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	settings := w.parties[tenant].Settings
	c, ok := settings.Channel(id)
	if !ok {
		return Opened{}, fatal("the channel was removed")
	}
	opened := Opened{Channel: w.senders[id], Name: c.Name, Quiet: c.Quiet.Until, To: c.To}
	if opened.Channel == nil {
		opened.Channel = arrivals{w, id}
	}
	return opened, nil
}

// arrivals is a channel that keeps what it is sent.
type arrivals struct {
	*world
	id string
}

func (a arrivals) Send(ctx context.Context, m *alerting.Message) error {
	a.mu.Lock()
	before, after := a.before, a.after
	a.mu.Unlock()
	if before != nil {
		if err := before(m); err != nil {
			return err
		}
	}
	a.mu.Lock()
	a.got = append(a.got, *m)
	for i := range m.Records {
		key := m.Records[i].Subject() + " at " + a.id + " " + m.To
		if a.ids[key] == nil {
			a.ids[key] = map[string]bool{}
		}
		a.ids[key][m.ID] = true
	}
	close(a.changed)
	a.changed = make(chan struct{})
	a.mu.Unlock()
	if after != nil {
		return after(m)
	}
	return ctx.Err()
}

// await waits until something holds that an arrival, or a moment, can bring about.
func (w *world) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-end.C:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func (w *world) arrived() []alerting.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.got)
}

// run starts an outbox that ends with the test, or with what is returned.
func (w *world) run(t *testing.T, log *eventlog.Log, change func(*Outbox)) (*Outbox, func()) {
	t.Helper()
	o := New(Config{Contacts: w, Now: w.clock, LookEvery: 2 * time.Millisecond, RetryEvery: 5 * time.Millisecond,
		Logger: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel)}, log)
	if change != nil {
		change(o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-o.Ready():
	case <-time.After(patience):
		t.Fatal("the outbox did not become ready")
	}
	return o, stop
}

// tell gives a tenant channels.
func (w *world) tell(tenant string, channels ...contact.Channel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.parties[tenant]
	p.Settings.Channels = channels
	w.parties[tenant] = p
}

func hook(id string) contact.Channel {
	return contact.Channel{ID: id, Name: id, Type: contact.Webhook}
}

// fire puts a record of a threshold on the log.
func fire(t *testing.T, log *eventlog.Log, change func(*alerting.Record)) alerting.Record {
	t.Helper()
	r := alerting.Record{Version: 1, Kind: alerting.Fired, Severity: alerting.SeverityWarning, At: valentine,
		Identity: alerting.Identity{Tenant: "ten_a", Rule: alerting.RuleThreshold, Limit: alerting.LimitMonthlyBudget, Period: "2026-02", Revision: "5-100", Threshold: 90},
		Facts:    alerting.Facts{TenantName: "Acme", TenantSlug: "acme", Percent: 90}}
	if change != nil {
		change(&r)
	}
	r.Alert = r.Identity.ID()
	if decided, err := alerting.NewDecider(log).Decide(t.Context(), r); err != nil || !decided {
		t.Fatalf("decide: %t, %v", decided, err)
	}
	return r
}

func percent(n int) func(*alerting.Record) {
	return func(r *alerting.Record) { r.Identity.Threshold = n }
}

// states lists the states of all deliveries, by how many there are.
func states(o *Outbox) map[State]int {
	list, _ := o.Deliveries(Query{Tenant: alerting.Everyone})
	by := map[State]int{}
	for i := range list {
		by[list[i].State]++
	}
	return by
}

var errAway = errors.New("it does not answer")
