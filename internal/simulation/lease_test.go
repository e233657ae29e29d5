package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/schemas"
)

// leaseTTL is how long a holder may be silent before another takes over.
const leaseTTL = 2 * time.Second

// leaseService lends one lease. Its holder trusts it a fifth shorter than others
// wait, as the real one does.
type leaseService struct {
	s       *sim
	holder  *leaseStandIn
	token   uint64
	renewed time.Time
}

type leaseStandIn struct {
	s     *sim
	proc  *process
	token uint64
	lost  chan struct{}

	// mu is held for a moment only: the writer asks, the scheduler changes.
	mu       locked
	until    time.Time
	released bool
	told     bool
}

func (l *leaseStandIn) Valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.released && time.Now().Before(l.until)
}

func (l *leaseStandIn) Token() uint64         { return l.token }
func (l *leaseStandIn) Lost() <-chan struct{} { return l.lost }

func (l *leaseStandIn) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
}

func (l *leaseStandIn) isReleased() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.released && !l.proc.dead() // the release of a dead process is not heard
}

func (v *leaseService) free() bool {
	return v.holder == nil || v.holder.isReleased() || time.Since(v.renewed) >= leaseTTL
}

// acquire waits for the lease.
func (v *leaseService) acquire(ctx context.Context, p *process) (ingest.Lease, error) {
	var l *leaseStandIn
	err := v.s.call(ctx, p.name, &op{kind: "acquire", proc: p, faults: []outcome{dropped}, ready: v.free, apply: func() error {
		if v.holder != nil && v.holder.proc != p {
			v.s.rare("another node took the lease")
			if !v.holder.proc.dead() && !v.holder.isReleased() {
				v.s.rare("the lease was taken from a node that lives")
			}
		}
		v.token++
		l = &leaseStandIn{s: v.s, proc: p, token: v.token, lost: make(chan struct{}), until: time.Now().Add(leaseTTL * 4 / 5)}
		p.token = v.token
		v.holder, v.renewed = l, time.Now()
		v.s.given = append(v.s.given, l)
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// claimService keeps the claim of the shard, with a revision that every update
// must know. Only the scheduler touches it.
type claimService struct {
	claim    ingest.Claim
	revision uint64
}

// claimPort is the claim as one process sees it. Updates are compare-and-set, so
// one that arrives late or twice finds another revision and changes nothing.
type claimPort struct {
	s        *sim
	proc     *process
	revision uint64 // as this process took or put it; its writer's alone
}

var _ ingest.Claims = (*claimPort)(nil)

func (s *sim) newClaims(p *process) ingest.Claims {
	port := &claimPort{s: s, proc: p}
	if s.cfg.noClaims {
		return forgetful{port}
	}
	return port
}

func (c *claimPort) update(ctx context.Context, kind string, revision func() uint64, f func()) (at uint64, err error) {
	err = c.s.call(ctx, c.proc.name, &op{kind: kind, proc: c.proc, write: true, faults: []outcome{dropped, lost, late, twice},
		apply: func() error {
			if revision() != c.s.claims.revision {
				c.s.rare("a claim was refused because another writer took it")
				return fmt.Errorf("%s: %w", kind, schemas.ErrConflict)
			}
			f()
			c.s.claims.revision++
			at = c.s.claims.revision
			return nil
		}})
	return at, err
}

func (c *claimPort) Take(ctx context.Context) (claim ingest.Claim, err error) {
	var seen uint64
	err = storePort{c.s, c.proc}.read(ctx, "claim-get", func() { claim, seen = c.s.claims.claim, c.s.claims.revision })
	if err != nil {
		return claim, err
	}
	at, err := c.update(ctx, "claim-take", func() uint64 { return seen }, func() {})
	if errors.Is(err, schemas.ErrConflict) {
		return c.Take(ctx)
	}
	c.revision = at
	return claim, err
}

func (c *claimPort) Put(ctx context.Context, claim ingest.Claim) error {
	seen := c.revision
	at, err := c.update(ctx, "claim-put", func() uint64 { return seen }, func() { c.s.claims.claim = claim })
	if err == nil {
		c.revision = at
	}
	return err
}

// tick renews the lease of a holder that can, and tells those who lost theirs.
func (v *leaseService) tick() {
	now := time.Now()
	if h := v.holder; h != nil && !h.proc.dead() && !h.isReleased() && !h.proc.pausedUntil.After(now) &&
		!v.s.unleased[h.proc.name].After(now) && now.Sub(v.renewed) >= leaseTTL/4 && h.Valid() {
		v.renewed = now
		h.mu.Lock()
		h.until = now.Add(leaseTTL * 4 / 5)
		h.mu.Unlock()
	}
	v.s.given = slices.DeleteFunc(v.s.given, func(l *leaseStandIn) bool {
		if l.proc.dead() || l.isReleased() || l.told {
			return true
		}
		// The writer hears of the loss while it waits for nothing else: which of two
		// things a goroutine sees first must not be left to the runtime.
		if l.Valid() || l.proc.pausedUntil.After(now) || v.s.writerBusy(l.proc) {
			return false
		}
		l.told = true
		close(l.lost)
		return true
	})
}

// writerBusy reports whether the writer of a process waits for an answer.
func (s *sim) writerBusy(p *process) bool {
	return slices.ContainsFunc(s.pending, func(o *op) bool {
		return o.proc == p && o.kind != "log-next" && !ofRollups(o.kind)
	})
}
