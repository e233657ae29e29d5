package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// FindLib returns where libchdb.so is: PANDA_ENGINE_LIB if it is set, else in the
// user's cache directory. It fails with ErrLibMissing when nothing is there.
func FindLib(getenv func(string) string) (string, error) {
	path := getenv(EnvLib)
	if path == "" {
		cache, err := cacheDir(getenv)
		if err != nil {
			return "", fmt.Errorf("%w: no cache directory (%w): set %s", ErrLibMissing, err, EnvLib)
		}
		path = filepath.Join(cache, "panda", "engine", Version, "libchdb.so")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find engine library: %w", err)
	}
	if _, err := os.Stat(path); err != nil {
		return "", missing(path)
	}
	return path, nil
}

// cacheDir is os.UserCacheDir over the environment that was given.
func cacheDir(getenv func(string) string) (string, error) {
	if d := getenv("XDG_CACHE_HOME"); filepath.IsAbs(d) {
		return d, nil
	}
	if h := getenv("HOME"); h != "" {
		return filepath.Join(h, ".cache"), nil
	}
	return "", errors.New("neither XDG_CACHE_HOME nor HOME is set")
}

func missing(path string) error {
	return fmt.Errorf("%w: %s: run `make engine`, or set %s to a libchdb.so, or use an external ClickHouse by --clickhouse-url",
		ErrLibMissing, path, EnvLib)
}

// verifyLib checks that the file has the sum. Reading 559 MB takes a second, so
// a success is noted in a stamp file beside the library, valid for exactly this
// size, modification time and inode. The stamp saves time and guards against
// nothing: who can write it can write the library.
func verifyLib(path, want string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return missing(path)
	}
	if err != nil {
		return fmt.Errorf("look at engine library: %w", err)
	}
	stamp, identity := path+".verified", libIdentity(info, want)
	if have, err := os.ReadFile(stamp); err == nil && string(have) == identity {
		return nil
	}
	got, err := sumFile(path)
	if err != nil {
		return fmt.Errorf("read engine library: %w", err)
	}
	if !strings.EqualFold(got, want) {
		return fmt.Errorf("%w: %s: expected %s, got %s: remove the file and run `make engine`, "+
			"or set %s to the sum of a build that you trust", ErrLibChecksum, path, want, got, EnvSHA256)
	}
	// A directory that cannot be written to costs the time again, nothing else.
	_ = os.WriteFile(stamp, []byte(identity), 0o644)
	return nil
}

func libIdentity(info os.FileInfo, want string) string {
	var inode uint64
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return fmt.Sprintf("%s size=%d mtime=%d inode=%d\n", strings.ToLower(want), info.Size(), info.ModTime().UnixNano(), inode)
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
