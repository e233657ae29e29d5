package invariant_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentik-os/panda/internal/invariant"
)

// value reads one series of a registry; -1 if it is not there.
func value(t *testing.T, reg *prometheus.Registry, metric, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != metric || name != "" && m.GetLabel()[0].GetValue() != name {
				continue
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return -1
}

func TestMonitor(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := invariant.NewMonitor(reg)
	for _, name := range invariant.Names() {
		if got := value(t, reg, "panda_invariant_violations_total", string(name)); got != 0 {
			t.Errorf("%s begins at %v", name, got)
		}
	}
	if m.Halt(errors.New("the disk is away")) || m.Halted() != nil {
		t.Error("an error that is no breach stopped the counting")
	}
	gap := invariant.New(invariant.LogHasNoGap, "the log lost records")
	found := fmt.Errorf("read log: %w: 3 to 4", gap)
	if !m.Found(found) || m.Halted() != nil || value(t, reg, "panda_counting_halted", "") != 0 {
		t.Error("a breach that was mended stopped the counting")
	}
	if !m.Halt(found) || !errors.Is(m.Halted(), gap) || value(t, reg, "panda_counting_halted", "") != 1 {
		t.Errorf("halted by %v", m.Halted())
	}
	second := invariant.Broken(invariant.VerdictsAddUp, "range %d", 7)
	if !m.Halt(second) || !errors.Is(m.Halted(), gap) {
		t.Errorf("the second breach hides the first: %v", m.Halted())
	}
	if got := value(t, reg, "panda_invariant_violations_total", "log_has_no_gap"); got != 2 {
		t.Errorf("counted %v", got)
	}
	if got := second.Error(); got != "verdicts_add_up is broken: range 7" {
		t.Error(got)
	}
	m.Resume()
	if m.Halted() != nil || value(t, reg, "panda_counting_halted", "") != 0 {
		t.Errorf("after it was mended: %v", m.Halted())
	}
	m.Held(invariant.SettingsHold)
	if got := value(t, reg, "panda_invariant_checks_total", "settings_hold"); got != 1 {
		t.Errorf("checks %v", got)
	}
}
