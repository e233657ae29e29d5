package schemas

import (
	"fmt"
	"time"
)

// A Grain is the length of a window.
type Grain string

// The grains. Days are sums of hours, months are sums of days.
const (
	GrainHour  Grain = "hour"
	GrainDay   Grain = "day"
	GrainMonth Grain = "month"
)

// A Window is a half-open span of time in UTC: Start is in it, End is not.
type Window struct {
	Grain Grain
	Start time.Time
}

// WindowOf returns the window of the grain that holds t.
func WindowOf(grain Grain, t time.Time) Window {
	t = t.UTC()
	switch grain {
	case GrainHour:
		return Window{grain, t.Truncate(time.Hour)}
	case GrainDay:
		return Window{grain, time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)}
	case GrainMonth:
		return Window{grain, time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)}
	}
	panic(fmt.Sprintf("window: %q is not a grain", grain))
}

// End returns the first moment after the window.
func (w Window) End() time.Time {
	switch w.Grain {
	case GrainHour:
		return w.Start.Add(time.Hour)
	case GrainDay:
		return w.Start.AddDate(0, 0, 1)
	case GrainMonth:
		return w.Start.AddDate(0, 1, 0)
	}
	panic(fmt.Sprintf("window: %q is not a grain", w.Grain))
}

// Contains reports whether t lies in the window.
func (w Window) Contains(t time.Time) bool { return !t.Before(w.Start) && t.Before(w.End()) }

// String returns the window as people write it: 2026-02, 2026-02-14,
// 2026-02-14T09.
func (w Window) String() string {
	switch w.Grain {
	case GrainMonth:
		return w.Start.Format("2006-01")
	case GrainDay:
		return w.Start.Format("2006-01-02")
	}
	return w.Start.Format("2006-01-02T15")
}

// ParseWindow reads a month or a day as String writes it: 2026-02, 2026-02-14.
func ParseWindow(s string) (Window, error) {
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return Window{GrainDay, day}, nil
	}
	return ParseMonth(s)
}

// ParseMonth reads a month such as "2026-02".
func ParseMonth(s string) (Window, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil {
		return Window{}, Invalid("/month", CodeMalformed, "%q is not a month; write it as 2026-02", clip(s))
	}
	return Window{GrainMonth, t}, nil
}
