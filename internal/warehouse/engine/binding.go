package engine

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is libchdb's C interface (chdb.h of release 26.5), as far as it is used.
// Every call may block for as long as a query runs.
type library struct {
	connect    func(argc int32, argv **byte) uintptr
	close      func(connPtr uintptr)
	query      func(conn uintptr, q *byte, qn uintptr, f *byte, fn uintptr) uintptr
	queryWith  func(conn uintptr, q *byte, qn uintptr, f *byte, fn uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, n uintptr) uintptr
	stream     func(conn uintptr, q *byte, qn uintptr, f *byte, fn uintptr) uintptr
	streamWith func(conn uintptr, q *byte, qn uintptr, f *byte, fn uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, n uintptr) uintptr
	fetch      func(conn, result uintptr) uintptr
	cancel     func(conn, result uintptr)
	destroy    func(result uintptr)

	resultError  func(result uintptr) uintptr
	resultBuffer func(result uintptr) uintptr
	resultLen    func(result uintptr) uintptr
	rowsRead     func(result uintptr) uint64
	bytesRead    func(result uintptr) uint64
	rowsWritten  func(result uintptr) uint64
	bytesWritten func(result uintptr) uint64

	signalHandlers func(enabled bool)
}

// load opens the verified library. RTLD_LOCAL keeps its symbols (its own malloc
// among them) away from whatever else the process links.
func load(path string) (*library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load engine library: %w", err)
	}
	lib := &library{}
	for name, fn := range map[string]any{
		"chdb_connect": &lib.connect, "chdb_close_conn": &lib.close,
		"chdb_query_n": &lib.query, "chdb_query_with_params_n": &lib.queryWith,
		"chdb_stream_query_n": &lib.stream, "chdb_stream_query_with_params_n": &lib.streamWith,
		"chdb_stream_fetch_result": &lib.fetch, "chdb_stream_cancel_query": &lib.cancel,
		"chdb_destroy_query_result": &lib.destroy,
		"chdb_result_error":         &lib.resultError, "chdb_result_buffer": &lib.resultBuffer,
		"chdb_result_length": &lib.resultLen, "chdb_result_rows_read": &lib.rowsRead,
		"chdb_result_bytes_read": &lib.bytesRead, "chdb_result_rows_written": &lib.rowsWritten,
		"chdb_result_bytes_written": &lib.bytesWritten, "chdb_set_signal_handlers_enabled": &lib.signalHandlers,
	} {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return nil, fmt.Errorf("load engine library: %w", err)
		}
		purego.RegisterFunc(fn, symbol)
	}
	// Go's runtime needs its own SIGSEGV and SIGURG handlers; a fatal handler of
	// the library would also keep a crashed process alive for its report.
	lib.signalHandlers(false)
	return lib, nil
}

// conn is one session of the engine. It runs one statement at a time: a second
// one on a connection with an open stream would return an empty result as if it
// were a success, so only the pool hands connections out, to one holder.
type conn struct {
	lib    *library
	ptr    uintptr // chdb_connection *
	handle uintptr // chdb_connection
	key    string  // the settings it carries, see pool
}

func (l *library) open(args []string) (*conn, error) {
	argv := make([]*byte, 0, len(args)+1)
	for _, a := range args {
		argv = append(argv, cstring(a))
	}
	argv = append(argv, nil)
	ptr := l.connect(int32(len(args)), &argv[0])
	runtime.KeepAlive(argv)
	if ptr == 0 {
		// Seen when the process may not have more memory. No statement was begun.
		return nil, exceptionf(codeAborted, "ABORTED", "open engine connection: the library gave none")
	}
	return &conn{lib: l, ptr: ptr, handle: *(*uintptr)(foreign(ptr))}, nil
}

func (c *conn) close() { c.lib.close(c.ptr) }

// param is a value for a {name:Type} placeholder, in ClickHouse's escaped text form.
type param struct{ name, value string }

// result is what a statement left: its output, and how much it read and wrote.
// data is Go memory.
type result struct {
	data                                           []byte
	rowsRead, bytesRead, rowsWritten, bytesWritten uint64
}

// exec runs a statement to its end. limit bounds the output; over it the result
// is an error, not a cut-off output.
func (c *conn) exec(query, format string, params []param, limit int64) (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return c.take(c.start(query, format, params, false), limit)
}

// start calls one of the four query functions. The byte slices live in Go
// memory, are reachable from this frame until after the call, and the library
// keeps no pointer into them.
func (c *conn) start(query, format string, params []param, stream bool) uintptr {
	q, f := cstring(query), cstring(format)
	qn, fn := uintptr(len(query)), uintptr(len(format))
	var r uintptr
	if len(params) == 0 {
		if stream {
			r = c.lib.stream(c.handle, q, qn, f, fn)
		} else {
			r = c.lib.query(c.handle, q, qn, f, fn)
		}
	} else {
		n := len(params)
		names, values := make([]*byte, n), make([]*byte, n)
		nameLens, valueLens := make([]uintptr, n), make([]uintptr, n)
		for i, p := range params {
			names[i], values[i] = cstring(p.name), cstring(p.value)
			nameLens[i], valueLens[i] = uintptr(len(p.name)), uintptr(len(p.value))
		}
		call := c.lib.queryWith
		if stream {
			call = c.lib.streamWith
		}
		var pins runtime.Pinner // pointers to pointers must not move under the call
		for i := range params {
			pins.Pin(names[i])
			pins.Pin(values[i])
		}
		r = call(c.handle, q, qn, f, fn, &names[0], &nameLens[0], &values[0], &valueLens[0], uintptr(n))
		pins.Unpin()
		runtime.KeepAlive(names)
		runtime.KeepAlive(values)
	}
	runtime.KeepAlive(q)
	runtime.KeepAlive(f)
	return r
}

// take copies a result into Go memory and frees it.
func (c *conn) take(r uintptr, limit int64) (result, error) {
	if r == 0 {
		return result{}, exceptionf(codeStdException, "STD_EXCEPTION", "the engine returned no result")
	}
	defer c.lib.destroy(r)
	if err := c.failure(r); err != nil {
		return result{}, err
	}
	out := result{
		rowsRead: c.lib.rowsRead(r), bytesRead: c.lib.bytesRead(r),
		rowsWritten: c.lib.rowsWritten(r), bytesWritten: c.lib.bytesWritten(r),
	}
	n := int64(c.lib.resultLen(r))
	if n == 0 {
		return out, nil
	}
	if n > limit {
		return result{}, exceptionf(codeTooLarge, "TOO_MANY_ROWS_OR_BYTES",
			"the result has %d bytes, the limit is %d: add LIMIT or use a streaming format (Native, JSONEachRow, TabSeparated)", n, limit)
	}
	buf := c.lib.resultBuffer(r)
	if buf == 0 {
		return result{}, exceptionf(codeStdException, "STD_EXCEPTION", "the engine returned a length without a buffer")
	}
	out.data = append([]byte(nil), unsafe.Slice((*byte)(foreign(buf)), n)...)
	return out, nil
}

func (c *conn) failure(r uintptr) error {
	p := c.lib.resultError(r)
	if p == 0 {
		return nil
	}
	if text := gostring(p); text != "" {
		return parseException(text)
	}
	return nil
}

// cursor is an open stream of result blocks on a connection that it owns alone.
type cursor struct {
	conn   *conn
	handle uintptr
	limit  int64
}

// openCursor begins a streamed statement. The calling goroutine should hold its
// OS thread until the cursor is closed.
func (c *conn) openCursor(query, format string, params []param, limit int64) (*cursor, error) {
	r := c.start(query, format, params, true)
	if r == 0 {
		return nil, exceptionf(codeStdException, "STD_EXCEPTION", "the engine returned no result")
	}
	if err := c.failure(r); err != nil {
		c.lib.destroy(r)
		return nil, err
	}
	return &cursor{conn: c, handle: r, limit: limit}, nil
}

// next returns the next chunk; an empty one is the end.
func (cur *cursor) next() (result, error) {
	return cur.conn.take(cur.conn.lib.fetch(cur.conn.handle, cur.handle), cur.limit)
}

// close ends the stream wherever it is.
func (cur *cursor) close() {
	cur.conn.lib.cancel(cur.conn.handle, cur.handle)
	cur.conn.lib.destroy(cur.handle)
}

// foreign turns an address that the library gave into a pointer. The memory is
// not Go's, so the collector has nothing to say about it; the detour keeps vet's
// rule about uintptr conversions meaningful everywhere else.
func foreign(addr uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

func cstring(s string) *byte {
	b := make([]byte, len(s)+1)
	copy(b, s)
	return &b[0]
}

func gostring(addr uintptr) string {
	p := foreign(addr)
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}
