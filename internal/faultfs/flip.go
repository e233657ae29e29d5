//go:build linux

package faultfs

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Flip changes a bit (0 to 7) of a byte of a file on any file system, as a disk
// does that rots. The file's times stay as they are.
func Flip(file string, offset int64, bit uint) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("flip a bit: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("flip a bit of %s: %w", file, err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, offset); err != nil {
		return fmt.Errorf("flip a bit of %s at %d: %w", file, offset, err)
	}
	b[0] ^= 1 << (bit % 8)
	if _, err := f.WriteAt(b, offset); err != nil {
		return fmt.Errorf("flip a bit of %s at %d: %w", file, offset, err)
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, file, times, 0); err != nil {
		return fmt.Errorf("flip a bit of %s: %w", file, err)
	}
	return nil
}

// FlipBit changes a bit of a file, whose path is relative to the mount point, and
// drops what the kernel has cached of it, so that the next reader meets it. It
// works mounted or not.
func (f *FS) FlipBit(path string, offset int64, bit uint) error {
	if err := Flip(filepath.Join(f.cfg.Backing, path), offset, bit); err != nil {
		return err
	}
	vol, err := f.current()
	if err != nil {
		return nil //nolint:nilerr // nobody has cached anything
	}
	return vol.invalidate(filepath.Join(f.cfg.Backing, path))
}

// FlipRandomBit changes a bit in one of the matching files, in a page that is
// durable, and says where. It fails if there is none.
func (f *FS) FlipRandomBit(rng *rand.Rand, match Match) (path string, offset int64, err error) {
	var paths []string
	err = filepath.WalkDir(f.cfg.Backing, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(f.cfg.Backing, p)
		if info, e := d.Info(); err == nil && e == nil && info.Size() > 0 && match(rel) {
			paths = append(paths, rel)
		}
		return err
	})
	if err != nil {
		return "", 0, fmt.Errorf("faultfs: look for a file to damage: %w", err)
	}
	const tries = 1000
	for range tries {
		if len(paths) == 0 {
			break
		}
		path := paths[rng.IntN(len(paths))]
		info, err := os.Stat(filepath.Join(f.cfg.Backing, path))
		if err != nil || info.Size() == 0 {
			continue
		}
		offset := rng.Int64N(info.Size())
		if vol, err := f.current(); err == nil && !vol.durable(filepath.Join(f.cfg.Backing, path), offset) {
			continue
		}
		return path, offset, f.FlipBit(path, offset, uint(rng.IntN(8)))
	}
	return "", 0, fmt.Errorf("faultfs: no durable page in %d matching files to damage", len(paths))
}

// known returns the node of a backing file, if there is one.
func (v *volume) known(file string) *node {
	var st unix.Stat_t
	if unix.Lstat(file, &st) != nil {
		return nil
	}
	v.ns.Lock()
	defer v.ns.Unlock()
	return v.byKey[nodeKey{st.Dev, st.Ino}]
}

// durable reports whether a byte of a file is on the disk.
func (v *volume) durable(file string, offset int64) bool {
	n := v.known(file)
	if n == nil {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.undo.tracked || n.undo.pages[offset/pageBytes] == nil && offset < n.undo.size
}

// invalidate makes the kernel read a file anew. No lock is held meanwhile: the
// kernel may wait for reads that we have yet to answer.
func (v *volume) invalidate(file string) error {
	n := v.known(file)
	if n == nil {
		return nil
	}
	if code := v.server.InodeNotify(n.id, 0, 0); !code.Ok() && code != fuse.ENOENT {
		return fmt.Errorf("faultfs: drop the cache of %s: %s", file, code)
	}
	return nil
}
