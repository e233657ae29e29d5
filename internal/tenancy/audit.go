package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// The outcomes of an audit entry.
const (
	OutcomeOK      = "ok"
	OutcomeRefused = "refused"
)

// AuditEntry is one line of the audit log: who did what, from where, and what it
// changed. What was done is kept for good, what was refused for AttemptsAge.
type AuditEntry struct {
	// Seq is the position on CONTROL. It orders the log and never changes.
	Seq uint64    `json:"seq"`
	At  time.Time `json:"at"`
	// Actor is "key:<id>", "user:<member id>" or "system:<name>".
	Actor    string `json:"actor"`
	IP       string `json:"ip,omitempty"`
	Action   string `json:"action"`
	TenantID string `json:"tenant_id,omitempty"`
	// Changes are fields before and after.
	Changes map[string]AuditChange `json:"changes,omitempty"`
	Outcome string                 `json:"outcome"`
	Detail  string                 `json:"detail,omitempty"`
	// Times is how often a refused attempt was made in its minute.
	Times int `json:"times,omitempty"`
}

// AuditChange is a field before and after; From is absent when there was nothing.
type AuditChange struct {
	From any `json:"from,omitempty"`
	To   any `json:"to"`
}

// An AuditQuery says which entries are looked for. Zero fields match everything.
type AuditQuery struct {
	TenantID string
	// Action is a whole action such as "quota.updated", or its first word with a dot
	// at the end, such as "quota.".
	Action  string
	Actor   string
	Outcome string
	// From and To bound the time: From is in, To is not.
	From, To time.Time
	// Before is the position before which the answer begins, going back in time; 0 is
	// the end of the log.
	Before uint64
	// Limit bounds the entries, 1 to AuditLimitMax.
	Limit int
}

// AuditLimitMax bounds one page of the audit log.
const AuditLimitMax = 1000

func (q *AuditQuery) matches(e *AuditEntry) bool {
	action := q.Action == "" || q.Action == e.Action || strings.HasSuffix(q.Action, ".") && strings.HasPrefix(e.Action, q.Action)
	return action && (q.TenantID == "" || q.TenantID == e.TenantID) && (q.Actor == "" || q.Actor == e.Actor) &&
		(q.Outcome == "" || q.Outcome == e.Outcome) &&
		(q.From.IsZero() || !e.At.Before(q.From)) && (q.To.IsZero() || e.At.Before(q.To))
}

// A page is read going back, in chunks of positions: most end in the first, and one
// with few entries among many needs larger ones.
const (
	auditChunkMin = 2_000
	auditChunkMax = 64_000
)

// Audit returns entries, the newest first, and the position to go on before, 0 when
// there is nothing older. A tenant's scope sees its own entries alone, whatever the
// query says.
//
// Errors: ErrNotFound (another tenant), schemas.ErrUnavailable.
func (r *Registry) Audit(ctx context.Context, scope Scope, q AuditQuery) (entries []AuditEntry, next uint64, err error) {
	if !scope.IsPlatform() {
		if q.TenantID != "" && q.TenantID != scope.TenantID() {
			return nil, 0, ErrNotFound
		}
		if q.TenantID = scope.TenantID(); q.TenantID == "" {
			return nil, 0, ErrNotFound
		}
	}
	if err := r.known(); err != nil {
		return nil, 0, err
	}
	q.Limit = min(max(q.Limit, 1), AuditLimitMax)
	state, err := r.log.State(ctx, schemas.StreamControl)
	if err != nil {
		return nil, 0, fmt.Errorf("read the audit log: %w", err)
	}
	end := state.Last + 1
	if q.Before != 0 {
		end = min(end, q.Before)
	}
	chunk := uint64(auditChunkMin)
	for end > state.First && len(entries) < q.Limit {
		start := max(state.First, end-min(end, chunk))
		chunk = min(2*chunk, auditChunkMax)
		found, err := r.auditBetween(ctx, start, end, &q)
		if err != nil {
			return nil, 0, fmt.Errorf("read the audit log: %w", err)
		}
		slices.Reverse(found)
		if rest := q.Limit - len(entries); len(found) > rest {
			return append(entries, found[:rest]...), found[rest-1].Seq, nil
		}
		entries, end = append(entries, found...), start
	}
	if end > state.First {
		next = end
	}
	return entries, next, nil
}

// auditBetween returns the entries from a position on and before another, in order.
func (r *Registry) auditBetween(ctx context.Context, from, before uint64, q *AuditQuery) (found []AuditEntry, err error) {
	reader, err := r.log.Read(ctx, eventlog.ReadConfig{Stream: schemas.StreamControl, From: from})
	if errors.Is(err, eventlog.ErrTruncated) {
		return nil, nil // it was erased meanwhile
	}
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	for {
		records, err := reader.Next(ctx, readRecordsMax, readBytesMax, auditWait)
		if err != nil {
			return nil, err
		}
		for i := range records {
			if records[i].Seq >= before {
				return found, nil
			}
			if e, ok := auditEntryOf(&records[i]); ok && q.matches(&e) {
				found = append(found, e)
			}
		}
		if len(records) == 0 || records[len(records)-1].Seq+1 >= before {
			return found, nil
		}
	}
}

// auditWait is how long a read waits for the next record. They are there already,
// unless the newest ones were erased.
const auditWait = 2 * time.Second

// auditEntryOf reads a record as people see it. What is on CONTROL and not of this
// package is no entry.
func auditEntryOf(rec *eventlog.Record) (AuditEntry, bool) {
	if strings.HasPrefix(rec.Subject, subjectErasure) {
		return auditEntryOfErasure(rec)
	}
	if !relevant(rec.Subject) && !strings.HasPrefix(rec.Subject, subjectAttempt) {
		return AuditEntry{}, false
	}
	var e event
	if err := json.Unmarshal(rec.Data, &e); err != nil {
		return AuditEntry{}, false
	}
	out := AuditEntry{Seq: rec.Seq, At: e.At, Actor: e.Actor, IP: e.IP, Action: e.Action, TenantID: e.TenantID,
		Outcome: OutcomeOK, Detail: e.Detail, Times: e.Times}
	if out.Action == "" {
		out.Action = e.Type
	}
	if e.Type == typeAttempt {
		out.Outcome = OutcomeRefused
	}
	if len(e.Changes) > 0 {
		out.Changes = make(map[string]AuditChange, len(e.Changes))
		for name, c := range e.Changes {
			out.Changes[name] = AuditChange(c)
		}
	}
	return out, true
}

// auditEntryOfErasure reads the certificate of a user's erasure, which says what was
// erased and not of whom.
func auditEntryOfErasure(rec *eventlog.Record) (AuditEntry, bool) {
	var c struct {
		Erasure    string            `json:"erasure"`
		TenantID   string            `json:"tenant_id"`
		Actor      string            `json:"actor"`
		FinishedAt time.Time         `json:"finished_at"`
		Erased     map[string]uint64 `json:"erased"`
	}
	if err := json.Unmarshal(rec.Data, &c); err != nil {
		return AuditEntry{}, false
	}
	return AuditEntry{Seq: rec.Seq, At: clockOf(c.FinishedAt), Actor: c.Actor, Action: "user.erased", TenantID: c.TenantID, Outcome: OutcomeOK,
		Changes: map[string]AuditChange{"erasure": {To: c.Erasure}, "erased": {To: c.Erased}}}, true
}
