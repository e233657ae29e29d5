package httpapi

import (
	"context"
	"net/http"

	"github.com/agentik-os/panda/internal/tenancy"
)

// Moves serves the move of a tenant's rows between the shared database and one of its
// own.
type Moves struct {
	Registry   *tenancy.Registry
	Operations *Operations
	// Move does it and returns when it is done. Asked for again, it goes on.
	Move func(ctx context.Context, by tenancy.Actor, tenantID string, to tenancy.Isolation, step Step) (Moved, error)
}

// Moved is the answer to a move.
type Moved struct {
	TenantID string `json:"tenant_id"`
	// From and To are databases; they are the same if there was nothing to do.
	From string `json:"from"`
	To   string `json:"to"`
	// Rows and Windows are what was held against each other in both places.
	Rows    uint64 `json:"rows"`
	Windows uint64 `json:"windows"`
	// Position is that of the ledger at the change.
	Position uint64 `json:"position"`
	// PausedMS is for how long nothing was counted; events were taken in as ever.
	PausedMS int64 `json:"paused_ms"`
}

// Register adds the route to a server.
func (m *Moves) Register(s *Server) {
	s.Handle("POST /v1/tenants/{tenant}/migrate", tenancy.PermissionOwner, m.migrate)
}

func (m *Moves) migrate(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := PlatformOnly(scope); err != nil {
		return err
	}
	found, err := m.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	var body struct {
		To tenancy.Isolation `json:"to"`
	}
	if err := DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	by := actorOf(scope, r)
	return m.Operations.Do(w, r, "migrate", found.ID, string(body.To), func(ctx context.Context, step Step) (any, error) {
		return m.Move(ctx, by, found.ID, body.To, step)
	})
}
