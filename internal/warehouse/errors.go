package warehouse

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/agentik-os/panda/internal/invariant"
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
// succeed: it was busy, shutting down, out of replicas, short of memory, threads or
// disk, of which the system had none to give, or its disk failed.
var laterCodes = map[int]string{
	74: "CANNOT_READ_FROM_FILE_DESCRIPTOR", 75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR", 76: "CANNOT_OPEN_FILE", 77: "CANNOT_CLOSE_FILE", 204: "CANNOT_FSYNC",
	159: "TIMEOUT_EXCEEDED", 173: "CANNOT_ALLOCATE_MEMORY", 202: "TOO_MANY_SIMULTANEOUS_QUERIES", 209: "SOCKET_TIMEOUT", 210: "NETWORK_ERROR",
	236: "ABORTED", 242: "TABLE_IS_READ_ONLY", 243: "NOT_ENOUGH_SPACE", 252: "TOO_MANY_PARTS",
	279: "ALL_CONNECTION_TRIES_FAILED", 285: "TOO_FEW_LIVE_REPLICAS", 286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
	319: "UNKNOWN_STATUS_OF_INSERT", 394: "QUERY_WAS_CANCELLED", 439: "CANNOT_SCHEDULE_TASK", 745: "SERVER_OVERLOADED", 999: "KEEPER_EXCEPTION",
}

const (
	codeMemoryLimit  = 241
	codeStdException = 1001
)

// damagedCodes are errors of the engine about files that are not what was
// written: a flipped bit, a torn end, a file that is gone.
var damagedCodes = map[int]string{
	32: "ATTEMPT_TO_READ_AFTER_EOF", 33: "CANNOT_READ_ALL_DATA", 40: "CHECKSUM_DOESNT_MATCH", 226: "NO_FILE_IN_DATA_PART",
	246: "CORRUPTED_DATA", 271: "CANNOT_DECOMPRESS",
}

// ErrDamaged says that a file of the warehouse is not what was written. Nothing
// is answered from such a file; the part it belongs to has to be taken out.
var ErrDamaged = invariant.New(invariant.FilesAreWhole, "a file of the warehouse is damaged")

// damaged is an error that also matches ErrDamaged.
type damaged struct{ err error }

func (d *damaged) Error() string {
	// The engine says the same at length several times over.
	text, _, _ := strings.Cut(d.err.Error(), ": While reading or decompressing")
	if i := strings.LastIndex(d.err.Error(), "While reading part "); i >= 0 {
		part, _, _ := strings.Cut(d.err.Error()[i+len("While reading part "):], ":")
		text += " (part " + part + ")"
	}
	return ErrDamaged.Error() + "; panda verify --repair takes it out and mends what is missing: " + text
}

func (d *damaged) Unwrap() []error { return []error{ErrDamaged, d.err} }

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
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, ErrNoRows), errors.Is(err, schemas.ErrUnavailable), errors.Is(err, ErrClosed), errors.Is(err, errUsage):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return &unavailable{err}
	}
	code := Code(err)
	if code == 0 {
		if onTheWay(err) {
			return &unavailable{err}
		}
		return err
	}
	if _, bad := damagedCodes[code]; bad {
		return &damaged{err}
	}
	_, later := laterCodes[code]
	// "(total)": all queries together are over the limit, not this one alone.
	// What the C++ runtime throws has no code of its own; of that, only the want of
	// memory and what a disk said pass by themselves.
	later = later || code == codeStdException && (strings.Contains(err.Error(), "bad_alloc") || ofDisk(err.Error()))
	if later || code == codeMemoryLimit && strings.Contains(err.Error(), "(total)") {
		return &unavailable{err}
	}
	return err
}

// ofDisk reports whether an exception of the C++ runtime is about a disk that is full
// or fails.
func ofDisk(text string) bool {
	if !strings.Contains(text, "filesystem error") {
		return false
	}
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EROFS, syscall.EDQUOT} {
		if strings.Contains(strings.ToLower(text), errno.Error()) {
			return true
		}
	}
	return false
}

// onTheWay reports whether a statement, or its answer, was lost on the way: the
// server refused the connection, went away, or answered less than it announced.
func onTheWay(err error) bool {
	for _, lost := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, sqldriver.ErrBadConn,
		clickhouse.ErrAcquireConnTimeout, clickhouse.ErrConnectionClosed, clickhouse.ErrAcquireConnNoAddress} {
		if errors.Is(err, lost) {
			return true
		}
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return true
	}
	_, ok := errors.AsType[net.Error](err)
	return ok
}

var errUsage = errors.New("wrong use of the warehouse")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errUsage}, args...)...)
}
