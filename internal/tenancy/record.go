package tenancy

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/agentik-os/panda/internal/eventlog"
)

// Record writes what somebody is about to do to a tenant's data into the audit log,
// where it changes nothing that the registry holds. action is a word with a dot, such
// as "tenant.provisioned"; to are the fields as they will be.
//
// Errors: schemas.ErrUnavailable; then it is not to be done.
func (r *Registry) Record(ctx context.Context, by Actor, tenantID, action string, to map[string]any) error {
	e := r.newEvent(action, by, tenantID, clockOf(r.cfg.Now()))
	e.Changes = make(map[string]change, len(to))
	for name, value := range to {
		e.Changes[name] = change{To: value}
	}
	data, err := json.Marshal(e)
	if err != nil {
		panic("tenancy: an event that does not encode: " + err.Error())
	}
	// Beside the refused attempts: nothing is folded from either.
	_, err = r.log.Append(ctx, eventlog.Message{Subject: subjectAttempt + tenantID, ID: uuid.NewString(), Data: data})
	if err != nil {
		return fmt.Errorf("record %s: %w", action, err)
	}
	return nil
}
