package main

import (
	"context"
	"sync"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
)

// lagMonitor knows how far the writer is behind the log in time, and how much
// room the log's disk has: what the gateway asks before it takes an event in.
type lagMonitor struct {
	max time.Duration

	mu sync.Mutex
	// marks are positions of the log and when they were the newest, oldest first.
	marks   []lagMark
	last    uint64
	written uint64
	space   eventlog.Space
}

type lagMark struct {
	seq uint64
	at  time.Time
}

// lagEvery is how often a mark is made and the disk is looked at.
const lagEvery = time.Second

func newLagMonitor(most time.Duration) *lagMonitor { return &lagMonitor{max: most} }

func (m *lagMonitor) appended(seq uint64) {
	m.mu.Lock()
	m.last = max(m.last, seq)
	m.mu.Unlock()
}

func (m *lagMonitor) committed(seq uint64) {
	m.mu.Lock()
	m.written = max(m.written, seq)
	m.mu.Unlock()
}

// run looks every second until ctx ends.
func (m *lagMonitor) run(ctx context.Context, log *eventlog.Log) error {
	tick := time.NewTicker(lagEvery)
	defer tick.Stop()
	for {
		space, err := log.Space(ctx)
		m.mu.Lock()
		if err == nil {
			m.space = space
		}
		m.mark(time.Now())
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// mark drops what is written and notes where the log ends now. Under a long outage
// no more marks are made when there are enough: the oldest says how long it lasts.
func (m *lagMonitor) mark(now time.Time) {
	const marksMax = 4096
	for len(m.marks) > 0 && m.marks[0].seq <= m.written {
		m.marks = m.marks[1:]
	}
	if m.last > m.written && (len(m.marks) == 0 || m.marks[len(m.marks)-1].seq < m.last) && len(m.marks) < marksMax {
		m.marks = append(m.marks, lagMark{m.last, now})
	}
}

// behind returns for how long the oldest event that is not written has waited.
func (m *lagMonitor) behind(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mark := range m.marks {
		if mark.seq > m.written {
			return now.Sub(mark.at)
		}
	}
	return 0
}

func (m *lagMonitor) diskFree() (free int64, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.space.DiskFree, m.space != (eventlog.Space{})
}
