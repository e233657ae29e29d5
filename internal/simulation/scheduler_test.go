package simulation

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// An outcome is what happens to a call through a port.
type outcome string

const (
	applied outcome = "applied" // it happens and is answered
	dropped outcome = "dropped" // it fails and does not happen
	lost    outcome = "lost"    // it happens and its answer does not arrive
	late    outcome = "late"    // it fails, and happens afterwards
	twice   outcome = "twice"   // it happens, is answered, and happens again afterwards
	partial outcome = "partial" // a part of it happens, and it fails
	slow    outcome = "slow"    // it happens and is answered, long after it was asked
)

// An op is a call through a port that waits for the scheduler.
type op struct {
	name string // stable: who, what, the how-many-eth
	kind string
	proc *process
	// ready says whether the call can be answered yet; nil is always.
	ready func() bool
	// apply makes it happen. Its error is the answer. It runs on the scheduler's
	// goroutine, perhaps after the caller has gone, perhaps twice.
	apply func() error
	// part makes a part of it happen; dice choose which.
	part func(dice uint64)
	// faults are what may happen to it besides applied.
	faults []outcome
	// write: it changes something, so it may be under way when its caller dies.
	write bool

	arrived int
	due     time.Time
	done    chan struct{}
	err     error
	how     outcome
	gone    bool // the caller does not wait any more
}

// A process is something that dies: a node, a gateway.
type process struct {
	name   string
	ctx    context.Context
	cancel context.CancelFunc
	token  uint64 // of the newest lease it was given
	// pausedUntil: until then no call of it moves.
	pausedUntil time.Time
	offset      atomic.Int64 // nanoseconds by which its clock is wrong
	// passOffset is the same for the rollup worker, which measures how long a pass
	// takes. A real clock that is set does not change that, because differences are
	// taken on the monotonic one; so this changes between passes.
	passOffset atomic.Int64
}

func (p *process) passNow() time.Time { return time.Now().Add(time.Duration(p.passOffset.Load())) }

func (p *process) now() time.Time { return time.Now().Add(time.Duration(p.offset.Load())) }

func (p *process) dead() bool { return p.ctx.Err() != nil }

// A lateOp happens at a time, whoever is left.
type lateOp struct {
	op *op
	at time.Time
}

// hash mixes the seed with names; every decision is a hash of what it is about, so
// that leaving one fault out leaves the dice of all others as they were.
func (s *sim) hash(parts ...string) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, s.cfg.seed)
	for _, p := range parts {
		_, _ = io.WriteString(h, "\x00"+p)
	}
	x := h.Sum64() // FNV's low bits are poor; mix them as splitmix64 does
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// permille is a roll of a die with a thousand sides.
func (s *sim) permille(parts ...string) int { return int(s.hash(parts...) % 1000) }

func (s *sim) between(low, high time.Duration, parts ...string) time.Duration {
	return low + time.Duration(s.hash(parts...)%uint64(high-low+1))
}

// call registers an operation and waits for what the scheduler makes of it.
func (s *sim) call(ctx context.Context, who string, o *op) error {
	if o.proc != nil && o.proc.dead() {
		return fmt.Errorf("%s: the process is dead: %w", o.kind, context.Canceled)
	}
	s.mu.Lock()
	key := who + "." + o.kind
	s.counters[key]++
	o.name = fmt.Sprintf("%s.%d", key, s.counters[key])
	o.done = make(chan struct{})
	s.arriving = append(s.arriving, o)
	s.mu.Unlock()
	var dead <-chan struct{}
	if o.proc != nil {
		dead = o.proc.ctx.Done()
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
	case <-dead:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o.gone = true
	return fmt.Errorf("%s: %w", o.name, context.Cause(ctxOr(ctx, o.proc)))
}

func ctxOr(ctx context.Context, p *process) context.Context {
	if ctx.Err() == nil && p != nil {
		return p.ctx
	}
	return ctx
}

// welcome takes in the calls that arrived since the last step, in order of name.
func (s *sim) welcome() {
	slices.SortFunc(s.arriving, func(a, b *op) int { return strings.Compare(a.name, b.name) })
	for _, o := range s.arriving {
		o.arrived = s.steps
		delay := s.between(0, 4*time.Millisecond, o.name, "latency")
		if s.fault(o.name+"~", o.kind, slow, 12) {
			delay = s.between(100*time.Millisecond, 1500*time.Millisecond, o.name, "slow")
		}
		o.due = time.Now().Add(delay)
	}
	s.pending = append(s.pending, s.arriving...)
	s.arriving = s.arriving[:0]
}

// forsake deals with the calls whose callers have gone: what changes something may
// have been sent, and then it happens.
func (s *sim) forsake() {
	s.pending = slices.DeleteFunc(s.pending, func(o *op) bool {
		if !o.gone {
			return false
		}
		if o.write && s.fault(o.name+"!", o.kind, late, 500) {
			s.later(o)
		}
		return true
	})
}

func (s *sim) later(o *op) {
	s.late = append(s.late, lateOp{o, time.Now().Add(s.between(time.Millisecond, 4*time.Second, o.name, "later"))})
}

// choose picks one of the calls that can be answered. None waits for ever: its
// rank counts from when it arrived.
func (s *sim) choose() *op {
	now := time.Now()
	var best *op
	var bestRank uint64
	for _, o := range s.pending {
		if o.due.After(now) || o.proc != nil && o.proc.pausedUntil.After(now) || o.ready != nil && !o.ready() {
			continue
		}
		rank := uint64(o.arrived)*4 + s.hash(o.name, "rank")%64
		if best == nil || rank < bestRank || rank == bestRank && o.name < best.name {
			best, bestRank = o, rank
		}
	}
	return best
}

var errFault = fmt.Errorf("injected: %w", schemas.ErrUnavailable)

// execute decides what happens to a call, and makes it happen.
func (s *sim) execute(o *op) {
	s.pending = slices.DeleteFunc(s.pending, func(p *op) bool { return p == o })
	o.how = s.decide(o)
	s.trace("%s %s", o.name, o.how)
	switch o.how {
	case applied:
		o.err = s.happen(o)
	case dropped:
		o.err = errFault
	case lost:
		if o.err = s.happen(o); o.err == nil {
			o.err = errFault
		}
		if o.kind == "commit" {
			s.rare("the answer to a commit was lost")
		}
	case late:
		o.err = errFault
		s.later(o)
	case twice:
		o.err = s.happen(o)
		s.later(o)
	case partial:
		o.part(s.hash(o.name, "part"))
		o.err = errFault
	}
	close(o.done)
}

// decide rolls the dice for a call. A store or a log that is down answers nothing.
func (s *sim) decide(o *op) outcome {
	down := s.storeDownUntil
	if strings.HasPrefix(o.kind, "log-") {
		down = s.logDownUntil
	}
	if len(o.faults) > 0 && down.After(time.Now()) && o.kind != "http" {
		return dropped
	}
	if len(o.faults) == 0 {
		return applied
	}
	how := o.faults[s.hash(o.name, "which")%uint64(len(o.faults))]
	if s.fault(o.name, o.kind, how, s.cfg.shape.faultPermille) {
		return how
	}
	return applied
}

func (s *sim) happen(o *op) error {
	if o.proc != nil && o.proc.token > 0 && o.proc.token < s.leases.token {
		switch o.kind {
		case "rows", "keys", "rejects":
			s.rare("a writer still inserted after another took over")
		case "commit":
			s.rare("a writer still committed after another took over")
		}
	}
	return o.apply()
}

// fault decides whether a fault is injected, and counts it. name is its identity:
// the same seed and name give the same answer, unless the fault is left out.
func (s *sim) fault(name, kind string, how outcome, permille int) bool {
	if s.calm || s.permille(name, "fault") >= permille {
		return false
	}
	if s.cfg.faults != nil && !s.cfg.faults[name] {
		return false
	}
	s.injected = append(s.injected, injected{name, fmt.Sprintf("%s: %s", kind, how), time.Since(s.began)})
	return true
}

// An injected fault, for the story.
type injected struct {
	name, what string
	at         time.Duration
}

// settleLate makes happen what is due, whoever sent it.
func (s *sim) settleLate() {
	now := time.Now()
	s.late = slices.DeleteFunc(s.late, func(l lateOp) bool {
		if l.at.After(now) {
			return false
		}
		s.trace("%s happens late", l.op.name)
		s.readerComes = s.readerComes || s.permille(l.op.name, "look late") < 4*s.cfg.shape.lookPermille
		if l.op.kind == "recompute" {
			s.rare("a recomputation of windows arrived late")
		}
		_ = s.happen(l.op) // nobody waits for the answer
		return true
	})
}

// untilNext returns how long nothing can become possible.
func (s *sim) untilNext() time.Duration {
	now := time.Now()
	next := now.Add(s.cfg.shape.tick)
	earlier := func(at time.Time) {
		if at.After(now) && at.Before(next) {
			next = at
		}
	}
	for _, o := range s.pending {
		earlier(o.due)
	}
	for _, l := range s.late {
		earlier(l.at)
	}
	if len(s.plan) > 0 {
		earlier(s.began.Add(s.plan[0].at))
	}
	return next.Sub(now)
}

// run is the scheduler: it waits until everybody rests, and lets one move.
func (s *sim) run() {
	for {
		synctest.Wait()
		s.mu.Lock() // nobody wants it now; who is let go waits until this step is over
		over, rest := s.step()
		s.mu.Unlock()
		if over {
			return
		}
		time.Sleep(rest)
	}
}

// step makes one step. It says whether the run is over, and else how long to rest.
func (s *sim) step() (over bool, rest time.Duration) {
	s.steps++
	s.welcome()
	s.forsake()
	s.settleLate()
	s.worldMoves()
	s.leases.tick()
	s.supervise()
	s.setPassClocks()
	if s.readerComes && s.violation == "" && s.phase < restoring {
		s.look()
	}
	s.readerComes = false
	if s.done() {
		return true, 0
	}
	o := s.choose()
	if o == nil {
		return false, s.untilNext()
	}
	s.execute(o)
	// Only what is written can make an answer wrong.
	s.readerComes = o.write && s.permille(o.name, "look") < s.cfg.shape.lookPermille
	return false, 0
}

// setPassClocks sets the clocks of rollup workers that are between two passes.
func (s *sim) setPassClocks() {
	for _, n := range s.nodes {
		if !slices.ContainsFunc(s.pending, func(o *op) bool { return o.proc == n.proc && ofRollups(o.kind) }) {
			n.proc.passOffset.Store(n.proc.offset.Load())
		}
	}
}

// ofRollups reports whether a call is one of a rollup worker.
func ofRollups(kind string) bool { return kind == "recompute" || strings.HasPrefix(kind, "rollup-") }

// trace writes a line to what two runs of a seed are compared by.
func (s *sim) trace(format string, args ...any) {
	s.lines++
	fmt.Fprintf(s.digest, "%d ", time.Since(s.began))
	fmt.Fprintf(s.digest, format+"\n", args...)
	if s.cfg.verbose != nil {
		fmt.Fprintf(s.cfg.verbose, "%10s  %s\n", time.Since(s.began), fmt.Sprintf(format, args...))
	}
}

// rare notes that a path was taken that only faults open.
func (s *sim) rare(path string) { s.rarePaths[path]++ }

// fail ends the run with the first thing that is wrong.
func (s *sim) fail(format string, args ...any) {
	if s.violation == "" {
		s.violation = fmt.Sprintf(format, args...)
		s.trace("VIOLATION %s", s.violation)
	}
}

// locked is a mutex that nobody holds while waiting for anything else: a bubble
// whose goroutine waits for a mutex does not count as resting.
type locked = sync.Mutex
