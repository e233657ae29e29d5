package erasure

import (
	"context"
	"fmt"
	"slices"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// entry is what goes of one committed range, or of one tenant's part of it. Its numbers
// are those that the ledger counts and nothing will hold any more.
type entry struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	// Messages and Events are on the log, at Seqs.
	Messages uint64   `json:"messages,omitempty"`
	Events   uint64   `json:"events,omitempty"`
	Seqs     []uint64 `json:"seqs,omitempty"`

	Accepted    uint64        `json:"accepted,omitempty"`
	Duplicates  uint64        `json:"duplicates,omitempty"`
	Conflicts   uint64        `json:"conflicts,omitempty"`
	Quarantined uint64        `json:"quarantined,omitempty"`
	Calls       int64         `json:"calls,omitempty"`
	Unpriced    uint64        `json:"unpriced,omitempty"`
	Late        uint64        `json:"late,omitempty"`
	Tokens      int64         `json:"tokens,omitempty"`
	Cost        schemas.Money `json:"cost,omitzero"`
	RowHash     uint64        `json:"row_hash,omitempty"`
	// Keys are the places of identities, Rows those of rows and rejects that lose
	// their names, as seq * 65536 + idx.
	Keys []uint64 `json:"keys,omitempty"`
	Rows []uint64 `json:"rows,omitempty"`
}

// ranges are committed ranges with what goes of them.
type ranges struct {
	entries []entry // all ranges, in order
}

// at returns the entry of the range that holds a position.
func (r *ranges) at(seq uint64) (*entry, error) {
	i, found := slices.BinarySearchFunc(r.entries, seq, func(e entry, seq uint64) int {
		switch {
		case e.To < seq:
			return -1
		case e.From > seq:
			return 1
		}
		return 0
	})
	if !found {
		return nil, fmt.Errorf("position %d lies in no committed range: %w", seq, schemas.ErrUnavailable)
	}
	return &r.entries[i], nil
}

// touched returns the entries of which something goes.
func (r *ranges) touched() []entry {
	return slices.DeleteFunc(r.entries, func(e entry) bool {
		return len(e.Seqs) == 0 && len(e.Keys) == 0 && len(e.Rows) == 0 && e.Conflicts == 0 && e.Quarantined == 0
	})
}

func (e *Eraser) ranges(ctx context.Context, upTo uint64) (*ranges, error) {
	r := &ranges{}
	err := e.query(ctx, "ranges", func(rows *warehouse.Rows) error {
		r.entries = append(r.entries, entry{})
		last := &r.entries[len(r.entries)-1]
		return rows.Scan(&last.From, &last.To)
	}, e.shard(), warehouse.Param{Name: "upto", Value: upTo})
	return r, err
}

// subjects are those of a tenant's usage.
func (e *Eraser) subjects(tenant string) []string {
	return []string{e.cfg.Shard.DirectSubject(tenant), e.cfg.Shard.EnvelopeSubject(tenant)}
}

// addLog adds the messages of the tenant that lie after a position, up to the plan's,
// if they are wanted.
func (e *Eraser) addLog(ctx context.Context, r *ranges, st *state, after uint64, wanted func(*eventlog.Record) bool) error {
	_, err := e.log.Find(ctx, e.cfg.Shard.Stream(), e.subjects(st.Tenant), st.Position, func(rec *eventlog.Record) error {
		if rec.Seq <= after || !wanted(rec) {
			return nil
		}
		in, err := r.at(rec.Seq)
		if err != nil {
			return err
		}
		in.Messages++
		in.Events += uint64(e.cfg.Events(rec))
		in.Seqs = append(in.Seqs, rec.Seq)
		return nil
	})
	return err
}

// planTenant works out what goes of a tenant between two positions.
func (e *Eraser) planTenant(ctx context.Context, st *state, after uint64) ([]entry, []Month, error) {
	r, err := e.ranges(ctx, st.Position)
	if err != nil {
		return nil, nil, err
	}
	if err := e.addLog(ctx, r, st, after, func(*eventlog.Record) bool { return true }); err != nil {
		return nil, nil, err
	}
	params := []warehouse.Param{{Name: "tenant", Value: st.Tenant}, {Name: "after", Value: after}, {Name: "upto", Value: st.Position}}
	content, done, err := e.content(ctx, st.Tenant)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	err = e.query(ctx, "rows", func(rows *warehouse.Rows) error {
		var seq uint64
		var s entry
		if err := rows.Scan(&seq, &s.Accepted, &s.Calls, &s.Unpriced, &s.Late, &s.Tokens, &s.Cost, &s.RowHash); err != nil {
			return err
		}
		in, err := r.at(seq)
		if err != nil {
			return err
		}
		in.Accepted += s.Accepted
		in.Calls += s.Calls
		in.Unpriced += s.Unpriced
		in.Late += s.Late
		in.Tokens += s.Tokens
		in.Cost = in.Cost.Add(s.Cost)
		in.RowHash += s.RowHash
		in.Keys = append(in.Keys, seq)
		return nil
	}, append(params, content)...)
	if err != nil {
		return nil, nil, err
	}
	err = e.query(ctx, "rejects", func(rows *warehouse.Rows) error {
		var seq, conflicts, quarantined uint64
		if err := rows.Scan(&seq, &conflicts, &quarantined); err != nil {
			return err
		}
		in, err := r.at(seq)
		if err != nil {
			return err
		}
		in.Conflicts += conflicts
		in.Quarantined += quarantined
		return nil
	}, params...)
	if err != nil {
		return nil, nil, err
	}
	if err := e.addDuplicates(ctx, r, st.Tenant); err != nil {
		return nil, nil, err
	}
	var months []Month
	err = e.query(ctx, "months", func(rows *warehouse.Rows) error {
		months = append(months, Month{})
		m := &months[len(months)-1]
		return rows.Scan(&m.Month, &m.Calls, &m.Tokens, &m.Cost)
	}, append(params, content)...)
	return r.touched(), months, err
}

// addDuplicates works out what is in no table: events that are neither stored nor
// rejected. Of a range that the log has forgotten nobody knows, and nobody asks: it can
// neither be counted nor judged again.
func (e *Eraser) addDuplicates(ctx context.Context, r *ranges, tenant string) error {
	before := map[uint64]uint64{}
	err := e.query(ctx, "before", func(rows *warehouse.Rows) error {
		var from, events uint64
		err := rows.Scan(&from, &events)
		before[from] = events
		return err
	}, e.shard(), warehouse.Param{Name: "tenant", Value: tenant})
	if err != nil {
		return err
	}
	for i := range r.entries {
		in := &r.entries[i]
		came, judged := in.Events+before[in.From], in.Accepted+in.Conflicts+in.Quarantined
		in.Duplicates = came - min(came, judged)
	}
	return nil
}

// planUser works out which messages of a user go, and which rows lose their names.
func (e *Eraser) planUser(ctx context.Context, st *state, user string) ([]entry, error) {
	r, err := e.ranges(ctx, st.Position)
	if err != nil {
		return nil, err
	}
	if err := e.addLog(ctx, r, st, 0, func(rec *eventlog.Record) bool { return e.cfg.Carries(rec, user) }); err != nil {
		return nil, err
	}
	add := func(place uint64) error {
		in, err := r.at(place >> 16)
		if err == nil {
			in.Rows = append(in.Rows, place)
		}
		return err
	}
	params := []warehouse.Param{{Name: "tenant", Value: st.Tenant}, {Name: "upto", Value: st.Position}}
	content, done, err := e.content(ctx, st.Tenant)
	if err != nil {
		return nil, err
	}
	defer done()
	err = e.query(ctx, "user_rows", func(rows *warehouse.Rows) error {
		var place uint64
		if err := rows.Scan(&place); err != nil {
			return err
		}
		st.Erased["usage_raw"]++
		return add(place)
	}, append(params, content, warehouse.Param{Name: "user", Value: user})...)
	if err != nil {
		return nil, err
	}
	err = e.query(ctx, "user_rejects", func(rows *warehouse.Rows) error {
		var place uint64
		var body string
		if err := rows.Scan(&place, &body); err != nil {
			return err
		}
		if !e.cfg.Names([]byte(body), user) {
			return nil
		}
		st.Erased["rejects"]++
		return add(place)
	}, params...)
	if err != nil {
		return nil, err
	}
	for i := range r.entries {
		slices.Sort(r.entries[i].Rows)
	}
	return r.touched(), nil
}
