package rollup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// sums is what one side says about a part of the log.
type sums struct {
	rows          uint64
	calls, tokens int64
	cost          schemas.Money
	hash          uint64
}

func (s sums) String() string {
	return fmt.Sprintf("%d events, %d calls, %d tokens, $%s", s.rows, s.calls, s.tokens, s.cost)
}

// narrowParts is into how many parts a span that differs is cut at each step. A
// million ranges are narrowed down to one in four.
const narrowParts = 64

// checkRaw compares the ledger's sums with usage_raw over the whole span, and
// where they differ narrows it down to the ranges.
func (v *verification) checkRaw(ctx context.Context) (Check, error) {
	check := Check{Name: "ledger = raw"}
	if len(v.ranges) == 0 {
		check.Skipped = "the ledger is empty"
		return check, nil
	}
	v.progress(check.Name, 0, uint64(len(v.ranges)))
	from, upto := v.report.From, v.report.To
	ledger, raw, err := v.sums(ctx, []uint64{from}, from, upto)
	if err != nil {
		return check, err
	}
	check.number("ledger", ledger[0])
	check.number("raw", raw[0])
	if ledger[0] != raw[0] {
		if err := v.narrow(ctx, &check, v.ranges); err != nil {
			return check, err
		}
		// Faults that cancel out inside a part would be found nowhere.
		if check.Differences == 0 {
			check.find(Finding{From: from, To: upto, Side: "both", Detail: "the whole differs and no part does"}, v.cfg.FindingsMax)
		}
	}
	v.progress(check.Name, uint64(len(v.ranges)), uint64(len(v.ranges)))
	return check, nil
}

// narrow compares the parts of a span of ranges and looks into those that
// differ, until the span is one range.
func (v *verification) narrow(ctx context.Context, check *Check, ranges []ledgerSpan) error {
	size := (len(ranges) + narrowParts - 1) / narrowParts
	var bounds []uint64
	var parts [][]ledgerSpan
	for part := range slices.Chunk(ranges, size) {
		bounds = append(bounds, part[0].from)
		parts = append(parts, part)
	}
	from, upto := ranges[0].from, ranges[len(ranges)-1].to
	ledger, raw, err := v.sums(ctx, bounds, from, upto)
	if err != nil {
		return err
	}
	for i, part := range parts {
		if ledger[i] == raw[i] {
			continue
		}
		if len(part) > 1 && len(check.Findings) < v.cfg.FindingsMax {
			if err := v.narrow(ctx, check, part); err != nil {
				return err
			}
			continue
		}
		f := Finding{From: part[0].from, To: part[len(part)-1].to, Side: shortSide(ledger[i], raw[i])}
		f.Detail = fmt.Sprintf("ledger: %s; raw: %s", ledger[i], raw[i])
		if len(check.Findings) < v.cfg.FindingsMax {
			who, err := v.concerned(ctx, f.From, f.To)
			if err != nil {
				return err
			}
			f.Tenant = who
		}
		check.find(f, v.cfg.FindingsMax)
	}
	return nil
}

func shortSide(ledger, raw sums) string {
	switch {
	case raw.rows < ledger.rows:
		return "raw"
	case raw.rows > ledger.rows:
		return "ledger"
	}
	return "both"
}

// sums returns both sides per part; bounds are where the parts begin.
func (v *verification) sums(ctx context.Context, bounds []uint64, from, upto uint64) (ledger, raw []sums, err error) {
	for _, side := range []struct {
		statement string
		into      *[]sums
	}{{"verify_ledger_sums", &ledger}, {"verify_raw_sums", &raw}} {
		parts := make([]sums, len(bounds))
		err := v.query(ctx, side.statement, func(rows *warehouse.Rows) error {
			var part uint32
			var s sums
			if err := rows.Scan(&part, &s.rows, &s.calls, &s.tokens, &s.cost, &s.hash); err != nil {
				return err
			}
			if part < 1 || int(part) > len(parts) {
				return fmt.Errorf("part %d of %d", part, len(parts))
			}
			parts[part-1] = s
			return nil
		}, v.shard(), warehouse.Param{Name: "bounds", Value: bounds},
			warehouse.Param{Name: "from", Value: from}, warehouse.Param{Name: "upto", Value: upto})
		if err != nil {
			return nil, nil, err
		}
		*side.into = parts
	}
	return ledger, raw, nil
}

// concernedMax bounds how many tenants a finding names.
const concernedMax = 10

// concerned names the tenants of a range: first those that only one side knows.
func (v *verification) concerned(ctx context.Context, from, upto uint64) (string, error) {
	var oneSided, other []string
	err := v.query(ctx, "verify_tenants", func(rows *warehouse.Rows) error {
		var tenant string
		var named uint8
		var count uint64
		if err := rows.Scan(&tenant, &named, &count); err != nil {
			return err
		}
		switch {
		case named == 0:
			oneSided = append(oneSided, tenant+" (not in ledger)")
		case count == 0:
			oneSided = append(oneSided, tenant+" (not in raw)")
		default:
			other = append(other, tenant)
		}
		return nil
	}, v.shard(), warehouse.Param{Name: "from", Value: from}, warehouse.Param{Name: "upto", Value: upto},
		warehouse.Param{Name: "limit", Value: uint32(1000)})
	if err != nil {
		return "", err
	}
	names := append(oneSided, other...)
	if len(names) > concernedMax {
		names = append(names[:concernedMax], fmt.Sprintf("and %d more", len(names)-concernedMax))
	}
	return strings.Join(names, ", "), nil
}
