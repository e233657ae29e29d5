package apidoctest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// transport is Checker.Transport.
type transport struct {
	checker *Checker
	next    http.RoundTripper
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.Path, "/v1/") {
		return t.next.RoundTrip(r)
	}
	sent := &tee{ReadCloser: r.Body}
	if r.Body != nil && r.Body != http.NoBody {
		r = r.Clone(r.Context())
		r.Body = sent
	}
	res, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	x := exchange{r, sent.seen.Bytes(), res.StatusCode, res.Header, body}
	if wrong := t.checker.check(&x); wrong != nil {
		return nil, fmt.Errorf("%s %s answered %d, and the API's description says otherwise: %s",
			r.Method, r.URL, res.StatusCode, strings.Join(wrong, "; "))
	}
	return res, nil
}

// recorder passes an answer on and keeps a copy.
type recorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
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
	if w.body.Len() <= bodyBytesMax {
		w.body.Write(p)
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach deadlines and Flush.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// tee keeps a copy of what is read of a request's body.
type tee struct {
	io.ReadCloser
	seen bytes.Buffer
}

func (r *tee) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.seen.Len() <= bodyBytesMax {
		r.seen.Write(p[:n])
	}
	return n, err
}
