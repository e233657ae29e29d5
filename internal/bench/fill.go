package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// rowsPerRecord is how many filled rows share one place in the log. idx has 16
// bits.
const rowsPerRecord = 50_000

// Records returns how many records of the log Fill needs for rows.
func Records(rows int) uint64 { return uint64((rows + rowsPerRecord - 1) / rowsPerRecord) }

// A Fill puts rows into usage_raw as the engine makes them, and the ledger rows
// that belong to them, so that rollups and readers take them for counted. Rows
// follow each other in time over the whole month, tenants in turn; a tenant has
// 20 agents, each with a usual and a second model.
type Fill struct {
	Tenants []string
	Month   schemas.Window
	Rows    int
	// From is the first place in the log; Records(Rows) of them are taken.
	From uint64
	// PriceRevision must be the one in force on the log.
	PriceRevision uint32
}

const fillRows = `
INSERT INTO usage_raw
(
    tenant, time, source, event_id, rank, idx, received_at, type, calls, provider, model, department, cost_center,
    agent, user, session, latency_ms, input_tokens, cache_read_tokens, output_tokens, cost, price_revision
)
SELECT
    {tenants:Array(String)}[1 + n % {tenant_count:UInt64}],
    fromUnixTimestamp64Milli({month_ms:Int64} + toInt64(n * {step_us:UInt64} DIV 1000), 'UTC') AS at,
    '/runtime/eu-1',
    toString(generateUUIDv7()),
    bitNot({from_seq:UInt64} + n DIV {per_record:UInt64}),
    toUInt16(n % {per_record:UInt64}),
    at,
    'llm.call',
    1,
    if(model LIKE 'gpt%', 'openai', 'anthropic'),
    ['claude-opus-4-6', 'claude-sonnet-4-5', 'claude-haiku-4-5', 'gpt-4o'][1 + (agent_no + (h % 4 = 0)) % 4] AS model,
    ['support', 'engineering', 'sales', 'legal', 'operations', 'finance'][1 + agent_no % 6],
    concat('CC-10', toString(agent_no % 6)),
    concat('agent-', toString(agent_no)),
    concat('u-', toString(bitShiftRight(h, 8) % 300)),
    concat('s-', hex(toUInt32(n DIV 700))),
    toUInt32(350 + bitShiftRight(h, 16) % 9000),
    toInt64(1 + bitShiftRight(h, 20) % 3000),
    toInt64(bitShiftRight(h, 24) % 20000),
    toInt64(1 + bitShiftRight(h, 28) % 900),
    toDecimal128(1 + bitShiftRight(h, 24) % 60000, 12) / 1000000,
    {revision:UInt32}
FROM
(
    SELECT number AS n, cityHash64(number) AS h, bitShiftRight(h, 40) % 20 AS agent_no
    FROM numbers({first:UInt64}, {count:UInt64})
)`

const fillLedger = `
INSERT INTO ledger
(
    shard, from_seq, to_seq, messages, events, accepted, calls, tokens, cost, price_revision, committed_at,
    dirty_tenants, dirty_hours
)
SELECT
    0, place, place, 1, n, n, n, tokens, cost, {revision:UInt32}, now64(3, 'UTC'),
    arrayMap(d -> d.1, dirty), arrayMap(d -> d.2, dirty)
FROM
(
    SELECT
        seq AS place,
        count() AS n,
        sum(input_tokens + cache_read_tokens + output_tokens) AS tokens,
        sum(u.cost) AS cost,
        arraySort(groupUniqArray((tenant, toDateTime(toStartOfHour(time), 'UTC')))) AS dirty
    FROM usage_raw AS u
    WHERE seq >= {from_seq:UInt64} AND seq < {to_seq:UInt64}
    GROUP BY place
)`

// Run fills.
func (f *Fill) Run(ctx context.Context, db *warehouse.DB) error {
	// One statement's rows: the engine holds them as one block.
	const chunk = 20 * rowsPerRecord
	month := f.Month.End().Sub(f.Month.Start)
	for first := 0; first < f.Rows; first += chunk {
		count := min(chunk, f.Rows-first)
		place := f.From + uint64(first/rowsPerRecord)
		err := db.Exec(ctx, fillRows,
			warehouse.Param{Name: "tenants", Value: f.Tenants},
			warehouse.Param{Name: "tenant_count", Value: uint64(len(f.Tenants))},
			warehouse.Param{Name: "month_ms", Value: f.Month.Start.UnixMilli()},
			warehouse.Param{Name: "step_us", Value: uint64(month.Microseconds()) / uint64(f.Rows)},
			warehouse.Param{Name: "from_seq", Value: f.From},
			warehouse.Param{Name: "per_record", Value: uint64(rowsPerRecord)},
			warehouse.Param{Name: "revision", Value: f.PriceRevision},
			warehouse.Param{Name: "first", Value: uint64(first)},
			warehouse.Param{Name: "count", Value: uint64(count)})
		if err != nil {
			return fmt.Errorf("fill rows from %d: %w", first, err)
		}
		if err := commitFilled(ctx, db, place, place+Records(count), f.PriceRevision); err != nil {
			return err
		}
	}
	return nil
}

func commitFilled(ctx context.Context, db *warehouse.DB, from, to uint64, revision uint32) error {
	err := db.Exec(ctx, fillLedger,
		warehouse.Param{Name: "from_seq", Value: from},
		warehouse.Param{Name: "to_seq", Value: to},
		warehouse.Param{Name: "revision", Value: revision})
	if err != nil {
		return fmt.Errorf("fill ledger from %d: %w", from, err)
	}
	return nil
}

// Touch adds one row to a tenant's hour at a place in the log, which makes the
// hour, its day and its month due.
func Touch(ctx context.Context, db *warehouse.DB, tenant string, hour time.Time, place uint64, revision uint32) error {
	f := Fill{Tenants: []string{tenant}, Month: schemas.Window{Grain: schemas.GrainMonth, Start: hour}, Rows: 1, From: place, PriceRevision: revision}
	return f.Run(ctx, db)
}

// Roll makes passes until the rollups have caught up.
func Roll(ctx context.Context, worker *rollup.Worker) (windows int, took time.Duration, err error) {
	for {
		pass, err := worker.Pass(ctx)
		if err != nil {
			return windows, took, fmt.Errorf("roll up: %w", err)
		}
		windows, took = windows+pass.Windows(), took+pass.Took
		if !pass.More {
			return windows, took, nil
		}
	}
}

// Settle waits until the engine merges nothing, at most for a while: what is
// timed next should not share the machine with what came before. It reports
// whether it is quiet.
func Settle(ctx context.Context, db *warehouse.DB, most time.Duration) (bool, error) {
	deadline := time.Now().Add(most)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for quiet := 0; ; {
		var merges uint64
		if err := db.QueryRow(ctx, "SELECT count() FROM system.merges").Scan(&merges); err != nil {
			return false, fmt.Errorf("count merges: %w", err)
		}
		if quiet++; merges > 0 {
			quiet = 0
		}
		const quietTicks = 5 // between two merges there is a short pause
		if quiet == quietTicks || time.Now().After(deadline) {
			return quiet == quietTicks, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-tick.C:
		}
	}
}
