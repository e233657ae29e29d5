package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/tenancy"
)

// Handler returns the server's routes with everything around them, for Run and
// for tests that need no port.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// serve is what every request passes through, outermost first.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	info := &requestInfo{id: requestID(r), remote: remoteOf(r, s.cfg.TrustedProxies), connection: r.Context()}
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), infoKey{}, info), s.cfg.RequestMax)
	defer cancel()
	r = r.WithContext(ctx)
	rec := &recorder{ResponseWriter: w}
	h := rec.Header()
	h.Set("X-Request-Id", info.id)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	s.metrics.inFlight.Inc()
	defer func() {
		s.metrics.inFlight.Dec()
		s.observe(rec, r, time.Since(began))
	}()
	defer func() {
		if cause := recover(); cause != nil {
			s.recovered(rec, r, cause)
		}
	}()
	s.route(rec, r)
}

// route finds the handler of a request. What the table does not hold gets a
// problem, with Allow when only the method is wrong.
func (s *Server) route(w *recorder, r *http.Request) {
	if r.URL.Path == "" || path.Clean(r.URL.Path) != r.URL.Path {
		WriteProblem(w, NotFound())
		return
	}
	miss, pattern := s.mux.Handler(r)
	if pattern != "" {
		w.route = pattern
		s.mux.ServeHTTP(w, r)
		return
	}
	// The mux knows whether it is the method, and which ones there are; only its
	// plain text is not ours.
	answer := &headOnly{header: http.Header{}}
	miss.ServeHTTP(answer, r)
	if answer.status != http.StatusMethodNotAllowed {
		WriteProblem(w, NotFound())
		return
	}
	allow := answer.header.Get("Allow")
	w.Header().Set("Allow", allow)
	WriteProblem(w, Problem{Status: http.StatusMethodNotAllowed, Code: CodeMethodNotAllowed,
		Detail: "this path takes " + allow})
}

// guarded runs a handler with the scope of the caller, if it has the permission.
func (s *Server) guarded(needed tenancy.Permission, h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scope, err := s.cfg.Authenticate(r)
		if err == nil {
			err = s.rateLimited(w, r, scope)
		}
		if err == nil {
			err = auth.Require(scope, needed)
		}
		if err == nil {
			err = h(w, r, scope)
		}
		if err != nil {
			if ProblemOf(err).Code == CodeTooManyInFlight {
				s.refusals.hold(r.Context(), s.draining, scope.TenantID())
			}
			if needed != tenancy.PermissionIngest && needed != tenancy.PermissionImport {
				s.note(r, scope, err)
			}
			s.fail(w, r, err)
		}
	})
}

// rateLimited counts the request against the caller's limit and says on the answer
// how it stands.
func (s *Server) rateLimited(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	state := s.cfg.Limit(scope)
	if state.Refused {
		held := s.refusals.hold(r.Context(), s.draining, scope.TenantID())
		state.Next = max(state.Next-held, time.Millisecond) // a refusal always says when to come again
	}
	state.Header(w.Header())
	if !state.Refused {
		return nil
	}
	return RateLimited(&state)
}

// note tells the audit log of what was refused: that somebody was not let in, and
// changes that were not made. Events that are refused are answered one by one and
// counted elsewhere.
func (s *Server) note(r *http.Request, scope tenancy.Scope, err error) {
	if s.cfg.Refused == nil {
		return
	}
	p := ProblemOf(err)
	denied := p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !denied && (reads || p.Status < 400 || p.Status >= 500 || p.Status == http.StatusTooManyRequests) {
		return
	}
	a := tenancy.Attempt{By: actorOf(scope, r), TenantID: scope.TenantID(), Action: r.Pattern, Code: p.Code}
	if a.TenantID != "" {
		a.Detail = p.Detail // it may name people, and goes with the tenant when that is erased
	}
	s.cfg.Refused(a)
}

// fail answers with the problem of an error. An error that is ours goes to the
// log, under the instance that the client is told.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := ProblemOf(err)
	switch p.Status {
	case http.StatusInternalServerError:
		s.cfg.Logger.Error().Err(err).Str("incident", p.Instance).Str("request_id", RequestID(r.Context())).
			Str("route", r.Pattern).Msg("request failed")
	case http.StatusServiceUnavailable:
		s.cfg.Logger.Warn().Err(err).Str("request_id", RequestID(r.Context())).Str("route", r.Pattern).
			Msg("request refused, unavailable")
	}
	if rec, ok := w.(*recorder); ok && rec.status != 0 {
		// Too late for another answer; a broken connection tells the client.
		panic(http.ErrAbortHandler)
	}
	WriteProblem(w, p)
}

func (s *Server) recovered(w *recorder, r *http.Request, cause any) {
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(cause)
	}
	err := fmt.Errorf("panic: %v", cause)
	s.cfg.Logger.Error().Bytes("stack", debug.Stack()).Str("request_id", RequestID(r.Context())).Msg("handler panicked")
	h := w.Header()
	for _, name := range []string{"Content-Length", "Content-Encoding", "Etag"} {
		h.Del(name)
	}
	s.fail(w, r, err)
}

// observe counts a request and writes its log line, which has the route and not the
// path: in that are names of tenants and of people.
func (s *Server) observe(w *recorder, r *http.Request, took time.Duration) {
	route := w.route
	if route == "" {
		route = "none"
	}
	s.metrics.observe(route, w.status, took)
	s.cfg.Logger.Debug().Str("request_id", RequestID(r.Context())).Str("method", r.Method).
		Str("route", route).Int("status", w.status).Int64("bytes", w.bytes).Dur("took", took).
		Stringer("ip", RemoteIP(r)).Msg("request")
}

// requestInfo is what the server knows about a request besides the request.
type requestInfo struct {
	id         string
	remote     netip.Addr
	connection context.Context // of the request before RequestMax bounds it
}

type infoKey struct{}

// RequestID returns the id of the request of a context, "" outside of one. It is
// the caller's X-Request-Id if that has a usable form.
func RequestID(ctx context.Context) string {
	if info, ok := ctx.Value(infoKey{}).(*requestInfo); ok {
		return info.id
	}
	return ""
}

// Unbounded lifts the limits on a request's time, for an answer that takes as long
// as there is data. It returns a context that ends when the client goes away, and
// not before. Call it once the body is read.
func Unbounded(w http.ResponseWriter, r *http.Request) (context.Context, error) {
	// The read limit is over with the body: net/http lifts it by itself.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("lift the limits of a request: %w", err)
	}
	if info, ok := r.Context().Value(infoKey{}).(*requestInfo); ok {
		return info.connection, nil
	}
	return r.Context(), nil
}

// requestIDMax bounds an id from outside: it goes into every log line.
const requestIDMax = 64

func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	usable := id != "" && len(id) <= requestIDMax
	for i := 0; usable && i < len(id); i++ {
		c := id[i]
		usable = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
	}
	if usable {
		return id
	}
	return uuid.NewString()
}

// RemoteIP returns the address a request comes from: the peer's, or behind a
// trusted proxy the one that the proxy saw. On a unix socket it is the zero Addr.
func RemoteIP(r *http.Request) netip.Addr {
	if info, ok := r.Context().Value(infoKey{}).(*requestInfo); ok {
		return info.remote
	}
	return remoteOf(r, nil)
}

// remoteOf walks X-Forwarded-For from the right, the side that our own proxies
// wrote, and stops at the first address that is not one of them. A peer on the
// unix socket has no address; it runs as our own user and is believed.
func remoteOf(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	addr := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && (!addr.IsValid() || isTrusted(addr, trusted)); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next.Unmap()
	}
	return addr
}

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	route  string
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach deadlines and Flush.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// headOnly keeps status and headers of an answer and drops its body.
type headOnly struct {
	header http.Header
	status int
}

func (h *headOnly) Header() http.Header         { return h.header }
func (h *headOnly) WriteHeader(status int)      { h.status = status }
func (h *headOnly) Write(p []byte) (int, error) { return len(p), nil }

func hasMethod(pattern string) bool {
	method, rest, ok := strings.Cut(pattern, " ")
	return ok && method != "" && !strings.Contains(method, "/") && strings.HasPrefix(strings.TrimSpace(rest), "/")
}
