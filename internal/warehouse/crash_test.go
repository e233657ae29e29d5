package warehouse_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/schemas"
)

// backMax bounds how long the engine may be away in a test: twice the promise of
// 5 s, because the machine also runs other tests. The log has the real time.
const backMax = 10 * time.Second

// TestEngineDies kills or stops the engine while rows are inserted, and checks
// that callers get ErrUnavailable and nothing else, that the engine is back in
// time, and that every acknowledged block is whole and there once per send.
func TestEngineDies(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal syscall.Signal
	}{{"killed", syscall.SIGKILL}, {"hangs", syscall.SIGSTOP}, {"crashes", syscall.SIGSEGV}} {
		t.Run(c.name, func(t *testing.T) {
			db := warehousetest.OpenDir(t, t.TempDir())
			if err := db.Exec(t.Context(), "CREATE TABLE a (i UInt64, part UInt32) ENGINE = ReplacingMergeTree ORDER BY (i, part)"+warehousetest.Durable); err != nil {
				t.Fatal(err)
			}
			acked := insertThrough(t, db, func() { hurt(t, db, c.signal) })
			var blocks, short uint64
			const sql = "SELECT count(), countIf(n != 100) FROM (SELECT i, uniqExact(part) AS n FROM a WHERE i < {n:UInt64} GROUP BY i)"
			if err := db.QueryRow(t.Context(), sql, warehouse.Param{Name: "n", Value: acked}).Scan(&blocks, &short); err != nil {
				t.Fatal(err)
			}
			if blocks != acked || short != 0 {
				t.Errorf("%d blocks were acknowledged, %d are there, %d of them not whole", acked, blocks, short)
			}
			if h := db.Health(); h.Restarts != 1 || !h.Up || (c.signal == syscall.SIGSTOP) != (h.Hangs == 1) {
				t.Errorf("health after one death: %+v", h)
			}
		})
	}
}

// insertThrough inserts numbered blocks, each again until it is acknowledged,
// hurts the engine after some, and goes on for as many once it is back. It
// returns how many were acknowledged.
func insertThrough(t *testing.T, db *warehouse.DB, hurt func()) uint64 {
	t.Helper()
	var next, failed atomic.Uint64
	const before, after, writers = 40, 40, 2
	hurtNow := make(chan struct{})
	g, ctx := errgroup.WithContext(t.Context())
	for range writers {
		g.Go(func() error {
			for {
				i := next.Add(1) - 1
				if i == before {
					close(hurtNow)
				}
				if i >= before+after {
					return nil
				}
				if err := insertUntilAcked(ctx, db, i, &failed); err != nil {
					return err
				}
			}
		})
	}
	g.Go(func() error { <-hurtNow; hurt(); return nil })
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if failed.Load() == 0 {
		t.Error("no insert failed while the engine was down: the test proves nothing")
	}
	return before + after
}

func insertUntilAcked(ctx context.Context, db *warehouse.DB, i uint64, failed *atomic.Uint64) error {
	ids, parts := make([]uint64, 100), make([]uint32, 100)
	for p := range parts {
		ids[p], parts[p] = i, uint32(p)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.Insert(ctx, "a", warehouse.Column{Name: "i", Values: ids}, warehouse.Column{Name: "part", Values: parts})
		if err == nil {
			return nil
		}
		if !errors.Is(err, schemas.ErrUnavailable) {
			return fmt.Errorf("insert while the engine is down: %w, want ErrUnavailable", err)
		}
		failed.Add(1)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hurt signals the engine and returns when another one answers.
func hurt(t *testing.T, db *warehouse.DB, signal syscall.Signal) {
	old, at := db.Health().PID, time.Now()
	if err := syscall.Kill(old, signal); err != nil {
		t.Error(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if h := db.Health(); h.Up && h.PID != old && db.Ping(t.Context()) == nil {
			break
		}
		if time.Since(at) > 3*backMax {
			t.Errorf("the engine is not back after %s: %+v", time.Since(at), db.Health())
			return
		}
	}
	took := time.Since(at)
	t.Logf("back after %s", took.Round(time.Millisecond))
	if took > backMax {
		t.Errorf("back after %s, the limit is %s", took, backMax)
	}
}

// TestDownIsAnsweredAtOnce checks that a caller does not wait for a restart.
func TestDownIsAnsweredAtOnce(t *testing.T) {
	db := warehousetest.OpenDir(t, t.TempDir(), func(c *warehouse.Config) { c.Engine.StartMax = time.Minute })
	old := db.Health().PID
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for db.Health().PID == old { // the watchdog waits for the process, so this ends
		if err := db.Ping(t.Context()); err != nil && !errors.Is(err, schemas.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
	}
	started := time.Now()
	if err := db.Ping(t.Context()); err == nil && db.Health().PID == 0 {
		t.Error("a ping succeeded without an engine")
	} else if err != nil && !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if took := time.Since(started); took > time.Second {
		t.Errorf("a caller waited %s", took)
	}
}

// TestReopen checks that data outlives the process and that one directory has
// one engine.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	cfg := warehousetest.Config(dir)
	db, err := warehouse.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"CREATE TABLE a (i UInt8) ENGINE = MergeTree ORDER BY i" + warehousetest.Durable, "INSERT INTO a VALUES (7)"} {
		if err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := warehouse.Open(t.Context(), cfg); !errors.Is(err, engine.ErrDataDirInUse) {
		t.Errorf("a second engine on the directory: got %v", err)
	}
	pid := db.Health().PID
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the engine is still there after Close: %v", err)
	}
	if err := db.Ping(t.Context()); !errors.Is(err, warehouse.ErrClosed) {
		t.Errorf("after Close: got %v", err)
	}
	db = warehousetest.OpenDir(t, dir)
	var i uint8
	if err := db.QueryRow(t.Context(), "SELECT i FROM a").Scan(&i); err != nil || i != 7 {
		t.Errorf("after reopening: %d, %v", i, err)
	}
}

func TestOpenErrors(t *testing.T) {
	small := t.TempDir() + "/libchdb.so"
	if err := os.WriteFile(small, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		want   error
		change func(*warehouse.Config)
	}{
		"library missing": {engine.ErrLibMissing, func(c *warehouse.Config) { c.Engine.LibPath = "/nowhere/libchdb.so" }},
		"library wrong":   {engine.ErrLibChecksum, func(c *warehouse.Config) { c.Engine.LibPath = small }},
		"address is open": {engine.ErrConfig, func(c *warehouse.Config) {
			c.Engine.Listen, c.Engine.Token = "0.0.0.0:0", "0123456789abcdef"
		}},
		"no token":        {engine.ErrConfig, func(c *warehouse.Config) { c.Engine.Listen = "127.0.0.1:0" }},
		"scheme":          {schemas.ErrInvalid, func(c *warehouse.Config) { c.URL = "mysql://h/db" }},
		"database name":   {schemas.ErrInvalid, func(c *warehouse.Config) { c.Database = "a b" }},
		"cluster alone":   {schemas.ErrInvalid, func(c *warehouse.Config) { c.Cluster = "c" }},
		"server is away":  {schemas.ErrUnavailable, func(c *warehouse.Config) { c.URL = "http://127.0.0.1:1/db" }},
		"native is away":  {schemas.ErrUnavailable, func(c *warehouse.Config) { c.URL = "clickhouse://127.0.0.1:1/db" }},
		"directory is no": {nil, func(c *warehouse.Config) { c.Engine.DataDir = "/proc/nope" }},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := warehousetest.Config(t.TempDir(), c.change)
			db, err := warehouse.Open(t.Context(), cfg)
			if err == nil {
				t.Fatal(errors.Join(errors.New("opened"), db.Close()))
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if strings.Contains(err.Error(), "0123456789abcdef") {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}

// envParent makes the test binary a parent that opens an engine, prints its pid
// and waits to be killed.
const envParent = "PANDA_TEST_PARENT_DIR"

// TestParentDies checks that the engine does not outlive its parent.
func TestParentDies(t *testing.T) {
	if dir := os.Getenv(envParent); dir != "" {
		db := warehousetest.OpenDir(t, dir)
		fmt.Printf("engine pid %d\n", db.Health().PID)
		select {} // until killed
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestParentDies$")
	parent.Env = append(os.Environ(), envParent+"="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "engine pid "); ok {
			if pid, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // "signal: killed"
	if pid == 0 {
		t.Fatal("the parent did not start an engine")
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(backMax); running(pid); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("engine %d outlives its parent", pid)
		}
	}
}

// running reports whether a process is there and not merely waiting to be reaped.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}
