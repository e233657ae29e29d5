package ingest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// A batch is what the log holds from one sequence to another, decoded: the
// candidates and price revisions in log order, and what could not be read.
type batch struct {
	from, to    uint64
	messages    uint64
	steps       []step
	quarantined []Quarantined
	// lastAt is the broker's time of the last record, for the lag.
	lastAt time.Time
}

// A step is a candidate, or a change of the price book at its place in the log.
type step struct {
	candidate
	revision uint32 // not 0: from here on this revision prices
}

// decode reads the log after a sequence and sends batches until ctx ends. The
// first one ends at until, if that is not 0. It is the only user of reader.
func (w *Writer) decode(ctx context.Context, reader LogReader, after, until uint64, batches chan<- batch) error {
	const idle = time.Second
	send := func(b batch) bool {
		select {
		case <-ctx.Done():
			return false
		case batches <- b:
			return true
		}
	}
	var records []Record // read and not yet in a batch
	var err error
	if until > after {
		var b batch
		if b, records, err = w.collectTo(ctx, reader, after, until); err != nil || !send(b) {
			return err
		}
		after = until
	}
	expect := 0 // steps of the batch before: the next one is likely as long
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		for len(records) > 0 {
			var b batch
			if b, records, err = w.collect(ctx, records, after, expect); err != nil {
				return err
			}
			after, expect = b.to, len(b.steps)
			if !send(b) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
		}
		if records, err = reader.Next(ctx, w.cfg.BatchRecordsMax, idle); err != nil {
			return fmt.Errorf("read log after %d: %w", after, err)
		}
		pace.Reset(w.cfg.CommitEvery)
	}
}

// collectTo decodes the records up to until into one batch, however many events
// they hold, and returns those that were read beyond it.
func (w *Writer) collectTo(ctx context.Context, reader LogReader, after, until uint64) (batch, []Record, error) {
	const idle = time.Second
	b := batch{from: after + 1, to: after}
	for {
		records, err := reader.Next(ctx, w.cfg.BatchRecordsMax, idle)
		if err != nil {
			return b, nil, fmt.Errorf("read log after %d: %w", b.to, err)
		}
		if ctx.Err() != nil {
			return b, nil, ctx.Err()
		}
		for i := range records {
			if err := b.pass(ctx, records[i].Seq, w.cfg.Gone); err != nil {
				return b, nil, err
			}
			if b.to >= until { // it ends among positions that were erased
				b.to = until
				return b, records[i:], nil
			}
			if err := b.take(&records[i], w.cfg.Key); err != nil {
				return b, nil, err
			}
			if b.to == until {
				return b, records[i+1:], nil
			}
		}
	}
}

// collect decodes records until the batch is full and returns the rest.
func (w *Writer) collect(ctx context.Context, records []Record, after uint64, expect int) (batch, []Record, error) {
	b := batch{from: after + 1, to: after, steps: make([]step, 0, expect)}
	for i := range records {
		if len(b.steps) >= w.cfg.BatchRowsMax {
			return b, records[i:], nil
		}
		runtime.Gosched() // requests at the door come first
		if err := b.pass(ctx, records[i].Seq, w.cfg.Gone); err != nil {
			return b, nil, err
		}
		if err := b.take(&records[i], w.cfg.Key); err != nil {
			return b, nil, err
		}
	}
	return b, nil, nil
}

// Gone reports whether the records at the positions from and to, and all between them,
// were erased for ever: then it is no fault that the log has none of them.
type Gone func(ctx context.Context, from, to uint64) (bool, error)

// pass moves the batch over erased positions, to the one before the next record. What
// is missing for another reason, take finds.
func (b *batch) pass(ctx context.Context, next uint64, gone Gone) error {
	if next <= b.to+1 || gone == nil {
		return nil
	}
	erased, err := gone(ctx, b.to+1, next-1)
	if err != nil {
		return fmt.Errorf("look up what was erased at %d to %d: %w", b.to+1, next-1, err)
	}
	if erased {
		b.to = next - 1
	}
	return nil
}

// take adds the record that follows the batch's last one. key is what envelopes
// are signed with.
func (b *batch) take(r *Record, key []byte) error {
	if r.Seq != b.to+1 {
		return fmt.Errorf("%w: %d to %d", ErrLogGap, b.to+1, r.Seq-1)
	}
	b.to = r.Seq
	b.messages++
	b.lastAt = r.Time
	b.decode(r, key)
	return nil
}

func (b *batch) decode(r *Record, key []byte) {
	kind, tenant := schemas.ParseUsageSubject(r.Subject)
	switch kind {
	case schemas.SubjectEnvelope:
		events, _, err := DecodeEnvelope(r.Data, tenant, key)
		if err != nil {
			b.quarantineRecord(r, tenant, err)
			return
		}
		b.steps = slices.Grow(b.steps, len(events))
		for i := range events {
			b.add(r, tenant, i, &events[i])
		}
	case schemas.SubjectDirect:
		b.addDirect(r, tenant)
	case schemas.SubjectPrices:
		n, err := strconv.ParseUint(string(r.Data), 10, 32)
		if err != nil || n == 0 {
			b.quarantineRecord(r, "", fmt.Errorf("not the number of a price revision: %w", schemas.ErrInvalid))
			return
		}
		b.steps = append(b.steps, step{revision: uint32(n)})
	default:
		b.quarantineRecord(r, tenant, fmt.Errorf("no door has the subject %s: %w", r.Subject, schemas.ErrInvalid))
	}
}

// addDirect decodes what a runtime published itself: one CloudEvent as JSON, or
// an array of them. The broker's timestamp is the moment of receipt, so the
// check of an event's time gives the same answer on every replay.
func (b *batch) addDirect(r *Record, tenant string) {
	decoded, err := DecodeDirect(r.Data)
	if err != nil {
		b.quarantineRecord(r, tenant, err)
		return
	}
	for i := range decoded {
		d := &decoded[i]
		err := d.Err
		if err == nil {
			err = d.Event.ValidateTime(r.Time, schemas.PastMax)
		}
		if err != nil {
			q := Quarantined{
				Tenant: tenant, Seq: r.Seq, Idx: uint16(i), ReceivedAt: r.Time.UnixMilli(),
				Subject: r.Subject, Body: append([]byte(nil), d.Raw...),
			}
			q.because(err)
			b.quarantined = append(b.quarantined, q)
			continue
		}
		b.add(r, tenant, i, &d.Event)
	}
}

func (b *batch) add(r *Record, tenant string, idx int, e *schemas.Event) {
	b.steps = append(b.steps, step{candidate: candidate{
		tenant: tenant, seq: r.Seq, idx: uint16(idx), receivedAt: r.Time.UnixMilli(),
		event: e, key: KeyOf(tenant, e.Source, e.ID), content: ContentOf(e),
	}})
}

func (b *batch) quarantineRecord(r *Record, tenant string, err error) {
	q := Quarantined{
		Tenant: tenant, Seq: r.Seq, ReceivedAt: r.Time.UnixMilli(),
		Subject: r.Subject, Body: append([]byte(nil), r.Data...),
	}
	q.because(err)
	b.quarantined = append(b.quarantined, q)
}

// because fills in the reason from an error.
func (q *Quarantined) because(err error) {
	q.Reason, q.Detail = ReasonUnreadable, err.Error()
	if errors.Is(err, ErrForged) {
		q.Reason = ReasonForged
	}
	if field := (*schemas.FieldError)(nil); errors.As(err, &field) {
		q.Reason, q.Pointer, q.Detail = field.Code, field.Pointer, field.Detail
	}
}
