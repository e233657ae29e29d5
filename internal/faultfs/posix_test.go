//go:build linux

package faultfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentik-os/panda/internal/faultfs"
	"github.com/agentik-os/panda/internal/faultfs/faultfstest"
)

// What programs may expect of a file system, here the parts that a wrong
// pass-through would get wrong.
func TestPOSIX(t *testing.T) {
	for _, mode := range []faultfs.Mode{faultfs.Journaled, faultfs.Strict} {
		_, mnt := faultfstest.Mount(t, faultfs.Config{Mode: mode})
		for _, c := range []struct {
			name string
			test func(t *testing.T, dir string)
		}{
			{"links", links}, {"rename flags", renameFlags}, {"directories", directories}, {"open and unlinked", unlinked},
			{"allocate", allocate}, {"direct", direct}, {"attributes", attributes}, {"locks", locks}, {"many entries", manyEntries},
			{"append and truncate", appendTruncate},
		} {
			t.Run(mode.String()+"/"+c.name, func(t *testing.T) {
				dir := filepath.Join(mnt, c.name)
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				c.test(t, dir)
			})
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, err error, want syscall.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func nlink(t *testing.T, name string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(name, &st))
	return st.Nlink
}

func links(t *testing.T, dir string) {
	a := create(t, dir+"/a", 0)
	write(t, a, "one")
	must(t, os.Link(dir+"/a", dir+"/b"))
	if n := nlink(t, dir+"/a"); n != 2 {
		t.Errorf("%d links, want 2", n)
	}
	write(t, a, " two")
	wantFile(t, dir+"/b", "one two")
	must(t, os.Remove(dir+"/a"))
	if n := nlink(t, dir+"/b"); n != 1 {
		t.Errorf("%d links after one is removed, want 1", n)
	}
	wantFile(t, dir+"/b", "one two")
	must(t, os.Symlink("b", dir+"/s"))
	wantFile(t, dir+"/s", "one two")
	if to, err := os.Readlink(dir + "/s"); err != nil || to != "b" {
		t.Errorf("readlink: %q, %v", to, err)
	}
	must(t, os.Rename(dir+"/b", dir+"/c"))
	_, err := os.ReadFile(dir + "/s")
	wantErr(t, "a link to nothing", err, syscall.ENOENT)
}

func renameFlags(t *testing.T, dir string) {
	write(t, create(t, dir+"/a", 0), "a")
	write(t, create(t, dir+"/b", 0), "b")
	wantErr(t, "no replace", unix.Renameat2(-1, dir+"/a", -1, dir+"/b", unix.RENAME_NOREPLACE), syscall.EEXIST)
	must(t, unix.Renameat2(-1, dir+"/a", -1, dir+"/b", unix.RENAME_EXCHANGE))
	wantFile(t, dir+"/a", "b")
	wantFile(t, dir+"/b", "a")
	must(t, unix.Renameat2(-1, dir+"/a", -1, dir+"/c", unix.RENAME_NOREPLACE))
	must(t, os.Rename(dir+"/c", dir+"/b"))
	wantFile(t, dir+"/b", "b")
	wantErr(t, "rename of nothing", unix.Rename(dir+"/a", dir+"/x"), syscall.ENOENT)
}

func directories(t *testing.T, dir string) {
	must(t, os.MkdirAll(dir+"/d/e", 0o700))
	f := create(t, dir+"/d/e/f", 0)
	wantErr(t, "rmdir of a full one", unix.Rmdir(dir+"/d"), syscall.ENOTEMPTY)
	must(t, os.Rename(dir+"/d", dir+"/g")) // with an open file in it
	write(t, f, "moved")
	wantFile(t, dir+"/g/e/f", "moved")
	must(t, os.Mkdir(dir+"/h", 0o700))
	must(t, unix.Rename(dir+"/g", dir+"/h")) // over an empty one
	wantErr(t, "rename over a full one", os.Rename(dir+"/h/e", dir+"/h"), syscall.EEXIST)
	must(t, os.RemoveAll(dir+"/h"))
	_, err := os.Stat(dir + "/h")
	wantErr(t, "a removed tree", err, syscall.ENOENT)
}

func unlinked(t *testing.T, dir string) {
	a := create(t, dir+"/a", 0)
	must(t, os.Remove(dir+"/a"))
	write(t, a, "still")
	fsync(t, a)
	got, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", a.Fd()))
	if err != nil || string(got) != "still" {
		t.Errorf("an unlinked file holds %q, %v", got, err)
	}
	b := create(t, dir+"/a", 0) // the name is free
	write(t, b, "new")
	wantFile(t, dir+"/a", "new")
}

func allocate(t *testing.T, dir string) {
	a := create(t, dir+"/a", 0)
	write(t, a, string(bytes.Repeat([]byte("x"), 3*pageBytes)))
	must(t, unix.Fallocate(int(a.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, pageBytes, pageBytes))
	must(t, unix.Fallocate(int(a.Fd()), 0, 0, 4*pageBytes))
	want := append(bytes.Repeat([]byte("x"), pageBytes), make([]byte, pageBytes)...)
	want = append(append(want, bytes.Repeat([]byte("x"), pageBytes)...), make([]byte, pageBytes)...)
	wantFile(t, dir+"/a", string(want))
	if off, err := a.Seek(0, unix.SEEK_HOLE); err != nil || off != pageBytes && off != 4*pageBytes {
		t.Errorf("hole at %d, %v", off, err)
	}
	wantErr(t, "insert range", unix.Fallocate(int(a.Fd()), unix.FALLOC_FL_INSERT_RANGE, 0, pageBytes), syscall.EOPNOTSUPP)
}

func direct(t *testing.T, dir string) {
	a := create(t, dir+"/a", unix.O_DIRECT)
	m, err := unix.Mmap(-1, 0, pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	must(t, err)
	copy(m, "direct")
	if n, err := a.Write(m); n != pageBytes || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
	clear(m)
	if n, err := a.ReadAt(m, 0); n != pageBytes || err != nil || !bytes.HasPrefix(m, []byte("direct")) {
		t.Errorf("read: %d, %v, %q", n, err, m[:10])
	}
}

func attributes(t *testing.T, dir string) {
	a := create(t, dir+"/a", 0)
	must(t, a.Chmod(0o640))
	must(t, unix.Setxattr(dir+"/a", "user.k", []byte("v"), 0))
	buf := make([]byte, 10)
	if n, err := unix.Getxattr(dir+"/a", "user.k", buf); err != nil || string(buf[:n]) != "v" {
		t.Errorf("xattr: %q, %v", buf, err)
	}
	info, err := a.Stat()
	must(t, err)
	must(t, os.Chtimes(dir+"/a", info.ModTime().Add(-1e9), info.ModTime().Add(-1e9)))
	later, err := os.Stat(dir + "/a")
	must(t, err)
	if later.Mode() != 0o640 || !later.ModTime().Equal(info.ModTime().Add(-1e9)) {
		t.Errorf("mode %v, time %v", later.Mode(), later.ModTime())
	}
}

func locks(t *testing.T, dir string) {
	a := create(t, dir+"/a", 0)
	b, err := os.Open(dir + "/a")
	must(t, err)
	defer b.Close()
	must(t, unix.Flock(int(a.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	wantErr(t, "second lock", unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB), syscall.EAGAIN)
	must(t, a.Close())
	must(t, unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB))
}

func manyEntries(t *testing.T, dir string) {
	const n = 1000
	for i := range n {
		f, err := os.Create(fmt.Sprintf("%s/an entry with a longer name %d", dir, i))
		must(t, err)
		must(t, f.Close())
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != n || !entries[0].Type().IsRegular() {
		t.Errorf("%d entries, want %d", len(entries), n)
	}
	must(t, os.RemoveAll(dir))
}

func appendTruncate(t *testing.T, dir string) {
	a := create(t, dir+"/a", os.O_APPEND)
	b := create(t, dir+"/a", os.O_APPEND)
	for range 3 {
		write(t, a, "a")
		write(t, b, "b")
	}
	wantFile(t, dir+"/a", "ababab")
	must(t, a.Truncate(2))
	write(t, b, "!")
	if _, err := a.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	wantFile(t, dir+"/a", "ab!")
	create(t, dir+"/a", os.O_TRUNC)
	wantFile(t, dir+"/a", "")
}

// What POSIX does not promise is undone in Strict: a directory that was not
// fsynced goes with what is in it, and a removed one comes back.
func TestStrictDirectories(t *testing.T) {
	f, mnt := faultfstest.Mount(t, faultfs.Config{Mode: faultfs.Strict})
	must(t, os.MkdirAll(mnt+"/kept/sub", 0o700))
	must(t, os.Mkdir(mnt+"/old", 0o700))
	syncPath(t, mnt+"/kept")
	syncPath(t, mnt)
	must(t, os.Mkdir(mnt+"/lost", 0o700))
	write(t, create(t, mnt+"/lost/a", 0), "x")
	must(t, os.Remove(mnt+"/old"))
	must(t, os.Rename(mnt+"/kept/sub", mnt+"/lost/sub"))
	must(t, os.Mkdir(mnt+"/new", 0o700))
	b := create(t, mnt+"/new/b", 0)
	write(t, b, "b")
	loss := cut(t, f, faultfs.Cut{})
	if loss.NamesUndone != 6 {
		t.Errorf("loss: %+v, want 6 names", loss)
	}
	for name, want := range map[string]bool{"kept/sub": true, "old": true, "lost": false, "new": false} {
		if _, err := os.Stat(filepath.Join(mnt, name)); (err == nil) != want {
			t.Errorf("%s after the cut: %v, want it there: %v", name, err, want)
		}
	}
	// The fsync of a new file covers the new directories above it.
	must(t, os.MkdirAll(mnt+"/x/y", 0o700))
	c := create(t, mnt+"/x/y/c", 0)
	write(t, c, "c")
	fsync(t, c)
	cut(t, f, faultfs.Cut{})
	wantFile(t, mnt+"/x/y/c", "c")
	// A replaced file is what it was, unless the directory was fsynced.
	write(t, create(t, mnt+"/x/y/tmp", unix.O_SYNC), "new")
	must(t, os.Rename(mnt+"/x/y/tmp", mnt+"/x/y/c"))
	cut(t, f, faultfs.Cut{})
	wantFile(t, mnt+"/x/y/c", "c")
	must(t, os.Rename(mnt+"/x/y/tmp", mnt+"/x/y/c"))
	syncPath(t, mnt+"/x/y")
	cut(t, f, faultfs.Cut{})
	wantFile(t, mnt+"/x/y/c", "new")
}
