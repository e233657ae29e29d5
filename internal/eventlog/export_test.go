package eventlog

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Consumers returns the names of the consumers a stream has.
func (l *Log) Consumers(ctx context.Context, stream string) ([]string, error) {
	handle, err := l.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	list := handle.ConsumerNames(ctx)
	var names []string
	for name := range list.Name() {
		names = append(names, name)
	}
	return names, list.Err()
}

// DropConsumers deletes every consumer of a stream behind its readers' backs.
func (l *Log) DropConsumers(ctx context.Context, stream string) error {
	names, err := l.Consumers(ctx, stream)
	for _, name := range names {
		if err := l.js.DeleteConsumer(ctx, stream, name); err != nil {
			return err
		}
	}
	return err
}

// Reconnect cuts the connection; the client dials again.
func (l *Log) Reconnect() error { return l.conn.ForceReconnect() }

// JetStream is the client, to make streams as another program would.
func (l *Log) JetStream() jetstream.JetStream { return l.js }

// ParseDelivery is parseDelivery.
func ParseDelivery(reply string) (streamSeq, consumerSeq uint64, time int64, ok bool) {
	d, ok := parseDelivery(reply)
	return d.streamSeq, d.consumerSeq, d.time, ok
}

// Held is what the reader has fetched and not handed out, in bytes.
func (r *Reader) Held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}

// EnsureStreams is ensureStreams.
func (l *Log) EnsureStreams(ctx context.Context) error { return l.ensureStreams(ctx) }

// MoverOutcome is the outcome of a mover.
func MoverOutcome(after time.Duration, leave func() error) func(error) {
	m := newMover(after, leave)
	return func(err error) { m.outcome(err) }
}

// ConnectedTo is the name of the server that the client is connected to.
func (l *Log) ConnectedTo() string { return l.conn.ConnectedServerName() }
