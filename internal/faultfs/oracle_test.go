//go:build linux

package faultfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/faultfs"
	"github.com/agentik-os/panda/internal/faultfs/faultfstest"
)

const (
	pageBytes   = 4096
	sectorBytes = 512
)

// content is a file as the oracle sees it: what programs see, what the disk has.
type content struct {
	cur, dur      []byte
	dirty, doomed map[int]bool // pages
	low           int          // the smallest size since the last fsync
	made          *change      // by which it was created
}

func resized(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size:size]
	}
	return append(bytes.Clone(b), make([]byte, size-len(b))...)
}

func pageOf(b []byte, page int) []byte {
	from := min(page*pageBytes, len(b))
	return resized(b[from:min(from+pageBytes, len(b))], pageBytes)
}

func (c *content) touch(from, to int) {
	for p := from / pageBytes; to > from && p <= (to-1)/pageBytes; p++ {
		c.dirty[p] = true
		delete(c.doomed, p)
	}
}

func (c *content) write(off int, data []byte) {
	c.cur = resized(c.cur, max(len(c.cur), off+len(data)))
	c.cur = bytes.Clone(c.cur)
	copy(c.cur[off:], data)
	c.touch(off, off+len(data))
}

func (c *content) truncate(size int) {
	c.touch(size, max(len(c.cur), len(c.dur)))
	c.cur = resized(c.cur, size)
	c.low = min(c.low, size)
}

func (c *content) sync(fails bool) {
	if fails {
		maps.Copy(c.doomed, c.dirty)
		clear(c.dirty)
		return
	}
	next := resized(bytes.Clone(c.dur), len(c.cur))
	for p := range c.dirty {
		if from := p * pageBytes; from < len(next) {
			copy(next[from:], c.cur[from:min(from+pageBytes, len(c.cur))])
		}
	}
	clear(c.dirty)
	c.dur, c.low = next, len(next)
}

// survives says whether a disk may hold got after a power cut.
func (c *content) survives(got []byte, torn bool) error {
	if bytes.Equal(got, c.dur) {
		return nil
	}
	if !torn {
		return fmt.Errorf("has %d bytes, want the %d that were synced; first difference at %d", len(got), len(c.dur), differ(got, c.dur))
	}
	base := c.dur[:min(c.low, len(c.dur))]
	if len(got) < min(len(base), len(c.cur)) || len(got) > len(c.cur) {
		return fmt.Errorf("has %d bytes, want %d (synced) to %d (written)", len(got), len(base), len(c.cur))
	}
	for p := 0; p*pageBytes < len(got); p++ {
		size := min(pageBytes, len(got)-p*pageBytes)
		have, old, now := pageOf(got, p)[:size], pageOf(base, p)[:size], pageOf(c.cur, p)[:size]
		ok := bytes.Equal(have, old) || !c.doomed[p] && bytes.Equal(have, now)
		for k := sectorBytes; k < size && !ok && !c.doomed[p]; k += sectorBytes {
			ok = bytes.Equal(have[:k], now[:k]) && bytes.Equal(have[k:], old[k:])
		}
		if !ok {
			return fmt.Errorf("page %d of %d bytes is neither what was synced nor what was written (doomed: %v)", p, len(got), c.doomed[p])
		}
	}
	return nil
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// change is a change of names: what was at two paths before and after.
type change struct {
	set   map[string]int // -1 removes
	dirs  []string
	files []int // whose entries these are
	saved bool
}

// oracle is the whole disk, naively.
type oracle struct {
	strict  bool
	files   []*content
	names   map[string]int
	base    map[string]int // before the changes
	changes []*change
	order   map[int][]string // the names of a file, oldest first
}

func (o *oracle) change(c *change) {
	for p, id := range c.set {
		c.files = append(c.files, id)
		if old, ok := o.names[p]; ok {
			c.files = append(c.files, old)
			o.order[old] = slices.DeleteFunc(o.order[old], func(s string) bool { return s == p })
		}
		if id < 0 {
			delete(o.names, p)
			continue
		}
		o.names[p] = id
		o.order[id] = append(o.order[id], p)
	}
	o.changes = append(o.changes, c)
}

// syncedDir marks what the fsync of a directory makes durable, to the fixpoint:
// a change of the directory, and whatever was before one that is durable in any
// of its directories.
func (o *oracle) syncedDir(dir string) {
	if !o.strict {
		o.journaled(func(c *change) bool { return slices.Contains(c.dirs, dir) })
		return
	}
	for _, c := range o.changes {
		c.saved = c.saved || slices.Contains(c.dirs, dir)
	}
	for again := true; again; {
		again = false
		for i, later := range o.changes {
			for _, c := range o.changes[:i] {
				shares := slices.ContainsFunc(c.dirs, func(d string) bool { return slices.Contains(later.dirs, d) })
				if later.saved && !c.saved && shares {
					c.saved, again = true, true
				}
			}
		}
	}
}

// journaled marks all changes up to the last that concerns an fsync.
func (o *oracle) journaled(concerns func(*change) bool) {
	for i, c := range o.changes {
		if concerns(c) {
			for _, c := range o.changes[:i+1] {
				c.saved = true
			}
		}
	}
}

func (o *oracle) syncedFile(id int, fails bool) {
	c := o.files[id]
	resized := len(c.cur) != len(c.dur) || c.low < len(c.dur)
	c.sync(fails)
	if fails {
		return
	}
	if !o.strict {
		o.journaled(func(at *change) bool { return resized || slices.Contains(at.files, id) })
	} else if c.made != nil && !c.made.saved && len(o.order[id]) > 0 {
		o.syncedDir(path.Dir(o.order[id][0]))
	}
}

// after replays the changes that keep chooses.
func (o *oracle) after(keep func(i int, c *change) bool) map[string]int {
	names := maps.Clone(o.base)
	for i, c := range o.changes {
		for p, id := range c.set {
			if !keep(i, c) {
				continue
			}
			if id < 0 {
				delete(names, p)
			} else {
				names[p] = id
			}
		}
	}
	return names
}

// possible returns the names that a disk may have after a cut.
func (o *oracle) possible(torn bool) []map[string]int {
	if o.strict {
		return []map[string]int{o.after(func(_ int, c *change) bool { return c.saved })}
	}
	saved := 0
	for i, c := range o.changes {
		if c.saved {
			saved = i + 1
		}
	}
	var all []map[string]int
	for n := saved; n <= len(o.changes); n++ {
		if torn || n == len(o.changes) {
			all = append(all, o.after(func(i int, _ *change) bool { return i < n }))
		}
	}
	return all
}

// check compares a directory with what may be in it, and returns what it found.
func (o *oracle) check(t *testing.T, dir string, torn bool) map[string]int {
	t.Helper()
	got := map[string][]byte{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		got[strings.TrimPrefix(p, dir+"/")], err = os.ReadFile(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var why []error
	for _, names := range o.possible(torn) {
		have, want := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(names))
		if d := cmp.Diff(want, have); d != "" {
			why = append(why, errors.New(d))
			continue
		}
		bad := false
		for p, id := range names {
			if err := o.files[id].survives(got[p], torn); err != nil {
				bad = true
				why = append(why, fmt.Errorf("%s: %w", p, err))
			}
		}
		if !bad {
			return names
		}
	}
	t.Fatalf("after the cut: %v", errors.Join(why...))
	return nil
}

// TestPowerCutAgainstOracle does random things to files on the mount and in the
// oracle, cuts the power, and holds what is left to what may be left; then goes on
// from there.
func TestPowerCutAgainstOracle(t *testing.T) {
	for _, mode := range []faultfs.Mode{faultfs.Journaled, faultfs.Strict} {
		for _, torn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/torn=%v", mode, torn), func(t *testing.T) {
				var total faultfs.Loss
				for seed := range uint64(25) {
					t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
						w := newWalk(t, mode, seed)
						for range 3 {
							w.run(t, 40, torn, &total)
						}
					})
				}
				t.Logf("lost in all: %+v", total)
				if total.PagesLost == 0 || (total.PagesKept > 0) != torn || (total.PagesTorn > 0) != torn ||
					(total.NamesUndone > 0) != (torn || mode == faultfs.Strict) {
					t.Errorf("the cuts were not of the kind wanted: %+v", total)
				}
			})
		}
	}
}

// walk is a random program.
type walk struct {
	fs   *faultfs.FS
	mnt  string
	rng  *rand.Rand
	o    *oracle
	mode faultfs.Mode
}

var walkDirs = []string{".", "a", "b"}

func newWalk(t *testing.T, mode faultfs.Mode, seed uint64) *walk {
	fsys, mnt := faultfstest.Mount(t, faultfs.Config{Mode: mode, CommitEvery: 1 << 40})
	for _, d := range walkDirs[1:] {
		if err := os.Mkdir(filepath.Join(mnt, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	syncPath(t, mnt)
	o := &oracle{strict: mode == faultfs.Strict, names: map[string]int{}, base: map[string]int{}, order: map[int][]string{}}
	return &walk{fs: fsys, mnt: mnt, rng: rand.New(rand.NewPCG(seed, uint64(mode))), o: o, mode: mode}
}

func syncPath(t *testing.T, p string) {
	t.Helper()
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func (w *walk) run(t *testing.T, steps int, torn bool, total *faultfs.Loss) {
	for range steps {
		w.step(t)
	}
	for p, id := range w.o.names { // before the cut, everybody sees everything
		if got, err := os.ReadFile(filepath.Join(w.mnt, p)); err != nil || !bytes.Equal(got, w.o.files[id].cur) {
			t.Fatalf("before the cut %s has %d bytes, %v; want %d", p, len(got), err, len(w.o.files[id].cur))
		}
	}
	loss, err := w.fs.PowerCut(w.rng, faultfs.Cut{Torn: torn})
	if err != nil {
		t.Fatal(err)
	}
	total.PagesLost += loss.PagesLost
	total.PagesKept += loss.PagesKept
	total.PagesTorn += loss.PagesTorn
	total.NamesUndone += loss.NamesUndone
	if err := w.fs.Remount(); err != nil {
		t.Fatal(err)
	}
	names := w.o.check(t, w.mnt, torn)
	// What is there now is durable.
	next := &oracle{strict: w.o.strict, files: w.o.files, names: names, base: maps.Clone(names), order: map[int][]string{}}
	for p, id := range names {
		next.order[id] = append(next.order[id], p)
		got, err := os.ReadFile(filepath.Join(w.mnt, p))
		if err != nil {
			t.Fatal(err)
		}
		next.files[id] = &content{cur: got, dur: bytes.Clone(got), low: len(got), dirty: map[int]bool{}, doomed: map[int]bool{}}
	}
	for id := range next.order { // the file system learns names as it meets them; one is enough here
		if len(next.order[id]) > 1 {
			slices.Sort(next.order[id])
		}
	}
	w.o = next
}

func (w *walk) newPath() string {
	return path.Join(walkDirs[w.rng.IntN(len(walkDirs))], fmt.Sprintf("f%d", w.rng.IntN(5)))
}

func (w *walk) step(t *testing.T) {
	t.Helper()
	paths := slices.Sorted(maps.Keys(w.o.names))
	if len(paths) == 0 || w.rng.IntN(8) == 0 {
		w.create(t)
		return
	}
	p := paths[w.rng.IntN(len(paths))]
	id := w.o.names[p]
	full := filepath.Join(w.mnt, p)
	switch w.rng.IntN(12) {
	case 0, 1, 2:
		w.write(t, full, w.o.files[id])
	case 3:
		size := w.rng.IntN(len(w.o.files[id].cur) + 3000)
		if err := os.Truncate(full, int64(size)); err != nil {
			t.Fatal(err)
		}
		w.o.files[id].truncate(size)
	case 4, 5, 6:
		w.sync(t, full, id)
	case 7:
		dir := walkDirs[w.rng.IntN(len(walkDirs))]
		syncPath(t, filepath.Join(w.mnt, dir))
		w.o.syncedDir(dir)
	case 8, 9:
		to := w.newPath()
		if err := os.Rename(full, filepath.Join(w.mnt, to)); err != nil {
			t.Fatal(err)
		}
		if other, ok := w.o.names[to]; !ok || other != id {
			w.o.change(&change{set: map[string]int{p: -1, to: id}, dirs: []string{path.Dir(p), path.Dir(to)}})
		}
	case 10:
		if err := os.Remove(full); err != nil {
			t.Fatal(err)
		}
		w.o.change(&change{set: map[string]int{p: -1}, dirs: []string{path.Dir(p)}})
	case 11:
		to := w.newPath()
		err := os.Link(full, filepath.Join(w.mnt, to))
		if _, ok := w.o.names[to]; ok != errors.Is(err, fs.ErrExist) || err != nil && !ok {
			t.Fatalf("link to %s: %v", to, err)
		}
		if err == nil {
			w.o.change(&change{set: map[string]int{to: id}, dirs: []string{path.Dir(to)}})
		}
	}
}

func (w *walk) create(t *testing.T) {
	t.Helper()
	p := w.newPath()
	f, err := os.OpenFile(filepath.Join(w.mnt, p), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if id, ok := w.o.names[p]; ok {
		w.o.files[id].truncate(0)
		return
	}
	made := &change{set: map[string]int{p: len(w.o.files)}, dirs: []string{path.Dir(p)}}
	w.o.files = append(w.o.files, &content{made: made, dirty: map[int]bool{}, doomed: map[int]bool{}})
	w.o.change(made)
}

func (w *walk) write(t *testing.T, full string, c *content) {
	t.Helper()
	data := make([]byte, 1+w.rng.IntN(3*pageBytes))
	for i := range data {
		data[i] = byte(w.rng.Uint32())
	}
	flags, off := os.O_WRONLY, w.rng.IntN(len(c.cur)+5000)
	if w.rng.IntN(2) == 0 {
		flags, off = os.O_WRONLY|os.O_APPEND, len(c.cur)
	}
	f, err := os.OpenFile(full, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if flags&os.O_APPEND != 0 {
		_, err = f.Write(data)
	} else {
		_, err = f.WriteAt(data, int64(off))
	}
	if err != nil {
		t.Fatal(err)
	}
	c.write(off, data)
}

func (w *walk) sync(t *testing.T, full string, id int) {
	t.Helper()
	fails := w.rng.IntN(6) == 0
	if fails {
		x := w.fs.FailSync(faultfs.Any, syscall.EIO, 1)
		defer x.Off()
	}
	f, err := os.OpenFile(full, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); fails != errors.Is(err, syscall.EIO) || !fails && err != nil {
		t.Fatalf("fsync: %v, should fail: %v", err, fails)
	}
	w.o.syncedFile(id, fails)
}
