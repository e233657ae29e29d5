package rollup

import (
	"context"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
)

// ledgerPage is how many ledger rows one query of a check returns.
const ledgerPage = 100_000

// checkLedger reads the ledger's ranges and checks that they follow each other,
// that each accounts for its events, and that the log is at least as long.
func (v *verification) checkLedger(ctx context.Context, opts VerifyOptions) (Check, error) {
	check := Check{Name: "ledger"}
	var newest, total uint64
	err := v.query(ctx, "verify_span", func(rows *warehouse.Rows) error { return rows.Scan(&total, &newest) },
		v.shard(), warehouse.Param{Name: "from", Value: opts.From}, warehouse.Param{Name: "upto", Value: opts.To})
	if err != nil {
		return check, err
	}
	for next := opts.From; ; {
		before := len(v.ranges)
		if err := v.ledgerPage(ctx, &check, next, newest); err != nil {
			return check, err
		}
		v.progress(check.Name, uint64(len(v.ranges)), total)
		if len(v.ranges)-before < ledgerPage {
			break
		}
		next = v.ranges[len(v.ranges)-1].from + 1
	}
	if uint64(len(v.ranges)) != total {
		return check, fmt.Errorf("read ledger: %d of %d ranges came", len(v.ranges), total)
	}
	if len(v.ranges) > 0 {
		v.report.From, v.report.To = v.ranges[0].from, v.ranges[len(v.ranges)-1].to
	}
	check.number("ranges", total)
	check.number("from", v.report.From)
	check.number("to", v.report.To)
	if v.report.RollupPosition > v.report.To && opts.To > v.report.RollupPosition {
		check.find(Finding{From: v.report.To, To: v.report.RollupPosition, Side: "ledger",
			Detail: "the rollups are ahead of the ledger"}, v.cfg.FindingsMax)
	}
	return check, nil
}

func (v *verification) ledgerPage(ctx context.Context, check *Check, from, upto uint64) error {
	return v.query(ctx, "verify_ledger", func(rows *warehouse.Rows) error {
		var s ledgerSpan
		var verdicts uint64
		if err := rows.Scan(&s.from, &s.to, &s.messages, &s.events, &verdicts); err != nil {
			return err
		}
		if s.to < s.from {
			check.find(Finding{From: s.from, To: s.to, Side: "ledger", Detail: "the range ends before it begins"}, v.cfg.FindingsMax)
		}
		if n := len(v.ranges); n > 0 && s.from != v.ranges[n-1].to+1 {
			kind := "a gap"
			if s.from <= v.ranges[n-1].to {
				kind = "an overlap"
			}
			check.find(Finding{From: v.ranges[n-1].to, To: s.from, Side: "ledger",
				Detail: fmt.Sprintf("%s: after %d comes the range %d to %d", kind, v.ranges[n-1].to, s.from, s.to)}, v.cfg.FindingsMax)
		}
		if s.events != verdicts {
			check.find(Finding{From: s.from, To: s.to, Side: "ledger",
				Detail: fmt.Sprintf("%d events and %d verdicts", s.events, verdicts)}, v.cfg.FindingsMax)
		}
		v.ranges = append(v.ranges, s)
		return nil
	}, v.shard(), warehouse.Param{Name: "from", Value: from}, warehouse.Param{Name: "upto", Value: upto},
		warehouse.Param{Name: "limit", Value: uint32(ledgerPage)})
}

// checkLog compares the ranges with the messages of the log, one pass over both.
// Ranges older than the log's retention cannot be compared.
func (v *verification) checkLog(ctx context.Context) (Check, error) {
	check := Check{Name: "log = ledger"}
	switch {
	case v.cfg.Log == nil:
		check.Skipped = "no log at hand"
		return check, nil
	case len(v.ranges) == 0:
		check.Skipped = "the ledger is empty"
		return check, nil
	}
	first, last, err := v.bounds(ctx)
	if err != nil {
		return check, err
	}
	if last < v.report.To {
		check.find(Finding{From: last + 1, To: v.report.To, Side: "log",
			Detail: "the ledger is ahead of the log: the log was rolled back or replaced"}, v.cfg.FindingsMax)
	}
	ranges := v.ranges
	for len(ranges) > 0 && ranges[0].from < first {
		ranges = ranges[1:]
	}
	if skipped := len(v.ranges) - len(ranges); skipped > 0 {
		check.Notes = append(check.Notes, fmt.Sprintf("%d ranges are older than the log, which begins at %d", skipped, first))
	}
	if len(ranges) == 0 || first > last {
		return check, nil
	}
	messages, events, err := v.compareLog(ctx, &check, ranges, last)
	if err != nil {
		return check, err
	}
	check.number("messages", messages)
	check.number("events", events)
	return check, nil
}

func (v *verification) compareLog(ctx context.Context, check *Check, ranges []ledgerSpan, last uint64) (messages, events uint64, err error) {
	gone, err := v.erasedFromLog(ctx, ranges[0].from, ranges[len(ranges)-1].to)
	if err != nil {
		return 0, 0, err
	}
	var inRange ledgerSpan
	done, erased := 0, gone[ranges[0].from]
	closeRange := func() {
		inRange.messages += erased.messages
		inRange.events += erased.events
		r := ranges[done]
		if r.to <= last && (inRange.messages != r.messages || inRange.events != r.events) {
			side := "ledger"
			if inRange.messages < r.messages || inRange.messages == r.messages && inRange.events < r.events {
				side = "log"
			}
			check.find(Finding{From: r.from, To: r.to, Side: side, Detail: fmt.Sprintf(
				"the log has %d messages with %d events, the ledger %d with %d",
				inRange.messages, inRange.events, r.messages, r.events)}, v.cfg.FindingsMax)
		}
		inRange, erased = ledgerSpan{}, erasedSpan{}
		if done++; done < len(ranges) {
			erased = gone[ranges[done].from]
		}
		v.progress(check.Name, uint64(done), uint64(len(ranges)))
	}
	from, to := ranges[0].from, min(ranges[len(ranges)-1].to, last)
	err = v.cfg.Log.Counts(ctx, from, to, func(seq uint64, n int) error {
		for done < len(ranges) && ranges[done].to < seq {
			closeRange()
		}
		if erased.holds(seq) {
			return nil
		}
		if done < len(ranges) && seq >= ranges[done].from {
			inRange.messages++
			inRange.events += uint64(n)
		}
		messages++
		events += uint64(n)
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("count the log: %w", err)
	}
	for done < len(ranges) {
		closeRange()
	}
	return messages, events, nil
}

func (v *verification) shard() warehouse.Param {
	return warehouse.Param{Name: "shard", Value: v.cfg.Shard}
}

// bounds asks where the log begins and ends, and again for a while if it ends before
// the ledger: in a cluster a leader that was just elected may not know all that was
// acknowledged.
func (v *verification) bounds(ctx context.Context) (first, last uint64, err error) {
	const againEvery = 200 * time.Millisecond
	tick := time.NewTicker(againEvery)
	defer tick.Stop()
	for began := time.Now(); ; {
		if first, last, err = v.cfg.Log.Bounds(ctx); err != nil {
			return 0, 0, fmt.Errorf("read bounds of the log: %w", err)
		}
		if last >= v.report.To || time.Since(began) >= v.cfg.BehindMax {
			return first, last, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
}
