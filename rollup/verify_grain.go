package rollup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// comparedGrains are the steps from events to months, in order.
var comparedGrains = []schemas.Grain{schemas.GrainHour, schemas.GrainDay, schemas.GrainMonth}

// sourceOf says what the windows of a grain are made from.
func sourceOf(grain schemas.Grain) string {
	switch grain {
	case schemas.GrainHour:
		return "raw"
	case schemas.GrainDay:
		return "hours"
	}
	return "days"
}

// checkWindows compares every window of a grain with what it is made from:
// totals, and a hash over the whole breakdown. It goes month by month, so that
// its memory is bounded by a month's windows.
func (v *verification) checkWindows(ctx context.Context, grain schemas.Grain) (Check, error) {
	check := Check{Name: sourceOf(grain) + " = " + string(grain) + "s"}
	var months []int64
	err := v.everywhere(ctx, "verify_periods", func(rows *warehouse.Rows) error {
		months = append(months, 0)
		return rows.Scan(&months[len(months)-1])
	})
	if err != nil {
		return check, err
	}
	slices.Sort(months)
	months = slices.Compact(months)
	moving := 0
	for i, startS := range months {
		v.progress(check.Name, uint64(i), uint64(len(months)))
		n, err := v.checkMonth(ctx, &check, grain, startS)
		if err != nil {
			return check, err
		}
		moving += n
	}
	v.progress(check.Name, uint64(len(months)), uint64(len(months)))
	check.number("months", len(months))
	check.number("position", v.report.RollupPosition)
	if moving > 0 {
		check.Notes = append(check.Notes, fmt.Sprintf("%d windows are being recomputed and were left out", moving))
	}
	return check, nil
}

// movingMax bounds the windows of a pass under way that one query returns beside
// the differences; they are only counted.
const movingMax = 10_000

// checkMonth compares one month in every place. Source and windows of a tenant lie in
// one place.
func (v *verification) checkMonth(ctx context.Context, check *Check, grain schemas.Grain, startS int64) (moving int, err error) {
	view, err := v.cfg.Places.View(ctx)
	if err != nil {
		return 0, fmt.Errorf("compare %ss: %w", grain, err)
	}
	defer view.Close()
	for _, place := range view.All() {
		n, err := v.checkMonthAt(ctx, check, place, grain, startS)
		if err != nil {
			return moving, err
		}
		moving += n
	}
	return moving, nil
}

func (v *verification) checkMonthAt(ctx context.Context, check *Check, place placement.Place, grain schemas.Grain, startS int64) (moving int, err error) {
	month := schemas.WindowOf(schemas.GrainMonth, time.Unix(startS, 0))
	shown, total := uint64(0), uint64(0)
	err = v.query(ctx, "verify_"+string(grain), func(rows *warehouse.Rows) error {
		var tenant string
		var wantCost, haveCost schemas.Money
		var start, wantCalls, haveCalls, wantTokens, haveTokens int64
		var hasSource, hasWindow, same, isMoving uint8
		err := rows.Scan(&tenant, &start, &hasSource, &hasWindow, &wantCalls, &haveCalls,
			&wantTokens, &haveTokens, &wantCost, &haveCost, &same, &isMoving, &total)
		if err != nil {
			return err
		}
		shown++
		if isMoving == 1 {
			moving++
			return nil
		}
		f := Finding{
			Tenant: tenant, Start: time.Unix(start, 0).UTC(), Side: "both",
			Window: schemas.WindowOf(grain, time.Unix(start, 0)).String(),
			Detail: fmt.Sprintf("%s: %d calls, %d tokens, $%s; %s: %d calls, %d tokens, $%s", sourceOf(grain), wantCalls,
				wantTokens, wantCost, grain, haveCalls, haveTokens, haveCost),
		}
		switch {
		case hasWindow == 0:
			f.Side = string(grain) + "s"
		case hasSource == 0:
			f.Side = sourceOf(grain)
		case wantCalls == haveCalls && wantTokens == haveTokens && wantCost == haveCost:
			f.Detail += "; the breakdowns differ"
		}
		check.find(f, v.cfg.FindingsMax)
		return nil
	}, place.Param(), warehouse.Param{Name: "elsewhere", Value: place.Elsewhere},
		warehouse.Param{Name: "position", Value: v.report.RollupPosition},
		warehouse.Param{Name: "from_s", Value: month.Start.Unix()},
		warehouse.Param{Name: "to_s", Value: month.End().Unix()},
		warehouse.Param{Name: "limit", Value: uint32(movingMax)})
	if err != nil {
		return 0, fmt.Errorf("compare %ss of %s: %w", grain, month, err)
	}
	// Differences come before moving windows, so what the limit cut off are
	// differences only if nothing that moves was shown.
	if rest := total - shown; moving == 0 {
		check.Differences += rest
	} else {
		moving += int(rest)
	}
	return moving, nil
}
