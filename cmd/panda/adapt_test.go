package main

import (
	"errors"
	"testing"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// TestAdmit: events are refused before the disk is full and when the writer is too
// far behind, and taken in again by themselves.
func TestAdmit(t *testing.T) {
	t.Parallel()
	lag := newLagMonitor(time.Minute)
	p := &pipeline{cfg: Config{DiskFreeMin: 100, LagMax: time.Minute}, shards: []*shard{{lag: lag}}, registry: tenancy.New(tenancy.Config{}, nil)}
	check := func(what string, admitted bool) {
		t.Helper()
		wait, err := p.admit("acme")
		if admitted != (err == nil) || !admitted && (wait <= 0 || !errors.Is(err, schemas.ErrUnavailable)) {
			t.Errorf("%s: %v, wait %s", what, err, wait)
		}
	}
	check("nothing is known yet", true)
	lag.space = eventlog.Space{DiskFree: 99}
	check("too little of the disk is free", false)
	lag.space.DiskFree = 100
	check("enough of the disk is free", true)
	lag.appended(5)
	lag.mark(time.Now().Add(-2 * time.Minute))
	check("an event waits for two minutes", false)
	lag.committed(5)
	check("it is written", true)
	lag.appended(6)
	lag.mark(time.Now())
	check("the next one waits for a moment", true)
}

// TestClaimsFence: who takes the claim last is the only one who can put another,
// and finds what the one before put.
func TestClaimsFence(t *testing.T) {
	t.Parallel()
	log := eventlogtest.Open(t)
	first, second := &writerClaims{log: log}, &writerClaims{log: log}
	take := func(who *writerClaims, want ingest.Claim) {
		t.Helper()
		if got, err := who.Take(t.Context()); err != nil || got != want {
			t.Errorf("took %v, %v; want %v", got, err, want)
		}
	}
	take(first, ingest.Claim{})
	a, b := ingest.Claim{Epoch: 1, From: 1, To: 7}, ingest.Claim{Epoch: 1, From: 8, To: 9}
	if err := errors.Join(first.Put(t.Context(), a), first.Put(t.Context(), b)); err != nil {
		t.Fatal(err)
	}
	take(second, b)
	if err := first.Put(t.Context(), a); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("the first one put a claim after the second took it: %v", err)
	}
	take(second, b) // its own, once more
	take(first, b)
	if err := second.Put(t.Context(), a); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("the second one put a claim after the first took it: %v", err)
	}
}
