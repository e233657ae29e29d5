package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// send is the one goroutine that takes events off the queue.
func (c *Client) send() {
	for c.awaitBatch() {
		c.mu.Lock()
		batch, err := c.queue.peek(c.cfg.BatchEventsMax, batchBytesMax)
		c.mu.Unlock()
		if err != nil {
			c.report(err)
			c.recount()
			if !errors.Is(err, ErrSpoolDamaged) && c.pause(c.cfg.BackoffMax) != nil {
				return
			}
			continue
		}
		if len(batch) == 0 {
			continue
		}
		if c.deliver(batch) != nil {
			return
		}
		c.settle(len(batch))
	}
}

// awaitBatch returns when a batch should leave, false when the client closes.
func (c *Client) awaitBatch() bool {
	for {
		c.mu.Lock()
		waiting := c.recorded - c.settled
		urgent := c.urgent > c.settled
		due := c.due
		c.mu.Unlock()
		if c.ctx.Err() != nil {
			return false
		}
		var timer *time.Timer
		var expired <-chan time.Time
		if waiting > 0 {
			left := time.Until(due)
			if urgent || waiting >= uint64(c.cfg.BatchEventsMax) || left <= 0 {
				return true
			}
			timer = time.NewTimer(left)
			expired = timer.C
		}
		select {
		case <-c.wake:
		case <-expired:
		case <-c.ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// settle takes events that have an outcome off the queue.
func (c *Client) settle(n int) {
	c.mu.Lock()
	err := c.queue.drop(n)
	c.settled += uint64(n)
	c.due = time.Now().Add(c.cfg.FlushEvery)
	c.broadcast()
	c.mu.Unlock()
	if err != nil {
		// The cursor is behind: at worst these events are sent again.
		c.report(err)
	}
}

// recount settles what the queue gave up as damaged.
func (c *Client) recount() {
	c.mu.Lock()
	defer c.mu.Unlock()
	pending, _ := c.queue.pending()
	settled := c.recorded - uint64(pending)
	c.stats.Damaged += settled - c.settled
	c.settled = settled
	c.broadcast()
}

func (c *Client) broadcast() {
	close(c.moved)
	c.moved = make(chan struct{})
}

// deliver sends events until each has an outcome. It returns an error only when
// the client closes. It halves a batch that the server will not take as a whole,
// so that one bad event costs its neighbours nothing.
func (c *Client) deliver(batch [][]byte) error {
	body := c.post.encode(batch)
	for attempt := 0; ; attempt++ {
		c.mu.Lock()
		c.stats.Requests++
		if attempt > 0 {
			c.stats.Retries++
		}
		c.mu.Unlock()
		o := c.post.send(c.ctx, body, batch)
		if c.ctx.Err() != nil && o.kind != settledAll {
			return c.ctx.Err()
		}
		switch o.kind {
		case settledAll:
			c.settleVerdicts(o)
			return nil
		case tooMuch:
			half := len(batch) / 2
			if err := c.deliver(batch[:half]); err != nil {
				return err
			}
			return c.deliver(batch[half:])
		case refused:
			c.report(o.err)
			if err := c.pause(c.cfg.BackoffMax); err != nil {
				return err
			}
		case tryAgain:
			if err := c.pause(c.backoff(attempt, o.retryAfter)); err != nil {
				return err
			}
		}
	}
}

func (c *Client) settleVerdicts(o outcome) {
	c.mu.Lock()
	c.stats.Accepted += o.accepted
	c.stats.Duplicates += o.duplicates
	c.stats.Rejected += uint64(len(o.rejected))
	c.mu.Unlock()
	for _, r := range o.rejected {
		c.report(r)
	}
}

// report serialises calls of OnError.
func (c *Client) report(err error) {
	c.reporting.Lock()
	defer c.reporting.Unlock()
	c.cfg.OnError(err)
}

// backoff draws a pause with full jitter. A server that says when to come back is
// believed, with the jitter on top so that a fleet does not come back at once.
func (c *Client) backoff(attempt int, retryAfter time.Duration) time.Duration {
	ceiling := c.cfg.BackoffMax
	if attempt < 30 { // beyond, the shift would overflow, and the ceiling is long reached
		ceiling = min(ceiling, c.cfg.BackoffMin<<attempt)
	}
	jitter := time.Duration(rand.Int64N(int64(ceiling) + 1))
	return min(retryAfter, c.cfg.RetryAfterMax) + jitter
}

func (c *Client) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}
