package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/schemas"
)

var (
	// ErrInUse: another process, or another Log of this one, has the data
	// directory open. It matches schemas.ErrConflict.
	ErrInUse = fmt.Errorf("data directory is in use: %w", schemas.ErrConflict)
	// ErrFull: the stream holds as many bytes as it may. It matches
	// schemas.ErrUnavailable: there is room again when old messages expire or
	// the limit is raised.
	ErrFull = fmt.Errorf("log is full: %w", schemas.ErrUnavailable)
	// ErrNotFound: no record, key or stream of that name or sequence.
	ErrNotFound = errors.New("not found")
	// ErrTruncated: the log does not reach back to, or not as far as, the
	// position a reader wants to go on from. Records were purged, have expired,
	// or the log was replaced by another one. Nothing repairs that by itself.
	ErrTruncated = errors.New("log does not hold the wanted position")
	// ErrSetting: a stream or the server runs with a setting that breaks the
	// promises of this package and that could not be changed.
	ErrSetting = errors.New("setting differs")
	// ErrClosed: the Log or Reader was closed.
	ErrClosed = errors.New("closed")
)

// The broker's error codes that mean something to us, from the server's
// errors.json.
const (
	codeNoPeers          jetstream.ErrorCode = 10005
	codeNoResources      jetstream.ErrorCode = 10023
	codeNoStorage        jetstream.ErrorCode = 10047
	codeBadConfig        jetstream.ErrorCode = 10052
	codeStreamLimits     jetstream.ErrorCode = 10053
	codeTooLarge         jetstream.ErrorCode = 10054
	codeUpdateRefused    jetstream.ErrorCode = 10069
	codeWrongLastSeq     jetstream.ErrorCode = 10071
	codeNoReplicas       jetstream.ErrorCode = 10074
	codeStoreFailed      jetstream.ErrorCode = 10077
	codeDuplicateRunning jetstream.ErrorCode = 10158
	codeWrongLastSeqR3   jetstream.ErrorCode = 10164
)

// The descriptions that come with codeStoreFailed when a stream that discards
// new messages refuses one.
const (
	textMaxBytes      = "maximum bytes exceeded"
	textMaxMsgs       = "maximum messages exceeded"
	textMaxPerSubject = "maximum messages per subject exceeded"
)

// classify gives an error of the client or broker its class.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return classifyAPI(api, err)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, nats.ErrConnectionClosed):
		// To this Log it is final; to the client of a service that shuts down, not.
		return fmt.Errorf("%w: %w: %w", ErrClosed, schemas.ErrUnavailable, err)
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject),
		errors.Is(err, nats.ErrInvalidMsg), errors.Is(err, jetstream.ErrInvalidKey),
		errors.Is(err, jetstream.ErrInvalidSubject):
		return fmt.Errorf("%w: %w", schemas.ErrInvalid, err)
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrMsgNotFound),
		errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrBucketNotFound):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, jetstream.ErrKeyExists):
		return fmt.Errorf("%w: %w", schemas.ErrConflict, err)
	}
	// Timeouts, lost connections, no responders, no leader: nothing else is left.
	return fmt.Errorf("%w: %w", schemas.ErrUnavailable, err)
}

func classifyAPI(api *jetstream.APIError, err error) error {
	switch api.ErrorCode {
	case codeWrongLastSeq, codeWrongLastSeqR3:
		return fmt.Errorf("%w: %w", schemas.ErrConflict, err)
	case codeTooLarge:
		return fmt.Errorf("%w: %w", schemas.ErrInvalid, err)
	case codeBadConfig, codeStreamLimits, codeUpdateRefused, codeNoReplicas:
		// The broker calls these its own failure, but they stay as they are.
		return err
	case codeDuplicateRunning:
		// A message of the same id is on its way to the disks of a cluster, sent by us
		// before an answer was lost. It may be stored yet or not; the next try is told.
		return fmt.Errorf("%w: %w", schemas.ErrUnavailable, err)
	case codeNoPeers:
		// The servers have not found each other yet, or too few are up.
		return fmt.Errorf("%w: %w", schemas.ErrUnavailable, err)
	case codeNoResources, codeNoStorage:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case codeStoreFailed:
		switch api.Description {
		case textMaxBytes, textMaxMsgs:
			return fmt.Errorf("%w: %w", ErrFull, err)
		case textMaxPerSubject:
			return fmt.Errorf("%w: %w", schemas.ErrConflict, err)
		}
		return fmt.Errorf("%w: %w", schemas.ErrUnavailable, err)
	case jetstream.JSErrCodeMessageNotFound, jetstream.JSErrCodeStreamNotFound, jetstream.JSErrCodeConsumerNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if api.Code >= 500 {
		return fmt.Errorf("%w: %w", schemas.ErrUnavailable, err)
	}
	return err
}
