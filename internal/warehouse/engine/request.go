package engine

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// request is one HTTP request in ClickHouse's terms.
type request struct {
	sql     string // the statement, without data
	data    []byte // what follows it, if the statement came apart from it
	format  string // default output format
	queryID string
	params  []param
	session session
	// How the response is written.
	nativeCompress bool   // ClickHouse's own block compression
	nativeMethod   string // LZ4 or ZSTD
	httpCompress   bool
	revision       uint64 // client_protocol_version
}

// notSettings are URL parameters that are not settings of the engine: those of
// the HTTP interface itself, and settings that only steer a real server's HTTP
// connection, which this one answers by always waiting for the end or streaming.
var notSettings = words(`query database default_format query_id user password quota_key role compress decompress stacktrace
	client_protocol_version enable_http_compression http_zlib_compression_level wait_end_of_query buffer_size
	send_progress_in_http_headers http_headers_progress_interval_ms add_http_cors_header network_compression_method
	network_zstd_compression_level session_id session_timeout session_check close_session`)

var settingName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.]{0,127}$`)

// settingsMax bounds a request's settings; each distinct set is a connection of its own.
const settingsMax = 64

// readRequest takes a request apart. bodyMax bounds the body after decompression.
func readRequest(r *http.Request, bodyMax int64) (*request, error) {
	q := r.URL.Query()
	if q.Has("session_id") {
		return nil, exceptionf(codeNotImplemented, "NOT_IMPLEMENTED", "sessions over HTTP are not supported: send settings with each request")
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		return nil, exceptionf(codeNotImplemented, "NOT_IMPLEMENTED", "external tables are not supported: use parameters")
	}
	req := &request{
		format:         firstOf(r.Header.Get("X-ClickHouse-Format"), q.Get("default_format"), "TabSeparated"),
		queryID:        firstOf(q.Get("query_id"), r.Header.Get("X-ClickHouse-Query-Id")),
		nativeCompress: q.Get("compress") == "1",
		nativeMethod:   firstOf(q.Get("network_compression_method"), "LZ4"),
		httpCompress:   q.Get("enable_http_compression") == "1",
	}
	req.session.database = firstOf(q.Get("database"), r.Header.Get("X-ClickHouse-Database"))
	req.revision, _ = strconv.ParseUint(q.Get("client_protocol_version"), 10, 32)
	for name, values := range q {
		value := values[len(values)-1]
		switch {
		case strings.HasPrefix(name, "param_"):
			req.params = append(req.params, param{strings.TrimPrefix(name, "param_"), value})
		case notSettings[name]:
		case !settingName.MatchString(name):
			return nil, exceptionf(codeUnknownSetting, "UNKNOWN_SETTING", "Unknown setting %q", name)
		default:
			req.session.settings = append(req.session.settings, setting{name, value})
		}
	}
	if len(req.session.settings) > settingsMax {
		return nil, exceptionf(codeBadArguments, "BAD_ARGUMENTS", "%d settings, the limit is %d", len(req.session.settings), settingsMax)
	}
	slices.SortFunc(req.session.settings, func(a, b setting) int { return strings.Compare(a.name, b.name) })
	slices.SortFunc(req.params, func(a, b param) int { return strings.Compare(a.name, b.name) })
	body, err := readBody(r, q.Get("decompress") == "1", bodyMax)
	if err != nil {
		return nil, err
	}
	return req, req.join(q.Get("query"), body)
}

// join decides what of URL and body is the statement and what is data, as
// ClickHouse does: both together are the statement, the URL's part first. For
// an INSERT with a FORMAT what follows the format's name is data.
func (req *request) join(query string, body []byte) error {
	if strings.TrimSpace(query) == "" {
		query, body = string(body), nil
		if strings.TrimSpace(query) == "" {
			return exceptionf(codeSyntaxError, "SYNTAX_ERROR", "Empty query")
		}
	}
	req.sql = query
	if kind(lex(query, 8)) != "INSERT" {
		if len(bytes.TrimSpace(body)) > 0 {
			req.sql = query + "\n" + string(body)
		}
		return nil
	}
	head := splitInsert(query)
	switch {
	case head.found && !head.values:
		rest := strings.TrimLeft(query[head.data:], " \t\r")
		rest = strings.TrimPrefix(rest, "\n")
		req.data = append([]byte(strings.TrimPrefix(rest, ";")), body...)
		req.sql = query[:head.data]
	case len(body) > 0:
		req.sql = query + "\n" + string(body)
	}
	return nil
}

func readBody(r *http.Request, blocks bool, bodyMax int64) ([]byte, error) {
	reader, done, err := decoder(r.Header.Get("Content-Encoding"), r.Body)
	if err != nil {
		return nil, err
	}
	defer done()
	if blocks {
		reader = nativeDecoder(reader)
	}
	body, err := readAll(reader, bodyMax, r.ContentLength)
	if err != nil {
		return nil, exceptionf(codeCannotParse, "CANNOT_READ_ALL_DATA", "read request body: %v", err)
	}
	if int64(len(body)) > bodyMax {
		return nil, exceptionf(codeQueryIsTooLarge, "TOO_MANY_ROWS", "the request has more than %d bytes: send smaller blocks", bodyMax)
	}
	return body, nil
}

// readAll reads at most bodyMax+1 bytes, with one allocation when the length is known.
func readAll(r io.Reader, bodyMax, length int64) ([]byte, error) {
	buf := bytes.NewBuffer(make([]byte, 0, min(bodyMax, max(length, 0))+bytes.MinRead))
	_, err := buf.ReadFrom(io.LimitReader(r, bodyMax+1))
	return buf.Bytes(), err
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func (req *request) isHello() bool {
	const hello = "SELECT displayName(), version(), revision(), timezone()"
	return strings.EqualFold(req.format, "Native") && strings.TrimRight(strings.TrimSpace(req.sql), ";") == hello
}

// marker is a comment in front of the statement by which it is found among the
// engine's processes: the library has no way to give a query id.
func marker(n uint64) string { return fmt.Sprintf("/* panda:%d */ ", n) }
