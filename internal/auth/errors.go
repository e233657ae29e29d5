package auth

import (
	"errors"
	"strconv"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
)

// The kinds of refusal.
var (
	// ErrUnauthenticated: there is no key, or none that works. HTTP 401.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrForbidden: the key works and may not do this. HTTP 403.
	ErrForbidden = errors.New("forbidden")
	// ErrTooManyFailures: the key does not work, and neither did many before it
	// from this address. HTTP 429.
	ErrTooManyFailures = errors.New("too many failures")
)

// The codes of refusals. They are part of the API and never reworded. Those of
// tokens that do not work are in package oidc.
const (
	CodeKeyMissing        = "key_missing"
	CodeKeyMalformed      = "key_malformed"
	CodeKeyUnknown        = "key_unknown"
	CodeKeyRevoked        = "key_revoked"
	CodeKeyInURL          = "key_in_url"
	CodeInsufficientScope = "insufficient_scope"
	CodeTenantSuspended   = "tenant_suspended"
	CodeNotAMember        = "not_a_member"
	CodeTooManyFailures   = "too_many_failures"
)

// Error is a refusal. Its text is for the caller and holds nothing of the key.
type Error struct {
	Code   string
	Detail string
	// RetryAfter is set with ErrTooManyFailures.
	RetryAfter time.Duration
	// Needed is set with CodeInsufficientScope.
	Needed tenancy.Permission

	kind error
}

func (e *Error) Error() string { return e.Detail }
func (e *Error) Unwrap() error { return e.kind }

// Challenge is the WWW-Authenticate header that belongs to the refusal (RFC 6750),
// "" if none does.
func (e *Error) Challenge() string {
	switch {
	case e.Code == CodeInsufficientScope:
		return `Bearer realm="panda", error="insufficient_scope", scope=` + strconv.Quote(string(e.Needed))
	case e.Code == CodeKeyMissing:
		return `Bearer realm="panda"`
	case e.Code == CodeKeyInURL:
		return `Bearer realm="panda", error="invalid_request"`
	case errors.Is(e.kind, ErrUnauthenticated):
		return `Bearer realm="panda", error="invalid_token"`
	}
	return ""
}

func unauthenticated(code, detail string) *Error {
	return &Error{Code: code, Detail: detail, kind: ErrUnauthenticated}
}

// Require refuses a scope that lacks a permission.
func Require(scope tenancy.Scope, p tenancy.Permission) error {
	if scope.Allows(p) {
		return nil
	}
	return &Error{Code: CodeInsufficientScope, Needed: p, kind: ErrForbidden,
		Detail: lacks(scope, p)}
}
