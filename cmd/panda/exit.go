package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/schemas"
)

// The exit codes; rootLong says what each means. From 69 on they are those of
// sysexits.h where it has one.
const (
	exitOK          = 0
	exitWrong       = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitNotAllowed  = 4
	exitConflict    = 5
	exitUnavailable = 69
	exitInternal    = 70
	exitInUse       = 73
	exitDiskFull    = 74
	exitInterrupted = 130
)

// errFoundWrong ends a command that worked and found something wrong. The
// command has said what; nothing more is printed.
var errFoundWrong = errors.New("found something wrong")

// usageError is a command line that was not understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef returns a usageError.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitCode returns the exit code of an error.
func exitCode(err error) int {
	var usage usageError
	var api *apiError
	var child engineError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &child):
		return engine.ExitCode(child.err)
	case errors.Is(err, errFoundWrong), errors.Is(err, errTooManyErrors), errors.Is(err, errDeclined):
		return exitWrong
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &api):
		return api.exitCode()
	}
	return exitCodeOfClass(err)
}

func exitCodeOfClass(err error) int {
	var dial *url.Error
	var network *net.OpError
	switch {
	case errors.Is(err, eventlog.ErrInUse), errors.Is(err, engine.ErrDataDirInUse):
		return exitInUse
	case errors.Is(err, engine.ErrLibMissing), errors.Is(err, engine.ErrLibChecksum):
		return exitUnavailable
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, eventlog.ErrFull):
		return exitDiskFull
	case errors.Is(err, schemas.ErrInvalid), errors.Is(err, engine.ErrConfig):
		return exitUsage
	case errors.Is(err, tenancy.ErrNotFound):
		return exitNotFound
	case errors.Is(err, schemas.ErrConflict):
		return exitConflict
	case errors.Is(err, schemas.ErrUnavailable), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &dial), errors.As(err, &network):
		return exitUnavailable
	}
	return exitInternal
}

// printError prints an error for a person: what a command has said itself is
// not said again.
func printError(w io.Writer, err error) {
	switch {
	case err == nil, errors.Is(err, errFoundWrong):
		return
	case exitCode(err) == exitInterrupted:
		_, _ = fmt.Fprintln(w, "panda: interrupted")
		return
	}
	_, _ = fmt.Fprintf(w, "panda: %s\n", strings.ReplaceAll(visible(err.Error()), "\n", "\n  "))
	var usage usageError
	if errors.As(err, &usage) {
		_, _ = fmt.Fprintln(w, "Run the command with --help to see how it is used.")
	}
}

// exitCode returns the exit code of an answer.
func (e *apiError) exitCode() int {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitNotAllowed
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return exitUnavailable
	case http.StatusInsufficientStorage:
		return exitDiskFull
	}
	if e.Status >= 400 && e.Status < 500 {
		return exitUsage
	}
	return exitInternal
}
