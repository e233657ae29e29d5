package schemas_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agentik-os/panda/schemas"
)

func TestWindowOf(t *testing.T) {
	tokyo := time.FixedZone("UTC+9", 9*3600)
	for _, c := range []struct {
		grain     schemas.Grain
		at        time.Time
		name, end string
	}{
		{schemas.GrainHour, time.Date(2026, 2, 28, 23, 59, 59, 999, time.UTC), "2026-02-28T23", "2026-03-01T00:00:00Z"},
		{schemas.GrainDay, time.Date(2026, 2, 28, 23, 59, 59, 999, time.UTC), "2026-02-28", "2026-03-01T00:00:00Z"},
		{schemas.GrainMonth, time.Date(2026, 12, 31, 23, 59, 59, 999, time.UTC), "2026-12", "2027-01-01T00:00:00Z"},
		{schemas.GrainMonth, time.Date(2028, 2, 1, 0, 0, 0, 0, time.UTC), "2028-02", "2028-03-01T00:00:00Z"},
		{schemas.GrainDay, time.Date(2026, 3, 1, 8, 59, 0, 0, tokyo), "2026-02-28", "2026-03-01T00:00:00Z"},
		{schemas.GrainMonth, time.Date(2026, 3, 1, 9, 0, 0, 0, tokyo), "2026-03", "2026-04-01T00:00:00Z"},
	} {
		w := schemas.WindowOf(c.grain, c.at)
		if w.String() != c.name || w.End().Format(time.RFC3339) != c.end || !w.Contains(c.at) {
			t.Errorf("%s of %s: %s to %s, want %s to %s", c.grain, c.at, w, w.End(), c.name, c.end)
		}
	}
}

// TestWindowsPartitionTime: every moment is in exactly one window of a grain,
// and the finer window lies whole in the coarser.
func TestWindowsPartitionTime(t *testing.T) {
	grains := []schemas.Grain{schemas.GrainHour, schemas.GrainDay, schemas.GrainMonth}
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 4_102_444_799).Draw(t, "second"), rapid.Int64Range(0, 999_999_999).Draw(t, "nano")).
			In(time.FixedZone("", rapid.IntRange(-12*3600, 14*3600).Draw(t, "zone")))
		var finer schemas.Window
		for i, grain := range grains {
			w := schemas.WindowOf(grain, at)
			if !w.Contains(at) || w.Contains(w.End()) || !w.Contains(w.Start) || w.Contains(w.Start.Add(-1)) || w.Start.Location() != time.UTC {
				t.Fatalf("%s window %s of %s", grain, w, at)
			}
			if next := schemas.WindowOf(grain, w.End()); next.Start != w.End() || schemas.WindowOf(grain, w.Start) != w {
				t.Fatalf("%s does not follow %s without a gap", next, w)
			}
			if i > 0 && (finer.Start.Before(w.Start) || finer.End().After(w.End())) {
				t.Fatalf("%s is not whole in %s", finer, w)
			}
			finer = w
		}
	})
}

func TestParseMonth(t *testing.T) {
	w, err := schemas.ParseMonth("2026-02")
	if err != nil || w != schemas.WindowOf(schemas.GrainMonth, date("2026-02-14")) {
		t.Errorf("got %v, %v", w, err)
	}
	for _, s := range []string{"", "2026", "2026-13", "2026-2", "2026-02-01", "02-2026", "2026-02 "} {
		if _, err := schemas.ParseMonth(s); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestUnknownGrainPanics(t *testing.T) {
	for _, f := range []func(){
		func() { schemas.WindowOf("week", time.Time{}) },
		func() { schemas.Window{Grain: "week"}.End() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("an unknown grain passes")
				}
			}()
			f()
		}()
	}
}
