package stripefake

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// apiError is an error as Stripe words it (/api/errors).
type apiError struct {
	Status  int    `json:"-"`
	Type    string `json:"type"`
	Code    string `json:"code,omitempty"`
	Param   string `json:"param,omitempty"`
	Message string `json:"message"`
}

func (e *apiError) Error() string { return e.Message }

func (e *apiError) body() []byte {
	b, err := json.Marshal(map[string]any{"error": e})
	if err != nil {
		panic("stripefake: an error that is not JSON: " + err.Error())
	}
	return b
}

func refuse(status int, kind, code, param, format string, args ...any) *apiError {
	return &apiError{Status: status, Type: kind, Code: code, Param: param, Message: fmt.Sprintf(format, args...)}
}

func invalid(code, param, format string, args ...any) *apiError {
	return refuse(http.StatusBadRequest, "invalid_request_error", code, param, format, args...)
}

func missing(what, id string) *apiError {
	return refuse(http.StatusNotFound, "invalid_request_error", "resource_missing", "id", "No such %s: '%s'", what, id)
}

// errLockTimeout is what a request gets that waited too long for an object another one
// changes. Unlike the limiter's 429 it comes from the execution, and so it is stored
// (/rate-limits, useautumn/autumn#3491).
func errLockTimeout() *apiError {
	return refuse(http.StatusTooManyRequests, "invalid_request_error", "lock_timeout", "",
		"This object cannot be accessed right now because another API request or Stripe process is currently accessing it.")
}

func errServer() *apiError {
	return refuse(http.StatusInternalServerError, "api_error", "", "", "An unknown error occurred")
}

// errRateLimit is the limiter's answer. It stands before the idempotency layer and is
// not stored (/rate-limits).
func errRateLimit() *apiError {
	return refuse(http.StatusTooManyRequests, "invalid_request_error", "rate_limit", "",
		"Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.")
}
