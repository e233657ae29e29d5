package ingest

import (
	"context"
	"math"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// WriteRows implements Store. Rows go where their tenants' rows lie, and those of many
// months in several inserts.
func (t *Tables) WriteRows(ctx context.Context, rows []schemas.Accepted) error {
	view, err := t.places.View(ctx)
	if err != nil {
		return err
	}
	defer view.Close()
	if len(view.Isolated()) == 0 {
		return t.writeInto(ctx, view.Database(""), rows)
	}
	byDatabase := map[string][]schemas.Accepted{}
	for i := range rows {
		database := view.Database(rows[i].Tenant)
		byDatabase[database] = append(byDatabase[database], rows[i])
	}
	for _, database := range sortedNames(byDatabase) {
		if err := t.writeInto(ctx, database, byDatabase[database]); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tables) writeInto(ctx context.Context, database string, rows []schemas.Accepted) error {
	if len(rows) == 0 {
		return nil
	}
	months := map[string]int{}
	for i := range rows {
		months[rows[i].Event.Timestamp().Format("200601")]++
	}
	if len(months) <= partitionsMax {
		return t.insertRows(ctx, database, rows)
	}
	parts := make([][]schemas.Accepted, (len(months)+partitionsMax-1)/partitionsMax)
	place := map[string]int{}
	for i, month := range sortedNames(months) {
		place[month] = i / partitionsMax
	}
	for i := range rows {
		p := place[rows[i].Event.Timestamp().Format("200601")]
		parts[p] = append(parts[p], rows[i])
	}
	for _, part := range parts {
		if err := t.insertRows(ctx, database, part); err != nil {
			return err
		}
	}
	return nil
}

// space lends slices for the columns of one insert and takes them back for the
// next: a range of 65,536 rows needs 40 MB of them.
type space[T any] struct {
	slices [][]T
	lent   int
}

func (s *space[T]) take(n int) []T {
	if s.lent == len(s.slices) {
		s.slices = append(s.slices, nil)
	}
	if cap(s.slices[s.lent]) < n {
		s.slices[s.lent] = make([]T, n)
	}
	s.lent++
	return s.slices[s.lent-1][:n]
}

// reset takes everything back and lets go of what the values point to.
func (s *space[T]) reset() {
	for _, slice := range s.slices[:s.lent] {
		clear(slice[:cap(slice)])
	}
	s.lent = 0
}

// rowSpace is the space of one insert into usage_raw.
type rowSpace struct {
	text   space[string]
	i64    space[int64]
	u64    space[uint64]
	u32    space[uint32]
	u16    space[uint16]
	i8     space[int8]
	times  space[time.Time]
	units  space[map[string]int64]
	tags   space[map[string]string]
	money  space[schemas.Money]
	absent space[bool]
}

func (s *rowSpace) reset() {
	s.text.reset()
	s.times.reset()
	s.units.reset()
	s.tags.reset()
	s.i64.lent, s.u64.lent, s.u32.lent, s.u16.lent = 0, 0, 0, 0 // numbers keep nothing alive
	s.i8.lent, s.money.lent, s.absent.lent = 0, 0, 0
}

// column builds one column from all rows.
func column[T any](name string, from *space[T], rows []schemas.Accepted, value func(*schemas.Accepted) T) warehouse.Column {
	return warehouse.Column{Name: name, Values: fill(from, rows, value)}
}

func fill[T any](from *space[T], rows []schemas.Accepted, value func(*schemas.Accepted) T) []T {
	values := from.take(len(rows))
	for i := range rows {
		values[i] = value(&rows[i])
	}
	return values
}

func (t *Tables) insertRows(ctx context.Context, database string, rows []schemas.Accepted) error {
	type row = schemas.Accepted
	var s *rowSpace
	select {
	case s = <-t.spaces:
		defer func() { s.reset(); t.spaces <- s }()
	default:
		s = new(rowSpace) // two inserts at once: the second one pays for itself
	}
	text := func(name string, value func(*row) string) warehouse.Column { return column(name, &s.text, rows, value) }
	columns := []warehouse.Column{
		text("tenant", func(r *row) string { return r.Tenant }),
		column("time", &s.times, rows, func(r *row) time.Time { return r.Event.Timestamp() }),
		text("source", func(r *row) string { return r.Event.Source }),
		text("event_id", func(r *row) string { return r.Event.ID }),
		column("rank", &s.u64, rows, func(r *row) uint64 { return ^r.Seq }),
		column("idx", &s.u16, rows, func(r *row) uint16 { return r.Idx }),
		column("received_at", &s.times, rows, func(r *row) time.Time { return time.UnixMilli(r.ReceivedAt) }),
		text("type", func(r *row) string { return string(r.Event.Type) }),
		column("calls", &s.i8, rows, func(r *row) int8 { return r.Calls }),
		text("provider", func(r *row) string { return r.Event.Provider }),
		text("model", func(r *row) string { return r.Event.Model }),
		text("reported_model", func(r *row) string { return r.ReportedModel }),
		text("department", func(r *row) string { return r.Event.Department }),
		text("cost_center", func(r *row) string { return r.Event.CostCenter }),
		text("agent", func(r *row) string { return r.Event.Agent }),
		text("user", func(r *row) string { return r.Event.User }),
		text("session", func(r *row) string { return r.Event.Session }),
		text("run", func(r *row) string { return r.Event.Run }),
		text("parent_run", func(r *row) string { return r.Event.ParentRun }),
		text("status", func(r *row) string { return r.Event.Status }),
		text("error", func(r *row) string { return r.Event.Error }),
		column("latency_ms", &s.u32, rows, func(r *row) uint32 { return uint32(min(r.Event.LatencyMS, math.MaxUint32)) }),
		text("completeness", func(r *row) string { return r.Event.Completeness }),
		text("service_tier", func(r *row) string { return r.Event.ServiceTier }),
		text("flag", func(r *row) string { return r.Event.Flag }),
		column("units", &s.units, rows, func(r *row) map[string]int64 { return unitMap(r.Event.Units) }),
		column("tags", &s.tags, rows, func(r *row) map[string]string { return tagMap(r.Event.Tags) }),
		text("corrects_source", func(r *row) string { return r.Event.Corrects.Source }),
		text("corrects_id", func(r *row) string { return r.Event.Corrects.ID }),
		{Name: "cost", Values: warehouse.NullMoney{
			Values: fill(&s.money, rows, func(r *row) schemas.Money { return r.Cost }),
			Null:   fill(&s.absent, rows, func(r *row) bool { return !r.Priced }),
		}},
		text("unpriced_reason", func(r *row) string { return r.UnpricedReason }),
		column("price_revision", &s.u32, rows, func(r *row) uint32 { return r.PriceRevision }),
	}
	for b := range schemas.BucketCount {
		columns = append(columns, column(schemas.Bucket(b).Column(), &s.i64, rows, func(r *row) int64 { return r.Event.Tokens[b] }))
	}
	return t.db.Insert(ctx, database+".usage_raw", columns...)
}

func unitMap(units []schemas.Unit) map[string]int64 {
	if len(units) == 0 {
		return nil
	}
	m := make(map[string]int64, len(units))
	for _, u := range units {
		m[u.Name] = u.Count
	}
	return m
}

func tagMap(tags []schemas.Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		m[t.Key] = t.Value
	}
	return m
}
