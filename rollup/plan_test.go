package rollup

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlan(t *testing.T) {
	hour := func(s string) int64 {
		at, err := time.Parse("2006-01-02T15", s)
		if err != nil {
			t.Fatal(err)
		}
		return at.Unix()
	}
	dirty := []DirtyHour{
		{"beta", hour("2026-05-03T10")}, {"acme", hour("2026-05-31T23")}, {"acme", hour("2026-06-01T00")},
		{"acme", hour("2026-05-03T10")}, {"acme", hour("2026-05-03T10")}, {"acme", hour("2026-05-03T11")},
	}
	text := func(s int64) string { return time.Unix(s, 0).UTC().Format("01-02T15") }
	var got strings.Builder
	for _, b := range plan(dirty, 3) {
		fmt.Fprintf(&got, "%s %s-%s: %s %s to %s %s, %d\n", b.Grain, text(b.From.Unix()), text(b.To.Unix()),
			b.First.Tenant, text(b.First.Start), b.Last.Tenant, text(b.Last.Start), b.Windows)
	}
	// Three windows at most, never two months; days and months after the hours.
	want := `hour 05-03T10-06-01T00: acme 05-03T10 to acme 05-31T23, 3
hour 05-03T10-05-03T11: beta 05-03T10 to beta 05-03T10, 1
hour 06-01T00-06-01T01: acme 06-01T00 to acme 06-01T00, 1
day 05-03T00-06-01T00: acme 05-03T00 to beta 05-03T00, 3
day 06-01T00-06-02T00: acme 06-01T00 to acme 06-01T00, 1
month 05-01T00-06-01T00: acme 05-01T00 to beta 05-01T00, 2
month 06-01T00-07-01T00: acme 06-01T00 to acme 06-01T00, 1
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("batches -want +got:\n%s", diff)
	}
	if got := plan(nil, 3); len(got) != 0 {
		t.Errorf("nothing dirty, and batches: %v", got)
	}
}

func TestNextSpan(t *testing.T) {
	type r = Range
	for name, c := range map[string]struct {
		position uint64
		ranges   []Range
		upto     uint64
		broken   bool
	}{
		"empty":                  {0, nil, 0, false},
		"from the beginning":     {0, []r{{1, 4, 2}, {5, 5, 0}, {6, 9, 1}}, 9, false},
		"a log that begins late": {0, []r{{100, 140, 2}, {141, 150, 1}}, 150, false},
		"nothing new":            {9, []r{{6, 9, 0}}, 9, false},
		"on from a position":     {9, []r{{6, 9, 0}, {10, 12, 1}}, 12, false},
		"as much as fits":        {9, []r{{6, 9, 0}, {10, 12, 6}, {13, 14, 4}, {15, 20, 1}}, 14, false},
		"one that does not fit":  {9, []r{{6, 9, 0}, {10, 12, 60}, {13, 14, 1}}, 12, false},
		"gap":                    {9, []r{{6, 9, 0}, {10, 12, 1}, {14, 15, 1}}, 0, true},
		"overlap":                {9, []r{{6, 9, 0}, {10, 12, 1}, {12, 15, 1}}, 0, true},
		"gap at the position":    {9, []r{{6, 9, 0}, {11, 12, 1}}, 0, true},
		"gap at the beginning":   {0, []r{{1, 4, 2}, {6, 9, 1}}, 0, true},
		"across the position":    {9, []r{{6, 12, 0}}, 0, true},
		"short of the position":  {9, []r{{6, 8, 0}, {10, 12, 1}}, 0, true},
		"nothing before":         {9, []r{{10, 12, 1}}, 0, true},
		"emptied":                {9, nil, 0, true},
		"backwards":              {0, []r{{5, 4, 1}}, 0, true},
	} {
		upto, _, err := nextSpan(c.position, c.ranges, 10)
		if upto != c.upto || errors.Is(err, ErrLedgerBroken) != c.broken || (err != nil) != c.broken {
			t.Errorf("%s: up to %d, %v", name, upto, err)
		}
	}
}

func TestPauseKeepsToTheShareOfTime(t *testing.T) {
	for _, c := range []struct{ took, want time.Duration }{
		{0, time.Second}, {100 * time.Millisecond, time.Second}, {time.Second, 4 * time.Second}, {time.Minute, 4 * time.Minute},
	} {
		if got := pause(c.took, time.Second, 20); got != c.want {
			t.Errorf("after %s a rest of %s, not %s", c.took, got, c.want)
		}
	}
}
