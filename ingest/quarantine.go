package ingest

import (
	"context"
	"fmt"
	"math"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// The states of a quarantined event.
const (
	// StateOpen: nobody has done anything about it.
	StateOpen = "open"
	// StateReplayed: it was sent through the front door again, corrected or not;
	// what became of it there is another verdict.
	StateReplayed = "replayed"
)

// A QuarantineRow is a quarantined message or event as it is stored.
type QuarantineRow struct {
	Quarantined
	State   string
	version uint64
}

// A Place is a place in the log, for lists that begin before it. The zero Place
// begins at the newest.
type Place struct {
	Seq uint64
	Idx uint16
}

func (p Place) orEnd() Place {
	if p == (Place{}) {
		return Place{math.MaxUint64, math.MaxUint16}
	}
	return p
}

// Quarantine lists what is kept there, newest first. An empty tenant is all of
// them, an empty state is any.
func (t *Tables) Quarantine(ctx context.Context, tenant, state string, before Place, limit uint32) ([]QuarantineRow, error) {
	before = before.orEnd()
	rows, err := t.db.Query(ctx, statement("quarantine"),
		warehouse.Param{Name: "tenant", Value: tenant}, warehouse.Param{Name: "state", Value: state},
		warehouse.Param{Name: "before_seq", Value: before.Seq}, warehouse.Param{Name: "before_idx", Value: before.Idx},
		warehouse.Param{Name: "limit", Value: limit})
	if err != nil {
		return nil, fmt.Errorf("list quarantine: %w", err)
	}
	return scanQuarantine(rows)
}

// Quarantined returns what is kept of one place in the log, and whether there is
// something.
func (t *Tables) Quarantined(ctx context.Context, tenant string, at Place) (QuarantineRow, bool, error) {
	rows, err := t.db.Query(ctx, statement("quarantine_one"),
		warehouse.Param{Name: "tenant", Value: tenant},
		warehouse.Param{Name: "seq", Value: at.Seq}, warehouse.Param{Name: "idx", Value: at.Idx})
	if err != nil {
		return QuarantineRow{}, false, fmt.Errorf("read quarantine: %w", err)
	}
	found, err := scanQuarantine(rows)
	if err != nil || len(found) == 0 {
		return QuarantineRow{}, false, err
	}
	return found[0], true, nil
}

func scanQuarantine(rows *warehouse.Rows) ([]QuarantineRow, error) {
	var list []QuarantineRow
	err := rows.Each(func() error {
		var r QuarantineRow
		var body string
		err := rows.Scan(&r.Tenant, &r.Seq, &r.Idx, &r.ReceivedAt, &r.Subject, &r.Reason,
			&r.Pointer, &r.Detail, &body, &r.State, &r.version)
		r.Body = []byte(body)
		list = append(list, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read quarantine: %w", err)
	}
	return list, nil
}

// Replayed marks a row as replayed. A crash between the replay and this leaves it
// open; a second replay of the same event is then a duplicate.
func (t *Tables) Replayed(ctx context.Context, row QuarantineRow) error {
	err := t.insertQuarantined(ctx, []Quarantined{row.Quarantined}, StateReplayed, row.version+1)
	if err != nil {
		return fmt.Errorf("mark as replayed: %w", err)
	}
	return nil
}

// A ConflictRow is a conflict as it is stored: Body is the event in JSON.
type ConflictRow struct {
	Tenant     string
	Seq        uint64
	Idx        uint16
	ReceivedAt int64
	Source, ID string
	FirstSeq   uint64
	Body       []byte
}

// Conflicts lists conflicts, newest first. An empty tenant is all of them.
func (t *Tables) Conflicts(ctx context.Context, tenant string, before Place, limit uint32) ([]ConflictRow, error) {
	before = before.orEnd()
	rows, err := t.db.Query(ctx, statement("conflicts"),
		warehouse.Param{Name: "tenant", Value: tenant},
		warehouse.Param{Name: "before_seq", Value: before.Seq}, warehouse.Param{Name: "before_idx", Value: before.Idx},
		warehouse.Param{Name: "limit", Value: limit})
	if err != nil {
		return nil, fmt.Errorf("list conflicts: %w", err)
	}
	var list []ConflictRow
	err = rows.Each(func() error {
		var r ConflictRow
		var body string
		err := rows.Scan(&r.Tenant, &r.Seq, &r.Idx, &r.ReceivedAt, &r.Source, &r.ID, &r.FirstSeq, &body)
		r.Body = []byte(body)
		list = append(list, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list conflicts: %w", err)
	}
	return list, nil
}

// LookupIDsMax bounds the ids of one Lookup.
const LookupIDsMax = 1000

// Lookup returns, for those of the ids that were accepted, the sequence of the
// message that brought each.
func (t *Tables) Lookup(ctx context.Context, tenant, source string, ids []string) (map[string]uint64, error) {
	if len(ids) > LookupIDsMax {
		return nil, schemas.Invalid("/ids", schemas.CodeTooMany, "there are %d ids; ask for at most %d at once", len(ids), LookupIDsMax)
	}
	view, err := t.places.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("look up events: %w", err)
	}
	defer view.Close()
	rows, err := t.db.Query(ctx, statement("lookup"), view.Of(tenant).Param(),
		warehouse.Param{Name: "tenant", Value: tenant}, warehouse.Param{Name: "source", Value: source},
		warehouse.Param{Name: "ids", Value: ids})
	if err != nil {
		return nil, fmt.Errorf("look up events: %w", err)
	}
	found := make(map[string]uint64, len(ids))
	err = rows.Each(func() error {
		var id string
		var seq uint64
		err := rows.Scan(&id, &seq)
		found[id] = seq
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up events: %w", err)
	}
	return found, nil
}
