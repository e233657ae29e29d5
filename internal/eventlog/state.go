package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/schemas"
)

// Record is a message as the log holds it.
type Record struct {
	Subject string
	// Seq is the position in the stream, counted from 1.
	Seq uint64
	// Time is when the broker stored it, by the broker's clock, UTC.
	Time time.Time
	// Data is the reader's to keep, and must not be changed.
	Data []byte
}

// State is what a stream holds.
type State struct {
	// First and Last are the positions of the oldest and newest record. An empty
	// stream has First = Last+1.
	First, Last uint64
	Messages    uint64
	// Bytes counts records with their headers and bookkeeping, of one replica.
	Bytes   uint64
	Created time.Time
	// Epoch tells this stream from one of the same name before or after it, as
	// when a data directory was replaced. Positions of two epochs have nothing to
	// do with each other.
	Epoch uint64
}

// heardMax is how long ago a leader may have heard from each of the servers that
// make a majority with it. Servers hear from a leader every second and elect
// another one no sooner than four seconds after the last time, so a leader that
// is within this has no successor that the network hides from it.
const heardMax = 3 * time.Second

// State returns what a stream holds, as its leader sees it: with every record that
// was acknowledged before. A leader that lost touch with the others may have a
// successor that knows more; then the error is schemas.ErrUnavailable.
func (l *Log) State(ctx context.Context, stream string) (State, error) {
	handle, err := l.stream(ctx, stream)
	if err != nil {
		return State{}, fmt.Errorf("read state: %w", err)
	}
	info, err := handle.Info(ctx)
	if err != nil {
		return State{}, fmt.Errorf("read state of %s: %w", stream, classify(err))
	}
	if err := leads(info.Cluster); err != nil {
		return State{}, fmt.Errorf("read state of %s: %w", stream, err)
	}
	return stateOf(info), nil
}

// leads returns nil if the server that answered surely leads the stream.
func leads(c *jetstream.ClusterInfo) error {
	if c == nil || len(c.Replicas) == 0 {
		return nil // the only copy
	}
	heard := 1 // itself
	for _, peer := range c.Replicas {
		// A peer that it never heard from has no time.
		if !peer.Offline && peer.Active < heardMax && (peer.Active > 0 || peer.Current) {
			heard++
		}
	}
	if servers := len(c.Replicas) + 1; heard <= servers/2 {
		return fmt.Errorf("%w: %s leads it and has heard from %d of %d servers, itself among them, in the last %s",
			schemas.ErrUnavailable, c.Leader, heard, servers, heardMax)
	}
	return nil
}

// stream returns the client's handle of a stream, looked up once: the handle
// holds the name and that reads go to the leader, neither of which changes.
func (l *Log) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	l.handlesMu.Lock()
	handle, ok := l.handles[name]
	l.handlesMu.Unlock()
	if ok {
		return handle, nil
	}
	handle, err := l.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, classify(err))
	}
	l.handlesMu.Lock()
	defer l.handlesMu.Unlock()
	l.handles[name] = handle
	return handle, nil
}

func stateOf(info *jetstream.StreamInfo) State {
	s := State{
		First:    info.State.FirstSeq,
		Last:     info.State.LastSeq,
		Messages: info.State.Msgs,
		Bytes:    info.State.Bytes,
		Created:  info.Created.UTC(),
		Epoch:    uint64(info.Created.UnixNano()),
	}
	if s.Messages == 0 {
		s.First = s.Last + 1
	}
	return s
}

// Get returns the record at a position. ErrNotFound if it was purged, has
// expired or never was.
func (l *Log) Get(ctx context.Context, stream string, seq uint64) (Record, error) {
	handle, err := l.stream(ctx, stream)
	if err != nil {
		return Record{}, fmt.Errorf("get: %w", err)
	}
	if seq == 0 {
		return Record{}, fmt.Errorf("get %s 0: %w: positions count from 1", stream, ErrNotFound)
	}
	raw, err := handle.GetMsg(ctx, seq)
	if err != nil {
		return Record{}, fmt.Errorf("get %s %d: %w", stream, seq, classify(err))
	}
	return recordOf(raw), nil
}

// LastForSubject returns the newest record of a subject, and false if there is
// none. The subject may hold wildcards.
func (l *Log) LastForSubject(ctx context.Context, stream, subject string) (Record, bool, error) {
	raw, err := l.lastForSubject(ctx, stream, subject)
	if errors.Is(err, ErrNotFound) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, err
	}
	return recordOf(raw), true, nil
}

func (l *Log) lastForSubject(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	handle, err := l.stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("get last of %s: %w", subject, err)
	}
	raw, err := handle.GetLastMsgForSubject(ctx, subject)
	if err != nil {
		return nil, fmt.Errorf("get last of %s in %s: %w", subject, stream, classify(err))
	}
	return raw, nil
}

func recordOf(raw *jetstream.RawStreamMsg) Record {
	return Record{Subject: raw.Subject, Seq: raw.Sequence, Time: raw.Time.UTC(), Data: raw.Data}
}

// Trim removes the oldest records of a stream: those that are older than age,
// seen from its newest record and not from a clock, and at positions up to upTo.
// It returns the position of the oldest record that is left.
//
// Errors: schemas.ErrUnavailable; the records may or may not be gone then, and
// trimming again is harmless.
func (l *Log) Trim(ctx context.Context, stream string, age time.Duration, upTo uint64) (first uint64, err error) {
	handle, err := l.stream(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("trim: %w", err)
	}
	state, err := l.State(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("trim: %w", err)
	}
	if state.Messages == 0 || upTo < state.First {
		return state.First, nil
	}
	newest, err := l.Get(ctx, stream, state.Last)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, fmt.Errorf("trim: %w", err)
	}
	if err != nil { // it was erased this moment; next time, then
		return state.First, nil
	}
	before := newest.Time.Add(-age)
	// Records are in order of time, but for a clock that was set back: then fewer
	// are found old enough, never more than upTo.
	keep, high := state.First, min(upTo, state.Last-1)+1
	for keep < high {
		middle := keep + (high-keep)/2
		raw, err := handle.GetMsg(ctx, middle, jetstream.WithGetMsgSubject(">")) // or the next there is
		if err != nil {
			return 0, fmt.Errorf("trim %s: read %d: %w", stream, middle, classify(err))
		}
		if raw.Time.Before(before) {
			keep = middle + 1
		} else {
			high = middle
		}
	}
	if keep == state.First {
		return state.First, nil
	}
	if err := handle.Purge(ctx, jetstream.WithPurgeSequence(keep)); err != nil {
		return 0, fmt.Errorf("trim %s before %d: %w", stream, keep, classify(err))
	}
	return keep, nil
}

// Purge removes every record of a subject from a stream. It serves the erasure of a tenant; positions are not used again.
func (l *Log) Purge(ctx context.Context, stream, subject string) error {
	handle, err := l.stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if subject == "" {
		return fmt.Errorf("purge %s: %w: a subject is needed", stream, schemas.ErrInvalid)
	}
	if err := handle.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		return fmt.Errorf("purge %s from %s: %w", subject, stream, classify(err))
	}
	return nil
}
