package main

import (
	"context"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
)

// roleLeaseTTL is how long a node that died in the middle of a job, or as the one that
// decides alerts, keeps others waiting. A holder renews it four times in that time, so
// one that is alive is known to be within 2.5 s.
const roleLeaseTTL = 10 * time.Second

// jobLease gives the leases of jobs. Who asks while the job runs elsewhere is told
// schemas.ErrConflict: it is being done. Who asks while its holder is silent listens until
// the holder's time is over, in one go: a silence that is listened to for less, and from
// its beginning each time, never says that a holder died.
type jobLease struct{ log *eventlog.Log }

func (l jobLease) Hold(ctx context.Context, name string) (context.Context, func(), error) {
	return hold(ctx, name, l.log.TryAcquire)
}

// alertLease gives the lease of the node that decides alerts. Others wait for it for as
// long as ctx allows, to be next.
type alertLease struct{ log *eventlog.Log }

func (l alertLease) Hold(ctx context.Context, name string) (context.Context, func(), error) {
	return hold(ctx, name, l.log.Acquire)
}

// hold takes a lease in one of the two ways. held ends with it, release gives it back.
func hold(ctx context.Context, name string, take func(ctx context.Context, name, holder string, ttl time.Duration) (*eventlog.Lease, error)) (held context.Context, release func(), err error) {
	lease, err := take(ctx, name, "", roleLeaseTTL)
	if err != nil {
		return nil, nil, err
	}
	held, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-lease.Lost():
		case <-held.Done():
		}
		cancel()
	}()
	return held, func() { cancel(); writerLease{lease}.Release() }, nil
}
