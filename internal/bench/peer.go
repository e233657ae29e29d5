package bench

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// Peer writes the same rows to the same engine in another way that is in use:
// text INSERT … VALUES statements of a few hundred rows and, if lookup is set, a
// query per event for whether its key is there already. db must have the tables.
// It returns rows per second.
func Peer(ctx context.Context, db *warehouse.DB, b *Block, batch int, lookup bool, during time.Duration) (float64, error) {
	const keySQL = "SELECT count() FROM usage_keys WHERE key = unhex({key:String})"
	began, written := time.Now(), 0
	for at := 0; written == 0 || time.Since(began) < during; at += batch {
		if at+batch > len(b.Rows) {
			at = 0
		}
		for i := range b.Keys[at : at+batch] {
			if !lookup {
				break
			}
			var n uint64
			key := warehouse.Param{Name: "key", Value: hex.EncodeToString(b.Keys[at+i].Key[:])}
			if err := db.QueryRow(ctx, keySQL, key).Scan(&n); err != nil {
				return 0, fmt.Errorf("look up key: %w", err)
			}
		}
		if err := db.Exec(ctx, valuesStatement(b.Rows[at:at+batch])); err != nil {
			return 0, fmt.Errorf("insert text: %w", err)
		}
		written += batch
	}
	return float64(written) / time.Since(began).Seconds(), nil
}

func valuesStatement(rows []schemas.Accepted) string {
	var b strings.Builder
	b.WriteString("INSERT INTO usage_raw (tenant, time, source, event_id, rank, idx, received_at, type, calls, provider, model, " +
		"department, cost_center, agent, user, session, latency_ms, input_tokens, cache_read_tokens, output_tokens, cost, price_revision) VALUES ")
	for i := range rows {
		a := &rows[i]
		e := &a.Event
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('(')
		quote(&b, a.Tenant)
		number(&b, e.Time)
		for _, s := range []string{e.Source, e.ID} {
			b.WriteString(", ")
			quote(&b, s)
		}
		b.WriteString(", " + strconv.FormatUint(^a.Seq, 10))
		number(&b, int64(a.Idx))
		number(&b, a.ReceivedAt)
		b.WriteString(", ")
		quote(&b, string(e.Type))
		number(&b, int64(a.Calls))
		for _, s := range []string{e.Provider, e.Model, e.Department, e.CostCenter, e.Agent, e.User, e.Session} {
			b.WriteString(", ")
			quote(&b, s)
		}
		for _, n := range []int64{e.LatencyMS, e.Tokens[schemas.Input], e.Tokens[schemas.CacheRead], e.Tokens[schemas.Output]} {
			number(&b, n)
		}
		b.WriteString(", " + a.Cost.String())
		number(&b, int64(a.PriceRevision))
		b.WriteByte(')')
	}
	return b.String()
}

func number(b *strings.Builder, n int64) { b.WriteString(", " + strconv.FormatInt(n, 10)) }

func quote(b *strings.Builder, s string) {
	b.WriteString("'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'")
}
