package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// A price is in pico-USD per token, from the provider's public list: the books know
// it by themselves. No event reaches the size of another context tier.
type price struct {
	model string
	pico  [4]int64 // of pricedBuckets
}

// pricedBuckets are the buckets that calls fill.
var pricedBuckets = [4]schemas.Bucket{schemas.Input, schemas.CacheRead, schemas.CacheWrite5m, schemas.Output}

func prices() []price {
	return []price{
		{"claude-sonnet-4-5", [4]int64{3_000_000, 300_000, 3_750_000, 15_000_000}},
		{"claude-haiku-4-5", [4]int64{1_000_000, 100_000, 1_250_000, 5_000_000}},
	}
}

// A Loader makes batches of a tenant, sends them and keeps the tenant's book. One
// goroutine runs it.
type Loader struct {
	// Name tells ids of loaders apart. Loaders of two tenants may share one: the
	// same ids then mean other events.
	Name   string
	Tenant *Tenant
	Rng    *rand.Rand
	Send   Sender
	// Now is the moment that events lie before. It is fixed, so that a month does
	// not end in the middle of a round.
	Now time.Time
	// EventsMax bounds the new events of a batch. Default 60.
	EventsMax int
	// Honest sends new events only, each batch until it is acknowledged: no
	// repeats, no lies, no poison, no voids.
	Honest bool
	// Pause is waited between batches; 0 is as fast as it goes.
	Pause time.Duration

	made    int
	batches atomic.Int64
}

// Acked returns how many batches were acknowledged.
func (l *Loader) Acked() int64 { return l.batches.Load() }

// Run loads until ctx ends, and then returns nil. The error is an answer that no
// sender should ever get.
func (l *Loader) Run(ctx context.Context) error {
	if l.EventsMax == 0 {
		l.EventsMax = 60
	}
	for ctx.Err() == nil {
		if err := l.step(ctx); err != nil {
			return fmt.Errorf("loader %s of %s: %w", l.Name, l.Tenant.Slug, err)
		}
		if l.Pause > 0 && !rest(ctx, l.Pause) {
			return nil
		}
	}
	return nil
}

// rest waits, and reports false when ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// step does one thing that senders do.
func (l *Loader) step(ctx context.Context) error {
	if l.Honest {
		return l.until(ctx, l.batch(l.size()))
	}
	book := l.Tenant.Book
	old := book.Some(l.Rng)
	switch n := l.Rng.IntN(20); {
	case old != nil && n < 2: // the same bytes again
		return l.until(ctx, old)
	case old != nil && n < 4: // other bytes, old and new events mixed
		return l.until(ctx, append(turned(old), l.batch(l.size())...))
	case old != nil && n < 6:
		return l.lie(ctx, old)
	case n < 7: // two at once
		b := l.batch(l.size())
		other := make(chan error, 1)
		go func() { other <- l.sendUntil(ctx, turned(b)) }()
		err := l.sendUntil(ctx, b)
		if second := <-other; err == nil {
			err = second
		}
		book.Keep(b)
		return err
	case n < 9: // one event, as itself
		return l.until(ctx, l.batch(1))
	case n < 11: // wrong ones among good ones
		b := append(l.batch(l.size()), l.poison())
		l.Rng.Shuffle(len(b), func(i, k int) { b[i], b[k] = b[k], b[i] })
		return l.until(ctx, b)
	case n < 12:
		return l.selfLie(ctx)
	case n < 14: // what was given up, regrouped
		if left := book.SomeUnclear(l.Rng); left != nil {
			return l.until(ctx, turned(left[:1+l.Rng.IntN(len(left))]))
		}
	}
	return l.until(ctx, l.batch(l.size()))
}

func (l *Loader) size() int { return 1 + l.Rng.IntN(max(l.EventsMax, 1)) }

// turned is the same events in a body of its own: the broker cannot know it again.
func turned(b Batch) Batch {
	b = slices.Clone(b)
	slices.Reverse(b)
	return b
}

// until sends the same bytes until the answer is clear, or gives up now and then
// after one that is not.
func (l *Loader) until(ctx context.Context, b Batch) error {
	book := l.Tenant.Book
	for {
		done, err := l.once(ctx, b)
		if err != nil || done {
			if done {
				book.Keep(good(b))
			}
			return err
		}
		if !l.Honest && l.Rng.IntN(4) == 0 {
			book.Leave(good(b))
			return nil
		}
		if !rest(ctx, retryEvery) {
			return nil
		}
	}
}

// retryEvery is how soon a batch without a clear answer is sent again.
const retryEvery = 20 * time.Millisecond

// sendUntil sends until the answer is clear, and decides nothing by chance: two of
// them may run at once.
func (l *Loader) sendUntil(ctx context.Context, b Batch) error {
	for {
		if done, err := l.once(ctx, b); err != nil || done || !rest(ctx, retryEvery) {
			return err
		}
	}
}

// once tries once and keeps the book.
func (l *Loader) once(ctx context.Context, b Batch) (done bool, err error) {
	book := l.Tenant.Book
	book.Sending(b)
	reply, err := l.Send.Send(ctx, b)
	if err != nil || !reply.Clear {
		return false, err
	}
	var stored, refused Batch
	for i := range b {
		if slices.Contains(reply.Refused, i) {
			refused = append(refused, b[i])
		} else {
			stored = append(stored, b[i])
		}
	}
	book.OK(stored, reply.Seq)
	book.Failed(refused)
	l.batches.Add(1)
	return true, nil
}

// good is a batch without its poison: what may be sent again or voided.
func good(b Batch) Batch {
	return slices.DeleteFunc(slices.Clone(b), func(e Event) bool { return e.Poison })
}

// lie sends other content under ids that are taken: nothing may change.
func (l *Loader) lie(ctx context.Context, old Batch) error {
	book := l.Tenant.Book
	// The id of a void that was refused is not taken.
	lies := slices.DeleteFunc(slices.Clone(old), func(e Event) bool { return e.Type == schemas.TypeVoid })
	if len(lies) == 0 {
		return nil
	}
	for i := range lies {
		e := &lies[i]
		e.Type = schemas.TypeMessage
		e.JSON = l.encode(e, map[string]any{"agent": "liar-" + l.Tenant.Secret})
	}
	for {
		book.Lie(lies)
		reply, err := l.Send.Send(ctx, lies)
		if err != nil {
			return err
		}
		if reply.Clear {
			book.Lied(lies)
			return nil
		}
		if l.Rng.IntN(4) == 0 || !rest(ctx, retryEvery) {
			return nil
		}
	}
}

// selfLie sends a batch that says two things under one id: the first one counts.
func (l *Loader) selfLie(ctx context.Context) error {
	book, b := l.Tenant.Book, l.batch(l.size())
	said := b[l.Rng.IntN(len(b))]
	if said.Type == schemas.TypeVoid {
		return l.until(ctx, b)
	}
	said.Type = schemas.TypeMessage
	said.JSON = l.encode(&said, map[string]any{"agent": "liar-" + l.Tenant.Secret})
	for {
		book.Sending(b)
		book.Lie(Batch{said})
		reply, err := l.Send.Send(ctx, append(slices.Clone(b), said))
		if err != nil {
			return err
		}
		if reply.Clear {
			book.OK(b, reply.Seq)
			book.Lied(Batch{said})
			book.Keep(b)
			l.batches.Add(1)
			return nil
		}
		if l.Rng.IntN(4) == 0 || !rest(ctx, retryEvery) {
			book.Leave(b)
			return nil
		}
	}
}

// batch makes new events: calls, tool calls, messages, and now and then a void.
func (l *Loader) batch(n int) Batch {
	b := make(Batch, 0, n+1)
	for range n {
		b = append(b, l.event())
	}
	return b
}

// source is of all events: ids of two tenants are the same, and mean other events.
const source = "/torture"

// pastMonths is how far back events lie: late ones, months ago, are a tenth.
const pastMonths = 5

func (l *Loader) event() Event {
	l.made++
	e := Event{
		Source: source, ID: fmt.Sprintf("%s-%d", l.Name, l.made), Type: schemas.TypeLLMCall,
		Department: fmt.Sprintf("d%d-%s", l.Rng.IntN(4), l.Tenant.Secret),
	}
	back := time.Duration(l.Rng.Int64N(int64(2 * time.Hour)))
	switch l.Rng.IntN(10) {
	case 0:
		back = time.Duration(l.Rng.Int64N(int64(pastMonths * 30 * 24 * time.Hour)))
	case 1, 2:
		back = time.Duration(l.Rng.Int64N(int64(40 * 24 * time.Hour)))
	}
	e.At = l.Now.Add(-back).UTC().Truncate(time.Millisecond)
	data := map[string]any{"department": e.Department, "agent": fmt.Sprintf("a%d-%s", l.Rng.IntN(9), l.Tenant.Secret)}
	switch l.Rng.IntN(20) {
	case 0:
		e.Type, e.Adds.Calls = schemas.TypeToolCall, 1
	case 1:
		e.Type, e.Adds.Calls = schemas.TypeMessage, 1
	case 2:
		if l.void(&e) {
			data = map[string]any{"corrects": map[string]string{"source": e.Source, "id": e.Corrects}}
		}
	}
	if e.Type == schemas.TypeLLMCall {
		l.call(&e, data)
	}
	e.JSON = l.encode(&e, data)
	return e
}

// void makes the event take another back: one that counts, seldom one that was
// taken back before or never came.
func (l *Loader) void(e *Event) bool {
	if l.Honest {
		return false
	}
	n := l.Rng.IntN(8)
	if n == 0 {
		e.Type, e.Corrects = schemas.TypeVoid, "never-"+e.ID
		return true
	}
	target, found := l.Tenant.Book.ToVoid(l.Rng, n == 1)
	if !found {
		return false
	}
	e.Type, e.Corrects, e.At, e.Adds = schemas.TypeVoid, target.ID, target.At, target.Adds.Negated()
	e.Model, e.Department = target.Model, target.Department
	return true
}

func (l *Loader) call(e *Event, data map[string]any) {
	list := prices()
	e.Adds.Calls = 1
	tokens := map[string]int64{}
	n := l.Rng.IntN(len(list) + 1)
	p := price{model: "house-model-" + l.Tenant.Secret} // nobody has a price for it
	if n < len(list) {
		p = list[n]
		data["provider"] = "anthropic"
	} else {
		data["provider"] = "house-" + l.Tenant.Secret
	}
	const tokensMax = 20_000
	for i, bucket := range pricedBuckets {
		n := l.Rng.Int64N(tokensMax)
		e.Adds.Tokens[bucket] = n
		e.Adds.Pico += n * p.pico[i]
		tokens[bucket.String()] = n
	}
	e.Model = p.model
	data["model"], data["tokens"] = p.model, tokens
}

// poison makes an event that must be rejected.
func (l *Loader) poison() Event {
	e := l.event()
	e.ID, e.Poison = "poison-"+e.ID, true
	e.Type, e.Adds, e.Corrects = schemas.TypeLLMCall, Amount{}, ""
	data := map[string]any{"provider": "anthropic", "model": "claude-sonnet-4-5", "tokens": map[string]any{"input": 5}}
	switch l.Rng.IntN(4) {
	case 0:
		data["tokens"] = map[string]any{"input": -5}
	case 1:
		data["tokens"] = map[string]any{"output": 1.5}
	case 2:
		e.At = l.Now.Add(time.Hour)
	case 3:
		data["tokens"] = "many"
	}
	e.JSON = l.encode(&e, data)
	return e
}

func (l *Loader) encode(e *Event, data map[string]any) []byte {
	text, err := json.Marshal(map[string]any{
		"specversion": "1.0", "id": e.ID, "source": e.Source, "type": e.Type, "time": e.At.Format(time.RFC3339Nano), "data": data,
	})
	if err != nil {
		panic("torture: an event cannot be encoded: " + err.Error())
	}
	return text
}

// contentID is a hash of a batch's bytes.
func contentID(b Batch) uint64 {
	h := fnv.New64a()
	for i := range b {
		_, _ = h.Write(b[i].JSON)
	}
	return h.Sum64()
}
