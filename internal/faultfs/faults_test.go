//go:build linux

package faultfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/agentik-os/panda/internal/faultfs"
	"github.com/agentik-os/panda/internal/faultfs/faultfstest"
)

// childEnv makes the test binary a program that renames a file below a directory.
const childEnv = "PANDA_FAULTFS_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		err := os.WriteFile(filepath.Join(dir, "tmp_part"), []byte("part"), 0o600)
		if err == nil {
			err = os.Rename(filepath.Join(dir, "tmp_part"), filepath.Join(dir, "part"))
		}
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(3)
	}
	os.Exit(m.Run())
}

func rng(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// cut cuts the power and comes back.
func cut(t *testing.T, f *faultfs.FS, c faultfs.Cut) faultfs.Loss {
	t.Helper()
	loss, err := f.PowerCut(rng(t), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Remount(); err != nil {
		t.Fatal(err)
	}
	return loss
}

func create(t *testing.T, name string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func write(t *testing.T, f *os.File, text string) {
	t.Helper()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func fsync(t *testing.T, f *os.File) {
	t.Helper()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func wantFile(t *testing.T, name, want string) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %.60q (%d bytes), %v; want %.60q (%d bytes)", filepath.Base(name), got, len(got), err, want, len(want))
	}
}

func TestSyncedSurvivesAndUnsyncedDoesNot(t *testing.T) {
	f, mnt := faultfstest.Mount(t, faultfs.Config{})
	a := create(t, mnt+"/a", 0)
	write(t, a, "synced")
	fsync(t, a)
	write(t, a, " and not")
	b := create(t, mnt+"/b", unix.O_SYNC)
	write(t, b, "by O_SYNC")
	c := create(t, mnt+"/c", 0)
	write(t, c, "by fdatasync")
	if err := unix.Fdatasync(int(c.Fd())); err != nil {
		t.Fatal(err)
	}
	d := create(t, mnt+"/d", 0)
	write(t, d, "by the kernel alone")
	if err := unix.SyncFileRange(int(d.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER); err != nil {
		t.Fatal(err)
	}
	if s := f.Stats(); s.FilesUnsynced != 2 || s.PagesUnsynced != 2 {
		t.Errorf("stats before the cut: %+v", s)
	}
	loss := cut(t, f, faultfs.Cut{})
	if loss.Files != 2 || loss.PagesLost != 2 || loss.BytesCut != int64(len(" and not")+len("by the kernel alone")) {
		t.Errorf("loss: %+v", loss)
	}
	wantFile(t, mnt+"/a", "synced")
	wantFile(t, mnt+"/b", "by O_SYNC")
	wantFile(t, mnt+"/c", "by fdatasync")
	wantFile(t, mnt+"/d", "")
	if _, err := a.WriteString("x"); !errors.Is(err, syscall.EIO) {
		t.Errorf("write through a descriptor from before the cut: %v, want EIO", err)
	}
	if err := f.Mount(); !errors.Is(err, faultfs.ErrMounted) {
		t.Errorf("mount of what is mounted: %v", err)
	}
	_ = f.Close()
	if _, err := f.PowerCut(rng(t), faultfs.Cut{}); !errors.Is(err, faultfs.ErrNotMounted) {
		t.Errorf("cut of what is not mounted: %v", err)
	}
}

// A page dirtied through a mapping is durable after an fsync, and only then.
func TestSharedMapping(t *testing.T) {
	f, mnt := faultfstest.Mount(t, faultfs.Config{})
	for _, name := range []string{"synced", "unsynced"} {
		a := create(t, mnt+"/"+name, 0)
		write(t, a, strings.Repeat("o", 2*pageBytes))
		fsync(t, a)
		m, err := unix.Mmap(int(a.Fd()), 0, 2*pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		m[pageBytes] = 'n'
		if name == "synced" {
			fsync(t, a)
		}
		if err := unix.Munmap(m); err != nil {
			t.Fatal(err)
		}
	}
	cut(t, f, faultfs.Cut{})
	want := strings.Repeat("o", 2*pageBytes)
	wantFile(t, mnt+"/unsynced", want)
	wantFile(t, mnt+"/synced", want[:pageBytes]+"n"+want[pageBytes+1:])
}

func TestFailSync(t *testing.T) {
	f, mnt := faultfstest.Mount(t, faultfs.Config{})
	a := create(t, mnt+"/a.blk", 0)
	write(t, a, "first ")
	x := f.FailSync(faultfs.Base("*.blk"), syscall.EIO, 1)
	if err := a.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("fsync: %v, want EIO", err)
	}
	wantFile(t, mnt+"/a.blk", "first ")
	fsync(t, a) // says all is well, as Linux does
	if x.Bites() != 1 || f.Stats().SyncsFailed != 1 {
		t.Errorf("%d bites", x.Bites())
	}
	b := create(t, mnt+"/b.blk", 0)
	write(t, b, "again ")
	y := f.FailSync(faultfs.Base("b.blk"), syscall.ENOSPC, 0)
	for range 3 {
		if err := b.Sync(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("fsync: %v, want ENOSPC", err)
		}
	}
	y.Off()
	if _, err := b.WriteAt([]byte("A"), 0); err != nil { // dirties the page anew
		t.Fatal(err)
	}
	fsync(t, b)
	c := create(t, mnt+"/c.blk", unix.O_DSYNC)
	z := f.FailSync(faultfs.Under("nowhere"), syscall.EIO, 0)
	write(t, c, "durable")
	f.FailSync(faultfs.Any, syscall.EIO, 1)
	if _, err := c.WriteString("!"); !errors.Is(err, syscall.EIO) {
		t.Errorf("O_DSYNC write: %v, want EIO", err)
	}
	cut(t, f, faultfs.Cut{Torn: true})
	wantFile(t, mnt+"/a.blk", "\x00\x00\x00\x00\x00\x00")
	wantFile(t, mnt+"/b.blk", "Again ")
	if got, err := os.ReadFile(mnt + "/c.blk"); err != nil || !strings.HasPrefix(string(got), "durable") || len(got) == 8 && got[7] != 0 {
		t.Errorf("c.blk holds %q, %v", got, err)
	}
	if z.Bites() != 0 || y.Bites() != 3 {
		t.Errorf("bites: %d, %d", z.Bites(), y.Bites())
	}
}

func TestSlowSync(t *testing.T) {
	f, mnt := faultfstest.Mount(t, faultfs.Config{})
	a := create(t, mnt+"/a", 0)
	write(t, a, "x")
	const d = 80 * time.Millisecond
	x := f.SlowSync(faultfs.Any, d)
	start := time.Now()
	fsync(t, a)
	if took := time.Since(start); took < d || x.Bites() != 1 {
		t.Errorf("fsync took %s, want at least %s; %d bites", took, d, x.Bites())
	}
	// A cut does not wait for a slow disk.
	x.Off()
	f.SlowSync(faultfs.Any, time.Hour)
	waiting := make(chan struct{})
	f.OnOp(func(op faultfs.Op) syscall.Errno {
		if op.Kind == faultfs.Sync {
			close(waiting)
		}
		return 0
	})
	ended := make(chan error, 1)
	write(t, a, "y")
	go func() { ended <- a.Sync() }()
	<-waiting
	f.OnOp(nil)
	cut(t, f, faultfs.Cut{})
	if err := <-ended; !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync over a power cut: %v, want EIO", err)
	}
	wantFile(t, mnt+"/a", "x")
}

func TestFailedAndTornWrites(t *testing.T) {
	f, mnt := faultfstest.Mount(t, faultfs.Config{})
	a := create(t, mnt+"/a", 0)
	x := f.FailWrite(faultfs.Base("a"), syscall.EIO, 1)
	if n, err := a.WriteString("lost"); n != 0 || !errors.Is(err, syscall.EIO) {
		t.Errorf("write: %d, %v, want EIO", n, err)
	}
	write(t, a, "there")
	y := f.TearWrite(faultfs.Base("a"), syscall.ENOSPC, 1)
	n, err := a.WriteString("0123456789")
	if n != 5 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("torn write: %d, %v, want 5 and ENOSPC", n, err)
	}
	wantFile(t, mnt+"/a", "there01234")
	write(t, a, "56789")
	wantFile(t, mnt+"/a", "there0123456789")
	if x.Bites() != 1 || y.Bites() != 1 {
		t.Errorf("bites: %d, %d", x.Bites(), y.Bites())
	}
}

func TestCapacity(t *testing.T) {
	f, mnt := faultfstest.Mount(t, faultfs.Config{})
	const pages = 10
	f.Capacity(pages * pageBytes)
	a := create(t, mnt+"/a", 0)
	n, err := a.Write(make([]byte, 12*pageBytes))
	if n != pages*pageBytes || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write beyond the disk: %d, %v, want %d and ENOSPC", n, err, pages*pageBytes)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(mnt, &st); err != nil || st.Bavail != 0 || int64(st.Blocks)*st.Bsize != pages*pageBytes {
		t.Errorf("statfs: %+v, %v", st, err)
	}
	if _, err := a.WriteAt([]byte("over"), 0); err != nil {
		t.Errorf("overwriting on a full disk: %v", err)
	}
	b := create(t, mnt+"/b", 0)
	if err := b.Truncate(1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("truncate up: %v, want ENOSPC", err)
	}
	if err := unix.Fallocate(int(b.Fd()), 0, 0, 1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("fallocate: %v, want ENOSPC", err)
	}
	f.Capacity((pages + 1) * pageBytes)
	write(t, b, "fits")
	if err := a.Truncate(5 * pageBytes); err != nil {
		t.Fatal(err)
	}
	if got, want := f.Stats().UsedBytes, int64(6*pageBytes); got != want {
		t.Errorf("%d bytes used, want %d", got, want)
	}
	// A file without a name takes space until it is closed and its end is durable.
	if err := os.Remove(mnt + "/a"); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	fsync(t, b)
	await(t, "space given back", func() bool { return f.Stats().UsedBytes == pageBytes })
	cut(t, f, faultfs.Cut{})
	if got := f.Stats().UsedBytes; got != pageBytes {
		t.Errorf("%d bytes used after the cut, want %d", got, pageBytes)
	}
}

// await polls until there is true.
func await(t *testing.T, what string, there func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !there(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within 10 s", what)
		}
	}
}

func TestFlipBit(t *testing.T) {
	f, mnt := faultfstest.Mount(t, faultfs.Config{})
	a := create(t, mnt+"/a", 0)
	write(t, a, strings.Repeat("a", 3*pageBytes))
	if _, _, err := f.FlipRandomBit(rng(t), faultfs.Any); err == nil {
		t.Error("damaged a page that is not on the disk yet")
	}
	fsync(t, a)
	buf := make([]byte, 3*pageBytes)
	if _, err := a.ReadAt(buf, 0); err != nil { // now the kernel has it
		t.Fatal(err)
	}
	if err := f.FlipBit("a", pageBytes, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ReadAt(buf, 0); err != nil || buf[pageBytes] != 'a'^2 {
		t.Errorf("an open file reads %q, %v, want %q", buf[pageBytes], err, 'a'^2)
	}
	path, offset, err := f.FlipRandomBit(rng(t), faultfs.Base("a"))
	if err != nil || path != "a" {
		t.Fatalf("%s, %v", path, err)
	}
	before := buf[offset]
	if _, err := a.ReadAt(buf, 0); err != nil || buf[offset] == before {
		t.Errorf("byte %d is as before, %v", offset, err)
	}
	if err := f.FlipBit("nope", 0, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := f.FlipBit("a", 3*pageBytes, 0); err == nil {
		t.Error("flipped a bit beyond the end")
	}
}

// A hook kills a process exactly before a rename, which then did not happen.
func TestHookKillsBeforeRename(t *testing.T) {
	f, mnt := faultfstest.Mount(t, faultfs.Config{})
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+mnt)
	var mu sync.Mutex
	var seen []faultfs.Op
	f.OnOp(func(op faultfs.Op) syscall.Errno {
		mu.Lock()
		seen = append(seen, op)
		mu.Unlock()
		if op.Kind != faultfs.Rename {
			return 0
		}
		_ = syscall.Kill(op.PID, syscall.SIGKILL)
		<-op.Done
		return syscall.EINTR
	})
	out, err := child.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child ended with %v, %s; want a kill", err, out)
	}
	f.OnOp(nil)
	var kinds []string
	mu.Lock()
	defer mu.Unlock()
	for _, op := range seen {
		kinds = append(kinds, string(op.Kind)+" "+op.Path+" "+op.NewPath)
		if op.PID != child.Process.Pid {
			t.Errorf("%s by process %d, want %d", op.Kind, op.PID, child.Process.Pid)
		}
	}
	if got, want := strings.Join(kinds, ", "), "create tmp_part , write tmp_part , rename tmp_part part"; got != want {
		t.Errorf("operations: %s; want %s", got, want)
	}
	wantFile(t, mnt+"/tmp_part", "part")
	if _, err := os.Stat(mnt + "/part"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the rename happened: %v", err)
	}
	// An error of a hook is the operation's.
	f.OnOp(func(op faultfs.Op) syscall.Errno { return syscall.EDQUOT })
	for what, do := range map[string]func() error{
		"create": func() error { return os.WriteFile(mnt+"/x", nil, 0o600) }, "mkdir": func() error { return os.Mkdir(mnt+"/x", 0o700) },
		"link": func() error { return os.Link(mnt+"/tmp_part", mnt+"/x") }, "symlink": func() error { return os.Symlink("x", mnt+"/x") },
		"unlink": func() error { return unix.Unlink(mnt + "/tmp_part") }, "truncate": func() error { return os.Truncate(mnt+"/tmp_part", 0) },
		"rename": func() error { return os.Rename(mnt+"/tmp_part", mnt+"/x") },
	} {
		if err := do(); !errors.Is(err, syscall.EDQUOT) {
			t.Errorf("%s: %v, want EDQUOT", what, err)
		}
	}
}

// Several programs write records and fsync them while the power is cut: each
// record that was synced is there, whole, in every mode.
func TestCutUnderLoad(t *testing.T) {
	for _, mode := range []faultfs.Mode{faultfs.Journaled, faultfs.Strict} {
		t.Run(mode.String(), func(t *testing.T) {
			f, mnt := faultfstest.Mount(t, faultfs.Config{Mode: mode})
			const writers, enough = 4, 60
			synced := make([]int, writers)
			for range 3 {
				total := make(chan struct{}, 10000)
				var g errgroup.Group
				for w := range writers {
					g.Go(func() error { return appendUntilCut(fmt.Sprintf("%s/w%d", mnt, w), &synced[w], total) })
				}
				for range enough {
					<-total
				}
				if _, err := f.PowerCut(rng(t), faultfs.Cut{Torn: true}); err != nil {
					t.Fatal(err)
				}
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
				if err := f.Remount(); err != nil {
					t.Fatal(err)
				}
				for w, n := range synced {
					got, err := os.ReadFile(fmt.Sprintf("%s/w%d/log", mnt, w))
					if n > 0 && (err != nil || len(got) < n*recordBytes || !bytes.Equal(got[:n*recordBytes], records(n))) {
						t.Errorf("writer %d synced %d records; %d bytes are there, %v", w, n, len(got), err)
					}
				}
			}
			t.Logf("synced: %v; %+v", synced, f.Stats())
		})
	}
}

const recordBytes = 700

func records(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%0*d", recordBytes, i)
	}
	return b.Bytes()
}

// appendUntilCut appends records after those that are whole, in the way of a
// careful program. The fsync of a new file is one of its new directory.
func appendUntilCut(dir string, synced *int, total chan<- struct{}) error {
	cutOr := func(err error) error {
		if errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOTCONN) {
			return nil
		}
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return cutOr(err)
	}
	f, err := os.OpenFile(dir+"/log", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return cutOr(err)
	}
	defer f.Close()
	for i := *synced; ; i++ {
		if _, err := f.WriteAt(fmt.Appendf(nil, "%0*d", recordBytes, i), int64(i*recordBytes)); err != nil {
			return cutOr(err)
		}
		if err := f.Sync(); err != nil {
			return cutOr(err)
		}
		*synced = i + 1
		select {
		case total <- struct{}{}:
		default:
		}
	}
}
