//go:build linux

package warehouse_test

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/agentik-os/panda/internal/faultfs"
	"github.com/agentik-os/panda/internal/faultfs/faultfstest"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/schemas"
)

// A disk that fails, or is full, is for a writer as if the engine were away: what it
// did not get an answer for it writes again, in the end with success, and the rows
// are there once. None of the engine's errors says that it should give up.
func TestInsertOutlivesItsDisk(t *testing.T) {
	part := func(p string) bool { return strings.Contains(p, "tmp_insert_") }
	for _, c := range []struct {
		name string
		fail func(*faultfs.FS) func()
	}{
		{"fsync of a file fails", func(fs *faultfs.FS) func() { return fs.FailSync(part, syscall.EIO, 1).Off }},
		{"fsync of a column fails", func(fs *faultfs.FS) func() {
			return fs.FailSync(func(p string) bool { return part(p) && strings.Contains(p, ".bin") }, syscall.EIO, 1).Off
		}},
		{"fsync of directories fails", func(fs *faultfs.FS) func() {
			return fs.FailSync(func(p string) bool { return strings.Contains(p, "store/") && !strings.Contains(p, ".") }, syscall.EIO, 1).Off
		}},
		{"write fails", func(fs *faultfs.FS) func() { return fs.FailWrite(part, syscall.EIO, 1).Off }},
		{"write is torn", func(fs *faultfs.FS) func() { return fs.TearWrite(part, syscall.EIO, 1).Off }},
		{"write finds no space", func(fs *faultfs.FS) func() { return fs.FailWrite(part, syscall.ENOSPC, 1).Off }},
		{"file cannot be made", hooked(faultfs.Create, part, syscall.ENOSPC)},
		{"part cannot be renamed", hooked(faultfs.Rename, part, syscall.EIO)},
		{"disk is full", func(fs *faultfs.FS) func() { fs.Capacity(1); return func() { fs.Capacity(0) } }},
		{"disk is read-only", func(fs *faultfs.FS) func() { return fs.FailWrite(part, syscall.EROFS, 1).Off }},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs, mnt := faultfstest.Mount(t, faultfs.Config{Mode: faultfs.Strict})
			db, err := warehouse.Open(t.Context(), warehousetest.Config(mnt))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			}()
			if err := db.Exec(t.Context(), "CREATE TABLE a (i UInt64) ENGINE = ReplacingMergeTree ORDER BY i"+warehousetest.Durable); err != nil {
				t.Fatal(err)
			}
			insert := func() error {
				return db.Insert(t.Context(), "a", warehouse.Column{Name: "i", Values: []uint64{1, 2, 3}})
			}
			whole := c.fail(fs)
			err = insert()
			whole()
			var name string
			_ = db.QueryRow(t.Context(), "SELECT errorCodeToName("+strconv.Itoa(warehouse.Code(err))+")").Scan(&name)
			t.Logf("the engine's error is %d %s: %.200v", warehouse.Code(err), name, err)
			// The engine passes over the fsync of a directory that fails; the insert holds
			// all the same, because it is fsynced once more.
			if err != nil && !errors.Is(err, schemas.ErrUnavailable) {
				t.Errorf("insert: %v, want it to match %v", err, schemas.ErrUnavailable)
			}
			if err != nil {
				if err = insert(); err != nil {
					t.Fatalf("insert on a whole disk: %v", err)
				}
			}
			rows(t, db)
			if _, err := fs.PowerCut(rand.New(rand.NewPCG(1, 1)), faultfs.Cut{}); err != nil {
				t.Fatal(err)
			}
			_ = syscall.Kill(db.Health().PID, syscall.SIGKILL)
			_ = db.Close() // the engine is dead; what it says of that is not asked
			if err := fs.Remount(); err != nil {
				t.Fatal(err)
			}
			if db, err = warehouse.Open(t.Context(), warehousetest.Config(mnt)); err != nil {
				t.Fatal(err)
			}
			rows(t, db)
		})
	}
}

// rows checks that the rows of the test are there, once, and can be read.
func rows(t *testing.T, db *warehouse.DB) {
	t.Helper()
	var n, sum uint64
	if err := db.QueryRow(t.Context(), "SELECT count(), sum(i) FROM a FINAL").Scan(&n, &sum); err != nil || n != 3 || sum != 6 {
		t.Fatalf("%d rows with the sum %d, %v; want 3 and 6", n, sum, err)
	}
}

// hooked makes operations of a kind fail until it is undone.
func hooked(kind faultfs.Kind, match faultfs.Match, err syscall.Errno) func(*faultfs.FS) func() {
	return func(fs *faultfs.FS) func() {
		fs.OnOp(func(op faultfs.Op) syscall.Errno {
			if op.Kind == kind && match(op.Path) {
				return err
			}
			return 0
		})
		return func() { fs.OnOp(nil) }
	}
}
