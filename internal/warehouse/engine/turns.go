package engine

import (
	"context"
	"sync"
	"time"
)

// turns lets one INSERT at a time into a table. What an insert has written is looked
// at before it is answered (see settle), and of two at once one could take the
// other's part for its own. Inserts come from few writers, each with a table of its
// own, so nobody waits in the usual case.
type turns struct {
	mu     sync.Mutex
	tables map[string]*turn
}

type turn struct {
	free  chan struct{} // holds one token while nobody inserts
	since time.Time     // when the holder began; zero while there is none
	doing string        // what the holder does, for who asks why it takes so long
}

// insertMax is how long one insert may hold its table. It is far beyond any disk's
// slowness and any client's patience: an engine that takes longer hangs.
const insertMax = 3 * time.Minute

// take waits for a table's turn. The returned function gives it back.
func (t *turns) take(ctx context.Context, database, table string) (done func(), err error) {
	name := database + "." + table
	t.mu.Lock()
	if t.tables == nil {
		t.tables = map[string]*turn{}
	}
	own := t.tables[name]
	if own == nil {
		own = &turn{free: make(chan struct{}, 1)}
		own.free <- struct{}{}
		t.tables[name] = own
	}
	t.mu.Unlock()
	select {
	case <-own.free:
	case <-ctx.Done():
		return nil, exceptionf(codeTooManyQueries, "TOO_MANY_SIMULTANEOUS_QUERIES", "another insert into %s has not ended", name)
	}
	t.set(own, time.Now(), turnRuns)
	return func() {
		t.set(own, time.Time{}, "")
		own.free <- struct{}{}
	}, nil
}

// What the holder of a turn does.
const (
	turnRuns    = "the engine runs it"
	turnSettles = "its parts are looked at"
)

func (t *turns) set(own *turn, at time.Time, doing string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	own.since, own.doing = at, doing
}

// settles notes that a table's insert has run and its parts are looked at.
func (t *turns) settles(database, table string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own := t.tables[database+"."+table]; own != nil {
		own.doing = turnSettles
	}
}

// stuck returns the table whose insert began before a moment and what it does, "" if
// there is none.
func (t *turns) stuck(before time.Time) (table, doing string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, own := range t.tables {
		if !own.since.IsZero() && own.since.Before(before) {
			return name, own.doing
		}
	}
	return "", ""
}
