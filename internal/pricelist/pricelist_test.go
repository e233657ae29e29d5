package pricelist

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// revisionOf is a revision with one model at a price in pico-USD per token.
func revisionOf(note string, pico int64) schemas.PriceRevision {
	row := schemas.PriceRow{Provider: "house", Model: "house-model"}
	row.Tokens.Set(schemas.Input, pico)
	return schemas.PriceRevision{
		Created: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), Actor: "test", Note: note, Rows: []schemas.PriceRow{row},
	}
}

func costOfToken(t *testing.T, book *schemas.PriceBook) schemas.Rating {
	t.Helper()
	return book.Rate(&schemas.Event{
		Type: schemas.TypeLLMCall, Provider: "house", Model: "house-model",
		Time: time.Date(2026, 2, 2, 0, 0, 0, 0, time.UTC).UnixMilli(), Tokens: schemas.Tokens{schemas.Input: 1},
	})
}

// announced returns what a shard of the log says of prices, in order.
func announced(t *testing.T, log *eventlog.Log, shard schemas.Shard) []string {
	t.Helper()
	state, err := log.State(t.Context(), shard.Stream())
	if err != nil {
		t.Fatal(err)
	}
	var numbers []string
	for seq := state.First; seq > 0 && seq <= state.Last; seq++ {
		record, err := log.Get(t.Context(), shard.Stream(), seq)
		if err != nil {
			t.Fatal(err)
		}
		if record.Subject == shard.PricesSubject() {
			numbers = append(numbers, string(record.Data))
		}
	}
	return numbers
}

func wantAnnounced(t *testing.T, log *eventlog.Log, shard schemas.Shard, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, announced(t, log, shard)); diff != "" {
		t.Errorf("numbers on shard %s (-want +got):\n%s", shard, diff)
	}
}

// errLost is the lost answer of a boundary.
var errLost = fmt.Errorf("the answer is lost: %w", schemas.ErrUnavailable)

// faultyLog fails an append before or after it happens.
type faultyLog struct {
	*eventlog.Log
	before, after func(subject string) error
}

func (f *faultyLog) Append(ctx context.Context, m eventlog.Message) (eventlog.Ack, error) {
	if f.before != nil {
		if err := f.before(m.Subject); err != nil {
			return eventlog.Ack{}, err
		}
	}
	ack, err := f.Log.Append(ctx, m)
	if err == nil && f.after != nil {
		err = f.after(m.Subject)
	}
	return ack, err
}

// failing fails appends to one subject.
func failing(subject string) func(string) error {
	return func(s string) error {
		if s == subject {
			return errLost
		}
		return nil
	}
}

func TestNothingIsPublishedYet(t *testing.T) {
	log := eventlogtest.Open(t)
	l := New(log, schemas.Shards(1))
	if err := l.Announce(t.Context()); err != nil {
		t.Errorf("announce nothing: %v", err)
	}
	wantAnnounced(t, log, schemas.Shard{})
	book, err := l.Book(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if r := costOfToken(t, book); r.Priced || r.Reason == "" || book.Number() != 0 {
		t.Errorf("the empty book priced: %+v, number %d", r, book.Number())
	}
	if current, err := l.Current(t.Context()); err != nil || current != book {
		t.Errorf("current is %p, %v; want the empty book %p", current, err, book)
	}
	if _, err := l.Book(t.Context(), 1); !errors.Is(err, ErrUnknownRevision) {
		t.Errorf("an unknown revision: %v", err)
	}
}

func TestPublishedForEver(t *testing.T) {
	log := eventlogtest.OpenConfig(t, eventlog.Config{Shards: 4})
	l := New(log, schemas.Shards(4))
	for i, pico := range []int64{100, 250} {
		number, err := l.Publish(t.Context(), uint32(i), revisionOf("n", pico))
		if err != nil || number != uint32(i+1) {
			t.Fatalf("publish: %d, %v", number, err)
		}
	}
	for _, list := range []*List{l, New(log, schemas.Shards(4))} { // the second has to read
		for number, pico := range map[uint32]int64{1: 100, 2: 250} {
			book, err := list.Book(t.Context(), number)
			if err != nil {
				t.Fatal(err)
			}
			if r := costOfToken(t, book); !r.Priced || r.Cost != schemas.Pico(pico) || r.Revision != number {
				t.Errorf("revision %d rates %+v, want %d", number, r, pico)
			}
		}
		if book, err := list.Current(t.Context()); err != nil || book.Number() != 2 {
			t.Errorf("current: %v, %v", book, err)
		}
		if _, err := list.Book(t.Context(), 3); !errors.Is(err, ErrUnknownRevision) {
			t.Errorf("an unknown revision: %v", err)
		}
	}
	for _, shard := range schemas.Shards(4) {
		wantAnnounced(t, log, shard, "1", "2")
	}
}

func TestPublishRefusesWrongPrices(t *testing.T) {
	log := eventlogtest.Open(t)
	l := New(log, schemas.Shards(1))
	wrong := revisionOf("n", 1)
	wrong.Rows[0].Model = ""
	if _, err := l.Publish(t.Context(), 0, wrong); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("publish: %v", err)
	}
	if book, err := l.Current(t.Context()); err != nil || book.Number() != 0 {
		t.Errorf("current: %v, %v", book, err)
	}
}

// Many who publish on top of the same revision: one of them decides.
func TestPublishersRace(t *testing.T) {
	log := eventlogtest.Open(t)
	const publishers = 8
	errs := make([]error, publishers)
	var all sync.WaitGroup
	for i := range publishers {
		all.Go(func() {
			_, errs[i] = New(log, schemas.Shards(1)).Publish(t.Context(), 0, revisionOf(fmt.Sprint(i), int64(i+1)))
		})
	}
	all.Wait()
	winner := slices.Index(errs, nil)
	for i, err := range errs {
		if i != winner && !errors.Is(err, schemas.ErrConflict) {
			t.Errorf("publisher %d: %v", i, err)
		}
	}
	book, err := New(log, nil).Book(t.Context(), 1)
	if err != nil || winner < 0 {
		t.Fatalf("winner %d: %v", winner, err)
	}
	if note := book.Revision().Note; note != fmt.Sprint(winner) {
		t.Errorf("the revision is %s's, and %d was told so", note, winner)
	}
	wantAnnounced(t, log, schemas.Shard{}, "1")
}

// A crash after the decision and before the announcement: the next start ends it.
func TestCrashBetweenTheSteps(t *testing.T) {
	log := eventlogtest.Open(t)
	crashing := &faultyLog{Log: log, before: failing(schemas.Shard{}.PricesSubject())}
	number, err := New(crashing, schemas.Shards(1)).Publish(t.Context(), 0, revisionOf("n", 7))
	if number != 1 || !errors.Is(err, schemas.ErrUnavailable) {
		t.Fatalf("publish: %d, %v", number, err)
	}
	wantAnnounced(t, log, schemas.Shard{})

	restarted := New(log, schemas.Shards(1))
	for range 2 {
		if err := restarted.Announce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantAnnounced(t, log, schemas.Shard{}, "1")
	// Who publishes next builds on the decided one, whether it priced already or not.
	if _, err := restarted.Publish(t.Context(), 0, revisionOf("m", 8)); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("publish over it: %v", err)
	}
	if number, err := restarted.Publish(t.Context(), 1, revisionOf("m", 8)); number != 2 || err != nil {
		t.Errorf("publish after it: %d, %v", number, err)
	}
	wantAnnounced(t, log, schemas.Shard{}, "1", "2")
}

func TestAppendFailedOrOnlyItsAnswer(t *testing.T) {
	for _, row := range []struct {
		name    string
		fault   func(*faultyLog)
		applied bool
	}{
		{"decision failed", func(f *faultyLog) { f.before = failing(subject(1)) }, false},
		{"decision applied", func(f *faultyLog) { f.after = failing(subject(1)) }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := eventlogtest.Open(t)
			faulty := &faultyLog{Log: log}
			row.fault(faulty)
			number, err := New(faulty, schemas.Shards(1)).Publish(t.Context(), 0, revisionOf("n", 7))
			if row.applied {
				if number != 1 || err != nil {
					t.Errorf("publish: %d, %v", number, err)
				}
				wantAnnounced(t, log, schemas.Shard{}, "1")
				return
			}
			if !errors.Is(err, schemas.ErrUnavailable) {
				t.Errorf("publish: %v", err)
			}
			wantAnnounced(t, log, schemas.Shard{})
			if number, err := New(log, schemas.Shards(1)).Publish(t.Context(), 0, revisionOf("n", 7)); number != 1 || err != nil {
				t.Errorf("publish again: %d, %v", number, err)
			}
		})
	}
}

// The announcement is stored and its answer lost: announcing again adds nothing.
func TestAnnouncementAppliedAnswerLost(t *testing.T) {
	log := eventlogtest.Open(t)
	lost := &faultyLog{Log: log, after: failing(schemas.Shard{}.PricesSubject())}
	l := New(lost, schemas.Shards(1))
	if _, err := l.Publish(t.Context(), 0, revisionOf("n", 7)); !errors.Is(err, schemas.ErrUnavailable) {
		t.Fatalf("publish: %v", err)
	}
	if err := l.Announce(t.Context()); err != nil {
		t.Error(err)
	}
	wantAnnounced(t, log, schemas.Shard{}, "1")
}

// One who found revision 1 to be the newest comes late: revision 2 was published
// and announced in between. Its own number must not bring the old prices back.
func TestAnOlderNumberNeverFollows(t *testing.T) {
	log := eventlogtest.Open(t)
	quick := New(log, schemas.Shards(1))
	late := &faultyLog{Log: log}
	late.before = func(s string) error {
		if s != (schemas.Shard{}).PricesSubject() {
			return nil
		}
		late.before = nil
		_, err := quick.Publish(t.Context(), 1, revisionOf("second", 9))
		return err
	}
	if _, err := New(late, schemas.Shards(1)).Publish(t.Context(), 0, revisionOf("first", 7)); err != nil {
		t.Fatal(err)
	}
	wantAnnounced(t, log, schemas.Shard{}, "2")
	if err := quick.announce(t.Context(), schemas.Shard{}, 1); err != nil { // and one that is later still
		t.Error(err)
	}
	wantAnnounced(t, log, schemas.Shard{}, "2")
}

func TestEnsureIsIdempotent(t *testing.T) {
	log := eventlogtest.Open(t)
	for i := range 3 {
		if err := New(log, schemas.Shards(1)).Ensure(t.Context(), revisionOf(fmt.Sprint(i), 7)); err != nil {
			t.Fatal(err)
		}
	}
	book, err := New(log, nil).Current(t.Context())
	if err != nil || book.Number() != 1 || book.Revision().Note != "0" {
		t.Errorf("current: %v, %v", book, err)
	}
	wantAnnounced(t, log, schemas.Shard{}, "1")
	// Nodes of a cluster that start together.
	fresh := eventlogtest.Open(t)
	var nodes sync.WaitGroup
	for i := range 4 {
		nodes.Go(func() {
			if err := New(fresh, schemas.Shards(1)).Ensure(t.Context(), revisionOf(fmt.Sprint(i), 7)); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		})
	}
	nodes.Wait()
	wantAnnounced(t, fresh, schemas.Shard{}, "1")
}
