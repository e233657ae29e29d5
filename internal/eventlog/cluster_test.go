package eventlog_test

import (
	"errors"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// A message that is sent again after its leader went away is stored once.
func TestDuplicateIsKnownToTheNextLeader(t *testing.T) {
	servers := eventlogtest.Cluster(t)
	log := servers.Open(t, eventlog.Config{})
	m := eventlog.Message{Subject: "envelope.0.acme", ID: "1", Data: []byte("x")}
	first, err := log.Append(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		leader := servers.Leader(schemas.StreamUsage)
		servers.Stop(leader)
		var again eventlog.Ack
		await(t, "acknowledgement", func() bool {
			again, err = log.Append(t.Context(), m)
			return !errors.Is(err, schemas.ErrUnavailable)
		})
		if want := (eventlog.Ack{Stream: first.Stream, Seq: first.Seq, Duplicate: true}); err != nil || again != want {
			t.Fatalf("again = %+v, %v; want %+v", again, err, want)
		}
		servers.Start(leader)
	}
}

// Without a majority nothing is acknowledged and nobody believes in a lease; with
// it, the same Log goes on.
func TestClusterComesBack(t *testing.T) {
	const ttl = 2 * time.Second
	servers := eventlogtest.Cluster(t)
	log := servers.Open(t, eventlog.Config{AckTimeout: time.Second})
	lease, err := log.Acquire(t.Context(), "writer", "first", ttl)
	if err != nil {
		t.Fatal(err)
	}
	r, err := log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fill(t, log, 0, 10)
	expect(t, r, 0, 10)

	for i := range 3 {
		servers.Stop(i)
	}
	if _, err := log.Append(t.Context(), eventlog.Message{Subject: "envelope.0.acme"}); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("append: %v, want %v", err, schemas.ErrUnavailable)
	}
	if err := log.Healthy(t.Context()); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("healthy: %v, want %v", err, schemas.ErrUnavailable)
	}
	select {
	case <-lease.Lost():
	case <-time.After(patience):
		t.Fatal("the holder was not told")
	}
	if lease.Valid() {
		t.Error("valid without a broker")
	}
	await(t, "complaint of the reader", func() bool {
		_, err := r.Next(t.Context(), 1, 1, time.Millisecond)
		return errors.Is(err, schemas.ErrUnavailable)
	})

	for i := range 3 {
		servers.Start(i)
	}
	await(t, "health", func() bool { return log.Healthy(t.Context()) == nil })
	await(t, "acknowledgement", func() bool {
		_, err := log.Append(t.Context(), eventlog.Message{Subject: "envelope.0.acme", ID: "10", Data: []byte("10")})
		return err == nil
	})
	expect(t, r, 10, 1)
	again, err := log.Acquire(t.Context(), "writer", "second", ttl)
	if err != nil {
		t.Fatal(err)
	}
	if again.Token() <= lease.Token() {
		t.Errorf("token %d after %d", again.Token(), lease.Token())
	}
}
