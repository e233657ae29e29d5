package servers_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/eventlog/servers"
	"github.com/agentik-os/panda/schemas"
)

// sender appends numbers through a client's place in the network, each with the
// same id until it is acknowledged.
type sender struct {
	acked atomic.Int64 // how many
	gap   atomic.Int64 // longest wait for one, in nanoseconds
	last  atomic.Pointer[error]
}

func (s *sender) run(ctx context.Context, log *eventlog.Log) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		m := eventlog.Message{Subject: "envelope.0.acme", ID: "n" + strconv.Itoa(i), Data: []byte(strconv.Itoa(i))}
		start := time.Now()
		for {
			_, err := log.Append(context.WithoutCancel(ctx), m)
			if err == nil {
				break
			}
			if !errors.Is(err, schemas.ErrUnavailable) || errors.Is(err, eventlog.ErrClosed) {
				return err
			}
			s.last.Store(&err)
			<-again.C
		}
		s.gap.Store(max(s.gap.Load(), int64(time.Since(start))))
		s.acked.Add(1)
	}
	return nil
}

// more waits for acknowledgements and returns the longest wait for one since the
// call before.
func (s *sender) more(t *testing.T, n int64) time.Duration {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	goal := s.acked.Load() + n
	for deadline := time.Now().Add(time.Minute); s.acked.Load() < goal; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("no acknowledgement for a minute: %v", *s.last.Load())
		}
	}
	return time.Duration(s.gap.Swap(0))
}

// What a network does to a cluster: the side with a majority goes on, the other
// refuses, and afterwards all copies are the same and hold each message once.
func TestFaultsOfTheNetwork(t *testing.T) {
	cluster, err := servers.Start(t.Context(), servers.ClusterConfig{Command: []string{os.Args[0]}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, url, err := cluster.AddClient()
	if err != nil {
		t.Fatal(err)
	}
	log := eventlogtest.OpenConfig(t, eventlog.Config{URL: url, AckTimeout: 2 * time.Second})
	s := &sender{}
	s.last.Store(new(error))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx, log) }()
	s.more(t, 20)

	// The leader alone on one side, everybody else on the other.
	old := leader(t, cluster)
	others := []int{(old + 1) % servers.Size, (old + 2) % servers.Size, client}
	cluster.Partition([]int{old}, others)
	t.Logf("leader cut off: longest wait %s", s.more(t, 20))
	if now := leader(t, cluster, old); now == old {
		t.Fatalf("server %d leads from the smaller side", now)
	}
	cluster.Heal()
	s.more(t, 20)

	// Its answers do not arrive, what it is told does.
	old = leader(t, cluster)
	cluster.Mute(old, (old+1)%servers.Size)
	cluster.Mute(old, (old+2)%servers.Size)
	t.Logf("leader without a voice: longest wait %s", s.more(t, 20))
	cluster.Heal()

	middle := (leader(t, cluster) + 1) % servers.Size
	cluster.Bridge(middle)
	t.Logf("bridge: longest wait %s", s.more(t, 20))
	cluster.Heal()

	flapping, enough := context.WithTimeout(t.Context(), 4*time.Second)
	cluster.Flap(flapping, leader(t, cluster), time.Second)
	enough()
	t.Logf("flapping: longest wait %s", s.more(t, 20))

	wiped := (leader(t, cluster) + 1) % servers.Size
	ready, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := cluster.Wipe(ready, wiped, schemas.StreamUsage); err != nil {
		t.Fatal(err)
	}
	s.more(t, 20)
	cluster.KillAll()
	for i := range servers.Size {
		if err := cluster.Start(i); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("all killed: longest wait %s", s.more(t, 20))
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("sender: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("message %d is not acknowledged: %v", s.acked.Load(), *s.last.Load())
	}

	if err := cluster.Current(ready, schemas.StreamUsage); err != nil {
		t.Fatal(err)
	}
	copied, err := cluster.SameCopies(ready, schemas.StreamUsage)
	if err != nil {
		t.Fatal(err)
	}
	if copied.Messages != uint64(s.acked.Load()) {
		t.Errorf("%d were acknowledged, each server holds %s", s.acked.Load(), copied)
	}
	t.Logf("each server holds %s", copied)
}

func leader(t *testing.T, cluster *servers.Cluster, except ...int) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	i, err := cluster.Leader(ctx, schemas.StreamUsage, except...)
	if err != nil {
		t.Fatal(err)
	}
	return i
}
