package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// A minimiser makes a failing run smaller: it leaves out faults, then what clients
// do, as long as some violation is left.
type minimiser struct {
	t        *testing.T
	cfg      config
	runs     int
	deadline time.Time
	last     result // of the smallest run that fails
}

// minimiseMax bounds the time of one minimisation; what is small by then is shown.
const minimiseMax = 60 * time.Second

// minimise returns the smallest config it finds that fails, and its run.
func minimise(t *testing.T, cfg config, first result) (config, result) {
	m := &minimiser{t: t, cfg: cfg, deadline: time.Now().Add(minimiseMax), last: first}
	// Twice, because with fewer events other faults turn out to do nothing.
	for range 2 {
		faults := m.reduce(namesOf(m.last.injected), func(c *config, keep map[string]bool) { c.faults = keep })
		m.cfg.faults = set(faults)
		m.cfg.actions = set(m.reduce(m.last.actions, func(c *config, keep map[string]bool) { c.actions = keep }))
	}
	return m.cfg, m.last
}

// reduce is delta debugging (Zeller and Hildebrandt, 2002): it drops parts of a
// list, coarse ones first, as long as the rest still fails.
func (m *minimiser) reduce(list []string, apply func(*config, map[string]bool)) []string {
	fails := func(keep []string) bool {
		if time.Now().After(m.deadline) {
			return false
		}
		m.runs++
		cfg := m.cfg
		apply(&cfg, set(keep))
		out := simulate(m.t, cfg)
		if out.violation != "" {
			m.last = out
		}
		return out.violation != ""
	}
	if len(list) > 0 && fails(nil) {
		return nil
	}
	for parts := 2; len(list) > 1; {
		size := (len(list) + parts - 1) / parts
		smaller := false
		for from := 0; from < len(list); from += size {
			rest := slices.Concat(list[:from], list[min(from+size, len(list)):])
			if len(rest) < len(list) && fails(rest) {
				list, smaller = rest, true
				parts = max(parts-1, 2)
				break
			}
		}
		if smaller {
			continue
		}
		if parts >= len(list) {
			break
		}
		parts = min(2*parts, len(list))
	}
	return list
}

func set(list []string) map[string]bool {
	m := map[string]bool{}
	for _, name := range list {
		m[name] = true
	}
	return m
}

func namesOf(list []injected) []string {
	names := set(nil)
	for _, f := range list {
		names[f.name] = true
	}
	return sortedKeys(names)
}

// reproduce is the one line that makes a run again.
func reproduce(cfg config) string {
	line := fmt.Sprintf("go test ./internal/simulation -run 'TestSimulation$' -seed=%d", cfg.seed)
	list := func(name string, m map[string]bool) {
		switch {
		case m == nil:
		case len(m) == 0:
			line += " -" + name + "=none"
		default:
			line += " -" + name + "=" + strings.Join(slices.Sorted(maps.Keys(m)), ",")
		}
	}
	list("faults", cfg.faults)
	list("steps", cfg.actions)
	return line
}

// story tells what befell a run, for people.
func story(out result) string {
	var b strings.Builder
	for _, f := range out.injected {
		fmt.Fprintf(&b, "  %8s  %-28s %s\n", f.at.Round(time.Millisecond), f.name, f.what)
	}
	end := out.violation
	if end == "" {
		end = "nothing is wrong"
	}
	fmt.Fprintf(&b, "  %8s  %s\n", out.virtualTime.Round(time.Millisecond), end)
	return b.String()
}

// TestMinimise makes a run of a design that is known to be wrong smaller, and holds
// the small run to failing again from its line.
func TestMinimise(t *testing.T) {
	t.Parallel()
	cfg := config{books: priceBooks(t), wrapStore: commitFirst}
	for seed := uint64(1); ; seed++ {
		cfg.seed, cfg.shape = seed, smallShape()
		out := simulate(t, cfg)
		if out.violation == "" {
			continue
		}
		small, last := minimise(t, cfg, out)
		t.Logf("%d faults and %d actions became %d and %d:\n%s\n%s", len(out.injected), len(out.actions),
			len(small.faults), len(small.actions), reproduce(small), story(last))
		if len(small.faults) > 4 || len(small.actions) > 8 {
			t.Errorf("this is not small")
		}
		again := simulate(t, config{seed: small.seed, shape: small.shape, books: cfg.books, wrapStore: commitFirst,
			faults: small.faults, actions: small.actions})
		if again.violation == "" {
			t.Error("the small run does not fail again")
		}
		return
	}
}
