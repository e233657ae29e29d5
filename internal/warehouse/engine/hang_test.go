package engine

import (
	"os"
	"strings"
	"testing"
)

// RunningSQL is for the tests on a real engine.
const RunningSQL = runningSQL

// TestThreads: every thread of this process is in one of the lines.
func TestThreads(t *testing.T) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	got := threads("/proc/self/task")
	if len(tasks) == 0 || !strings.Contains(got, " × ") || !strings.Contains(got, "syscall") {
		t.Errorf("%d threads, got %q", len(tasks), got)
	}
}
