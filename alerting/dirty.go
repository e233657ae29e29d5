package alerting

import (
	"sync"
	"time"
)

// dirty are the tenants that have to be evaluated. A tenant is in it once, so it is no
// larger than their number, and one that is marked is never dropped: it leaves when it
// is taken, and whoever took it puts it back when it could not be evaluated.
type dirty struct {
	mu    sync.Mutex // held for a few map operations at a time
	marks map[string]*mark
	// The queues hold tenants in the order in which to take them. One whose mark says
	// another queue by now, or that has no mark, is passed over.
	urgent, idle, later []string
	wake                chan struct{} // has an item when there may be something to take
}

// queue names a queue of dirty.
type queue uint8

const (
	inUrgent queue = iota // usage of it was counted
	inIdle                // it is its turn
	inLater               // it could not be evaluated, and waits
)

// mark is why a tenant is dirty.
type mark struct {
	queue queue
	// acked is when the oldest event was acknowledged that was counted since, zero if
	// that is not known.
	acked time.Time
	tries int       // that failed, one after the other
	until time.Time // of inLater: not before
}

// idleShare is what one of so many places of a batch is kept for: tenants whose turn it
// is are evaluated however many are touched.
const idleShare = 8

func newDirty() *dirty { return &dirty{marks: map[string]*mark{}, wake: make(chan struct{}, 1)} }

// touch marks tenants whose usage was counted. A tenant that waits after a failure goes
// on waiting: what failed is not mended by another event.
func (d *dirty) touch(tenants []string, acked time.Time) {
	d.mu.Lock()
	for _, tenant := range tenants {
		m := d.marks[tenant]
		if m == nil {
			m = &mark{queue: inUrgent}
			d.marks[tenant] = m
			d.urgent = append(d.urgent, tenant)
		} else if m.queue == inIdle {
			m.queue = inUrgent
			d.urgent = append(d.urgent, tenant)
		}
		if !acked.IsZero() && (m.acked.IsZero() || acked.Before(m.acked)) {
			m.acked = acked
		}
	}
	d.mu.Unlock()
	d.signal()
}

// sweep marks tenants whose turn it is.
func (d *dirty) sweep(tenants []string) {
	d.mu.Lock()
	for _, tenant := range tenants {
		if d.marks[tenant] == nil {
			d.marks[tenant] = &mark{queue: inIdle}
			d.idle = append(d.idle, tenant)
		}
	}
	d.mu.Unlock()
	d.signal()
}

// start forgets when events were acknowledged and what failed, for a node that begins to
// decide: it says nothing of how long it takes.
func (d *dirty) start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, tenant := range d.later {
		if m := d.marks[tenant]; m != nil && m.queue == inLater {
			m.queue = inIdle
			d.idle = append(d.idle, tenant)
		}
	}
	d.later = nil
	for _, m := range d.marks {
		m.acked, m.tries, m.until = time.Time{}, 0, time.Time{}
	}
}

func (d *dirty) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// taken is a tenant to evaluate.
type taken struct {
	tenant string
	mark   mark
}

// take returns at most most tenants, and if there are none now, how long until there
// are, 0 for ever.
func (d *dirty) take(now time.Time, most int) (batch []taken, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wait = d.due(now)
	turns := max(1, most/idleShare)
	batch = d.pop(batch, &d.idle, inIdle, turns)
	batch = d.pop(batch, &d.urgent, inUrgent, most)
	batch = d.pop(batch, &d.idle, inIdle, most)
	return batch, wait
}

// due moves what has waited long enough to its turn, and returns how long the next one
// has to wait.
func (d *dirty) due(now time.Time) (wait time.Duration) {
	left := d.later[:0]
	for _, tenant := range d.later {
		m := d.marks[tenant]
		switch {
		case m == nil || m.queue != inLater:
		// A clock that was set back must not make it wait for long.
		case !now.Before(m.until), m.until.Sub(now) > 2*retryMax:
			m.queue = inIdle
			d.idle = append(d.idle, tenant)
		default:
			left = append(left, tenant)
			if until := m.until.Sub(now); wait == 0 || until < wait {
				wait = until
			}
		}
	}
	d.later = left
	return wait
}

// pop takes tenants from a queue until the batch has most.
func (d *dirty) pop(batch []taken, from *[]string, in queue, most int) []taken {
	n := 0
	for n < len(*from) && len(batch) < most {
		tenant := (*from)[n]
		n++
		if m := d.marks[tenant]; m != nil && m.queue == in {
			batch = append(batch, taken{tenant, *m})
			delete(d.marks, tenant)
		}
	}
	if *from = (*from)[n:]; len(*from) == 0 {
		*from = nil // its memory goes, too
	}
	return batch
}

// putBack marks a tenant that could not be evaluated, for a while later.
func (d *dirty) putBack(t *taken, until time.Time) {
	d.mu.Lock()
	m := d.marks[t.tenant]
	if m == nil {
		m = &mark{}
		d.marks[t.tenant] = m
	}
	m.queue, m.until, m.tries = inLater, until, t.mark.tries+1
	if !t.mark.acked.IsZero() && (m.acked.IsZero() || t.mark.acked.Before(m.acked)) {
		m.acked = t.mark.acked
	}
	d.later = append(d.later, t.tenant)
	d.mu.Unlock()
	d.signal()
}

// size returns how many tenants are dirty, and when the oldest event was acknowledged
// that nobody has looked at.
func (d *dirty) size() (n int, oldest time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.marks {
		if !m.acked.IsZero() && (oldest.IsZero() || m.acked.Before(oldest)) {
			oldest = m.acked
		}
	}
	return len(d.marks), oldest
}
