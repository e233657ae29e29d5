package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agentik-os/panda/internal/bench"
	"github.com/agentik-os/panda/schemas"
)

// TestBenchQuick runs every row of the bench in its short form, as a process, and
// looks at whether its figures are there. What they are is the machine's affair.
func TestBenchQuick(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "BENCH.md")
	cmd := exec.CommandContext(t.Context(), "panda", "bench", "--quick", "--dir", dir, "--write", file, "-o", "json")
	var out, progress bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &progress
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	var r bench.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	measured := map[string]bool{}
	for _, row := range r.Rows {
		measured[row.Name] = true
		if !(row.Got > 0) || row.Limit < 0 || (row.Limit > 0) != (row.LimitOf != "") || (row.Limit > 0 && !(row.Ratio > 0)) {
			t.Errorf("a figure is missing: %+v", row)
		}
		if row.Verdict == "" || !strings.Contains(string(text), row.Measure) {
			t.Errorf("%s: verdict %q; is it in the file?", row.Measure, row.Verdict)
		}
	}
	for _, name := range benchRows() {
		if !measured[name] {
			t.Errorf("row %s was not measured", name)
		}
	}
	for _, c := range r.Columns {
		if !(c.PerEvent > 0) {
			t.Errorf("%s.%s takes %g bytes", c.Table, c.Column, c.PerEvent)
		}
	}
	if len(r.Columns) < 20 || len(r.Facts) < 10 || len(r.Details) < 10 {
		t.Errorf("%d columns, %d facts, %d details", len(r.Columns), len(r.Facts), len(r.Details))
	}
	if left, err := filepath.Glob(filepath.Join(dir, "bench-*")); err != nil || len(left) > 0 {
		t.Errorf("the run's data is left: %v, %v", left, err)
	}
}

func TestBenchSettle(t *testing.T) {
	t.Parallel()
	unchanged := func(string) bool { return false }
	b := benchRun{flags: benchFlags{seconds: 60, rows: []string{"all"}, monthRows: 20_000_000, restartRows: 10_000_000}}
	if err := b.settle(unchanged); err != nil || !slices.Equal(b.flags.rows, benchRows()) || b.sizes.monthRows != 20_000_000 {
		t.Errorf("%v, %v, %d", err, b.flags.rows, b.sizes.monthRows)
	}
	b = benchRun{flags: benchFlags{seconds: 60, rows: []string{"ack", "peer"}, monthRows: 20_000_000, restartRows: 500, quick: true}}
	if err := b.settle(func(flag string) bool { return flag == "events" }); err != nil || b.sizes.restartRows != 500 || b.sizes.monthRows >= 20_000_000 {
		t.Errorf("%v, %+v", err, b.sizes)
	}
	if !b.wants(rowAck, rowDisk) || b.wants(rowDisk) {
		t.Error("the rows that are wanted")
	}
	for name, spoil := range map[string]func(*benchFlags){
		"unknown row":    func(f *benchFlags) { f.rows = []string{"ack", "speed"} },
		"no seconds":     func(f *benchFlags) { f.seconds = 0 },
		"too few events": func(f *benchFlags) { f.monthRows = 99 },
		"no events":      func(f *benchFlags) { f.restartRows = 0 },
	} {
		b := benchRun{flags: benchFlags{seconds: 1, rows: []string{"ack"}, monthRows: 1e6, restartRows: 1}}
		spoil(&b.flags)
		var usage usageError
		if err := b.settle(unchanged); !errors.As(err, &usage) && !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
