package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/schemas"
)

// ErrNoRows is what Row.Scan returns when the query had no row.
var ErrNoRows = sql.ErrNoRows

// ErrClosed is returned after Close.
var ErrClosed = errors.New("warehouse is closed")

// Code is the ClickHouse error code in err, such as 241 for a memory limit, or 0
// if the error did not come from the engine.
func Code(err error) int {
	if ex, ok := errors.AsType[*clickhouse.Exception](err); ok {
		return int(ex.Code)
	}
	if ex, ok := errors.AsType[*engine.Exception](err); ok {
		return ex.Code
	}
	return 0
}

// laterCodes are errors of the engine after which the same statement may
// succeed: it was busy, shutting down, or out of replicas.
var laterCodes = map[int]string{
	159: "TIMEOUT_EXCEEDED", 202: "TOO_MANY_SIMULTANEOUS_QUERIES", 209: "SOCKET_TIMEOUT", 210: "NETWORK_ERROR",
	236: "ABORTED", 242: "TABLE_IS_READ_ONLY", 243: "NOT_ENOUGH_SPACE", 252: "TOO_MANY_PARTS",
	279: "ALL_CONNECTION_TRIES_FAILED", 285: "TOO_FEW_LIVE_REPLICAS", 286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
	319: "UNKNOWN_STATUS_OF_INSERT", 394: "QUERY_WAS_CANCELLED", 745: "SERVER_OVERLOADED", 999: "KEEPER_EXCEPTION",
}

const codeMemoryLimit = 241

// unavailable is an error that also matches schemas.ErrUnavailable.
type unavailable struct{ err error }

func (u *unavailable) Error() string { return "warehouse is not available: " + u.err.Error() }
func (u *unavailable) Unwrap() []error {
	return []error{schemas.ErrUnavailable, u.err}
}

// classify gives an error its class. What the engine refused keeps its code;
// what never reached it, or was cut on the way, is unavailable.
func classify(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrNoRows), errors.Is(err, schemas.ErrUnavailable), errors.Is(err, ErrClosed):
		return err
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return &unavailable{err}
	}
	code := Code(err)
	if code == 0 {
		if isUsage(err) {
			return err
		}
		return &unavailable{err}
	}
	_, later := laterCodes[code]
	// "(total)": all queries together are over the limit, not this one alone.
	if later || code == codeMemoryLimit && strings.Contains(err.Error(), "(total)") {
		return &unavailable{err}
	}
	return err
}

// isUsage reports errors of this side of the wire, which no retry mends: a
// wrong type to scan into or to append, a bad statement shape.
func isUsage(err error) bool {
	var op *clickhouse.OpError
	return errors.As(err, &op) || errors.Is(err, clickhouse.ErrBatchInvalid) || errors.Is(err, errUsage) ||
		strings.Contains(err.Error(), "converting ") || strings.Contains(err.Error(), "destination arguments")
}

var errUsage = errors.New("wrong use of the warehouse")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}
