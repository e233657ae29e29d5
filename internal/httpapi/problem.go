package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/ratelimit"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// ContentTypeProblem is the media type of a Problem (RFC 9457).
const ContentTypeProblem = "application/problem+json"

// typePrefix makes a problem's type from its code. It names the kind of problem
// and is not an address to fetch.
const typePrefix = "urn:panda:problem:"

// The codes of problems. They are part of the API: a client may branch on them,
// so they are never reworded. Codes of fields are in schemas.
const (
	CodeInvalid          = "invalid"
	CodeNotFound         = "not_found"
	CodeMethodNotAllowed = "method_not_allowed"
	CodeConflict         = "conflict"
	CodeTooLarge         = "too_large"
	CodeMediaType        = "unsupported_media_type"
	CodeIdempotency      = "idempotency_key_reused"
	CodeUnavailable      = "unavailable"
	CodeTimeout          = "timeout"
	CodeInternal         = "internal"
	CodeRateLimited      = "rate_limited"
	CodeTooManyInFlight  = "too_many_in_flight"
)

// Problem is what every refusal looks like on the wire: RFC 9457 with two
// members of our own, code and errors. It is an error, so a handler may return
// one.
type Problem struct {
	// Type is a URN made from Code; WriteProblem fills it in.
	Type string `json:"type"`
	// Title says what Code means, the same for every occurrence.
	Title string `json:"title"`
	// Status is the HTTP status.
	Status int `json:"status"`
	// Detail says what is wrong this time and what to do, for a person.
	Detail string `json:"detail,omitempty"`
	// Instance identifies this occurrence. For internal errors it is what the log
	// line with the cause carries.
	Instance string `json:"instance,omitempty"`
	// Code is a stable machine word.
	Code string `json:"code"`
	// Errors names the fields at fault.
	Errors []FieldProblem `json:"errors,omitempty"`
	// ViolatedPolicies names the policies of the RateLimit-Policy field whose quota
	// is exceeded; only with CodeRateLimited.
	ViolatedPolicies []string `json:"violated-policies,omitempty"`

	// RetryAfter is sent as the header of that name, rounded up to seconds.
	RetryAfter time.Duration `json:"-"`
	// Challenge is sent as WWW-Authenticate.
	Challenge string `json:"-"`
}

// FieldProblem says what is wrong with one field.
type FieldProblem struct {
	// Pointer is the JSON pointer (RFC 6901) into the request's body, or the name
	// of a query parameter with a slash in front.
	Pointer string `json:"pointer"`
	Code    string `json:"code"`
	Detail  string `json:"detail"`
}

func (p Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

// WriteProblem answers with p. Status must be set; Title and Type are filled in
// when empty.
func WriteProblem(w http.ResponseWriter, p Problem) {
	if p.Status == 0 {
		panic("httpapi: a problem without a status; set it or make the problem with ProblemOf")
	}
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	if p.Type == "" {
		p.Type = typePrefix + p.Code
	}
	h := w.Header()
	if p.RetryAfter > 0 {
		seconds := (p.RetryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	if p.Challenge != "" {
		h.Set("WWW-Authenticate", p.Challenge)
	}
	writeBody(w, p.Status, ContentTypeProblem, p)
}

// WriteJSON answers with v as JSON. A value that cannot be encoded is a broken
// invariant of the handler and panics; the server answers 500.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	writeBody(w, status, "application/json", v)
}

func writeBody(w http.ResponseWriter, status int, contentType string, v any) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	// Names with < > & stay as they were sent: the media type and nosniff keep the
	// answer from being read as HTML.
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("httpapi: encode answer: " + err.Error())
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	// The client is gone if this fails, and there is nobody left to tell.
	_, _ = w.Write(body.Bytes())
}

// retryAfterDefault is what a client is told to wait when a dependency is away
// and nothing better is known: a cluster elects a leader in about a second.
const retryAfterDefault = time.Second

// ProblemOf turns an error into what the client may know of it.
//
//	Problem               itself
//	*auth.Error           401, 403 or 429
//	tenancy.ErrNotFound   404, the same for unknown and foreign ids
//	schemas.ErrInvalid    422 with the fields; 400 when no field can be named
//	schemas.ErrConflict   409
//	schemas.ErrUnavailable, a deadline: 503 with Retry-After, which an error with
//	                      a method RetryAfter() time.Duration sets
//	anything else         500 with an incident id as Instance and nothing of the
//	                      error; the caller logs the error with the Instance
func ProblemOf(err error) Problem {
	var problem Problem
	var denied *auth.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &denied):
		return problemOfAuth(denied)
	case errors.As(err, &tooLarge):
		return Problem{Status: http.StatusRequestEntityTooLarge, Code: CodeTooLarge,
			Detail: "the body is larger than " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes; send less at once"}
	case errors.Is(err, tenancy.ErrNotFound):
		return NotFound()
	case errors.Is(err, tenancy.ErrRequestReused):
		return Problem{Status: http.StatusUnprocessableEntity, Code: CodeIdempotency,
			Title:  "Idempotency key reused",
			Detail: "this Idempotency-Key came with another body before; use a new key for a new request"}
	case errors.Is(err, schemas.ErrInvalid):
		return problemOfInvalid(err)
	case errors.Is(err, schemas.ErrConflict):
		return Problem{Status: http.StatusConflict, Code: CodeConflict, Detail: detailOf(err)}
	case errors.Is(err, schemas.ErrUnavailable):
		return Problem{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, RetryAfter: retryAfterOf(err),
			Detail: "a part that this needs is not available at the moment; send the same request again"}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Problem{Status: http.StatusServiceUnavailable, Code: CodeTimeout, RetryAfter: retryAfterDefault,
			Detail: "the request did not finish in time; send the same request again"}
	}
	return Problem{Status: http.StatusInternalServerError, Code: CodeInternal,
		Instance: "urn:uuid:" + uuid.NewString(),
		Detail:   "something went wrong here, not in the request; quote the instance when you report it"}
}

// NotFound is the one answer to ids that do not exist and to ids of somebody
// else: the same status, body and headers.
func NotFound() Problem {
	return Problem{Status: http.StatusNotFound, Code: CodeNotFound, Detail: "there is nothing here under this name"}
}

// typeQuotaExceeded is the registered problem type of an exceeded quota
// (draft-ietf-httpapi-ratelimit-headers-10, section 5.1).
const typeQuotaExceeded = "https://iana.org/assignments/http-problem-types#quota-exceeded"

// RateLimited is the answer to a call beyond what its tenant may make per minute.
func RateLimited(s *ratelimit.State) Problem {
	return Problem{Type: typeQuotaExceeded, Status: http.StatusTooManyRequests, Code: CodeRateLimited, Title: "API rate limit exceeded",
		Detail:           fmt.Sprintf("API rate limit exceeded. Current: %d, Max: %d. Upgrade your plan.", s.Used, s.Max),
		ViolatedPolicies: []string{ratelimit.Policy}, RetryAfter: s.Next}
}

func problemOfAuth(e *auth.Error) Problem {
	p := Problem{Code: e.Code, Detail: e.Detail, RetryAfter: e.RetryAfter, Challenge: e.Challenge()}
	switch {
	case errors.Is(e, auth.ErrTooManyFailures):
		p.Status = http.StatusTooManyRequests
	case errors.Is(e, auth.ErrForbidden):
		p.Status = http.StatusForbidden
	default:
		p.Status = http.StatusUnauthorized
	}
	return p
}

func problemOfInvalid(err error) Problem {
	p := Problem{Status: http.StatusUnprocessableEntity, Code: CodeInvalid, Title: "Invalid request"}
	for _, f := range fieldErrors(err, nil) {
		if f.Pointer == "" {
			p.Status = http.StatusBadRequest
		}
		p.Errors = append(p.Errors, FieldProblem{Pointer: f.Pointer, Code: f.Code, Detail: f.Detail})
	}
	switch len(p.Errors) {
	case 0:
		p.Status, p.Detail = http.StatusBadRequest, detailOf(err)
	case 1:
		p.Detail = p.Errors[0].Detail
	default:
		p.Detail = strconv.Itoa(len(p.Errors)) + " fields are wrong"
	}
	return p
}

// fieldErrors collects the FieldErrors of an error tree in order.
func fieldErrors(err error, found []*schemas.FieldError) []*schemas.FieldError {
	if f, ok := err.(*schemas.FieldError); ok { //nolint:errorlint // the tree is walked by hand, node by node
		return append(found, f)
	}
	switch u := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		if inner := u.Unwrap(); inner != nil {
			return fieldErrors(inner, found)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range u.Unwrap() {
			found = fieldErrors(inner, found)
		}
	}
	return found
}

// detailOf is the sentence of an error that was written for the client. Errors
// of dependencies carry addresses and internals, so only errors that say they
// are for people are quoted.
func detailOf(err error) string {
	var forClient interface{ Public() string }
	if errors.As(err, &forClient) {
		return forClient.Public()
	}
	if errors.Is(err, schemas.ErrConflict) {
		return "this contradicts what is already decided; read the current state and decide again"
	}
	return "the request is not valid"
}

func retryAfterOf(err error) time.Duration {
	var hinted interface{ RetryAfter() time.Duration }
	if errors.As(err, &hinted) && hinted.RetryAfter() > 0 {
		return hinted.RetryAfter()
	}
	return retryAfterDefault
}
