package alerting

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

var valentine = time.Date(2026, 2, 14, 10, 0, 0, 0, time.UTC)

// budgetOf100 is a tenant with a budget of $100 a month.
func budgetOf100(m *meter, tenant string) {
	m.set(func() {
		m.limits[tenant] = []Limit{{Limit: "monthly_budget", Period: "2026-02", Revision: "5-100.000000", Used: usd(0), Max: usd(100)}}
	})
}

func summary(rs []Record) (lines []string) {
	for i := range rs {
		lines = append(lines, fmt.Sprintf("%s %d%% %s", rs[i].Kind, rs[i].Identity.Threshold, rs[i].Cause))
	}
	return lines
}

// Show: from nothing to 130 % of the budget, in one burst and in a thousand small steps,
// on two nodes at once, of which both are killed and started again ten times on the way,
// the log's server with them every other time. A tenth of all answers are lost. Exactly
// three alerts fire.
func TestThreeAlertsWhateverDies(t *testing.T) {
	for _, steps := range []int{1, 1000} {
		for _, leased := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d steps, lease %t", steps, leased), func(t *testing.T) {
				drive(t, steps, leased)
			})
		}
	}
}

func drive(t *testing.T, steps int, leased bool) {
	const kills, seed = 10, 20260214
	t.Logf("seed %d", seed)
	dir := t.TempDir()
	meter := newMeter(valentine)
	budgetOf100(meter, "ten_a")
	var log *eventlog.Log
	var nodes []*node
	stop := func() {
		for _, n := range nodes {
			n.stop()
		}
	}
	restart := func(server bool) {
		stop()
		if log == nil || server {
			if log != nil {
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
			}
			log = eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
			// The bucket of leases is made before anything is killed: a server that is
			// stopped while it makes a stream leaves goroutines behind.
			lease, err := log.Acquire(t.Context(), "first", "", time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if err := lease.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		nodes = nil
		for i := range 2 {
			var lease Lease
			if leased {
				lease = testLease{log}
			}
			faulty := &faultyLog{Log: log, rng: rand.New(rand.NewPCG(seed, uint64(i))), share: 0.1}
			nodes = append(nodes, start(t, faulty, meter, lease, true))
		}
	}
	restart(false)
	killed := 0
	for step := 1; step <= steps; step++ {
		asOf := meter.set(func() {
			// 130 % after the last step, in whole pico-USD.
			meter.limits["ten_a"][0].Used.Money = schemas.Mul(schemas.PicoPerUSD/1000*130, int64(1000/steps*step))
		})
		for _, n := range nodes {
			n.evaluator.Touch([]string{"ten_a"}, time.Now())
		}
		for killed < kills*step/steps {
			restart(killed%2 == 1) // before anybody looked, or while they do
			killed++
		}
		meter.awaitRead(t, "ten_a", asOf)
	}
	if killed != kills {
		t.Errorf("%d kills", killed)
	}
	stop()
	last := start(t, &faultyLog{Log: log}, meter, nil, false)
	last.settle(t, "ten_a")
	if diff := cmp.Diff([]string{"fired 80% ", "fired 90% ", "fired 100% "}, summary(records(t, log, "ten_a"))); diff != "" {
		t.Error(diff)
	}
	alerts, _ := last.book.List(Query{Tenant: "ten_a", State: Firing})
	if len(alerts) != 3 || alerts[0].Threshold != 100 || alerts[0].Severity != SeverityCritical || alerts[0].Facts.TenantName != "Tenant ten_a" {
		t.Errorf("the book has %+v", alerts)
	}
}

// Show: the budget is raised in the middle of the month, a void un-crosses it, and a new
// month begins.
func TestRaisedVoidedAndANewMonth(t *testing.T) {
	log := eventlogtest.Open(t)
	meter := newMeter(valentine)
	budgetOf100(meter, "ten_a")
	n := start(t, &faultyLog{Log: log}, meter, nil, false)
	step := func(want string, change func(l *Limit)) {
		t.Helper()
		before := len(records(t, log, "ten_a"))
		meter.set(func() { change(&meter.limits["ten_a"][0]) })
		n.settle(t, "ten_a")
		if got := strings.Join(summary(records(t, log, "ten_a")[before:]), ", "); got != want {
			t.Errorf("decided %s, want %s", got, want)
		}
	}
	step("fired 80% , fired 90% ", func(l *Limit) { l.Used = usd(95) })
	step("resolved 90% limit_changed, fired 80% ", func(l *Limit) { l.Max, l.Revision = usd(110), "9-110.000000" })
	step("resolved 80% correction", func(l *Limit) { l.Used = usd(80) })
	step("reopened 80% ", func(l *Limit) { l.Used = usd(88) })
	step("resolved 80% period_over", func(l *Limit) {
		meter.at = time.Date(2026, 3, 1, 0, 0, 1, 0, time.UTC)
		l.Period, l.Used = "2026-03", usd(0)
	})
	step("", func(*Limit) { meter.at = meter.at.Add(time.Hour) })
	got := map[State]int{Replaced: 1, Ended: 1, Over: 1}
	if diff := cmp.Diff(got, n.book.Counts("ten_a").States); diff != "" {
		t.Error(diff)
	}
}

// What fails is tried again, and what was touched meanwhile is not lost.
func TestEvaluatorSurvivesItsSources(t *testing.T) {
	log := eventlogtest.Open(t)
	meter := newMeter(valentine)
	budgetOf100(meter, "ten_a")
	budgetOf100(meter, "ten_b")
	failures := 0
	meter.set(func() {
		meter.limits["ten_a"][0].Used, meter.limits["ten_b"][0].Used = usd(85), usd(85)
		meter.factless = true
		meter.fail = func() error {
			if failures++; failures%3 != 0 {
				return fmt.Errorf("not now: %w", schemas.ErrUnavailable)
			}
			return nil
		}
	})
	registry := prometheus.NewRegistry()
	metrics := NewEvaluatorMetrics(registry)
	book := NewBook(BookConfig{Logger: zerolog.Nop()}, log)
	e := NewEvaluator(EvaluatorConfig{Metrics: metrics}, log, book, meter)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { _ = book.Run(ctx) })
	work.Go(func() { _ = e.Run(ctx) })
	defer work.Wait()
	defer cancel()
	for _, tenant := range []string{"ten_a", "ten_b"} {
		for len(records(t, log, tenant)) == 0 {
			meter.awaitRead(t, tenant, 1)
		}
	}
	// The details were not to be had; the alert is there all the same.
	if rs := records(t, log, "ten_a"); rs[0].Facts.Percent != 85 || rs[0].Facts.TenantName != "" {
		t.Errorf("fired %+v", rs[0].Facts)
	}
	asOf := meter.set(func() { meter.limits["ten_a"][0].Used = usd(95) })
	e.Touch([]string{"ten_a"}, time.Now())
	meter.awaitRead(t, "ten_a", asOf)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); measured(t, registry, "panda_alerts_decided_total") < 3; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the touched tenant's alert does not fire")
		}
	}
	cancel()
	work.Wait()
	if rs := records(t, log, "ten_a"); len(rs) != 2 || rs[1].AckedAt.IsZero() || !rs[0].AckedAt.IsZero() {
		t.Errorf("decided %+v", rs)
	}
	for name, want := range map[string]float64{"panda_alerts_decided_total": 3, "panda_alerts_acked_to_decided_seconds": 1,
		"panda_alerts_dirty_tenants": 0, "panda_alerts_evaluation_lag_seconds": 0} {
		if got := measured(t, registry, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// measured returns the value of a metric without labels, or of its first ones; of a
// histogram, its count.
func measured(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// The set of dirty tenants holds each once, with the oldest acknowledgement, gives those
// that were touched first, and lets the others have their turn.
func TestDirty(t *testing.T) {
	d := newDirty()
	now := valentine
	var all []string
	for i := range 100 {
		all = append(all, fmt.Sprint("t", i))
	}
	d.sweep(all)
	d.touch([]string{"t50", "t51"}, now)
	d.touch([]string{"t50"}, now.Add(-time.Second))
	d.touch([]string{"t50", "new"}, time.Time{})
	if n, oldest := d.size(); n != 101 || !oldest.Equal(now.Add(-time.Second)) {
		t.Errorf("%d dirty, the oldest %s", n, oldest)
	}
	names := func(batch []taken) string {
		var words []string
		for _, b := range batch {
			words = append(words, b.tenant)
		}
		return strings.Join(words, " ")
	}
	batch, _ := d.take(now, 8)
	if got := names(batch); got != "t0 t50 t51 new t1 t2 t3 t4" {
		t.Errorf("took %s", got)
	}
	if !batch[1].mark.acked.Equal(now.Add(-time.Second)) || !batch[3].mark.acked.IsZero() {
		t.Errorf("marks are %+v", batch)
	}
	// Put back, t50 is touched again: it waits, and its age is that of the first event.
	d.putBack(&batch[1], now.Add(time.Second))
	d.touch([]string{"t50"}, now)
	for {
		more, wait := d.take(now, 8)
		if len(more) == 0 {
			if wait != time.Second {
				t.Errorf("the next is in %s", wait)
			}
			break
		}
		if strings.Contains(names(more)+" ", "t50 ") {
			t.Fatalf("took %s", names(more))
		}
	}
	again, _ := d.take(now.Add(time.Second), 8)
	if names(again) != "t50" || again[0].mark.tries != 1 || !again[0].mark.acked.Equal(now.Add(-time.Second)) {
		t.Errorf("took %+v", again)
	}
	// A clock that was set back by a month holds nobody up.
	d.putBack(&again[0], now.Add(time.Second))
	if back, _ := d.take(now.AddDate(0, -1, 0), 8); names(back) != "t50" {
		t.Errorf("took %+v", back)
	}
	if n, _ := d.size(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func TestDeciderRefusesWhatIsNotWhole(t *testing.T) {
	log := eventlogtest.Open(t)
	d := NewDecider(log)
	whole := Record{Kind: Fired, Identity: Identity{Tenant: "ten_a", Rule: "spike", RuleHash: "h"}, At: valentine}
	for name, change := range map[string]func(*Record){
		"kind":    func(r *Record) { r.Kind = "ringing" },
		"id":      func(r *Record) { r.Alert = "alr_other" },
		"episode": func(r *Record) { r.Episode = -1 },
		"tenant":  func(r *Record) { r.Identity.Tenant = "ten_a.>" },
	} {
		r := whole
		change(&r)
		if _, err := d.Decide(t.Context(), r); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i, want := range []bool{true, true, false} {
		r := whole
		if i == 2 {
			r.At = valentine.Add(time.Second) // another one's, with other words
		}
		if decided, err := d.Decide(t.Context(), r); err != nil || decided != want {
			t.Errorf("try %d: %t, %v", i, decided, err)
		}
	}
	platform := Record{Kind: Fired, Identity: Identity{Rule: "lag"}}
	platform.Alert = platform.Identity.ID()
	if got := platform.Subject(); got != "decision.platform.alert."+platform.Alert+".0.fired" {
		t.Errorf("the platform's alert stands on %s", got)
	}
}
