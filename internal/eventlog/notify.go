package eventlog

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/agentik-os/panda/schemas"
)

// nudgePrefix keeps nudges apart from the subjects of streams.
const nudgePrefix = "nudge."

// Notify sends a nudge to whoever subscribes to the subject now, in this process
// or another one on the same log. It may be lost: it says "look now", never what
// to do.
func (l *Log) Notify(subject string, data []byte) error {
	if err := l.conn.Publish(nudgePrefix+subject, data); err != nil {
		return fmt.Errorf("notify %s: %w", subject, classify(err))
	}
	return nil
}

// Subscribe calls handle for every nudge on a subject, which may hold wildcards,
// one at a time. The function it returns ends that.
func (l *Log) Subscribe(subject string, handle func(data []byte)) (unsubscribe func(), err error) {
	sub, err := l.conn.Subscribe(nudgePrefix+subject, func(m *nats.Msg) { handle(m.Data) })
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w: %w", subject, schemas.ErrUnavailable, err)
	}
	return func() { _ = sub.Unsubscribe() }, nil
}
