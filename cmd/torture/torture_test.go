package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTorture is the short form of `make torture`: every crash point once, and
// kills and drains at random moments, against the program as it is built.
func TestTorture(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	for name, source := range map[string]string{"panda-torture": "../panda", "torture": "."} {
		out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "failpoint", "-o", filepath.Join(bin, name), source).CombinedOutput()
		if err != nil {
			t.Fatalf("build %s: %v\n%s", source, err, out)
		}
	}
	seed := uint64(time.Now().UnixNano()) & (1<<32 - 1)
	for _, scenario := range []string{"failpoints", "kills"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			t.Logf("seed %d", seed)
			const limit = 4 * time.Minute // of a machine that does much else; alone it takes one
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			dir, err := os.MkdirTemp("", "panda-torture-test-") // kept if it fails
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(ctx, filepath.Join(bin, "torture"), "--short", "--only", scenario, "--rounds", "1",
				"--seed", strconv.FormatUint(seed, 10), "--dir", dir)
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends what it started
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v; the data is in %s\n%s", err, dir, out)
			}
			t.Logf("%s", out)
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"list", []string{"--list"}, exitHeld, "failpoints"},
		{"no such scenario", []string{"--only", "failpoint"}, exitUsage, `there is no scenario "failpoint"`},
		{"a word too many", []string{"kills"}, exitUsage, `"kills" is not expected`},
		{"no such flag", []string{"--hours", "3"}, exitUsage, "not defined"},
		{"option", []string{"--set", "events"}, exitUsage, "name=value"},
		{"a panda that is not there", []string{"--panda", filepath.Join(t.TempDir(), "none")}, exitUsage, "make torture"},
		{"a panda without failpoints", []string{"--panda", plain}, exitUsage, "has no failpoints"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if code := run(t.Context(), c.args, strings.NewReader(""), &out, &out); code != c.code || !strings.Contains(out.String(), c.says) {
				t.Errorf("exit code %d instead of %d, and it said %q, not %q", code, c.code, out.String(), c.says)
			}
		})
	}
}
