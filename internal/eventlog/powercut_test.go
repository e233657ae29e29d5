//go:build linux

package eventlog_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/faultfs"
	"github.com/agentik-os/panda/internal/faultfs/faultfstest"
	"github.com/agentik-os/panda/schemas"
)

// messageBytes makes the store begin a new block file of 8 MiB in each run.
const messageBytes = 40 << 10

// What was acknowledged survives the loss of power, on a disk that keeps nothing
// it was not told to fsync and tears what it happens to keep. The same appends
// through a server that fsyncs lazily do not, or the test would prove nothing.
func TestPowerCut(t *testing.T) {
	for _, mode := range []faultfs.Mode{faultfs.Journaled, faultfs.Strict} {
		for _, torn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/torn=%v", mode, torn), func(t *testing.T) {
				disk := newCutDisk(t, mode)
				disk.pad = messageBytes
				for seed := range uint64(3) {
					acked, there, err := disk.cut(t, "append", seed, torn)
					if err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					if there < acked {
						t.Fatalf("seed %d: %d messages were acknowledged, %d are there", seed, acked, there)
					}
				}
			})
		}
	}
	t.Run("control: lazy fsync", func(t *testing.T) {
		disk := newCutDisk(t, faultfs.Journaled)
		acked, there, err := disk.cut(t, "lazy", 0, false)
		if err == nil && there >= acked {
			t.Fatalf("all of %d acknowledged messages are there: the cut does not bite", acked)
		}
		t.Logf("a server that fsyncs lazily acknowledged %d and has %d, %v", acked, there, err)
	})
}

// cutDisk is a log on a disk that loses power.
type cutDisk struct {
	fs   *faultfs.FS
	dir  string
	next int // number to append next
	pad  int // bytes of a message
}

func newCutDisk(t *testing.T, mode faultfs.Mode) *cutDisk {
	t.Helper()
	fs, mnt := faultfstest.Mount(t, faultfs.Config{Mode: mode})
	return &cutDisk{fs: fs, dir: mnt + "/log"}
}

// cut lets a process append to the log, cuts the power after some
// acknowledgements, and returns the last position that was acknowledged and the
// last that is there. An error says that the log does not open or holds what was
// not sent.
func (d *cutDisk) cut(t *testing.T, role string, seed uint64, torn bool) (acked, there int, err error) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	enough := d.next + 50 + rng.IntN(100)
	cmd, out := child{Role: role, Dir: d.dir, From: d.next, Pad: d.pad}.start(t)
	var loss faultfs.Loss
	for lines := bufio.NewScanner(out); lines.Scan(); {
		seq, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		// Those that come after the cut was ordered and before it happened count.
		acked = max(acked, seq)
		if seq == enough {
			before := d.fs.Stats()
			if loss, err = d.fs.PowerCut(rng, faultfs.Cut{Torn: torn}); err != nil {
				t.Fatal(err)
			}
			t.Logf("before the cut: %d writes, %d fsyncs, %d files with %d pages unsynced; lost: %d pages of %d files, %d names",
				before.Writes, before.Syncs, before.FilesUnsynced, before.PagesUnsynced, loss.PagesLost, loss.Files, loss.NamesUndone)
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	if acked < enough {
		t.Fatalf("the child ended after %d acknowledgements", acked)
	}
	if err := d.fs.Remount(); err != nil {
		t.Fatal(err)
	}
	there, err = d.holds(t)
	t.Logf("%s, seed %d: %d acknowledged, %d there, %v", role, seed, acked, there, err)
	d.next = there
	return acked, there, err
}

// holds opens the log and reads it whole: message n carries number n-1.
func (d *cutDisk) holds(t *testing.T) (int, error) {
	t.Helper()
	log, err := eventlog.Open(t.Context(), eventlog.Config{DataDir: d.dir, UsageMaxBytes: 1 << 30})
	if err != nil {
		return 0, err
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	state, err := log.State(t.Context(), schemas.StreamUsage)
	if err != nil {
		return 0, err
	}
	if state.Messages != state.Last {
		return 0, fmt.Errorf("%d messages up to position %d", state.Messages, state.Last)
	}
	for seq := uint64(1); seq <= state.Last; seq++ {
		rec, err := log.Get(t.Context(), schemas.StreamUsage, seq)
		if err != nil {
			return 0, err
		}
		if want := fmt.Appendf(nil, "%-*d", d.pad, seq-1); !bytes.Equal(rec.Data, want) {
			return 0, fmt.Errorf("position %d holds %d bytes, %.20q, want %d, %.20q", seq, len(rec.Data), rec.Data, len(want), want)
		}
	}
	return int(state.Last), nil
}
