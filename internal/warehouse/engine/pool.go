package engine

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// connsIdleMax bounds the idle connections kept. One costs about 100 KiB and 1 ms to make.
const connsIdleMax = 64

// pool hands out connections, each to one holder at a time, and bounds how many
// statements run and wait.
type pool struct {
	lib        *library
	dataDir    string
	running    *semaphore.Weighted
	waitMax    time.Duration
	queueMax   int
	maxThreads int

	mu      sync.Mutex // guards what follows; held for slice work only
	idle    []*conn    // oldest first
	waiting int
}

// session is what a connection carries: everything that a statement's meaning
// depends on besides its text.
type session struct {
	database string
	settings []setting // sorted by name
	readonly bool
}

type setting struct{ name, value string }

func (s session) key() string {
	var b strings.Builder
	b.WriteString(s.database)
	if s.readonly {
		b.WriteString("\x00readonly")
	}
	for _, kv := range s.settings {
		b.WriteString("\x00" + kv.name + "\x01" + kv.value)
	}
	return b.String()
}

// acquire waits for a turn and returns a connection with exactly this session.
func (p *pool) acquire(ctx context.Context, s session) (*conn, error) {
	if err := p.admit(ctx); err != nil {
		return nil, err
	}
	c, err := p.open(s)
	if err != nil {
		p.running.Release(1)
		return nil, err
	}
	return c, nil
}

func (p *pool) admit(ctx context.Context) error {
	if p.running.TryAcquire(1) {
		return nil
	}
	p.mu.Lock()
	full := p.waiting >= p.queueMax
	if !full {
		p.waiting++
	}
	p.mu.Unlock()
	if full {
		return exceptionf(codeTooManyQueries, "TOO_MANY_SIMULTANEOUS_QUERIES", "%d statements are waiting already, the limit is %d", p.queueMax, p.queueMax)
	}
	ctx, cancel := context.WithTimeout(ctx, p.waitMax)
	defer cancel()
	err := p.running.Acquire(ctx, 1)
	p.mu.Lock()
	p.waiting--
	p.mu.Unlock()
	if err != nil {
		return exceptionf(codeTooManyQueries, "TOO_MANY_SIMULTANEOUS_QUERIES", "waited %s for a free connection", p.waitMax)
	}
	return nil
}

func (p *pool) open(s session) (*conn, error) {
	key := s.key()
	p.mu.Lock()
	for i, c := range slices.Backward(p.idle) {
		if c.key == key {
			p.idle = slices.Delete(p.idle, i, i+1)
			p.mu.Unlock()
			return c, nil
		}
	}
	p.mu.Unlock()
	c, err := p.lib.open([]string{"clickhouse", "--path=" + p.dataDir})
	if err != nil {
		return nil, err
	}
	c.key = key
	if err := s.apply(c, p.maxThreads); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// apply makes a fresh connection carry the session. readonly comes last: after
// it nothing can be set any more.
func (s session) apply(c *conn, threads int) error {
	if s.database != "" {
		if _, err := c.exec("USE "+quoteName(s.database), "Null", nil, 0); err != nil {
			return err
		}
	}
	// In chDB a word alone is a SELECT of it, so that a mistyped statement gets a
	// misleading answer.
	set := "SET implicit_select = 0, max_threads = " + strconv.Itoa(threads)
	for _, kv := range s.settings {
		set += ", " + kv.name + " = " + quoteString(kv.value)
	}
	if s.readonly {
		set += ", allow_introspection_functions = 0"
	}
	if _, err := c.exec(set, "Null", nil, 0); err != nil {
		return err
	}
	if s.readonly {
		_, err := c.exec("SET readonly = 1", "Null", nil, 0)
		return err
	}
	return nil
}

// release gives a connection back. One that is spoiled (its session may differ
// from its key, or its state is unknown) is closed.
func (p *pool) release(c *conn, spoiled bool) {
	var drop *conn
	p.mu.Lock()
	if spoiled {
		drop = c
	} else {
		p.idle = append(p.idle, c)
		if len(p.idle) > connsIdleMax {
			drop, p.idle = p.idle[0], p.idle[1:]
		}
	}
	p.mu.Unlock()
	if drop != nil {
		drop.close()
	}
	p.running.Release(1)
}

func quoteString(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func quoteName(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
}
