package channel

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// An Error is why a message was not handed over.
type Error struct {
	// What failed: "address", "call", "answer", "mail server".
	What  string
	Cause error

	permanent  bool
	retryAfter time.Duration
}

func (e *Error) Error() string { return e.What + ": " + e.Cause.Error() }
func (e *Error) Unwrap() error { return e.Cause }

// Permanent reports whether a repeat would end the same way.
func (e *Error) Permanent() bool { return e.permanent }

// RetryAfter is how long the receiver asked to wait, 0 if it did not say.
func (e *Error) RetryAfter() time.Duration { return e.retryAfter }

// retryAfterMax bounds what a receiver may ask for.
const retryAfterMax = time.Hour

// callError is that of a call without an answer.
func callError(err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err // without the address: its path may be a secret
	}
	if errors.Is(err, ErrNotAllowed) {
		// The connection's own words name the address: who asks could map the network.
		return &Error{What: "call", Cause: fmt.Errorf("%w: the address leads into a private network, or out of the allowed ones without TLS", ErrNotAllowed), permanent: true}
	}
	return &Error{What: "call", Cause: err}
}

// judge says of an answer whether the message was taken.
func judge(res *http.Response, body []byte) error {
	status := res.StatusCode
	if status >= 200 && status < 300 {
		return nil
	}
	e := &Error{What: "answer", Cause: fmt.Errorf("%d %s%s", status, http.StatusText(status), excerpt(body))}
	switch {
	case status >= 300 && status < 400:
		to := ""
		if at, err := url.Parse(res.Header.Get("Location")); err == nil && at.Host != "" {
			to = " to " + clean(at.Scheme+"://"+at.Host)
		}
		e.Cause, e.permanent = fmt.Errorf("%d, a redirect%s; redirects are not followed, give the address it leads to", status, to), true
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		e.retryAfter = retryAfter(res.Header.Get("Retry-After"), time.Now())
	default:
		e.permanent = true
	}
	return e
}

// retryAfter reads the header field: seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), retryAfterMax)
}

// excerptMax bounds what is shown of an answer.
const excerptMax = 200

func excerpt(body []byte) string {
	text := clean(string(body[:min(len(body), excerptMax)]))
	if text == "" {
		return ""
	}
	return ": " + text
}

// clean makes somebody else's text fit for a line of ours.
func clean(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)), " ")
}
