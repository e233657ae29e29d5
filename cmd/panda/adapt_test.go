package main

import (
	"errors"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// TestAdmit: events are refused before the disk is full and when the writer is too
// far behind, and taken in again by themselves.
func TestAdmit(t *testing.T) {
	t.Parallel()
	p := &pipeline{cfg: Config{DiskFreeMin: 100, LagMax: time.Minute}, lag: newLagMonitor(time.Minute), registry: tenancy.New(tenancy.Config{}, nil)}
	check := func(what string, admitted bool) {
		t.Helper()
		wait, err := p.admit("acme")
		if admitted != (err == nil) || !admitted && (wait <= 0 || !errors.Is(err, schemas.ErrUnavailable)) {
			t.Errorf("%s: %v, wait %s", what, err, wait)
		}
	}
	check("nothing is known yet", true)
	p.lag.space = eventlog.Space{DiskFree: 99}
	check("too little of the disk is free", false)
	p.lag.space.DiskFree = 100
	check("enough of the disk is free", true)
	p.lag.appended(5)
	p.lag.mark(time.Now().Add(-2 * time.Minute))
	check("an event waits for two minutes", false)
	p.lag.committed(5)
	check("it is written", true)
	p.lag.appended(6)
	p.lag.mark(time.Now())
	check("the next one waits for a moment", true)
}
