package rollup

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/rollup/bill"
	"github.com/agentik-os/panda/schemas"
)

// query runs a statement about a tenant where its rows lie.
func (b *Billing) query(ctx context.Context, tenant, name string, scan func(*warehouse.Rows) error, params ...warehouse.Param) error {
	view, err := b.cfg.Places.View(ctx)
	if err != nil {
		return err
	}
	defer view.Close()
	rows, err := b.db.Query(ctx, statement(name), append(params, warehouse.Param{Name: "tenant", Value: tenant}, view.Of(tenant).Param())...)
	if err != nil {
		return err
	}
	return rows.Each(func() error { return scan(rows) })
}

func between(from, to time.Time, position uint64) []warehouse.Param {
	return []warehouse.Param{{Name: "from_ms", Value: from.UnixMilli()}, {Name: "to_ms", Value: to.UnixMilli()}, {Name: "position", Value: position}}
}

// used reads what a tenant used in each span, as of a position.
func (b *Billing) used(ctx context.Context, tenant string, spans []bill.Span, position uint64) ([]bill.SpanUsage, error) {
	list := make([]bill.SpanUsage, len(spans))
	for i := range spans {
		sp := &spans[i]
		err := b.query(ctx, tenant, "statement_usage", func(rows *warehouse.Rows) error {
			var u bill.Usage
			list[i].Usage = append(list[i].Usage, u)
			p := &list[i].Usage[len(list[i].Usage)-1]
			return rows.Scan(&p.Provider, &p.Model, &p.Department, &p.CostCenter, &p.Agent, &p.Tokens, &p.Cost, &p.Unpriced)
		}, between(sp.From, sp.To, position)...)
		if err != nil {
			return nil, fmt.Errorf("read usage of %s: %w", tenant, err)
		}
		err = b.query(ctx, tenant, "statement_storage", func(rows *warehouse.Rows) error {
			return rows.Scan(&list[i].StorageBytes)
		}, between(sp.From, sp.To, position)...)
		if err != nil {
			return nil, fmt.Errorf("read storage of %s: %w", tenant, err)
		}
	}
	return list, nil
}

// changes returns the months between two times that usage came to in (after, position],
// and why.
func (b *Billing) changes(ctx context.Context, tenant string, from, to time.Time, after, position uint64) (map[string]string, error) {
	causes := map[string]string{}
	err := b.query(ctx, tenant, "statement_changes", func(rows *warehouse.Rows) error {
		var monthS int64
		var voids, adjustments, late uint64
		if err := rows.Scan(&monthS, &voids, &adjustments, &late); err != nil {
			return err
		}
		var words []string
		for _, cause := range []struct {
			word string
			n    uint64
		}{{"late", late}, {"void", voids}, {"adjustment", adjustments}} {
			if cause.n > 0 {
				words = append(words, cause.word)
			}
		}
		causes[schemas.WindowOf(schemas.GrainMonth, time.Unix(monthS, 0)).String()] = strings.Join(words, ",")
		return nil
	}, append(between(from, to, position), warehouse.Param{Name: "after", Value: after})...)
	if err != nil {
		return nil, fmt.Errorf("read what came to closed months of %s: %w", tenant, err)
	}
	return causes, nil
}

// Check holds the usage of a month in events against its rollup, as of the position that
// the rollup is of. It returns what differs in words, "" if nothing does.
func (b *Billing) Check(ctx context.Context, tenant string, month schemas.Window) (string, error) {
	var gen uint64
	var tokens int64
	var cost schemas.Money
	err := b.query(ctx, tenant, "statement_window", func(rows *warehouse.Rows) error { return rows.Scan(&gen, &tokens, &cost) },
		warehouse.Param{Name: "month_s", Value: month.Start.Unix()})
	if err != nil {
		return "", fmt.Errorf("read window %s: %w", month, err)
	}
	used, err := b.used(ctx, tenant, []bill.Span{{From: month.Start, To: month.End()}}, gen)
	if err != nil {
		return "", err
	}
	events := bill.Usage{}
	for _, u := range used[0].Usage {
		events.Tokens, events.Cost = events.Tokens+u.Tokens, events.Cost.Add(u.Cost)
	}
	if events.Tokens == tokens && events.Cost == cost {
		return "", nil
	}
	return fmt.Sprintf("%s of %s as of %d: events are %d tokens and %s USD, the rollup %d and %s",
		month, tenant, gen, events.Tokens, events.Cost, tokens, cost), nil
}
