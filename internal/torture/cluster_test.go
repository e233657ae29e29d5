package torture_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/agentik-os/panda/internal/torture"
)

// The small form of the cluster's scenario: real processes, the log's leader killed,
// stopped and cut off, and a writer that commits after it has lost its lease.
func TestClusterShort(t *testing.T) {
	dir := t.TempDir()
	build := func(name, from string, flags ...string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		args := append(append([]string{"build"}, flags...), "-o", path, from)
		if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", from, err, out)
		}
		return path
	}
	panda, self := build("panda", "../../cmd/panda", "-tags", "failpoint"), build("torture", "../../cmd/torture")
	tally := torture.NewTally()
	runner := &torture.Runner{
		Rounds: 1, Seed: 1, Scenarios: []torture.Scenario{torture.ClusterFaults()}, Short: true, // the seed is the order of the faults
		Dir: dir, Binary: panda, Self: self, Tally: tally,
		Again:  func(string, uint64) string { return "bin/torture --only cluster --short --rounds 1" },
		Failed: func(f torture.Failure) { t.Errorf("%+v", f) },
	}
	if err := runner.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range tally.Measures() {
		t.Logf("%s: %s", m.What, m.Value)
	}
	f := tally.Total()
	t.Logf("%d events sent, %d acknowledged, %d looks, %d checks: %d lost, %d doubled, %d wrong",
		f.Sent, f.Acked, f.Answers, f.Checks, f.Lost, f.Doubled, f.Wrong)
	if f.Rounds != 1 || f.Acked == 0 || len(f.Faults) < 4 {
		t.Errorf("figures: %+v", f)
	}
}
