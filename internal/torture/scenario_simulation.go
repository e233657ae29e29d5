package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

// Simulation runs seeds of package simulation: the whole core, in one process and
// in the order of a seed, against an oracle.
func Simulation() Scenario {
	return Scenario{
		Name: "simulation", About: "the real core under a seeded scheduler, with stand-ins that fail in every way; each seed is a run of its own",
		Needs: func() error { _, err := Module(context.Background()); return err },
		Run:   simulation,
	}
}

// simulated is a line of the simulation's progress.
type simulated struct {
	Seeds, Large, Events, Steps, Looks int64
	Faults, Rare                       map[string]int64
	Failures                           []string
	Done                               bool
}

func simulation(ctx context.Context, r *Round) error {
	module, err := Module(ctx)
	if err != nil {
		return err
	}
	r.At("builds the simulation")
	binary := filepath.Join(r.Dir, "simulation.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "./internal/simulation")
	build.Dir = module
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the simulation: %w: %s", err, out)
	}
	minutes := "1"
	if r.Short {
		minutes = "0.1"
	}
	// Seeds far from those that the tests run, and far from each other's rounds.
	from := 1_000_000 + r.Seed*100_000
	run := exec.CommandContext(ctx, binary, "-test.run", "^TestSimulation$", "-progress",
		"-minutes", r.Option("simulation-minutes", minutes), "-from", fmt.Sprint(from))
	run.Dir = filepath.Join(module, "internal", "simulation") // for testdata
	out, err := run.StdoutPipe()
	if err != nil {
		return err
	}
	var said strings.Builder
	run.Stderr = &said
	if err := run.Start(); err != nil {
		return fmt.Errorf("run the simulation: %w", err)
	}
	last, other, err := r.follow(out)
	ended := run.Wait()
	r.Figures(Figures{Seeds: last.Seeds - 1, Sent: last.Events, Answers: last.Looks, Checks: last.Looks, Faults: last.Faults, Rare: last.Rare})
	switch {
	case err != nil:
		return fmt.Errorf("read the simulation's progress: %w", err)
	case len(last.Failures) > 0:
		for _, line := range last.Failures {
			r.Found(fmt.Errorf("simulation: %s", line))
		}
		return fmt.Errorf("%w: %d seeds failed, first: %s", ErrFound, len(last.Failures), last.Failures[0])
	case ended != nil || !last.Done:
		return fmt.Errorf("the simulation ended badly: %w: %s%s", ended, lastLines(other, 5), said.String())
	}
	return nil
}

// follow reads progress until the simulation has ended, and returns the last of it
// and what else was printed.
func (r *Round) follow(out io.Reader) (last simulated, other string, err error) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text := lines.Text()
		if !strings.HasPrefix(text, "{") {
			other += text + "\n"
			continue
		}
		last = simulated{}
		if err := json.Unmarshal([]byte(text), &last); err != nil {
			return last, other, fmt.Errorf("%q: %w", text, err)
		}
		r.At("%s seeds, %s events, %s looks at all read paths", digits(last.Seeds), digits(last.Events), digits(last.Looks))
	}
	return last, other, lines.Err()
}
