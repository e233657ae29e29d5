//go:build linux

package faultfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const trashSuffix = ".unsynced"

// cacheFor is how long the kernel may believe what it was told of names and
// attributes. All changes come through it, so for long.
const cacheFor = time.Minute

// volume is one mount, from Mount to the power cut. It speaks the FUSE protocol.
//
// Locks, in the order they are taken: gate, ns, node.mu; handles is taken alone.
type volume struct {
	fuse.RawFileSystem // answers ENOSYS to what is not here

	fs     *FS
	server *fuse.Server

	// gate is held for reading by every operation while it touches the backing
	// directory, and for writing by what ends the mount. dead is under it, ended
	// is closed with it.
	gate  sync.RWMutex
	dead  bool
	ended chan struct{}

	// ns guards the table of nodes, their names and counts, and the journal.
	ns      sync.Mutex
	root    *node
	byID    map[uint64]*node
	byKey   map[nodeKey]*node
	nextID  uint64
	journal journal

	handlesMu  sync.RWMutex
	handles    map[uint64]*handle
	nextHandle uint64

	// used is what Capacity counts; spaceMu makes looking and taking one step.
	spaceMu sync.Mutex
	used    atomic.Int64
}

// nodeKey is a file of the backing directory.
type nodeKey struct {
	dev, ino uint64
}

// name is an entry of a directory.
type name struct {
	dir  *node
	base string
}

// node is a file or directory that the kernel knows, or that has something
// unsynced. It holds the backing file by a descriptor, so that renames above it
// and unlinks of it change nothing.
type node struct {
	id   uint64
	key  nodeKey
	fd   int // O_PATH
	mode uint32

	// Under ns.
	lookups uint64 // by the kernel
	refs    int    // by handles, names of nodes below, and the journal
	opens   int
	names   []name // those seen
	trashed int    // links that are only in the trash
	freed   bool   // its space was given back
	fresh   bool   // its creation is not durable

	// mu guards the content and the notes about it.
	mu   sync.Mutex
	undo undo
	torn syscall.Errno // what the next write fails with; see TearWrite
}

func newVolume(f *FS) (*volume, error) {
	v := &volume{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		fs:            f, ended: make(chan struct{}),
		byID: map[uint64]*node{}, byKey: map[nodeKey]*node{}, nextID: fuse.FUSE_ROOT_ID,
		handles: map[uint64]*handle{},
	}
	v.journal.volume = v
	trash := f.cfg.Backing + trashSuffix
	if err := os.RemoveAll(trash); err != nil {
		return nil, err
	}
	if err := os.Mkdir(trash, 0o700); err != nil {
		return nil, err
	}
	used, err := usedBytes(f.cfg.Backing)
	if err != nil {
		return nil, err
	}
	v.used.Store(used)
	if v.journal.trash, err = unix.Open(trash, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	fd, err := unix.Open(f.cfg.Backing, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		v.root, err = v.adopt(fd)
	}
	if err != nil {
		closeFD(v.journal.trash)
		return nil, err
	}
	v.root.lookups = 1
	return v, nil
}

// usedBytes adds up a directory as Capacity counts.
func usedBytes(dir string) (int64, error) {
	var sum int64
	seen := map[nodeKey]bool{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		if key := (nodeKey{st.Dev, st.Ino}); !seen[key] {
			seen[key] = true
			sum += pagesUp(st.Size)
		}
		return nil
	})
	return sum, err
}

func pagesUp(bytes int64) int64 { return (bytes + pageBytes - 1) / pageBytes * pageBytes }

// String names the file system in go-fuse's messages.
func (v *volume) String() string { return "faultfs" }

// enter begins an operation on the backing directory. If it says yes, leave must
// follow; if no, the mount is dead and the answer is EIO.
func (v *volume) enter() bool {
	v.gate.RLock()
	if v.dead {
		v.gate.RUnlock()
		return false
	}
	return true
}

func (v *volume) leave() { v.gate.RUnlock() }

func (v *volume) isDead() bool {
	v.gate.RLock()
	defer v.gate.RUnlock()
	return v.dead
}

// kill ends the mount and leaves the files as they are.
func (v *volume) kill() {
	v.gate.Lock()
	defer v.gate.Unlock()
	v.end()
}

// end closes everything. The gate is held for writing.
func (v *volume) end() {
	if v.dead {
		return
	}
	v.dead = true
	close(v.ended)
	for _, n := range v.byKey {
		closeFD(n.fd)
	}
	for _, h := range v.handles {
		h.close()
	}
	closeFD(v.journal.trash)
}

// adopt returns the node of an O_PATH descriptor, which it takes over. ns is held,
// except for the root.
func (v *volume) adopt(fd int) (*node, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		closeFD(fd)
		return nil, err
	}
	key := nodeKey{st.Dev, st.Ino}
	if n := v.byKey[key]; n != nil {
		closeFD(fd)
		return n, nil
	}
	n := &node{id: v.nextID, key: key, fd: fd, mode: st.Mode}
	v.nextID++
	v.byID[n.id], v.byKey[key] = n, n
	return n, nil
}

// find returns the node of a number that the kernel sent. ns is held.
func (v *volume) find(id uint64) *node {
	n := v.byID[id]
	if n == nil {
		panic(fmt.Sprintf("faultfs: the kernel names node %d, which it has forgotten", id))
	}
	return n
}

// node is find for those who do not hold ns.
func (v *volume) node(id uint64) *node {
	v.ns.Lock()
	defer v.ns.Unlock()
	return v.find(id)
}

// drop forgets a node that nobody needs, and then those above it. ns is held.
func (v *volume) drop(n *node) {
	if n == v.root || n.lookups > 0 || n.refs > 0 || v.byID[n.id] != n {
		return
	}
	n.mu.Lock()
	changed := n.undo.changed()
	n.mu.Unlock()
	if changed && v.links(n) > 0 {
		return // it would come back from a power cut otherwise than it is
	}
	delete(v.byID, n.id)
	delete(v.byKey, n.key)
	closeFD(n.fd)
	for _, at := range n.names {
		at.dir.refs--
		v.drop(at.dir)
	}
}

// links is how many names a node has. ns is held.
func (v *volume) links(n *node) int {
	var st unix.Stat_t
	if unix.Fstat(n.fd, &st) != nil {
		return 1
	}
	return int(st.Nlink) - n.trashed
}

// free gives back the space of a file without names and users. ns is held.
func (v *volume) free(n *node) {
	if n.freed || n.opens > 0 || n.trashed > 0 || n.mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	var st unix.Stat_t
	if unix.Fstat(n.fd, &st) == nil && st.Nlink == 0 {
		n.freed = true
		v.used.Add(-pagesUp(st.Size))
	}
}

// named notes a name of a node. ns is held.
func (v *volume) named(n, dir *node, base string) {
	at := name{dir, base}
	for _, old := range n.names {
		if old == at {
			return
		}
	}
	n.names = append(n.names, at)
	dir.refs++
}

// unnamed forgets a name. ns is held.
func (v *volume) unnamed(n, dir *node, base string) {
	for i, at := range n.names {
		if at == (name{dir, base}) {
			n.names = append(n.names[:i], n.names[i+1:]...)
			dir.refs--
			v.drop(dir)
			return
		}
	}
}

// path returns a node's path below the mount point. ns is held.
func (v *volume) path(n *node) string {
	var parts []string
	for n != v.root && len(n.names) > 0 {
		parts = append(parts, n.names[0].base)
		n = n.names[0].dir
	}
	if n != v.root {
		parts = append(parts, "(deleted)")
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, "/")
}

// pathOf is path for those who do not hold ns. base may be empty.
func (v *volume) pathOf(id uint64, base string) string {
	v.ns.Lock()
	defer v.ns.Unlock()
	n := v.byID[id]
	switch {
	case n == nil:
		return base
	case base == "":
		return v.path(n)
	}
	return v.join(n, base)
}

// join is the path of an entry of a directory. ns is held.
func (v *volume) join(dir *node, base string) string {
	if dir == v.root {
		return base
	}
	return v.path(dir) + "/" + base
}

// self is the way to open what an O_PATH descriptor stands for.
func self(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func (v *volume) attr(n *node, out *fuse.Attr) fuse.Status {
	var st syscall.Stat_t
	if err := syscall.Fstat(n.fd, &st); err != nil {
		return status(err)
	}
	out.FromStat(&st)
	out.Nlink -= min(out.Nlink, uint32(n.trashed))
	return fuse.OK
}

// entry answers with a node and counts that the kernel knows it now. ns is held.
func (v *volume) entry(n *node, out *fuse.EntryOut) fuse.Status {
	if code := v.attr(n, &out.Attr); code != fuse.OK {
		v.drop(n)
		return code
	}
	n.lookups++
	out.NodeId, out.Generation = n.id, 1
	out.SetEntryTimeout(cacheFor)
	out.SetAttrTimeout(cacheFor)
	return fuse.OK
}

// child opens an entry of a directory. ns is held.
func (v *volume) child(dir *node, base string) (*node, error) {
	fd, err := unix.Openat(dir.fd, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	n, err := v.adopt(fd)
	if err == nil {
		v.named(n, dir, base)
	}
	return n, err
}

// Lookup finds a name.
func (v *volume) Lookup(_ <-chan struct{}, in *fuse.InHeader, base string, out *fuse.EntryOut) fuse.Status {
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	v.ns.Lock()
	defer v.ns.Unlock()
	n, err := v.child(v.find(in.NodeId), base)
	if err != nil {
		return status(err)
	}
	return v.entry(n, out)
}

// Forget takes back lookups.
func (v *volume) Forget(id, lookups uint64) {
	if !v.enter() {
		return
	}
	defer v.leave()
	v.ns.Lock()
	defer v.ns.Unlock()
	if n := v.byID[id]; n != nil {
		n.lookups -= min(n.lookups, lookups)
		v.drop(n)
	}
}

// GetAttr reads attributes.
func (v *volume) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	v.ns.Lock()
	defer v.ns.Unlock()
	out.SetTimeout(cacheFor)
	return v.attr(v.find(in.NodeId), &out.Attr)
}

// Access allows everything: the mount is for one user, root.
func (v *volume) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.OK }

// StatFs reports the disk that Capacity made, or the real one.
func (v *volume) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	if !v.enter() {
		return fuse.EIO
	}
	defer v.leave()
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(v.journal.trash, &st); err != nil {
		return status(err)
	}
	out.FromStatfsT(&st)
	if size := v.fs.faults.capacity.Load(); size > 0 {
		free := uint64(max(0, size-v.used.Load())) / pageBytes
		out.Bsize, out.Frsize = pageBytes, pageBytes
		out.Blocks, out.Bfree, out.Bavail = uint64(size)/pageBytes, free, free
	}
	return fuse.OK
}

// status is an error as the kernel wants it.
func status(err error) fuse.Status {
	var errno syscall.Errno
	switch {
	case err == nil:
		return fuse.OK
	case errors.As(err, &errno):
		return fuse.Status(errno)
	}
	return fuse.EIO
}
