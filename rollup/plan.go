package rollup

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/schemas"
)

// ErrLedgerBroken says that the ledger's ranges do not follow each other. Every
// total after the break would be a guess, so whoever meets it stops; panda
// verify shows where the break is.
var ErrLedgerBroken = invariant.New(invariant.LedgerIsContiguous, "ledger is not contiguous")

// A Range is a committed span of the log and how many dirty windows it names.
type Range struct{ From, To, Pairs uint64 }

// nextSpan returns how far a pass from position may go: to the end of the
// newest range that follows without gap, or earlier, where the ranges name
// pairsMax dirty windows; it always takes one range. pairs is how many windows
// the ranges name, with repeats. The ranges are in order and begin with the one
// that ends at position, unless position is 0.
func nextSpan(position uint64, ranges []Range, pairsMax uint64) (upto, pairs uint64, err error) {
	at, begun := position, position != 0
	for i, r := range ranges {
		if r.From > r.To {
			return 0, 0, fmt.Errorf("%w: a range begins at %d and ends at %d", ErrLedgerBroken, r.From, r.To)
		}
		if i == 0 && begun && r.From <= position {
			if r.To != position {
				return 0, 0, fmt.Errorf("%w: the range %d to %d does not end at position %d",
					ErrLedgerBroken, r.From, r.To, position)
			}
			continue
		}
		if i == 0 && begun {
			return 0, 0, fmt.Errorf("%w: no range ends at position %d", ErrLedgerBroken, position)
		}
		// The very first range may begin anywhere: a stream's first message is
		// not always number 1.
		if (begun || i > 0) && r.From != at+1 {
			return 0, 0, fmt.Errorf("%w: after %d comes the range %d to %d", ErrLedgerBroken, at, r.From, r.To)
		}
		if pairs > 0 && pairs+r.Pairs > pairsMax {
			return at, pairs, nil
		}
		at, pairs = r.To, pairs+r.Pairs
	}
	if begun && len(ranges) == 0 {
		return 0, 0, fmt.Errorf("%w: it is empty, and rollups are at position %d", ErrLedgerBroken, position)
	}
	return at, pairs, nil
}

// A DirtyHour is a tenant's hour that must be recomputed; Start is in Unix
// seconds. In a [Batch] of days or months it is the start of one of those.
type DirtyHour struct {
	Tenant string
	Start  int64
}

// A Batch is what one statement recomputes: the windows of one grain and one
// month from First to Last, in order of tenant and time.
type Batch struct {
	Grain schemas.Grain
	// From and To bound the windows in time; they lie within one month.
	From, To time.Time
	// First and Last bound them in the order of tenant and time, and are in it.
	First, Last DirtyHour
	// Windows is how many they are, Tenants whose.
	Windows int
	Tenants []string
	// NamedUpto ends the part of the ledger that names them; 0 is the position that
	// they are made as of.
	NamedUpto uint64
}

// plan returns the batches that make all windows of the dirty hours right again:
// first the hours, then the days and at last the months that hold them. No batch
// has more than windowsMax windows or lies in two months, so a statement's memory
// is bounded and its insert is into one partition.
func plan(dirty []DirtyHour, windowsMax int) []Batch {
	var batches []Batch
	for _, grain := range []schemas.Grain{schemas.GrainHour, schemas.GrainDay, schemas.GrainMonth} {
		batches = append(batches, planGrain(grain, dirty, windowsMax)...)
	}
	return batches
}

func planGrain(grain schemas.Grain, dirty []DirtyHour, windowsMax int) []Batch {
	type due struct {
		month int64
		DirtyHour
	}
	windows := make([]due, 0, len(dirty))
	for _, d := range dirty {
		at := time.Unix(d.Start, 0)
		windows = append(windows, due{
			month:     schemas.WindowOf(schemas.GrainMonth, at).Start.Unix(),
			DirtyHour: DirtyHour{d.Tenant, schemas.WindowOf(grain, at).Start.Unix()},
		})
	}
	slices.SortFunc(windows, func(a, b due) int {
		if a.month != b.month {
			return cmp.Compare(a.month, b.month)
		}
		if c := strings.Compare(a.Tenant, b.Tenant); c != 0 {
			return c
		}
		return cmp.Compare(a.Start, b.Start)
	})
	windows = slices.Compact(windows)

	var batches []Batch
	for begin := 0; begin < len(windows); {
		end := begin + 1
		from, to := windows[begin].Start, windows[begin].Start
		tenants := []string{windows[begin].Tenant}
		for end < len(windows) && end-begin < windowsMax && windows[end].month == windows[begin].month {
			from, to = min(from, windows[end].Start), max(to, windows[end].Start)
			if last := tenants[len(tenants)-1]; last != windows[end].Tenant {
				tenants = append(tenants, windows[end].Tenant)
			}
			end++
		}
		batches = append(batches, Batch{
			Grain: grain,
			From:  time.Unix(from, 0).UTC(),
			To:    schemas.WindowOf(grain, time.Unix(to, 0)).End(),
			First: windows[begin].DirtyHour, Last: windows[end-1].DirtyHour,
			Windows: end - begin, Tenants: tenants,
		})
		begin = end
	}
	return batches
}

// pause returns how long to rest after a pass: long enough that passes take at
// most dutyPercent of the time, and at least min.
func pause(took, shortest time.Duration, dutyPercent int) time.Duration {
	return max(shortest, took*time.Duration(100-dutyPercent)/time.Duration(dutyPercent))
}
