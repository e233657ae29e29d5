package main

import (
	"context"
	"time"
)

// followEvery is how often a node looks whether another one's writer has
// committed. It is what an answer on such a node is older than the ledger at most.
const followEvery = 200 * time.Millisecond

// follow keeps a shard whose writer does not lead here as near to the ledger as the one
// whose writer does: its live totals, its rollups, and how far it believes the
// writer to be behind. Where the writer leads, it finds nothing to do.
func (s *shard) follow(ctx context.Context) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		before := s.live.Position().Seq
		at, counted, err := s.live.Follow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			// Answers name the position they are as of, so they are old, not wrong.
			if !failing {
				s.logger.Warn().Err(err).Msg("live totals are behind, trying again")
			}
			failing = true
			continue
		}
		failing = false
		if at.Seq > before {
			s.lag.committed(at.Seq)
			s.worker.Nudge()
			if len(counted) > 0 {
				s.p.alerts.committed(counted, s.acks.oldest(counted))
			} else {
				s.p.alerts.sweep() // the totals were made anew
			}
		}
	}
}
