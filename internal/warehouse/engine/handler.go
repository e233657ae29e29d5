package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// handler answers ClickHouse's HTTP interface. One exists per door.
type handler struct {
	pool     *pool
	killer   *killer
	log      zerolog.Logger
	cfg      *Config
	readonly bool
	nextID   *atomic.Uint64
	pinger   *pinger
	turns    *turns
}

// chunkMax bounds one block of a streamed result; the engine cuts them at 65,409
// rows, so this is reached by rows of kilobytes only.
const chunkMax = 1 << 30

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ping":
		h.servePing(w)
		return
	case "/":
	default:
		writeException(w, http.StatusNotFound, exceptionf(codeBadArguments, "BAD_ARGUMENTS", "There is no handle %s", r.URL.Path))
		return
	}
	if h.readonly && !authorized(r, h.cfg.Token) {
		w.Header().Set("WWW-Authenticate", `Basic realm="panda engine"`)
		writeException(w, http.StatusUnauthorized, exceptionf(codeAuthFailed, "AUTHENTICATION_FAILED",
			"default: Authentication failed: the token is missing or wrong"))
		return
	}
	req, err := readRequest(r, h.cfg.MaxBodyBytes)
	if err == nil {
		err = h.serveQuery(w, r, req)
	}
	if err != nil {
		fail(w, err)
	}
}

// servePing answers from the engine, not only from this process: a hang inside
// the library must be seen by the parent's watchdog.
func (h *handler) servePing(w http.ResponseWriter) {
	err := h.pinger.ping()
	if table, doing := h.turns.stuck(time.Now().Add(-insertMax)); err == nil && table != "" {
		err = exceptionf(codeTimeout, "TIMEOUT_EXCEEDED", "an insert into %s has not ended for %s: %s", table, insertMax, doing)
		h.log.Error().Err(err).Str("statements", h.pinger.statements()).Str("threads", threads("/proc/self/task")).Msg("an insert hangs")
	}
	if err != nil {
		writeException(w, http.StatusServiceUnavailable, err)
		return
	}
	fmt.Fprint(w, "Ok.\n")
}

// statement is a request made ready for the engine.
type statement struct {
	*request
	marker  string
	kind    string
	format  string // of the output
	spoils  bool
	infile  int // memfd with an INSERT's data, or -1
	reading bool

	database, table string // of an INSERT, "" if it is into a function
}

func (h *handler) serveQuery(w http.ResponseWriter, r *http.Request, req *request) error {
	if req.isHello() {
		return writeHello(w, req)
	}
	st, err := h.prepare(req)
	if err != nil {
		return err
	}
	defer st.closeData()
	if st.kind == "INSERT" {
		if st.database, st.table = insertTarget(st.sql, st.params); st.table != "" {
			st.database = firstOf(st.database, st.session.database, h.cfg.Database)
			done, err := h.turns.take(r.Context(), st.database, st.table)
			if err != nil {
				return err
			}
			defer done()
		}
	}
	c, err := h.pool.acquire(r.Context(), req.session)
	if err != nil {
		return err
	}
	spoiled := true // until the statement's end is known to have left nothing behind
	defer func() { h.pool.release(c, spoiled) }()
	// An insert's data is here already, so it is not cut short by a client that
	// leaves: it has an outcome either way, and the client asks again.
	if st.infile < 0 {
		stop := h.killer.watch(r.Context(), st.marker)
		defer stop()
	}
	out := newResponse(w, r, st)
	began := time.Now()
	err = h.run(c, st, out)
	if err == nil && settledKinds[strings.ToLower(st.kind)] {
		if st.table != "" {
			h.turns.settles(st.database, st.table)
		}
		err = h.settle(c, st, began)
	}
	// After a failure the connection still holds what the statement had put out,
	// and would answer the next one with it.
	spoiled = st.spoils || err != nil
	if err != nil {
		return out.fail(err)
	}
	return out.close()
}

func (h *handler) prepare(req *request) (*statement, error) {
	st := &statement{request: req, marker: marker(h.nextID.Add(1)), infile: -1}
	head := lex(req.sql, 8)
	st.kind = kind(head)
	tokens := head
	if st.kind != "INSERT" || h.readonly {
		tokens = lex(req.sql, 0)
	}
	st.format = firstOf(outputFormat(tokens), req.format)
	st.reading = readingKinds[strings.ToLower(st.kind)]
	st.spoils = st.kind != "INSERT" && spoils(tokens)
	if n := len(tokens); st.kind == "DROP" && n > 0 && (tokens[n-1].is("SYNC") || n > 1 && tokens[n-2].is("SYNC")) {
		// Measured: it never returns. The library does not run the server's task
		// that removes dropped tables.
		return nil, exceptionf(codeNotImplemented, "NOT_IMPLEMENTED", "DROP … SYNC does not end in the embedded engine: leave SYNC out")
	}
	if h.readonly {
		req.session.readonly = true
		if strings.EqualFold(req.session.database, "default") {
			return nil, refused("the database `default` is not offered")
		}
		req.session.database = firstOf(req.session.database, h.cfg.Database)
		if err := errors.Join(fence(tokens, st.format), fenceSettings(req.session.settings)); err != nil {
			return nil, err
		}
	}
	if st.kind == "INSERT" && len(req.data) > 0 {
		return st, st.stashData()
	}
	return st, nil
}

// stashData moves an INSERT's data into an anonymous file that the engine reads
// by its descriptor: inline data is cut at a semicolon.
func (st *statement) stashData() error {
	fd, err := unix.MemfdCreate("insert", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make memory file: %w", err)
	}
	st.infile = fd
	for data := st.data; len(data) > 0; {
		n, err := unix.Write(fd, data)
		if err != nil {
			st.closeData()
			return fmt.Errorf("fill memory file: %w", err)
		}
		data = data[n:]
	}
	st.data = nil
	head := splitInsert(st.sql)
	st.sql = fmt.Sprintf("%s FROM INFILE '/proc/self/fd/%d' %s", strings.TrimRight(head.into, " \t\r\n"), fd, head.tail)
	return nil
}

func (st *statement) closeData() {
	if st.infile >= 0 {
		_ = unix.Close(st.infile)
		st.infile = -1
	}
}

// streams reports whether the result may be passed on block by block. A format
// with a head or a foot must be written as a whole.
func (st *statement) streams() bool {
	if st.kind != "SELECT" && st.kind != "WITH" {
		return false
	}
	switch strings.ToLower(st.format) {
	case "native", "rowbinary", "jsoneachrow", "ndjson", "jsonlines", "jsoncompacteachrow", "tabseparated", "tsv", "tabseparatedraw", "tsvraw":
		return true
	}
	return false
}

func (h *handler) run(c *conn, st *statement, out *response) error {
	runtime.LockOSThread() // the library keeps state of a query in its thread
	defer runtime.UnlockOSThread()
	sql := st.marker + st.sql
	if !st.streams() {
		res, err := c.exec(sql, st.format, st.params, h.cfg.MaxResultBytes)
		if err != nil {
			return err
		}
		out.count(res)
		return out.write(res.data)
	}
	cur, err := c.openCursor(sql, st.format, st.params, chunkMax)
	if err != nil {
		return err
	}
	defer cur.close()
	for {
		res, err := cur.next()
		if err != nil {
			return err
		}
		out.count(res)
		if len(res.data) == 0 {
			return nil
		}
		if err := out.write(res.data); err != nil {
			return err
		}
	}
}

// killer stops the statements of clients that went away, over a connection of
// its own, so that a full pool cannot keep it from doing so.
type killer struct {
	mu   sync.Mutex // one KILL at a time on conn
	conn *conn
	log  zerolog.Logger
}

// killRetry is how often a kill is repeated until its statement has ended: a
// kill that comes before the statement is registered finds nothing.
const killRetry = 50 * time.Millisecond

// watch kills the statement with this marker once ctx ends. The returned
// function ends the watch and waits for it.
func (k *killer) watch(ctx context.Context, marker string) (stop func()) {
	ended, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		tick := time.NewTicker(killRetry)
		defer tick.Stop()
		for {
			k.kill(marker)
			select {
			case <-ended:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(ended); <-left }
}

func (k *killer) kill(marker string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	sql := "KILL QUERY WHERE startsWith(query, " + quoteString(strings.TrimSpace(marker)) + ") ASYNC"
	if _, err := k.conn.exec(sql, "Null", nil, 0); err != nil {
		k.log.Warn().Err(err).Msg("kill query of a client that left")
	}
}

// pinger asks the engine for one row on a connection of its own. A ping that
// hangs makes the next ones wait for it, which is what a ping should report.
type pinger struct {
	mu   sync.Mutex
	conn *conn
}

func (p *pinger) ping() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	res, err := p.conn.exec("SELECT 1", "TabSeparated", nil, 16)
	if err == nil && string(res.data) != "1\n" {
		err = exceptionf(codeStdException, "STD_EXCEPTION", "the engine answered a ping with %q", res.data)
	}
	return err
}
