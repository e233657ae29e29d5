package stripe

import "net/http"

// Verdict is what an answer means for the request it answers.
type Verdict string

// The verdicts; the package comment has the table.
const (
	Taken     Verdict = "taken"
	Later     Verdict = "later"
	Unknown   Verdict = "unknown"
	StoredErr Verdict = "stored"
	Closed    Verdict = "closed"
	Rejected  Verdict = "refused"
	Denied    Verdict = "denied"
)

// Answer is what came back of a request, or that nothing did.
type Answer struct {
	Status int // 0: no answer
	// Readable: the body was an object or an error of Stripe's.
	Readable bool
	Type     string // of the error, such as invalid_request_error
	Code     string // of the error, such as lock_timeout
	Replayed bool   // the answer to an earlier request with this key
	Request  string // Stripe's id of the request, for its support
	Message  string
}

// Judge says what an answer means.
//
// Source: docs.stripe.com/api/idempotent_requests, /error-low-level and /rate-limits. The
// answer of an execution is stored under the key, errors included; that of the limiter,
// of the check of parameters and of a key in use is not.
func Judge(a Answer) Verdict {
	switch {
	case a.Status == 0, !a.Readable:
		return Unknown
	case a.Status < 300:
		return Taken
	case a.Code == "invoice_not_editable":
		return Closed
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
		return Denied
	case a.Code == "lock_timeout":
		return StoredErr
	case a.Status == http.StatusConflict, a.Status == http.StatusTooManyRequests && !a.Replayed:
		return Later
	case a.Status == http.StatusInternalServerError, a.Replayed && retryable(a.Status):
		return StoredErr
	case a.Status > http.StatusInternalServerError:
		return Unknown // of something in between: 502, 503, 504
	}
	// A wrong parameter stays wrong. A key that was used with other parameters
	// (idempotency_error) means that something here is not what it was: never go on by
	// taking another key.
	return Rejected
}

func retryable(status int) bool {
	return status == http.StatusTooManyRequests || status >= http.StatusInternalServerError
}
