package ingest

import (
	"context"
	"embed"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

//go:embed sql/*.sql
var sqlFiles embed.FS

// statement returns the text of sql/<name>.sql.
func statement(name string) string { return warehouse.Statement(sqlFiles, "ingest", name) }

// DB is the warehouse as this package uses it.
type DB interface {
	// Database is the one that all tenants share, and that has keys and ledger.
	Database() string
	Query(ctx context.Context, sql string, params ...warehouse.Param) (*warehouse.Rows, error)
	Insert(ctx context.Context, table string, columns ...warehouse.Column) error
}

// Tables is the Store in ClickHouse. See schemas/sql for the tables and why they
// are as they are.
type Tables struct {
	db     DB
	places *placement.Map
	spaces chan *rowSpace // holds the one that is free; a writer needs no more
}

var _ Store = (*Tables)(nil)

// NewTables returns the Store of a warehouse whose migrations have run. Without
// places, all tenants share one database.
func NewTables(db DB, places *placement.Map) *Tables {
	if places == nil {
		places = placement.Shared(db.Database())
	}
	t := &Tables{db: db, places: places, spaces: make(chan *rowSpace, 1)}
	t.spaces <- new(rowSpace)
	return t
}

const (
	// partitionsMax is how many months one insert may touch; ClickHouse refuses
	// more than 100 partitions in a block.
	partitionsMax = 90
	// lookupKeysMax bounds the keys of one lookup: their text travels in a query
	// parameter, and 4,000 of them are 140 kB.
	lookupKeysMax = 4000
	// lookupVoidsMax bounds the voided events of one lookup: their ids and sources
	// travel the same way, up to 256 bytes each.
	lookupVoidsMax = 256
)

// Head implements Store.
func (t *Tables) Head(ctx context.Context, shard uint32) (Head, error) {
	var head Head
	var count uint64
	var committedMS int64
	rows, err := t.db.Query(ctx, statement("head"), warehouse.Param{Name: "shard", Value: shard})
	if err != nil {
		return Head{}, err
	}
	answers := 0
	err = rows.Each(func() error {
		answers++
		return rows.Scan(&count, &head.To, &head.Epoch, &head.PriceRevision, &committedMS)
	})
	if count > 0 {
		head.CommittedAt = time.UnixMilli(committedMS).UTC()
	}
	if err != nil {
		return Head{}, err
	}
	if answers != 1 {
		return Head{}, fmt.Errorf("read ledger: %d answers instead of one: %w", answers, schemas.ErrUnavailable)
	}
	rows, err = t.db.Query(ctx, statement("keys_count"))
	if err != nil {
		return Head{}, err
	}
	err = rows.Each(func() error { return rows.Scan(&head.Keys) })
	return head, err
}

// Keys implements Store.
func (t *Tables) Keys(ctx context.Context, after, upTo uint64, add func(*Key)) error {
	rows, err := t.db.Query(ctx, statement("keys"),
		warehouse.Param{Name: "after", Value: after}, warehouse.Param{Name: "up_to", Value: upTo})
	if err != nil {
		return err
	}
	var key [16]byte
	return rows.Each(func() error {
		if err := rows.Scan(&key); err != nil {
			return err
		}
		add((*Key)(&key))
		return nil
	})
}

// Known implements Store.
func (t *Tables) Known(ctx context.Context, keys []Key, upTo uint64) (map[Key]KeyRow, error) {
	found := make(map[Key]KeyRow)
	for part := range slices.Chunk(keys, lookupKeysMax) {
		names := make([]string, len(part))
		for i := range part {
			names[i] = hex.EncodeToString(part[i][:])
		}
		rows, err := t.db.Query(ctx, statement("known"),
			warehouse.Param{Name: "keys", Value: names}, warehouse.Param{Name: "up_to", Value: upTo})
		if err != nil {
			return nil, err
		}
		var text string
		var row KeyRow
		err = rows.Each(func() error {
			if err := rows.Scan(&text, &row.Content, &row.Seq); err != nil {
				return err
			}
			var key Key
			if _, err := hex.Decode(key[:], []byte(text)); err != nil {
				return fmt.Errorf("read key %q: %w", text, err)
			}
			found[key] = row
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Accepted implements Store. The keys say where on the log each event came in, and
// with that the rows are found in the few granules that hold that place, not by
// reading every identity that the tenant has.
func (t *Tables) Accepted(ctx context.Context, refs []TenantRef, upTo uint64) ([]schemas.Accepted, error) {
	keys := make([]Key, len(refs))
	for i, ref := range refs {
		keys[i] = KeyOf(ref.Tenant, ref.Source, ref.ID)
	}
	known, err := t.Known(ctx, keys, upTo)
	if err != nil {
		return nil, err
	}
	byTenant := map[string][]TenantRef{}
	for i, ref := range refs {
		if _, ok := known[keys[i]]; ok {
			byTenant[ref.Tenant] = append(byTenant[ref.Tenant], ref)
		}
	}
	if len(byTenant) == 0 {
		return nil, nil
	}
	view, err := t.places.View(ctx)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	var found []schemas.Accepted
	for _, tenant := range sortedNames(byTenant) {
		for part := range slices.Chunk(byTenant[tenant], lookupVoidsMax) {
			sources, ids, seqs := make([]string, len(part)), make([]string, len(part)), make([]uint64, len(part))
			for i, ref := range part {
				sources[i], ids[i], seqs[i] = ref.Source, ref.ID, known[KeyOf(tenant, ref.Source, ref.ID)].Seq
			}
			rows, err := t.db.Query(ctx, statement("accepted"),
				warehouse.Param{Name: "tenant", Value: tenant},
				warehouse.Param{Name: "sources", Value: sources},
				warehouse.Param{Name: "ids", Value: ids},
				warehouse.Param{Name: "seqs", Value: seqs},
				warehouse.Param{Name: "up_to", Value: upTo}, view.Of(tenant).Param())
			if err != nil {
				return nil, err
			}
			err = rows.Each(func() error {
				a, err := scanAccepted(rows)
				a.Tenant = tenant
				found = append(found, a)
				return err
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

func scanAccepted(rows *warehouse.Rows) (schemas.Accepted, error) {
	var a schemas.Accepted
	var kind, cost string
	var latency uint32
	var priced uint8
	units, tags := map[string]int64{}, map[string]string{}
	e := &a.Event
	dest := []any{
		&e.Source, &e.ID, &a.Seq, &a.Idx, &a.ReceivedAt, &e.Time, &kind, &a.Calls,
		&e.Provider, &e.Model, &a.ReportedModel, &e.Department, &e.CostCenter, &e.Agent,
		&e.User, &e.Session, &e.Run, &e.ParentRun, &e.Status, &e.Error, &latency,
		&e.Completeness, &e.ServiceTier, &e.Flag,
	}
	for i := range e.Tokens {
		dest = append(dest, &e.Tokens[i])
	}
	dest = append(dest, &units, &tags, &e.Corrects.Source, &e.Corrects.ID,
		&priced, &cost, &a.UnpricedReason, &a.PriceRevision)
	if err := rows.Scan(dest...); err != nil {
		return a, err
	}
	e.Type, e.LatencyMS, a.Priced = schemas.EventType(kind), int64(latency), priced == 1
	for _, name := range sortedNames(units) {
		e.Units = append(e.Units, schemas.Unit{Name: name, Count: units[name]})
	}
	for _, name := range sortedNames(tags) {
		e.Tags = append(e.Tags, schemas.Tag{Key: name, Value: tags[name]})
	}
	var err error
	a.Cost, err = schemas.ParseMoney(cost)
	return a, err
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// WriteKeys implements Store.
func (t *Tables) WriteKeys(ctx context.Context, keys []NewKey) error {
	if len(keys) == 0 {
		return nil
	}
	names, contents, seqs := make([][16]byte, len(keys)), make([]uint64, len(keys)), make([]uint64, len(keys))
	for i, k := range keys {
		names[i], contents[i], seqs[i] = k.Key, k.Content, k.Seq
	}
	return t.db.Insert(ctx, "usage_keys",
		warehouse.Column{Name: "key", Values: names},
		warehouse.Column{Name: "content", Values: contents},
		warehouse.Column{Name: "seq", Values: seqs})
}

// WriteRejects implements Store.
func (t *Tables) WriteRejects(ctx context.Context, conflicts []Conflict, quarantined []Quarantined) error {
	if len(conflicts) > 0 {
		if err := t.insertConflicts(ctx, conflicts); err != nil {
			return err
		}
	}
	if len(quarantined) > 0 {
		return t.insertQuarantined(ctx, quarantined, StateOpen, 1)
	}
	return nil
}

func (t *Tables) insertConflicts(ctx context.Context, conflicts []Conflict) error {
	n := len(conflicts)
	tenants, sources, ids, bodies := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	seqs, firsts, idxs, received := make([]uint64, n), make([]uint64, n), make([]uint16, n), make([]time.Time, n)
	for i := range conflicts {
		c := &conflicts[i]
		tenants[i], sources[i], ids[i] = c.Tenant, c.Event.Source, c.Event.ID
		bodies[i] = string(EncodeEvent(nil, &c.Event))
		seqs[i], firsts[i], idxs[i], received[i] = c.Seq, c.FirstSeq, c.Idx, time.UnixMilli(c.ReceivedAt)
	}
	return t.db.Insert(ctx, "conflicts",
		warehouse.Column{Name: "tenant", Values: tenants},
		warehouse.Column{Name: "seq", Values: seqs},
		warehouse.Column{Name: "idx", Values: idxs},
		warehouse.Column{Name: "received_at", Values: received},
		warehouse.Column{Name: "source", Values: sources},
		warehouse.Column{Name: "event_id", Values: ids},
		warehouse.Column{Name: "first_seq", Values: firsts},
		warehouse.Column{Name: "body", Values: bodies})
}

func (t *Tables) insertQuarantined(ctx context.Context, quarantined []Quarantined, state string, version uint64) error {
	n := len(quarantined)
	tenants, subjects, reasons := make([]string, n), make([]string, n), make([]string, n)
	pointers, details, bodies, states := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	seqs, versions, idxs, received := make([]uint64, n), make([]uint64, n), make([]uint16, n), make([]time.Time, n)
	for i := range quarantined {
		q := &quarantined[i]
		tenants[i], subjects[i], reasons[i] = q.Tenant, q.Subject, q.Reason
		pointers[i], details[i], bodies[i], states[i] = q.Pointer, q.Detail, string(q.Body), state
		seqs[i], versions[i], idxs[i], received[i] = q.Seq, version, q.Idx, time.UnixMilli(q.ReceivedAt)
	}
	return t.db.Insert(ctx, "quarantine",
		warehouse.Column{Name: "tenant", Values: tenants},
		warehouse.Column{Name: "seq", Values: seqs},
		warehouse.Column{Name: "idx", Values: idxs},
		warehouse.Column{Name: "received_at", Values: received},
		warehouse.Column{Name: "subject", Values: subjects},
		warehouse.Column{Name: "reason", Values: reasons},
		warehouse.Column{Name: "pointer", Values: pointers},
		warehouse.Column{Name: "detail", Values: details},
		warehouse.Column{Name: "body", Values: bodies},
		warehouse.Column{Name: "state", Values: states},
		warehouse.Column{Name: "version", Values: versions})
}

// Commit implements Store.
func (t *Tables) Commit(ctx context.Context, row *LedgerRow) error {
	return t.db.Insert(ctx, "ledger",
		warehouse.Column{Name: "shard", Values: []uint32{row.Shard}},
		warehouse.Column{Name: "epoch", Values: []uint64{row.Epoch}},
		warehouse.Column{Name: "from_seq", Values: []uint64{row.From}},
		warehouse.Column{Name: "to_seq", Values: []uint64{row.To}},
		warehouse.Column{Name: "messages", Values: []uint64{row.Messages}},
		warehouse.Column{Name: "events", Values: []uint64{row.Events}},
		warehouse.Column{Name: "accepted", Values: []uint64{row.Accepted}},
		warehouse.Column{Name: "duplicates", Values: []uint64{row.Duplicates}},
		warehouse.Column{Name: "conflicts", Values: []uint64{row.Conflicts}},
		warehouse.Column{Name: "quarantined", Values: []uint64{row.Quarantined}},
		warehouse.Column{Name: "calls", Values: []int64{row.Calls}},
		warehouse.Column{Name: "unpriced", Values: []uint64{row.Unpriced}},
		warehouse.Column{Name: "late", Values: []uint64{row.Late}},
		warehouse.Column{Name: "tokens", Values: []int64{row.Tokens}},
		warehouse.Column{Name: "cost", Values: []schemas.Money{row.Cost}},
		warehouse.Column{Name: "row_hash", Values: []uint64{row.RowHash}},
		warehouse.Column{Name: "price_revision", Values: []uint32{row.PriceRevision}},
		warehouse.Column{Name: "lease", Values: []uint64{row.Lease}},
		warehouse.Column{Name: "committed_at", Values: []time.Time{row.CommittedAt}},
		warehouse.Column{Name: "dirty_tenants", Values: [][]string{row.DirtyTenants}},
		warehouse.Column{Name: "dirty_hours", Values: [][]time.Time{row.DirtyHours}})
}
