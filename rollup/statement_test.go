package rollup_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/rollup/bill"
	"github.com/agentik-os/panda/schemas"
)

var january = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// books are a project with a log to seal on, a clock, and one plan for everybody since
// January: providers' charges with 10% on top.
type books struct {
	*project
	log     *eventlog.Log
	now     time.Time
	billing *rollup.Billing
}

func newBooks(t *testing.T) *books {
	b := &books{project: newProject(t), log: eventlogtest.Open(t), now: january}
	b.billing = b.open()
	return b
}

func (b *books) open() *rollup.Billing {
	return rollup.NewBilling(rollup.BillingConfig{
		PlanVersion: 2, Now: func() time.Time { return b.now },
		Spans: func(_ string, month schemas.Window) ([]bill.Span, error) {
			if month.Start.Before(january) {
				return nil, nil
			}
			return []bill.Span{{From: month.Start, To: month.End(), Plan: "pro", StorageGB: 1,
				Rates: bill.Rates{BaseFee: schemas.Pico(49 * schemas.PicoPerUSD), PassThrough: true, MarkupBasisPoints: 1_000}}}, nil
		},
	}, b.db, b.log)
}

// add commits rows and brings the rollups up to date.
func (b *books) add(rows ...schemas.Accepted) {
	b.t.Helper()
	b.commit(rows[len(rows)-1].Seq, rows...)
	if _, err := worker(b.project).Pass(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

func dollars(seq uint64, at time.Time, model string, usd int64) schemas.Accepted {
	return call("acme", seq, at, model, 1_000, usd*schemas.PicoPerUSD)
}

func (b *books) close(month string) bill.Statement {
	b.t.Helper()
	s, sealed, err := b.billing.Close(b.t.Context(), "acme", month)
	if err != nil || !sealed || !s.Sealed {
		b.t.Fatalf("close %s: %v, %v", month, sealed, err)
	}
	return s
}

func short(s bill.Statement) string {
	var b strings.Builder
	for i := range s.Lines {
		l := &s.Lines[i]
		fmt.Fprintf(&b, "%s %s %d %s; ", l.Kind, l.Model, l.Amount, strings.Trim(l.Origin+" "+l.Cause, " "))
	}
	return fmt.Sprintf("%s= %d", b.String(), s.Total)
}

// What comes to a closed month, late or as a void, is on the next statement with its
// cause and origin, once, and the closed one stays what it was.
func TestClosedMonthsAreCorrectedByTheNext(t *testing.T) {
	b := newBooks(t)
	first := dollars(1, january.AddDate(0, 0, 3), "opus", 100)
	b.add(first, dollars(2, january.AddDate(0, 0, 4), "haiku", 10), call("other", 3, january, "opus", 5, 5))
	b.now = january.AddDate(0, 1, 3)
	sealed := b.close("2026-01")
	if want := "base_fee  4900 ; usage_cost haiku 1100 ; usage_cost opus 11000 ; = 17000"; short(sealed) != want {
		t.Errorf("January: %s, want %s", short(sealed), want)
	}
	b.add(void(first, 4), dollars(5, january.AddDate(0, 0, 9), "haiku", 1), dollars(6, january.AddDate(0, 1, 2), "opus", 20))
	draft, err := b.billing.Get(t.Context(), "acme", "2026-02")
	if err != nil {
		t.Fatal(err)
	}
	want := "base_fee  4900 ; usage_cost opus 2200 ; adjustment haiku 110 2026-01 late,void; adjustment opus -11000 2026-01 late,void; carried  3790 ; = 0"
	if short(draft) != want || draft.Sealed {
		t.Errorf("February: %s, want %s", short(draft), want)
	}
	b.now = b.now.AddDate(0, 1, 0)
	if got := b.close("2026-02"); short(got) != want {
		t.Errorf("February closed: %s", short(got))
	}
	// What was corrected is not corrected again; what is left of the credit is used.
	b.add(dollars(7, january.AddDate(0, 0, 20), "haiku", 2))
	if march, err := b.billing.Get(t.Context(), "acme", "2026-03"); err != nil ||
		short(march) != "base_fee  4900 ; adjustment haiku 220 2026-01 late; credit  -3790 ; = 1330" {
		t.Errorf("March: %s, %v", short(march), err)
	}
	again, err := b.billing.Get(t.Context(), "acme", "2026-01")
	if err != nil || !bytes.Equal(again.Encode(), sealed.Encode()) {
		t.Errorf("January became %s, %v", short(again), err)
	}
}

// Usage that goes on as it did comes to what the forecast says; a month that is over
// comes to what it is.
func TestForecast(t *testing.T) {
	b := newBooks(t)
	b.add(dollars(1, january, "opus", 10))
	for days, want := range map[int]string{
		1:  "base_fee  4900 ; usage_cost opus 34100 ; = 39000",
		10: "base_fee  4900 ; usage_cost opus 3410 ; = 8310",
		31: "base_fee  4900 ; usage_cost opus 1100 ; = 6000",
	} {
		b.now = january.AddDate(0, 0, days)
		if s, err := b.billing.Forecast(t.Context(), "acme", "2026-01"); err != nil || short(s) != want {
			t.Errorf("after %d days: %s, want %s, %v", days, short(s), want, err)
		}
	}
}

// The same position gives the same bytes, whatever came after it.
func TestStatementsAreReproducible(t *testing.T) {
	b := newBooks(t)
	b.add(dollars(1, january, "opus", 3), dollars(2, january.AddDate(0, 0, 1), "opus", 4))
	before, err := b.billing.AsOf(t.Context(), "acme", "2026-01", 2)
	if err != nil {
		t.Fatal(err)
	}
	b.add(dollars(3, january, "opus", 5))
	after, err := b.billing.AsOf(t.Context(), "acme", "2026-01", 2)
	if err != nil || !bytes.Equal(before.Encode(), after.Encode()) {
		t.Errorf("as of 2 it was %s and is %s, %v", short(before), short(after), err)
	}
	b.now = january.AddDate(0, 1, 3)
	sealed := b.close("2026-01")
	again, err := b.billing.AsOf(t.Context(), "acme", "2026-01", sealed.AsOf)
	if err != nil || !bytes.Equal(bill.Seal(again, b.now).Encode(), sealed.Encode()) {
		t.Errorf("sealed as %s, made again as %s, %v", short(sealed), short(again), err)
	}
}

func TestMonthsAreSealedOnceAndInOrder(t *testing.T) {
	b := newBooks(t)
	b.add(dollars(1, january, "opus", 3))
	b.now = january.AddDate(0, 1, 3).Add(-time.Second)
	if _, _, err := b.billing.Close(t.Context(), "acme", "2026-01"); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("before its grace has passed: %v", err)
	}
	b.now = january.AddDate(0, 2, 10)
	if _, _, err := b.billing.Close(t.Context(), "acme", "2026-02"); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("before the month that comes first: %v", err)
	}
	// Four nodes at once: one seals, all see the same.
	var nodes sync.WaitGroup
	var mu sync.Mutex
	seen, count := map[string]bool{}, 0
	for range 4 {
		node := b.open()
		nodes.Go(func() {
			s, sealed, err := node.Close(t.Context(), "acme", "2026-01")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if seen[s.Checksum] = true; sealed {
				count++
			}
		})
	}
	nodes.Wait()
	if len(seen) != 1 || count != 1 {
		t.Errorf("%d nodes sealed, %d statements were seen", count, len(seen))
	}
	if n, err := b.billing.CloseDue(t.Context(), "acme"); n != 1 || err != nil {
		t.Errorf("%d months were due, %v", n, err)
	}
	if n, err := b.billing.CloseDue(t.Context(), "acme"); n != 0 || err != nil {
		t.Errorf("%d months were due again, %v", n, err)
	}
	list, err := b.billing.Sealed(t.Context(), "acme")
	if err != nil || len(list) != 2 || list[1].Month != "2026-02" {
		t.Errorf("%d sealed, %v", len(list), err)
	}
	if _, _, err := b.billing.Close(t.Context(), "acme", "2025-12"); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a month before them: %v", err)
	}
}

func TestAStatementIsHeldAgainstTheRollup(t *testing.T) {
	b := newBooks(t)
	b.add(dollars(1, january, "opus", 3))
	month := schemas.WindowOf(schemas.GrainMonth, january)
	if diff, err := b.billing.Check(t.Context(), "acme", month); diff != "" || err != nil {
		t.Errorf("%q, %v", diff, err)
	}
	b.exec(`INSERT INTO rollup (tenant, grain, window, gen, tokens, cost) VALUES ('acme', 'month', '2026-01-01 00:00:00', 2, 7, 1)`)
	if diff, err := b.billing.Check(t.Context(), "acme", month); !strings.Contains(diff, "events are 1000 tokens and 3.000000 USD, the rollup 7 and 1.000000") || err != nil {
		t.Errorf("%q, %v", diff, err)
	}
}

// Storage is charged by its highest level of the month, or by the one that stood when the
// month began.
func TestStorageIsChargedByItsHighestLevel(t *testing.T) {
	b := newBooks(t)
	billing := rollup.NewBilling(rollup.BillingConfig{PlanVersion: 2, Spans: func(_ string, month schemas.Window) ([]bill.Span, error) {
		return []bill.Span{{From: month.Start, To: month.End(), Plan: "pro", StorageGB: 1,
			Rates: bill.Rates{StoragePerGB: schemas.Pico(schemas.PicoPerUSD)}}}, nil
	}}, b.db, b.log)
	level := func(seq uint64, at time.Time, gb int64) schemas.Accepted {
		a := call("acme", seq, at, "", 0, 0)
		a.Calls, a.Event.Type = 0, schemas.TypeResourceSample
		a.Event.Units = []schemas.Unit{{Name: schemas.LevelStorageBytes, Count: gb * 1_000_000_000}}
		return a
	}
	b.add(level(1, january.AddDate(0, 0, 3), 9), level(2, january.AddDate(0, 0, 20), 5))
	b.add(level(3, january.AddDate(0, 1, 2), 3), level(4, january.AddDate(0, 2, 2), 7))
	for month, want := range map[string]int64{"2025-12": 0, "2026-01": 800, "2026-02": 400, "2026-03": 600, "2026-09": 0} {
		s, err := billing.Get(t.Context(), "acme", month)
		if err != nil || s.Total != want {
			t.Errorf("%s: %d, want %d, %v", month, s.Total, want, err)
		}
	}
}
