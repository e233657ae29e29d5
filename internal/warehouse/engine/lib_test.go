package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func env(kv ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == name {
				return kv[i+1]
			}
		}
		return ""
	}
}

func TestFindLib(t *testing.T) {
	dir := t.TempDir()
	lib := filepath.Join(dir, "panda", "engine", Version, "libchdb.so")
	if err := os.MkdirAll(filepath.Dir(lib), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := FindLib(env("XDG_CACHE_HOME", dir)); !errors.Is(err, ErrLibMissing) || !strings.Contains(err.Error(), "make engine") {
		t.Errorf("nothing there: got %v", err)
	}
	if err := os.WriteFile(lib, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The variables of other users of the library are not ours.
	for _, getenv := range []func(string) string{
		env("XDG_CACHE_HOME", dir, "CHDB_LIB_PATH", "/planted/libchdb.so", "LD_LIBRARY_PATH", "/planted"),
		env(EnvLib, lib),
	} {
		if got, err := FindLib(getenv); err != nil || got != lib {
			t.Errorf("got %s, %v", got, err)
		}
	}
}

func TestVerifyLib(t *testing.T) {
	path := filepath.Join(t.TempDir(), "libchdb.so")
	write := func(text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte("good"))
	want, at := hex.EncodeToString(sum[:]), time.Unix(1000, 0)
	write("good", at)
	for range 2 { // the second time by the stamp
		if err := verifyLib(path, strings.ToUpper(want)); err != nil {
			t.Fatal(err)
		}
	}
	write("evil", at.Add(1))
	if err := verifyLib(path, want); !errors.Is(err, ErrLibChecksum) || !strings.Contains(err.Error(), want) {
		t.Errorf("another file under an old stamp: got %v", err)
	}
	if err := verifyLib(path+".gone", want); !errors.Is(err, ErrLibMissing) {
		t.Errorf("no file: got %v", err)
	}
}

func TestExitCodes(t *testing.T) {
	for _, want := range []error{ErrConfig, ErrLibMissing, ErrLibChecksum, ErrDataDirInUse} {
		if got := ErrorOfExit(ExitCode(want)); got != want {
			t.Errorf("%v came back as %v", want, got)
		}
	}
	if ExitCode(nil) != 0 || ExitCode(errors.New("x")) != 1 || ErrorOfExit(1) != nil {
		t.Error("the plain codes changed")
	}
}
