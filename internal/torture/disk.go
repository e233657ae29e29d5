package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/agentik-os/panda/internal/bench"
	"github.com/agentik-os/panda/internal/faultfs"
)

// A diskArena is an arena whose panda has all its data on a disk that can be broken.
type diskArena struct {
	*Arena
	disk *faultfs.FS
}

// diskPause is between the batches of a loader where faults wait for the engine: what is
// sent meanwhile is checked event by event at the end.
const diskPause = 50 * time.Millisecond

// needsDisk says why a disk that can be broken cannot be had here.
func needsDisk() error {
	if os.Geteuid() != 0 {
		return errors.New("it is not run as root, who alone may mount")
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("there is no FUSE: %w", err)
	}
	return f.Close()
}

// newDiskArena starts a panda on a disk of the round's own.
func newDiskArena(ctx context.Context, r *Round, cfg ArenaConfig, disk faultfs.Config) (*diskArena, error) {
	disk.Backing, disk.Mountpoint = filepath.Join(r.Dir, "disk"), filepath.Join(r.Dir, "mnt")
	for _, dir := range []string{disk.Backing, disk.Mountpoint} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make a disk: %w", err)
		}
	}
	d := &diskArena{disk: faultfs.New(disk)}
	if err := d.disk.Mount(); err != nil {
		return nil, err
	}
	r.OnEnd(func() error {
		// Before the disk goes, those who use it do.
		if d.Arena != nil {
			d.disk.OnOp(nil)
			d.gone()
		}
		return d.disk.Close()
	})
	cfg.Panda.Data = filepath.Join(disk.Mountpoint, "data")
	var err error
	d.Arena, err = NewArena(ctx, r, cfg)
	return d, err
}

// gone ends the server and its engine as a loss of power does.
func (d *diskArena) gone() {
	engine := bench.ChildOf(d.Panda.PID())
	_ = d.Panda.Close()
	if engine != 0 {
		_ = syscall.Kill(engine, syscall.SIGKILL)
	}
}

// cut takes the power away, and everything with it that no fsync had made durable,
// and leaves the server down on what the disk holds.
func (d *diskArena) cut() error {
	loss, err := d.disk.PowerCut(d.Round.Rng, faultfs.Cut{Torn: true})
	d.Round.Killed(faultPowerCut)
	d.gone()
	if err != nil {
		return err
	}
	d.Round.Measure("a power cut took", "%d pages of %d files, %d names", loss.PagesLost, loss.Files, loss.NamesUndone)
	return d.disk.Remount()
}

// PowerCut is a cut, and the power back.
func (d *diskArena) PowerCut(ctx context.Context) error {
	if err := d.cut(); err != nil {
		return err
	}
	return d.reason(d.Panda.Start(ctx))
}

// inLog chooses the block files of the log's usage, inParts what the engine writes of
// parts that are being inserted.
func inLog(path string) bool {
	return strings.Contains(path, "/USAGE/msgs/") && strings.HasSuffix(path, ".blk")
}

func inParts(path string) bool { return strings.Contains(path, "/tmp_insert_") }

func inEngine(path string) bool { return strings.HasPrefix(path, "data/warehouse/") }

// tableDir returns the directory of a table's parts, where the disk is mounted.
func (d *diskArena) tableDir(table string) (string, error) {
	found, err := filepath.Glob(filepath.Join(d.Panda.Data(), "warehouse", "data", "*", table))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("table %s is in %d places", table, len(found))
	}
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(found[0])
}

// tableOf returns the table that a path of the engine's belongs to, "" if none.
func (d *diskArena) tableOf(path string, tables map[string]string) string {
	for table, dir := range tables {
		if strings.HasPrefix(path, dir+"/") {
			return table
		}
	}
	return ""
}

// tableDirs returns the directories of tables as the disk's hooks name them.
func (d *diskArena) tableDirs(names ...string) (map[string]string, error) {
	dirs := map[string]string{}
	for _, name := range names {
		dir, err := d.tableDir(name)
		if err != nil {
			return nil, err
		}
		dirs[name] = strings.TrimPrefix(dir, filepath.Join(d.Round.Dir, "mnt")+"/")
	}
	return dirs, nil
}
