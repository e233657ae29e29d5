package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	stdlog "log"

	"github.com/agentik-os/panda/internal/tenancy"
)

// Handler answers a request on behalf of a scope that has the permission of the
// route. It writes the answer itself and returns nil, or writes nothing and
// returns an error for ProblemOf.
type Handler func(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error

// Route is a line of the route table.
type Route struct {
	// Pattern is as in http.ServeMux: "GET /v1/tenants/{tenant}".
	Pattern string
	// Permission is what the route needs, "" for a public one.
	Permission tenancy.Permission
	// Keyed: requests may have an Idempotency-Key, see [IdempotencyConfig].
	Keyed bool
}

// An Option changes how a route is served.
type Option func(*Route)

// Unkeyed is for a POST that changes nothing, or whose repeats are recognised in
// another way: it does not look at an Idempotency-Key, and its body is not read ahead.
func Unkeyed(r *Route) { r.Keyed = false }

// Server serves a table of routes. Add routes and checks, then Run.
type Server struct {
	cfg      Config
	mux      *http.ServeMux
	routes   []Route
	metrics  *metrics
	answers  *answers
	refusals *refusals

	draining chan struct{} // closed by Run when it begins to drain

	mu        sync.Mutex // guards what follows
	checks    []check
	listeners []net.Listener
	addr      string
}

// New returns a Server without routes of its own but /livez, /readyz and
// /metrics. It does nothing until Run.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg.withDefaults(), mux: http.NewServeMux(), refusals: newRefusals(), draining: make(chan struct{})}
	s.metrics = newMetrics(s.cfg.Metrics)
	s.answers = newAnswers(s.cfg.Idempotency, s.cfg.Metrics)
	s.addProbes()
	return s
}

// Handle adds a route. The pattern must name a method, the permission must be a
// known one; anything else is a mistake in the wiring and panics. A POST takes an
// Idempotency-Key unless it is Unkeyed.
func (s *Server) Handle(pattern string, needed tenancy.Permission, h Handler, options ...Option) {
	if !needed.Known() {
		panic("httpapi: route " + pattern + " needs a permission; nothing is served without one")
	}
	route := Route{Pattern: pattern, Permission: needed, Keyed: strings.HasPrefix(pattern, http.MethodPost+" ")}
	for _, o := range options {
		o(&route)
	}
	if route.Keyed {
		h = s.keyed(h)
	}
	s.add(route, s.guarded(needed, h))
}

// HandlePublic adds a route that needs no key, because what it serves is public
// or its callers prove themselves in another way. The handler has no scope.
func (s *Server) HandlePublic(pattern string, h http.Handler) {
	s.add(Route{Pattern: pattern}, h)
}

// Routes returns the route table in the order it was made.
func (s *Server) Routes() []Route { return append([]Route(nil), s.routes...) }

func (s *Server) add(route Route, h http.Handler) {
	if !hasMethod(route.Pattern) {
		panic("httpapi: route " + route.Pattern + " names no method")
	}
	s.routes = append(s.routes, route)
	s.mux.Handle(route.Pattern, h)
}

// Listen opens the port and the socket, so that Addr is known before Run. Run
// does it otherwise.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners != nil {
		return nil
	}
	if s.cfg.Addr == "" && s.cfg.Socket == "" {
		return errors.New("listen: neither an address nor a socket is configured")
	}
	if s.cfg.Addr != "" {
		l, err := net.Listen("tcp", s.cfg.Addr)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", s.cfg.Addr, err)
		}
		s.addr = l.Addr().String()
		s.listeners = append(s.listeners, limited(l, s.cfg.ConnectionsMax))
	}
	if s.cfg.Socket != "" {
		l, err := listenSocket(s.cfg.Socket)
		if err != nil {
			closeAll(s.listeners)
			s.listeners = nil
			return fmt.Errorf("listen on %s: %w", s.cfg.Socket, err)
		}
		s.listeners = append(s.listeners, limited(l, s.cfg.ConnectionsMax))
	}
	return nil
}

// listenSocket replaces a socket that a process left behind and nobody answers.
func listenSocket(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(fs.ErrExist, conn.Close())
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close() // nothing was accepted yet
	}
}

// Addr is the TCP address the server listens on, "" before Listen.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Run serves until ctx ends, then drains and returns nil. Call it once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: s.cfg.ReadHeaderMax,
		ReadTimeout:       s.cfg.ReadMax,
		WriteTimeout:      s.cfg.WriteMax,
		IdleTimeout:       s.cfg.IdleMax,
		MaxHeaderBytes:    s.cfg.HeaderBytesMax,
		ErrorLog:          stdlog.New(debugWriter{s.cfg.Logger}, "", 0),
	}
	s.mu.Lock()
	listeners := s.listeners
	s.mu.Unlock()
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- srv.Serve(l) }()
	}
	var err error
	ended := 0
	select {
	case <-ctx.Done():
		err = s.drain(srv)
	case err = <-failed:
		ended, err = 1, errors.Join(fmt.Errorf("serve: %w", err), srv.Close())
	}
	for ; ended < len(listeners); ended++ {
		if e := <-failed; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, fmt.Errorf("serve: %w", e))
		}
	}
	return err
}

// drain lets requests under way finish.
func (s *Server) drain(srv *http.Server) error {
	close(s.draining)
	if s.cfg.DrainDelay > 0 {
		<-time.After(s.cfg.DrainDelay)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.DrainMax)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		// They had their time. What they wrote is as safe as after a crash.
		return errors.Join(fmt.Errorf("drain: requests took longer than %s: %w", s.cfg.DrainMax, err), srv.Close())
	}
	return nil
}

// debugWriter passes what net/http has to say about broken connections on.
type debugWriter struct{ log zerolog.Logger }

func (d debugWriter) Write(p []byte) (int, error) {
	d.log.Debug().Str("detail", string(p)).Msg("http connection failed")
	return len(p), nil
}

// limited bounds the connections that are open at once.
func limited(l net.Listener, connectionsMax int) net.Listener {
	return &limitListener{Listener: l, slots: make(chan struct{}, connectionsMax), done: make(chan struct{})}
}

type limitListener struct {
	net.Listener
	slots   chan struct{} // one is taken per open connection
	done    chan struct{}
	closing sync.Once
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitConn{Conn: conn, release: func() { <-l.slots }}, nil
}

func (l *limitListener) Close() error {
	l.closing.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type limitConn struct {
	net.Conn
	once    sync.Once
	release func()
}

func (c *limitConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}
