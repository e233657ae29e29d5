package stripefake

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Version is the API version that is spoken. A request without one gets it, one with
// another is refused: this fake knows no other shapes.
const Version = "2023-10-16"

const bodyBytesMax = 1 << 20 // far above any form that a client of invoices sends

// Config is what a Server needs to know. The zero value is an account without faults.
type Config struct {
	// Now is the account's clock. Default time.Now.
	Now func() time.Time
	// Keys are the secret keys of the account and what each may do. Default: sk_test_fake
	// and sk_live_fake, which may do everything.
	Keys map[string]Rights
	// RatePerSecond bounds each endpoint, as a sandbox does (/rate-limits: 25). 0 is no
	// limit.
	RatePerSecond int
	// Faults go wrong by a seed; nil is none.
	Faults *Faults
	// Client delivers webhooks. Default http.DefaultClient.
	Client *http.Client
}

// Rights are what a restricted key may do: resource (customers, invoices, invoiceitems,
// subscriptions, webhook_endpoints, events, test_helpers) to "read" or "write", which
// includes reading (/keys/restricted-api-keys). Nil may do everything.
type Rights map[string]string

// Server is the fake. It is an http.Handler; see also Transport.
type Server struct {
	cfg Config
	mux *http.ServeMux

	mu       sync.Mutex
	worlds   map[bool]*world // by livemode
	stored   map[string]*stored
	arrivals map[string]int // how often an idempotency key has come
	buckets  map[string]bucket
	log      []Call
}

// world is one mode of the account.
type world struct {
	live          bool
	seq           int
	customers     map[string]*customer
	items         map[string]*item
	invoices      map[string]*invoice
	subscriptions map[string]*subscription
	clocks        map[string]*clock
	endpoints     map[string]*endpoint
	events        []*event // oldest first
	deliveries    []*delivery
	order         map[string]int // id to the sequence in which it was made
	numbers       int            // of finalized invoices
}

// Call is a request that was answered, for tests that count them.
type Call struct {
	Method, Path, Key string
	Status            int
	Replayed          bool
}

type bucket struct {
	second int64
	count  int
}

// New returns a fake without anything in it.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Keys == nil {
		cfg.Keys = map[string]Rights{"sk_test_fake": nil, "sk_live_fake": nil}
	}
	if cfg.Client == nil {
		cfg.Client = http.DefaultClient
	}
	s := &Server{
		cfg: cfg, mux: http.NewServeMux(), worlds: map[bool]*world{}, stored: map[string]*stored{},
		arrivals: map[string]int{}, buckets: map[string]bucket{},
	}
	for _, live := range []bool{false, true} {
		s.worlds[live] = &world{
			live: live, customers: map[string]*customer{}, items: map[string]*item{}, invoices: map[string]*invoice{},
			subscriptions: map[string]*subscription{}, clocks: map[string]*clock{}, endpoints: map[string]*endpoint{}, order: map[string]int{},
		}
	}
	for pattern, r := range routes() {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, req *http.Request) { s.serve(w, req, r) })
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		s.answer(w, req, result{err: refuse(http.StatusNotFound, "invalid_request_error", "", "",
			"Unrecognized request URL (%s: %s).", req.Method, req.URL.Path)})
	})
	return s
}

// route is one call of the API.
type route struct {
	resource string
	params   []string
	run      func(*request) (any, *apiError)
}

// request is a call that is being executed; the server's lock is held.
type request struct {
	*world
	s    *Server
	form form
	id   string
	path string
}

// result is what a call is answered with.
type result struct {
	body     []byte
	err      *apiError
	replayed bool
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request, to route) {
	live, denied := s.authorise(r, to.resource)
	if denied != nil {
		s.answer(w, r, result{err: denied})
		return
	}
	f, err := readForm(r)
	if err != nil {
		s.answer(w, r, result{err: invalid("", "", "%s", err)})
		return
	}
	key := r.Header.Get("Idempotency-Key")
	mishap := s.fault(r, key)
	if mishap.obey(w, arriving) {
		return
	}
	if mishap.fault == RateLimit || s.limited(r) {
		s.answer(w, r, result{err: errRateLimit()})
		return
	}
	if e := f.check(to.params); e != nil {
		s.answer(w, r, result{err: e})
		return
	}
	var res result
	if r.Method == http.MethodGet || key == "" {
		// A key on a read does nothing (/api/idempotent_requests).
		res = s.execute(r, live, f, to, mishap.fault)
	} else {
		id := fmt.Sprintf("%t %s", live, key)
		res = s.once(id, fingerprint(r, f), func() result {
			mishap.obey(w, executing)
			return s.execute(r, live, f, to, mishap.fault)
		})
	}
	if !mishap.obey(w, answering) {
		s.answer(w, r, res)
	}
}

// execute runs a call under the server's lock.
func (s *Server) execute(r *http.Request, live bool, f form, to route, fault Fault) result {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch fault {
	case LockTimeout:
		return result{err: errLockTimeout()}
	case ErrorBefore:
		return result{err: errServer()}
	}
	world := s.worlds[live]
	world.tick(s)
	v, e := to.run(&request{world: world, s: s, form: f, id: r.PathValue("id"), path: r.URL.Path})
	if e != nil {
		return result{err: e}
	}
	if fault == ErrorAfter {
		return result{err: errServer()}
	}
	body, err := json.Marshal(v)
	if err != nil {
		panic("stripefake: an answer that is not JSON: " + err.Error())
	}
	return result{body: body}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, res result) {
	status, body := http.StatusOK, res.body
	if res.err != nil {
		status, body = res.err.Status, res.err.body()
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Stripe-Version", Version)
	s.mu.Lock()
	s.log = append(s.log, Call{r.Method, r.URL.Path, r.Header.Get("Idempotency-Key"), status, res.replayed})
	h.Set("Request-Id", fmt.Sprintf("req_%08d", len(s.log)))
	s.mu.Unlock()
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		h.Set("Idempotency-Key", key)
	}
	if res.replayed {
		h.Set("Idempotent-Replayed", "true")
	}
	if res.err != nil && res.err.Code == "rate_limit" {
		h.Set("Stripe-Rate-Limited-Reason", "endpoint-rate")
	}
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // a client that has gone is no concern of the server's
}

// Calls returns the requests that were answered, in order.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.log...)
}

// authorise says which mode a request is for, or why it is refused.
func (s *Server) authorise(r *http.Request, resource string) (live bool, denied *apiError) {
	key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if user, _, basic := r.BasicAuth(); basic {
		key, ok = user, true
	}
	rights, known := s.cfg.Keys[key]
	if !ok || !known {
		return false, refuse(http.StatusUnauthorized, "invalid_request_error", "", "", "Invalid API Key provided.")
	}
	if v := r.Header.Get("Stripe-Version"); v != "" && v != Version {
		return false, invalid("", "", "Invalid Stripe API version: %s", v)
	}
	if may := rights[resource]; rights != nil && may != "write" && (may != "read" || r.Method != http.MethodGet) {
		return false, refuse(http.StatusForbidden, "invalid_request_error", "", "",
			"The provided key does not have the required permissions for this endpoint.")
	}
	return strings.Contains(key, "_live_"), nil
}

// limited counts a request against the limit of its endpoint in this second.
func (s *Server) limited(r *http.Request) bool {
	if s.cfg.RatePerSecond <= 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, now := r.Method+" "+r.Pattern, s.cfg.Now().Unix()
	b := s.buckets[name]
	if b.second != now {
		b = bucket{second: now}
	}
	b.count++
	s.buckets[name] = b
	return b.count > s.cfg.RatePerSecond
}

func readForm(r *http.Request) (form, error) {
	if r.Method == http.MethodGet {
		return form{r.URL.Query()}, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyBytesMax+1))
	if err != nil {
		return form{}, fmt.Errorf("read body: %w", err)
	}
	if len(body) > bodyBytesMax {
		return form{}, errors.New("Request body is too large.") //nolint:staticcheck // Stripe's own wording ends so
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return form{}, fmt.Errorf("read form: %w", err)
	}
	return form{values}, nil
}

func fingerprint(r *http.Request, f form) string {
	sum := sha256.Sum256([]byte(r.Method + " " + r.URL.Path + "?" + f.Encode()))
	return hex.EncodeToString(sum[:])
}

// id makes an id and notes its place in the order of making.
func (w *world) newID(prefix string) string {
	w.seq++
	id := fmt.Sprintf("%s_%08d", prefix, w.seq)
	w.order[id] = w.seq
	return id
}
