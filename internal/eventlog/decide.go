package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/agentik-os/panda/schemas"
)

// headerDecider marks who wrote a decision, so that a caller whose
// acknowledgement was lost recognises its own.
const headerDecider = "Panda-Decider"

// Decide records a fact that may exist once. Whoever comes first decides; every
// later call, at any age, gets the record that stands and false. The subject
// must lie in schemas.SubjectsDecisions and is the identity of the fact.
//
// After schemas.ErrUnavailable the fact may or may not be decided; call again,
// and compare the data of the record that stands.
func (l *Log) Decide(ctx context.Context, subject string, data []byte) (decided bool, rec Record, err error) {
	// One answer that was lost must not end it; a second one may.
	ctx, cancel := context.WithTimeout(ctx, 2*l.cfg.AckTimeout)
	defer cancel()
	me := nuid.Next()
	err = l.retry(ctx, func(ctx context.Context) error {
		decided, rec, err = l.decide(ctx, subject, data, me)
		return err
	})
	if err != nil {
		return false, Record{}, fmt.Errorf("decide %s: %w", subject, err)
	}
	return decided, rec, nil
}

func (l *Log) decide(ctx context.Context, subject string, data []byte, me string) (bool, Record, error) {
	// The stream holds one message per subject and discards new ones. The
	// compare-and-set says the same again, so that a stream whose settings were
	// changed by hand cannot decide twice.
	msg := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		headerDecider:                       []string{me},
		jetstream.ExpectedLastSubjSeqHeader: []string{"0"},
		jetstream.ExpectedStreamHeader:      []string{schemas.StreamDecisions},
	}}
	if err := l.outage.reason(); err != nil {
		return false, Record{}, err
	}
	pubCtx, unbind := l.outage.bound(ctx)
	defer unbind()
	_, pubErr := l.js.PublishMsg(pubCtx, msg)
	pubErr = classify(l.outage.blame(pubCtx, pubErr))
	if pubErr != nil && !errors.Is(pubErr, schemas.ErrConflict) {
		return false, Record{}, pubErr
	}
	raw, err := l.lastForSubject(ctx, schemas.StreamDecisions, subject)
	if err != nil {
		// A refusal by a record that cannot be read is a leader that is behind.
		return false, Record{}, fmt.Errorf("%w: read what stands: %w", schemas.ErrUnavailable, err)
	}
	return raw.Header.Get(headerDecider) == me, recordOf(raw), nil
}
