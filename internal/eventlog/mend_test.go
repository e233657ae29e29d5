//go:build linux

package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/faultfs"
	"github.com/agentik-os/panda/internal/faultfs/faultfstest"
	"github.com/agentik-os/panda/schemas"
)

// A disk that fails once, or is full for a while, costs no more than that: the log
// says what is wrong and refuses at once while it lasts, goes on by itself after it,
// and has everything that it acknowledged, before and after, when the power goes.
func TestLogOutlivesItsDisk(t *testing.T) {
	block := faultfs.Base("*.blk")
	usage := func(path string) bool { return strings.Contains(path, "/USAGE/") && block(path) }
	for _, c := range []struct {
		name string
		says string
		// fail breaks the disk and returns how it is whole again; held says that it
		// stays broken until then.
		fail func(*faultfs.FS) func()
		held bool
	}{
		{"fsync fails once", "input/output error", func(fs *faultfs.FS) func() {
			return fs.FailSync(usage, syscall.EIO, 1).Off
		}, false},
		{"write fails once", "input/output error", func(fs *faultfs.FS) func() {
			return fs.FailWrite(usage, syscall.EIO, 1).Off
		}, false},
		{"write is torn", "input/output error", func(fs *faultfs.FS) func() {
			return fs.TearWrite(usage, syscall.EIO, 1).Off
		}, false},
		{"fsync fails for a while", "input/output error", func(fs *faultfs.FS) func() {
			return fs.FailSync(block, syscall.EIO, 0).Off
		}, true},
		{"disk is full for a while", "no space left", func(fs *faultfs.FS) func() {
			fs.Capacity(1)
			return func() { fs.Capacity(0) }
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newMendDisk(t)
			log := eventlogtest.OpenConfig(t, eventlog.Config{DataDir: d.dir, Listen: "127.0.0.1:0"})
			lease, err := log.Acquire(t.Context(), "writer", "test", 20*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			reader, err := log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage})
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if err := d.append(t.Context(), log); err != nil {
					t.Fatal(err)
				}
			}
			address := log.Addr()
			whole := c.fail(d.fs)
			began := time.Now()
			err = d.until(t, log, func(err error) bool { return err != nil })
			if !errors.Is(err, schemas.ErrUnavailable) || !strings.Contains(err.Error(), c.says) || time.Since(began) > time.Second {
				t.Fatalf("append on a failing disk: %v after %s, want it soon and to say %q", err, time.Since(began), c.says)
			}
			if c.held {
				d.refused(t, log, c.says)
			}
			whole()
			began = time.Now()
			if err := d.until(t, log, func(err error) bool { return err == nil }); err != nil {
				t.Fatal(err)
			}
			t.Logf("acknowledges again after %s", time.Since(began))
			if err := log.Healthy(t.Context()); err != nil || log.Addr() != address || !lease.Valid() {
				t.Fatalf("afterwards: health %v, address %s for %s, lease valid: %v", err, log.Addr(), address, lease.Valid())
			}
			for range 20 {
				if err := d.append(t.Context(), log); err != nil {
					t.Fatal(err)
				}
			}
			d.read(t, reader)
			if _, err := d.fs.PowerCut(rand.New(rand.NewPCG(1, 1)), faultfs.Cut{Torn: true}); err != nil {
				t.Fatal(err)
			}
			_ = log.Close() // its disk is gone; how it says so is its own affair
			if err := d.fs.Remount(); err != nil {
				t.Fatal(err)
			}
			d.holds(t)
		})
	}
}

// A message that was written and not fsynced is in the kernel's memory, where the
// next server finds it. When its sender repeats it, it is a duplicate; but the answer
// is an acknowledgement, and so the message has to be on disk by then.
func TestRepeatAfterFailedFsyncIsOnDisk(t *testing.T) {
	d := newMendDisk(t)
	log := eventlogtest.OpenConfig(t, eventlog.Config{DataDir: d.dir})
	if err := d.append(t.Context(), log); err != nil {
		t.Fatal(err)
	}
	fault := d.fs.FailSync(faultfs.Base("*.blk"), syscall.EIO, 1)
	if err := d.append(t.Context(), log); err == nil || fault.Bites() != 1 {
		t.Fatalf("append with a failing fsync: %v, %d faults", err, fault.Bites())
	}
	if err := d.until(t, log, func(err error) bool { return err == nil }); err != nil {
		t.Fatal(err)
	}
	if !d.duplicate {
		t.Fatal("the repeat was no duplicate: the test does not show what it is for")
	}
	if _, err := d.fs.PowerCut(rand.New(rand.NewPCG(1, 1)), faultfs.Cut{}); err != nil {
		t.Fatal(err)
	}
	_ = log.Close() // as above
	if err := d.fs.Remount(); err != nil {
		t.Fatal(err)
	}
	d.holds(t)
}

// A bit that rots in the middle of the newest block would cost every message after it,
// without a word, at the next start: the server takes it for a torn end. The log does
// not open then. At the very end it is one: that message was never acknowledged.
func TestDamagedLogIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	log := eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	d := &mendDisk{dir: dir, acked: map[uint64]string{}}
	for range 100 {
		if err := d.append(t.Context(), log); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	block := filepath.Join(dir, "store/jetstream/$G/streams/USAGE/msgs/1.blk")
	whole, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		// Anywhere but in the last record, lengths and positions too.
		at, bit := rng.Int64N(int64(len(whole)*9/10)), uint(rng.IntN(8))
		if err := faultfs.Flip(block, at, bit); err != nil {
			t.Fatal(err)
		}
		_, err := eventlog.Open(t.Context(), eventlog.Config{DataDir: dir, UsageMaxBytes: 1 << 30})
		if !errors.Is(err, eventlog.ErrDamaged) || !strings.Contains(err.Error(), "1.blk") {
			t.Fatalf("bit %d of byte %d flipped: %v, want %v and the file", bit, at, err, eventlog.ErrDamaged)
		}
		if err := faultfs.Flip(block, at, bit); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(block, int64(len(whole))-3); err != nil {
		t.Fatal(err)
	}
	delete(d.acked, 100)
	d.holds(t)
}

// mendDisk is a log on a failing disk, and what it has acknowledged.
type mendDisk struct {
	fs        *faultfs.FS
	dir       string
	next      int
	duplicate bool              // the last acknowledgement was one
	acked     map[uint64]string // by position
}

func newMendDisk(t *testing.T) *mendDisk {
	t.Helper()
	fs, mnt := faultfstest.Mount(t, faultfs.Config{})
	return &mendDisk{fs: fs, dir: mnt + "/log", acked: map[uint64]string{}}
}

// append appends the next number. One that failed may be there, and is sent again.
func (d *mendDisk) append(ctx context.Context, log *eventlog.Log) error {
	text := fmt.Sprint(d.next)
	ack, err := log.Append(ctx, eventlog.Message{Subject: "envelope.0.acme", ID: text, Data: []byte(text)})
	if err != nil {
		return err
	}
	d.next++
	d.duplicate = ack.Duplicate
	d.acked[ack.Seq] = text
	return nil
}

// until appends until the outcome is the one wanted, for at most half a minute.
func (d *mendDisk) until(t *testing.T, log *eventlog.Log, wanted func(error) bool) error {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for {
		err := d.append(t.Context(), log)
		if wanted(err) {
			return err
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("the last append still ended with: %v", err)
		}
	}
}

// refused checks that a log whose disk fails says so, at once, for a second.
func (d *mendDisk) refused(t *testing.T, log *eventlog.Log, says string) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	slow, said := 0, 0
	for range 10 {
		began := time.Now()
		err := d.append(t.Context(), log)
		if err == nil {
			t.Fatal("acknowledged on a failing disk")
		}
		if time.Since(began) > time.Second {
			slow++
		}
		if err := log.Healthy(t.Context()); err != nil && strings.Contains(err.Error(), says) {
			said++
		}
		<-tick.C
	}
	if slow > 0 || said < 5 {
		t.Fatalf("of 10 appends %d were slow, health said %q %d times", slow, says, said)
	}
}

// read reads everything acknowledged from a reader that was there all the while.
func (d *mendDisk) read(t *testing.T, reader *eventlog.Reader) {
	t.Helper()
	var last uint64
	for seq := range d.acked {
		last = max(last, seq)
	}
	for at := uint64(0); at < last; {
		recs, err := reader.Next(t.Context(), 100, 1<<20, 10*time.Second)
		if err != nil && !errors.Is(err, schemas.ErrUnavailable) || err == nil && len(recs) == 0 {
			t.Fatalf("read on after %d of %d: %d records, %v", at, last, len(recs), err)
		}
		for _, rec := range recs {
			if rec.Seq != at+1 {
				t.Fatalf("position %d after %d", rec.Seq, at)
			}
			at = rec.Seq
			if want, ok := d.acked[at]; ok && want != string(rec.Data) {
				t.Fatalf("position %d holds %q, want %q", at, rec.Data, want)
			}
		}
	}
}

// holds opens the log anew and looks for everything acknowledged.
func (d *mendDisk) holds(t *testing.T) {
	t.Helper()
	log := eventlogtest.OpenConfig(t, eventlog.Config{DataDir: d.dir})
	for seq, text := range d.acked {
		rec, err := log.Get(t.Context(), schemas.StreamUsage, seq)
		if err != nil || string(rec.Data) != text {
			t.Errorf("position %d: %q, %v; acknowledged was %q", seq, rec.Data, err, text)
		}
	}
	t.Logf("%d acknowledged, all looked for after the power cut", len(d.acked))
}
