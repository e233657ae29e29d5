package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/faultfs"
)

const (
	faultFlipRaw    = "bit flipped in a part of usage_raw"
	faultFlipKeys   = "bit flipped in a part of usage_keys"
	faultFlipLog    = "bit flipped in a block of the log"
	faultFlipLedger = "bit flipped in a part of the ledger"
)

// BitFlip changes single bits of what was written and fsynced long ago.
func BitFlip() Scenario {
	return Scenario{
		Name: "bit-flip", About: "a bit rots in usage_raw, usage_keys (mended from the log), in the log, in the ledger (surfaced, never read past)",
		Faults: []string{faultFlipRaw, faultFlipKeys, faultFlipLog, faultFlipLedger}, Needs: needsDisk, Run: bitFlip,
	}
}

func bitFlip(ctx context.Context, r *Round) error {
	d, err := newDiskArena(ctx, r, ArenaConfig{Pause: diskPause}, faultfs.Config{})
	if err != nil {
		return err
	}
	r.MayRestore()
	r.MayHalt()
	d.Load(ctx)
	batches := int64(300)
	if r.Short {
		batches = 100
	}
	if err := d.Progress(ctx, batches); err != nil {
		return err
	}
	if err := d.Rest(); err != nil {
		return err
	}
	if _, err := d.Panda.API("").Settle(ctx); err != nil {
		return err
	}
	// What is made from the log is mended from it, and nothing is wrong then.
	for _, f := range []struct{ table, fault string }{{"usage_raw", faultFlipRaw}, {"usage_keys", faultFlipKeys}} {
		before, err := r.Hits()
		if err != nil {
			return err
		}
		lines, err := d.flipTable(ctx, f.table, f.fault)
		if err != nil {
			return err
		}
		// The server mends by itself what its log still has, maybe before it is asked.
		after, err := r.Hits()
		if err != nil {
			return err
		}
		alone := after[string(failpoint.RangeRestored)] > before[string(failpoint.RangeRestored)]
		said, err := os.ReadFile(d.Panda.LogFile())
		if err != nil {
			return err
		}
		// A part with nothing but copies in it leaves nothing to restore.
		halted := bytes.Contains(said, []byte("invariant=files_are_whole"))
		if !alone && !halted && !bytes.Contains(lines, []byte(`"repaired"`)) {
			return fmt.Errorf("%w: %s: verify --repair found nothing to mend: %s", ErrFound, f.fault, lines)
		}
		if err := d.EndWell(ctx, checkMax); err != nil {
			return fmt.Errorf("after %s: %w", f.fault, err)
		}
	}
	// Of the ledger and the log there is no second copy. They must be named, and a log
	// that is damaged in its newest blocks is not opened.
	text, err := d.flipTable(ctx, "ledger", faultFlipLedger)
	if err != nil {
		return err
	}
	if err := d.surfaced(faultFlipLedger, text, "parts"); err != nil {
		return err
	}
	if text, err = d.flip(ctx, inLog, faultFlipLog); err != nil {
		return err
	}
	return d.surfaced(faultFlipLog, text, "log = ledger")
}

// flipTable flips a bit of a column of a table's parts.
func (d *diskArena) flipTable(ctx context.Context, table, fault string) ([]byte, error) {
	dirs, err := d.tableDirs(table)
	if err != nil {
		return nil, err
	}
	dir, err := d.tableDir(table)
	if err != nil {
		return nil, err
	}
	part, err := newestPart(dir)
	if err != nil {
		return nil, err
	}
	return d.flip(ctx, func(path string) bool {
		below, ok := strings.CutPrefix(path, dirs[table]+"/")
		return ok && strings.HasSuffix(path, ".bin") && strings.HasPrefix(below, part+"/")
	}, fault)
}

// flip flips a bit while the server is down, starts it, and returns what a verify that
// may mend says.
func (d *diskArena) flip(ctx context.Context, match faultfs.Match, fault string) ([]byte, error) {
	d.Round.At("%s", fault)
	if _, err := d.Panda.Drain(ctx); err != nil {
		return nil, err
	}
	path, at, err := d.disk.FlipRandomBit(d.Round.Rng, match)
	if err != nil {
		return nil, err
	}
	d.Round.Fault(fault)
	if err := d.Panda.Start(ctx); err != nil {
		return []byte(err.Error()), nil //nolint:nilerr // that it does not start is a way to say it
	}
	text, err := d.Panda.API("").textWithin(ctx, http.MethodPost, "/v1/verify?repair=1", verifyMax)
	if err != nil {
		return nil, fmt.Errorf("%s (%s at %d): verify: %w", fault, path, at, err)
	}
	return text, nil
}

// surfaced checks that a verify named the damage by a check, or that the server did not
// start and named the file.
func (d *diskArena) surfaced(fault string, text []byte, check string) error {
	if i := bytes.Index(text, []byte("the log is damaged")); i >= 0 {
		d.Round.Measure("said of: "+fault, "%.150s", text[i:])
		return nil
	}
	for line := range bytes.Lines(text) {
		var proof struct {
			Check string
			OK    bool
		}
		if err := json.Unmarshal(line, &proof); err != nil {
			return errors.Join(fmt.Errorf("%w: %s: %s", ErrFound, fault, line), err)
		}
		if proof.Check == check && !proof.OK {
			d.Round.Measure("said of: "+fault, "%.150s", line)
			return nil
		}
	}
	return fmt.Errorf("%w: %s was read past: verify says %s", ErrFound, fault, text)
}
