package rollup

import (
	"context"
	"fmt"
	"maps"
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

func (s *sums) add(o sums) {
	s.rows += o.rows
	s.calls += o.calls
	s.tokens += o.tokens
	s.cost = s.cost.Add(o.cost)
	s.hash += o.hash
}

func (s sums) String() string {
	return fmt.Sprintf("%d events, %d calls, %d tokens, $%s", s.rows, s.calls, s.tokens, s.cost)
}

// narrowParts is into how many parts a span that differs is cut at each step. A
// million ranges are narrowed down to one in four.
const narrowParts = 64

// A comparison is two accounts of one span of the log, per part of it.
type comparison struct {
	left, right string // what they are called
	// sums returns both accounts per part; bounds are where the parts begin.
	sums func(ctx context.Context, bounds []uint64, from, upto uint64) (left, right []sums, err error)
	text func(sums) string
}

// short names the side that has less.
func (c *comparison) short(left, right sums) string {
	switch {
	case right.rows < left.rows:
		return c.right
	case right.rows > left.rows:
		return c.left
	}
	return "both"
}

// checkRaw compares the ledger's sums with usage_raw over the whole span, and
// where they differ narrows it down to the ranges.
func (v *verification) checkRaw(ctx context.Context) (Check, error) {
	check := Check{Name: "ledger = raw"}
	total, err := v.compare(ctx, &check, &comparison{left: "ledger", right: "raw", sums: v.rawSums, text: sums.String})
	if err == nil && check.Skipped == "" {
		check.number("ledger", total[0])
		check.number("raw", total[1])
	}
	return check, err
}

// checkKeys compares the identities that are taken with the rows that took them:
// each accepted event has one, and a void has claimed one more.
func (v *verification) checkKeys(ctx context.Context) (Check, error) {
	check := Check{Name: "keys = raw"}
	total, err := v.compare(ctx, &check, &comparison{left: "raw", right: "keys", sums: v.keySums,
		text: func(s sums) string { return fmt.Sprintf("%d identities", s.rows) }})
	if err != nil || check.Skipped != "" {
		return check, err
	}
	check.number("keys", total[1].rows)
	if !v.whole {
		return check, nil
	}
	var stored, counted, voids, uncommitted uint64
	err = v.everywhere(ctx, "verify_counts", func(rows *warehouse.Rows) error {
		var n [4]uint64
		err := rows.Scan(&n[0], &n[1], &n[2], &n[3])
		stored, counted, voids, uncommitted = stored+n[0], counted+n[1], voids+n[2], uncommitted+n[3]
		return err
	}, warehouse.Param{Name: "upto", Value: v.report.To})
	check.number("events", counted)
	check.number("voids", voids)
	if copies := stored - counted; copies > 0 {
		check.Notes = append(check.Notes, fmt.Sprintf("%d copies of repeated ranges are not merged yet; they do not count", copies))
	}
	if uncommitted > 0 {
		check.Notes = append(check.Notes, fmt.Sprintf("%d rows lie beyond the ledger: a range that is being written", uncommitted))
	}
	return check, err
}

// checkRejects compares what the ledger says of conflicts and quarantine with what is
// kept of them.
func (v *verification) checkRejects(ctx context.Context) (Check, error) {
	check := Check{Name: "ledger = rejects"}
	total, err := v.compare(ctx, &check, &comparison{left: "ledger", right: "rejects", sums: v.rejectSums,
		text: func(s sums) string {
			return fmt.Sprintf("%d conflicts, %d quarantined", s.calls, int64(s.rows)-s.calls)
		}})
	if err == nil && check.Skipped == "" {
		check.number("conflicts", total[1].calls)
		check.number("quarantined", int64(total[1].rows)-total[1].calls)
	}
	return check, err
}

// compare holds two accounts of the span against each other and names the ranges
// in which they differ. It returns the sums of both over the whole span.
func (v *verification) compare(ctx context.Context, check *Check, c *comparison) (total [2]sums, err error) {
	if len(v.ranges) == 0 {
		check.Skipped = "the ledger is empty"
		return total, nil
	}
	v.progress(check.Name, 0, uint64(len(v.ranges)))
	from, upto := v.report.From, v.report.To
	left, right, err := c.sums(ctx, []uint64{from}, from, upto)
	if err != nil {
		return total, err
	}
	if left[0] != right[0] {
		if err := v.narrow(ctx, check, c, v.ranges); err != nil {
			return total, err
		}
		// Faults that cancel out inside a part would be found nowhere.
		if check.Differences == 0 {
			check.find(Finding{From: from, To: upto, Side: "both", Detail: "the whole differs and no part does"}, v.cfg.FindingsMax)
		}
	}
	v.progress(check.Name, uint64(len(v.ranges)), uint64(len(v.ranges)))
	return [2]sums{left[0], right[0]}, nil
}

// narrow compares the parts of a span of ranges and looks into those that
// differ, until the span is one range.
func (v *verification) narrow(ctx context.Context, check *Check, c *comparison, ranges []ledgerSpan) error {
	size := (len(ranges) + narrowParts - 1) / narrowParts
	var bounds []uint64
	var parts [][]ledgerSpan
	for part := range slices.Chunk(ranges, size) {
		bounds = append(bounds, part[0].from)
		parts = append(parts, part)
	}
	from, upto := ranges[0].from, ranges[len(ranges)-1].to
	left, right, err := c.sums(ctx, bounds, from, upto)
	if err != nil {
		return err
	}
	for i, part := range parts {
		if left[i] == right[i] {
			continue
		}
		if len(part) > 1 && len(check.Findings) < v.cfg.FindingsMax {
			if err := v.narrow(ctx, check, c, part); err != nil {
				return err
			}
			continue
		}
		f := Finding{From: part[0].from, To: part[len(part)-1].to, Side: c.short(left[i], right[i])}
		f.Detail = fmt.Sprintf("%s: %s; %s: %s", c.left, c.text(left[i]), c.right, c.text(right[i]))
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

// rawSums returns what the ledger says, and usage_raw with what was erased from it.
func (v *verification) rawSums(ctx context.Context, bounds []uint64, from, upto uint64) (ledger, raw []sums, err error) {
	scan := func(rows *warehouse.Rows, part *uint32, s *sums) error {
		return rows.Scan(part, &s.rows, &s.calls, &s.tokens, &s.cost, &s.hash)
	}
	if ledger, err = v.account(ctx, v.query, "verify_ledger_sums", scan, bounds, from, upto); err != nil {
		return nil, nil, err
	}
	if raw, err = v.account(ctx, v.everywhere, "verify_raw_sums", scan, bounds, from, upto); err != nil {
		return nil, nil, err
	}
	erased, err := v.account(ctx, v.query, "verify_erased_sums", scan, bounds, from, upto)
	if err != nil {
		return nil, nil, err
	}
	return ledger, plus(raw, erased), nil
}

// keySums returns how many identities usage_raw needs and how many are taken.
func (v *verification) keySums(ctx context.Context, bounds []uint64, from, upto uint64) (needed, taken []sums, err error) {
	scan := func(rows *warehouse.Rows, part *uint32, s *sums) error { return rows.Scan(part, &s.rows, &s.hash) }
	if needed, err = v.account(ctx, v.everywhere, "verify_identities", scan, bounds, from, upto); err != nil {
		return nil, nil, err
	}
	taken, err = v.account(ctx, v.query, "verify_keys", scan, bounds, from, upto)
	return needed, taken, err
}

// rejectSums returns what the ledger says of rejects, and what is kept of them with what
// was erased.
func (v *verification) rejectSums(ctx context.Context, bounds []uint64, from, upto uint64) (ledger, kept []sums, err error) {
	scan := func(rows *warehouse.Rows, part *uint32, s *sums) error { return rows.Scan(part, &s.rows, &s.calls) }
	if ledger, err = v.account(ctx, v.query, "verify_ledger_rejects", scan, bounds, from, upto); err != nil {
		return nil, nil, err
	}
	if kept, err = v.account(ctx, v.query, "verify_rejects", scan, bounds, from, upto); err != nil {
		return nil, nil, err
	}
	erased, err := v.account(ctx, v.query, "verify_erased_rejects", scan, bounds, from, upto)
	if err != nil {
		return nil, nil, err
	}
	return ledger, plus(kept, erased), nil
}

// asker is query or everywhere.
type asker func(ctx context.Context, name string, scan func(*warehouse.Rows) error, params ...warehouse.Param) error

// account returns one side's sums per part.
func (v *verification) account(ctx context.Context, ask asker, name string, scan func(*warehouse.Rows, *uint32, *sums) error,
	bounds []uint64, from, upto uint64,
) ([]sums, error) {
	parts := make([]sums, len(bounds))
	err := ask(ctx, name, func(rows *warehouse.Rows) error {
		var part uint32
		var s sums
		if err := scan(rows, &part, &s); err != nil {
			return err
		}
		if part < 1 || int(part) > len(parts) {
			return fmt.Errorf("part %d of %d", part, len(parts))
		}
		parts[part-1].add(s)
		return nil
	}, v.shard(), warehouse.Param{Name: "bounds", Value: bounds},
		warehouse.Param{Name: "from", Value: from}, warehouse.Param{Name: "upto", Value: upto})
	return parts, err
}

// concernedMax bounds how many tenants a finding names.
const concernedMax = 10

// concerned names the tenants of a range: first those that only one side knows.
func (v *verification) concerned(ctx context.Context, from, upto uint64) (string, error) {
	named, counts := map[string]bool{}, map[string]uint64{}
	err := v.everywhere(ctx, "verify_tenants", func(rows *warehouse.Rows) error {
		var tenant string
		var inLedger uint8
		var count uint64
		err := rows.Scan(&tenant, &inLedger, &count)
		named[tenant] = inLedger == 1
		counts[tenant] += count
		return err
	}, v.shard(), warehouse.Param{Name: "from", Value: from}, warehouse.Param{Name: "upto", Value: upto},
		warehouse.Param{Name: "limit", Value: uint32(1000)})
	if err != nil {
		return "", err
	}
	var oneSided, other []string
	for _, tenant := range slices.Sorted(maps.Keys(named)) {
		switch {
		case !named[tenant]:
			oneSided = append(oneSided, tenant+" (not in ledger)")
		case counts[tenant] == 0:
			oneSided = append(oneSided, tenant+" (not in raw)")
		default:
			other = append(other, tenant)
		}
	}
	names := append(oneSided, other...)
	if len(names) > concernedMax {
		names = append(names[:concernedMax], fmt.Sprintf("and %d more", len(names)-concernedMax))
	}
	return strings.Join(names, ", "), nil
}
