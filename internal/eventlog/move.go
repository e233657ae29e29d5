package eventlog

import (
	"errors"
	"sync"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// mover leaves a server of a cluster that answers pings and gets nothing stored,
// as one does that the others are cut off from. The connection to it is whole, so
// the client would stay for ever, next to servers that could store.
type mover struct {
	// after is how long nothing may be stored before the next server is tried.
	after time.Duration
	leave func() error

	mu sync.Mutex
	// since is when something was stored last, or a server was left, or it began.
	since time.Time
}

func newMover(after time.Duration, leave func() error) *mover {
	return &mover{after: after, leave: leave, since: time.Now()}
}

// outcome is told how each try to store something ended. It reports whether the
// server was left for it.
func (m *mover) outcome(err error) (left bool) {
	if m == nil {
		return false
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !errors.Is(err, schemas.ErrUnavailable) || errors.Is(err, ErrFull) || errors.Is(err, ErrClosed) {
		m.since = now // it answered
		return false
	}
	if now.Sub(m.since) < m.after {
		return false
	}
	m.since = now
	return m.leave() == nil
}
