package torture

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
)

// TestRunner: rounds go by turns, a failing one is kept and named, and the report
// says so.
func TestRunner(t *testing.T) {
	t.Parallel()
	var order []string
	step := func(name string, err error) Scenario {
		return Scenario{Name: name, About: "about " + name, Faults: []string{"never"}, Run: func(_ context.Context, r *Round) error {
			order = append(order, name)
			r.Killed("killed")
			book := NewBook("t", "s")
			book.Sending(Batch{sample(1), sample(2)})
			book.OK(Batch{sample(1)}, 1)
			r.Count(book)
			log := filepath.Join(r.Dir, "points")
			r.HitLog(log)
			text := "lease_taken 1 5\nlease_taken 2 5\nlease_taken 1 6\nlate_event 1 5\n"
			return errors.Join(os.WriteFile(log, []byte(text), 0o600), err)
		}}
	}
	once, cannot := step("once", nil), step("cannot", nil)
	once.Once = true
	cannot.Needs = func() error { return errors.New("no such device") }
	bad := step("bad", errors.New("it broke"))
	bad.Weight = 2
	run := &Runner{Rounds: 6, Seed: 40, Scenarios: []Scenario{step("good", nil), bad, once, cannot}, Dir: t.TempDir(), Tally: NewTally(),
		Again: func(s string, _ uint64) string { return "again " + s }}
	if err := run.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, " "); got != "good bad once bad bad good" && got != "good bad once bad good bad" {
		t.Errorf("order %s", got)
	}
	f := run.Tally.Total()
	if f.Rounds != 6 || f.Failed < 2 || f.Kills != 6 || f.Sent != 12 || f.Acked != 6 || f.Unknown != 6 ||
		f.Points[string(failpoint.LeaseTaken)] != 18 || f.Rare[string(failpoint.LateEvent)] != 6 || f.Faults["killed"] != 6 {
		t.Errorf("%+v", f)
	}
	for _, failure := range run.Tally.Failures() {
		if _, err := os.Stat(failure.Dir); err != nil {
			t.Errorf("the directory of a failure is gone: %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(run.Dir, "good-40")); !os.IsNotExist(err) {
		t.Errorf("the directory of a good round is kept: %v", err)
	}
	report := NewReport(run.Tally, run.Scenarios, run, "again")
	text := report.Markdown()
	for _, words := range []string{"NOT everything held", "no such device", "| bad | 41 | it broke | again bad |", "| good | never | 0 |", "| lease_taken (K22) | panda |"} {
		if !strings.Contains(text, words) {
			t.Errorf("the report does not say %q:\n%s", words, text)
		}
	}
	if report.Held() {
		t.Error("a run with failures held")
	}
}

// TestControls: a control that is not caught fails the run.
func TestControls(t *testing.T) {
	t.Parallel()
	for _, caught := range []bool{true, false} {
		run := &Runner{Rounds: 1, Dir: t.TempDir(), Tally: NewTally(), Again: func(string, uint64) string { return "" },
			Scenarios: []Scenario{{Name: "control", Run: func(_ context.Context, r *Round) error {
				r.Tally.control(Control{Name: "lazy fsync", Expect: "lost", Lost: 3, Caught: caught})
				return nil
			}}}}
		if err := run.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if held := NewReport(run.Tally, run.Scenarios, run, "").Held(); held != caught {
			t.Errorf("caught %t, held %t", caught, held)
		}
		if f := run.Tally.Total(); f.Lost != 0 { // of the program, not of a control
			t.Errorf("what a control loses counts as lost: %+v", f)
		}
	}
}

// TestNothingProvesNothing: a run of no rounds has not held.
func TestNothingProvesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	run := &Runner{For: time.Hour, Dir: t.TempDir(), Tally: NewTally(), Again: func(string, uint64) string { return "" },
		Scenarios: []Scenario{{Name: "interrupted", Run: func(ctx context.Context, _ *Round) error { cancel(); return ctx.Err() }}}}
	if err := run.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if NewReport(run.Tally, run.Scenarios, run, "").Held() || len(run.Tally.Failures()) > 0 {
		t.Error("an interrupted run held, or failed")
	}
}
