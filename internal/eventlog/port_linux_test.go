package eventlog_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
)

// tcpSockets counts the TCP sockets of this process.
func tcpSockets(t *testing.T) int {
	t.Helper()
	mine := map[string]bool{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if inode, ok := strings.CutPrefix(target, "socket:["); ok && err == nil {
			mine[strings.TrimSuffix(inode, "]")] = true
		}
	}
	n := 0
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		file, err := os.Open(table)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); len(fields) > 9 && mine[fields[9]] {
				n++
			}
		}
	}
	return n
}

func TestNoPortUnlessAsked(t *testing.T) {
	before := tcpSockets(t)
	log := eventlogtest.Open(t)
	if err := log.Healthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := tcpSockets(t); got != before {
		t.Fatalf("%d TCP sockets were opened, want none", got-before)
	}
	if log.Addr() != "" {
		t.Fatalf("address %q, want none", log.Addr())
	}
	open := eventlogtest.OpenConfig(t, eventlog.Config{Listen: "127.0.0.1:0"})
	if got := tcpSockets(t); got != before+1 {
		t.Fatalf("%d TCP sockets were opened, want the one asked for", got-before)
	}
	if !strings.HasPrefix(open.Addr(), "127.0.0.1:") {
		t.Fatalf("address %q, want 127.0.0.1", open.Addr())
	}
}
