package stripefake

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// ErrCut is what a client of Transport sees of a connection that was cut.
var ErrCut = errors.New("stripefake: connection reset by peer")

// Transport carries requests to the server without a network, so that a test in a bubble
// of testing/synctest can wait for them. A sender that gives up does not stop the
// request, as it would not stop one that is on its way: it is executed when its time has
// come, and nobody hears the answer.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ s *Server }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	inner := r.Clone(context.WithoutCancel(r.Context()))
	inner.Body = io.NopCloser(bytes.NewReader(body))
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				if p != http.ErrAbortHandler { //nolint:errorlint // a recovered value is this very one or a defect
					panic(p)
				}
				done <- ErrCut
			}
		}()
		t.s.ServeHTTP(w, inner)
		done <- nil
	}()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case err := <-done:
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil && w.body.Len() == 0 {
			return nil, err
		}
		return &http.Response{
			Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: w.header.Clone(), Body: io.NopCloser(bytes.NewReader(bytes.Clone(w.body.Bytes()))),
			ContentLength: int64(w.body.Len()), Request: r,
		}, nil
	}
}

// recorder keeps an answer.
type recorder struct {
	mu     sync.Mutex
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = status
}

func (w *recorder) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.body.Write(b)
}
