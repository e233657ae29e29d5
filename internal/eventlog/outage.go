package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/agentik-os/panda/schemas"
)

// outage knows whether the server inside this process can write, and if not, why.
// While it can, good is a context; it ends, with the reason as its cause, when the
// server says that its store failed, and a new one stands once the server has been
// started again.
type outage struct {
	good atomic.Pointer[goodTimes]
	// began wakes whoever mends.
	began chan struct{}
}

type goodTimes struct {
	context.Context
	end context.CancelCauseFunc
}

func newOutage() *outage {
	o := &outage{began: make(chan struct{}, 1)}
	o.over()
	return o
}

// begin notes why nothing can be written. Only the first reason stands.
func (o *outage) begin(why error) {
	o.good.Load().end(why)
	signal(o.began)
}

// over says that the server writes again.
func (o *outage) over() {
	ctx, end := context.WithCancelCause(context.Background())
	o.good.Store(&goodTimes{ctx, end})
}

// reason is why nothing can be written, nil if it can.
func (o *outage) reason() error { return context.Cause(o.good.Load()) }

// bound returns a context that ends with ctx, and also when an outage begins: whoever
// waits for an acknowledgement need not wait out its time then.
func (o *outage) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	bounded, cancel := context.WithCancelCause(ctx)
	good := o.good.Load()
	stop := context.AfterFunc(good, func() { cancel(context.Cause(good)) })
	return bounded, func() { stop(); cancel(nil) }
}

// blame returns why an append under ctx, which came from bound, failed: the outage
// rather than that the wait for an answer has ended. What the broker answered stands.
func (o *outage) blame(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || !errors.Is(cause, errStore) || !errors.Is(err, context.Canceled) {
		return err
	}
	return cause
}

// errStore marks the reasons of outages.
var errStore = fmt.Errorf("%w: the log cannot write to its disk", schemas.ErrUnavailable)

// storeFailure returns what a line of the server says about a store that failed for
// good, or "". The server answers nobody then, stays connected, and goes on as if it
// were well; the line is the only sign that it gives. Tests with a failing disk hold
// these words against the server's version.
func storeFailure(line string) string {
	const critical = "critical write error: "
	if i := strings.Index(strings.ToLower(line), critical); i >= 0 {
		return line[i+len(critical):]
	}
	// It meets a full disk, or one that became read-only, in some places by shutting
	// down all of its streams.
	if strings.Contains(line, "JetStream out of") || strings.Contains(line, "disabling JetStream") {
		return line
	}
	return ""
}
