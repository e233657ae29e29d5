//go:build linux

package faultfs

import (
	"errors"
	"io"
	"os"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// create runs an operation that makes a name: make is called with the directory,
// and the new entry is noted and answered.
func (v *volume) create(cancel <-chan struct{}, in *fuse.InHeader, base string, out *fuse.EntryOut, make func(dir *node) error) fuse.Status {
	op := Op{Kind: Create, PID: int(in.Pid), Done: cancel}
	if v.hooked() {
		op.Path = v.pathOf(in.NodeId, base)
	}
	if errno := v.before(op); errno != 0 {
		return fuse.Status(errno)
	}
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	v.ns.Lock()
	defer v.ns.Unlock()
	n, err := v.made(v.find(in.NodeId), base, in, make)
	if err != nil {
		return status(err)
	}
	return v.entry(n, out)
}

// made makes a name and notes it. ns is held.
func (v *volume) made(dir *node, base string, in *fuse.InHeader, make func(dir *node) error) (*node, error) {
	if err := make(dir); err != nil {
		return nil, err
	}
	n, err := v.child(dir, base)
	if err != nil {
		return nil, err
	}
	c := &change{what: "create " + v.join(dir, base), dirs: []*node{dir}, undo: func() error { return removeAll(dir, base) }}
	c.node = n
	if in != nil {
		c.made = true
		if in.Uid != 0 || in.Gid != 0 {
			if err := unix.Fchownat(n.fd, "", int(in.Uid), int(in.Gid), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return nil, err
			}
		}
	}
	v.journal.add(c)
	return n, nil
}

// Mkdir makes a directory.
func (v *volume) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, base string, out *fuse.EntryOut) fuse.Status {
	return v.create(cancel, &in.InHeader, base, out, func(dir *node) error {
		if err := unix.Mkdirat(dir.fd, base, in.Mode); err != nil {
			return err
		}
		return unix.Fchmodat(dir.fd, base, in.Mode&0o7777, 0)
	})
}

// Mknod makes a file that is no directory.
func (v *volume) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, base string, out *fuse.EntryOut) fuse.Status {
	return v.create(cancel, &in.InHeader, base, out, func(dir *node) error {
		if err := unix.Mknodat(dir.fd, base, in.Mode, int(in.Rdev)); err != nil {
			return err
		}
		return unix.Fchmodat(dir.fd, base, in.Mode&0o7777, 0)
	})
}

// Symlink makes a symbolic link.
func (v *volume) Symlink(cancel <-chan struct{}, in *fuse.InHeader, target, base string, out *fuse.EntryOut) fuse.Status {
	return v.create(cancel, in, base, out, func(dir *node) error { return unix.Symlinkat(target, dir.fd, base) })
}

// Readlink reads one.
func (v *volume) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	if !v.enter() {
		return nil, fuse.EIO
	}
	defer v.leave()
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(v.node(in.NodeId).fd, "", buf)
	if err != nil {
		return nil, status(err)
	}
	return buf[:n], fuse.OK
}

// Link makes another name of a file.
func (v *volume) Link(cancel <-chan struct{}, in *fuse.LinkIn, base string, out *fuse.EntryOut) fuse.Status {
	op := Op{Kind: Create, PID: int(in.Pid), Done: cancel}
	if v.hooked() {
		op.Path, op.NewPath = v.pathOf(in.Oldnodeid, ""), v.pathOf(in.NodeId, base)
	}
	if errno := v.before(op); errno != 0 {
		return fuse.Status(errno)
	}
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	v.ns.Lock()
	defer v.ns.Unlock()
	old := v.find(in.Oldnodeid)
	n, err := v.made(v.find(in.NodeId), base, nil, func(dir *node) error {
		return unix.Linkat(unix.AT_FDCWD, self(old.fd), dir.fd, base, unix.AT_SYMLINK_FOLLOW)
	})
	if err != nil {
		return status(err)
	}
	return v.entry(n, out)
}

// Unlink removes a name of a file.
func (v *volume) Unlink(cancel <-chan struct{}, in *fuse.InHeader, base string) fuse.Status {
	return v.remove(cancel, in, base)
}

// Rmdir removes an empty directory.
func (v *volume) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, base string) fuse.Status {
	return v.remove(cancel, in, base)
}

func (v *volume) remove(cancel <-chan struct{}, in *fuse.InHeader, base string) fuse.Status {
	op := Op{Kind: Unlink, PID: int(in.Pid), Done: cancel}
	if v.hooked() {
		op.Path = v.pathOf(in.NodeId, base)
	}
	if errno := v.before(op); errno != 0 {
		return fuse.Status(errno)
	}
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	v.ns.Lock()
	defer v.ns.Unlock()
	dir := v.find(in.NodeId)
	n, err := v.child(dir, base)
	if err != nil {
		return status(err)
	}
	c, err := v.bury(n, dir, base)
	if err != nil {
		v.drop(n)
		return status(err)
	}
	v.unnamed(n, dir, base)
	v.journal.add(c)
	return fuse.OK
}

// bury moves an entry to the trash. What it returns is for the journal, after
// what belongs to the same change was added. ns is held.
func (v *volume) bury(n, dir *node, base string) (*change, error) {
	c := &change{what: "unlink " + v.join(dir, base), dirs: []*node{dir}, gone: n, isDir: n.mode&unix.S_IFMT == unix.S_IFDIR}
	if c.isDir {
		if err := empty(n); err != nil {
			return nil, err
		}
		// Its own changes cannot be younger than its end.
		c.dirs = append(c.dirs, n)
	}
	buried, err := v.journal.bury(dir, base)
	if err != nil {
		return nil, err
	}
	c.buried = buried
	c.undo = func() error { return v.journal.exhume(buried, dir, base) }
	return c, nil
}

// empty returns ENOTEMPTY for a directory that is not.
func empty(n *node) error {
	d, err := os.Open(self(n.fd))
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.Readdirnames(1); err == nil {
		return unix.ENOTEMPTY
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Rename moves a name, over another one if there is one.
func (v *volume) Rename(cancel <-chan struct{}, in *fuse.RenameIn, base, newBase string) fuse.Status {
	op := Op{Kind: Rename, PID: int(in.Pid), Done: cancel}
	if v.hooked() {
		op.Path, op.NewPath = v.pathOf(in.NodeId, base), v.pathOf(in.Newdir, newBase)
	}
	if errno := v.before(op); errno != 0 {
		return fuse.Status(errno)
	}
	if in.Flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return fuse.EINVAL
	}
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	v.ns.Lock()
	defer v.ns.Unlock()
	return status(v.rename(v.find(in.NodeId), base, v.find(in.Newdir), newBase, in.Flags))
}

// rename does it. ns is held.
func (v *volume) rename(dir *node, base string, newDir *node, newBase string, flags uint32) error {
	n, err := v.child(dir, base)
	if err != nil {
		return err
	}
	old, err := v.child(newDir, newBase)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	switch {
	case old != nil && flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case old == n:
		return nil // two names of one file: POSIX says nothing happens
	case flags&unix.RENAME_EXCHANGE != 0:
		return v.exchange(n, dir, base, old, newDir, newBase)
	}
	c := &change{undo: func() error { return nil }}
	if old != nil {
		if c, err = v.bury(old, newDir, newBase); err != nil {
			return err
		}
	}
	restore := c.undo
	if err := unix.Renameat(dir.fd, base, newDir.fd, newBase); err != nil {
		return errors.Join(err, restore())
	}
	c.what = "rename " + v.join(dir, base) + " to " + v.join(newDir, newBase)
	c.dirs, c.node = append(c.dirs, dir, newDir), n
	c.undo = func() error {
		return errors.Join(unix.Renameat(newDir.fd, newBase, dir.fd, base), restore())
	}
	v.named(n, newDir, newBase)
	v.unnamed(n, dir, base)
	if old != nil {
		v.unnamed(old, newDir, newBase)
	}
	v.journal.add(c)
	return nil
}

func (v *volume) exchange(n, dir *node, base string, old, newDir *node, newBase string) error {
	if old == nil {
		return unix.ENOENT
	}
	swap := func() error { return unix.Renameat2(dir.fd, base, newDir.fd, newBase, unix.RENAME_EXCHANGE) }
	if err := swap(); err != nil {
		return err
	}
	v.named(n, newDir, newBase)
	v.named(old, dir, base)
	v.unnamed(n, dir, base)
	v.unnamed(old, newDir, newBase)
	what := "exchange " + v.join(dir, base) + " and " + v.join(newDir, newBase)
	v.journal.add(&change{what: what, dirs: []*node{dir, newDir}, undo: swap})
	return nil
}
