package rollup_test

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/rollup"
)

// spyDB remembers the statements and parameters of a pass.
type spyDB struct {
	*warehouse.DB
	sql    []string
	params [][]warehouse.Param
}

func (s *spyDB) Exec(ctx context.Context, sql string, params ...warehouse.Param) error {
	s.sql, s.params = append(s.sql, sql), append(s.params, params)
	return s.DB.Exec(ctx, sql, params...)
}

var granulesLine = regexp.MustCompile(`Granules: (\d+)/(\d+)`)

// granules returns how many granules of a table the statement that inserts into
// the rollups reads, and of how many.
func (p *project) granules(insert, table string, params []warehouse.Param) (read, of int) {
	p.t.Helper()
	_, query, _ := strings.Cut(insert, ")\nSELECT")
	rows, err := p.db.Query(context.Background(), "EXPLAIN indexes = 1 SELECT"+query, params...)
	if err != nil {
		p.t.Fatalf("explain: %v", err)
	}
	defer rows.Close()
	in := false
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			p.t.Fatalf("explain: %v", err)
		}
		if strings.Contains(line, "ReadFromMergeTree") {
			in = strings.Contains(line, "."+table+")")
		}
		if m := granulesLine.FindStringSubmatch(line); m != nil && in {
			read, _ = strconv.Atoi(m[1])
			if n, _ := strconv.Atoi(m[2]); n > of {
				of = n
			}
		}
	}
	if err := rows.Err(); err != nil || of == 0 {
		p.t.Fatalf("explain: no granules of %s: %v", table, err)
	}
	return read, of
}

// fill adds usage of 50 tenants over two weeks; another offset is other tenants,
// so that the dirty hour stays as it is while the table grows.
const fill = `INSERT INTO usage_raw (tenant, time, source, event_id, rank, type, calls, model, input_tokens, cost)
	SELECT concat('t', toString(number % 50 + intDiv({offset:UInt64}, 1000000) * 50)), toDateTime64('2026-05-01 00:00:00', 3, 'UTC') + intDiv(number, 50) * 2,
		'/fill', toString(number + {offset:UInt64}), bitNot(number + {offset:UInt64}), 'llm.call', 1, 'opus', 10, 0.000001
	FROM numbers({rows:UInt64})`

// TestPassCostsWhatIsDirty looks at what the engine reads for one dirty hour:
// a few granules of the table, and no more of them when the table is larger.
func TestPassCostsWhatIsDirty(t *testing.T) {
	p := newProject(t)
	p.exec(fill, warehouse.Param{Name: "offset", Value: uint64(1000)}, warehouse.Param{Name: "rows", Value: uint64(1_000_000)})
	p.exec("OPTIMIZE TABLE usage_raw FINAL")
	at := time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)
	p.next = 2_000_000
	p.commit(2_000_000, call("t7", 2_000_000, at, "opus", 10, 1))
	spy := &spyDB{DB: p.db}
	if _, err := rollup.New(rollup.Config{}, rollup.NewTables(spy, nil)).Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	tables := []string{"usage_raw", "rollup", "rollup"}
	for i, table := range tables {
		read, of := p.granules(spy.sql[i], table, spy.params[i])
		t.Logf("statement %d reads %d of %d granules of %s", i, read, of, table)
		// One granule of the hour, one beside it, one of the part just inserted.
		if read > 4 || table == "usage_raw" && of < 100 {
			t.Errorf("statement %d reads %d of %d granules of %s", i, read, of, table)
		}
	}
}

// BenchmarkHourRecompute recomputes one hour of a tenant in a table of a size
// and in one ten times as large; the ratio of the two is the number to look at.
func BenchmarkHourRecompute(b *testing.B) {
	for _, rows := range []uint64{1_000_000, 10_000_000} {
		b.Run(strconv.FormatUint(rows, 10), func(b *testing.B) {
			p := newProject(b)
			for offset := uint64(0); offset < rows; offset += 1_000_000 {
				p.exec(fill, warehouse.Param{Name: "offset", Value: 1000 + offset}, warehouse.Param{Name: "rows", Value: uint64(1_000_000)})
			}
			p.exec("OPTIMIZE TABLE usage_raw FINAL")
			p.next = 20_000_000
			at := time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC)
			p.commit(20_000_000, call("t7", 20_000_000, at, "opus", 10, 1))
			spy := &spyDB{DB: p.db}
			if _, err := rollup.New(rollup.Config{}, rollup.NewTables(spy, nil)).Pass(b.Context()); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := p.db.Exec(context.Background(), spy.sql[0], spy.params[0]...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
