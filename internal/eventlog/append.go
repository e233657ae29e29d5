package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/schemas"
)

// Message is what Append stores.
type Message struct {
	// Subject decides the stream.
	Subject string
	// ID makes sending the same message again harmless within the duplicate
	// window. "" is no id. Ids share one space per stream, so an id is best a
	// hash over subject and content.
	ID string
	// Data is the payload. The log does not keep a reference after the
	// acknowledgement, but does until then.
	Data []byte
	// ExpectLastSubjectSeq, if set, makes this a compare-and-set: the message is
	// stored only if the last record of its subject has this sequence, 0 for
	// none. Otherwise the error is schemas.ErrConflict.
	ExpectLastSubjectSeq *uint64
}

// Ack says where a message is stored.
type Ack struct {
	Stream string
	// Seq is the message's position in the stream, counted from 1. Positions
	// only grow; a purge or expiry leaves holes.
	Seq uint64
	// Duplicate: the same message, by ID, subject and content, was there already
	// at Seq, and nothing was added.
	Duplicate bool
}

// Append stores a message and returns when it is on disk.
//
// Errors: schemas.ErrInvalid (too large, a bad subject), schemas.ErrConflict (a
// compare-and-set that lost), ErrFull, schemas.ErrUnavailable. After
// ErrUnavailable without ErrFull the message may or may not be stored; send it
// again with the same ID. While the disk of the server inside this process fails,
// that error comes at once and says so.
func (l *Log) Append(ctx context.Context, m Message) (Ack, error) {
	if err := l.outage.reason(); err != nil {
		return Ack{}, fmt.Errorf("append to %s: %w", m.Subject, err)
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.AckTimeout)
	defer cancel()
	ctx, unbind := l.outage.bound(ctx)
	defer unbind()
	var pub *jetstream.PubAck
	err := l.whileDuplicateRuns(ctx, func() (err error) {
		pub, err = l.publish(ctx, m)
		return err
	})
	return l.finish(ctx, m, pub, l.outage.blame(ctx, err))
}

// resendAfter is how long one copy of a message with an id is waited for in a
// cluster. What was on its way to a leader that is gone is answered by nobody, and
// its successor, elected in 4 to 9 seconds, has never seen it: of the time without
// acknowledgements, this is what comes on top of the election.
const resendAfter = 2 * time.Second

// publish sends a message, and in a cluster again until ctx ends if it has an id:
// the stream stores one of the copies.
func (l *Log) publish(ctx context.Context, m Message) (*jetstream.PubAck, error) {
	for {
		msg, err := l.encode(m)
		if err != nil {
			return nil, err
		}
		if m.ID == "" || l.broker != nil {
			return l.js.PublishMsg(ctx, msg)
		}
		try, cancel := context.WithTimeout(ctx, resendAfter)
		pub, err := l.js.PublishMsg(try, msg)
		unanswered := try.Err() != nil
		cancel()
		if err == nil || !unanswered || ctx.Err() != nil {
			return pub, err
		}
	}
}

// whileDuplicateRuns repeats f while a cluster says that a message of the same
// id is being stored: soon it is either a duplicate or gone.
func (l *Log) whileDuplicateRuns(ctx context.Context, f func() error) error {
	for {
		err := f()
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != codeDuplicateRunning {
			return err
		}
		if wait(ctx, 20*time.Millisecond) != nil {
			return err
		}
	}
}

func (l *Log) encode(m Message) (*nats.Msg, error) {
	if m.Subject == "" || len(m.Data)+len(m.Subject)+len(m.ID) > MessageBytesMax {
		return nil, fmt.Errorf("%w: message of %d bytes on subject %q; at most %d bytes and a subject are needed",
			schemas.ErrInvalid, len(m.Data), m.Subject, MessageBytesMax)
	}
	msg := &nats.Msg{Subject: m.Subject, Data: m.Data}
	if m.ID != "" {
		msg.Header = nats.Header{jetstream.MsgIDHeader: []string{m.ID}}
	}
	if m.ExpectLastSubjectSeq != nil {
		if msg.Header == nil {
			msg.Header = nats.Header{}
		}
		msg.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{fmt.Sprint(*m.ExpectLastSubjectSeq)}
	}
	return msg, nil
}

// finish turns the broker's answer into ours.
func (l *Log) finish(ctx context.Context, m Message, pub *jetstream.PubAck, err error) (Ack, error) {
	err = classify(err)
	l.stored(err)
	if err != nil {
		return Ack{}, fmt.Errorf("append to %s: %w", m.Subject, err)
	}
	ack := Ack{Stream: pub.Stream, Seq: pub.Sequence, Duplicate: pub.Duplicate}
	if !ack.Duplicate {
		return ack, nil
	}
	same, err := l.holds(ctx, ack, m)
	if err != nil {
		return Ack{}, fmt.Errorf("append to %s: check duplicate at %d: %w", m.Subject, ack.Seq, err)
	}
	if same {
		return ack, nil
	}
	// Another message under the same id, or one that was purged since. Ours was
	// not stored; store it without the id.
	failpoint.Reached(failpoint.BrokerIDTaken)
	m.ID = ""
	return l.Append(ctx, m)
}

// stored is told how each try to store something ended.
func (l *Log) stored(err error) {
	if l.mover.outcome(err) {
		l.log.Warn().Err(err).Dur("after", l.cfg.AckTimeout).Msg("server of the event log stores nothing, trying the next")
	}
}

// holds reports whether the record at the acknowledged position is the message.
func (l *Log) holds(ctx context.Context, ack Ack, m Message) (bool, error) {
	rec, err := l.Get(ctx, ack.Stream, ack.Seq)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && rec.Subject == m.Subject && bytes.Equal(rec.Data, m.Data), err
}

// Future is an acknowledgement that is still to come.
type Future struct {
	log *Log
	msg Message
	paf jetstream.PubAckFuture
}

// AppendAsync sends a message and returns without waiting for its
// acknowledgement, so that many are on the way at once. Messages of one caller
// are stored in the order of its calls unless one of them fails. It blocks while
// Config.InFlightMax messages are on the way.
//
// Errors are those of Append, from here or from the Future.
func (l *Log) AppendAsync(ctx context.Context, m Message) (*Future, error) {
	msg, err := l.encode(m)
	if err != nil {
		return nil, fmt.Errorf("append to %s: %w", m.Subject, err)
	}
	if err := l.outage.reason(); err != nil {
		return nil, fmt.Errorf("append to %s: %w", m.Subject, err)
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("append to %s: wait for room in flight: %w", m.Subject, classify(ctx.Err()))
	}
	paf, err := l.js.PublishMsgAsync(msg)
	if err != nil {
		l.landed()
		return nil, fmt.Errorf("append to %s: %w", m.Subject, classify(err))
	}
	return &Future{log: l, msg: m, paf: paf}, nil
}

// landed gives a slot back. The client may report a message that it could not
// send twice, once by the error and once by its handler when the connection
// drops, so giving back more than was taken must be harmless.
func (l *Log) landed() {
	select {
	case <-l.slots:
	default:
	}
}

// Wait returns the acknowledgement once it is there, or when ctx ends. It ends
// by itself after Config.AckTimeout. Call it once.
func (f *Future) Wait(ctx context.Context) (Ack, error) {
	var pub *jetstream.PubAck
	var err error
	ctx, unbind := f.log.outage.bound(ctx)
	defer unbind()
	select {
	case pub = <-f.paf.Ok():
	case err = <-f.paf.Err():
	case <-ctx.Done():
		err = f.log.outage.blame(ctx, ctx.Err())
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == codeDuplicateRunning {
		return f.log.Append(ctx, f.msg)
	}
	return f.log.finish(ctx, f.msg, pub, err)
}
