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

	"github.com/agentik-os/panda/internal/torture"
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
	t.Run("orphan", func(t *testing.T) { t.Parallel(); orphan(t, filepath.Join(bin, "panda-torture")) })
	seed := uint64(time.Now().UnixNano()) & (1<<32 - 1)
	for _, scenario := range []string{"failpoints", "shards"} {
		t.Run(scenario, func(t *testing.T) {
			t.Logf("seed %d", seed)
			const limit = 20 * time.Minute // of a machine that does much else; alone it takes two
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

// orphan: the engine of a server that was killed still holds the warehouse when the
// next server starts. The doors open, and counting begins once it is gone.
func orphan(t *testing.T, binary string) {
	dir := t.TempDir()
	p, err := torture.NewPanda(torture.PandaConfig{Binary: binary, Dir: dir, Data: filepath.Join(dir, "data")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := os.MkdirAll(filepath.Join(p.Data(), "warehouse"), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(p.Data(), "warehouse", "panda.lock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	const limit = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := p.Start(ctx); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(p.LastWords(), "wait for the engine of the server before to end") {
		select {
		case <-ctx.Done():
			t.Fatalf("it does not wait: %s", p.LastWords())
		case <-tick.C:
		}
	}
	if _, err := p.MakeTenant(ctx, "acme-corp", "secret"); err != nil {
		t.Errorf("while it waits: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.WaitReady(ctx); err != nil {
		t.Error(err)
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
