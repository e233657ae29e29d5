package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/eventlog"
)

// brokerWindow is how long the broker knows message ids. It is shorter than the
// real one, so that retries beyond it happen.
const brokerWindow = 3 * time.Second

// A logStandIn is the log: append-only, in order, with a window in which the
// broker knows message ids, and full at times. Only the scheduler touches it.
type logStandIn struct {
	s         *sim
	records   []ingest.Record
	appended  []time.Time
	ids       map[string]uint64
	epoch     uint64
	fullUntil time.Time
}

func newLog(s *sim) *logStandIn { return &logStandIn{s: s, ids: map[string]uint64{}, epoch: 77} }

// append is what the broker does with a message.
func (l *logStandIn) append(subject, id string, data []byte) (seq uint64, duplicate bool, err error) {
	if seq, ok := l.ids[id]; ok && id != "" {
		at := l.appended[seq-1]
		same := l.records[seq-1].Subject == subject && bytes.Equal(l.records[seq-1].Data, data)
		switch {
		case time.Since(at) > brokerWindow:
			l.s.rare("a message came again beyond the broker's window")
		case same:
			l.s.rare("the broker recognised a message")
			return seq, true, nil
		}
	}
	if l.fullUntil.After(time.Now()) {
		l.s.rare("the log was full")
		return 0, false, fmt.Errorf("append: %w", eventlog.ErrFull)
	}
	seq = uint64(len(l.records) + 1)
	l.records = append(l.records, ingest.Record{
		Subject: subject, Seq: seq, Time: time.UnixMilli(time.Now().UnixMilli()).UTC(), Data: data,
	})
	l.appended = append(l.appended, time.Now())
	if id != "" {
		l.ids[id] = seq
	}
	l.s.trace("log %d %s %x", seq, subject, data)
	return seq, false, nil
}

func (l *logStandIn) last() uint64 { return uint64(len(l.records)) }

// crash loses the newest n messages, as a log does that acknowledges before it
// syncs.
func (l *logStandIn) crash(n int) {
	keep := max(0, len(l.records)-n)
	for id, seq := range l.ids {
		if seq > uint64(keep) {
			delete(l.ids, id)
		}
	}
	l.records, l.appended = l.records[:keep:keep], l.appended[:keep:keep]
}

// logPort is the log as one process sees it.
type logPort struct {
	s    *sim
	proc *process
	who  string
}

var (
	_ ingest.Log      = logPort{}
	_ ingest.Appender = logPort{}
)

// whoKey carries the name of the client whose request it is.
type whoKey struct{}

func (p logPort) Append(ctx context.Context, subject, id string, data []byte) (seq uint64, duplicate bool, err error) {
	who := p.who
	if name, ok := ctx.Value(whoKey{}).(string); ok {
		who = name
	}
	data = slices.Clone(data)
	err = p.s.call(ctx, who, &op{
		kind: "log-append", proc: p.proc, write: true, faults: []outcome{dropped, lost, late, twice},
		apply: func() (err error) {
			seq, duplicate, err = p.s.log.append(subject, id, data)
			return err
		},
	})
	if err != nil {
		return 0, false, err
	}
	return seq, duplicate, nil
}

func (p logPort) End(ctx context.Context) (last, epoch uint64, err error) {
	err = p.s.call(ctx, p.who, &op{kind: "log-end", proc: p.proc, faults: []outcome{dropped}, apply: func() error {
		last, epoch = p.s.log.last(), p.s.log.epoch
		return nil
	}})
	return last, epoch, err
}

func (p logPort) Read(ctx context.Context, from uint64) (ingest.LogReader, error) {
	err := p.s.call(ctx, p.who, &op{kind: "log-read", proc: p.proc, faults: []outcome{dropped}, apply: func() error { return nil }})
	if err != nil {
		return nil, err
	}
	return &readerStandIn{logPort: p, next: from}, nil
}

type readerStandIn struct {
	logPort
	next uint64
}

func (r *readerStandIn) Next(ctx context.Context, limit int, wait time.Duration) (records []ingest.Record, err error) {
	deadline := time.Now().Add(wait)
	err = r.s.call(ctx, r.who, &op{
		kind: "log-next", proc: r.proc, faults: []outcome{dropped},
		ready: func() bool { return r.next <= r.s.log.last() || !time.Now().Before(deadline) },
		apply: func() error {
			if r.next > r.s.log.last()+1 {
				return errors.New("the log ends before where it is read")
			}
			there := r.s.log.records[r.next-1:]
			// A read may hand over less than there is.
			some := 1 + int(r.s.hash("next", fmt.Sprint(r.s.steps))%uint64(limit))
			records = slices.Clone(there[:min(len(there), some)])
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	r.next += uint64(len(records))
	return records, nil
}

func (r *readerStandIn) Close() {}
