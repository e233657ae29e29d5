package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/eventlog/servers"
	"github.com/agentik-os/panda/schemas"
)

// A server is left when nothing was stored for long enough, once per that time,
// and not for answers that another server would give as well.
func TestServerThatStoresNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := 0
		outcome := eventlog.MoverOutcome(5*time.Second, func() error { left++; return nil })
		away := fmt.Errorf("no answer: %w", schemas.ErrUnavailable)
		for _, step := range []struct {
			wait time.Duration
			err  error
			left int
		}{
			{time.Second, away, 0},
			{5 * time.Second, away, 1},
			{time.Second, away, 1},
			{3 * time.Second, nil, 1},
			{4 * time.Second, away, 1},
			{time.Second, away, 2},
			{6 * time.Second, eventlog.ErrFull, 2},
			{4 * time.Second, schemas.ErrConflict, 2},
			{4 * time.Second, away, 2},
		} {
			time.Sleep(step.wait)
			if outcome(step.err); left != step.left {
				t.Fatalf("after %s and %v: left %d servers, want %d", step.wait, step.err, left, step.left)
			}
		}
	})
}

// A client whose server is cut off from the others, though not from the client,
// goes to one that can store.
func TestClientLeavesTheSmallerSide(t *testing.T) {
	cluster, err := servers.Start(t.Context(), servers.ClusterConfig{Command: []string{os.Args[0]}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	_, url, err := cluster.AddClient()
	if err != nil {
		t.Fatal(err)
	}
	log := eventlogtest.OpenConfig(t, eventlog.Config{URL: url, AckTimeout: 2 * time.Second})
	lease, err := log.Acquire(t.Context(), "writer", "first", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var mine int
	if _, err := fmt.Sscanf(log.ConnectedTo(), "log-%d", &mine); err != nil {
		t.Fatal(err)
	}
	others := []int{(mine + 1) % servers.Size, (mine + 2) % servers.Size}
	cluster.Partition([]int{mine}, others) // the client is in neither: it reaches all

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var group sync.WaitGroup
	const many = 20 // at once, and each again until it is acknowledged
	for i := range many {
		group.Go(func() {
			m := eventlog.Message{Subject: "envelope.0.acme", ID: strconv.Itoa(i), Data: []byte(strconv.Itoa(i))}
			for ctx.Err() == nil {
				_, err := log.Append(ctx, m)
				if err == nil {
					return
				}
				if !errors.Is(err, schemas.ErrUnavailable) {
					t.Errorf("append %d: %v", i, err)
					return
				}
			}
			t.Errorf("append %d: nobody stored it", i)
		})
	}
	group.Wait()
	if name := log.ConnectedTo(); name == fmt.Sprint("log-", mine) {
		t.Errorf("still connected to %s", name)
	}
	if !lease.Valid() {
		t.Error("a lease that had long to go was lost on the way")
	}
	cluster.Heal()
	state, err := log.State(t.Context(), schemas.StreamUsage)
	if err != nil || state.Messages != many {
		t.Errorf("the stream holds %d messages, %v; want %d", state.Messages, err, many)
	}
}

// Whoever is connected to a leader that the others have left is told that the
// answer is not known, and never that the log ends where it ended then.
func TestStateIsNotThatOfAFormerLeader(t *testing.T) {
	cluster, err := servers.Start(t.Context(), servers.ClusterConfig{Command: []string{os.Args[0]}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	open := func() (place int, log *eventlog.Log) {
		place, url, err := cluster.AddClient()
		if err != nil {
			t.Fatal(err)
		}
		return place, eventlogtest.OpenConfig(t, eventlog.Config{URL: url, AckTimeout: time.Second})
	}
	_, writing := open()
	asking, reading := open()
	if _, err := writing.Append(t.Context(), eventlog.Message{Subject: "envelope.0.acme"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	leader, err := cluster.Leader(ctx, schemas.StreamUsage)
	if err != nil {
		t.Fatal(err)
	}
	others := []int{(leader + 1) % servers.Size, (leader + 2) % servers.Size}
	cluster.Partition(others, []int{asking}) // so that it connects to the leader
	await(t, "connection to the leader", func() bool {
		return reading.ConnectedTo() == fmt.Sprint("log-", leader)
	})
	cluster.Partition([]int{leader, asking}, others)
	answers := 0
	for last := uint64(1); last < 20; {
		if ack, err := writing.Append(ctx, eventlog.Message{Subject: "envelope.0.acme"}); err == nil {
			last = ack.Seq
		} else if !errors.Is(err, schemas.ErrUnavailable) {
			t.Fatal(err)
		}
		state, err := reading.State(ctx, schemas.StreamUsage)
		switch {
		case err == nil && state.Last < last:
			t.Fatalf("the log ends at %d, and %d was acknowledged before the question", state.Last, last)
		case err == nil:
			answers++
		case !errors.Is(err, schemas.ErrUnavailable):
			t.Fatal(err)
		}
	}
	t.Logf("%d answers in the meantime", answers)
}
