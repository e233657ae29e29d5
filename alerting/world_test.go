package alerting

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what comes by itself; nothing waits for it to pass.
const patience = 30 * time.Second

func usd(n int64) Amount { return Amount{Unit: UnitUSD, Money: schemas.Mul(schemas.PicoPerUSD, n)} }

// meter is a Source of numbers that a test sets.
type meter struct {
	mu      sync.Mutex
	at      time.Time
	asOf    uint64
	control uint64
	limits  map[string][]Limit // by tenant
	quiet   map[string]bool
	// fail, if not nil, may refuse a reading; factless makes Facts fail.
	fail     func() error
	factless bool
	read     map[string]uint64 // the newest AsOf that was read, by tenant
	changed  chan struct{}     // closed and replaced with every reading
}

func newMeter(at time.Time) *meter {
	return &meter{at: at, control: 100, limits: map[string][]Limit{}, quiet: map[string]bool{}, read: map[string]uint64{}, changed: make(chan struct{})}
}

// set changes the numbers, as one commit.
func (m *meter) set(change func()) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.asOf++
	return m.asOf
}

func (m *meter) Tenants() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []string
	for id := range m.limits {
		ids = append(ids, id)
	}
	return ids
}

func (m *meter) Reading(_ context.Context, tenant string) (Reading, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if err := m.fail(); err != nil {
			return Reading{}, err
		}
	}
	limits, ok := m.limits[tenant]
	if !ok {
		return Reading{}, ErrGone
	}
	m.read[tenant] = m.asOf
	close(m.changed)
	m.changed = make(chan struct{})
	return Reading{Tenant: tenant, Limits: append([]Limit(nil), limits...), AsOf: m.asOf, Control: m.control, At: m.at, Quiet: m.quiet[tenant]}, nil
}

// awaitRead waits until a reading of a tenant counts asOf.
func (m *meter) awaitRead(t *testing.T, tenant string, asOf uint64) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		m.mu.Lock()
		read, changed := m.read[tenant], m.changed
		m.mu.Unlock()
		if read >= asOf {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("nobody looked at %s as of %d within %s", tenant, asOf, patience)
		}
	}
}

func (m *meter) Facts(_ context.Context, tenant string, l Limit) (Facts, error) {
	if m.factless {
		return Facts{}, fmt.Errorf("facts: %w", schemas.ErrUnavailable)
	}
	return Facts{TenantName: "Tenant " + tenant, TenantSlug: tenant, Next: "next of " + l.Limit,
		Models: []Share{{Name: "opus", Cost: schemas.Pico(1), Percent: 60}}}, nil
}

// faultyLog refuses some decisions, half of them after they were made.
type faultyLog struct {
	*eventlog.Log
	mu    sync.Mutex
	rng   *rand.Rand
	share float64
}

func (l *faultyLog) draw() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rng == nil {
		return 1
	}
	return l.rng.Float64()
}

func (l *faultyLog) Decide(ctx context.Context, subject string, data []byte) (bool, eventlog.Record, error) {
	fate := l.draw()
	if fate < l.share/2 {
		return false, eventlog.Record{}, fmt.Errorf("injected before: %w", schemas.ErrUnavailable)
	}
	decided, rec, err := l.Log.Decide(ctx, subject, data)
	if fate < l.share {
		return false, eventlog.Record{}, fmt.Errorf("injected after: %w", schemas.ErrUnavailable)
	}
	return decided, rec, err
}

func (l *faultyLog) State(ctx context.Context, stream string) (eventlog.State, error) {
	if l.draw() < l.share {
		return eventlog.State{}, fmt.Errorf("injected: %w", schemas.ErrUnavailable)
	}
	return l.Log.State(ctx, stream)
}

// node is a book and an evaluator that run, or just the book.
type node struct {
	book      *Book
	evaluator *Evaluator
	stop      func()
}

// start runs a book over a log, and with evaluate an evaluator.
func start(t *testing.T, log *faultyLog, source Source, lease Lease, evaluate bool) *node {
	t.Helper()
	logger := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel)
	book := NewBook(BookConfig{RetryEvery: time.Millisecond, Logger: logger}, log)
	n := &node{book: book}
	n.evaluator = NewEvaluator(EvaluatorConfig{Lease: lease, LeaseEvery: time.Millisecond, SweepEvery: 50 * time.Millisecond, Logger: logger}, log, book, source)
	runBook(t, n)
	if evaluate {
		ctx, cancel := context.WithCancel(context.Background())
		var work sync.WaitGroup
		work.Go(func() {
			if err := n.evaluator.Run(ctx); err != nil {
				t.Errorf("run the evaluator: %v", err)
			}
		})
		stopBook := n.stop
		n.stop = sync.OnceFunc(func() { cancel(); work.Wait(); stopBook() })
		t.Cleanup(n.stop)
	}
	return n
}

// runBook runs a node's book and waits until it has caught up.
func runBook(t *testing.T, n *node) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := n.book.Run(ctx); err != nil {
			t.Errorf("run the book: %v", err)
		}
	})
	n.stop = sync.OnceFunc(func() { cancel(); work.Wait() })
	t.Cleanup(n.stop)
	select {
	case <-n.book.Ready():
	case <-time.After(patience):
		t.Fatal("the book did not catch up")
	}
}

// testLease is a lease of the log with a short time.
type testLease struct{ log *eventlog.Log }

func (l testLease) Hold(ctx context.Context, name string) (context.Context, func(), error) {
	lease, err := l.log.Acquire(ctx, name, "", 200*time.Millisecond)
	if err != nil {
		return nil, nil, err
	}
	held, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-lease.Lost():
		case <-held.Done():
		}
		cancel()
	}()
	return held, func() {
		cancel()
		releasing, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		_ = lease.Release(releasing)
	}, nil
}

// records returns what stands on the log about a tenant, in its order.
func records(t *testing.T, log *eventlog.Log, tenant string) []Record {
	t.Helper()
	var found []Record
	_, err := log.Find(context.Background(), schemas.StreamDecisions, []string{"decision." + tenant + ".alert.>"}, ^uint64(0), func(rec *eventlog.Record) error {
		var r Record
		if err := json.Unmarshal(rec.Data, &r); err != nil {
			return err
		}
		if r.Subject() != rec.Subject {
			return fmt.Errorf("the record of %s stands on %s", r.Subject(), rec.Subject)
		}
		found = append(found, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// settle evaluates a tenant until nothing is left to decide and the book knows it.
func (n *node) settle(t *testing.T, tenant string) {
	t.Helper()
	const triesMax = 1000
	for range triesMax {
		seq, err := n.evaluator.evaluate(context.Background(), tenant, time.Time{})
		if err != nil && !errors.Is(err, schemas.ErrUnavailable) {
			t.Errorf("evaluate %s: %v", tenant, err)
			return
		}
		if seq > 0 {
			if err := n.book.WaitFor(context.Background(), seq); err != nil {
				t.Errorf("wait for the book: %v", err)
				return
			}
		}
		if err == nil && seq == 0 {
			return
		}
	}
	t.Errorf("%s does not settle", tenant)
}
