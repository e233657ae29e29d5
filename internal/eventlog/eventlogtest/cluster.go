package eventlogtest

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/servers"
)

// startMax is how long servers may take to find each other and elect leaders on
// a busy machine.
const startMax = time.Minute

// Servers is a cluster of three servers in the test's process, each with a store
// of its own and every write fsynced, that talk over loopback.
type Servers struct {
	t       testing.TB
	configs [3]servers.Config
	running [3]*server.Server
}

// Cluster starts three servers and stops them when the test ends.
func Cluster(t testing.TB) *Servers {
	t.Helper()
	s := &Servers{t: t}
	ports := freePorts(t, 6)
	dir := t.TempDir()
	for i := range s.configs {
		s.configs[i] = servers.Config{
			Name: fmt.Sprintf("log-%d", i), Dir: filepath.Join(dir, fmt.Sprint(i)),
			Client: ports[i], Route: ports[3+i], Routes: ports[3:],
		}
		s.Start(i)
	}
	t.Cleanup(func() {
		for i := range s.running {
			s.Stop(i)
		}
	})
	await(t, "a leader of the cluster", func() bool {
		for _, srv := range s.running {
			if srv.JetStreamIsLeader() {
				return len(srv.JetStreamClusterPeers()) == len(s.running)
			}
		}
		return false
	})
	return s
}

// freePorts finds addresses that nobody listens on. They must be known before the
// servers start, because each names the others, and stay the same over a restart.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	ports := make([]string, n)
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("find a free port: %v", err)
		}
		defer listener.Close()
		ports[i] = listener.Addr().String()
	}
	return ports
}

// URL is where the servers take clients.
func (s *Servers) URL() string {
	var urls []string
	for i := range s.configs {
		urls = append(urls, "nats://"+s.configs[i].Client)
	}
	return strings.Join(urls, ",")
}

// Open returns a log on the cluster with three copies of every stream.
func (s *Servers) Open(t testing.TB, cfg eventlog.Config) *eventlog.Log {
	t.Helper()
	cfg.URL = s.URL()
	return OpenConfig(t, cfg)
}

// Start starts server i, on the store it had if it ran before.
func (s *Servers) Start(i int) {
	s.t.Helper()
	srv, err := servers.New(s.configs[i])
	if err != nil {
		s.t.Fatalf("configure server %d: %v", i, err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(startMax) {
		s.t.Fatalf("server %d does not start", i)
	}
	s.running[i] = srv
}

// Stop stops server i. It is nothing if it is stopped.
func (s *Servers) Stop(i int) {
	if s.running[i] == nil {
		return
	}
	s.running[i].Shutdown()
	s.running[i].WaitForShutdown()
	s.running[i] = nil
}

// Leader returns the server that leads a stream, waiting for an election.
func (s *Servers) Leader(stream string) int {
	s.t.Helper()
	leader := -1
	await(s.t, "a leader of "+stream, func() bool {
		for i, srv := range s.running {
			if srv != nil && srv.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				leader = i
			}
		}
		return leader >= 0
	})
	return leader
}
