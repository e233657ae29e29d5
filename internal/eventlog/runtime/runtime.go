package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/schemas"
)

// A Publisher is a connection of one runtime.
type Publisher struct {
	subject string
	conn    *nats.Conn
	js      jetstream.JetStream
}

// ErrClosed says that the connection is closed for good.
var ErrClosed = errors.New("the connection is closed")

// Connect connects with an API key of a tenant. The server has to be there now;
// later it may be away for any time.
func Connect(address, tenant, key string) (*Publisher, error) {
	const reconnectWait = 20 * time.Millisecond
	conn, err := nats.Connect("nats://"+address, nats.UserInfo("runtime", key),
		nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(0, 0))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return &Publisher{subject: schemas.DirectSubject(tenant), conn: conn, js: js}, nil
}

// Publish sends an event, or an array of them, and returns when it is on disk, with
// its position on the log. id makes the same message recognisable; "" is none.
func (p *Publisher) Publish(ctx context.Context, id string, body []byte) (seq uint64, err error) {
	if p.conn.IsClosed() {
		return 0, fmt.Errorf("publish: %w: %w", ErrClosed, p.conn.LastError())
	}
	var opts []jetstream.PublishOpt
	if id != "" {
		opts = append(opts, jetstream.WithMsgID(id))
	}
	ack, err := p.js.Publish(ctx, p.subject, body, opts...)
	if err != nil {
		return 0, fmt.Errorf("publish: %w", err)
	}
	return ack.Sequence, nil
}

// Close ends the connection.
func (p *Publisher) Close() { p.conn.Close() }
