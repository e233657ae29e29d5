package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/agentik-os/panda/internal/apidoc"
	"github.com/agentik-os/panda/internal/apidoc/apidoctest"
	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// described holds every exchange with the registry's routes against the API's description.
var described = sync.OnceValues(apidoctest.New)

// served are the patterns of the registry's routes, once they were served.
var served map[string]bool

// A run of all tests has to have seen every route of the registry succeed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if code == 0 && flag.Lookup("test.run").Value.String() == "" && len(served) > 0 {
			checker, err := described()
			if err != nil {
				panic(err)
			}
			if missing := checker.Missing(func(o *apidoc.Operation) bool { return served[o.Pattern()] && o.Tags[0] != "Probes" }); len(missing) > 0 {
				fmt.Fprintf(os.Stderr, "no test has these operations of the API answer with success: %v\n", missing)
				code = 1
			}
		}
		os.Exit(code)
	}))
}

// scoped lets everybody in as the tenant and with the permissions they name.
func scoped(r *http.Request) (tenancy.Scope, error) {
	tenant, permission, ok := strings.Cut(r.Header.Get("Authorization"), "/")
	if !ok {
		return tenancy.Scope{}, &auth.Error{Code: auth.CodeKeyMissing, Detail: "a key is needed"}
	}
	return tenancy.ScopeOf(tenant, "test", tenancy.Permission(permission)), nil
}

func newServer(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	cfg := Config{Addr: "127.0.0.1:0", Authenticate: scoped, Metrics: prometheus.NewRegistry(), Logger: zerolog.Nop()}
	if change != nil {
		change(&cfg)
	}
	return New(cfg)
}

func do(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func problemIn(t *testing.T, w *httptest.ResponseRecorder) Problem {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != ContentTypeProblem {
		t.Errorf("content type is %q", got)
	}
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	if p.Status != w.Code || p.Type != typePrefix+p.Code || p.Title == "" {
		t.Errorf("status %d with problem %+v", w.Code, p)
	}
	return p
}

func answer(text string) Handler {
	return func(w http.ResponseWriter, _ *http.Request, s tenancy.Scope) error {
		WriteJSON(w, http.StatusOK, text+s.TenantID())
		return nil
	}
}

func TestDenyByDefault(t *testing.T) {
	s := newServer(t, nil)
	s.Handle("GET /v1/things/{id}", tenancy.PermissionRead, answer("get "))
	s.Handle("POST /v1/things", tenancy.PermissionIngest, answer("post "))
	const reader, ingester = "Authorization: ten_a/read", "Authorization: ten_a/ingest"
	for _, row := range []struct {
		method, target, header string
		status                 int
		code                   string
	}{
		{"GET", "/v1/things/1", reader, 200, ""},
		{"HEAD", "/v1/things/1", reader, 200, ""},
		{"GET", "/v1/things/a%2Fb", reader, 200, ""}, // one segment, an id that does not exist
		{"POST", "/v1/things", ingester, 200, ""},
		{"GET", "/v1/things/1", "", 401, auth.CodeKeyMissing},
		{"GET", "/v1/things/1", ingester, 403, auth.CodeInsufficientScope},
		{"POST", "/v1/things", reader, 403, auth.CodeInsufficientScope},
		{"DELETE", "/v1/things", reader, 405, CodeMethodNotAllowed},
		{"GET", "/v1/things", reader, 405, CodeMethodNotAllowed},
		{"GET", "/v1/thing", reader, 404, CodeNotFound},
		{"GET", "/", "", 404, CodeNotFound},
		{"GET", "//v1/things/1", reader, 404, CodeNotFound},
		{"GET", "/v1//things/1", reader, 404, CodeNotFound},
		{"GET", "/v1/x/../things/1", reader, 404, CodeNotFound},
		{"GET", "/v1/things/1/", reader, 404, CodeNotFound},
		{"GET", "/v1/things/%2e%2e/things/1", reader, 404, CodeNotFound},
	} {
		w := do(s.Handler(), row.method, row.target, "X-Http-Method-Override: GET", row.header)
		if w.Code != row.status {
			t.Errorf("%s %s with %q: %d, want %d", row.method, row.target, row.header, w.Code, row.status)
			continue
		}
		if row.code != "" && problemIn(t, w).Code != row.code {
			t.Errorf("%s %s: %s, want code %s", row.method, row.target, w.Body, row.code)
		}
		if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Request-Id") == "" {
			t.Errorf("%s %s: headers %v", row.method, row.target, w.Header())
		}
	}
	if allow := do(s.Handler(), "DELETE", "/v1/things").Header().Get("Allow"); allow != "POST" {
		t.Errorf("Allow is %q", allow)
	}
	if got := do(s.Handler(), "GET", "/v1/things/1").Header().Get("WWW-Authenticate"); got != `Bearer realm="panda"` {
		t.Errorf("WWW-Authenticate is %q", got)
	}
}

// Every route of the table, without a key and with each wrong permission.
func TestEveryRouteIsGuarded(t *testing.T) {
	s := newServer(t, nil)
	(&Tenants{}).Register(s)
	guarded := 0
	for _, route := range s.Routes() {
		if route.Permission == "" {
			continue
		}
		guarded++
		method, path, _ := strings.Cut(route.Pattern, " ")
		path = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "x")
		if w := do(s.Handler(), method, path); w.Code != http.StatusUnauthorized {
			t.Errorf("%s without a key: %d", route.Pattern, w.Code)
		}
		for _, p := range tenancy.Permissions() {
			if w := do(s.Handler(), method, path, "Authorization: ten_a/"+string(p)); p != route.Permission && w.Code != http.StatusForbidden {
				t.Errorf("%s with %s alone: %d", route.Pattern, p, w.Code)
			}
		}
	}
	// An accepted invitation, a signup, and three probes prove themselves otherwise.
	if public := len(s.Routes()) - guarded; guarded == 0 || public != 5 {
		t.Errorf("%d guarded routes and %d public ones", guarded, public)
	}
}

func TestWiringMistakesPanic(t *testing.T) {
	s := newServer(t, nil)
	for name, f := range map[string]func(){
		"no permission":      func() { s.Handle("GET /a", "", answer("")) },
		"unknown permission": func() { s.Handle("GET /a", "root", answer("")) },
		"no method":          func() { s.Handle("/a", tenancy.PermissionRead, answer("")) },
		"no authentication":  func() { New(Config{Metrics: prometheus.NewRegistry()}) },
		"short cursor key":   func() { Cursors{Key: []byte("short")}.Encode(tenancy.Scope{}, "", "") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

type hinted struct{ error }

func (hinted) RetryAfter() time.Duration { return 1500 * time.Millisecond }
func (h hinted) Unwrap() error           { return h.error }

func TestProblemOf(t *testing.T) {
	field := schemas.Invalid("/plan", schemas.CodeUnknown, "no such plan")
	for name, row := range map[string]struct {
		err        error
		status     int
		code       string
		errors     int
		retryAfter string
	}{
		"field":         {fmt.Errorf("wrapped: %w", field), 422, CodeInvalid, 1, ""},
		"fields":        {fmt.Errorf("w: %w", errors.Join(field, schemas.Invalid("/name", "missing", "x"))), 422, CodeInvalid, 2, ""},
		"whole body":    {schemas.Invalid("", schemas.CodeMalformed, "not JSON"), 400, CodeInvalid, 1, ""},
		"plain invalid": {schemas.ErrInvalid, 400, CodeInvalid, 0, ""},
		"conflict":      {fmt.Errorf("x: %w", schemas.ErrConflict), 409, CodeConflict, 0, ""},
		"key reused":    {fmt.Errorf("x: %w", tenancy.ErrRequestReused), 422, CodeIdempotency, 0, ""},
		"not found":     {fmt.Errorf("x: %w", tenancy.ErrNotFound), 404, CodeNotFound, 0, ""},
		"unavailable":   {fmt.Errorf("x: %w", schemas.ErrUnavailable), 503, CodeUnavailable, 0, "1"},
		"with a hint":   {hinted{schemas.ErrUnavailable}, 503, CodeUnavailable, 0, "2"},
		"deadline":      {context.DeadlineExceeded, 503, CodeTimeout, 0, "1"},
		"too large":     {&http.MaxBytesError{Limit: 7}, 413, CodeTooLarge, 0, ""},
		"its own":       {fmt.Errorf("x: %w", Problem{Status: 418, Code: "teapot"}), 418, "teapot", 0, ""},
		"anything else": {errors.New("dial 10.0.0.1: password hunter2"), 500, CodeInternal, 0, ""},
		"needs admin":   {auth.Require(tenancy.Scope{}, tenancy.PermissionAdmin), 403, auth.CodeInsufficientScope, 0, ""},
	} {
		w := httptest.NewRecorder()
		WriteProblem(w, ProblemOf(row.err))
		p := problemIn(t, w)
		if p.Status != row.status || p.Code != row.code || len(p.Errors) != row.errors || w.Header().Get("Retry-After") != row.retryAfter {
			t.Errorf("%s: %+v, Retry-After %q", name, p, w.Header().Get("Retry-After"))
		}
		if strings.Contains(w.Body.String(), "10.0.0.1") {
			t.Errorf("%s: the answer tells internals: %s", name, w.Body)
		}
	}
}

// Errors and panics of a handler: the client gets an incident, the log the cause.
func TestOurFault(t *testing.T) {
	var lines bytes.Buffer
	s := newServer(t, func(c *Config) { c.Logger = zerolog.New(&lines).Level(zerolog.ErrorLevel) })
	s.Handle("GET /error", tenancy.PermissionRead, func(http.ResponseWriter, *http.Request, tenancy.Scope) error {
		return errors.New("disk of 10.0.0.1 is gone")
	})
	s.Handle("GET /panic", tenancy.PermissionRead, func(w http.ResponseWriter, _ *http.Request, _ tenancy.Scope) error {
		w.Header().Set("Content-Length", "3")
		panic("index out of range on 10.0.0.1")
	})
	for _, path := range []string{"/error", "/panic"} {
		lines.Reset()
		w := do(s.Handler(), "GET", path, "Authorization: ten_a/read", "X-Request-Id: req-7")
		p := problemIn(t, w)
		if w.Code != 500 || p.Instance == "" || strings.Contains(w.Body.String(), "10.0.0.1") || w.Header().Get("X-Request-Id") != "req-7" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if log := lines.String(); !strings.Contains(log, p.Instance) || !strings.Contains(log, "10.0.0.1") || !strings.Contains(log, "req-7") {
			t.Errorf("%s: log is %s", path, log)
		}
	}
	if n := testutilGauge(t, s, "panda_http_requests_in_flight"); n != "0" {
		t.Errorf("%s requests are in flight after a panic", n)
	}
}

func testutilGauge(t *testing.T, s *Server, name string) string {
	t.Helper()
	families, err := s.cfg.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return fmt.Sprint(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	return "missing"
}

func TestRequestIDFromOutside(t *testing.T) {
	s := newServer(t, nil)
	for id, kept := range map[string]bool{"abc-1_2.Z": true, "": false, "a b": false, "a\"b": false, strings.Repeat("x", 65): false} {
		got := do(s.Handler(), "GET", "/livez", "X-Request-Id: "+id).Header().Get("X-Request-Id")
		if (got == id) != kept || got == "" {
			t.Errorf("id %q became %q", id, got)
		}
	}
}

func TestReadyz(t *testing.T) {
	s := newServer(t, nil)
	var broken error
	s.AddCheck("registry", func(context.Context) error { return broken })
	s.AddCheck("log", func(context.Context) error { return nil })
	w := do(s.Handler(), "GET", "/readyz")
	if w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"status":"ok","checks":[{"name":"registry","status":"ok"},{"name":"log","status":"ok"}]}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	broken = errors.New("the control stream is away")
	w = do(s.Handler(), "GET", "/readyz")
	if w.Code != 503 || !strings.Contains(w.Body.String(), `{"name":"registry","status":"unavailable","detail":"the control stream is away"}`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := do(s.Handler(), "GET", "/livez"); w.Code != 200 {
		t.Errorf("livez is %d", w.Code)
	}
	w = do(s.Handler(), "GET", "/metrics")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `panda_http_requests_total{route="GET /readyz",status="503"} 1`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRemoteIP(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, row := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:1", nil, "192.0.2.1"},
		{"192.0.2.1:1", []string{"203.0.113.9"}, "192.0.2.1"},           // nobody we trust says so
		{"10.0.0.1:1", []string{"203.0.113.9"}, "203.0.113.9"},          // our proxy says so
		{"10.0.0.1:1", []string{"1.1.1.1, 203.0.113.9"}, "203.0.113.9"}, // the client's own claim is left of it
		{"10.0.0.1:1", []string{"1.1.1.1", "203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"10.0.0.1:1", []string{"nonsense"}, "10.0.0.1"},
		{"10.0.0.1:1", nil, "10.0.0.1"},
		{"[::ffff:10.0.0.1]:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"@", []string{"203.0.113.9"}, "203.0.113.9"}, // the unix socket
		{"@", nil, "invalid IP"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = row.peer
		r.Header["X-Forwarded-For"] = row.forwarded
		if got := remoteOf(r, proxies).String(); got != row.want {
			t.Errorf("peer %s, forwarded %q: %s, want %s", row.peer, row.forwarded, got, row.want)
		}
	}
}

// run starts a server on a free port until the returned stop is called.
func run(t *testing.T, s *Server) (stop func() error) {
	t.Helper()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

func TestDrainLetsRequestsFinish(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	s := newServer(t, func(c *Config) { c.Socket = socket })
	entered, release := make(chan struct{}), make(chan struct{})
	s.Handle("GET /slow", tenancy.PermissionRead, func(w http.ResponseWriter, _ *http.Request, _ tenancy.Scope) error {
		close(entered)
		<-release
		WriteJSON(w, 200, "done")
		return nil
	})
	stop := run(t, s)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	got := make(chan string, 1)
	go func() {
		req, _ := http.NewRequest("GET", "http://panda/slow", nil)
		req.Header.Set("Authorization", "ten_a/read")
		resp, err := client.Do(req)
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		got <- string(body)
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	<-s.draining
	if w := do(s.Handler(), "GET", "/readyz"); w.Code != 503 || !strings.Contains(w.Body.String(), "shutting down") {
		t.Errorf("while draining: %d %s", w.Code, w.Body)
	}
	close(release)
	if err := <-stopped; err != nil {
		t.Errorf("run: %v", err)
	}
	if body := <-got; strings.TrimSpace(body) != `"done"` {
		t.Errorf("the request under way got %q", body)
	}
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Error("the port still answers")
	}
}

// A client that dribbles its headers is cut off; one that sends too many is told.
func TestSlowAndLargeHeaders(t *testing.T) {
	s := newServer(t, func(c *Config) { c.ReadHeaderMax, c.HeaderBytesMax = 50*time.Millisecond, 1024 })
	stop := run(t, s)
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || strings.Contains(string(rest), "200 OK") {
		t.Errorf("a dribbling client got %q, %v", rest, err)
	}
	req, _ := http.NewRequest("GET", "http://"+s.Addr()+"/livez", nil)
	req.Header.Set("X-Large", strings.Repeat("x", 16<<10))
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large headers: %d", resp.StatusCode)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// pipes is a listener with a connection always waiting.
type pipes struct{ net.Listener }

func (pipes) Accept() (net.Conn, error) {
	near, far := net.Pipe()
	return near, far.Close()
}
func (pipes) Close() error { return nil }

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limited(pipes{}, 1)
		first, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		second := make(chan net.Conn, 1)
		go func() {
			conn, _ := l.Accept()
			second <- conn
		}()
		synctest.Wait()
		if len(second) != 0 {
			t.Fatal("a second connection was taken beside the first")
		}
		for range 2 { // net/http may close twice; the place is given back once
			if err := first.Close(); err != nil {
				t.Error(err)
			}
		}
		if conn := <-second; conn == nil {
			t.Error("after the first was closed, the second was not taken")
		}
		third := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			third <- err
		}()
		synctest.Wait()
		if len(third) != 0 {
			t.Error("closing twice gave two places back")
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-third; !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept on a closed listener: %v", err)
		}
	})
}
