package ingest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentik-os/panda/schemas"
	"github.com/google/go-cmp/cmp"
)

// memoryLog is a log in memory.
type memoryLog struct{ records []Record }

func (l *memoryLog) append(subject string, data []byte) {
	l.records = append(l.records, Record{
		Subject: subject, Seq: uint64(len(l.records) + 1), Data: data,
		Time: time.UnixMilli(1_770_000_000_000).Add(time.Duration(len(l.records)) * time.Second),
	})
}

func (l *memoryLog) End(context.Context) (uint64, uint64, error) {
	return uint64(len(l.records)), 77, nil
}

func (l *memoryLog) Read(_ context.Context, from uint64) (LogReader, error) {
	return &memoryReader{log: l, next: from}, nil
}

type memoryReader struct {
	log  *memoryLog
	next uint64
}

func (r *memoryReader) Next(ctx context.Context, limit int, wait time.Duration) ([]Record, error) {
	if r.next > uint64(len(r.log.records)) {
		sleep(ctx, wait)
		return nil, nil
	}
	records := r.log.records[r.next-1:]
	records = records[:min(limit, len(records))]
	r.next += uint64(len(records))
	return slices.Clone(records), nil
}

func (r *memoryReader) Close() {}

// memoryStore keeps what is written, copies and all, and fails on demand.
type memoryStore struct {
	mu      sync.Mutex // rows, keys and rejects are written side by side
	rows    []schemas.Accepted
	keys    []NewKey
	rejects map[string]string // place -> reason, "conflict" for conflicts
	ledger  []LedgerRow
	claim   Claim
	takers  uint64
	// fault is asked before and after each write; an error from before means the
	// write did not happen, one from after that it did and its answer was lost.
	fault func(boundary string) error
}

func (s *memoryStore) do(name string, write func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fault("before " + name); err != nil {
		return err
	}
	if err := write(); err != nil {
		return err
	}
	return s.fault("after " + name)
}

func (s *memoryStore) Head(context.Context, uint32) (Head, error) {
	h := Head{Keys: uint64(len(s.keys))}
	for _, row := range s.ledger {
		if row.To > h.To {
			h.To, h.Epoch, h.PriceRevision, h.CommittedAt = row.To, row.Epoch, row.PriceRevision, row.CommittedAt
		}
	}
	return h, nil
}

func (s *memoryStore) Keys(_ context.Context, after, upTo uint64, add func(*Key)) error {
	for _, k := range s.keys {
		if k.Seq > after && k.Seq <= upTo {
			add(&k.Key)
		}
	}
	return nil
}

func (s *memoryStore) Known(_ context.Context, keys []Key, upTo uint64) (map[Key]KeyRow, error) {
	found := map[Key]KeyRow{}
	for _, k := range s.keys {
		if k.Seq <= upTo && slices.Contains(keys, k.Key) {
			found[k.Key] = k.KeyRow
		}
	}
	return found, nil
}

func (s *memoryStore) Accepted(_ context.Context, refs []TenantRef, upTo uint64) ([]schemas.Accepted, error) {
	var found []schemas.Accepted
	for _, r := range s.rows {
		if r.Seq <= upTo && slices.Contains(refs, TenantRef{r.Tenant, schemas.EventRef{Source: r.Event.Source, ID: r.Event.ID}}) {
			found = append(found, r)
		}
	}
	return found, nil
}

func (s *memoryStore) WriteRows(_ context.Context, rows []schemas.Accepted) error {
	return s.do("rows", func() error { s.rows = append(s.rows, rows...); return nil })
}

func (s *memoryStore) WriteKeys(_ context.Context, keys []NewKey) error {
	return s.do("keys", func() error { s.keys = append(s.keys, keys...); return nil })
}

func (s *memoryStore) WriteRejects(_ context.Context, conflicts []Conflict, quarantined []Quarantined) error {
	return s.do("rejects", func() error {
		for _, c := range conflicts {
			s.rejects[fmt.Sprint(c.Seq, "-", c.Idx)] = "conflict"
		}
		for _, q := range quarantined {
			s.rejects[fmt.Sprint(q.Seq, "-", q.Idx)] = q.Reason
		}
		return nil
	})
}

func (s *memoryStore) Commit(_ context.Context, row *LedgerRow) error {
	return s.do("commit", func() error { s.ledger = append(s.ledger, *row); return nil })
}

// collapsed returns the rows as ReplacingMergeTree reads them. Two rows with one
// identity must be exact copies; else the verdict was not a function of the log.
func (s *memoryStore) collapsed(t *testing.T) map[string]schemas.Accepted {
	t.Helper()
	rows := map[string]schemas.Accepted{}
	for _, r := range s.rows {
		id := r.Tenant + "|" + r.Event.Source + "|" + r.Event.ID
		if first, ok := rows[id]; ok {
			if diff := cmp.Diff(first, r, cmp.AllowUnexported(schemas.Money{})); diff != "" {
				t.Fatalf("%s was written twice, differently:\n%s", id, diff)
			}
		}
		rows[id] = r
	}
	return rows
}

// memoryClaims keeps the claim that a store's writers share.
type memoryClaims struct {
	store *memoryStore
	taken uint64
}

func (c *memoryClaims) Take(context.Context) (Claim, error) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	c.store.takers++
	c.taken = c.store.takers
	return c.store.claim, nil
}

func (c *memoryClaims) Put(_ context.Context, claim Claim) error {
	return c.store.do("claim", func() error {
		if c.taken != c.store.takers {
			return schemas.ErrConflict
		}
		c.store.claim = claim
		return nil
	})
}

type freeLease struct{ lost chan struct{} }

func (freeLease) Valid() bool             { return true }
func (freeLease) Token() uint64           { return 1 }
func (l freeLease) Lost() <-chan struct{} { return l.lost }
func (freeLease) Release()                {}

// memoryPrices has two revisions: the second one doubles the price.
type memoryPrices struct{ books []*schemas.PriceBook }

func newMemoryPrices(t testing.TB) *memoryPrices {
	t.Helper()
	p := &memoryPrices{}
	for n := range uint32(3) {
		rev := schemas.PriceRevision{Number: n}
		if n > 0 {
			row := schemas.PriceRow{Provider: "p", Model: "m", Match: []schemas.MatchRule{{Dated: "m"}}}
			row.Tokens.Set(schemas.Input, int64(n)*1000)
			row.Tokens.Set(schemas.Output, int64(n)*5000)
			rev.Rows = []schemas.PriceRow{row}
		}
		book, err := schemas.BuildPriceBook(rev)
		if err != nil {
			t.Fatal(err)
		}
		p.books = append(p.books, book)
	}
	return p
}

func (p *memoryPrices) Book(_ context.Context, n uint32) (*schemas.PriceBook, error) {
	return p.books[n], nil
}

func newTestWriter(t *testing.T, log Log, store Store) *Writer {
	t.Helper()
	memory, ok := store.(*memoryStore)
	if !ok {
		memory = &memoryStore{fault: func(string) error { return nil }} // keeps the claim alone
	}
	return NewWriter(WriterConfig{
		Key: []byte("k"), BatchRowsMax: 7, BatchRecordsMax: 3, Claims: &memoryClaims{store: memory},
		Acquire: func(context.Context) (Lease, error) { return freeLease{}, nil },
	}, log, store, newMemoryPrices(t))
}

// drain runs the writer until the ledger has reached the end of the log.
func drain(t *testing.T, w *Writer, log *memoryLog, store *memoryStore) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	for {
		head, _ := store.Head(ctx, 0)
		if head.To == uint64(len(log.records)) {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("writer ended: %v", err)
		case <-time.After(time.Millisecond): // virtual time
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("writer: %v", err)
	}
}

// fillLog writes messages in which ids repeat often: within a message, between
// messages, with the same and with other content, with voids of events that
// exist, do not exist yet, and are void already, and with poison among them.
func fillLog(log *memoryLog, rng *rand.Rand) {
	log.append(schemas.Shard{}.PricesSubject(), []byte("1"))
	for range 40 {
		tenant := []string{"ten_a", "ten_b"}[rng.IntN(2)]
		switch rng.IntN(12) {
		case 0:
			log.append(schemas.DirectSubject(tenant), []byte("{not json"))
			continue
		case 1:
			log.append(schemas.Shard{}.EnvelopeSubject(tenant), []byte("PEforged envelope of somebody"))
			continue
		case 2:
			log.append(schemas.Shard{}.PricesSubject(), []byte("2"))
			continue
		}
		var events []schemas.Event
		for range 1 + rng.IntN(5) {
			e := schemas.Event{
				ID: fmt.Sprint("e", rng.IntN(25)), Source: "/s", Type: schemas.TypeLLMCall, Model: "m-20250101",
				Time: 1_769_990_000_000 + int64(rng.IntN(3))*3_600_000, Department: "d",
				Tokens: schemas.Tokens{schemas.Input: int64(10 * (1 + rng.IntN(2)))},
			}
			if rng.IntN(4) == 0 {
				e = schemas.Event{
					ID: fmt.Sprint("v", rng.IntN(10)), Source: "/s", Type: schemas.TypeVoid, Time: e.Time,
					Corrects: schemas.EventRef{Source: "/s", ID: []string{"e", "e", "e", "v"}[rng.IntN(4)] + fmt.Sprint(rng.IntN(10))},
				}
			}
			events = append(events, e)
		}
		log.append(schemas.Shard{}.EnvelopeSubject(tenant), EncodeEnvelope(nil, tenant, events, 0, []byte("k")))
	}
}

// oracle recounts a log in the plainest way: one map, one event after the other.
type oracle struct {
	counted    map[string]int64 // identity -> input tokens
	duplicates uint64
	conflicts  uint64
	rest       uint64 // quarantined
}

func recount(log *memoryLog) oracle {
	o := oracle{counted: map[string]int64{}}
	content := map[string]uint64{}
	voided := map[string]bool{}
	isVoid := map[string]bool{}
	for _, r := range log.records {
		kind, tenant := schemas.ParseUsageSubject(r.Subject)
		if kind == schemas.SubjectPrices {
			continue
		}
		events, _, err := DecodeEnvelope(r.Data, tenant, []byte("k"))
		if err != nil {
			o.rest++
			continue
		}
		for _, e := range events {
			id, target := tenant+"|/s|"+e.ID, tenant+"|/s|"+e.Corrects.ID
			switch seen, ok := content[id]; {
			case ok && seen == ContentOf(&e):
				o.duplicates++
				continue
			case ok:
				o.conflicts++
				continue
			}
			if e.Type == schemas.TypeVoid {
				if _, exists := content[target]; !exists || voided[target] || isVoid[target] {
					o.rest++
					continue
				}
				voided[target], isVoid[id] = true, true
				content[id], o.counted[id] = ContentOf(&e), -o.counted[target]
				continue
			}
			content[id], o.counted[id] = ContentOf(&e), e.Tokens[schemas.Input]
		}
	}
	return o
}

// checkStore holds the store against the oracle and the ledger against itself.
func checkStore(t *testing.T, store *memoryStore, want oracle) {
	t.Helper()
	got := map[string]int64{}
	for id, r := range store.collapsed(t) {
		got[id] = r.Event.Tokens[schemas.Input]
	}
	if diff := cmp.Diff(want.counted, got); diff != "" {
		t.Fatalf("counted (-want +got):\n%s", diff)
	}
	var duplicates, conflicts, quarantined, accepted, hash, next uint64
	ledger := map[uint64]LedgerRow{}
	for _, row := range store.ledger {
		ledger[row.From] = row
	}
	for _, from := range slices.Sorted(maps.Keys(ledger)) {
		row := ledger[from]
		if from != next+1 {
			t.Fatalf("ledger: range begins at %d after %d", from, next)
		}
		next = row.To
		duplicates, conflicts, quarantined = duplicates+row.Duplicates, conflicts+row.Conflicts, quarantined+row.Quarantined
		accepted, hash = accepted+row.Accepted, hash+row.RowHash
	}
	if duplicates != want.duplicates || conflicts != want.conflicts || quarantined != want.rest {
		t.Fatalf("ledger: %d duplicates, %d conflicts, %d quarantined; want %d, %d, %d",
			duplicates, conflicts, quarantined, want.duplicates, want.conflicts, want.rest)
	}
	for _, r := range store.collapsed(t) {
		accepted--
		hash -= RowHash(&r)
	}
	if accepted != 0 || hash != 0 {
		t.Fatalf("ledger and rows differ by %d rows, hash %x", int64(accepted), hash)
	}
}

// TestEveryBoundaryMayFail breaks each write of the writer in turn, once so that
// it did not happen and once so that it did and the answer was lost, at random
// moments, and restarts the process at random too. What is counted must be what
// the plain recount of the log says, every time.
func TestEveryBoundaryMayFail(t *testing.T) {
	t.Parallel()
	boundaries := []string{"claim", "rows", "keys", "rejects", "commit"}
	hit := map[string]int{}
	for seed := range uint64(120) {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			rng := rand.New(rand.NewPCG(seed, 1))
			log := &memoryLog{}
			fillLog(log, rng)
			store := &memoryStore{rejects: map[string]string{}}
			// Each boundary has dice of its own, so that the order in which rows, keys
			// and rejects are written does not change what fails.
			dice := map[string]*rand.Rand{}
			store.fault = func(boundary string) error {
				if dice[boundary] == nil {
					dice[boundary] = rand.New(rand.NewPCG(seed, uint64(len(boundary))<<8|uint64(boundary[0])<<4|uint64(boundary[len(boundary)-1])))
				}
				if dice[boundary].IntN(6) == 0 {
					hit[boundary]++
					return fmt.Errorf("%s: %w", boundary, schemas.ErrUnavailable)
				}
				return nil
			}
			w := newTestWriter(t, log, store)
			if seed%2 == 0 { // a new process for the second half
				half := &memoryLog{records: log.records[:len(log.records)/2]}
				w.log = half
				drain(t, w, half, store)
				w = newTestWriter(t, log, store)
			}
			drain(t, w, log, store)
			checkStore(t, store, recount(log))
		})
	}
	for _, b := range boundaries {
		if hit["before "+b] == 0 || hit["after "+b] == 0 {
			t.Errorf("boundary %s was not broken both ways: %v", b, hit)
		}
	}
}

// TestReplayGivesTheSameRows throws the tables away and reads the log again in
// other batches: the rows must be the same, byte for byte.
func TestReplayGivesTheSameRows(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			log := &memoryLog{}
			fillLog(log, rand.New(rand.NewPCG(seed, 2)))
			var runs []map[string]schemas.Accepted
			for _, rows := range []int{1, 7, 1000} {
				store := &memoryStore{rejects: map[string]string{}, fault: func(string) error { return nil }}
				w := newTestWriter(t, log, store)
				w.cfg.BatchRowsMax = rows
				drain(t, w, log, store)
				runs = append(runs, store.collapsed(t))
			}
			for _, run := range runs[1:] {
				if diff := cmp.Diff(runs[0], run, cmp.AllowUnexported(schemas.Money{})); diff != "" {
					t.Fatalf("seed %d: another replay, other rows:\n%s", seed, diff)
				}
			}
		})
	}
}

// In a cluster a leader that was just elected may not know the end of the log yet.
func TestWriterWaitsForTheEndOfTheLog(t *testing.T) {
	t.Parallel()
	now := time.Now()
	store := &memoryStore{fault: func(string) error { return nil }, ledger: []LedgerRow{{From: 1, To: 10, PriceRevision: 1}}}
	log := &memoryLog{records: make([]Record, 9)}
	w := newTestWriter(t, log, store)
	w.cfg.BehindMax, w.cfg.Now = time.Minute, func() time.Time { return now }
	for _, step := range []struct {
		wait time.Duration
		want error
	}{{0, schemas.ErrUnavailable}, {59 * time.Second, schemas.ErrUnavailable}, {time.Second, ErrLogBehind}} {
		now = now.Add(step.wait)
		if err := w.resume(t.Context()); !errors.Is(err, step.want) {
			t.Errorf("after %s: %v, want %v", step.wait, err, step.want)
		}
	}
	log.records = append(log.records, Record{Seq: 10})
	if err := w.resume(t.Context()); err != nil {
		t.Errorf("with the whole log: %v", err)
	}
}

func TestWriterStopsWhenTheLogIsShort(t *testing.T) {
	t.Parallel()
	store := &memoryStore{fault: func(string) error { return nil }, ledger: []LedgerRow{{From: 1, To: 10}}}
	err := newTestWriter(t, &memoryLog{records: make([]Record, 9)}, store).Run(t.Context())
	if !errors.Is(err, ErrLogBehind) {
		t.Errorf("a log that ends before the ledger: %v", err)
	}
	log := &memoryLog{}
	log.append(schemas.Shard{}.PricesSubject(), []byte("1"))
	log.records[0].Seq = 4
	store.ledger = []LedgerRow{{From: 1, To: 1, Epoch: 78}}
	err = newTestWriter(t, log, store).Run(t.Context())
	if !errors.Is(err, ErrLogBehind) {
		t.Errorf("a log of another epoch: %v", err)
	}
	store.ledger = nil
	err = newTestWriter(t, log, store).Run(t.Context())
	if !errors.Is(err, ErrLogGap) {
		t.Errorf("records missing at the start of the log: %v", err)
	}
}

// TestPriceRevisionFollowsTheLog sends the same call before and after a revision
// on the log, and a void of the first: it gives back what the first one cost.
func TestPriceRevisionFollowsTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &memoryLog{}
		send := func(events ...schemas.Event) {
			log.append(schemas.Shard{}.EnvelopeSubject("ten_a"), EncodeEnvelope(nil, "ten_a", events, 0, []byte("k")))
		}
		call := func(id string) schemas.Event {
			return schemas.Event{ID: id, Source: "/s", Type: schemas.TypeLLMCall, Model: "m", Time: 1_770_000_000_000, Tokens: schemas.Tokens{schemas.Input: 3}}
		}
		send(call("unpriced"))
		log.append(schemas.Shard{}.PricesSubject(), []byte("1"))
		send(call("first"))
		log.append(schemas.Shard{}.PricesSubject(), []byte("2"))
		send(call("second"), schemas.Event{ID: "v", Source: "/s", Type: schemas.TypeVoid, Time: 1_770_000_000_000, Corrects: schemas.EventRef{Source: "/s", ID: "first"}})
		store := &memoryStore{rejects: map[string]string{}, fault: func(string) error { return nil }}
		drain(t, newTestWriter(t, log, store), log, store)
		rows := store.collapsed(t)
		for id, want := range map[string]string{"unpriced": "unknown", "first": "0.000000003", "second": "0.000000006", "v": "-0.000000003"} {
			r := rows["ten_a|/s|"+id]
			got := r.Cost.String()
			if !r.Priced {
				got = "unknown"
			}
			if got != want {
				t.Errorf("%s costs %s, want %s", id, got, want)
			}
		}
	})
}
