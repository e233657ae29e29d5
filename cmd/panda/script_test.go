package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/agentik-os/panda/alerting/channel/channeltest"
	"github.com/agentik-os/panda/internal/apidoc/apidoctest"
	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
)

// TestMain makes this binary five: the tests, a mail server, the engine of their warehouse, the
// engine of a pipeline that a test starts in its own process, and panda itself, which
// the scripts run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "engine" && os.Getenv(engine.EnvParent) != "" {
		main()
		return
	}
	channeltest.ServeMail()
	testscript.Main(runner{m}, map[string]func(){"panda": checkedMain})
}

// checkedMain is main with every exchange of its client held against the API's
// description; one that differs fails the command.
func checkedMain() {
	checker, err := apidoctest.New()
	if err != nil {
		panic(err)
	}
	http.DefaultTransport = checker.Transport(http.DefaultTransport)
	main()
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
	mail := channeltest.StartMail(t, true)
	hooks, hookDir := keptHooks(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"await": await, "screen": screen, "save": save},
		Setup: func(env *testscript.Env) error {
			for name, value := range map[string]string{
				"HOME": env.WorkDir, "XDG_CACHE_HOME": cache, "PANDA_DATA": filepath.Join(env.WorkDir, "data"),
				"PANDA_LOG_LEVEL": "error", "MAIL_URL": mail.URL, "MAIL_DIR": filepath.Dir(mail.RootsFile), "HOOK_URL": hooks, "HOOK_DIR": hookDir, "PANDA_TENANT": "acme-corp", "LC_ALL": "C.UTF-8",
			} {
				env.Setenv(name, value)
			}
			return nil
		},
	})
}

// keptHooks starts a receiver of webhooks that keeps each body in a file of its directory,
// named by the first part of the path and how many came there before. /gone is gone.
func keptHooks(t *testing.T) (address, dir string) {
	dir = t.TempDir()
	var mu sync.Mutex
	counts := map[string]int{}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.Trim(r.URL.Path, "/")
		if name == "gone" {
			w.WriteHeader(http.StatusGone)
			return
		}
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d.json", filepath.Base(name), counts[name])), body, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
		counts[name]++
	}))
	t.Cleanup(receiver.Close)
	return receiver.URL, dir
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

var rewrite = flag.Bool("rewrite", false, "write what the commands of the scripts print into the scripts")

// changing is what differs from run to run: times, ids and revisions. What stands in for
// times and ids is as long as they are, so that tables keep their shape.
var changing = regexp.MustCompile(`(?m)\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d\b|\b(ten_|mem_|inv_|key:)[a-z2-7]{8,12}\b|^(Revision: )\d+$`)

var letter = regexp.MustCompile(`[0-9a-z]`)

// screen compares what the last command has printed with a file, character by character
// but for what is changing: every digit and letter of that is an x.
func screen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: screen file")
	}
	got := changing.ReplaceAllStringFunc(ts.ReadFile("stdout"), func(s string) string {
		if strings.HasPrefix(s, "Revision: ") {
			return "Revision: x"
		}
		head := strings.IndexAny(s, "_:") + 1
		if strings.HasPrefix(s, "20") {
			head = 0
		}
		return s[:head] + letter.ReplaceAllString(s[head:], "x")
	})
	if *rewrite {
		rewriteFile(ts, filepath.Join("testdata", "script", ts.Name()+".txtar"), args[0], got)
		return
	}
	if diff := cmp.Diff(ts.ReadFile(args[0]), got); diff != "" {
		ts.Fatalf("the screen is not that of %s (-want +got):\n%s\n%s", args[0], diff, got)
	}
}

// rewriteFile replaces a file of a script.
func rewriteFile(ts *testscript.TestScript, script, name, text string) {
	archive, err := txtar.ParseFile(script)
	ts.Check(err)
	for i := range archive.Files {
		if archive.Files[i].Name == name {
			archive.Files[i].Data = []byte(text)
		}
	}
	ts.Check(os.WriteFile(script, txtar.Format(archive), 0o644))
}

// save keeps what the last command has printed as a variable: the whole of it, or what
// the group of a pattern matches.
func save(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: save variable [pattern]")
	}
	text := strings.TrimSpace(ts.ReadFile("stdout"))
	if len(args) == 2 {
		found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(text)
		if len(found) != 2 {
			ts.Fatalf("%s is not in:\n%s", args[1], text)
		}
		text = found[1]
	}
	ts.Setenv(args[0], text)
}
