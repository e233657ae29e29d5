package auth

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// failures counts failed authentications per address in a leaky bucket: each one
// adds a drop, one drop leaks out per life.
type failures struct {
	max    int
	sizes  int // addresses at most
	life   time.Duration
	now    func() time.Time
	mu     sync.Mutex // guards what follows
	byAddr map[netip.Prefix]*list.Element
	order  *list.List // of *bucket, the one that failed last in front
}

type bucket struct {
	addr netip.Prefix
	// emptyAt is when all drops have leaked out if none is added.
	emptyAt time.Time
	// told is set once the limit was reported, until the bucket has been empty.
	told bool
}

func newFailures(max, addresses int, life time.Duration, now func() time.Time) *failures {
	return &failures{max: max, sizes: addresses, life: life, now: now,
		byAddr: map[netip.Prefix]*list.Element{}, order: list.New()}
}

// add counts one failure. If the address is over the limit, wait is how long
// until the next failure would be within it, and first is true once per flood.
func (f *failures) add(addr netip.Addr) (wait time.Duration, first bool) {
	network := networkOf(addr)
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.bucket(network)
	if b.emptyAt.Before(now) {
		b.emptyAt, b.told = now, false
	}
	full := now.Add(time.Duration(f.max) * f.life)
	if next := b.emptyAt.Add(f.life); !next.After(full) {
		b.emptyAt = next
		return 0, false
	}
	first, b.told = !b.told, true
	return b.emptyAt.Add(f.life).Sub(full), first
}

// bucket finds or makes the bucket of a network and moves it to the front.
func (f *failures) bucket(network netip.Prefix) *bucket {
	if e := f.byAddr[network]; e != nil {
		f.order.MoveToFront(e)
		return e.Value.(*bucket)
	}
	if f.order.Len() >= f.sizes {
		oldest := f.order.Back()
		delete(f.byAddr, f.order.Remove(oldest).(*bucket).addr)
	}
	b := &bucket{addr: network}
	f.byAddr[network] = f.order.PushFront(b)
	return b
}

// networkOf is an IPv4 address, or the /64 of an IPv6 address: what one customer
// of a provider gets at least.
func networkOf(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address, as on a unix socket: one bucket for all
	}
	return p
}
