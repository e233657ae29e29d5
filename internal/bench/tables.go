package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// A ColumnSize is what a column takes on disk.
type ColumnSize struct {
	Table    string  `json:"table"`
	Column   string  `json:"column"`
	PerEvent float64 `json:"bytes_per_event"`
}

// Sizes merges both tables of events to the end and returns the bytes per event
// of each, marks and indexes included, and of each column.
func Sizes(ctx context.Context, db *warehouse.DB) (raw, keys float64, columns []ColumnSize, err error) {
	for _, table := range []string{"usage_raw", "usage_keys"} {
		if err := db.Exec(ctx, "OPTIMIZE TABLE "+table+" FINAL"); err != nil {
			return 0, 0, nil, fmt.Errorf("merge %s: %w", table, err)
		}
	}
	size := func(table string) (float64, error) {
		var rows, bytes uint64
		err := db.QueryRow(ctx, `SELECT sum(rows), sum(bytes_on_disk) FROM system.parts
			WHERE active AND database = currentDatabase() AND table = {table:String}`,
			warehouse.Param{Name: "table", Value: table}).Scan(&rows, &bytes)
		if err != nil || rows == 0 {
			return 0, fmt.Errorf("size of %s with %d rows: %w", table, rows, err)
		}
		return float64(bytes) / float64(rows), nil
	}
	if raw, err = size("usage_raw"); err != nil {
		return 0, 0, nil, err
	}
	if keys, err = size("usage_keys"); err != nil {
		return 0, 0, nil, err
	}
	columns, err = columnSizes(ctx, db)
	return raw, keys, columns, err
}

// columnSizes copies both tables into wide parts, a file per column: small parts
// keep all columns in one file, and their sizes apart are not known.
func columnSizes(ctx context.Context, db *warehouse.DB) ([]ColumnSize, error) {
	for _, table := range []string{"usage_raw", "usage_keys"} {
		for _, sql := range []string{
			"CREATE TABLE " + table + "_columns AS " + table,
			"ALTER TABLE " + table + "_columns MODIFY SETTING min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0",
			"INSERT INTO " + table + "_columns SELECT * FROM " + table,
			"OPTIMIZE TABLE " + table + "_columns FINAL",
		} {
			if err := db.Exec(ctx, sql); err != nil {
				return nil, fmt.Errorf("copy %s: %w", table, err)
			}
		}
	}
	rows, err := db.Query(ctx, `SELECT replaceOne(table, '_columns', '') AS name, column, toUInt64(sum(column_bytes_on_disk)) AS bytes, toUInt64(sum(rows)) AS n
		FROM system.parts_columns WHERE active AND database = currentDatabase() AND table IN ('usage_raw_columns', 'usage_keys_columns')
		GROUP BY name, column ORDER BY name DESC, bytes DESC`)
	if err != nil {
		return nil, fmt.Errorf("size of columns: %w", err)
	}
	var columns []ColumnSize
	for rows.Next() {
		var c ColumnSize
		var bytes, n uint64
		if err := rows.Scan(&c.Table, &c.Column, &bytes, &n); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		c.PerEvent = float64(bytes) / float64(n)
		columns = append(columns, c)
	}
	return columns, errors.Join(rows.Err(), rows.Close())
}

// Inserted is what the warehouse took by itself.
type Inserted struct {
	Rows int64
	Took time.Duration
	// Raw and Keys are each insert alone, Commit a whole commit: both at once,
	// then the ledger row.
	Raw, Keys, Commit Samples
}

// Rate is rows per second of whole commits.
func (i *Inserted) Rate() float64 { return float64(i.Rows) / i.Took.Seconds() }

// Block is what one commit writes.
type Block struct {
	Rows []schemas.Accepted
	Keys []ingest.NewKey
}

// renew gives every event of a block another id, so that the next insert is of
// new events: copies would collapse in merges and make them cheap.
func (b *Block) renew(rnd *rand.Rand) {
	id := []byte("00000000-0000-7000-8000-000000000000")
	for i := range b.Rows {
		e := &b.Rows[i].Event
		writeID(id, uint64(e.Time), rnd)
		e.ID = string(id)
		b.Keys[i].Key = ingest.KeyOf(b.Rows[i].Tenant, e.Source, e.ID)
	}
}

// Insert commits the blocks in turn for as long as it is told, as the writer
// does and with nothing around it, and then times each insert alone a few times.
// Only the commits count; making new ids between them does not. The blocks must
// have rows.
func Insert(ctx context.Context, store *ingest.Tables, blocks []Block, during time.Duration) (Inserted, error) {
	var done Inserted
	rnd := rand.New(rand.NewPCG(1, uint64(len(blocks))))
	for i := 0; i < len(blocks) || done.Took < during; i++ {
		b := &blocks[i%len(blocks)]
		b.renew(rnd)
		start := time.Now()
		if err := commit(ctx, store, b, uint64(i+1)); err != nil {
			return done, err
		}
		done.Commit = append(done.Commit, time.Since(start))
		done.Took += time.Since(start)
		done.Rows += int64(len(b.Rows))
	}
	const alone = 5
	for i := range alone {
		b := &blocks[i%len(blocks)]
		b.renew(rnd)
		one, err := Times(1, func() error { return store.WriteRows(ctx, b.Rows) })
		if err != nil {
			return done, fmt.Errorf("insert rows: %w", err)
		}
		done.Raw = append(done.Raw, one...)
		if one, err = Times(1, func() error { return store.WriteKeys(ctx, b.Keys) }); err != nil {
			return done, fmt.Errorf("insert keys: %w", err)
		}
		done.Keys = append(done.Keys, one...)
	}
	return done, nil
}

func commit(ctx context.Context, store *ingest.Tables, b *Block, seq uint64) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return store.WriteRows(running, b.Rows) })
	group.Go(func() error { return store.WriteKeys(running, b.Keys) })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("insert block: %w", err)
	}
	row := ingest.LedgerRow{From: seq, To: seq, Messages: 1, Events: uint64(len(b.Rows)), Accepted: uint64(len(b.Rows)), CommittedAt: time.Now()}
	if err := store.Commit(ctx, &row); err != nil {
		return fmt.Errorf("insert ledger row: %w", err)
	}
	return nil
}
