package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
)

// Client records events and sends them. Its methods are safe for concurrent use.
type Client struct {
	cfg  Config
	post poster

	ctx    context.Context // of the sender; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	wake   chan struct{} // has an item when the sender should look again

	reporting sync.Mutex // serialises OnError; nothing else is locked with it

	// mu guards what follows. A crash while it is held leaves what the queue's own
	// commit points say.
	mu       sync.Mutex
	queue    queue
	due      time.Time // when a batch that is not full leaves
	recorded uint64    // events ever taken, those found in the spool included
	settled  uint64    // events that have an outcome
	urgent   uint64    // what lies before this position leaves at once
	closed   bool
	moved    chan struct{} // closed and replaced whenever settled grows
	stats    Stats
}

// Stats counts what happened since New.
type Stats struct {
	// Recorded were taken by Record, Refused were not, because the spool was full.
	Recorded, Refused uint64
	// Accepted and Duplicates are settled well: the server has them, or had them.
	Accepted, Duplicates uint64
	// Rejected went to OnError.
	Rejected uint64
	// Damaged could not be read back from the spool; OnError was told.
	Damaged uint64
	// Requests were sent, Retries of them again.
	Requests, Retries uint64
	// Pending wait in the spool, which takes SpoolBytes.
	Pending    int
	SpoolBytes int64
}

// New opens the spool and starts to send what it holds. Errors match
// schemas.ErrInvalid for the configuration, or ErrSpoolInUse.
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	endpoint, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("new client: %w", err)
	}
	c := &Client{cfg: cfg, post: poster{cfg: cfg, endpoint: endpoint},
		wake: make(chan struct{}, 1), moved: make(chan struct{})}
	var damage error
	if cfg.SpoolDir == "" {
		c.queue = &memoryQueue{eventsMax: cfg.QueueEventsMax}
	} else {
		var s *spool
		if s, damage, err = openSpool(cfg.SpoolDir, cfg.SpoolBytesMax, cfg.Sync == SyncEach); err != nil {
			return nil, fmt.Errorf("new client: %w", err)
		}
		c.queue = s
	}
	pending, _ := c.queue.pending()
	if pending > 0 {
		failpoint.Reached(failpoint.SpoolResent)
	}
	c.recorded, c.urgent = uint64(pending), uint64(pending)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.work.Go(func() {
		if damage != nil {
			cfg.OnError(damage)
		}
		c.send()
	})
	if cfg.SpoolDir != "" && cfg.Sync == SyncEverySecond {
		c.work.Go(c.syncEverySecond)
	}
	return c, nil
}

// Record takes an event to be sent. It does not wait for the network.
//
// Errors: *schemas.FieldError (the event is wrong and will not be sent),
// ErrSpoolFull, ErrClosed, or what the disk said. With an error the event was not
// taken.
func (c *Client) Record(e Event) error {
	data, err := e.encode(c.cfg.Source, time.Now())
	if err != nil {
		return fmt.Errorf("record event: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("record event: %w", ErrClosed)
	}
	if err := c.queue.push(data); err != nil {
		c.stats.Refused++
		return fmt.Errorf("record event: %w", err)
	}
	c.stats.Recorded++
	c.recorded++
	waiting := c.recorded - c.settled
	if waiting == 1 {
		c.due = time.Now().Add(c.cfg.FlushEvery)
	}
	if waiting == 1 || waiting >= uint64(c.cfg.BatchEventsMax) {
		c.nudge()
	}
	return nil
}

func (c *Client) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Flush sends what was recorded before the call without waiting for batches to
// fill, and returns when the server has confirmed or rejected all of it. When ctx
// ends first, the error matches ErrPending; sending goes on.
func (c *Client) Flush(ctx context.Context) error {
	c.mu.Lock()
	target := c.recorded
	c.urgent = max(c.urgent, target)
	c.nudge()
	c.mu.Unlock()
	for {
		c.mu.Lock()
		settled, moved := c.settled, c.moved
		c.mu.Unlock()
		if settled >= target {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("flush: %d %w: %w", target-settled, ErrPending, ctx.Err())
		case <-c.ctx.Done():
			return fmt.Errorf("flush: %d %w: %w", target-settled, ErrPending, ErrClosed)
		}
	}
}

// Close takes no more events, flushes until ctx ends and stops. An error that
// matches ErrPending says how many events are not confirmed: with SpoolDir they
// are in the spool and leave with the next Client, without it they are lost.
// Calling it again returns nil.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if again {
		return nil
	}
	pending := c.Flush(ctx)
	c.cancel()
	c.work.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.queue.close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	if pending != nil {
		return fmt.Errorf("close: %w", pending)
	}
	return nil
}

// Stats returns the counters as they are now.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Pending, s.SpoolBytes = c.queue.pending()
	return s
}

func (c *Client) syncEverySecond() {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return // Close syncs
		}
		c.mu.Lock()
		sync := c.queue.unsynced()
		c.mu.Unlock()
		if sync == nil {
			continue
		}
		// Without the lock: Record must not wait for the disk.
		if err := sync(); err != nil {
			c.report(err)
		}
	}
}
