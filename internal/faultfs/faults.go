//go:build linux

package faultfs

import (
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Kind is what an operation does.
type Kind string

// The kinds of operations that hooks see.
const (
	Write    Kind = "write"
	Sync     Kind = "sync"
	SyncDir  Kind = "sync_dir"
	Rename   Kind = "rename"
	Create   Kind = "create" // also mkdir, link, symlink and mknod
	Unlink   Kind = "unlink" // also rmdir
	Truncate Kind = "truncate"
)

// Op is an operation that is about to be applied. Paths are relative to the mount
// point, without a leading slash. A file with several names has one of them.
type Op struct {
	Kind    Kind
	Path    string
	NewPath string // of a rename or a link
	Bytes   int64  // of a write; the new size of a truncate
	PID     int    // the calling process; 0 if the kernel writes back by itself
	// Done is closed when the caller was interrupted, for instance killed. A
	// killed caller stays until its operation is answered, so a hook that blocks
	// should look at it.
	Done <-chan struct{}
}

// OnOp sets the hook that is called before each operation is applied, or removes
// it if nil. The hook may block, may kill the caller, and may return an error,
// which the operation then fails with instead of being applied. It is called from
// many goroutines at once. It must not use the mount itself.
func (f *FS) OnOp(hook func(Op) syscall.Errno) {
	if hook == nil {
		f.faults.hook.Store(nil)
		return
	}
	f.faults.hook.Store(&hook)
}

// Match chooses files by their path below the mount point.
type Match func(path string) bool

// Any chooses every file.
func Any(string) bool { return true }

// Under chooses what lies below a directory.
func Under(dir string) Match {
	return func(p string) bool { return strings.HasPrefix(p, dir+"/") }
}

// Base chooses files whose last element matches a pattern of path.Match.
func Base(pattern string) Match {
	return func(p string) bool {
		ok, err := path.Match(pattern, path.Base(p))
		return ok && err == nil
	}
}

// Fault is a fault that was switched on.
type Fault struct {
	sync  bool // a fault of fsync, else of write
	match Match
	err   syscall.Errno
	tear  bool
	delay time.Duration

	left  atomic.Int64 // bites to go; negative is without limit
	bites atomic.Int64
}

// Off switches the fault off. It may be called more than once.
func (x *Fault) Off() { x.left.Store(0) }

// Bites is how often the fault was met.
func (x *Fault) Bites() int64 { return x.bites.Load() }

// bite takes one of the times a fault has.
func (x *Fault) bite(p string) bool {
	for {
		left := x.left.Load()
		if left == 0 || !x.match(p) {
			return false
		}
		if left < 0 || x.left.CompareAndSwap(left, left-1) {
			x.bites.Add(1)
			return true
		}
	}
}

// faults are the faults set and the hook.
type faults struct {
	hook     atomic.Pointer[func(Op) syscall.Errno]
	capacity atomic.Int64 // 0 is without limit
	full     atomic.Int64 // refusals for want of space

	mu  sync.RWMutex
	set []*Fault
}

func (s *faults) add(x *Fault, times int) *Fault {
	if times <= 0 {
		times = -1
	}
	x.left.Store(int64(times))
	s.mu.Lock()
	defer s.mu.Unlock()
	// Faults that are spent are in nobody's way any more.
	kept := s.set[:0:0]
	for _, old := range s.set {
		if old.left.Load() != 0 {
			kept = append(kept, old)
		}
	}
	s.set = append(kept, x)
	return x
}

// find returns the first fault that bites, of those that delay or the others.
func (s *faults) find(sync, delays bool, p string) *Fault {
	s.mu.RLock()
	set := s.set
	s.mu.RUnlock()
	for _, x := range set {
		if x.sync == sync && (x.delay > 0) == delays && x.bite(p) {
			return x
		}
	}
	return nil
}

// FailSync lets fsync and fdatasync of matching files and directories fail, and
// writes through descriptors opened with O_SYNC or O_DSYNC. The pages they should
// have written are lost at the next power cut even if a later fsync succeeds,
// unless they are written again. times 0 or less is until Off.
func (f *FS) FailSync(m Match, err syscall.Errno, times int) *Fault {
	return f.faults.add(&Fault{sync: true, match: m, err: err}, times)
}

// SlowSync makes fsync of matching files take longer by d.
func (f *FS) SlowSync(m Match, d time.Duration) *Fault {
	return f.faults.add(&Fault{sync: true, match: m, delay: d}, 0)
}

// FailWrite lets writes to matching files fail with nothing written.
func (f *FS) FailWrite(m Match, err syscall.Errno, times int) *Fault {
	return f.faults.add(&Fault{match: m, err: err}, times)
}

// TearWrite lets writes to matching files stop half way: write(2) returns a short
// count, and the next write to the file fails with err. A write of one byte fails
// at once.
func (f *FS) TearWrite(m Match, err syscall.Errno, times int) *Fault {
	return f.faults.add(&Fault{match: m, err: err, tear: true}, times)
}

// Capacity gives the disk a size in bytes: growth beyond fails with ENOSPC, after
// a short write of what fits, and statfs reports the size and what is free. Files
// count by their length, rounded up to 4 KiB; names and directories are free of
// charge. It may be raised and lowered at any time. 0 is the size of the real disk.
func (f *FS) Capacity(bytes int64) { f.faults.capacity.Store(bytes) }

// before asks the hook about an operation.
func (v *volume) before(op Op) syscall.Errno {
	v.fs.count.ops.Add(1)
	hook := v.fs.faults.hook.Load()
	if hook == nil {
		return 0
	}
	op.PID = process(op.PID)
	return (*hook)(op)
}

// hooked reports whether somebody wants to see operations; without, paths need
// not be put together.
func (v *volume) hooked() bool { return v.fs.faults.hook.Load() != nil }
