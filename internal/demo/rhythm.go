package demo

import (
	"time"

	"github.com/agentik-os/panda/schemas"
)

// rhythm is when a tenant's agents work.
type rhythm struct {
	// zone is the tenant's offset from UTC in hours. An offset, not a place, so
	// that a month does not depend on the machine's time zone data.
	zone  int
	hours [24]uint64 // weight of each local hour
	days  [7]uint64  // weight of each local weekday, Sunday first
}

var (
	// office: two humps around lunch, little at night.
	office = [24]uint64{2, 1, 1, 1, 1, 2, 4, 11, 25, 41, 46, 44, 35, 42, 48, 46, 40, 28, 16, 10, 8, 6, 4, 3}
	// shifts: a plant that never stops, with an office on top.
	shifts = [24]uint64{14, 13, 13, 12, 13, 18, 26, 30, 38, 42, 44, 42, 36, 40, 43, 40, 34, 30, 26, 24, 24, 22, 18, 16}
	// allDay: customers of a shop, most in the evening.
	allDay = [24]uint64{8, 5, 4, 3, 3, 4, 7, 12, 18, 22, 25, 28, 30, 28, 26, 26, 28, 32, 38, 44, 46, 40, 28, 16}

	workweek = [7]uint64{3, 15, 17, 17, 16, 13, 4}
	everyDay = [7]uint64{18, 13, 12, 13, 14, 16, 19}
)

// schedule spreads n events over the hours of a month: by the rhythm, with up to
// a fifth more or less from hour to hour. The sum is n.
func (r *rhythm) schedule(month schemas.Window, n uint64, rnd *random) []uint64 {
	var weights []uint64
	var sum uint64
	for at := month.Start; at.Before(month.End()); at = at.Add(time.Hour) {
		local := at.Add(time.Duration(r.zone) * time.Hour)
		w := r.hours[local.Hour()] * r.days[local.Weekday()] * (80 + rnd.below(41))
		weights = append(weights, w)
		sum += w
	}
	var done, before uint64
	for i, w := range weights {
		done += w
		upTo := n * done / sum // at most 1e8 × 1e8, inside 64 bits
		weights[i] = upTo - before
		before = upTo
	}
	return weights
}
