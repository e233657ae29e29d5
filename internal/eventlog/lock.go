package eventlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dirLock is the exclusive right to a data directory. The kernel drops it when
// the process ends, however it ends.
type dirLock struct{ file *os.File }

// lockDir makes the directory if needed, readable for its owner alone, and takes
// its lock. Another holder is ErrInUse.
func lockDir(dir string) (*dirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("restrict data directory: %w", err)
	}
	path := filepath.Join(dir, "lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := takeLock(file); err != nil {
		defer file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s is held by process %s", ErrInUse, dir, holderOf(file))
		}
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	// The number is for the message above; the lock is the truth.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	return &dirLock{file: file}, nil
}

// lockWaitMax is how long the lock of a dead process is waited for. A child that its
// holder was starting when it was killed has the lock until it runs its own program.
const lockWaitMax = 3 * time.Second

// takeLock takes the lock, waiting for a moment if its holder is dead.
func takeLock(file *os.File) error {
	for began := time.Now(); ; {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Since(began) > lockWaitMax {
			return err
		}
		pid, known := strconv.Atoi(holderOf(file))
		if known != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func holderOf(file *os.File) string {
	buf := make([]byte, 20)
	n, _ := file.ReadAt(buf, 0)
	if pid := strings.TrimSpace(string(buf[:n])); pid != "" {
		return pid
	}
	return "unknown"
}

func (l *dirLock) release() error { return l.file.Close() }
