package ratelimit

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newClock() *clock { return &clock{time.Date(2026, 5, 15, 12, 0, 0, 0, time.UTC)} }

func TestTakeIsExact(t *testing.T) {
	for _, perMinute := range []int64{1, 7, 100, 500, 5000, 59_999, CallsMax} {
		c := newClock()
		l := New(c.now)
		taken := int64(0)
		for n := min(perMinute, 100_000); taken < n; taken++ {
			if s := l.Take("acme", perMinute); s.Refused || s.Remaining != perMinute-taken-1 {
				t.Fatalf("%d a minute: call %d: %+v", perMinute, taken, s)
			}
		}
		if perMinute > taken {
			continue
		}
		s := l.Take("acme", perMinute)
		if !s.Refused || s.Remaining != 0 || s.Used != perMinute {
			t.Fatalf("%d a minute: one too many: %+v", perMinute, s)
		}
		for range 3 { // a nanosecond before the next is due, and then
			c.at = c.at.Add(s.Next - 1)
			if early := l.Take("acme", perMinute); !early.Refused || early.Next != 1 {
				t.Fatalf("%d a minute, 1 ns early: %+v", perMinute, early)
			}
			c.at = c.at.Add(1)
			if in := l.Take("acme", perMinute); in.Refused {
				t.Fatalf("%d a minute, in time: %+v", perMinute, in)
			}
			s = l.Look("acme", perMinute)
		}
		if other := l.Take("beta", perMinute); other.Refused {
			t.Errorf("another name: %+v", other)
		}
	}
}

// TestTakeKeepsTheLimit draws calls in time and holds the number that passed
// against the limit: in no span more than a full bucket and what flowed in.
func TestTakeKeepsTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		l := New(c.now)
		perMinute := rapid.Int64Range(1, 1000).Draw(t, "limit")
		var passed []time.Time
		for range rapid.IntRange(1, 300).Draw(t, "calls") {
			c.at = c.at.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Minute)/perMinute).Draw(t, "pause")))
			if !l.Take("acme", perMinute).Refused {
				passed = append(passed, c.at)
			}
		}
		for i := range passed {
			for j := i; j < len(passed); j++ {
				span := passed[j].Sub(passed[i])
				if most := perMinute + int64(span)*perMinute/int64(time.Minute); int64(j-i+1) > most {
					t.Fatalf("%d calls in %s at %d a minute; at most %d", j-i+1, span, perMinute, most)
				}
			}
		}
	})
}

func TestLimitsThatChange(t *testing.T) {
	c := newClock()
	l := New(c.now)
	for range 10 {
		l.Take("acme", 10)
	}
	if s := l.Take("acme", 10); !s.Refused {
		t.Fatalf("used up: %+v", s)
	}
	if s := l.Take("acme", 20); s.Refused || s.Remaining != 9 {
		t.Errorf("after an upgrade: %+v", s)
	}
	s := l.Take("acme", 5) // 11 are used, a call fits when 4 are: 7 have to go, one every 12 s
	if !s.Refused || s.Next != 7*12*time.Second {
		t.Errorf("after a downgrade: %+v", s)
	}
	c.at = c.at.Add(s.Next)
	if s := l.Take("acme", 5); s.Refused {
		t.Errorf("when it said: %+v", s)
	}
	if s := l.Take("acme", -1); s != (State{}) {
		t.Errorf("no limit: %+v", s)
	}
	if s := l.Take("acme", CallsMax+1); s != (State{}) {
		t.Errorf("a limit beyond counting: %+v", s)
	}
	if s := l.Take("nobody", 0); !s.Refused || s.Next <= 0 {
		t.Errorf("a limit of nothing: %+v", s)
	}
	c.at = c.at.Add(-time.Hour)
	if s := l.Take("acme", 5); !s.Refused {
		t.Errorf("a clock that goes back refills: %+v", s)
	}
}

func TestLimiterForgets(t *testing.T) {
	c := newClock()
	l := New(c.now)
	for i := range 10_000 {
		l.Take(fmt.Sprint("tenant-", i), 500)
		l.Look(fmt.Sprint("looked-", i), 500)
	}
	if n := l.Len(); n != 10_000 {
		t.Fatalf("%d names", n)
	}
	c.at = c.at.Add(2 * time.Minute)
	for i := range 1000 { // every part is passed by
		l.Take(fmt.Sprint("again-", i), 500)
	}
	if n := l.Len(); n != 1000 {
		t.Errorf("%d names are remembered, 1000 called", n)
	}
}

func TestLimiterConcurrently(t *testing.T) {
	c := newClock()
	l := New(c.now)
	var wg sync.WaitGroup
	passed := make([]int, 8)
	for i := range passed {
		wg.Go(func() {
			for range 1000 {
				if !l.Take("acme", 500).Refused {
					passed[i]++
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range passed {
		sum += n
	}
	if sum != 500 {
		t.Errorf("%d calls passed, not 500", sum)
	}
}

func TestHeader(t *testing.T) {
	for _, c := range []struct {
		state State
		want  http.Header
	}{
		{State{}, http.Header{}},
		{State{Limited: true, Max: 500, Remaining: 500}, http.Header{"Ratelimit-Policy": {`"api-calls";q=500;w=60`}, "Ratelimit": {`"api-calls";r=500`}}},
		{State{Limited: true, Max: 500, Remaining: 499, Next: 120 * time.Millisecond},
			http.Header{"Ratelimit-Policy": {`"api-calls";q=500;w=60`}, "Ratelimit": {`"api-calls";r=499;t=1`}}},
		{State{Limited: true, Max: 1, Next: time.Minute, Refused: true},
			http.Header{"Ratelimit-Policy": {`"api-calls";q=1;w=60`}, "Ratelimit": {`"api-calls";r=0;t=60`}}},
	} {
		got := http.Header{}
		c.state.Header(got)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.state, diff)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	l := New(nil)
	for b.Loop() {
		l.Take("ten_abcdefghijkl", 5000)
	}
}
