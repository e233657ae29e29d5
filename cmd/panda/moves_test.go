package main

import (
	"errors"
	"testing"

	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// TestMoveInThePipeline: a tenant moves there and back with the real writer paused, never
// while anything is erased, and everything agrees in between.
func TestMoveInThePipeline(t *testing.T) {
	t.Run("the only shard", func(t *testing.T) { moveInThePipeline(t, 1) })
	t.Run("one shard of several", func(t *testing.T) { moveInThePipeline(t, 2) })
}

func moveInThePipeline(t *testing.T, split uint32) {
	t.Parallel()
	e := startErasingIn(t, false, split)
	e.fill()
	by := tenancy.Actor{ID: "system:test"}
	_, release, err := jobLease{e.log}.Hold(t.Context(), erasure.Lease)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.move(t.Context(), by, e.acme.ID, tenancy.IsolatedDatabase, nil); !errors.Is(err, schemas.ErrConflict) {
		t.Errorf("moved while somebody is being erased: %v", err)
	}
	release()
	for _, to := range []tenancy.Isolation{tenancy.IsolatedDatabase, tenancy.SharedDatabase} {
		moved, err := e.move(t.Context(), by, e.acme.ID, to, nil)
		if err != nil || moved.Rows != 62 {
			t.Fatalf("to %s: moved %+v, %v", to, moved, err)
		}
		if tenant, _ := e.registry.ByID(e.acme.ID); tenant.Isolation != to || (tenant.Database == "") != (to == tenancy.SharedDatabase) {
			t.Errorf("the registry has %s, %q", tenant.Isolation, tenant.Database)
		}
		e.agrees("moved to " + string(to))
		if _, err := e.endMoves(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, err := e.move(t.Context(), by, e.acme.ID, "elsewhere", nil); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("moved elsewhere: %v", err)
	}
}
