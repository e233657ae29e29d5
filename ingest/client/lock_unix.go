//go:build unix

package client

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the exclusive right to a spool. The kernel drops it when the
// process ends, however it ends.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrSpoolInUse
	}
	return err
}
