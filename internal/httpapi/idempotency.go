package httpapi

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// CodeIdempotencyInUse: a request with the same Idempotency-Key is being served.
const CodeIdempotencyInUse = "idempotency_key_in_use"

// IdempotencyConfig bounds what is remembered of requests with an Idempotency-Key.
// The zero value of a limit takes the default.
type IdempotencyConfig struct {
	// Life is how long an answer is kept. Default 24 hours: a job that is run once a
	// day finds what it did the day before.
	Life time.Duration
	// WaitMax bounds how long a request waits for one with the same key that is being
	// served. Default 10 seconds, within Config.RequestMax.
	WaitMax time.Duration
	// KeysMax bounds the answers kept; the oldest go first. Default 10,000.
	KeysMax int
	// CallerKeysMax bounds those of one caller, so that one cannot push out what others
	// rely on. Default 1,000.
	CallerKeysMax int
	// BytesMax bounds the memory of the answers. Default 64 MiB: they have some hundred
	// bytes as a rule.
	BytesMax int
	// AnswerBytesMax bounds one answer: above it, only that it was given is kept.
	// Default 4 MiB, the report about a list of ten thousand people.
	AnswerBytesMax int
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

func (c IdempotencyConfig) withDefaults() IdempotencyConfig {
	if c.Life == 0 {
		c.Life = 24 * time.Hour
	}
	if c.WaitMax == 0 {
		c.WaitMax = 10 * time.Second
	}
	if c.KeysMax == 0 {
		c.KeysMax = 10_000
	}
	if c.CallerKeysMax == 0 {
		c.CallerKeysMax = 1_000
	}
	if c.BytesMax == 0 {
		c.BytesMax = 64 << 20
	}
	if c.AnswerBytesMax == 0 {
		c.AnswerBytesMax = 4 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// answers remembers what requests with an Idempotency-Key were answered. It is in
// memory alone, because answers hold secrets such as new API keys; a process that
// ends forgets them.
type answers struct {
	cfg      IdempotencyConfig
	replayed prometheus.Counter

	mu      sync.Mutex // guards what follows; never held while a request is served
	byID    map[[32]byte]*keptAnswer
	oldest  list.List      // of *keptAnswer that are kept, in the order they were given
	callers map[string]int // how many are kept of each
	bytes   int
}

// A keptAnswer is a request with a key, and once done is closed what it was answered.
type keptAnswer struct {
	id, fingerprint [32]byte
	caller          string
	done            chan struct{}

	// These are set before done is closed, by who serves the request, and not after.
	kept   bool // false: the request was refused, and its key is free again
	lost   bool // the answer was too large to keep
	status int
	header http.Header
	body   []byte

	given   time.Time
	element *list.Element // in answers.oldest
}

func newAnswers(cfg IdempotencyConfig, reg *prometheus.Registry) *answers {
	m := &answers{cfg: cfg.withDefaults(), byID: map[[32]byte]*keptAnswer{}, callers: map[string]int{},
		replayed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "panda_http_replayed_answers_total", Help: "Requests answered from memory by their Idempotency-Key."})}
	reg.MustRegister(m.replayed, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "panda_http_kept_answers", Help: "Answers kept for their Idempotency-Key."}, func() float64 {
		m.mu.Lock()
		defer m.mu.Unlock()
		return float64(m.oldest.Len())
	}))
	return m
}

// claim returns the answer of an id. mine says that there was none, and that the caller
// serves the request and calls settle in any case.
func (m *answers) claim(id, fingerprint [32]byte, caller string) (a *keptAnswer, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	for e := m.oldest.Front(); e != nil && now.Sub(e.Value.(*keptAnswer).given) >= m.cfg.Life; e = m.oldest.Front() {
		m.forget(e.Value.(*keptAnswer))
	}
	if a, ok := m.byID[id]; ok {
		return a, false
	}
	a = &keptAnswer{id: id, fingerprint: fingerprint, caller: caller, done: make(chan struct{})}
	m.byID[id] = a
	return a, true
}

// settle ends what claim began: the answer is kept if it was one of success, and
// otherwise the key is free again. Whoever waits goes on.
func (m *answers) settle(a *keptAnswer, got *capture) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer close(a.done)
	if got.status/100 != 2 {
		delete(m.byID, a.id)
		return
	}
	a.kept, a.lost, a.status, a.given = true, got.cut, got.status, m.cfg.Now()
	if !a.lost {
		a.header, a.body = got.kept(), got.body.Bytes()
	}
	a.element = m.oldest.PushBack(a)
	m.callers[a.caller]++
	m.bytes += a.size()
	if m.callers[a.caller] > m.cfg.CallerKeysMax {
		for e := m.oldest.Front(); e != nil; e = e.Next() {
			if old := e.Value.(*keptAnswer); old.caller == a.caller {
				m.forget(old)
				break
			}
		}
	}
	for m.oldest.Len() > m.cfg.KeysMax || m.bytes > m.cfg.BytesMax {
		m.forget(m.oldest.Front().Value.(*keptAnswer))
	}
}

// forget drops a kept answer. The caller holds mu.
func (m *answers) forget(a *keptAnswer) {
	m.oldest.Remove(a.element)
	delete(m.byID, a.id)
	m.bytes -= a.size()
	if m.callers[a.caller]--; m.callers[a.caller] == 0 {
		delete(m.callers, a.caller)
	}
}

// answerBytes is what an answer takes besides its body: headers, keys, and the places
// that point to it.
const answerBytes = 1 << 10

func (a *keptAnswer) size() int { return answerBytes + len(a.caller) + len(a.body) }

// keyed serves a route whose requests may be named by an Idempotency-Key: the second
// of the same name, route, caller and content is answered as the first was, and
// nothing is done again. Without a key, h is served as it is.
//
// A crash forgets what was answered, and each node of several has a memory of its own:
// then the request is served again, which is what happens to requests without a key.
func (s *Server) keyed(h Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
		key, err := idempotencyKey(r)
		if err != nil || key == "" || r.Method != http.MethodPost {
			if err != nil {
				return err
			}
			return h(w, r, scope)
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, BodyBytesMax))
		if err != nil {
			return unreadBody(err)
		}
		caller := callerOf(r, scope)
		id := digest(r.Pattern, caller, key)
		content := digest(r.URL.Path, r.URL.RawQuery, r.Header.Get("Content-Type"), string(canonical(r, body)))
		a, mine, err := s.claimed(r.Context(), id, content, caller)
		if err != nil {
			return err
		}
		if !mine {
			return s.replay(w, a)
		}
		got := &capture{ResponseWriter: w, before: maps.Clone(w.Header()), bytesMax: s.answers.cfg.AnswerBytesMax}
		// Also when h panics: got has no status then.
		defer s.answers.settle(a, got)
		// Who went away will ask again, and is to find the answer: the work goes on, as
		// long as it may take anyway.
		ctx := context.WithoutCancel(r.Context())
		if deadline, ok := r.Context().Deadline(); ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, deadline)
			defer cancel()
		}
		r = r.WithContext(ctx)
		r.Body = io.NopCloser(bytes.NewReader(body))
		return h(got, r, scope)
	}
}

// claimed returns the answer to an earlier request once it is there, or a claim.
func (s *Server) claimed(ctx context.Context, id, content [32]byte, caller string) (a *keptAnswer, mine bool, err error) {
	timer := time.NewTimer(s.answers.cfg.WaitMax)
	defer timer.Stop()
	for {
		a, mine = s.answers.claim(id, content, caller)
		if mine {
			return a, true, nil
		}
		if a.fingerprint != content {
			return nil, false, tenancy.ErrRequestReused
		}
		select {
		case <-a.done:
			if a.kept {
				return a, false, nil
			}
			// It was refused, so this one is the first.
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-timer.C:
			return nil, false, Problem{Status: http.StatusConflict, Code: CodeIdempotencyInUse, RetryAfter: retryAfterDefault,
				Title:  "Idempotency key in use",
				Detail: "a request with this Idempotency-Key is still being served; send the same again for its answer"}
		}
	}
}

func (s *Server) replay(w http.ResponseWriter, a *keptAnswer) error {
	s.answers.replayed.Inc()
	if a.lost {
		return Problem{Status: http.StatusConflict, Code: CodeConflict,
			Detail: "this request was served before, and its answer was too large to keep; nothing was done again"}
	}
	maps.Copy(w.Header(), a.header.Clone())
	w.Header().Set("Idempotent-Replayed", "true")
	w.WriteHeader(a.status)
	// The client is gone if this fails, and there is nobody left to tell.
	_, _ = w.Write(a.body)
	return nil
}

// idempotencyKeyMax bounds a key: it is a header, not a document.
const idempotencyKeyMax = 255

// idempotencyKey returns the key of a request, "" if there is none.
func idempotencyKey(r *http.Request) (string, error) {
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	usable := len(values) == 1 && key != "" && len(key) <= idempotencyKeyMax
	for i := 0; usable && i < len(key); i++ {
		usable = key[i] >= 0x20 && key[i] < 0x7f
	}
	if !usable {
		return "", schemas.Invalid("/Idempotency-Key", schemas.CodeMalformed,
			"an Idempotency-Key is 1 to %d printable ASCII characters, sent once", idempotencyKeyMax)
	}
	return key, nil
}

// callerOf says whose keys a request's is one of. Another credential of the same tenant
// is another caller: an answer may hold a secret. Whoever is not authenticated is known
// by address and by what they sent as a credential.
func callerOf(r *http.Request, scope tenancy.Scope) string {
	if scope.Actor() != "" {
		return scope.TenantID() + " " + scope.Actor()
	}
	sent := digest(r.Header.Get("Authorization"))
	return "public " + RemoteIP(r).String() + " " + string(sent[:8])
}

// canonical is a JSON body without the order of its members and its white space, so
// that a client which builds it anew sends the same. Anything else is as it was sent.
func canonical(r *http.Request, body []byte) []byte {
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" {
		return body
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || dec.More() {
		return body
	}
	text, err := json.Marshal(v)
	if err != nil {
		return body
	}
	return text
}

// digest hashes parts with their lengths, so that no two lists run together.
func digest(parts ...string) [32]byte {
	h := sha256.New()
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		io.WriteString(h, part) //nolint:errcheck // a hash does not fail
	}
	return [32]byte(h.Sum(nil))
}

// capture passes an answer on and keeps it.
type capture struct {
	http.ResponseWriter
	before   http.Header // that were set around the handler
	bytesMax int
	status   int
	body     bytes.Buffer
	cut      bool
}

func (c *capture) WriteHeader(status int) {
	if c.status == 0 && status >= 200 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *capture) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	if c.cut = c.cut || c.body.Len()+len(p) > c.bytesMax; !c.cut {
		c.body.Write(p)
	}
	// An answer that nobody reads any more is kept all the same.
	_, _ = c.ResponseWriter.Write(p)
	return len(p), nil
}

// Unwrap lets http.ResponseController reach deadlines and Flush.
func (c *capture) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// kept are the headers that the handler set.
func (c *capture) kept() http.Header {
	header := http.Header{}
	for name, values := range c.Header() {
		if _, around := c.before[name]; !around {
			header[name] = values
		}
	}
	return header
}
