package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// API asks panda over HTTP with a key of the platform.
type API struct {
	URL  string // without a slash at the end
	Key  string
	HTTP *http.Client
}

const (
	// answerBytesMax bounds an answer: a month by agent is some 200 KiB.
	answerBytesMax = 16 << 20
	// askFor is how long a question that is answered "later" is asked again: the
	// warehouse may still be opening, or the writer catching up.
	askFor = 2 * time.Minute
	// pauseMin and pauseMax bound the wait between two tries.
	pauseMin = 50 * time.Millisecond
	pauseMax = 5 * time.Second
)

// call sends body, if any, and decodes the answer. It asks again while the
// answer is 429 or 503; creating is made safe to repeat by an idempotency key.
func (a *API) call(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode request of %s: %w", path, err)
		}
	}
	address := a.URL + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	deadline := time.Now().Add(askFor)
	for try := 0; ; try++ {
		reply, err := post(ctx, a.HTTP, outgoing{method: method, address: address, key: a.Key, media: "application/json",
			body: text, limit: answerBytesMax})
		if err == nil && reply.status/100 == 2 {
			if err := json.Unmarshal(reply.body, answer); err != nil {
				return fmt.Errorf("read answer of %s: %w", path, err)
			}
			return nil
		}
		if err == nil {
			err = reply.problem()
		}
		if !reply.again() || time.Now().After(deadline) {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		if err := pause(ctx, try, reply.retryAfter); err != nil {
			return err
		}
	}
}

// outgoing is one HTTP request.
type outgoing struct {
	method, address, key, media string
	body                        []byte
	limit                       int64 // of the answer, in bytes
}

// reply is an answer; its zero value is none.
type reply struct {
	status     int
	retryAfter time.Duration
	body       []byte
}

// again reports whether the same request may succeed later.
func (r *reply) again() bool {
	return r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable
}

// problem makes an error of an answer that is not a success.
func (r *reply) problem() error {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	if json.Unmarshal(r.body, &p) != nil || p.Title == "" {
		p.Title = http.StatusText(r.status)
	}
	err := fmt.Errorf("%d %s: %s", r.status, p.Title, p.Detail)
	if r.again() {
		return fmt.Errorf("%w: %w", schemas.ErrUnavailable, err)
	}
	return err
}

// post sends one request and reads the whole answer. An error means that there
// was no answer; whether the request took effect is then unknown.
func post(ctx context.Context, client *http.Client, out outgoing) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, out.method, out.address, bytes.NewReader(out.body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Authorization", "Bearer "+out.key)
	req.Header.Set("Content-Type", out.media)
	res, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	r := reply{status: res.StatusCode}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		r.retryAfter = time.Duration(seconds) * time.Second
	}
	if r.body, err = io.ReadAll(io.LimitReader(res.Body, out.limit)); err != nil {
		return reply{}, err
	}
	return r, nil
}

// pause waits before the next try: longer each time, and as long as the server
// asks for.
func pause(ctx context.Context, try int, asked time.Duration) error {
	wait := min(max(pauseMin<<min(try, 8), asked), pauseMax)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
