package simulation

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A misfortune befalls a process or the world at a time that is planned.
type misfortune struct {
	id   string
	at   time.Duration
	what string
	on   int
	span time.Duration
}

// planMisfortunes makes what befalls the world, from the seed alone.
func (s *sim) planMisfortunes() {
	rng := rand.New(rand.NewPCG(s.cfg.seed, 2))
	kinds := []string{
		"crash", "crash", "crash", "pause", "pause", "unlease", "clock +1h", "clock -1h", "clock +1y", "clock -1y",
		"store down", "store crash", "log down", "log full", "gateway crash", "gateway clock -1y", "gateway clock +1y",
	}
	for i := range s.cfg.shape.misfortunes {
		m := misfortune{
			id: fmt.Sprintf("w%d", i), at: time.Duration(rng.Int64N(int64(s.cfg.shape.span))),
			what: kinds[rng.IntN(len(kinds))], on: rng.IntN(6), span: 200*time.Millisecond + time.Duration(rng.Int64N(int64(4*time.Second))),
		}
		if s.cfg.faults == nil || s.cfg.faults[m.id] {
			s.plan = append(s.plan, m)
		}
	}
	slices.SortStableFunc(s.plan, func(a, b misfortune) int { return cmp.Compare(a.at, b.at) })
}

// worldMoves lets what is due befall.
func (s *sim) worldMoves() {
	for len(s.plan) > 0 && s.began.Add(s.plan[0].at).Compare(time.Now()) <= 0 {
		m := s.plan[0]
		s.plan = s.plan[1:]
		s.injected = append(s.injected, injected{m.id, m.what, time.Since(s.began)})
		s.trace("%s %s %d", m.id, m.what, m.on)
		s.befall(&m)
	}
}

func (s *sim) befall(m *misfortune) {
	n, g, until := s.nodes[m.on%len(s.nodes)], s.gateways[m.on%len(s.gateways)], time.Now().Add(m.span)
	switch m.what {
	case "crash":
		n.kill(m.span)
	case "pause":
		n.proc.pausedUntil = until
		if m.span > leaseTTL && s.leases.holder != nil && s.leases.holder.proc == n.proc {
			s.rare("the writer was paused beyond its lease")
		}
	case "unlease":
		s.unleased[n.proc.name] = until.Add(leaseTTL)
	case "clock +1h":
		s.shift(n, time.Hour)
	case "clock -1h":
		s.shift(n, -time.Hour)
	case "clock +1y":
		s.rare("a clock went a year forward")
		s.shift(n, 365*24*time.Hour)
	case "clock -1y":
		s.rare("a clock went a year back")
		s.shift(n, -365*24*time.Hour)
	case "store down":
		s.storeDownUntil = until
	case "store crash":
		s.storeDownUntil = until
		s.store.crash()
	case "log down":
		s.logDownUntil = until
		s.log.crash(s.cfg.logLoses)
	case "log full":
		s.log.fullUntil = until
	case "gateway crash":
		g.proc.cancel()
		s.gatewayStarts++
		g.start(s, 1+s.gatewayStarts)
	case "gateway clock +1y":
		g.proc.offset.Store(int64(365 * 24 * time.Hour))
	case "gateway clock -1y":
		g.proc.offset.Store(-int64(365 * 24 * time.Hour))
	}
}

// shift sets the clock of a node's machine; it stays wrong until set anew.
func (s *sim) shift(n *node, by time.Duration) {
	n.offset, n.shifted = by, true
	n.proc.offset.Store(int64(by))
}

// soothe ends everything that lasts.
func (s *sim) soothe() {
	s.calm = true
	s.storeDownUntil, s.logDownUntil, s.log.fullUntil = time.Time{}, time.Time{}, time.Time{}
	clear(s.unleased)
	for _, n := range s.nodes {
		n.proc.pausedUntil = time.Time{}
	}
	for _, o := range s.pending {
		if o.due.After(time.Now()) {
			o.due = time.Now()
		}
	}
	s.trace("calm")
}
