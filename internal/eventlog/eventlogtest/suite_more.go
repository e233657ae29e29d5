package eventlogtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

func openBucket(t *testing.T, log *eventlog.Log, cfg eventlog.BucketConfig) *eventlog.Bucket {
	t.Helper()
	b, err := log.Bucket(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open bucket: %v", err)
	}
	return b
}

func bucket(t *testing.T, log *eventlog.Log) {
	ctx := t.Context()
	b := openBucket(t, log, eventlog.BucketConfig{Name: "suite", MaxBytes: 1 << 20})
	key := tenant(t)
	if _, err := b.Get(ctx, key); !errors.Is(err, eventlog.ErrNotFound) {
		t.Fatalf("get of nothing: %v, want %v", err, eventlog.ErrNotFound)
	}
	one, err := b.Create(ctx, key, []byte("one"))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if _, err := b.Create(ctx, key, []byte("again")); !errors.Is(err, schemas.ErrConflict) {
		t.Fatalf("create again: %v, want %v", err, schemas.ErrConflict)
	}
	two, err := b.Update(ctx, key, []byte("two"), one)
	if err != nil || two <= one {
		t.Fatalf("update = %d, %v; want more than %d", two, err, one)
	}
	if _, err := b.Update(ctx, key, []byte("late"), one); !errors.Is(err, schemas.ErrConflict) {
		t.Fatalf("update of an old revision: %v, want %v", err, schemas.ErrConflict)
	}
	awaitValue(t, b, key, "two")
	if _, err := b.Put(ctx, key+"b", []byte("other")); err != nil {
		t.Fatalf("put: %v", err)
	}
	keys, err := b.Keys(ctx)
	if err != nil || !slices.Contains(keys, key) || !slices.Contains(keys, key+"b") {
		t.Fatalf("keys = %v, %v", keys, err)
	}
	for range 2 { // the second finds nothing, which is no error
		if err := b.Delete(ctx, key); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	if _, err := b.Create(ctx, key, []byte("back")); err != nil {
		t.Fatalf("create after delete: %v", err)
	}
	if _, err := b.Put(ctx, "no spaces", nil); !errors.Is(err, schemas.ErrInvalid) {
		t.Fatalf("put under a bad key: %v, want %v", err, schemas.ErrInvalid)
	}
	// The same bucket by another handle, and a full one.
	awaitValue(t, openBucket(t, log, eventlog.BucketConfig{Name: "suite", MaxBytes: 1 << 20}), key, "back")
	for i := range 3 {
		if _, err = b.Put(ctx, fmt.Sprint(key, i), make([]byte, 600<<10)); err != nil {
			break
		}
	}
	if !errors.Is(err, eventlog.ErrFull) {
		t.Fatalf("put beyond the bucket's bytes: %v, want %v", err, eventlog.ErrFull)
	}
}

// awaitValue waits until a read, which a replica may answer, shows a value.
func awaitValue(t *testing.T, b *eventlog.Bucket, key, want string) {
	t.Helper()
	await(t, key+" = "+want, func() bool {
		e, err := b.Get(t.Context(), key)
		return err == nil && string(e.Value) == want
	})
}

func bucketWatch(t *testing.T, log *eventlog.Log) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := openBucket(t, log, eventlog.BucketConfig{Name: "suite_watch"})
	who := tenant(t)
	if _, err := b.Put(ctx, who+".a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	changes, err := b.Watch(ctx, who+".*")
	if err != nil {
		t.Fatalf("watch: %v", err)
	}
	next := func() string {
		select {
		case e := <-changes:
			return fmt.Sprintf("%s=%s %v", e.Key, e.Value, e.Deleted)
		case <-time.After(patience):
			t.Fatal("the watch is silent")
			return ""
		}
	}
	got := []string{next(), next()}
	if _, err := b.Put(ctx, who+".b", []byte("2")); err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(ctx, who+".a"); err != nil {
		t.Fatal(err)
	}
	got = append(got, next(), next())
	want := []string{who + ".a=1 false", "= false", who + ".b=2 false", who + ".a= true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	cancel()
	select {
	case _, open := <-changes:
		if open {
			t.Error("a change after the end")
		}
	case <-time.After(patience):
		t.Error("the watch did not end")
	}
}

func acquire(t *testing.T, log *eventlog.Log, name, holder string, ttl time.Duration) *eventlog.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lease, err := log.Acquire(ctx, name, holder, ttl)
	if err != nil {
		t.Fatalf("acquire: %v", err)
	}
	return lease
}

func leaseExclusion(t *testing.T, log *eventlog.Log) {
	// Long enough that a busy machine renews in time: a holder that is late loses
	// the lease, and rightly.
	const ttl = 4 * time.Second
	name := tenant(t)
	first := acquire(t, log, name, "first", ttl)
	if !first.Valid() || first.Token() == 0 {
		t.Fatalf("valid %v, token %d", first.Valid(), first.Token())
	}
	// Longer than a ttl: without renewals a second holder would get in.
	ctx, cancel := context.WithTimeout(t.Context(), ttl+time.Second)
	defer cancel()
	if _, err := log.Acquire(ctx, name, "second", ttl); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, schemas.ErrUnavailable) {
		t.Fatalf("second holder: %v, want the end of its patience", err)
	}
	if !first.Valid() {
		t.Fatal("the first holder lost the lease while renewing it")
	}
	other := acquire(t, log, name+"other", "first", ttl)
	for _, l := range []*eventlog.Lease{first, other} {
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := log.Acquire(t.Context(), "no.dots", "x", ttl); !errors.Is(err, schemas.ErrInvalid) {
		t.Fatalf("a bad name: %v, want %v", err, schemas.ErrInvalid)
	}
}

func leaseRelease(t *testing.T, log *eventlog.Log) {
	const ttl = 10 * time.Minute // a takeover by expiry would outlast the test
	name := tenant(t)
	first := acquire(t, log, name, "first", ttl)
	second := make(chan *eventlog.Lease)
	go func() {
		lease, err := log.Acquire(t.Context(), name, "second", ttl)
		if err != nil {
			t.Errorf("acquire: %v", err)
		}
		second <- lease
	}()
	if err := first.Release(t.Context()); err != nil {
		t.Fatalf("release: %v", err)
	}
	select {
	case <-first.Lost():
	default:
		t.Error("Lost is not closed after Release")
	}
	if first.Valid() {
		t.Error("valid after Release")
	}
	select {
	case lease := <-second:
		if lease.Token() <= first.Token() {
			t.Errorf("token %d after %d", lease.Token(), first.Token())
		}
		if err := lease.Release(t.Context()); err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("nobody took the released lease")
	}
	if err := first.Release(t.Context()); err != nil {
		t.Errorf("second release: %v", err)
	}
}

// Whoever lost a lease is told, and a holder that died is succeeded once its ttl
// has passed and no sooner.
func leaseTakeover(t *testing.T, log *eventlog.Log) {
	const ttl = time.Second
	name := tenant(t)
	first := acquire(t, log, name, "first", ttl)
	died := usurp(t, log, name)
	select {
	case <-first.Lost():
	case <-time.After(patience):
		t.Fatal("the first holder was not told")
	}
	if first.Valid() {
		t.Error("valid after Lost")
	}
	second := acquire(t, log, name, "second", ttl)
	if waited := time.Since(died); waited < ttl {
		t.Errorf("taken over after %s, want at least %s", waited, ttl)
	}
	if second.Token() <= first.Token() {
		t.Errorf("token %d after %d", second.Token(), first.Token())
	}
	if err := first.Release(t.Context()); err != nil {
		t.Errorf("release of a lost lease: %v", err)
	}
	if !second.Valid() {
		t.Error("the release of a lost lease ended the next one")
	}
	if err := second.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// usurp writes what a holder leaves that takes a held name and dies at once.
func usurp(t *testing.T, log *eventlog.Log, name string) (died time.Time) {
	t.Helper()
	leases := openBucket(t, log, eventlog.BucketConfig{Name: "LEASES", Description: "Who holds which role."})
	awaitKey(t, leases, name)
	e, err := leases.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(e.Value, &record); err != nil {
		t.Fatal(err)
	}
	record["nonce"] = "another"
	value, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	died = time.Now()
	if _, err := leases.Put(t.Context(), name, value); err != nil {
		t.Fatal(err)
	}
	return died
}

// Who tries for a lease gives way to a holder that renews it, and succeeds one that is
// silent for its ttl, in one try.
func leaseTried(t *testing.T, log *eventlog.Log) {
	const ttl = 4 * time.Second
	name := tenant(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	first := acquire(t, log, name, "first", ttl)
	began := time.Now()
	if _, err := log.TryAcquire(ctx, name, "second", ttl); !errors.Is(err, schemas.ErrConflict) {
		t.Fatalf("tried for a lease that is held: %v, want %v", err, schemas.ErrConflict)
	}
	if waited := time.Since(began); waited >= ttl {
		t.Errorf("a holder that lives was listened to for %s, and renews within %s", waited, ttl/4)
	}
	if !first.Valid() {
		t.Error("the holder lost the lease to who tried")
	}
	died := usurp(t, log, name)
	second, err := log.TryAcquire(ctx, name, "second", ttl)
	if err != nil {
		t.Fatalf("tried for the lease of a holder that died: %v", err)
	}
	if waited := time.Since(died); waited < ttl {
		t.Errorf("taken over after %s, want at least %s", waited, ttl)
	}
	if err := errors.Join(second.Release(t.Context()), first.Release(t.Context())); err != nil {
		t.Error(err)
	}
	free, err := log.TryAcquire(ctx, name, "third", 10*time.Minute)
	if err != nil {
		t.Fatalf("tried for a lease that was released: %v", err)
	}
	if err := free.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// awaitKey waits until a read, which a replica may answer, shows a key.
func awaitKey(t *testing.T, b *eventlog.Bucket, key string) {
	t.Helper()
	await(t, "key "+key, func() bool {
		_, err := b.Get(t.Context(), key)
		return err == nil
	})
}

// await polls until there is true.
func await(t testing.TB, what string, there func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !there(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %s", what, patience)
		}
	}
}

func nudges(t *testing.T, log *eventlog.Log) {
	got := make(chan string, 10)
	subject := tenant(t)
	unsubscribe, err := log.Subscribe(subject+".*", func(data []byte) { got <- string(data) })
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Notify(subject+".x", []byte("look")); err != nil {
		t.Fatal(err)
	}
	select {
	case data := <-got:
		if data != "look" {
			t.Fatalf("got %q", data)
		}
	case <-time.After(patience):
		t.Fatal("no nudge")
	}
	unsubscribe()
	unsubscribe()
}

func healthy(t *testing.T, log *eventlog.Log) {
	if err := log.Healthy(t.Context()); err != nil {
		t.Fatalf("healthy: %v", err)
	}
	before, err := log.Space(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, log, eventlog.Message{Subject: schemas.Shard{}.EnvelopeSubject(tenant(t)), Data: make([]byte, 10000)})
	after, err := log.Space(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.UsageBytes - before.UsageBytes; grown < 10000 || grown > 11000 {
		t.Errorf("10000 bytes made the stream grow by %d", grown)
	}
	if after.UsageBytesMax <= 0 || after.DiskFree == 0 {
		t.Errorf("space = %+v", after)
	}
}

func closedReader(t *testing.T, log *eventlog.Log) {
	r := mustRead(t, log, eventlog.ReadConfig{Stream: schemas.StreamUsage, From: state(t, log, schemas.StreamUsage).Last + 1})
	ended := make(chan error)
	go func() {
		_, err := r.Next(t.Context(), 1, 1, patience)
		ended <- err
	}()
	r.Close()
	r.Close()
	if err := <-ended; !errors.Is(err, eventlog.ErrClosed) {
		t.Fatalf("next after close: %v, want %v", err, eventlog.ErrClosed)
	}
}

func full(t *testing.T, open func(*testing.T, eventlog.Config) *eventlog.Log) {
	used := int64(state(t, open(t, eventlog.Config{}), schemas.StreamUsage).Bytes)
	log := open(t, eventlog.Config{UsageMaxBytes: used + 256<<10})
	subject := schemas.Shard{}.EnvelopeSubject(tenant(t))
	var first uint64
	var err error
	for range 10 {
		var ack eventlog.Ack
		if ack, err = log.Append(t.Context(), eventlog.Message{Subject: subject, Data: make([]byte, 64<<10)}); err != nil {
			break
		}
		if first == 0 {
			first = ack.Seq
		}
	}
	if !errors.Is(err, eventlog.ErrFull) || !errors.Is(err, schemas.ErrUnavailable) {
		t.Fatalf("append to a full log: %v, want %v", err, eventlog.ErrFull)
	}
	future, err := log.AppendAsync(t.Context(), eventlog.Message{Subject: subject, Data: make([]byte, 64<<10)})
	if err == nil {
		_, err = future.Wait(t.Context())
	}
	if !errors.Is(err, eventlog.ErrFull) {
		t.Fatalf("append async to a full log: %v, want %v", err, eventlog.ErrFull)
	}
	// What was there stays, and other streams go on.
	if _, err := log.Get(t.Context(), schemas.StreamUsage, first); err != nil {
		t.Fatalf("the first record: %v", err)
	}
	mustAppend(t, log, eventlog.Message{Subject: "control." + tenant(t), Data: []byte("x")})
	// A higher limit, as after an operator added disk, lets messages in again.
	log = open(t, eventlog.Config{UsageMaxBytes: used + 1<<30})
	if ack, err := log.Append(t.Context(), eventlog.Message{Subject: subject, Data: []byte("again")}); err != nil {
		t.Fatalf("append after the limit was raised: %+v, %v", ack, err)
	}
}

// trim: what is old enough and counted goes, nothing else, whatever its place.
func trim(t *testing.T, log *eventlog.Log) {
	subject := schemas.DirectSubject(tenant(t))
	var seqs []uint64
	for i := range 5 {
		seqs = append(seqs, mustAppend(t, log, eventlog.Message{Subject: subject, Data: []byte{byte(i)}}).Seq)
	}
	oldest := func(want uint64, age time.Duration, upTo uint64) {
		t.Helper()
		first, err := log.Trim(t.Context(), schemas.StreamUsage, age, upTo)
		if err != nil || first != want {
			t.Errorf("trim of what is older than %s, up to %d: the oldest is %d, want %d; %v", age, upTo, first, want, err)
		}
		if got := state(t, log, schemas.StreamUsage).First; got != want {
			t.Errorf("the stream begins at %d, want %d", got, want)
		}
	}
	begin := state(t, log, schemas.StreamUsage).First
	oldest(begin, time.Hour, seqs[4])
	oldest(begin, 0, begin-1)
	oldest(seqs[2], 0, seqs[1])
	oldest(seqs[2], 0, seqs[0])
	oldest(seqs[4], 0, 1<<62) // the newest one stays: it tells the time
	if ack := mustAppend(t, log, eventlog.Message{Subject: subject}); ack.Seq != seqs[4]+1 {
		t.Errorf("after a trim the next position is %d, want %d", ack.Seq, seqs[4]+1)
	}
}
