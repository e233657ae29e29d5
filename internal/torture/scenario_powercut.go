package torture

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/faultfs"
)

// The faults of power.
const (
	faultPowerCut    = "power cut (what no fsync wrote is lost, pages torn)"
	faultPartGone    = "committed part removed (a disk that lied)"
	faultAtRename    = "engine killed at the rename of a part"
	faultAfterRename = "engine killed after the rename of a part, before its answer"
	faultAtFsync     = "server killed in an fsync of the log, then power cut"
)

// PowerCut takes the power away under load, again and again, and once a part of the
// warehouse that was committed, as a disk does that lied about its fsync.
//
// With --set control=lost it is a control for a panda that does not fsync: the checker
// must find acknowledged events missing.
func PowerCut() Scenario {
	return Scenario{
		Name: "powercut", About: "power cuts under load with torn pages; a committed part gone (--set control=lost: must lose)", Weight: 2,
		Faults: []string{faultPowerCut, faultPartGone}, Needs: needsDisk, Run: powerCut,
	}
}

func powerCut(ctx context.Context, r *Round) error {
	if r.Option("control", "") == "lost" {
		return powerCutControl(ctx, r)
	}
	mode := faultfs.Journaled
	if r.Seed%2 == 1 {
		mode = faultfs.Strict
	}
	d, err := newDiskArena(ctx, r, ArenaConfig{}, faultfs.Config{Mode: mode})
	if err != nil {
		return err
	}
	d.Load(ctx)
	cuts := 6
	if r.Short {
		cuts = 2
	}
	for i := range cuts {
		r.At("cut %d of %d, %s", i+1, cuts, mode)
		if err := d.moment(ctx); err != nil {
			return err
		}
		if err := d.PowerCut(ctx); err != nil {
			return fmt.Errorf("cut %d: %w", i+1, err)
		}
	}
	for _, table := range []string{"usage_raw", "usage_keys"} {
		if err := d.losePart(ctx, table); err != nil {
			return fmt.Errorf("part of %s: %w", table, err)
		}
	}
	if err := d.Progress(ctx, 20); err != nil {
		return err
	}
	return d.EndWell(ctx, checkMax)
}

// losePart cuts the power and takes the newest part of a table that is on the disk,
// whose rows the ledger counts. The start must find that and mend it from the log.
func (d *diskArena) losePart(ctx context.Context, table string) error {
	d.Round.At("loses a part of %s", table)
	if err := d.reason(d.Panda.WaitReady(ctx)); err != nil {
		return err
	}
	if err := d.Progress(ctx, 20); err != nil {
		return err
	}
	before, err := d.Round.Hits()
	if err != nil {
		return err
	}
	if err := d.cut(); err != nil {
		return err
	}
	dir, err := d.tableDir(table)
	if err != nil {
		return err
	}
	part, err := newestPart(dir)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
		return err
	}
	d.Round.Fault(faultPartGone)
	d.Round.MayRestore()
	if err := d.reason(d.Panda.Start(ctx)); err != nil {
		return err
	}
	if err := d.reason(d.Panda.WaitReady(ctx)); err != nil {
		return err
	}
	after, err := d.Round.Hits()
	if err != nil {
		return err
	}
	// The writer may have died between the part and its commit; then there was
	// nothing to restore, and the check at the end says whether that is so.
	if after[string(failpoint.RangeRestored)] == before[string(failpoint.RangeRestored)] {
		d.Round.Measure("a part of "+table+" that was gone", "was beyond the ledger, nothing restored")
	}
	return nil
}

// newestPart returns the part with the greatest block number, and of several the one
// that was merged last: the others are covered by it and read no more.
func newestPart(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	newest, highest, name := -1, -1, ""
	for _, e := range entries {
		words := strings.Split(e.Name(), "_")
		if !e.IsDir() || len(words) != 4 {
			continue
		}
		n, err := strconv.Atoi(words[2])
		level, err2 := strconv.Atoi(words[3])
		if err == nil && err2 == nil && (n > newest || n == newest && level > highest) {
			newest, highest, name = n, level, e.Name()
		}
	}
	if name == "" {
		return "", fmt.Errorf("no part in %s", dir)
	}
	return name, nil
}

// powerCutControl is one cut with a panda that acknowledges what is not on disk. Its
// engine stands still meanwhile: a ledger that is ahead of the log would end the
// counting, and with it the check.
func powerCutControl(ctx context.Context, r *Round) error {
	d, err := newDiskArena(ctx, r, ArenaConfig{Readers: -1, NATS: -1}, faultfs.Config{})
	if err != nil {
		return err
	}
	if err := d.Panda.WaitReady(ctx); err != nil {
		return err
	}
	// An end in order writes everything: what is there so far stays.
	if _, err := d.Panda.Drain(ctx); err != nil {
		return err
	}
	if err := d.Panda.Start(ctx); err != nil {
		return err
	}
	if err := d.Panda.WaitReady(ctx); err != nil {
		return err
	}
	if _, err := d.Panda.KillEngine(ctx, syscall.SIGSTOP); err != nil {
		return err
	}
	d.Load(ctx)
	if err := d.Progress(ctx, 50); err != nil {
		return err
	}
	if err := d.cut(); err != nil {
		return err
	}
	v, err := d.End(ctx, checkMax)
	if err != nil {
		return err
	}
	return r.Judge(v)
}

// KillAtRename kills the engine exactly before, or after, a part gets its name.
func KillAtRename() Scenario {
	return Scenario{
		Name: "kill-at-rename", About: "the engine killed exactly before a new part gets its name, per table and partition, and after the ledger's got it (K9, K10)",
		Faults: []string{faultAtRename, faultAfterRename}, Needs: needsDisk, Run: killAtRename,
	}
}

func killAtRename(ctx context.Context, r *Round) error {
	d, err := newDiskArena(ctx, r, ArenaConfig{Pause: diskPause}, faultfs.Config{})
	if err != nil {
		return err
	}
	if err := d.Panda.WaitReady(ctx); err != nil {
		return err
	}
	// Windows need no kill: they are recomputed. Rejects and claims are small tables.
	tables, err := d.tableDirs("usage_raw", "usage_keys", "ledger")
	if err != nil {
		return err
	}
	d.Load(ctx)
	rounds := 4
	if r.Short {
		rounds = 1
	}
	spots := []renameSpot{{table: "usage_raw"}, {table: "usage_keys"}, {table: "ledger", nth: 1}, {table: "ledger", nth: 1, named: true}}
	for i := range rounds {
		r.Rng.Shuffle(len(spots), func(i, k int) { spots[i], spots[k] = spots[k], spots[i] })
		for _, spot := range spots {
			if spot.nth == 0 {
				// Rows go into a part per month: the n-th part of an insert has a name, those
				// after it have not.
				spot.nth = int64(1 + r.Rng.IntN(4))
			}
			r.At("round %d of %d: %s", i+1, rounds, spot)
			if err := d.killAtRename(ctx, tables, spot); err != nil {
				return fmt.Errorf("%s: %w", spot, err)
			}
		}
	}
	if err := d.Progress(ctx, 20); err != nil {
		return err
	}
	return d.EndWell(ctx, checkMax)
}

// A renameSpot is where an engine is killed: when the n-th part of a table from now is
// about to get its name, or, named, when it has got it and the insert is not answered.
// A part of the ledger that has its name is a commit that nobody was told of.
type renameSpot struct {
	table string
	nth   int64
	named bool
}

func (s renameSpot) String() string {
	if s.named {
		return fmt.Sprintf("%s, after part %d", s.table, s.nth)
	}
	return fmt.Sprintf("%s, part %d", s.table, s.nth)
}

func (s renameSpot) fault() string {
	if s.named {
		return faultAfterRename
	}
	return faultAtRename
}

// killAtRename kills the engine at a spot and waits for another engine.
func (d *diskArena) killAtRename(ctx context.Context, tables map[string]string, spot renameSpot) error {
	engine, err := d.Panda.WaitEngine(ctx, 0)
	if err != nil {
		return d.reason(err)
	}
	var seen atomic.Int64
	var dead atomic.Bool
	died := make(chan struct{})
	d.disk.OnOp(func(op faultfs.Op) syscall.Errno {
		switch {
		case op.Kind == faultfs.Rename && inParts(op.Path) && d.tableOf(op.Path, tables) == spot.table:
			if seen.Add(1) != spot.nth || spot.named {
				return 0
			}
		case op.Kind == faultfs.SyncDir && op.Path == tables[spot.table] && spot.named && seen.Load() >= spot.nth:
			// What an insert does last is to make the names of its parts durable.
		default:
			return 0
		}
		if !dead.CompareAndSwap(false, true) {
			return 0
		}
		// The one that does it, which is another than at first if that was restarted.
		_ = syscall.Kill(op.PID, syscall.SIGKILL)
		<-op.Done // it is dying: the operation is not made
		close(died)
		return syscall.EIO
	})
	defer d.disk.OnOp(nil)
	select {
	case <-died:
	case <-d.loading.Done():
		return d.Rest()
	case <-ctx.Done():
		return fmt.Errorf("no part was renamed: %w", ctx.Err())
	}
	d.disk.OnOp(nil)
	d.Round.Killed(spot.fault())
	return d.engineBack(ctx, engine, time.Now(), spot.fault())
}

// KillInFsync kills the server while the log is being fsynced, and then cuts the power
// (K5): the message is written, nobody was told.
func KillInFsync() Scenario {
	return Scenario{
		Name: "kill-in-fsync", About: "the server killed in an fsync of the log; then the power is cut, at once or after a restart (K5)",
		Faults: []string{faultAtFsync, faultPowerCut}, Needs: needsDisk, Run: killInFsync,
	}
}

func killInFsync(ctx context.Context, r *Round) error {
	d, err := newDiskArena(ctx, r, ArenaConfig{Pause: diskPause}, faultfs.Config{})
	if err != nil {
		return err
	}
	d.Load(ctx)
	times := 6
	if r.Short {
		times = 2
	}
	for i := range times {
		r.At("kill %d of %d", i+1, times)
		if err := d.Progress(ctx, 10+r.Rng.Int64N(20)); err != nil {
			return err
		}
		if err := d.killInFsync(ctx, i%2 == 1); err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
	}
	if err := d.Progress(ctx, 20); err != nil {
		return err
	}
	return d.EndWell(ctx, checkMax)
}

func (d *diskArena) killInFsync(ctx context.Context, restart bool) error {
	pid := d.Panda.PID()
	died := make(chan struct{})
	var once atomic.Bool
	d.disk.OnOp(func(op faultfs.Op) syscall.Errno {
		if op.Kind != faultfs.Sync || !inLog(op.Path) || once.Swap(true) {
			return 0
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		<-op.Done
		close(died)
		return syscall.EIO
	})
	defer d.disk.OnOp(nil)
	select {
	case <-died:
	case <-d.loading.Done():
		return d.Rest()
	case <-ctx.Done():
		return fmt.Errorf("the log was not fsynced: %w", ctx.Err())
	}
	d.disk.OnOp(nil)
	<-d.Panda.Exited()
	d.Round.Killed(faultAtFsync)
	if !restart {
		return d.PowerCut(ctx)
	}
	// Its successor finds the message, and its sender sends it again; only then does
	// the power go.
	if err := d.reason(d.Panda.Start(ctx)); err != nil {
		return err
	}
	if err := d.Progress(ctx, 1+d.Round.Rng.Int64N(3)); err != nil {
		return err
	}
	return d.PowerCut(ctx)
}
