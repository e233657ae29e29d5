package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"github.com/agentik-os/panda/schemas"
)

const (
	bucketLeases = "LEASES"
	// leaseTTLMin keeps renewal, three times per ttl, above the cost of a write.
	leaseTTLMin = 100 * time.Millisecond
)

// leaseRecord is the value of a key in the bucket of leases.
type leaseRecord struct {
	Holder string `json:"holder"` // for people
	// Nonce is this acquisition's own, so that a holder knows a write of its own
	// whose acknowledgement was lost.
	Nonce string        `json:"nonce"`
	TTL   time.Duration `json:"ttl_ns"`
	// Boot is the run of the server inside the process, "" for a cluster.
	Boot     string `json:"boot,omitempty"`
	Released bool   `json:"released,omitempty"`
}

// Lease is the right to a name, held by one at a time. No clocks are compared:
// the holder stops believing in it by its own monotonic clock, ttl after the
// start of the last renewal that succeeded, less a margin; others wait ttl, by
// theirs, after they saw the last renewal.
//
// A holder that is stopped (a paused process, a long collection) between Valid
// and what it does next may act late. Where that would harm, what it writes to
// compares Token and refuses a smaller one than it has seen.
type Lease struct {
	bucket *Bucket
	name   string
	record leaseRecord
	value  []byte
	token  uint64
	yield  bool // give way to a holder that is alive

	mu       sync.Mutex
	revision uint64
	until    time.Time // monotonic; Valid compares it with now
	lost     chan struct{}
	isLost   bool

	stop    context.CancelFunc
	stopped chan struct{} // closed when renewal has ended
}

// Acquire waits until the name is free or its holder has not renewed it for its
// ttl, and takes it. The holder's name is for people. ttl is at least 100 ms; it
// is also how long a takeover takes when a holder dies, except that a server
// inside this process knows at once that holders of its earlier runs are gone.
//
// Errors: schemas.ErrUnavailable, or that of ctx when it ends first.
func (l *Log) Acquire(ctx context.Context, name, holder string, ttl time.Duration) (*Lease, error) {
	return l.acquire(ctx, name, holder, ttl, false)
}

// TryAcquire is Acquire for who has no need of the name while somebody else uses it: it
// waits for a holder that may have died as Acquire does, and gives way to one that shows
// to be alive by renewing, which takes a quarter of that holder's ttl.
//
// Errors: schemas.ErrConflict (another holds it and is alive), else those of Acquire.
func (l *Log) TryAcquire(ctx context.Context, name, holder string, ttl time.Duration) (*Lease, error) {
	return l.acquire(ctx, name, holder, ttl, true)
}

func (l *Log) acquire(ctx context.Context, name, holder string, ttl time.Duration, yield bool) (*Lease, error) {
	if !validToken(name) || ttl < leaseTTLMin {
		return nil, fmt.Errorf("acquire lease %q: %w: a name without dots or wildcards and a ttl of at least %s are needed",
			name, schemas.ErrInvalid, leaseTTLMin)
	}
	bucket, err := l.Bucket(ctx, BucketConfig{Name: bucketLeases, Description: "Who holds which role."})
	if err != nil {
		return nil, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	lease := &Lease{
		bucket:  bucket,
		name:    name,
		yield:   yield,
		record:  leaseRecord{Holder: holder, Nonce: nuid.Next(), TTL: ttl},
		lost:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	if l.broker != nil {
		lease.record.Boot = l.broker.boot
	}
	if lease.value, err = json.Marshal(lease.record); err != nil {
		return nil, fmt.Errorf("acquire lease %s: encode: %w", name, err)
	}
	// A broker that is out of reach for a while is waited for like a holder.
	if err := retry(ctx, func() error { return lease.contend(ctx) }); err != nil {
		return nil, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	lease.stop, err = l.spawn(func(background context.Context) {
		defer close(lease.stopped)
		lease.keep(background)
	})
	if err != nil {
		return nil, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	return lease, nil
}

// contend watches the name until it can be taken, and takes it.
func (l *Lease) contend(ctx context.Context) error {
	watch, stop := context.WithCancel(ctx)
	defer stop()
	changes, err := l.bucket.Watch(watch, l.name)
	if err != nil {
		return err
	}
	var seen Entry
	expired := time.NewTimer(l.record.TTL)
	defer expired.Stop()
	for {
		var free bool
		select {
		case e, ok := <-changes:
			switch {
			case !ok && ctx.Err() != nil:
				return ctx.Err()
			case !ok:
				return fmt.Errorf("%w: the watch ended", schemas.ErrUnavailable)
			case e.Key == "": // the present value, if there is one, was sent before
				free = seen.Key == ""
			default:
				var patience time.Duration
				free, patience = l.judge(e)
				if l.yield && !free && e.Revision > seen.Revision && nonceOf(e) == nonceOf(seen) {
					return fmt.Errorf("somebody else holds it: %w", schemas.ErrConflict)
				}
				seen = e
				expired.Reset(patience)
			}
		case <-expired.C:
			free = true
		}
		if !free {
			continue
		}
		taken, err := l.take(ctx, seen.Revision)
		if taken || err != nil {
			return err
		}
		// Someone else was faster, and may have done with it in a moment. Look at what they
		// wrote, in case the watch lost its connection; a read that is behind only makes
		// us wait longer.
		if e, err := l.bucket.Get(ctx, l.name); err == nil && e.Revision > seen.Revision {
			seen = e
		}
		expired.Reset(l.record.TTL)
	}
}

// nonceOf is that of who holds a name, "" if nobody does.
func nonceOf(e Entry) string {
	var rec leaseRecord
	if e.Deleted || json.Unmarshal(e.Value, &rec) != nil || rec.Released {
		return ""
	}
	return rec.Nonce
}

// judge says whether a name is free, and else how long its holder may be silent.
func (l *Lease) judge(e Entry) (free bool, patience time.Duration) {
	var rec leaseRecord
	if e.Deleted || json.Unmarshal(e.Value, &rec) != nil {
		return true, l.record.TTL
	}
	// Our own nonce is a take of ours whose acknowledgement was lost.
	free = rec.Released || rec.Boot != l.record.Boot || rec.Nonce == l.record.Nonce
	return free, max(rec.TTL, leaseTTLMin)
}

// take tries once to replace the given revision, 0 for none.
func (l *Lease) take(ctx context.Context, revision uint64) (bool, error) {
	start := time.Now()
	rev, err := l.bucket.Update(ctx, l.name, l.value, revision)
	if errors.Is(err, schemas.ErrConflict) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l.token, l.revision = rev, rev
	l.until = start.Add(l.trust())
	return true, nil
}

// trust is how long after a renewal began the holder relies on it: a fifth less
// than others wait, for clocks that run at different speeds and for the time
// between a check and the act it guards.
func (l *Lease) trust() time.Duration { return l.record.TTL * 4 / 5 }

// keep renews the lease until ctx ends or it is lost.
func (l *Lease) keep(ctx context.Context) {
	defer l.lose()
	tick := time.NewTicker(l.record.TTL / 4)
	defer tick.Stop()
	for {
		l.mu.Lock()
		trusted := time.NewTimer(time.Until(l.until))
		l.mu.Unlock()
		held := false
		select {
		case <-ctx.Done():
		case <-trusted.C:
		case <-tick.C:
			held = l.renew(ctx)
		}
		trusted.Stop()
		if !held {
			return
		}
	}
}

// renew writes the lease again. It returns false when the lease is over: someone
// else has it, or the time it was trusted for has passed.
func (l *Lease) renew(ctx context.Context) bool {
	l.mu.Lock()
	revision, until := l.revision, l.until
	l.mu.Unlock()
	start := time.Now()
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	rev, err := l.bucket.Update(ctx, l.name, l.value, revision)
	if errors.Is(err, schemas.ErrConflict) {
		if rev, err = l.own(ctx); errors.Is(err, schemas.ErrConflict) {
			return false
		}
		// What stands was written by a renewal before this one; it does not extend
		// the trust, the next one will.
		start = until.Add(-l.trust())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.revision, l.until = rev, start.Add(l.trust())
	}
	return time.Now().Before(l.until)
}

// own returns the revision that stands if it is this acquisition's, as it is when
// the acknowledgement of a renewal was lost.
func (l *Lease) own(ctx context.Context) (uint64, error) {
	e, err := l.bucket.Get(ctx, l.name)
	if err != nil {
		return 0, err
	}
	var rec leaseRecord
	if json.Unmarshal(e.Value, &rec) != nil || rec.Nonce != l.record.Nonce {
		return 0, schemas.ErrConflict
	}
	return e.Revision, nil
}

func (l *Lease) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
	if !l.isLost {
		l.isLost = true
		close(l.lost)
	}
}

// Lost is closed when the lease is over, released or not.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Valid reports that nobody else can hold the lease now. Ask it right before
// each act that needs the lease.
func (l *Lease) Valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until)
}

// Token is the fencing token: larger than that of every earlier holder.
func (l *Lease) Token() uint64 { return l.token }

// Release gives the lease up, so that the next holder need not wait. Whoever was
// told of the loss stays told. A lease that is lost already is no error.
func (l *Lease) Release(ctx context.Context) error {
	held := l.Valid()
	l.stop()
	<-l.stopped
	if !held {
		return nil
	}
	record := l.record
	record.Released = true
	value, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("release lease %s: encode: %w", l.name, err)
	}
	_, err = l.bucket.Update(ctx, l.name, value, l.revision)
	if errors.Is(err, schemas.ErrConflict) {
		// A renewal that stop cut off may have reached the broker.
		var revision uint64
		if revision, err = l.own(ctx); err == nil {
			_, err = l.bucket.Update(ctx, l.name, value, revision)
		}
	}
	if err != nil && !errors.Is(err, schemas.ErrConflict) {
		return fmt.Errorf("release lease %s: %w", l.name, err)
	}
	return nil
}
