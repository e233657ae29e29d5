package main

import (
	"sync"
	"time"

	"github.com/agentik-os/panda/internal/ratelimit"
	"github.com/agentik-os/panda/schemas"
)

// What tells alerts that there is something to look at.

// tenantsOf lists the tenants of rows, each once.
func tenantsOf(rows []schemas.Accepted) []string {
	var tenants []string
	seen := map[string]bool{}
	last := ""
	for i := range rows { // they come in runs
		if t := rows[i].Tenant; t != last && !seen[t] {
			seen[t] = true
			tenants = append(tenants, t)
		}
		last = rows[i].Tenant
	}
	return tenants
}

// ackTimesMax bounds the acknowledgements that are remembered: two minutes of what the
// log can take, and 1 MB.
const ackTimesMax = 1 << 16

// ackTimes remembers when this process acknowledged the newest messages of a shard.
type ackTimes struct {
	mu   sync.Mutex
	ring []ackTime
	now  func() time.Time
}

type ackTime struct {
	seq uint64
	at  int64 // Unix nanoseconds
}

func newAckTimes(now func() time.Time) *ackTimes {
	return &ackTimes{ring: make([]ackTime, ackTimesMax), now: now}
}

// appended notes the acknowledgement of a message.
func (a *ackTimes) appended(seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slot := &a.ring[seq%ackTimesMax]; seq > slot.seq { // the first one counts
		*slot = ackTime{seq, a.now().UnixNano()}
	}
}

// oldest returns when the oldest of the messages of rows was acknowledged, zero if this
// process did not do it, or has forgotten.
func (a *ackTimes) oldest(rows []schemas.Accepted) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range rows { // they are in the order of the log
		if slot := a.ring[rows[i].Seq%ackTimesMax]; slot.seq == rows[i].Seq {
			return time.Unix(0, slot.at)
		}
	}
	return time.Time{}
}

const (
	// peakFrom is the share of the rate limit, in percent, from which calls are noted: a
	// tenant far below it costs nothing.
	peakFrom = 50
	// peakFor is how long a peak is remembered: longer than the minute between two
	// looks at everybody.
	peakFor = 90 * time.Second
)

// callPeaks remembers how near tenants came to their rate limit: between two looks, a
// burst of calls comes and drains away. It holds the tenants that were near it in the
// last 90 seconds, as far as this node has served them.
type callPeaks struct {
	mu    sync.Mutex
	peaks map[string]callPeak
	swept time.Time
}

type callPeak struct {
	used int64
	at   time.Time
}

// note notes a call that was counted or refused.
func (c *callPeaks) note(tenant string, state *ratelimit.State, now time.Time) {
	if !state.Limited || state.Used < state.Max/100*peakFrom+state.Max%100*peakFrom/100 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peaks == nil || now.Sub(c.swept).Abs() > peakFor {
		for id, p := range c.peaks {
			if now.Sub(p.at).Abs() > peakFor {
				delete(c.peaks, id)
			}
		}
		if c.peaks == nil {
			c.peaks = map[string]callPeak{}
		}
		c.swept = now
	}
	if p, ok := c.peaks[tenant]; !ok || state.Used >= p.used || now.Sub(p.at).Abs() > peakFor {
		c.peaks[tenant] = callPeak{state.Used, now}
	}
}

// of returns the greatest use of the last 90 seconds.
func (c *callPeaks) of(tenant string, now time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.peaks[tenant]; ok && now.Sub(p.at).Abs() <= peakFor {
		return p.used
	}
	return 0
}
