package bench

import (
	"slices"
	"time"
)

// Samples are durations of one kind.
type Samples []time.Duration

// Quantile returns the smallest duration that is not below the given share, in
// thousandths, of all; 0 of none.
func (s Samples) Quantile(thousandths int) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	rank := (len(sorted)*thousandths + 999) / 1000
	return sorted[max(rank, 1)-1]
}

// P50 is the median.
func (s Samples) P50() time.Duration { return s.Quantile(500) }

// P99 is what one in a hundred exceeds.
func (s Samples) P99() time.Duration { return s.Quantile(990) }

// Times calls f n times and returns how long each call took. It ends with the
// first error.
func Times(n int, f func() error) (Samples, error) {
	s := make(Samples, 0, n)
	for range n {
		began := time.Now()
		if err := f(); err != nil {
			return s, err
		}
		s = append(s, time.Since(began))
	}
	return s, nil
}
