package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/demo"
	"github.com/agentik-os/panda/schemas"
)

// newTestDemo returns a run of the demo on a new directory.
func newTestDemo(t *testing.T) (*demoRun, *bytes.Buffer) {
	t.Helper()
	out := &bytes.Buffer{}
	cfg := defaultConfig(os.Getenv)
	a := &app{getenv: os.Getenv, stdout: out, stderr: out, cfg: &cfg, output: outputTable, noColor: true}
	return &demoRun{app: a, dir: filepath.Join(t.TempDir(), "demo"), flags: demoFlags{events: 1000, seed: 1}}, out
}

func TestDemoDirectory(t *testing.T) {
	d, _ := newTestDemo(t)
	d.cfg.Data = "/srv/books" // where the user's own data is
	for _, c := range []struct {
		named bool
		env   map[string]string
		want  string
	}{
		{false, map[string]string{"HOME": "/home/u", "PANDA_DATA": "/srv/books"}, "/home/u/.cache/panda/demo"},
		{false, map[string]string{"HOME": "/home/u", "XDG_CACHE_HOME": "/c"}, "/c/panda/demo"},
		{true, map[string]string{"HOME": "/home/u"}, "/srv/books"},
		{false, nil, ""},
	} {
		d.getenv = func(name string) string { return c.env[name] }
		got, err := d.directory(c.named)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%v, %v: got %q, %v", c.named, c.env, got, err)
		}
	}
}

func TestDemoPrepare(t *testing.T) {
	now := time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)
	d, _ := newTestDemo(t)
	if err := d.prepare(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if d.month.String() != "2026-10" {
		t.Errorf("the last month is %s", d.month)
	}
	d.flags.keep = true
	if err := d.prepare(t.Context(), now); !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), "no finished demo") {
		t.Errorf("keep what was never loaded: %v", err)
	}
	finished := demo.Record{Seed: 5, Events: 2000, Month: "2026-09", Loaded: &demo.Loaded{}}
	if err := finished.Write(d.dir); err != nil {
		t.Fatal(err)
	}
	if err := d.prepare(t.Context(), now); err != nil || d.month.String() != "2026-09" || d.record.Seed != 5 {
		t.Errorf("keep: %v, %s, seed %d", err, d.month, d.record.Seed)
	}
	for name, spoil := range map[string]func(*demoFlags){
		"month that is not over": func(f *demoFlags) { f.month = "2026-11" },
		"month too old":          func(f *demoFlags) { f.month = "2025-10" },
		"no month":               func(f *demoFlags) { f.month = "october" },
		"few events":             func(f *demoFlags) { f.events = 1 },
	} {
		d, _ := newTestDemo(t)
		spoil(&d.flags)
		if err := d.prepare(t.Context(), now); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(d.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a refused demo left a directory", name)
		}
	}
}

func TestDemoCompareSaysWhatDiffers(t *testing.T) {
	d, out := newTestDemo(t)
	d.getenv = func(string) string { return "" }
	if err := d.compare(nil, 7037); err != nil || !strings.Contains(out.String(), "the sums equal what was sent, to the pico-dollar (7,037 numbers compared)") {
		t.Errorf("%v: %s", err, out)
	}
	out.Reset()
	found := make([]demo.Mismatch, 22)
	found[0] = demo.Mismatch{Where: "Acme Corporation", What: "cost in pico-USD", Want: "5", Got: "6"}
	if err := d.compare(found, 7037); !errors.Is(err, errFoundWrong) || exitCode(err) != exitWrong {
		t.Errorf("got %v", err)
	}
	for _, want := range []string{"22 of 7,037 numbers differ", "Acme Corporation: cost in pico-USD is 6, sent was 5", "and 2 more"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
}

func TestQuoted(t *testing.T) {
	for path, want := range map[string]string{"/tmp/a-b_c.d": "/tmp/a-b_c.d", "/tmp/my demo": "'/tmp/my demo'", "/tmp/it's": `'/tmp/it'\''s'`} {
		if got := quoted(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}
