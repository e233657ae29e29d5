//go:build linux

package faultfstest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/agentik-os/panda/internal/faultfs"
)

// Mount mounts a file system over a fresh directory for the time of a test, and
// returns it with its mount point. The directories in cfg are filled in if empty.
// Processes that the test starts on it must be cleaned up after this call, which
// is to say registered with tb.Cleanup later.
func Mount(tb testing.TB, cfg faultfs.Config) (*faultfs.FS, string) {
	tb.Helper()
	Require(tb)
	dir := tb.TempDir()
	for at, name := range map[*string]string{&cfg.Backing: "disk", &cfg.Mountpoint: "mnt"} {
		if *at == "" {
			*at = filepath.Join(dir, name)
		}
		if err := os.MkdirAll(*at, 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	f := faultfs.New(cfg)
	if err := f.Mount(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	})
	return f, cfg.Mountpoint
}

// Require skips a test on a machine that cannot mount.
func Require(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("no root: faultfs cannot mount")
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		tb.Skipf("no FUSE: %v", err)
	}
	_ = f.Close()
}
