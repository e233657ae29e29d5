package channeltest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// A Call is one request that arrived.
type Call struct {
	Path   string
	Header http.Header
	Body   []byte
	// Status is what it was answered.
	Status int
}

// HTTP is a server on a loopback address that keeps what it was sent.
type HTTP struct {
	*httptest.Server

	mu     sync.Mutex // guards what follows
	calls  []Call
	answer func(n int, w http.ResponseWriter, r *http.Request) bool
	moved  chan struct{} // closed and replaced with every call
}

// NewHTTP starts a server, with TLS if asked, that ends with the test. It answers 202.
func NewHTTP(t testing.TB, tls bool) *HTTP {
	h := &HTTP{moved: make(chan struct{})}
	handler := http.HandlerFunc(h.serve)
	if tls {
		h.Server = httptest.NewTLSServer(handler)
	} else {
		h.Server = httptest.NewServer(handler)
	}
	t.Cleanup(h.Close)
	return h
}

// Answer changes what is answered: f is given the number of the call, from 0, and
// returns false to leave the answer to the server. nil is as at the start.
func (h *HTTP) Answer(f func(n int, w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = f
}

// Fail answers every call with a status from now on; 0 is as at the start.
func (h *HTTP) Fail(status int) {
	if status == 0 {
		h.Answer(nil)
		return
	}
	h.Answer(func(_ int, w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(status); return true })
}

func (h *HTTP) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // a call that was cut off is kept as far as it came
	h.mu.Lock()
	answer, n := h.answer, len(h.calls)
	h.mu.Unlock()
	kept := &status{ResponseWriter: w, code: http.StatusAccepted}
	if answer == nil || !answer(n, kept, r) {
		kept.WriteHeader(http.StatusAccepted)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, Call{r.URL.Path, r.Header.Clone(), body, kept.code})
	close(h.moved)
	h.moved = make(chan struct{})
}

type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Calls returns what arrived, in order; Taken, what was answered with success.
func (h *HTTP) Calls() []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Call(nil), h.calls...)
}

// Taken returns the calls that were answered with success, in order.
func (h *HTTP) Taken() (taken []Call) {
	for _, c := range h.Calls() {
		if c.Status < http.StatusMultipleChoices {
			taken = append(taken, c)
		}
	}
	return taken
}

// Moved is closed when another call has arrived.
func (h *HTTP) Moved() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.moved
}
