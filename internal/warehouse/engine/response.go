package engine

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
)

// response writes one statement's outcome. Until the first bytes go out an
// error is an HTTP error; after that it is a framed exception at the end of the
// body, which clients of ClickHouse look for.
type response struct {
	w       http.ResponseWriter
	st      *statement
	started time.Time
	accept  string

	begun   bool
	body    io.Writer
	enc     encoder // nil without compression
	tag     string
	summary summary
}

// summary is the X-ClickHouse-Summary header. Numbers are strings, as the server sends them.
type summary struct {
	readRows, readBytes, writtenRows, writtenBytes, resultBytes uint64
}

func newResponse(w http.ResponseWriter, r *http.Request, st *statement) *response {
	return &response{w: w, st: st, started: time.Now(), accept: r.Header.Get("Accept-Encoding"), tag: exceptionTag()}
}

// exceptionTag is 16 random letters, by which a framed exception is told from
// data that looks like one.
func exceptionTag() string { return strings.ToLower(rand.Text()[:16]) }

func (o *response) count(r result) {
	s := &o.summary
	s.readRows, s.readBytes = max(s.readRows, r.rowsRead), max(s.readBytes, r.bytesRead)
	s.writtenRows, s.writtenBytes = max(s.writtenRows, r.rowsWritten), max(s.writtenBytes, r.bytesWritten)
	s.resultBytes += uint64(len(r.data))
}

func (o *response) begin() error {
	o.begun = true
	h := o.w.Header()
	h.Set("X-ClickHouse-Server-Display-Name", displayName)
	h.Set("X-ClickHouse-Format", o.st.format)
	h.Set("X-ClickHouse-Timezone", "UTC")
	h.Set("X-ClickHouse-Exception-Tag", o.tag)
	if o.st.queryID != "" {
		h.Set("X-ClickHouse-Query-Id", o.st.queryID)
	}
	h.Set("X-ClickHouse-Summary", o.summaryJSON())
	h.Set("Content-Type", contentType(o.st.format))
	o.body = o.w
	switch {
	case o.st.nativeCompress:
		o.enc = newBlockEncoder(o.w, o.st.nativeMethod)
	case o.st.httpCompress:
		if name := chooseEncoding(o.accept); name != "" {
			h.Set("Content-Encoding", name)
			enc, err := newEncoder(name, o.w)
			if err != nil {
				return err
			}
			o.enc = enc
		}
	}
	if o.enc != nil {
		o.body = o.enc
	}
	return nil
}

func (o *response) summaryJSON() string {
	n := func(v uint64) string { return strconv.FormatUint(v, 10) }
	s := o.summary
	text, err := json.Marshal(map[string]string{
		"read_rows": n(s.readRows), "read_bytes": n(s.readBytes),
		"written_rows": n(s.writtenRows), "written_bytes": n(s.writtenBytes),
		"total_rows_to_read": "0", "result_rows": "0", "result_bytes": n(s.resultBytes),
		"elapsed_ns": n(uint64(time.Since(o.started).Nanoseconds())),
	})
	if err != nil {
		return "{}"
	}
	return string(text)
}

func (o *response) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if !o.begun {
		if err := o.begin(); err != nil {
			return err
		}
	}
	if _, err := o.body.Write(p); err != nil {
		return fmt.Errorf("write response: %w", err)
	}
	if o.st.streams() {
		return o.flush()
	}
	return nil
}

func (o *response) flush() error {
	if o.enc != nil {
		if err := o.enc.Flush(); err != nil {
			return fmt.Errorf("write response: %w", err)
		}
	}
	return http.NewResponseController(o.w).Flush()
}

// close ends a success. An empty result is a body of length zero, which it says,
// so that a client need not wait for a block that does not come.
func (o *response) close() error {
	if !o.begun {
		o.st.nativeCompress, o.st.httpCompress = false, false
		if err := o.begin(); err != nil {
			return err
		}
		o.w.Header().Set("Content-Length", "0")
		o.w.WriteHeader(http.StatusOK)
		return nil
	}
	if o.enc != nil {
		return o.enc.Close()
	}
	return nil
}

// fail ends a failure. It returns an error only when nothing was written yet.
func (o *response) fail(err error) error {
	if !o.begun {
		return err
	}
	var e *Exception
	if !errors.As(err, &e) {
		// The client is gone or the encoder broke; cutting the connection is all
		// that tells a client its result is not whole.
		panic(http.ErrAbortHandler)
	}
	frame := fmt.Sprintf("\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", o.tag, e.Message, len(e.Message)+1, o.tag)
	if _, werr := io.WriteString(o.body, frame); werr != nil {
		panic(http.ErrAbortHandler)
	}
	if o.enc != nil {
		_ = o.enc.Close()
	}
	// The body ends without its last chunk, so that a client that does not know
	// the frame still sees a failure and never a short result.
	_ = http.NewResponseController(o.w).Flush()
	panic(http.ErrAbortHandler)
}

func contentType(format string) string {
	switch f := strings.ToLower(format); {
	case strings.HasPrefix(f, "json") && strings.Contains(f, "eachrow"):
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(f, "json"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(f, "tab"), strings.HasPrefix(f, "tsv"):
		return "text/tab-separated-values; charset=UTF-8"
	case strings.HasPrefix(f, "csv"):
		return "text/csv; charset=UTF-8"
	case f == "native", strings.HasPrefix(f, "rowbinary"), f == "parquet", strings.HasPrefix(f, "arrow"), f == "orc":
		return "application/octet-stream"
	}
	return "text/plain; charset=UTF-8"
}

// fail answers with an error before anything of a result was written.
func fail(w http.ResponseWriter, err error) {
	var e *Exception
	if !errors.As(err, &e) {
		e = exceptionf(codeStdException, "STD_EXCEPTION", "%v", err)
	}
	writeException(w, statusOf(e.Code), e)
}

// statusOf follows the server's mapping, as far as clients look at it.
func statusOf(code int) int {
	switch code {
	case codeAuthFailed:
		return http.StatusUnauthorized
	case codeReadonly:
		return http.StatusForbidden
	case codeTooManyQueries, codeAborted:
		return http.StatusServiceUnavailable
	case codeNotImplemented:
		return http.StatusNotImplemented
	case codeBadArguments, codeSyntaxError, codeCannotParse, codeUnknownSetting, codeUnknownFormat:
		return http.StatusBadRequest
	case 47, 60, 81: // unknown identifier, table, database
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}

func writeException(w http.ResponseWriter, status int, err error) {
	var e *Exception
	if !errors.As(err, &e) {
		e = exceptionf(codeStdException, "STD_EXCEPTION", "%v", err)
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(e.Code))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, e.Message+"\n")
}

// authorized reports whether the request shows the token in one of the ways that
// clients of ClickHouse send a password.
func authorized(r *http.Request, token string) bool {
	shown := []string{r.Header.Get("X-ClickHouse-Key"), r.URL.Query().Get("password")}
	if _, password, ok := r.BasicAuth(); ok {
		shown = append(shown, password)
	}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		shown = append(shown, bearer)
	}
	want := sha256.Sum256([]byte(token))
	found := 0
	for _, s := range shown {
		have := sha256.Sum256([]byte(s))
		found |= subtle.ConstantTimeCompare(have[:], want[:])
	}
	return found == 1
}

const displayName = "panda engine"

// writeHello answers the first query of clickhouse-go. The client decodes this one
// answer at the newest revision it knows and the rest at the revision it says:
// zero makes all that follows the plain Native format that the engine writes.
func writeHello(w http.ResponseWriter, req *request) error {
	name, version, zone := new(chproto.ColStr), new(chproto.ColStr), new(chproto.ColStr)
	name.Append(displayName)
	version.Append(Version)
	zone.Append("UTC")
	revision := &chproto.ColUInt32{0}
	columns := []chproto.InputColumn{
		{Name: "displayName()", Data: name}, {Name: "version()", Data: version},
		{Name: "revision()", Data: revision}, {Name: "timezone()", Data: zone},
	}
	var buf chproto.Buffer
	block := chproto.Block{Columns: len(columns), Rows: 1}
	if err := block.EncodeBlock(&buf, int(req.revision), columns); err != nil {
		return fmt.Errorf("encode hello: %w", err)
	}
	var body io.Writer = w
	if req.nativeCompress {
		body = newBlockEncoder(w, req.nativeMethod)
	}
	w.Header().Set("X-ClickHouse-Format", "Native")
	_, err := body.Write(buf.Buf)
	return err
}
