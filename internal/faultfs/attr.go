//go:build linux

package faultfs

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// SetAttr changes size, mode, owner and times. All but the size is durable at once.
func (v *volume) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	size, resize := in.GetSize()
	if resize {
		if errno := v.beforeTruncate(&in.InHeader, int64(size), cancel); errno != 0 {
			return fuse.Status(errno)
		}
	}
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	v.ns.Lock()
	defer v.ns.Unlock()
	n := v.find(in.NodeId)
	if resize {
		// A file opened for writing may be truncated through its descriptor
		// whatever its mode says; we are root and may through another one.
		fd, err := unix.Open(self(n.fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return status(err)
		}
		err = v.truncate(n, backing(fd), int64(size))
		closeFD(fd)
		if err != nil {
			return status(err)
		}
	}
	if err := setOwnerAndTimes(n, in); err != nil {
		return status(err)
	}
	out.SetTimeout(cacheFor)
	return v.attr(n, &out.Attr)
}

func setOwnerAndTimes(n *node, in *fuse.SetAttrIn) error {
	uid, haveUID := in.GetUID()
	gid, haveGID := in.GetGID()
	if haveUID || haveGID {
		u, g := -1, -1
		if haveUID {
			u = int(uid)
		}
		if haveGID {
			g = int(gid)
		}
		if err := unix.Fchownat(n.fd, "", u, g, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	// After the owner, whose change clears the bits of set-user-id.
	if mode, ok := in.GetMode(); ok {
		if err := unix.Chmod(self(n.fd), mode&0o7777); err != nil {
			return err
		}
	}
	atime, haveATime := in.GetATime()
	mtime, haveMTime := in.GetMTime()
	if !haveATime && !haveMTime {
		return nil
	}
	times := []unix.Timespec{stamp(atime, haveATime), stamp(mtime, haveMTime)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, self(n.fd), times, 0)
}

func stamp(t time.Time, have bool) unix.Timespec {
	if !have {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.NsecToTimespec(t.UnixNano())
}

// beforeTruncate asks the hook about a new size.
func (v *volume) beforeTruncate(in *fuse.InHeader, size int64, cancel <-chan struct{}) syscall.Errno {
	op := Op{Kind: Truncate, Bytes: size, PID: int(in.Pid), Done: cancel}
	if v.hooked() {
		op.Path = v.pathOf(in.NodeId, "")
	}
	return v.before(op)
}

// truncate gives a file a size.
func (v *volume) truncate(n *node, file backing, to int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	from, err := file.size()
	if err != nil {
		return err
	}
	if to > from && v.grow(from, from, to) < to {
		return unix.ENOSPC
	}
	if err := n.undo.resize(file, from, to); err != nil {
		return err
	}
	if err := file.Truncate(to); err != nil {
		return err
	}
	if to < from {
		v.used.Add(pagesUp(to) - pagesUp(from))
	}
	return nil
}

// Fallocate allocates space, punches holes and zeroes ranges. Those that move
// content are not supported, which callers must expect.
func (v *volume) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	off, end := int64(in.Offset), int64(in.Offset+in.Length)
	changes := in.Mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0
	if in.Mode&^(unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 {
		return fuse.Status(unix.EOPNOTSUPP)
	}
	if errno := v.beforeTruncate(&in.InHeader, end, cancel); errno != 0 {
		return fuse.Status(errno)
	}
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	h := v.handle(in.Fh)
	n, file := h.node, backing(h.fd)
	n.mu.Lock()
	defer n.mu.Unlock()
	size, err := file.size()
	if err != nil {
		return status(err)
	}
	if in.Mode&unix.FALLOC_FL_KEEP_SIZE == 0 && end > size {
		if v.grow(size, size, end) < end {
			return fuse.Status(unix.ENOSPC)
		}
		if err := n.undo.resize(file, size, end); err != nil {
			return status(err)
		}
	}
	if changes {
		if err := n.undo.write(file, size, off, min(end, size)-off); err != nil {
			return status(err)
		}
	}
	return status(unix.Fallocate(h.fd, in.Mode, off, int64(in.Length)))
}

// The extended attributes pass through.

// GetXAttr reads one.
func (v *volume) GetXAttr(_ <-chan struct{}, in *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	return v.xattr(in, func(path string) (int, error) { return unix.Getxattr(path, attr, dest) })
}

// ListXAttr lists them.
func (v *volume) ListXAttr(_ <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	return v.xattr(in, func(path string) (int, error) { return unix.Listxattr(path, dest) })
}

// SetXAttr sets one.
func (v *volume) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	_, code := v.xattr(&in.InHeader, func(path string) (int, error) {
		return 0, unix.Setxattr(path, attr, data, int(in.Flags))
	})
	return code
}

// RemoveXAttr removes one.
func (v *volume) RemoveXAttr(_ <-chan struct{}, in *fuse.InHeader, attr string) fuse.Status {
	_, code := v.xattr(in, func(path string) (int, error) { return 0, unix.Removexattr(path, attr) })
	return code
}

func (v *volume) xattr(in *fuse.InHeader, do func(path string) (int, error)) (uint32, fuse.Status) {
	if !v.enter() {
		return 0, fuse.EIO
	}
	defer v.leave()
	n, err := do(self(v.node(in.NodeId).fd))
	return uint32(max(n, 0)), status(err)
}
