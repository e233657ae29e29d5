package ratelimit

import (
	"hash/maphash"
	"math/bits"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// window is what a limit counts over.
	window = time.Minute
	// CallsMax is the greatest limit that is counted: 1.6 million calls a second,
	// which no process answers. What is above is no limit.
	CallsMax = 100_000_000
	// callUnits is one call in the unit of a bucket. A bucket of n calls a minute
	// drains by n units per nanosecond, so every limit is a whole number.
	callUnits = uint64(window)
	// shardCount parts the names, so that callers do not wait for each other.
	shardCount = 64
	// sweepEvery is how often a shard forgets the buckets that are full again.
	sweepEvery = window
)

// Limiter counts calls by name. It is safe for concurrent use.
type Limiter struct {
	now    func() time.Time
	start  time.Time
	seed   maphash.Seed
	shards [shardCount]shard
}

type shard struct {
	mu      sync.Mutex // guards what follows; it is in memory alone
	buckets map[string]*bucket
	sweptAt time.Duration
}

// bucket holds how much of the limit is used, as of a moment.
type bucket struct {
	used uint64 // in callUnits
	at   time.Duration
	rate uint64 // calls a minute, as of the last call
}

// New returns a Limiter; now is its clock, nil for time.Now.
func New(now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	l := &Limiter{now: now, start: now(), seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].buckets = map[string]*bucket{}
	}
	return l
}

// State is how things stand with a limit. The zero State is no limit.
type State struct {
	// Max is the calls a minute, 0 with Limited unset for no limit.
	Max     int64
	Limited bool
	// Remaining calls may be made at once; Used is the rest of Max.
	Remaining, Used int64
	// Next is the time until one more call may be made than Remaining says, 0 when
	// that is Max already.
	Next time.Duration
	// Refused: the call was not counted and must not be served. Next is then when it
	// may come again.
	Refused bool
}

// Take counts a call of a name that may make perMinute of them; a negative
// perMinute is no limit. With a limit of 0 every call is refused. A limit may be
// another one each time: what is used stays used.
func (l *Limiter) Take(name string, perMinute int64) State { return l.state(name, perMinute, true) }

// Look says how things stand without counting a call.
func (l *Limiter) Look(name string, perMinute int64) State { return l.state(name, perMinute, false) }

func (l *Limiter) state(name string, perMinute int64, take bool) State {
	if perMinute < 0 || perMinute > CallsMax {
		return State{}
	}
	now := l.now().Sub(l.start)
	rate := uint64(perMinute)
	s := &l.shards[maphash.String(l.seed, name)%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	b := s.buckets[name]
	if b == nil {
		b = &bucket{at: now}
		if take && rate > 0 {
			s.buckets[name] = b
		}
	}
	b.drain(now, rate)
	capacity := rate * callUnits
	refused := take && b.used+callUnits > capacity
	if take && !refused {
		b.used += callUnits
	}
	return b.stateOf(capacity, refused)
}

// drain moves the bucket to a moment, at the rate that holds since.
func (b *bucket) drain(now time.Duration, rate uint64) {
	b.used, b.at, b.rate = b.usedAt(now, rate), max(now, b.at), rate
}

// usedAt is what is used at a moment, at a rate.
func (b *bucket) usedAt(now time.Duration, rate uint64) uint64 {
	if now <= b.at {
		return b.used
	}
	over, drained := bits.Mul64(uint64(now-b.at), rate)
	if over > 0 || drained >= b.used {
		return 0
	}
	return b.used - drained
}

func (b *bucket) stateOf(capacity uint64, refused bool) State {
	s := State{Max: int64(b.rate), Limited: true, Refused: refused}
	if b.used < capacity {
		s.Remaining = int64((capacity - b.used) / callUnits)
	}
	s.Used = s.Max - s.Remaining
	switch {
	case s.Remaining == s.Max && s.Max > 0:
	case b.rate == 0:
		s.Next = window // a limit of nothing: never, but a client has to be told something
	default:
		// What has to drain until Remaining+1 calls fit, rounded up.
		excess := b.used - (capacity - uint64(s.Remaining+1)*callUnits)
		s.Next = time.Duration((excess + b.rate - 1) / b.rate)
	}
	return s
}

// sweep forgets buckets that nothing is used of.
func (s *shard) sweep(now time.Duration) {
	if now-s.sweptAt < sweepEvery {
		return
	}
	s.sweptAt = now
	for name, b := range s.buckets {
		if b.usedAt(now, b.rate) == 0 {
			delete(s.buckets, name)
		}
	}
}

// Len is how many names are remembered.
func (l *Limiter) Len() int {
	n := 0
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.buckets)
		s.mu.Unlock()
	}
	return n
}

// Policy is the name of the limit in header fields and problems.
const Policy = "api-calls"

// Header writes the fields RateLimit-Policy and RateLimit; nothing without a
// limit. Format: draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4.
func (s *State) Header(h http.Header) {
	if !s.Limited {
		return
	}
	h.Set("RateLimit-Policy", `"`+Policy+`";q=`+strconv.FormatInt(s.Max, 10)+`;w=60`)
	limit := `"` + Policy + `";r=` + strconv.FormatInt(s.Remaining, 10)
	if s.Next > 0 {
		limit += `;t=` + strconv.FormatInt(int64((s.Next+time.Second-1)/time.Second), 10)
	}
	h.Set("RateLimit", limit)
}
