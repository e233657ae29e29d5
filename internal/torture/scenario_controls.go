package torture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
)

// The ways of catching that are not scenarios of their own.
const (
	bySimulation = "simulation"
	byCrash      = "crash"
)

// Controls builds panda with each known defect and gives it to the checks that
// have to find it. others are the scenarios that mutants may name.
func Controls(others ...Scenario) Scenario {
	return Scenario{
		Name: "controls", About: "known defects are built in, one at a time; the same checks must catch every one", Once: true,
		Needs: func() error { _, err := Module(context.Background()); return err },
		Run:   func(ctx context.Context, r *Round) error { return controls(ctx, r, others) },
	}
}

func controls(ctx context.Context, r *Round, others []Scenario) error {
	all, err := Mutants()
	if err != nil {
		return err
	}
	module, err := Module(ctx)
	if err != nil {
		return err
	}
	if only := r.Option("mutant", ""); only != "" {
		all = slices.DeleteFunc(all, func(m Mutant) bool { return m.Name != only })
	}
	var errs []error
	for i := range all {
		m := &all[i]
		dir := filepath.Join(r.Dir, m.Name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		overlay, err := m.Overlay(ctx, module, dir)
		if err != nil {
			return err
		}
		for _, by := range m.By {
			r.At("%s, to be caught by %s", m.Name, by)
			began := time.Now()
			c := Control{Name: m.About, Expect: m.Expect, By: by}
			err := r.catch(ctx, m, &c, module, overlay, others)
			c.Took = time.Since(began)
			r.Tally.control(c)
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("control %s by %s: %w", m.Name, by, err))
			case !c.Caught:
				errs = append(errs, fmt.Errorf("control %s: %s found nothing %s", m.Name, by, m.Expect))
			}
		}
	}
	return errors.Join(errs...)
}

// errNoScenario says that what should catch a mutant cannot run here.
var errNoScenario = errors.New("it cannot run here")

func (r *Round) catch(ctx context.Context, m *Mutant, c *Control, module, overlay string, others []Scenario) error {
	if by := c.By; by == bySimulation {
		return catchInSimulation(ctx, c, module, overlay)
	}
	chosen := Scenario{Name: byCrash, Run: crash}
	if c.By != byCrash {
		at := slices.IndexFunc(others, func(s Scenario) bool { return s.Name == c.By })
		if at < 0 {
			return fmt.Errorf("%w: there is no scenario %s", errNoScenario, c.By)
		}
		chosen = others[at]
		if chosen.Needs != nil {
			if err := chosen.Needs(); err != nil {
				c.Detail = err.Error()
				return fmt.Errorf("%w: %w", errNoScenario, err)
			}
		}
		chosen.Once = false
	}
	binary := filepath.Join(r.Dir, "panda-"+m.Name)
	if err := m.Build(ctx, module, overlay, binary); err != nil {
		return err
	}
	// A tally of its own: what a defect breaks is not the program's to answer for.
	const roundsMax, roundMax = 3, 3 * time.Minute
	inner := NewTally()
	options := maps.Clone(r.Options)
	if options == nil {
		options = map[string]string{}
	}
	options["control"] = c.Expect // a scenario may have a form of its own for it
	for round := range uint64(roundsMax) {
		run := Runner{Rounds: 1, Seed: r.Seed + round, Scenarios: []Scenario{chosen}, Dir: filepath.Join(r.Dir, m.Name),
			Binary: binary, Self: r.Self, Short: true, RoundMax: roundMax, Options: options, Tally: inner,
			Again: func(string, uint64) string { return "" }}
		if err := run.Run(ctx); err != nil {
			return err
		}
		f := inner.Total()
		c.Events, c.Lost, c.Doubled, c.Wrong = f.Acked, f.Lost, f.Doubled, f.Wrong
		c.Caught = map[string]bool{"lost": c.Lost > 0, "doubled": c.Doubled > 0}[c.Expect] || c.Expect == "wrong" && c.Lost+c.Doubled+c.Wrong > 0
		for _, failure := range inner.Failures() {
			c.Detail = failure.Error
			if len(failure.Found) > 0 {
				c.Detail = failure.Found[0]
			}
		}
		if c.Caught {
			return nil
		}
	}
	return nil
}

// catchInSimulation runs seeds until one fails.
func catchInSimulation(ctx context.Context, c *Control, module, overlay string) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "./internal/simulation",
		"-run", "^TestSimulation$", "-count=1", "-timeout", "5m", "-seeds", "400", "-first")
	cmd.Dir = module
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("run the simulation: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if _, what, found := strings.Cut(line, ": seed "); found {
			c.Detail = "seed " + what
			break
		}
	}
	// A test that did not compile has failed too, and proves nothing.
	c.Caught = err != nil && strings.Contains(string(out), "--- FAIL: TestSimulation")
	if err != nil && !c.Caught {
		return fmt.Errorf("run the simulation: %w: %s", err, lastLines(string(out), 5))
	}
	if c.Caught {
		c.Wrong = 1
	}
	return nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// crash kills the server around its commit point, a few times under load. It is
// the shortest way to a defect in that order.
func crash(ctx context.Context, r *Round) error {
	a, err := NewArena(ctx, r, ArenaConfig{})
	if err != nil {
		return err
	}
	a.Load(ctx)
	if err := a.Progress(ctx, 20); err != nil {
		return err
	}
	for _, point := range []failpoint.Point{failpoint.WriterCommitted, failpoint.WriterBeforeCommit, failpoint.WriterCommitted} {
		info, _ := failpoint.Lookup(point)
		if err := a.Panda.Kill(); err != nil {
			return err
		}
		r.At("dies at %s", point)
		if err := a.dieAt(ctx, &info); err != nil {
			return err
		}
	}
	if err := a.Panda.Start(ctx); err != nil {
		return err
	}
	if err := a.Progress(ctx, 20); err != nil {
		return err
	}
	return a.EndWell(ctx, checkMax)
}
