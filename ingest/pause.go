package ingest

import (
	"context"
	"fmt"
	"sync"

	"github.com/agentik-os/panda/schemas"
)

// A pause is a request that the writer stop between two ranges.
type pause struct {
	granted chan context.Context // gets one; has room for it
	over    chan struct{}        // closed by whoever asked
}

// Pause waits until the writer leads and nothing of its is under way, and keeps it
// there, with the lease, until resume is called: every range that anybody has claimed
// is committed, so no commit can arrive meanwhile. Events go on the log as ever. The
// context it returns ends if the lease is lost. resume may be called more than once.
//
// The error matches schemas.ErrUnavailable if ctx ends first, because this writer does
// not lead.
func (w *Writer) Pause(ctx context.Context) (paused context.Context, resume func(), err error) {
	p := &pause{granted: make(chan context.Context, 1), over: make(chan struct{})}
	select {
	case w.pauses <- p:
		return <-p.granted, sync.OnceFunc(func() { close(p.over) }), nil
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("pause the writer: it does not write here: %w: %w", schemas.ErrUnavailable, ctx.Err())
	}
}

// mayPause returns where requests to pause come in, or nothing while a range is claimed
// that may not be committed: its commit could arrive in the pause.
func (w *Writer) mayPause() <-chan *pause {
	if w.claim.To > w.head.To {
		return nil
	}
	return w.pauses
}

// park is the pause. A crash in it leaves nothing: no range is under way.
func (w *Writer) park(ctx context.Context, lease Lease, p *pause) {
	held, cancel := context.WithCancel(ctx)
	defer cancel()
	p.granted <- held
	select {
	case <-p.over:
		return
	case <-lease.Lost():
	case <-ctx.Done():
	}
	// Whoever asked must have stopped before anything is written here again.
	cancel()
	<-p.over
}
