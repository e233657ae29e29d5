//go:build linux

package faultfs

import (
	"io/fs"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// OpenDir begins a listing.
func (v *volume) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	v.ns.Lock()
	defer v.ns.Unlock()
	n := v.find(in.NodeId)
	n.refs++
	out.Fh = v.open(&handle{node: n, fd: -1})
	return fuse.OK
}

// ReadDir lists. What it lists is the state at offset 0, so that a directory may
// change while it is read.
func (v *volume) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	h := v.handle(in.Fh)
	h.mu.Lock()
	defer h.mu.Unlock()
	if in.Offset == 0 || h.list == nil {
		if err := h.read(); err != nil {
			return status(err)
		}
	}
	for i := in.Offset; i < uint64(len(h.list)); i++ {
		e := h.list[i]
		e.Off = i + 1
		if !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

// read fills the list of a handle.
func (h *handle) read() error {
	entries, err := os.ReadDir(self(h.node.fd))
	if err != nil {
		return err
	}
	h.list = []fuse.DirEntry{
		{Name: ".", Mode: unix.S_IFDIR, Ino: h.node.key.ino}, {Name: "..", Mode: unix.S_IFDIR},
	}
	for _, e := range entries {
		entry := fuse.DirEntry{Name: e.Name(), Mode: typeBits(e.Type())}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				entry.Ino = st.Ino
			}
		}
		h.list = append(h.list, entry)
	}
	return nil
}

// typeBits are the bits of a mode that say what a file is.
func typeBits(t fs.FileMode) uint32 {
	switch {
	case t.IsDir():
		return unix.S_IFDIR
	case t&fs.ModeSymlink != 0:
		return unix.S_IFLNK
	case t&fs.ModeSocket != 0:
		return unix.S_IFSOCK
	case t&fs.ModeNamedPipe != 0:
		return unix.S_IFIFO
	case t&fs.ModeCharDevice != 0:
		return unix.S_IFCHR
	case t&fs.ModeDevice != 0:
		return unix.S_IFBLK
	}
	return unix.S_IFREG
}

// ReleaseDir ends a listing.
func (v *volume) ReleaseDir(in *fuse.ReleaseIn) { v.release(in.Fh) }

// FsyncDir makes the names in a directory durable.
func (v *volume) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	op := Op{Kind: SyncDir, Path: v.pathOf(in.NodeId, ""), PID: int(in.Pid), Done: cancel}
	if errno := v.beforeSync(op); errno != 0 {
		return fuse.Status(errno)
	}
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	v.ns.Lock()
	defer v.ns.Unlock()
	if x := v.fs.faults.find(true, false, op.Path); x != nil {
		v.fs.count.failed.Add(1)
		return fuse.Status(x.err)
	}
	v.journal.synced(v.find(in.NodeId), false)
	v.fs.count.dirSyncs.Add(1)
	return fuse.OK
}
