package alerting

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// DecisionLog is what a Decider needs of the event log; *eventlog.Log has it.
type DecisionLog interface {
	Decide(ctx context.Context, subject string, data []byte) (decided bool, rec eventlog.Record, err error)
}

// A Decider writes records to DECISIONS. Whoever comes first decides; what is decided
// already is no error.
type Decider struct{ log DecisionLog }

// NewDecider returns a Decider over the log.
func NewDecider(log DecisionLog) *Decider { return &Decider{log} }

// SubjectsAlerts matches the subjects of all records of alerts.
const SubjectsAlerts = "decision.*.alert.>"

// Subject is where a record stands: decision.<tenant>.alert.<alert>.<episode>.<kind>,
// with the tenant "platform" for what is no tenant's. It is the record's identity.
func (r *Record) Subject() string {
	return "decision." + ownerOf(r.Identity.Tenant) + ".alert." + r.Alert + "." + strconv.Itoa(r.Episode) + "." + string(r.Kind)
}

func ownerOf(tenant string) string {
	if tenant == "" {
		return Platform
	}
	return tenant
}

// place is what a subject says of its record.
type place struct {
	owner, alert string
	episode      int
	kind         Kind
}

// parseSubject is the inverse of Record.Subject.
func parseSubject(subject string) (place, bool) {
	parts := strings.Split(subject, ".")
	if len(parts) != 6 || parts[0] != "decision" || parts[2] != "alert" {
		return place{}, false
	}
	episode, err := strconv.Atoi(parts[4])
	if err != nil || episode < 0 {
		return place{}, false
	}
	return place{parts[1], parts[3], episode, Kind(parts[5])}, true
}

// Decide writes a record under its subject, unless one stands there. decided is false if
// one does, whoever wrote it: this caller too, in a try whose answer was lost.
//
// Errors: schemas.ErrUnavailable (it may or may not be decided; decide again), and
// schemas.ErrInvalid for a record that is not whole.
func (d *Decider) Decide(ctx context.Context, r Record) (decided bool, err error) {
	decided, _, err = d.decide(ctx, &r)
	return decided, err
}

// decide is Decide with the position of the record that stands. A record that stands and
// is this one to the byte counts as decided by this call.
func (d *Decider) decide(ctx context.Context, r *Record) (decided bool, seq uint64, err error) {
	if r.Version == 0 {
		r.Version = RecordVersion
	}
	if r.Alert == "" {
		r.Alert = r.Identity.ID()
	}
	if !known(r.Kind) {
		return false, 0, fmt.Errorf("decide alert %s: %w: %q is no kind of record", r.Alert, schemas.ErrInvalid, r.Kind)
	}
	if r.Alert != r.Identity.ID() || r.Episode < 0 || strings.ContainsAny(r.Identity.Tenant, ".*> \t") {
		return false, 0, fmt.Errorf("decide alert %s: %w: its id, episode or tenant is wrong", r.Alert, schemas.ErrInvalid)
	}
	data, err := json.Marshal(r)
	if err != nil {
		return false, 0, fmt.Errorf("decide alert %s: encode: %w", r.Alert, err)
	}
	decided, stands, err := d.log.Decide(ctx, r.Subject(), data)
	if err != nil {
		return false, 0, err
	}
	return decided || bytes.Equal(stands.Data, data), stands.Seq, nil
}
