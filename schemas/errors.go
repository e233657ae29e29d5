package schemas

import (
	"errors"
	"fmt"
)

// The error classes. There is one per thing a caller can do about it; anything
// that matches none of them is fatal to the stage that met it.
var (
	// ErrInvalid: the input is wrong and stays wrong. Reject it; do not retry.
	ErrInvalid = errors.New("invalid")
	// ErrConflict: the input contradicts what is already decided (same id with
	// other content, a slug that is taken, a compare-and-set that lost).
	ErrConflict = errors.New("conflict")
	// ErrUnavailable: the input may be fine, a dependency is not. Retry with
	// backoff; nothing was decided or what was decided is harmless to repeat.
	ErrUnavailable = errors.New("unavailable")
)

// FieldError says what is wrong with one field of an input, where, and what to
// do about it. It matches ErrInvalid.
type FieldError struct {
	// Pointer is the JSON pointer (RFC 6901) to the field, "" for the whole.
	Pointer string
	// Code is a stable machine word, such as "missing" or "out_of_range".
	Code string
	// Detail is a sentence for a person: what is wrong and what to do.
	Detail string
}

func (e *FieldError) Error() string {
	if e.Pointer == "" {
		return e.Detail
	}
	return e.Pointer + ": " + e.Detail
}

// Is reports that a FieldError is an ErrInvalid.
func (e *FieldError) Is(target error) bool { return target == ErrInvalid }

// Invalid returns a FieldError.
func Invalid(pointer, code, format string, args ...any) *FieldError {
	return &FieldError{Pointer: pointer, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// The codes of field errors. They are part of the API: a client may branch on
// them, so they are never reworded.
const (
	CodeMissing     = "missing"
	CodeWrongType   = "wrong_type"
	CodeMalformed   = "malformed"
	CodeOutOfRange  = "out_of_range"
	CodeTooLong     = "too_long"
	CodeTooMany     = "too_many"
	CodeUnknown     = "unknown"
	CodeRepeated    = "repeated"
	CodeTooEarly    = "too_early"
	CodeTooLate     = "too_late"
	CodeNotAllowed  = "not_allowed"
	CodeBadTotal    = "bad_total"
	CodeUnsupported = "unsupported"
)
