package aggregate_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/schemas"
)

func TestMain(m *testing.M) { os.Exit(warehousetest.Main(m)) }

// A project is a database with the tables in it and a ledger to commit to, as
// the writer does.
type project struct {
	t    testing.TB
	db   *warehouse.DB
	next uint64 // the first sequence that is not committed
}

func newProject(t testing.TB) *project {
	t.Helper()
	db := warehousetest.Open(t)
	if err := db.Migrate(t.Context(), os.DirFS("../schemas/sql")); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return &project{t: t, db: db, next: 1}
}

// commit writes rows and the ledger row for the messages up to to.
func (p *project) commit(to uint64, rows ...schemas.Accepted) {
	p.t.Helper()
	p.insert(rows)
	p.ledger(p.next, to, rows)
	p.next = to + 1
}

// insert writes rows to usage_raw, as a writer does before it commits.
func (p *project) insert(rows []schemas.Accepted) {
	p.t.Helper()
	if err := p.db.Insert(context.Background(), "usage_raw", rawColumns(rows)...); err != nil {
		p.t.Fatalf("insert events: %v", err)
	}
}

func column[T any](name string, rows []schemas.Accepted, value func(*schemas.Accepted) T) warehouse.Column {
	values := make([]T, len(rows))
	for i := range rows {
		values[i] = value(&rows[i])
	}
	return warehouse.Column{Name: name, Values: values}
}

func rawColumns(rows []schemas.Accepted) []warehouse.Column {
	cost := warehouse.NullMoney{}
	for i := range rows {
		cost.Values = append(cost.Values, rows[i].Cost)
		cost.Null = append(cost.Null, !rows[i].Priced)
	}
	text := func(name string, value func(*schemas.Accepted) string) warehouse.Column {
		return column(name, rows, value)
	}
	columns := []warehouse.Column{
		text("tenant", func(a *schemas.Accepted) string { return a.Tenant }),
		column("time", rows, func(a *schemas.Accepted) time.Time { return a.Event.Timestamp() }),
		text("source", func(a *schemas.Accepted) string { return a.Event.Source }),
		text("event_id", func(a *schemas.Accepted) string { return a.Event.ID }),
		column("rank", rows, func(a *schemas.Accepted) uint64 { return ^a.Seq }),
		column("idx", rows, func(a *schemas.Accepted) uint16 { return a.Idx }),
		column("received_at", rows, func(a *schemas.Accepted) time.Time { return time.UnixMilli(a.ReceivedAt) }),
		text("type", func(a *schemas.Accepted) string { return string(a.Event.Type) }),
		column("calls", rows, func(a *schemas.Accepted) int8 { return a.Calls }),
		text("provider", func(a *schemas.Accepted) string { return a.Event.Provider }),
		text("model", func(a *schemas.Accepted) string { return a.Event.Model }),
		text("department", func(a *schemas.Accepted) string { return a.Event.Department }),
		text("cost_center", func(a *schemas.Accepted) string { return a.Event.CostCenter }),
		text("agent", func(a *schemas.Accepted) string { return a.Event.Agent }),
		text("status", func(a *schemas.Accepted) string { return a.Event.Status }),
		column("latency_ms", rows, func(a *schemas.Accepted) uint32 { return uint32(a.Event.LatencyMS) }),
		text("corrects_source", func(a *schemas.Accepted) string { return a.Event.Corrects.Source }),
		text("corrects_id", func(a *schemas.Accepted) string { return a.Event.Corrects.ID }),
		column("units", rows, func(a *schemas.Accepted) map[string]int64 {
			units := map[string]int64{}
			for _, u := range a.Event.Units {
				units[u.Name] = u.Count
			}
			return units
		}),
		{Name: "cost", Values: cost},
	}
	for b := range schemas.BucketCount {
		columns = append(columns, column(schemas.Bucket(b).Column(), rows, func(a *schemas.Accepted) int64 { return a.Event.Tokens[b] }))
	}
	return columns
}

// ledger commits a range; rows are what was accepted in it.
func (p *project) ledger(from, to uint64, rows []schemas.Accepted) {
	p.t.Helper()
	type dirty struct {
		tenant string
		hour   int64
	}
	var windows []dirty
	var tokens, calls int64
	var unpriced uint64
	cost := schemas.Money{}
	for i := range rows {
		a := &rows[i]
		hour := schemas.WindowOf(schemas.GrainHour, a.Event.Timestamp()).Start.Unix()
		if d := (dirty{a.Tenant, hour}); !slices.Contains(windows, d) {
			windows = append(windows, d)
		}
		tokens += a.Event.Tokens.Total()
		calls += int64(a.Calls)
		if a.Priced {
			cost = cost.Add(a.Cost)
		} else {
			unpriced++
		}
	}
	tenants, hours := []string{}, []time.Time{}
	for _, d := range windows {
		tenants, hours = append(tenants, d.tenant), append(hours, time.Unix(d.hour, 0).UTC())
	}
	n := uint64(len(rows))
	one := func(name string, value uint64) warehouse.Column {
		return warehouse.Column{Name: name, Values: []uint64{value}}
	}
	err := p.db.Insert(context.Background(), "ledger",
		warehouse.Column{Name: "shard", Values: []uint32{0}},
		one("from_seq", from), one("to_seq", to), one("messages", to-from+1), one("events", n), one("accepted", n),
		warehouse.Column{Name: "calls", Values: []int64{calls}}, one("unpriced", unpriced),
		warehouse.Column{Name: "tokens", Values: []int64{tokens}},
		warehouse.Column{Name: "cost", Values: []schemas.Money{cost}},
		warehouse.Column{Name: "committed_at", Values: []time.Time{time.UnixMilli(1_780_000_000_000).Add(time.Duration(to) * time.Second)}},
		warehouse.Column{Name: "dirty_tenants", Values: [][]string{tenants}},
		warehouse.Column{Name: "dirty_hours", Values: [][]time.Time{hours}})
	if err != nil {
		p.t.Fatalf("insert ledger row: %v", err)
	}
}

// call returns a priced call with an id of its own.
func call(tenant string, seq uint64, at time.Time, model string, tokens int64, costPico int64) schemas.Accepted {
	return schemas.Accepted{
		Tenant: tenant, Seq: seq, ReceivedAt: at.UnixMilli(), Calls: 1, Priced: true, Cost: schemas.Pico(costPico),
		Event: schemas.Event{
			ID: fmt.Sprintf("e%d", seq), Source: "/test", Type: schemas.TypeLLMCall, Time: at.UnixMilli(),
			Provider: "anthropic", Model: model, Agent: "support", LatencyMS: 10,
			Tokens: schemas.Tokens{schemas.Input: tokens},
		},
	}
}

// void returns what is accepted for the void of a.
func void(a schemas.Accepted, seq uint64) schemas.Accepted {
	v := a
	v.Seq, v.Idx, v.Calls = seq, 0, -a.Calls
	v.Cost, v.Event.Tokens = a.Cost.Neg(), a.Event.Tokens.Negate()
	v.Event.Type, v.Event.ID = schemas.TypeVoid, "void-"+a.Event.ID
	v.Event.Corrects = schemas.EventRef{Source: a.Event.Source, ID: a.Event.ID}
	return v
}
