package simulation

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
	"golang.org/x/sync/errgroup"
)

// signingKey signs envelopes.
const signingKey = "k"

// A node is one panda process that counts: live totals, a writer, a worker. It is
// wired as the binary wires them.
type node struct {
	s           *sim
	name        string
	incarnation int
	proc        *process
	live        *aggregate.Live
	worker      *rollup.Worker
	ended       chan error
	restartAt   time.Time
	offset      time.Duration // of its machine's clock; restarts keep it
	shifted     bool          // its clock was ever wrong
	// clockBackMax is what an operator allows after the writer halted.
	clockBackMax time.Duration
}

// newProcess makes a process that runs until it is killed.
func (s *sim) newProcess(name string) *process {
	ctx, cancel := context.WithCancel(s.ctx)
	return &process{name: name, ctx: ctx, cancel: cancel}
}

// start starts a node, or starts it again.
func (n *node) start() {
	n.incarnation++
	n.proc = n.s.newProcess(fmt.Sprintf("%s#%d", n.name, n.incarnation))
	n.proc.offset.Store(int64(n.offset))
	n.proc.passOffset.Store(int64(n.offset))
	n.restartAt = time.Time{}
	port := storePort{n.s, n.proc}
	n.live = aggregate.NewLive(aggregate.LiveConfig{Now: n.proc.now}, livePort{port})
	n.worker = rollup.New(rollup.Config{Now: n.proc.passNow}, rollupPort{port})
	var store ingest.Store = port
	if n.s.cfg.wrapStore != nil {
		store = n.s.cfg.wrapStore(n.s, port)
	}
	log := logPort{n.s, n.proc, n.proc.name}
	proc, live, worker := n.proc, n.live, n.worker
	var reported uint64 // the newest commit or resumption this writer reported
	writer := ingest.NewWriter(ingest.WriterConfig{
		Key: []byte(signingKey), Now: proc.now,
		BatchRowsMax: n.s.cfg.shape.batchRows, BatchRecordsMax: n.s.cfg.shape.batchRecords,
		CommitEvery: 100 * time.Millisecond, ClockBackMax: n.clockBackMax,
		Claims: n.s.newClaims(proc),
		Acquire: func(ctx context.Context) (ingest.Lease, error) {
			lease, err := n.s.leases.acquire(ctx, proc)
			if err == nil {
				n.s.mu.Lock()
				n.s.writerOf[lease.Token()] = n.name
				n.s.mu.Unlock()
			}
			return lease, err
		},
		OnCommit: func(rows []schemas.Accepted, to uint64) {
			reported = to
			live.Apply(rows, to)
			worker.Nudge()
		},
		OnResume: func(ctx context.Context, position uint64) error {
			if reported > 0 && position > reported {
				n.s.note("a writer resumed beyond what it had reported")
			}
			reported = position
			return n.resumed(ctx, live, worker, position)
		},
	}, log, store, pricePort{n.s, proc})
	ended := make(chan error, 1)
	n.ended = ended
	n.s.all.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				ended <- fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		group, ctx := errgroup.WithContext(proc.ctx)
		for {
			err := live.Rebuild(ctx)
			if err == nil {
				break
			}
			if !errors.Is(err, schemas.ErrUnavailable) {
				ended <- err
				return
			}
			n.s.wait(500 * time.Millisecond)
		}
		group.Go(func() error { return writer.Run(ctx) })
		group.Go(func() error { return worker.Run(ctx) })
		ended <- group.Wait()
	})
}

// resumed is what the binary does when its writer takes up.
func (n *node) resumed(ctx context.Context, live *aggregate.Live, worker *rollup.Worker, position uint64) error {
	if live.Position().Seq < position {
		if err := live.Rebuild(ctx); err != nil {
			return err
		}
	}
	worker.Nudge()
	return nil
}

// note is rare for those who are not the scheduler.
func (s *sim) note(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rare(path)
}

// kill ends a node at once: nothing it asks from now on is heard.
func (n *node) kill(restartAfter time.Duration) {
	if n.proc.dead() {
		return
	}
	for _, o := range n.s.pending {
		if o.proc == n.proc && o.kind == "recompute" {
			n.s.rare("a node died in a rollup pass")
		}
		if o.proc == n.proc && o.kind == "commit" {
			n.s.rare("a node died in a commit")
		}
	}
	n.proc.cancel()
	n.restartAt = time.Now().Add(restartAfter)
}

// supervise starts what has ended again, as a service manager does, and notices
// what must not happen.
func (s *sim) supervise() {
	for _, n := range s.nodes {
		select {
		case err := <-n.ended:
			s.nodeEnded(n, err)
		default:
		}
		if !n.restartAt.IsZero() && !n.restartAt.After(time.Now()) {
			n.start()
			s.trace("%s starts", n.proc.name)
		}
	}
}

func (s *sim) nodeEnded(n *node, err error) {
	killed := n.proc.dead()
	n.proc.cancel()
	if s.halting && errors.Is(err, ingest.ErrLogBehind) {
		s.halted = true
		return
	}
	if invariant.Of(err) == invariant.ClockGoesOn && n.clockBackMax == 0 {
		s.rare("a writer halted before a clock that went back")
		n.clockBackMax = 10 * 365 * 24 * time.Hour // somebody looks at it, and starts it again
		n.restartAt = time.Now().Add(time.Second)
		return
	}
	if !killed && err != nil && !errors.Is(err, schemas.ErrUnavailable) {
		s.fail("%s stopped: %v", n.proc.name, err)
		return
	}
	if n.restartAt.IsZero() {
		n.restartAt = time.Now().Add(500 * time.Millisecond)
	}
}

// pricePort gives the price books. Revision n is n times as dear as the first.
type pricePort struct {
	s    *sim
	proc *process
}

func (p pricePort) Book(ctx context.Context, revision uint32) (book *schemas.PriceBook, err error) {
	err = p.s.call(ctx, p.proc.name, &op{kind: "book", proc: p.proc, faults: []outcome{dropped}, apply: func() error {
		book = p.s.cfg.books[revision]
		return nil
	}})
	return book, err
}
