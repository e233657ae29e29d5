package rollup

import (
	"context"
	"slices"

	"github.com/agentik-os/panda/internal/warehouse"
)

// What was erased is a fact of its own, beside the ledger, which goes on vouching for
// sums over all tenants: what is stored and what was erased add up to it. From the
// moment an erasure counts, nothing of it is looked at, whether it is gone yet or not,
// so that a check while it runs, or after it was interrupted, finds nothing wrong and
// restores nothing.

// erasedSpan is what the log lost of a range.
type erasedSpan struct {
	messages, events uint64
	// underWay are positions, in order, that may hold a message for a while yet.
	underWay []uint64
}

// erasedFromLog returns what was erased from the log, by where ranges begin.
func (v *verification) erasedFromLog(ctx context.Context, from, upto uint64) (map[uint64]erasedSpan, error) {
	spans := map[uint64]erasedSpan{}
	err := v.query(ctx, "verify_erased_log", func(rows *warehouse.Rows) error {
		var begins uint64
		var s erasedSpan
		if err := rows.Scan(&begins, &s.messages, &s.events, &s.underWay); err != nil {
			return err
		}
		spans[begins] = s
		return nil
	}, v.shard(), warehouse.Param{Name: "from", Value: from}, warehouse.Param{Name: "upto", Value: upto})
	return spans, err
}

// holds reports whether a position may hold a message of an erasure that is under way.
func (s *erasedSpan) holds(seq uint64) bool {
	_, found := slices.BinarySearch(s.underWay, seq)
	return found
}

// an erasureState is an erasure that counts, and how far it is.
type erasureState struct {
	erasure string
	state   uint8
}

// erasures returns those that count now. A check that found something has to be made
// again if they are others than at its start.
func (v *verification) erasures(ctx context.Context) (states []erasureState, err error) {
	err = v.query(ctx, "erasures", func(rows *warehouse.Rows) error {
		var s erasureState
		if err := rows.Scan(&s.erasure, &s.state); err != nil {
			return err
		}
		states = append(states, s)
		return nil
	}, v.shard())
	return states, err
}

// plus adds what was erased to what is stored, part by part.
func plus(stored, erased []sums) []sums {
	for i := range stored {
		s, e := &stored[i], &erased[i]
		s.rows += e.rows
		s.calls += e.calls
		s.tokens += e.tokens
		s.cost = s.cost.Add(e.cost)
		s.hash += e.hash
	}
	return stored
}

// settled makes checks, and makes them again if they found something while an erasure
// began or ended, because they may have seen half of it.
func settled(ctx context.Context, v *verification, checks func() (Report, error)) (Report, error) {
	const triesMax = 3
	for try := 1; ; try++ {
		before, err := v.erasures(ctx)
		if err != nil {
			return Report{}, err
		}
		report, err := checks()
		if err != nil || report.OK() || try == triesMax {
			return report, err
		}
		after, err := v.erasures(ctx)
		if err != nil || slices.Equal(before, after) {
			return report, err
		}
	}
}
