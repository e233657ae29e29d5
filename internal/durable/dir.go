package durable

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

// SyncDir makes new names in a directory safe, and that old ones are gone. File systems
// that cannot sync a directory keep its names by themselves or not at all, so their
// refusal is no error.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if runtime.GOOS == "windows" || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
