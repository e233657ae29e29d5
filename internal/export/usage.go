package export

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

//go:embed sql/*.sql
var statements embed.FS

// statement returns the text of sql/<name>.sql.
func statement(name string) string { return warehouse.Statement(statements, "export", name) }

func query(ctx context.Context, db DB, name string, scan func(*warehouse.Rows) error, params ...warehouse.Param) error {
	rows, err := db.Query(ctx, statement(name), params...)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("%s: %w", name, errors.Join(err, rows.Close()))
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// agentRecord is an agent, as its events tell.
type agentRecord struct {
	Agent     string        `json:"agent"`
	FirstSeen time.Time     `json:"first_seen"`
	LastSeen  time.Time     `json:"last_seen"`
	Calls     int64         `json:"calls"`
	Tokens    int64         `json:"tokens"`
	Cost      schemas.Money `json:"cost"`
}

// costRecord is a month of one model.
type costRecord struct {
	Month    string        `json:"month"`
	Provider string        `json:"provider"`
	Model    string        `json:"model"`
	Calls    int64         `json:"calls"`
	Unpriced int64         `json:"unpriced"`
	Tokens   int64         `json:"tokens"`
	Cost     schemas.Money `json:"cost"`
}

// messageRecord is an event that counts. What is not known is absent.
type messageRecord struct {
	Source         string            `json:"source"`
	ID             string            `json:"id"`
	Type           string            `json:"type"`
	Time           time.Time         `json:"time"`
	ReceivedAt     time.Time         `json:"received_at"`
	Position       uint64            `json:"position"`
	Index          uint16            `json:"index"`
	Calls          int8              `json:"calls"`
	Provider       string            `json:"provider,omitempty"`
	Model          string            `json:"model,omitempty"`
	ReportedModel  string            `json:"reported_model,omitempty"`
	Department     string            `json:"department,omitempty"`
	CostCenter     string            `json:"cost_center,omitempty"`
	Agent          string            `json:"agent,omitempty"`
	User           string            `json:"user,omitempty"`
	Session        string            `json:"session,omitempty"`
	Run            string            `json:"run,omitempty"`
	ParentRun      string            `json:"parent_run,omitempty"`
	Status         string            `json:"status,omitempty"`
	Error          string            `json:"error,omitempty"`
	LatencyMS      uint32            `json:"latency_ms,omitempty"`
	Completeness   string            `json:"completeness,omitempty"`
	ServiceTier    string            `json:"service_tier,omitempty"`
	Flag           string            `json:"flag,omitempty"`
	Tokens         map[string]int64  `json:"tokens,omitempty"`
	Units          map[string]int64  `json:"units,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
	Corrects       *correctsRecord   `json:"corrects,omitempty"`
	Cost           *schemas.Money    `json:"cost"` // null: there is no price
	UnpricedReason string            `json:"unpriced_reason,omitempty"`
	PriceRevision  uint32            `json:"price_revision"`
}

type correctsRecord struct {
	Source string `json:"source"`
	ID     string `json:"id"`
}

// rejectRecord is what came and does not count.
type rejectRecord struct {
	Position   uint64    `json:"position"`
	Index      uint16    `json:"index"`
	ReceivedAt time.Time `json:"received_at"`
	// Source, ID and FirstPosition are a conflict's: which event, and where the one
	// came that counts.
	Source        string `json:"source,omitempty"`
	ID            string `json:"id,omitempty"`
	FirstPosition uint64 `json:"first_position,omitempty"`
	// Reason, Pointer, Detail and State are a quarantined one's.
	Reason  string `json:"reason,omitempty"`
	Pointer string `json:"pointer,omitempty"`
	Detail  string `json:"detail,omitempty"`
	State   string `json:"state,omitempty"`
	Body    string `json:"body"`
}

// write writes all sections.
func (x *Exporter) write(ctx context.Context, scope tenancy.Scope, t *tenancy.Tenant, d *document) error {
	if err := x.writeRegistry(ctx, scope, t, d); err != nil {
		return err
	}
	shard, db, places, err := x.cfg.Warehouse(t.ID)
	if err != nil {
		return err
	}
	err = query(ctx, db, "position", func(rows *warehouse.Rows) error { return rows.Scan(&d.manifest.Position) },
		warehouse.Param{Name: "shard", Value: shard.ID})
	if err != nil {
		return err
	}
	// After the position: the view has everything up to it.
	view, err := places.View(ctx)
	if err != nil {
		return err
	}
	defer view.Close()
	asOf := []warehouse.Param{{Name: "tenant", Value: t.ID}, {Name: "position", Value: d.manifest.Position}}
	content := append(asOf[:len(asOf):len(asOf)], view.Of(t.ID).Param())
	if err := d.section("agents", false); err != nil {
		return err
	}
	err = query(ctx, db, "agents", func(rows *warehouse.Rows) error {
		var a agentRecord
		if err := rows.Scan(&a.Agent, &a.FirstSeen, &a.LastSeen, &a.Calls, &a.Tokens, &a.Cost); err != nil {
			return err
		}
		return d.record(&a)
	}, content...)
	if err != nil {
		return err
	}
	if err := d.section("costs", false); err != nil {
		return err
	}
	err = query(ctx, db, "costs", func(rows *warehouse.Rows) error {
		var c costRecord
		if err := rows.Scan(&c.Month, &c.Provider, &c.Model, &c.Calls, &c.Unpriced, &c.Tokens, &c.Cost); err != nil {
			return err
		}
		return d.record(&c)
	}, content...)
	if err != nil {
		return err
	}
	if err := x.writeMessages(ctx, db, content, d); err != nil {
		return err
	}
	return x.writeRejects(ctx, db, asOf, d)
}

// writeMessages writes every event, in the order of the table: by hour, source and id.
func (x *Exporter) writeMessages(ctx context.Context, db DB, asOf []warehouse.Param, d *document) error {
	if err := d.section("messages", false); err != nil {
		return err
	}
	hour, source, id := int64(0), "", ""
	for {
		n := 0
		err := query(ctx, db, "messages", func(rows *warehouse.Rows) error {
			m, at, err := scanMessage(rows)
			if err != nil {
				return err
			}
			hour, source, id = at, m.Source, m.ID
			n++
			return d.record(m)
		}, append(asOf[:len(asOf):len(asOf)], warehouse.Param{Name: "after_hour", Value: hour}, warehouse.Param{Name: "after_source", Value: source},
			warehouse.Param{Name: "after_id", Value: id}, warehouse.Param{Name: "limit", Value: uint32(x.cfg.PageRows)})...)
		if err != nil || n < x.cfg.PageRows {
			return err
		}
	}
}

func scanMessage(rows *warehouse.Rows) (*messageRecord, int64, error) {
	m := &messageRecord{}
	var hour int64
	var tokens schemas.Tokens
	corrects := &correctsRecord{}
	dest := []any{&hour, &m.Source, &m.ID, &m.Type, &m.Time, &m.ReceivedAt, &m.Position, &m.Index, &m.Calls, &m.Provider, &m.Model,
		&m.ReportedModel, &m.Department, &m.CostCenter, &m.Agent, &m.User, &m.Session, &m.Run, &m.ParentRun, &m.Status, &m.Error,
		&m.LatencyMS, &m.Completeness, &m.ServiceTier, &m.Flag, &m.Units, &m.Tags, &corrects.Source, &corrects.ID, &m.Cost,
		&m.UnpricedReason, &m.PriceRevision}
	for b := range tokens {
		dest = append(dest, &tokens[b])
	}
	if err := rows.Scan(dest...); err != nil {
		return nil, 0, err
	}
	for b, n := range tokens {
		if n != 0 {
			if m.Tokens == nil {
				m.Tokens = map[string]int64{}
			}
			m.Tokens[schemas.Bucket(b).String()] = n
		}
	}
	if corrects.ID != "" {
		m.Corrects = corrects
	}
	m.Time, m.ReceivedAt = m.Time.UTC(), m.ReceivedAt.UTC()
	return m, hour, nil
}

// writeRejects writes what came and does not count.
func (x *Exporter) writeRejects(ctx context.Context, db DB, asOf []warehouse.Param, d *document) error {
	for _, name := range []string{"conflicts", "quarantine"} {
		if err := d.section(name, false); err != nil {
			return err
		}
		seq, idx := uint64(0), uint16(0)
		for {
			n := 0
			err := query(ctx, db, name, func(rows *warehouse.Rows) error {
				var r rejectRecord
				dest := []any{&r.Position, &r.Index, &r.ReceivedAt, &r.Body}
				if name == "conflicts" {
					dest = append(dest, &r.Source, &r.ID, &r.FirstPosition)
				} else {
					dest = append(dest, &r.Reason, &r.Pointer, &r.Detail, &r.State)
				}
				if err := rows.Scan(dest...); err != nil {
					return err
				}
				seq, idx = r.Position, r.Index
				n++
				return d.record(&r)
			}, append(asOf[:len(asOf):len(asOf)], warehouse.Param{Name: "after_seq", Value: seq}, warehouse.Param{Name: "after_idx", Value: idx},
				warehouse.Param{Name: "limit", Value: uint32(x.cfg.PageRows)})...)
			if err != nil {
				return err
			}
			if n < x.cfg.PageRows {
				break
			}
		}
	}
	return nil
}
