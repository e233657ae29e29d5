package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/agentik-os/panda/internal/faultfs"
)

// The faults of disks that fail.
const (
	faultLogSync    = "fsync of the log failed (EIO)"
	faultLogWrite   = "write of the log failed (EIO)"
	faultPartSync   = "fsync of a part failed (EIO)"
	faultPartWrite  = "write of a part failed (EIO)"
	faultPartTorn   = "write of a part torn, then failed (EIO)"
	faultSlowSync   = "every fsync takes 2 s"
	faultLowDisk    = "disk nearly full (below --disk-free-min)"
	faultFullLog    = "disk of the log full (ENOSPC)"
	faultFullEngine = "disk of the engine full (ENOSPC)"
)

// DiskErrors lets single writes and fsyncs fail, of the log and of the engine.
func DiskErrors() Scenario {
	return Scenario{
		Name: "disk-errors", About: "EIO once, from an fsync or a write of the log or of a new part; the server goes on by itself",
		Faults: []string{faultLogSync, faultLogWrite, faultPartSync, faultPartWrite, faultPartTorn, faultPowerCut},
		Needs:  needsDisk, Run: diskErrors,
	}
}

func diskErrors(ctx context.Context, r *Round) error {
	d, err := newDiskArena(ctx, r, ArenaConfig{Pause: diskPause}, faultfs.Config{})
	if err != nil {
		return err
	}
	// A part that a full or failing disk cut short may be met before it is set aside.
	r.MayHalt()
	r.MayRestore()
	d.Load(ctx)
	column := func(path string) bool { return inParts(path) && strings.HasSuffix(path, ".bin") }
	faults := []struct {
		name string
		set  func() *faultfs.Fault
	}{
		{faultLogSync, func() *faultfs.Fault { return d.disk.FailSync(inLog, syscall.EIO, 1) }},
		{faultLogWrite, func() *faultfs.Fault { return d.disk.FailWrite(inLog, syscall.EIO, 1) }},
		{faultPartSync, func() *faultfs.Fault { return d.disk.FailSync(column, syscall.EIO, 1) }},
		{faultPartWrite, func() *faultfs.Fault { return d.disk.FailWrite(column, syscall.EIO, 1) }},
		{faultPartTorn, func() *faultfs.Fault { return d.disk.TearWrite(column, syscall.EIO, 1) }},
	}
	times := 3
	if r.Short {
		times = 1
	}
	for i := range times {
		r.Rng.Shuffle(len(faults), func(i, k int) { faults[i], faults[k] = faults[k], faults[i] })
		for _, f := range faults {
			r.At("round %d of %d: %s", i+1, times, f.name)
			if err := d.reason(d.Panda.WaitReady(ctx)); err != nil {
				return err
			}
			if err := d.Progress(ctx, 10+r.Rng.Int64N(30)); err != nil {
				return err
			}
			x := f.set()
			err := d.Panda.await(ctx, f.name, func() (bool, error) { return x.Bites() > 0, d.loading.Err() })
			if err != nil {
				return d.reason(err)
			}
			r.Fault(f.name)
			began := time.Now()
			if err := d.Progress(ctx, 10); err != nil {
				return fmt.Errorf("after %s: %w", f.name, err)
			}
			r.Measure("acknowledges again after: "+f.name, "%s", time.Since(began).Round(time.Millisecond))
		}
		// What was readable and not durable would be gone now.
		if err := d.PowerCut(ctx); err != nil {
			return err
		}
	}
	if err := d.Progress(ctx, 20); err != nil {
		return err
	}
	return d.EndWell(ctx, checkMax)
}

// SlowDisk makes every fsync take two seconds for a while.
func SlowDisk() Scenario {
	return Scenario{
		Name: "slow-disk", About: "every fsync takes 2 s for a while; no timeout is taken for a success",
		Faults: []string{faultSlowSync, faultPowerCut}, Needs: needsDisk, Run: slowDisk,
	}
}

func slowDisk(ctx context.Context, r *Round) error {
	const delay = 2 * time.Second
	d, err := newDiskArena(ctx, r, ArenaConfig{Pause: diskPause}, faultfs.Config{})
	if err != nil {
		return err
	}
	if err := d.Panda.WaitReady(ctx); err != nil {
		return err
	}
	// A part that a full or failing disk cut short may be met before it is set aside.
	r.MayHalt()
	r.MayRestore()
	d.Load(ctx)
	slowFor := 40 * time.Second
	if r.Short {
		slowFor = 6 * time.Second
	}
	if err := d.Progress(ctx, 20); err != nil {
		return err
	}
	r.At("fsync takes %s", delay)
	x := d.disk.SlowSync(faultfs.Any, delay)
	r.Fault(faultSlowSync)
	before := d.Acked()
	rest(ctx, slowFor)
	r.Measure("while every fsync took 2 s", "%d fsyncs, %d batches acknowledged in %s", x.Bites(), d.Acked()-before, slowFor)
	if r.Rng.IntN(2) == 0 {
		x.Off()
		if err := d.PowerCut(ctx); err != nil { // in the middle of it
			return err
		}
	}
	x.Off()
	if err := d.Progress(ctx, 20); err != nil {
		return err
	}
	return d.EndWell(ctx, checkMax)
}

// FullDisk fills the disk of the log up to the watermark and over it, and that of the
// engine.
func FullDisk() Scenario {
	return Scenario{
		Name: "full-disk", About: "refusals at the watermark, ENOSPC in the log, ENOSPC in the engine; each goes on by itself",
		Faults: []string{faultLowDisk, faultFullLog, faultFullEngine}, Needs: needsDisk, Run: fullDisk,
	}
}

const freeMin = 64 << 20

func fullDisk(ctx context.Context, r *Round) error {
	d, err := newDiskArena(ctx, r, ArenaConfig{Pause: diskPause, Panda: PandaConfig{Flags: []string{"--disk-free-min", strconv.Itoa(freeMin)}}}, faultfs.Config{})
	if err != nil {
		return err
	}
	if err := d.Panda.WaitReady(ctx); err != nil {
		return err
	}
	// A part that a full or failing disk cut short may be met before it is set aside.
	r.MayHalt()
	r.MayRestore()
	d.Load(ctx)
	times := 3
	if r.Short {
		times = 1
	}
	for range times {
		for _, fault := range []func(context.Context) error{d.lowDisk, d.fullLog, d.fullEngine} {
			if err := d.reason(d.Panda.WaitReady(ctx)); err != nil {
				return err
			}
			if err := d.Progress(ctx, 20); err != nil {
				return err
			}
			if err := fault(ctx); err != nil {
				return err
			}
		}
	}
	if err := d.Progress(ctx, 20); err != nil {
		return err
	}
	return d.EndWell(ctx, checkMax)
}

// lowDisk leaves less than the watermark: events must be refused, with a time to come
// again, before any write finds no space.
func (d *diskArena) lowDisk(ctx context.Context) error {
	d.Round.At("%s", faultLowDisk)
	d.Round.Fault(faultLowDisk)
	before := d.disk.Stats()
	d.disk.Capacity(before.UsedBytes + freeMin - 8<<20)
	defer d.disk.Capacity(0)
	began := time.Now()
	if err := d.refusals(ctx); err != nil {
		return err
	}
	d.Round.Measure("refuses after: "+faultLowDisk, "%s", time.Since(began).Round(time.Millisecond))
	if after := d.disk.Stats(); after.FullRefusals != before.FullRefusals {
		return fmt.Errorf("%w: %d writes found no space before events were refused", ErrFound, after.FullRefusals-before.FullRefusals)
	}
	return d.goesOn(ctx, faultLowDisk, func() { d.disk.Capacity(0) })
}

// fullLog lets every write of the log find no space, whatever the watermark says.
func (d *diskArena) fullLog(ctx context.Context) error {
	d.Round.At("%s", faultFullLog)
	d.Round.Fault(faultFullLog)
	x := d.disk.FailWrite(inLog, syscall.ENOSPC, 0)
	defer x.Off()
	if err := d.refusals(ctx); err != nil {
		return err
	}
	rest(ctx, time.Duration(d.Round.Rng.Int64N(int64(4*time.Second))))
	return d.goesOn(ctx, faultFullLog, x.Off)
}

// fullEngine lets the engine's parts find no space. Acknowledgements go on.
func (d *diskArena) fullEngine(ctx context.Context) error {
	d.Round.At("%s", faultFullEngine)
	d.Round.Fault(faultFullEngine)
	x := d.disk.FailWrite(func(path string) bool { return inEngine(path) && inParts(path) }, syscall.ENOSPC, 0)
	defer x.Off()
	for x.Bites() < 3 {
		if err := d.Progress(ctx, 10); err != nil {
			return fmt.Errorf("while the engine has no space: %w", err)
		}
	}
	began := time.Now()
	x.Off()
	full, err := d.Panda.API("").Positions(ctx)
	if err != nil {
		return d.reason(err)
	}
	err = d.Panda.await(ctx, "counting", func() (bool, error) {
		at, err := d.Panda.API("").Positions(ctx)
		return err == nil && at.Ledger > full.Ledger, d.loading.Err()
	})
	d.Round.Measure("counts again after: "+faultFullEngine, "%s", time.Since(began).Round(time.Millisecond))
	return d.reason(err)
}

// goesOn ends a fault and waits for acknowledgements.
func (d *diskArena) goesOn(ctx context.Context, fault string, end func()) error {
	end()
	began := time.Now()
	if err := d.Progress(ctx, 10); err != nil {
		return fmt.Errorf("after %s: %w", fault, err)
	}
	d.Round.Measure("acknowledges again after: "+fault, "%s", time.Since(began).Round(time.Millisecond))
	return nil
}

// refusals waits until an event is refused with 503 and a time to come again.
func (d *diskArena) refusals(ctx context.Context) error {
	const refusedMax = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, refusedMax)
	defer cancel()
	err := d.Panda.await(ctx, "refusal with Retry-After", func() (bool, error) {
		l := &Loader{Name: "probe", Tenant: d.Tenants[0], Rng: d.Round.Rng, Now: d.now, Honest: true}
		l.made = int(time.Now().UnixNano()) // an id of its own
		b := l.batch(1)
		d.Tenants[0].Book.Sending(b)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Panda.URL()+"/v1/events", bytes.NewReader(b[0].JSON))
		if err != nil {
			return false, err
		}
		req.Header.Set("Authorization", "Bearer "+d.Tenants[0].Key)
		req.Header.Set("Content-Type", "application/cloudevents+json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // it may or may not count; asked again
		}
		defer res.Body.Close()
		if res.StatusCode == http.StatusOK {
			d.Tenants[0].Book.OK(b, 0)
		}
		return res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "", nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrFound, err)
	}
	return d.reason(err)
}
