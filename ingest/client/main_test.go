package client

import (
	"bufio"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Variables that turn this test binary into an agent runtime that dies.
const (
	childSpool = "PANDA_CLIENT_TEST_SPOOL"
	childURL   = "PANDA_CLIENT_TEST_URL"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childSpool); dir != "" {
		runChild(dir, os.Getenv(childURL))
		return
	}
	goleak.VerifyTestMain(m)
}

// runChild records events for ever and says so on stdout, one line per event that
// Record took.
func runChild(dir, url string) {
	c, err := New(Config{URL: url, APIKey: "panda_test", Source: "/test", SpoolDir: dir, BatchEventsMax: 10,
		FlushEvery: time.Millisecond, BackoffMin: time.Millisecond, BackoffMax: time.Millisecond})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("%d-%d", os.Getpid(), i)
		if err := c.Record(event(id)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(id)
	}
}

// A runtime is killed in the middle of its work, twice. What Record took is
// counted once by the end; the one event that was cut off by the kill before
// Record returned may be counted too.
func TestKilledRuntimeLosesNothing(t *testing.T) {
	dir := t.TempDir()
	o := newOracle(t, none, dropAfter, status500, dropAfter)
	srv := httptest.NewServer(o)
	defer srv.Close()
	var taken []string
	for range 2 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childSpool+"="+dir, childURL+"="+srv.URL)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			taken = append(taken, lines.Text())
			if n == 300 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) {
			t.Fatalf("the child ended with %v, want it killed", err)
		}
	}
	c, err := New(Config{URL: srv.URL, APIKey: "panda_test", Source: "/test", SpoolDir: dir,
		OnError: func(err error) {
			if !errors.Is(err, ErrSpoolDamaged) { // the torn last record
				t.Errorf("OnError: %v", err)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, c)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range taken {
		if o.events[id] == "" {
			t.Errorf("event %s was lost", id)
		}
	}
	if extra := len(o.events) - len(taken); extra < 0 || extra > 2 {
		t.Errorf("%d events counted, %d were taken", len(o.events), len(taken))
	}
}
