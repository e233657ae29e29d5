package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/schemas"
)

// crashModel has a price that this test knows by itself, in pico-USD per token, from
// the provider's public list. No event reaches the size of another context tier.
const crashModel = "claude-sonnet-4-5"

var crashPrices = []struct {
	bucket schemas.Bucket
	pico   int64
}{
	{schemas.Input, 3_000_000}, {schemas.CacheRead, 300_000}, {schemas.CacheWrite5m, 3_750_000}, {schemas.Output, 15_000_000},
}

// crashBatchMax bounds the new events of a batch.
const crashBatchMax = 60

// tally is what events add up to.
type tally struct {
	Calls  int64
	Tokens schemas.Tokens
	Cost   string // in USD, as answers have it; made from pico
	pico   int64
}

func (t *tally) add(o *tally) {
	t.Calls += o.Calls
	t.pico += o.pico
	for b, n := range o.Tokens {
		t.Tokens[b] += n
	}
}

func (t tally) negated() tally {
	return tally{Calls: -t.Calls, pico: -t.pico, Tokens: t.Tokens.Negate()}
}

// A sentEvent is an event as the sender remembers it.
type sentEvent struct {
	id   string
	json []byte
	at   time.Time
	kind schemas.EventType
	adds tally
}

type sentBatch []sentEvent

func (b sentBatch) body() []byte {
	parts := make([][]byte, len(b))
	for i := range b {
		parts[i] = b[i].json
	}
	return slices.Concat([]byte("["), bytes.Join(parts, []byte(",")), []byte("]"))
}

// turned is the same events in a body of its own: the broker cannot know it again.
func (b sentBatch) turned() sentBatch {
	b = slices.Clone(b)
	slices.Reverse(b)
	return b
}

// remembered is everything of one tenant that was acknowledged.
type remembered struct {
	mu      sync.Mutex
	events  map[string]sentEvent
	batches []sentBatch
	voided  map[string]bool
}

func (r *remembered) acked(b sentBatch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range b {
		r.events[e.id] = e
	}
	if len(b) <= crashBatchMax {
		r.batches = append(r.batches, b)
	}
}

// some returns an acknowledged batch, nil before there is one.
func (r *remembered) some(rng *rand.Rand) sentBatch {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.batches) == 0 {
		return nil
	}
	return r.batches[rng.IntN(len(r.batches))]
}

// toVoid returns an acknowledged event that nobody took back yet.
func (r *remembered) toVoid(rng *rand.Rand) (sentEvent, bool) {
	b := r.some(rng)
	if b == nil {
		return sentEvent{}, false
	}
	e := b[rng.IntN(len(b))]
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.kind == schemas.TypeVoid || r.voided[e.id] {
		return e, false
	}
	r.voided[e.id] = true
	return e, true
}

// months returns what has to be counted in each month.
func (r *remembered) months() map[string]*tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	sums := map[string]*tally{}
	for _, e := range r.events {
		month := e.at.Format("2006-01")
		if sums[month] == nil {
			sums[month] = &tally{}
		}
		sums[month].add(&e.adds)
	}
	for _, s := range sums {
		s.Cost = schemas.Pico(s.pico).String()
	}
	return sums
}

// A loader makes batches of a tenant and sends each until it is acknowledged.
type loader struct {
	name string
	rng  *rand.Rand
	now  time.Time
	sent int
	book *remembered
	// send tries once: true is an acknowledgement, false is anybody's guess, an
	// error is an answer that no sender should ever get.
	send  func(ctx context.Context, body []byte) (bool, error)
	acked *atomic.Int64 // batches, over all loaders
}

// run loads until stop is closed. What is on the way then is still sent until it
// is acknowledged, so that the books are exact.
func (l *loader) run(ctx context.Context, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if err := l.step(ctx); err != nil {
			return fmt.Errorf("loader %s: %w", l.name, err)
		}
	}
}

func (l *loader) step(ctx context.Context) error {
	old := l.book.some(l.rng)
	switch n := l.rng.IntN(10); {
	case old != nil && n == 0: // the same bytes again
		return l.until(ctx, old)
	case old != nil && n == 1: // other bytes, old and new ones mixed
		b := append(old.turned(), l.batch()...)
		return l.ack(ctx, b)
	case old != nil && n == 2: // the same ids with other content: nothing may change
		return l.until(ctx, l.contradict(old))
	case n == 3: // two at once
		b := l.batch()
		other := make(chan error, 1)
		go func() { other <- l.until(ctx, b.turned()) }()
		err := l.ack(ctx, b)
		if second := <-other; err == nil {
			err = second
		}
		return err
	}
	return l.ack(ctx, l.batch())
}

func (l *loader) ack(ctx context.Context, b sentBatch) error {
	if err := l.until(ctx, b); err != nil {
		return err
	}
	l.book.acked(b)
	return nil
}

// until sends the same bytes until somebody says that they are stored.
func (l *loader) until(ctx context.Context, b sentBatch) error {
	body := b.body()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		ok, err := l.send(ctx, body)
		if err != nil {
			return err
		}
		if ok {
			l.acked.Add(1)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-retry.C:
		}
	}
}

// batch makes new events: calls, tool calls, messages, and now and then a void of
// what was acknowledged before.
func (l *loader) batch() sentBatch {
	b := make(sentBatch, 0, 64)
	for range 1 + l.rng.IntN(crashBatchMax) {
		l.sent++
		e := sentEvent{
			id: fmt.Sprintf("%s-%d", l.name, l.sent), kind: schemas.TypeLLMCall,
			at: l.now.Add(-time.Duration(l.rng.Int64N(int64(70 * 24 * time.Hour)))).Truncate(time.Millisecond),
		}
		data := map[string]any{"department": fmt.Sprint("d", l.rng.IntN(4)), "agent": fmt.Sprint("a", l.rng.IntN(9))}
		switch l.rng.IntN(20) {
		case 0:
			e.kind, e.adds.Calls = schemas.TypeToolCall, 1
		case 1:
			e.kind, e.adds.Calls = schemas.TypeMessage, 1
		case 2:
			if target, ok := l.book.toVoid(l.rng); ok {
				e.kind, e.at, e.adds = schemas.TypeVoid, target.at, target.adds.negated()
				data = map[string]any{"corrects": map[string]string{"source": "/crash", "id": target.id}}
			}
		}
		if e.kind == schemas.TypeLLMCall {
			l.call(&e, data)
		}
		e.json = crashEvent(&e, data)
		b = append(b, e)
	}
	return b
}

func (l *loader) call(e *sentEvent, data map[string]any) {
	tokens := map[string]int64{}
	e.adds.Calls = 1
	for _, price := range crashPrices {
		n := l.rng.Int64N(20_000)
		e.adds.Tokens[price.bucket] = n
		e.adds.pico += n * price.pico
		tokens[price.bucket.String()] = n
	}
	data["provider"], data["model"], data["tokens"] = "anthropic", crashModel, tokens
}

// contradict returns a batch of the same ids that says something else.
func (l *loader) contradict(b sentBatch) sentBatch {
	other := slices.Clone(b)
	for i := range other {
		e := &other[i]
		e.kind = schemas.TypeMessage
		e.json = crashEvent(e, map[string]any{"agent": "liar"})
	}
	return other
}

func crashEvent(e *sentEvent, data map[string]any) []byte {
	text, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": e.id, "source": "/crash", "type": e.kind, "time": e.at.Format(time.RFC3339Nano), "data": data,
	})
	if err != nil {
		panic(err)
	}
	return text
}

// overHTTP sends to wherever the server is now.
func overHTTP(url *atomic.Value, key string) func(context.Context, []byte) (bool, error) {
	return func(ctx context.Context, body []byte) (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url.Load().(string)+"/v1/events?verdicts=rejected", bytes.NewReader(body))
		if err != nil {
			return false, err
		}
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Content-Type", "application/cloudevents-batch+json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil // dead or dying
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		var answer struct{ Rejected int }
		switch {
		case err != nil, res.StatusCode == http.StatusServiceUnavailable:
			return false, nil
		case res.StatusCode != http.StatusOK:
			return false, fmt.Errorf("answer %d: %s", res.StatusCode, text)
		}
		if err := json.Unmarshal(text, &answer); err != nil || answer.Rejected != 0 {
			return false, fmt.Errorf("answer %s: %v", text, err)
		}
		return true, nil
	}
}

// overNATS publishes as a runtime does that has nothing but a NATS client.
func overNATS(t *testing.T, address, tenant, key string) func(context.Context, []byte) (bool, error) {
	t.Helper()
	conn, err := nats.Connect("nats://"+address, nats.UserInfo("runtime", key),
		nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, body []byte) (bool, error) {
		if conn.IsClosed() {
			return false, fmt.Errorf("the client gave up: %w", conn.LastError())
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		ack, err := js.Publish(ctx, schemas.DirectSubject(tenant), body)
		return err == nil && ack.Sequence > 0, nil
	}
}

// compare holds what the server counts against what was acknowledged.
func (r *remembered) compare(t *testing.T, get func(path string, into any)) {
	t.Helper()
	months := r.months()
	for _, month := range slices.Sorted(maps.Keys(months)) {
		var answer struct {
			Total struct {
				Calls  int64
				Tokens map[string]int64
				Cost   string
			}
		}
		get("/v1/usage?fresh=1&month="+month, &answer)
		got := tally{Calls: answer.Total.Calls, Cost: answer.Total.Cost}
		for b := range schemas.BucketCount {
			got.Tokens[b] = answer.Total.Tokens[schemas.Bucket(b).String()]
		}
		want := *months[month]
		want.pico = 0
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(tally{})); diff != "" {
			t.Errorf("%s: acknowledged (-) and counted (+):\n%s", month, diff)
		}
	}
}
