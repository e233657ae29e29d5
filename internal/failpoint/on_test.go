//go:build failpoint

package failpoint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrongEnvironment(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"lease_taken":               "not point:action:pass",
		"lease_taken:kill":          "not point:action:pass",
		"lease_token:kill:1":        "no point",
		"lease_taken:panic:1":       "not an action",
		"lease_taken:kill:0":        "not a pass",
		"lease_taken:kill:x":        "not a pass",
		"lease_taken:kill:1,x:kill": "not point:action:pass",
	} {
		if _, err := parse(text, ""); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, not %q", text, err, says)
		}
	}
	if _, err := parse("lease_taken:kill:1, writer_judged:stop:20 ,", ""); err != nil {
		t.Error(err)
	}
	if _, err := parse("", filepath.Join(t.TempDir(), "no", "such", "directory")); err == nil {
		t.Error("a log that cannot be written is taken")
	}
}

func TestPassesAreWritten(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	s, err := parse("", log)
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		s.pass(WriterJudged, 7)
	}
	s.pass(LeaseTaken, 7)
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, n := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "16", "32"} {
		want.WriteString("writer_judged " + n + " 7\n")
	}
	want.WriteString("lease_taken 1 7\n")
	if diff := cmp.Diff(want.String(), string(text)); diff != "" {
		t.Error(diff)
	}
}
