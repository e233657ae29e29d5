//go:build linux

package faultfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Mode says when a change of names is durable; see the package's doc.
type Mode int

// The modes.
const (
	Journaled Mode = iota
	Strict
)

func (m Mode) String() string {
	if m == Strict {
		return "strict"
	}
	return "journaled"
}

// writeBytesMax is the largest write that the kernel sends as one. Longer ones
// come in pieces, and a power cut may fall between them, as on a disk.
const writeBytesMax = 1 << 20

// Config says what is mounted where.
type Config struct {
	// Backing is the directory that holds the files: the disk. It must exist.
	// A directory beside it, Backing + ".unsynced", holds what was unlinked and
	// may come back; both must be on one file system.
	Backing string
	// Mountpoint is where programs see them. It must exist.
	Mountpoint string
	// Mode is when names are durable.
	Mode Mode
	// CommitEvery is the age at which a journal commits by itself. 0 is the 5 s
	// of ext4. Strict has no journal.
	CommitEvery time.Duration
	// OnOp, if set, is called before an operation is applied; see OnOp.
	OnOp func(Op) syscall.Errno
}

// FS is a file system that can be broken. All methods are safe for concurrent
// use. It outlives its mounts: faults stay set over PowerCut and Remount.
type FS struct {
	cfg    Config
	faults faults
	count  counters

	mu  sync.Mutex // owns vol, which changes with each mount
	vol *volume
}

// New returns a file system that is not mounted.
func New(cfg Config) *FS {
	if cfg.CommitEvery == 0 {
		cfg.CommitEvery = 5 * time.Second
	}
	f := &FS{cfg: cfg}
	f.OnOp(cfg.OnOp)
	return f
}

// ErrMounted and ErrNotMounted are calls at the wrong time.
var (
	ErrMounted    = errors.New("faultfs: already mounted; close it or cut its power first")
	ErrNotMounted = errors.New("faultfs: not mounted; call Mount or Remount first")
)

// Mount makes the files appear at the mount point. It needs root and /dev/fuse.
func (f *FS) Mount() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.vol != nil && !f.vol.isDead() {
		return ErrMounted
	}
	// The mount of a dead process, or ours before the cut, hides the mount point.
	detach(f.cfg.Mountpoint)
	vol, err := newVolume(f)
	if err != nil {
		return fmt.Errorf("faultfs: open backing directory: %w", err)
	}
	vol.server, err = fuse.NewServer(vol, f.cfg.Mountpoint, &fuse.MountOptions{
		DirectMountStrict:  true,
		AllowOther:         true,
		FsName:             "faultfs",
		Name:               "faultfs",
		MaxWrite:           writeBytesMax,
		DisableReadDirPlus: true,
		// Writes must reach us when they are made.
		DisabledCapabilities: fuse.CAP_WRITEBACK_CACHE,
	})
	if err != nil {
		vol.kill()
		return fmt.Errorf("faultfs: mount at %s: %w", f.cfg.Mountpoint, err)
	}
	go vol.server.Serve()
	if err := vol.server.WaitMount(); err != nil {
		vol.kill()
		detach(f.cfg.Mountpoint)
		return fmt.Errorf("faultfs: mount at %s: %w", f.cfg.Mountpoint, err)
	}
	f.vol = vol
	return nil
}

// Remount mounts what survived a power cut at the same mount point. Files that
// were open on the old mount stay broken.
func (f *FS) Remount() error { return f.Mount() }

// Close unmounts. Open files of the mount fail from then on with EIO. What was
// written stays in the backing directory, synced or not. Closing twice is no
// error.
func (f *FS) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.vol == nil {
		return nil
	}
	f.vol.kill()
	f.vol = nil
	detach(f.cfg.Mountpoint)
	if err := os.RemoveAll(f.cfg.Backing + trashSuffix); err != nil {
		return fmt.Errorf("faultfs: close: %w", err)
	}
	return nil
}

// detach takes mounts off a mount point, without waiting for the processes that
// have files open there. It is no error if nothing is mounted.
func detach(mountpoint string) {
	for unix.Unmount(mountpoint, unix.MNT_DETACH) == nil {
	}
}

// current returns the mounted volume.
func (f *FS) current() (*volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.vol == nil || f.vol.isDead() {
		return nil, ErrNotMounted
	}
	return f.vol, nil
}

// Cut says how a power cut treats what was not synced.
type Cut struct {
	// Torn lets some of it survive, by the seed. Without, all unsynced data is
	// lost.
	Torn bool
}

// Loss is what a power cut took.
type Loss struct {
	Files       int      // files that had unsynced data
	PagesLost   int      // unsynced pages that the disk does not have
	PagesKept   int      // unsynced pages that happened to be written
	PagesTorn   int      // of those kept, the ones that are new up to a sector and old after it
	BytesCut    int64    // by which files got shorter
	NamesUndone int      // creates, renames, links and unlinks that did not happen
	Names       []string // which, the last one first
}

// PowerCut ends the mount as a power cut does: operations under way end, all later
// ones fail with EIO, and the backing directory is changed to what a disk would
// hold. rng decides what Cut leaves open. Remount comes back from it.
func (f *FS) PowerCut(rng *rand.Rand, cut Cut) (Loss, error) {
	vol, err := f.current()
	if err != nil {
		return Loss{}, err
	}
	loss, err := vol.powerCut(rng, cut)
	f.count.loss.Store(&loss)
	f.count.cuts.Add(1)
	if err != nil {
		return loss, fmt.Errorf("faultfs: power cut: %w", err)
	}
	return loss, nil
}
