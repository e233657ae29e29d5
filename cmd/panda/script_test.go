package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
)

// TestMain makes this binary four: the tests, the engine of their warehouse, the
// engine of a pipeline that a test starts in its own process, and panda itself, which
// the scripts run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "engine" && os.Getenv(engine.EnvParent) != "" {
		main()
		return
	}
	testscript.Main(runner{m}, map[string]func(){"panda": main})
}

type runner struct{ m *testing.M }

func (r runner) Run() int { return warehousetest.Main(r.m) }

// TestScripts runs the whole program the way a user does: every line of
// testdata/script/*.txtar is a process of its own, on a data directory of the
// script's own, with the log and the engine that ship.
func TestScripts(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"await": await},
		Setup: func(env *testscript.Env) error {
			for name, value := range map[string]string{
				"HOME": env.WorkDir, "XDG_CACHE_HOME": cache, "PANDA_DATA": filepath.Join(env.WorkDir, "data"),
				"PANDA_LOG_LEVEL": "error", "PANDA_TENANT": "acme-corp", "LC_ALL": "C.UTF-8",
			} {
				env.Setenv(name, value)
			}
			return nil
		},
	})
}

// await waits until a process that runs in the background has made a file.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await file")
	}
	const startMax = time.Minute // a cold engine on a loaded machine takes seconds
	deadline := time.NewTimer(startMax)
	defer deadline.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		select {
		case <-deadline.C:
			ts.Fatalf("%s is not there after %s", args[0], startMax)
		case <-poll.C:
		}
	}
}
