package demo

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/schemas"
)

func TestRenewKeepsWhatIsNotItsOwn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "demo")
	if _, err := ReadRecord(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a record of nothing: %v", err)
	}
	want := Record{Seed: 3, Events: 1000, Month: "2026-10"}
	if err := want.Renew(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "log", "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	want.Seed, want.Loaded = 4, &Loaded{Requests: 2}
	if err := want.Renew(dir); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRecord(dir)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := os.Stat(filepath.Join(dir, "log")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the earlier demo is still there: %v", err)
	}

	foreign := t.TempDir()
	precious := filepath.Join(foreign, "ledger")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := want.Renew(foreign); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a directory of somebody else: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("it was touched: %v", err)
	}
}
