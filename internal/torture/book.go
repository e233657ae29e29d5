package torture

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// An Event is an event as its sender remembers it.
type Event struct {
	Source, ID string
	Type       schemas.EventType
	At         time.Time
	// Model and Department are what has to be stored.
	Model, Department string
	// Adds is what it has to count for. Of a void, what it takes back.
	Adds Amount
	// Corrects is the id, of the same source, that a void takes back.
	Corrects string
	// Poison must never be counted, whatever the answer was: it is wrong by itself.
	Poison bool
	JSON   []byte
}

// Month is the UTC month it belongs to, as 2006-01.
func (e *Event) Month() string { return e.At.UTC().Format("2006-01") }

// A Batch is what is sent in one request or message.
type Batch []Event

// state is what is known of an event that was sent.
type state uint8

const (
	unknown state = iota // sent, and no answer said what became of it
	ok                   // an acknowledgement came: it has to count once
	failed               // every attempt was refused: it must be absent
)

// An entry is an event with its history.
type entry struct {
	Event
	state    state
	attempts int    // without a clear answer so far
	sends    int    // attempts, all of them
	seq      uint64 // a position on the log at or after its own; 0 is not known
	voids    []*entry
}

// bounds are sums of a month, for who looks while events are on their way.
type bounds struct{ okPlus, sentPlus, okMinus, sentMinus Sum }

// lies is how often other content was sent under an id that was taken.
type lies struct{ sent, acked int }

// A Book is the history of every event of a tenant. Its methods may be called
// from any goroutine.
//
// An event is ok once one attempt was acknowledged, failed while every attempt
// was refused, and unknown otherwise: it was sent and may or may not count, at
// most once.
type Book struct {
	Tenant, Secret string

	mu      sync.Mutex
	events  map[string]*entry // by source and id
	order   []*entry
	acked   []Batch // that may be sent again, in part or whole
	unclear []Batch
	months  map[string]*bounds
	lies    map[string]*lies
	lastSeq uint64
}

// NewBook returns the Book of a tenant, without any event.
func NewBook(tenant, secret string) *Book {
	return &Book{Tenant: tenant, Secret: secret, events: map[string]*entry{}, months: map[string]*bounds{}, lies: map[string]*lies{}}
}

func key(source, id string) string { return source + "\x00" + id }

// Sending notes that a batch is about to be sent: from now on it may count. Each
// attempt has to be noted, and its outcome with OK, Failed or not at all.
func (b *Book) Sending(batch Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range batch {
		e := b.entry(&batch[i])
		e.attempts++
		e.sends++
	}
}

// entry finds or adds an event.
func (b *Book) entry(e *Event) *entry {
	k := key(e.Source, e.ID)
	if known := b.events[k]; known != nil {
		return known
	}
	n := &entry{Event: *e}
	b.events[k] = n
	b.order = append(b.order, n)
	if e.Poison {
		return n
	}
	if e.Type != schemas.TypeVoid {
		b.month(n).sentPlus.Add(e.Adds)
		return n
	}
	if target := b.events[key(e.Source, e.Corrects)]; target != nil {
		if len(target.voids) == 0 {
			b.month(target).sentMinus.Add(target.Adds.Negated())
		}
		target.voids = append(target.voids, n)
	}
	return n
}

func (b *Book) month(e *entry) *bounds {
	m := e.Month()
	if b.months[m] == nil {
		b.months[m] = &bounds{}
	}
	return b.months[m]
}

// OK notes that an attempt at a batch was acknowledged, at a position of the log
// or before it; 0 is an unknown position.
func (b *Book) OK(batch Batch, seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastSeq = max(b.lastSeq, seq)
	for i := range batch {
		e := b.entry(&batch[i])
		e.attempts--
		if e.state == ok {
			continue
		}
		e.state, e.seq = ok, seq
		if e.Poison {
			continue
		}
		if e.Type != schemas.TypeVoid {
			b.month(e).okPlus.Add(e.Adds)
			continue
		}
		target := b.events[key(e.Source, e.Corrects)]
		if target != nil && len(b.okVoids(target)) == 1 {
			b.month(target).okMinus.Add(target.Adds.Negated())
		}
	}
}

func (b *Book) okVoids(target *entry) (list []*entry) {
	for _, v := range target.voids {
		if v.state == ok {
			list = append(list, v)
		}
	}
	return list
}

// Failed notes that an attempt at events was refused, so that nothing of it is
// stored.
func (b *Book) Failed(batch Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range batch {
		e := b.entry(&batch[i])
		if e.attempts--; e.attempts == 0 && e.state == unknown {
			e.state = failed
		}
	}
}

// Lie notes that a batch with other content under ids that are ok is about to be
// sent; Lied, that it was acknowledged.
func (b *Book) Lie(batch Batch) { b.lied(batch, func(l *lies) { l.sent++ }) }

// Lied notes that what Lie noted was acknowledged.
func (b *Book) Lied(batch Batch) { b.lied(batch, func(l *lies) { l.acked++ }) }

func (b *Book) lied(batch Batch, count func(*lies)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range batch {
		k := key(batch[i].Source, batch[i].ID)
		if b.lies[k] == nil {
			b.lies[k] = &lies{}
		}
		count(b.lies[k])
	}
}

// keptMax bounds the batches that may be sent again.
const keptMax = 2000

// Keep remembers an acknowledged batch for Some.
func (b *Book) Keep(batch Batch) { b.keep(&b.acked, batch) }

// Leave remembers a batch that was given up after an unclear answer.
func (b *Book) Leave(batch Batch) { b.keep(&b.unclear, batch) }

func (b *Book) keep(list *[]Batch, batch Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *list = append(*list, batch); len(*list) > keptMax {
		*list = (*list)[len(*list)/2:]
	}
}

// Some returns a batch that was acknowledged, nil before there is one.
func (b *Book) Some(rng *rand.Rand) Batch { return b.pick(&b.acked, rng) }

// SomeUnclear returns a batch that was given up, nil if there is none.
func (b *Book) SomeUnclear(rng *rand.Rand) Batch { return b.pick(&b.unclear, rng) }

func (b *Book) pick(list *[]Batch, rng *rand.Rand) Batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(*list) == 0 {
		return nil
	}
	return (*list)[rng.IntN(len(*list))]
}

// ToVoid returns an acknowledged event that is not a void, one that was taken
// back before if again is set.
func (b *Book) ToVoid(rng *rand.Rand, again bool) (Event, bool) {
	batch := b.Some(rng)
	if batch == nil {
		return Event{}, false
	}
	e := batch[rng.IntN(len(batch))]
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.events[key(e.Source, e.ID)]
	fit := known != nil && known.state == ok && !e.Poison && e.Type != schemas.TypeVoid && (len(known.voids) > 0) == again
	return e, fit
}

// Counts says how many events are in which state.
type Counts struct{ Sent, OK, Failed, Unknown int64 }

// Counts returns the counts now.
func (b *Book) Counts() (c Counts) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.order {
		c.Sent++
		switch e.state {
		case ok:
			c.OK++
		case failed:
			c.Failed++
		case unknown:
			c.Unknown++
		}
	}
	return c
}

// LastSeq is the greatest position that an acknowledgement named.
func (b *Book) LastSeq() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lastSeq
}

// A Look is what one knows about a month before a question is asked.
type Look struct {
	book            *Book
	month           string
	okPlus, okMinus *Sum
}

// Look takes what is surely counted in a month, before the question is sent.
func (b *Book) Look(month string) Look {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.months[month]
	if m == nil {
		m = &bounds{}
	}
	return Look{b, month, m.okPlus.Copy(), m.okMinus.Copy()}
}

// Within returns between which sums an answer must lie that has just come: above,
// what was acknowledged before the question, less all that may be taken back;
// below, all that was sent until now, less what was surely taken back. Without
// fresh the answer may be of any age, so that nothing is sure but what was sent.
func (l Look) Within(fresh bool) (low, high *Sum) {
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	m := l.book.months[l.month]
	if m == nil {
		m = &bounds{}
	}
	low, high = m.sentMinus.Copy(), m.sentPlus.Copy()
	if fresh {
		low.Plus(l.okPlus)
		high.Plus(l.okMinus)
	}
	return low, high
}

// Months returns the months in which something was sent.
func (b *Book) Months() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	months := make([]string, 0, len(b.months))
	for m := range b.months {
		months = append(months, m)
	}
	return months
}
