package bench

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestRowVerdicts(t *testing.T) {
	for _, c := range []struct {
		row  Row
		want string
	}{
		{Row{More: true, Must: 100, Aim: 250, Got: 250}, VerdictAim},
		{Row{More: true, Must: 100, Aim: 250, Got: 249}, VerdictMust},
		{Row{More: true, Must: 100, Aim: 250, Got: 99}, VerdictMiss},
		{Row{Must: 80, Aim: 50, Got: 50}, VerdictAim},
		{Row{Must: 80, Aim: 50, Got: 80}, VerdictMust},
		{Row{Must: 80, Aim: 50, Got: 80.1}, VerdictMiss},
		{Row{Got: 5}, VerdictNone},
	} {
		var r Report
		r.Add(c.row)
		if got := r.Rows[0].Verdict; got != c.want {
			t.Errorf("%+v: got %q, want %q", c.row, got, c.want)
		}
		if r.Missed() != (c.want == VerdictMiss) {
			t.Errorf("%+v: missed is %v", c.row, r.Missed())
		}
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		unit Unit
		v    float64
		want string
	}{
		{UnitDuration, 301, "301 ns"},
		{UnitDuration, 92_912, "92.9 µs"},
		{UnitDuration, 4_560_000, "4.56 ms"},
		{UnitDuration, 25_000_000, "25 ms"},
		{UnitDuration, 60e9, "60 s"},
		{UnitRate, 123456.7, "123,457/s"},
		{UnitBytes, 1e9, "1000 MB"},
		{UnitPercent, 34.04, "34.0 %"},
		{UnitPerEvent, 82.46, "82.5 B"},
		{UnitTimes, 1.034, "1.03 ×"},
		{UnitTimes, 0.0123, "0.0123 ×"},
		{UnitTimes, 0, "0 ×"},
	} {
		if got := Format(c.unit, c.v); got != c.want {
			t.Errorf("%g %s: got %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	var r Report
	r.Fact("go", "1.26")
	r.Add(Row{Name: "ack", Measure: "ack p50", Unit: UnitDuration, Must: 5e6, Aim: 2e6, Got: 3e6, Limit: 1.5e6, LimitOf: "a | b"})
	r.Note("ack", "longest", "%d ms", 9)
	r.Columns = []ColumnSize{{"usage_raw", "event_id", 17.25}}
	text := r.Markdown()
	for _, want := range []string{
		"| ack p50 | 5 ms | 2 ms | 3 ms | 1.5 ms: a \\| b | 2 | must met |\n",
		"| go | 1.26 |\n", "| ack | longest | 9 ms |\n", "| usage_raw | event_id | 17.25 |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var s Samples
	if s.P99() != 0 {
		t.Error("no samples have a p99")
	}
	for i := range 100 {
		s = append(s, time.Duration(100-i))
	}
	for thousandths, want := range map[int]time.Duration{0: 1, 10: 1, 500: 50, 990: 99, 991: 100, 1000: 100} {
		if got := s.Quantile(thousandths); got != want {
			t.Errorf("%d: got %d, want %d", thousandths, got, want)
		}
	}
	if s[0] != 100 {
		t.Error("the samples were sorted in place")
	}
}

func TestProcessAccounts(t *testing.T) {
	now, peak, err := Memory(os.Getpid())
	if err != nil || now <= 0 || peak < now {
		t.Errorf("memory: now %d, peak %d, %v", now, peak, err)
	}
	if _, err := CPU(os.Getpid()); err != nil {
		t.Error(err)
	}
	if own() <= 0 {
		t.Error("this test has used no processor time")
	}
	const nobody = 1 << 30 // above the kernel's largest process id
	if _, err := CPU(nobody); err == nil {
		t.Error("a process that is not there has used processor time")
	}
	if _, _, err := Memory(nobody); err == nil {
		t.Error("a process that is not there has memory")
	}
	if ChildOf(nobody) != 0 {
		t.Error("a process that is not there has a child")
	}
	var r Report
	r.Machine(t.TempDir())
	for _, f := range r.Facts {
		if f.Value == "" || strings.HasPrefix(f.Value, "unknown") {
			t.Errorf("%s is %q", f.What, f.Value)
		}
	}
}
