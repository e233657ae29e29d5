//go:build linux

package faultfs

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// handle is an open file or directory.
type handle struct {
	node *node
	fd   int // of the backing file; -1 for a directory
	sync bool

	mu   sync.Mutex
	list []fuse.DirEntry
}

func (h *handle) close() {
	if h.fd >= 0 {
		closeFD(h.fd)
	}
}

// backing reads and writes a descriptor that somebody else closes.
type backing int

func (fd backing) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(int(fd), p[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		if n == 0 {
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

func (fd backing) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pwrite(int(fd), p[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

func (fd backing) Truncate(size int64) error { return unix.Ftruncate(int(fd), size) }

func (fd backing) size() (int64, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(fd), &st)
	return st.Size, err
}

// open gives a handle a number.
func (v *volume) open(h *handle) uint64 {
	v.handlesMu.Lock()
	defer v.handlesMu.Unlock()
	v.nextHandle++
	v.handles[v.nextHandle] = h
	return v.nextHandle
}

func (v *volume) handle(fh uint64) *handle {
	v.handlesMu.RLock()
	defer v.handlesMu.RUnlock()
	return v.handles[fh]
}

// openNode opens the backing file of a node. A writer can always read, because
// old pages must be read before they are overwritten. ns is held.
func (v *volume) openNode(n *node, flags uint32) (*handle, error) {
	mode := unix.O_RDONLY
	if flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0 {
		mode = unix.O_RDWR
	}
	fd, err := unix.Open(self(n.fd), mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	h := &handle{node: n, fd: fd, sync: flags&(unix.O_DSYNC|unix.O_SYNC) != 0}
	if flags&unix.O_TRUNC != 0 {
		if err := v.truncate(n, backing(fd), 0); err != nil {
			h.close()
			return nil, err
		}
	}
	n.opens++
	n.refs++
	return h, nil
}

// Open opens a file.
func (v *volume) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.Flags&unix.O_TRUNC != 0 {
		if errno := v.beforeTruncate(&in.InHeader, 0, cancel); errno != 0 {
			return fuse.Status(errno)
		}
	}
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	v.ns.Lock()
	defer v.ns.Unlock()
	h, err := v.openNode(v.find(in.NodeId), in.Flags)
	if err != nil {
		return status(err)
	}
	out.Fh = v.open(h)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE // nobody else changes the backing files
	return fuse.OK
}

// Create makes a file and opens it.
func (v *volume) Create(cancel <-chan struct{}, in *fuse.CreateIn, base string, out *fuse.CreateOut) fuse.Status {
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
	dir := v.find(in.NodeId)
	n, err := v.made(dir, base, &in.InHeader, func(*node) error {
		fd, err := unix.Openat(dir.fd, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, in.Mode)
		if err != nil {
			return err
		}
		defer closeFD(fd)
		return unix.Fchmod(fd, in.Mode&0o7777)
	})
	if errors.Is(err, unix.EEXIST) && in.Flags&unix.O_EXCL == 0 {
		n, err = v.child(dir, base)
	}
	if err != nil {
		return status(err)
	}
	h, err := v.openNode(n, in.Flags)
	if err != nil {
		return status(err)
	}
	if code := v.entry(n, &out.EntryOut); code != fuse.OK {
		h.close()
		return code
	}
	out.Fh = v.open(h)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// Release closes.
func (v *volume) Release(_ <-chan struct{}, in *fuse.ReleaseIn) { v.release(in.Fh) }

func (v *volume) release(fh uint64) {
	if !v.enter() {
		return
	}
	defer v.leave()
	v.handlesMu.Lock()
	h := v.handles[fh]
	delete(v.handles, fh)
	v.handlesMu.Unlock()
	if h == nil {
		return
	}
	h.close()
	v.ns.Lock()
	defer v.ns.Unlock()
	h.node.refs--
	if h.fd >= 0 {
		h.node.opens--
		v.free(h.node)
	}
	v.drop(h.node)
}

// Read reads.
func (v *volume) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if !v.enter() {
		return nil, fuse.EIO
	}
	defer v.leave()
	v.fs.count.reads.Add(1)
	n, err := backing(v.handle(in.Fh).fd).ReadAt(buf, int64(in.Offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, status(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Lseek finds data and holes.
func (v *volume) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	off, err := unix.Seek(v.handle(in.Fh).fd, int64(in.Offset), int(in.Whence))
	out.Offset = uint64(off)
	return status(err)
}

// Write writes, and makes durable what was opened with O_SYNC or O_DSYNC.
func (v *volume) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	op := Op{Kind: Write, Path: v.pathOf(in.NodeId, ""), Bytes: int64(len(data)), PID: int(in.Pid), Done: cancel}
	if errno := v.before(op); errno != 0 {
		return 0, fuse.Status(errno)
	}
	after := syscall.Errno(0) // of the part that is written
	if x := v.fs.faults.find(false, false, op.Path); x != nil {
		if !x.tear || len(data) < 2 {
			return 0, fuse.Status(x.err)
		}
		data, after = data[:len(data)/2], x.err
	}
	h, n, code := v.write(in, data, after)
	if n == 0 || code != fuse.OK {
		return n, code
	}
	v.fs.count.writes.Add(1)
	v.fs.count.bytes.Add(int64(n))
	if h.sync || in.Flags&(unix.O_DSYNC|unix.O_SYNC) != 0 {
		op.Kind = Sync
		code = v.sync(op, h.node)
	}
	return n, code
}

// write is Write without the faults around it.
func (v *volume) write(in *fuse.WriteIn, data []byte, after syscall.Errno) (*handle, uint32, fuse.Status) {
	if !v.enter() {
		return nil, 0, fuse.EIO
	}
	defer v.leave()
	h := v.handle(in.Fh)
	n, file, off := h.node, backing(h.fd), int64(in.Offset)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.torn; err != 0 {
		n.torn = 0
		return h, 0, fuse.Status(err)
	}
	n.torn = after
	size, err := file.size()
	if err != nil {
		return h, 0, status(err)
	}
	if len(data) > 0 {
		end := v.grow(size, off, off+int64(len(data)))
		if end <= off {
			return h, 0, fuse.Status(unix.ENOSPC)
		}
		data = data[:end-off]
	}
	if err := n.undo.write(file, size, off, int64(len(data))); err != nil {
		return h, 0, status(err)
	}
	written, err := file.WriteAt(data, off)
	if err != nil && written == 0 {
		return h, 0, status(err)
	}
	return h, uint32(written), fuse.OK
}

// grow takes the space that a file of size bytes needs for what lies from off to
// end, and returns up to where there is space. If that is not beyond off, it has
// taken nothing.
func (v *volume) grow(size, off, end int64) int64 {
	need := pagesUp(end) - pagesUp(size)
	if need <= 0 {
		return end
	}
	v.spaceMu.Lock()
	defer v.spaceMu.Unlock()
	if capacity := v.fs.faults.capacity.Load(); capacity > 0 {
		if room := max(0, capacity-v.used.Load()) / pageBytes * pageBytes; need > room {
			v.fs.faults.full.Add(1)
			need, end = room, pagesUp(size)+room
			if end <= off {
				return end
			}
		}
	}
	v.used.Add(need)
	return end
}

// sync makes a file durable.
func (v *volume) sync(op Op, n *node) fuse.Status {
	if errno := v.beforeSync(op); errno != 0 {
		return fuse.Status(errno)
	}
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	n.mu.Lock()
	if x := v.fs.faults.find(true, false, op.Path); x != nil {
		n.undo.failed()
		n.mu.Unlock()
		v.fs.count.failed.Add(1)
		return fuse.Status(x.err)
	}
	var st unix.Stat_t
	err := unix.Fstat(n.fd, &st)
	resized := n.undo.changed() && (st.Size != n.undo.size || n.undo.low < n.undo.size)
	if err == nil {
		n.undo.synced(st.Size)
	}
	n.mu.Unlock()
	if err != nil {
		return status(err)
	}
	v.ns.Lock()
	defer v.ns.Unlock()
	v.journal.synced(n, resized)
	v.fs.count.syncs.Add(1)
	return fuse.OK
}

// beforeSync asks the hook and waits as SlowSync wants.
func (v *volume) beforeSync(op Op) syscall.Errno {
	if errno := v.before(op); errno != 0 {
		return errno
	}
	slow := v.fs.faults.find(true, true, op.Path)
	if slow == nil {
		return 0
	}
	timer := time.NewTimer(slow.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-op.Done:
		return syscall.EINTR
	case <-v.ended:
	}
	return 0
}

// Fsync makes a file durable. fdatasync does too: a size is never left behind.
func (v *volume) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	op := Op{Kind: Sync, Path: v.pathOf(in.NodeId, ""), PID: int(in.Pid), Done: cancel}
	return v.sync(op, v.node(in.NodeId))
}

// Flush is a close of one of several descriptors. It makes nothing durable.
func (v *volume) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status {
	if v.isDead() {
		return fuse.EIO
	}
	return fuse.OK
}

// closeFD closes a descriptor of the backing directory. Nothing is buffered in
// one, so there is nothing to lose and nobody to tell.
func closeFD(fd int) { _ = unix.Close(fd) }
