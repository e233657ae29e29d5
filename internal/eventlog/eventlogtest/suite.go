package eventlogtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// patience bounds every wait of the suite. It is long so that a busy machine does
// not fail it; nothing waits for it to pass.
const patience = 30 * time.Second

// Run checks that a log keeps the promises of package eventlog. open returns a
// log with the given settings on the same store each time, and may close the one
// it returned before; so each case uses subjects of its own and none counts on
// positions to start at 1.
func Run(t *testing.T, open func(t *testing.T, cfg eventlog.Config) *eventlog.Log) {
	cases := []struct {
		name string
		run  func(t *testing.T, log *eventlog.Log)
	}{
		{"append and read in order", appendAndRead},
		{"append async in order", appendAsync},
		{"same id same content once", duplicateOnce},
		{"same id other content twice", duplicateDiffers},
		{"too large is invalid", tooLarge},
		{"read from the middle with filter", readFromMiddle},
		{"next waits and wakes", nextWaits},
		{"next keeps to its limits", nextLimits},
		{"a position that is gone", truncated},
		{"compare and set", compareAndSet},
		{"get, last and state", getLastState},
		{"trim the oldest", trim},
		{"decide once", decideOnce},
		{"bucket", bucket},
		{"bucket watch", bucketWatch},
		{"one holder of a lease", leaseExclusion},
		{"released lease passes on", leaseRelease},
		{"lease lost and taken over", leaseTakeover},
		{"lease tried for", leaseTried},
		{"nudges", nudges},
		{"healthy and space", healthy},
		{"closed reader", closedReader},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t, eventlog.Config{})) })
	}
	t.Run("full", func(t *testing.T) { full(t, open) })
}

// tenant is a subject token that no other case uses.
func tenant(t *testing.T) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("/ .*>#=", r) {
			return '_'
		}
		return r
	}, t.Name()) + fmt.Sprint(time.Now().UnixNano())
}

func mustAppend(t *testing.T, log *eventlog.Log, m eventlog.Message) eventlog.Ack {
	t.Helper()
	ack, err := log.Append(t.Context(), m)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return ack
}

func mustRead(t *testing.T, log *eventlog.Log, cfg eventlog.ReadConfig) *eventlog.Reader {
	t.Helper()
	r, err := log.Read(t.Context(), cfg)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	t.Cleanup(r.Close)
	return r
}

// collect reads n records and fails if more time than patience passes.
func collect(t *testing.T, r *eventlog.Reader, n int) []eventlog.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out []eventlog.Record
	for len(out) < n {
		recs, err := r.Next(ctx, n-len(out), 1<<30, patience)
		if err != nil && !errors.Is(err, schemas.ErrUnavailable) {
			t.Fatalf("next after %d of %d records: %v", len(out), n, err)
		}
		out = append(out, recs...)
	}
	return out
}

func state(t *testing.T, log *eventlog.Log, stream string) eventlog.State {
	t.Helper()
	s, err := log.State(t.Context(), stream)
	if err != nil {
		t.Fatalf("state: %v", err)
	}
	return s
}

func appendAndRead(t *testing.T, log *eventlog.Log) {
	subject := schemas.Shard{}.EnvelopeSubject(tenant(t))
	before := time.Now().Add(-time.Second)
	var want []eventlog.Record
	for i := range 50 {
		data := []byte(fmt.Sprintf("message %d", i))
		ack := mustAppend(t, log, eventlog.Message{Subject: subject, ID: fmt.Sprint(subject, i), Data: data})
		if ack.Duplicate || ack.Stream != schemas.StreamUsage {
			t.Fatalf("ack = %+v", ack)
		}
		want = append(want, eventlog.Record{Subject: subject, Seq: ack.Seq, Data: data})
	}
	r := mustRead(t, log, eventlog.ReadConfig{Stream: schemas.StreamUsage, From: want[0].Seq})
	got := collect(t, r, len(want))
	for i := range got {
		if got[i].Time.Before(before) || got[i].Time.After(time.Now().Add(time.Second)) || got[i].Time.Location() != time.UTC {
			t.Errorf("record %d: time %s, want about now in UTC", i, got[i].Time)
		}
		got[i].Time = time.Time{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func appendAsync(t *testing.T, log *eventlog.Log) {
	const n = 2000
	subject := schemas.Shard{}.EnvelopeSubject(tenant(t))
	first := state(t, log, schemas.StreamUsage).Last + 1
	futures := make([]*eventlog.Future, n)
	for i := range futures {
		var err error
		futures[i], err = log.AppendAsync(t.Context(), eventlog.Message{Subject: subject, Data: []byte(fmt.Sprint(i))})
		if err != nil {
			t.Fatalf("append async %d: %v", i, err)
		}
	}
	for i, f := range futures {
		ack, err := f.Wait(t.Context())
		if err != nil || ack.Seq != first+uint64(i) {
			t.Fatalf("ack %d = %+v, %v; want position %d", i, ack, err, first+uint64(i))
		}
	}
	r := mustRead(t, log, eventlog.ReadConfig{Stream: schemas.StreamUsage, From: first})
	for i, rec := range collect(t, r, n) {
		if string(rec.Data) != fmt.Sprint(i) {
			t.Fatalf("record %d holds %q", i, rec.Data)
		}
	}
}

func duplicateOnce(t *testing.T, log *eventlog.Log) {
	m := eventlog.Message{Subject: schemas.Shard{}.EnvelopeSubject(tenant(t)), ID: tenant(t), Data: []byte("once")}
	first := mustAppend(t, log, m)
	again := mustAppend(t, log, m)
	want := eventlog.Ack{Stream: schemas.StreamUsage, Seq: first.Seq, Duplicate: true}
	if first.Duplicate || again != want {
		t.Fatalf("acks = %+v, %+v; want new, then %+v", first, again, want)
	}
	future, err := log.AppendAsync(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if ack, err := future.Wait(t.Context()); err != nil || ack != want {
		t.Fatalf("async ack = %+v, %v; want %+v", ack, err, want)
	}
	if last := state(t, log, schemas.StreamUsage).Last; last != first.Seq {
		t.Fatalf("the stream ends at %d, want %d", last, first.Seq)
	}
}

// The broker looks at the id alone. A message that only shares the id of another
// must not be lost.
func duplicateDiffers(t *testing.T, log *eventlog.Log) {
	who := tenant(t)
	base := eventlog.Message{Subject: schemas.Shard{}.EnvelopeSubject(who), ID: who, Data: []byte("one")}
	first := mustAppend(t, log, base)
	content, subject := base, base
	content.Data = []byte("two")
	subject.Subject = schemas.Shard{}.EnvelopeSubject(who + "b")
	for i, m := range []eventlog.Message{content, subject} {
		ack := mustAppend(t, log, m)
		if ack.Duplicate || ack.Seq != first.Seq+1+uint64(i) {
			t.Fatalf("ack = %+v, want stored at %d", ack, first.Seq+1+uint64(i))
		}
	}
}

func tooLarge(t *testing.T, log *eventlog.Log) {
	subject := schemas.Shard{}.EnvelopeSubject(tenant(t))
	last := state(t, log, schemas.StreamUsage).Last
	_, err := log.Append(t.Context(), eventlog.Message{Subject: subject, Data: make([]byte, eventlog.MessageBytesMax)})
	if !errors.Is(err, schemas.ErrInvalid) {
		t.Fatalf("append of too much: %v, want %v", err, schemas.ErrInvalid)
	}
	_, err = log.AppendAsync(t.Context(), eventlog.Message{Subject: subject, Data: make([]byte, 3<<20)})
	if !errors.Is(err, schemas.ErrInvalid) {
		t.Fatalf("append async of too much: %v, want %v", err, schemas.ErrInvalid)
	}
	ack := mustAppend(t, log, eventlog.Message{Subject: subject, Data: make([]byte, 1<<20+200<<10)})
	if ack.Seq != last+1 {
		t.Fatalf("position %d, want %d", ack.Seq, last+1)
	}
	if rec, err := log.Get(t.Context(), schemas.StreamUsage, ack.Seq); err != nil || len(rec.Data) != 1<<20+200<<10 {
		t.Fatalf("got %d bytes, %v", len(rec.Data), err)
	}
}

func readFromMiddle(t *testing.T, log *eventlog.Log) {
	who := tenant(t)
	var seqs []uint64
	for i := range 20 {
		subject := schemas.Shard{ID: uint32(i % 2)}.EnvelopeSubject(who)
		seqs = append(seqs, mustAppend(t, log, eventlog.Message{Subject: subject, Data: []byte(fmt.Sprint(i))}).Seq)
	}
	r := mustRead(t, log, eventlog.ReadConfig{
		Stream: schemas.StreamUsage, From: seqs[11], Subjects: []string{"envelope.1.*", "prices.*"},
	})
	var got []string
	for _, rec := range collect(t, r, 5) {
		got = append(got, string(rec.Data))
	}
	if want := []string{"11", "13", "15", "17", "19"}; !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if recs, err := r.Next(t.Context(), 10, 1<<20, time.Millisecond); len(recs) != 0 || err != nil {
		t.Fatalf("at the end: %v, %v; want nothing", recs, err)
	}
}

func nextWaits(t *testing.T, log *eventlog.Log) {
	subject := schemas.Shard{}.EnvelopeSubject(tenant(t))
	r := mustRead(t, log, eventlog.ReadConfig{Stream: schemas.StreamUsage, From: state(t, log, schemas.StreamUsage).Last + 1})
	if recs, err := r.Next(t.Context(), 1, 1<<20, 0); len(recs) != 0 || err != nil {
		t.Fatalf("at the end: %v, %v; want nothing", recs, err)
	}
	for i := range 100 {
		future, err := log.AppendAsync(t.Context(), eventlog.Message{Subject: subject, Data: []byte(fmt.Sprint(i))})
		if err != nil {
			t.Fatal(err)
		}
		if got := collect(t, r, 1)[0]; string(got.Data) != fmt.Sprint(i) {
			t.Fatalf("record %d holds %q", i, got.Data)
		}
		if _, err := future.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx, 1, 1<<20, patience); !errors.Is(err, context.Canceled) {
		t.Fatalf("next with a canceled context: %v", err)
	}
}

func nextLimits(t *testing.T, log *eventlog.Log) {
	subject := schemas.Shard{}.EnvelopeSubject(tenant(t))
	first := state(t, log, schemas.StreamUsage).Last + 1
	for range 10 {
		mustAppend(t, log, eventlog.Message{Subject: subject, Data: make([]byte, 1000)})
	}
	r := mustRead(t, log, eventlog.ReadConfig{Stream: schemas.StreamUsage, From: first})
	for got := 0; got < 10; {
		recs, err := r.Next(t.Context(), 3, 2500, patience)
		if err != nil || len(recs) < 1 || len(recs) > 2 {
			t.Fatalf("next: %d records, %v; want 1 or 2 of 1000 bytes within 2500", len(recs), err)
		}
		got += len(recs)
	}
	big := mustAppend(t, log, eventlog.Message{Subject: subject, Data: make([]byte, 1<<20)})
	recs, err := r.Next(t.Context(), 3, 10, patience)
	if err != nil || len(recs) != 1 || recs[0].Seq != big.Seq {
		t.Fatalf("next: %d records, %v; want the one that is larger than the limit", len(recs), err)
	}
}

func truncated(t *testing.T, log *eventlog.Log) {
	subject := schemas.Shard{}.EnvelopeSubject(tenant(t))
	last := mustAppend(t, log, eventlog.Message{Subject: subject, Data: []byte("x")}).Seq
	_, err := log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage, From: last + 2})
	if !errors.Is(err, eventlog.ErrTruncated) {
		t.Errorf("read beyond the end: %v, want %v", err, eventlog.ErrTruncated)
	}
	_, err = log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage, From: last, Epoch: 1})
	if !errors.Is(err, eventlog.ErrTruncated) {
		t.Errorf("read of another epoch: %v, want %v", err, eventlog.ErrTruncated)
	}
	_, err = log.Read(t.Context(), eventlog.ReadConfig{Stream: "NOTHING", From: 1})
	if !errors.Is(err, eventlog.ErrNotFound) {
		t.Errorf("read of no stream: %v, want %v", err, eventlog.ErrNotFound)
	}

	control := "control." + tenant(t)
	seq := mustAppend(t, log, eventlog.Message{Subject: control, Data: []byte("x")}).Seq
	after := mustAppend(t, log, eventlog.Message{Subject: control + "b", Data: []byte("y")}).Seq
	if err := log.Purge(t.Context(), schemas.StreamControl, "control.>"); err != nil {
		t.Fatal(err)
	}
	_, err = log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamControl, From: seq})
	if !errors.Is(err, eventlog.ErrTruncated) {
		t.Errorf("read of what was purged: %v, want %v", err, eventlog.ErrTruncated)
	}
	s := state(t, log, schemas.StreamControl)
	if s.First != after+1 || s.Last != after || s.Messages != 0 {
		t.Errorf("state after the purge = %+v, want empty after %d", s, after)
	}
	mustRead(t, log, eventlog.ReadConfig{Stream: schemas.StreamControl})
}

func compareAndSet(t *testing.T, log *eventlog.Log) {
	subject := "control." + tenant(t)
	set := func(expect uint64) (eventlog.Ack, error) {
		return log.Append(t.Context(), eventlog.Message{Subject: subject, Data: []byte("x"), ExpectLastSubjectSeq: &expect})
	}
	first, err := set(0)
	if err != nil {
		t.Fatalf("set the first: %v", err)
	}
	if _, err := set(0); !errors.Is(err, schemas.ErrConflict) {
		t.Fatalf("set the first again: %v, want %v", err, schemas.ErrConflict)
	}
	second, err := set(first.Seq)
	if err != nil {
		t.Fatalf("replace the first: %v", err)
	}
	if _, err := set(first.Seq); !errors.Is(err, schemas.ErrConflict) {
		t.Fatalf("replace the first again: %v, want %v", err, schemas.ErrConflict)
	}
	// Of many that see the same last record, one wins.
	var won atomic.Int32
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			switch _, err := set(second.Seq); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, schemas.ErrConflict):
				t.Errorf("set: %v", err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d writers won, want 1", won.Load())
	}
}

func getLastState(t *testing.T, log *eventlog.Log) {
	subject := "control." + tenant(t)
	if _, ok, err := log.LastForSubject(t.Context(), schemas.StreamControl, subject); ok || err != nil {
		t.Fatalf("last of nothing: %v, %v", ok, err)
	}
	before := state(t, log, schemas.StreamControl)
	one := mustAppend(t, log, eventlog.Message{Subject: subject, Data: []byte("one")})
	two := mustAppend(t, log, eventlog.Message{Subject: subject, Data: []byte("two")})
	rec, err := log.Get(t.Context(), schemas.StreamControl, one.Seq)
	if err != nil || string(rec.Data) != "one" || rec.Seq != one.Seq || rec.Subject != subject || rec.Time.IsZero() {
		t.Fatalf("get = %+v, %v", rec, err)
	}
	rec, ok, err := log.LastForSubject(t.Context(), schemas.StreamControl, subject)
	if err != nil || !ok || string(rec.Data) != "two" || rec.Seq != two.Seq {
		t.Fatalf("last = %+v, %v, %v", rec, ok, err)
	}
	for _, seq := range []uint64{0, two.Seq + 1} {
		if _, err := log.Get(t.Context(), schemas.StreamControl, seq); !errors.Is(err, eventlog.ErrNotFound) {
			t.Errorf("get %d: %v, want %v", seq, err, eventlog.ErrNotFound)
		}
	}
	after := state(t, log, schemas.StreamControl)
	if after.Last != two.Seq || after.Messages != before.Messages+2 || after.Bytes <= before.Bytes ||
		after.Epoch == 0 || after.Epoch != before.Epoch || !after.Created.Equal(before.Created) {
		t.Fatalf("state before %+v, after %+v", before, after)
	}
	if _, err := log.State(t.Context(), "NOTHING"); !errors.Is(err, eventlog.ErrNotFound) {
		t.Fatalf("state of no stream: %v, want %v", err, eventlog.ErrNotFound)
	}
}

func decideOnce(t *testing.T, log *eventlog.Log) {
	const deciders, facts = 20, 5
	for fact := range facts {
		subject := fmt.Sprintf("decision.%s.%d", tenant(t), fact)
		var yes atomic.Int32
		var group sync.WaitGroup
		recs := make([]eventlog.Record, deciders)
		winner := atomic.Int32{}
		for i := range deciders {
			group.Go(func() {
				decided, rec, err := log.Decide(t.Context(), subject, []byte(fmt.Sprint(i)))
				if err != nil {
					t.Errorf("decide: %v", err)
				}
				if decided {
					yes.Add(1)
					winner.Store(int32(i))
				}
				recs[i] = rec
			})
		}
		group.Wait()
		if yes.Load() != 1 {
			t.Fatalf("%d of %d decided, want 1", yes.Load(), deciders)
		}
		for i, rec := range recs {
			if string(rec.Data) != fmt.Sprint(winner.Load()) || rec.Subject != subject || rec.Seq != recs[0].Seq {
				t.Fatalf("decider %d sees %+v, but %d decided", i, rec, winner.Load())
			}
		}
	}
	// The stream itself refuses a second record, whoever writes it.
	subject := "decision." + tenant(t)
	mustAppend(t, log, eventlog.Message{Subject: subject, Data: []byte("1")})
	if _, err := log.Append(t.Context(), eventlog.Message{Subject: subject, Data: []byte("2")}); !errors.Is(err, schemas.ErrConflict) {
		t.Fatalf("a second record: %v, want %v", err, schemas.ErrConflict)
	}
}
