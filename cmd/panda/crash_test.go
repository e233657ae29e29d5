package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/internal/bench"
	"github.com/agentik-os/panda/internal/tenancy"
)

// TestCrash holds the first promise against real processes of the program as it is
// built.
func TestCrash(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "panda")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build panda: %v\n%s", err, out)
	}
	t.Run("killed", func(t *testing.T) { crashKilled(t, newVictim(t, binary)) })
	t.Run("drained", func(t *testing.T) { crashDrained(t, newVictim(t, binary)) })
}

// crashKilled: while loaders send over
// HTTP and NATS, each batch until it is acknowledged and some of them again, the
// server is killed three times, its engine twice and stopped once, at random
// moments. At the end what is counted is what was acknowledged, to the token.
func crashKilled(t *testing.T, v *victim) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed) // the moments of the kills still vary with the machine
	rng := rand.New(rand.NewPCG(seed, 0))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()

	v.start(ctx, t)
	acme, globex := v.tenant(t, "acme-corp"), v.tenant(t, "globex")

	var acked atomic.Int64
	stop := make(chan struct{})
	group, loading := errgroup.WithContext(ctx)
	for i := range 4 {
		l := &loader{
			name: fmt.Sprint("http-", i), rng: rand.New(rand.NewPCG(seed, uint64(i+1))), now: time.Now().UTC(),
			book: acme.book, acked: &acked, send: overHTTP(&v.url, acme.key),
		}
		if i == 0 {
			l.name, l.book, l.send = "nats", globex.book, overNATS(t, v.nats, globex.ID, globex.key)
		}
		group.Go(func() error { return l.run(loading, stop) })
	}

	faults := []func(context.Context, *testing.T){v.killServer, v.killServer, v.killServer, v.killEngine, v.killEngine,
		func(ctx context.Context, t *testing.T) { v.stopEngine(ctx, t, &acked) }}
	rng.Shuffle(len(faults), func(i, k int) { faults[i], faults[k] = faults[k], faults[i] })
	for _, fault := range faults {
		v.progress(loading, t, &acked, rng.Int64N(100))
		fault(loading, t)
	}
	v.progress(loading, t, &acked, 10)
	close(stop)
	if err := group.Wait(); err != nil {
		t.Fatalf("%v; the server said: %s", err, v.log.String())
	}
	for _, tenant := range []*crashTenant{acme, globex} {
		tenant.book.compare(t, func(path string, into any) { v.ask(t, http.MethodGet, path+"&tenant="+tenant.ID, nil, into) })
	}
	v.check(t, len(acme.book.events)+len(globex.book.events))
	t.Logf("%d batches acknowledged, %d and %d events", acked.Load(), len(acme.book.events), len(globex.book.events))
}

// crashDrained: a server that is told to end answers what it has taken and ends with
// 0, and the next one counts everything that was answered.
func crashDrained(t *testing.T, v *victim) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	v.start(ctx, t)
	acme := v.tenant(t, "acme-corp")
	var acked atomic.Int64
	stop := make(chan struct{})
	group, loading := errgroup.WithContext(ctx)
	for i := range 3 {
		l := &loader{
			name: fmt.Sprint("http-", i), rng: rand.New(rand.NewPCG(1, uint64(i))), now: time.Now().UTC(),
			book: acme.book, acked: &acked, send: overHTTP(&v.url, acme.key),
		}
		group.Go(func() error { return l.run(loading, stop) })
	}
	v.progress(loading, t, &acked, 30)
	if err := v.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-v.exited
	if code := v.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("ended with %d: %s", code, v.log.String())
	}
	if _, err := os.Stat(runFilePath(v.data)); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", runFilePath(v.data), err)
	}
	v.start(ctx, t)
	close(stop)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	acme.book.compare(t, func(path string, into any) { v.ask(t, http.MethodGet, path+"&tenant="+acme.ID, nil, into) })
	v.check(t, len(acme.book.events))
}

// A victim is `panda serve` on a data directory that outlives its processes.
type victim struct {
	binary, data, nats string

	url    atomic.Value // string; of the newest process
	cmd    *exec.Cmd
	log    bytes.Buffer  // of the newest process; read it after exited
	exited chan struct{} // closed when the newest process has ended
}

func newVictim(t *testing.T, binary string) *victim {
	t.Helper()
	v := &victim{binary: binary, data: filepath.Join(t.TempDir(), "data")}
	var err error
	if v.nats, err = freeAddress(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if v.cmd != nil {
			_ = v.cmd.Process.Kill()
			<-v.exited
		}
		if t.Failed() {
			t.Logf("the server said: %s", v.log.String())
		}
	})
	return v
}

// start starts the server and returns when it takes events in.
func (v *victim) start(ctx context.Context, t *testing.T) {
	t.Helper()
	v.log.Reset()
	v.cmd = exec.Command(v.binary, "serve", "--data", v.data, "--listen", "127.0.0.1:0", "--nats-listen", v.nats, "--log-level", "warn")
	v.cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Dir(v.data)) // what a kill leaves goes with the test
	v.cmd.Stderr = &v.log
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	v.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait() // it is killed
		close(exited)
	}(v.cmd, v.exited)
	v.await(ctx, t, "the address of the server", func() bool {
		run, err := readRunFile(v.data) // one that was killed leaves its own
		if err != nil || run.PID != v.cmd.Process.Pid {
			return false
		}
		v.url.Store(run.URL)
		return true
	})
}

// await polls a real process, for nothing here tells when it is so far.
func (v *victim) await(ctx context.Context, t *testing.T, what string, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-ctx.Done():
			t.Fatalf("no %s: %v", what, ctx.Err())
		case <-v.exited:
			t.Fatalf("panda serve ended before %s: %s", what, v.log.String())
		case <-tick.C:
		}
	}
}

// progress waits until so many more batches are acknowledged.
func (v *victim) progress(ctx context.Context, t *testing.T, acked *atomic.Int64, more int64) {
	t.Helper()
	goal := acked.Load() + more
	v.await(ctx, t, "acknowledgements", func() bool { return acked.Load() >= goal })
}

// killServer ends the server as a power cut would, and starts it again.
func (v *victim) killServer(ctx context.Context, t *testing.T) {
	t.Helper()
	if err := v.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-v.exited
	v.start(ctx, t)
}

// killEngine ends the engine alone; the server starts it again by itself.
func (v *victim) killEngine(ctx context.Context, t *testing.T) {
	t.Helper()
	engine := 0
	v.await(ctx, t, "child process", func() bool {
		engine = bench.ChildOf(v.cmd.Process.Pid)
		return engine != 0
	})
	if err := syscall.Kill(engine, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		t.Fatal(err)
	}
}

// stopEngine makes the engine hang. Events are acknowledged all the same, and the
// server puts another engine in its place.
func (v *victim) stopEngine(ctx context.Context, t *testing.T, acked *atomic.Int64) {
	t.Helper()
	v.raw(t, http.MethodGet, "/readyz", nil) // a start has more time than a hang
	engine := bench.ChildOf(v.cmd.Process.Pid)
	if err := syscall.Kill(engine, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	v.progress(ctx, t, acked, 20)
	v.await(ctx, t, "another engine", func() bool {
		child := bench.ChildOf(v.cmd.Process.Pid)
		return child != 0 && child != engine
	})
}

// crashTenant is a tenant with its key and what was acknowledged to it.
type crashTenant struct {
	ID   string `json:"id"`
	key  string
	book *remembered
}

func (v *victim) tenant(t *testing.T, slug string) *crashTenant {
	t.Helper()
	made := &crashTenant{book: &remembered{events: map[string]sentEvent{}, voided: map[string]bool{}}}
	v.ask(t, http.MethodPost, "/v1/tenants", map[string]any{"name": slug, "slug": slug, "plan": "enterprise"}, made)
	var key struct{ Key string }
	v.ask(t, http.MethodPost, "/v1/tenants/"+made.ID+"/keys",
		map[string]any{"name": "crash", "scopes": []tenancy.Permission{tenancy.PermissionIngest}}, &key)
	made.key = key.Key
	return made
}

// ask calls the API with the platform's key until the answer is a good one.
func (v *victim) ask(t *testing.T, method, path string, body, into any) {
	t.Helper()
	text := v.raw(t, method, path, body)
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
}

func (v *victim) raw(t *testing.T, method, path string, body any) (text []byte) {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(v.data, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	var sent []byte
	if body != nil {
		if sent, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last string
	v.await(ctx, t, fmt.Sprintf("good answer to %s %s", method, path), func() bool {
		req, err := http.NewRequestWithContext(ctx, method, v.url.Load().(string)+path, bytes.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if text, err = io.ReadAll(res.Body); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode/100 != 2 && res.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, text)
		}
		if last != string(text) && res.StatusCode/100 != 2 {
			last = string(text)
			t.Logf("%s %s: %s", method, path, last)
		}
		return res.StatusCode/100 == 2
	})
	return text
}

// check holds the intake against the number of distinct events, and lets the
// server prove the rest.
func (v *victim) check(t *testing.T, distinct int) {
	t.Helper()
	var sum struct{ Accepted, Duplicates, Conflicts, Quarantined int }
	v.ask(t, http.MethodGet, "/v1/summary", nil, &sum)
	if sum.Accepted != distinct || sum.Quarantined != 0 {
		t.Errorf("%d distinct events were acknowledged; %+v", distinct, sum)
	}
	t.Logf("%+v", sum)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	v.await(ctx, t, "windows as far as the ledger", func() bool {
		var at struct {
			Position struct{ Log, Ledger, Rollup uint64 }
		}
		v.ask(t, http.MethodGet, "/v1/summary", nil, &at)
		return at.Position.Rollup >= at.Position.Log
	})
	answer := v.raw(t, http.MethodPost, "/v1/verify", nil)
	checks := 0
	for line := range bytes.Lines(answer) {
		var c verifyLine
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		if checks++; !c.OK || c.Skipped != "" {
			t.Errorf("verify: %s", line)
		}
	}
	if checks < 2 {
		t.Errorf("verify: %s", answer)
	}
}
