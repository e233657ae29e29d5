package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// apiClient speaks the HTTP API. It is safe for concurrent use.
type apiClient struct {
	base string // without a slash at the end
	key  string
	http *http.Client
}

const (
	// answerBytesMax bounds an answer that is read whole: a month by every
	// dimension is a few MiB.
	answerBytesMax = 64 << 20
	// problemBytesMax bounds an error that is read.
	problemBytesMax = 1 << 20
	// retriesMax is how often a request is sent again after a 429, a 5xx that
	// asks for it, or a lost connection: with the waits below about two minutes.
	retriesMax = 8
	// retryWaitMax bounds one wait, whatever the server asks for.
	retryWaitMax = 30 * time.Second
)

// A request is one call of the API.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	media        string // content type of body
	header       http.Header
	// retry sends again what was not answered or answered "later". Only for
	// requests that are harmless to repeat.
	retry bool
	// tries, if set, is told how often the request was sent.
	tries *int
}

// tenant is the tenant that a request is about, "" for none.
func (r *request) tenant() string {
	if rest, ok := strings.CutPrefix(r.path, "/v1/tenants/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		if name, err := url.PathUnescape(name); err == nil {
			return name
		}
	}
	return r.query.Get("tenant")
}

// apiError is an answer that is not a success.
type apiError struct {
	Status int            `json:"status"`
	Title  string         `json:"title"`
	Detail string         `json:"detail"`
	Code   string         `json:"code"`
	Ref    string         `json:"instance"`
	Errors []problemField `json:"errors"`

	Hint       string `json:"-"` // what to look at, from the side of the client
	retryAfter time.Duration
}

type problemField struct {
	Pointer string `json:"pointer"`
	Code    string `json:"code"`
	Detail  string `json:"detail"`
}

// Error is the problem's detail and, on lines of their own, the fields at fault.
func (e *apiError) Error() string {
	var b strings.Builder
	switch {
	case e.Detail != "":
		b.WriteString(e.Detail)
	case e.Title != "":
		b.WriteString(e.Title)
	default:
		fmt.Fprintf(&b, "the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Hint != "" {
		b.WriteString("\n" + e.Hint)
	}
	if e.Status == http.StatusUnauthorized {
		b.WriteString("\ngive a key with --api-key or PANDA_API_KEY")
	}
	for _, f := range e.Errors {
		if f.Pointer == "" || (len(e.Errors) == 1 && f.Detail == e.Detail) {
			if f.Pointer != "" {
				fmt.Fprintf(&b, "\nat %s", f.Pointer)
			}
			continue
		}
		fmt.Fprintf(&b, "\nat %s: %s", f.Pointer, f.Detail)
	}
	if e.Ref != "" {
		fmt.Fprintf(&b, "\ninstance %s", e.Ref)
	}
	return visible(b.String())
}

// send makes a request and returns the answer, whose body the caller closes. An
// answer that is not 2xx is an *apiError.
func (c *apiClient) send(ctx context.Context, r request) (*http.Response, error) {
	for try := 0; ; try++ {
		if r.tries != nil {
			*r.tries = try + 1
		}
		res, err := c.sendOnce(ctx, r)
		if err == nil {
			return res, nil
		}
		wait, again := retryWait(err, try)
		if !r.retry || !again || ctx.Err() != nil {
			return nil, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}

func (c *apiClient) sendOnce(ctx context.Context, r request) (*http.Response, error) {
	address := strings.TrimRight(c.base, "/") + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return nil, usagef("--url: %v", err)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if r.media != "" {
		req.Header.Set("Content-Type", r.media)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("reach %s: %w", c.base, err)
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		problem := readProblem(res)
		if tenant := r.tenant(); tenant != "" && problem.Status == http.StatusNotFound {
			problem.Hint = fmt.Sprintf("this was asked of tenant %q; which there are: panda tenant list", tenant)
		}
		return nil, problem
	}
	return res, nil
}

// notReady returns what the answer of /readyz says against readiness.
func notReady(body []byte) string {
	var answer struct {
		Checks []struct{ Name, Status, Detail string }
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	var reasons []string
	for _, c := range answer.Checks {
		if c.Status != "ok" {
			reasons = append(reasons, c.Name+": "+c.Detail)
		}
	}
	return strings.Join(reasons, ", ")
}

// readProblem turns an answer into an error. What is not a problem of ours comes
// from something in between, such as a proxy; its text is quoted, in short.
func readProblem(res *http.Response) *apiError {
	e := &apiError{retryAfter: parseRetryAfter(res.Header.Get("Retry-After"))}
	body, err := io.ReadAll(io.LimitReader(res.Body, problemBytesMax))
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || !strings.HasSuffix(media, "json") || json.Unmarshal(body, e) != nil || (e.Detail == "" && e.Title == "") {
		e.Detail = fmt.Sprintf("the server answered %s and not in the way panda does; is the address right?", res.Status)
		if reasons := notReady(body); reasons != "" {
			e.Detail = "the server is not ready: " + reasons
		}
	}
	e.Status = res.StatusCode
	return e
}

func parseRetryAfter(text string) time.Duration {
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// retryWait says how long to wait before sending again, and whether to.
func retryWait(err error, try int) (time.Duration, bool) {
	if try >= retriesMax {
		return 0, false
	}
	backoff := min(time.Second<<min(try, 5)/4, retryWaitMax)
	var api *apiError
	if !errors.As(err, &api) {
		return backoff, exitCode(err) == exitUnavailable
	}
	switch api.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return min(max(backoff, api.retryAfter), retryWaitMax), true
	}
	return 0, false
}

// raw makes a request and returns the whole answer.
func (c *apiClient) raw(ctx context.Context, r request) ([]byte, error) {
	res, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	return readAnswer(res, r.path)
}

// readAnswer reads an answer whole and closes it.
func readAnswer(res *http.Response, path string) ([]byte, error) {
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, answerBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", path, err)
	}
	if len(body) > answerBytesMax {
		return nil, fmt.Errorf("read the answer of %s: it is larger than %d bytes; ask for less", path, answerBytesMax)
	}
	return body, nil
}

// call makes a request and decodes the answer. It returns the answer's own text
// too, which is what -o json prints.
func call[T any](ctx context.Context, c *apiClient, r request) (T, []byte, error) {
	var answer T
	body, err := c.raw(ctx, r)
	if err != nil {
		return answer, nil, err
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, body, fmt.Errorf("read the answer of %s: %w", r.path, err)
	}
	return answer, body, nil
}

// get is a GET; it is repeated when the server asks for it.
func get(path string, query url.Values) request {
	return request{method: http.MethodGet, path: path, query: query, retry: true}
}

// post is a POST of JSON.
func post(path string, query url.Values, body any) (request, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return request{}, fmt.Errorf("encode the request of %s: %w", path, err)
	}
	return request{method: http.MethodPost, path: path, query: query, body: text, media: "application/json"}, nil
}

// params makes a query of pairs, without those that are empty.
func params(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}
