//go:build linux

package warehouse_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/internal/faultfs"
	"github.com/agentik-os/panda/internal/faultfs/faultfstest"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/schemas"
)

// TestPowerCut cuts the power of the engine's disk while rows are inserted and
// parts are merged. Into a table with the settings that Migrate asserts, every
// acknowledged block is there and whole after it. The control, a table without
// them, must lose some, or the test would prove nothing.
//
// The engine fsyncs a part's directory after it has renamed it, which on ext4 and
// XFS writes the rename to the journal, but not the table's directory, which POSIX
// asks for. Package engine does that in its place.
func TestPowerCut(t *testing.T) {
	for _, c := range []struct {
		mode faultfs.Mode
		torn bool
	}{{faultfs.Journaled, false}, {faultfs.Journaled, true}, {faultfs.Strict, false}, {faultfs.Strict, true}} {
		t.Run(fmt.Sprintf("%s/torn=%v", c.mode, c.torn), func(t *testing.T) {
			e := newCutEngine(t, c.mode, warehousetest.Durable)
			for seed := range uint64(2) {
				lost, err := e.cut(t, seed, c.torn)
				if err != nil || lost != 0 {
					t.Fatalf("seed %d: %d of %d acknowledged blocks are not there; %v", seed, lost, len(e.acked), err)
				}
			}
		})
	}
	t.Run("control: no fsync", func(t *testing.T) {
		e := newCutEngine(t, faultfs.Journaled, "")
		lost, err := e.cut(t, 0, false)
		if err == nil && lost == 0 {
			t.Fatalf("all of %d acknowledged blocks are there: the cut does not bite", len(e.acked))
		}
	})
}

// cutEngine is an engine on a disk that loses power.
type cutEngine struct {
	fs    *faultfs.FS
	mnt   string
	next  atomic.Uint64 // number of the block to insert next
	acked map[uint64]bool
}

func newCutEngine(t *testing.T, mode faultfs.Mode, settings string) *cutEngine {
	t.Helper()
	e := &cutEngine{acked: map[uint64]bool{}}
	e.fs, e.mnt = faultfstest.Mount(t, faultfs.Config{Mode: mode})
	db, err := warehouse.Open(t.Context(), warehousetest.Config(e.mnt))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(t.Context(), "CREATE TABLE a (i UInt64, part UInt32) ENGINE = ReplacingMergeTree ORDER BY (i, part)"+settings); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return e
}

// cut opens an engine, inserts numbered blocks until the power is cut after some,
// kills the engine and opens another one on what is left. It returns how many of
// all acknowledged blocks are not there as they were.
func (e *cutEngine) cut(t *testing.T, seed uint64, torn bool) (lost int, err error) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 2))
	db, err := warehouse.Open(t.Context(), warehousetest.Config(e.mnt))
	if err != nil {
		t.Fatal(err)
	}
	acked := make(chan uint64, 10000)
	ctx, stop := context.WithCancel(t.Context())
	var g errgroup.Group
	for range 2 {
		g.Go(func() error { return insertUntilCut(ctx, db, &e.next, acked) })
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Wait() }()
	for range 30 + rng.IntN(30) {
		select {
		case i := <-acked:
			e.acked[i] = true
		case err := <-ended:
			t.Fatalf("the inserts ended before the power was cut: %v", err)
		}
	}
	before := e.fs.Stats()
	loss, err := e.fs.PowerCut(rng, faultfs.Cut{Torn: torn})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	_ = syscall.Kill(db.Health().PID, syscall.SIGKILL)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	_ = db.Close() // the engine is dead; what it says of that is not asked
	close(acked)
	for i := range acked {
		e.acked[i] = true // before the cut was done
	}
	t.Logf("before the cut: %d writes, %d fsyncs, %d of directories, %d files with %d pages and %d names unsynced; lost: %d pages of %d files, %d names",
		before.Writes, before.Syncs, before.DirSyncs, before.FilesUnsynced, before.PagesUnsynced, before.NamesUnsynced,
		loss.PagesLost, loss.Files, loss.NamesUndone)
	if err := e.fs.Remount(); err != nil {
		t.Fatal(err)
	}
	there, err := e.read(t)
	for i := range e.acked {
		if !there[i] {
			lost++
		}
	}
	t.Logf("seed %d: %d blocks acknowledged, %d of them lost, %d there; %v", seed, len(e.acked), lost, len(there), err)
	return lost, err
}

// read returns the blocks that are there. One that is not whole is an error.
func (e *cutEngine) read(t *testing.T) (map[uint64]bool, error) {
	t.Helper()
	db, err := warehouse.Open(t.Context(), warehousetest.Config(e.mnt))
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	var detached uint64
	if err := db.QueryRow(t.Context(), "SELECT count() FROM system.detached_parts").Scan(&detached); err != nil {
		return nil, err
	}
	t.Logf("parts that the engine found broken and set aside: %d", detached)
	rows, err := db.Query(t.Context(), "SELECT i, uniqExact(part) FROM a GROUP BY i")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	there := map[uint64]bool{}
	for rows.Next() {
		var i, parts uint64
		if err := rows.Scan(&i, &parts); err != nil {
			return nil, err
		}
		if parts != blockRows {
			return nil, fmt.Errorf("block %d has %d of %d rows", i, parts, blockRows)
		}
		there[i] = true
	}
	return there, rows.Err()
}

const blockRows = 100

// insertUntilCut inserts blocks; the number of each acknowledged one
// goes to acked.
func insertUntilCut(ctx context.Context, db *warehouse.DB, next *atomic.Uint64, acked chan<- uint64) error {
	for ctx.Err() == nil {
		i := next.Add(1) - 1
		ids, parts := make([]uint64, blockRows), make([]uint32, blockRows)
		for p := range parts {
			ids[p], parts[p] = i, uint32(p)
		}
		err := db.Insert(ctx, "a", warehouse.Column{Name: "i", Values: ids}, warehouse.Column{Name: "part", Values: parts})
		if err == nil {
			acked <- i
			continue
		}
		if ctx.Err() != nil || errors.Is(err, schemas.ErrUnavailable) || warehouse.Code(err) != 0 {
			return nil // the disk is gone; how the engine says so is its own affair
		}
		return err
	}
	return nil
}
