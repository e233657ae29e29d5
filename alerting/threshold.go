package alerting

import (
	"cmp"
	"math/big"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// The limits of a list of thresholds.
const (
	// ThresholdMax is in percent of a limit: ten times over says all there is to say.
	ThresholdMax = 1000
	// ThresholdsMax bounds the messages of one jump.
	ThresholdsMax = 10
)

// DefaultThresholds are those of the platform's guide, in percent.
func DefaultThresholds() []int { return []int{80, 90, 100} }

// CheckThresholds refuses a list that is empty, too long, out of order or out of range.
// Errors match schemas.ErrInvalid and name the place.
func CheckThresholds(list []int) error {
	if len(list) == 0 || len(list) > ThresholdsMax {
		return schemas.Invalid("/thresholds", schemas.CodeOutOfRange, "%d thresholds; give 1 to %d", len(list), ThresholdsMax)
	}
	for i, t := range list {
		at := "/thresholds/" + strconv.Itoa(i)
		switch {
		case t < 1 || t > ThresholdMax:
			return schemas.Invalid(at, schemas.CodeOutOfRange, "%d %% is not from 1 to %d %% of a limit", t, ThresholdMax)
		case i > 0 && t == list[i-1]:
			return schemas.Invalid(at, schemas.CodeRepeated, "%d %% is there twice", t)
		case i > 0 && t < list[i-1]:
			return schemas.Invalid(at, schemas.CodeOutOfRange, "%d %% comes after %d %%; write the lowest first", t, list[i-1])
		}
	}
	return nil
}

const (
	// episodesMax bounds how often one alert is reopened, so that a level that swings
	// around a threshold writes a hundred records in its month and not thousands. In its
	// last episode it stays open until the limit changes or the period is over.
	episodesMax = 50
	// levelDwell is how long a level's alert stays open at least: what falls and rises
	// within it is one crossing for people.
	levelDwell = 10 * time.Minute
)

// A Held is an alert as the book knows it.
type Held struct {
	Identity Identity
	State    State
	Episode  int
	// Since is when its newest record was decided, and AsOf what that record counted.
	Since time.Time
	AsOf  uint64
}

// A Standing is what is known of a tenant's alerts, by id.
type Standing struct {
	Alerts map[string]Held
	// Opaque are alerts with a record that this version cannot read. They are known,
	// and nothing more is decided about them.
	Opaque map[string]bool
}

// Judge compares a tenant's usage with its limits and with the alerts that stand, and
// returns the records to decide, in the order in which to: first what is resolved, then
// what fires, each in the order of limits and thresholds. Whoever has the same reading
// and the same standing gets the same records. Records that are decided already, because
// the standing is behind, are decided once all the same: their subject is taken.
//
// A threshold is crossed when used × 100 ≥ max × threshold, in whole numbers. A negative
// max is no limit. A limit of nothing is at 100 % with nothing used, and beyond every
// threshold with more.
//
// What stands is resolved when the period is over, when its limit was changed or taken
// away and its threshold is not crossed under the new one, or when usage fell below it.
// An alert of an earlier revision whose threshold is crossed under the new one is left
// alone: the alert that fires takes its place. Nothing is resolved or reopened by a
// reading that counts less than the record it would follow, or is of an earlier revision.
// A limit whose usage is not known (Used without a unit) is left alone until its period
// is over.
func Judge(r *Reading, thresholds []int, standing *Standing) []Record {
	j := judge{reading: r, standing: standing, limits: map[limitKey][]*Limit{}}
	ordered := make([]*Limit, len(r.Limits))
	for i := range r.Limits {
		ordered[i] = &r.Limits[i]
	}
	slices.SortStableFunc(ordered, func(a, b *Limit) int {
		return cmp.Or(strings.Compare(a.Limit, b.Limit), strings.Compare(a.Name, b.Name), strings.Compare(a.Period, b.Period))
	})
	for _, l := range ordered {
		key := limitKey{l.Limit, l.Name}
		j.limits[key] = append(j.limits[key], l)
	}
	for _, held := range heldInOrder(standing) {
		j.stands(&held)
	}
	if !r.Quiet {
		for _, l := range ordered {
			for _, t := range thresholds {
				j.crosses(l, t)
			}
		}
	}
	return j.records
}

type limitKey struct{ limit, name string }

type judge struct {
	reading  *Reading
	standing *Standing
	limits   map[limitKey][]*Limit
	records  []Record
}

// heldInOrder returns the threshold alerts that fire.
func heldInOrder(s *Standing) []Held {
	var open []Held
	for id := range s.Alerts {
		if h := s.Alerts[id]; h.State == Firing && h.Identity.Rule == RuleThreshold && !s.Opaque[id] {
			open = append(open, h)
		}
	}
	slices.SortFunc(open, func(a, b Held) int {
		x, y := &a.Identity, &b.Identity
		return cmp.Or(strings.Compare(x.Limit, y.Limit), strings.Compare(x.Name, y.Name), strings.Compare(x.Period, y.Period),
			cmp.Compare(revisionSeq(x.Revision), revisionSeq(y.Revision)), strings.Compare(x.Revision, y.Revision),
			cmp.Compare(x.Threshold, y.Threshold))
	})
	return open
}

// stands decides whether an alert that fires goes on.
func (j *judge) stands(h *Held) {
	present := j.limits[limitKey{h.Identity.Limit, h.Identity.Name}]
	var same *Limit // of the alert's period
	later := len(present) == 0
	for _, l := range present {
		if l.Period == h.Identity.Period {
			same = l
		}
		later = later || l.Period > h.Identity.Period
	}
	switch {
	case periodOver(h.Identity.Period, j.reading.At):
		// Both are asked for, so that neither a clock that is wrong nor a source that is
		// behind ends a period alone.
		if later {
			j.resolve(h, ByPeriod, same)
		}
		return
	case len(present) == 0:
		if j.reading.Control >= revisionSeq(h.Identity.Revision) {
			j.resolve(h, ByLimit, nil)
		}
		return
	case same == nil: // a clock that was set back: the alert's period is yet to come
		return
	case same.Used.IsZero(), j.reading.AsOf < h.AsOf, crossed(same, h.Identity.Threshold):
		return
	case same.Revision != h.Identity.Revision:
		if revisionSeq(same.Revision) >= revisionSeq(h.Identity.Revision) {
			j.resolve(h, ByLimit, same)
		}
		return
	case h.Episode >= episodesMax-1:
		return
	case isLevel(same) && j.reading.At.Sub(h.Since) < levelDwell:
		return
	}
	j.resolve(h, ByCorrection, same)
}

// crosses decides whether a threshold of a limit fires.
func (j *judge) crosses(l *Limit, threshold int) {
	if l.Used.IsZero() || !crossed(l, threshold) {
		return
	}
	identity := Identity{Tenant: j.reading.Tenant, Rule: RuleThreshold, Limit: l.Limit, Name: l.Name,
		Period: l.Period, Revision: l.Revision, Threshold: threshold}
	id := identity.ID()
	if j.standing.Opaque[id] {
		return
	}
	held, known := j.standing.Alerts[id]
	switch {
	case !known:
		j.add(&identity, id, 0, Fired, "", l)
	case held.State != Ended && held.State != Over, j.reading.AsOf < held.AsOf, periodOver(l.Period, j.reading.At),
		held.Episode >= episodesMax-1, j.newer(l):
	default:
		j.add(&identity, id, held.Episode+1, Reopened, "", l)
	}
}

// newer reports whether a later revision of a limit has alerts: then the reading is
// behind.
func (j *judge) newer(l *Limit) bool {
	for id := range j.standing.Alerts {
		i := j.standing.Alerts[id].Identity
		if i.Rule == RuleThreshold && i.Limit == l.Limit && i.Name == l.Name && i.Period == l.Period && revisionSeq(i.Revision) > revisionSeq(l.Revision) {
			return true
		}
	}
	return false
}

func (j *judge) resolve(h *Held, cause Cause, l *Limit) {
	j.add(&h.Identity, h.Identity.ID(), h.Episode, Resolved, cause, l)
}

func (j *judge) add(i *Identity, id string, episode int, kind Kind, cause Cause, l *Limit) {
	r := Record{Version: RecordVersion, Alert: id, Episode: episode, Kind: kind, Identity: *i, Cause: cause,
		Severity: SeverityOf(i.Threshold), At: j.reading.At.UTC(), AsOf: j.reading.AsOf}
	if l != nil {
		r.Facts.Used, r.Facts.Max, r.Facts.Percent = l.Used, l.Max, percentOf(l.Used, l.Max)
		if !isLevel(l) {
			r.Facts.Forecast, r.Facts.ExhaustedAt = Forecast(l.Period, j.reading.At, l.Used, l.Max)
		}
	}
	j.records = append(j.records, r)
}

// SeverityOf is the severity of a threshold in percent.
func SeverityOf(threshold int) Severity {
	switch {
	case threshold >= 100:
		return SeverityCritical
	case threshold >= 90:
		return SeverityWarning
	}
	return SeverityInfo
}

// isLevel reports whether a limit is on what is there at a time, and not on a sum over
// its period.
func isLevel(l *Limit) bool { return l.Max.Unit != UnitUSD && l.Max.Unit != UnitTokens }

// revisionSeq is the position that a revision begins with, 0 for a revision without one.
func revisionSeq(revision string) uint64 {
	digits, _, _ := strings.Cut(revision, "-")
	seq, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0
	}
	return seq
}

// periodOver reports whether a period has ended at a moment.
func periodOver(period string, at time.Time) bool {
	w, err := schemas.ParseWindow(period)
	return err == nil && !at.Before(w.End())
}

// whole returns an amount as a whole number of its smallest part.
func (a Amount) whole() *big.Int {
	if a.Unit == UnitUSD {
		return a.Money.Big()
	}
	return big.NewInt(a.Count)
}

// int64 returns an amount as whole does, and whether it fits.
func (a Amount) int64() (int64, bool) {
	if a.Unit == UnitUSD {
		return a.Money.Int64()
	}
	return a.Count, true
}

// crossed reports whether a threshold in percent of a limit is reached.
func crossed(l *Limit, threshold int) bool {
	used, usedFits := l.Used.int64()
	limit, limitFits := l.Max.int64()
	if usedFits && limitFits {
		switch {
		case limit < 0 || used < 0:
			return false
		case limit == 0:
			return used > 0 || threshold <= 100
		}
		uh, ul := bits.Mul64(uint64(used), 100)
		lh, ll := bits.Mul64(uint64(limit), uint64(threshold))
		return uh > lh || uh == lh && ul >= ll
	}
	u, m := l.Used.whole(), l.Max.whole()
	switch {
	case m.Sign() < 0 || u.Sign() < 0:
		return false
	case m.Sign() == 0:
		return u.Sign() > 0 || threshold <= 100
	}
	u.Mul(u, big.NewInt(100))
	return u.Cmp(m.Mul(m, big.NewInt(int64(threshold)))) >= 0
}

// percentMax caps a percentage that is shown.
const percentMax = 1_000_000

// percentOf is used in percent of limit, rounded down, from 0 to percentMax. Of a limit
// of nothing it is 100.
func percentOf(used, limit Amount) int {
	u, m := used.whole(), limit.whole()
	switch {
	case used.IsZero() || m.Sign() < 0 || u.Sign() < 0:
		return 0
	case m.Sign() == 0:
		return 100
	}
	u.Mul(u, big.NewInt(100)).Quo(u, m)
	if u.Cmp(big.NewInt(percentMax)) > 0 {
		return percentMax
	}
	return int(u.Int64())
}

// forecastFrom is the share of a period, in percent, that must have passed before
// anything is said about its end: 15 minutes of a day, seven hours of a month.
const forecastFrom = 1

// Forecast says what is used by the end of a period if usage goes on at the mean rate
// since its beginning, and when the limit is reached. Both are rounded down, to the
// smallest part of the amount and to the second. Nothing is known before one percent of
// the period has passed, after its end, or when less than nothing is used; the moment is
// zero if the limit is not reached within the period, or is reached already.
func Forecast(period string, at time.Time, used, limit Amount) (Amount, time.Time) {
	w, err := schemas.ParseWindow(period)
	if err != nil || used.IsZero() {
		return Amount{}, time.Time{}
	}
	total, passed := w.End().Sub(w.Start), at.Sub(w.Start)
	sum, most := used.whole(), limit.whole()
	if passed < total*forecastFrom/100 || passed >= total || sum.Sign() < 0 {
		return Amount{}, time.Time{}
	}
	whole := new(big.Int).Mul(sum, big.NewInt(int64(total)))
	forecast, fits := amountOf(used.Unit, whole.Quo(whole, big.NewInt(int64(passed))))
	if !fits {
		return Amount{}, time.Time{}
	}
	if sum.Sign() == 0 || most.Sign() <= 0 || sum.Cmp(most) >= 0 {
		return forecast, time.Time{}
	}
	until := most.Mul(most, big.NewInt(int64(passed)))
	until.Quo(until, sum)
	if until.Cmp(big.NewInt(int64(total))) >= 0 {
		return forecast, time.Time{}
	}
	return forecast, w.Start.Add(time.Duration(until.Int64())).Truncate(time.Second)
}

// amountOf is the inverse of whole, and false if the number does not fit.
func amountOf(unit Unit, n *big.Int) (Amount, bool) {
	if unit == UnitUSD {
		money, fits := schemas.MoneyFromBig(n)
		return Amount{Unit: unit, Money: money}, fits
	}
	return Amount{Unit: unit, Count: n.Int64()}, n.IsInt64()
}
