package warehouse_test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/schemas"
)

const benchRows = 50_000

// wideColumns is a block of 20 columns as usage events have them.
func wideColumns(block int) []warehouse.Column {
	n := benchRows
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	times, money := make([]time.Time, n), warehouse.NullMoney{Values: make([]schemas.Money, n), Null: make([]bool, n)}
	rank, key := make([]uint64, n), make([][16]byte, n)
	ids := make([]string, n)
	for i := range n {
		times[i] = at.Add(time.Duration(i) * time.Second)
		rank[i] = uint64(block*n + i)
		key[i] = hash128(rank[i])
		ids[i] = fmt.Sprintf("evt_%016x", rank[i])
		money.Values[i], money.Null[i] = schemas.Pico(int64(i)*1e6), i%50 == 0
	}
	word := func(words ...string) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = words[i%len(words)]
		}
		return out
	}
	cols := []warehouse.Column{
		{Name: "tenant", Values: word("acme", "globex", "initech")}, {Name: "time", Values: times}, {Name: "source", Values: word("runtime")},
		{Name: "event_id", Values: ids}, {Name: "rank", Values: rank}, {Name: "key", Values: key},
		{Name: "provider", Values: word("openai", "anthropic")}, {Name: "model", Values: word("gpt-5", "sonnet-4-5", "haiku-4-5")},
		{Name: "department", Values: word("sales", "support", "legal", "ops")}, {Name: "agent", Values: word("a1", "a2", "a3", "a4", "a5")},
		{Name: "session", Values: ids}, {Name: "cost", Values: money}, {Name: "tags", Values: make([]map[string]string, n)},
	}
	for i := range 7 {
		v := make([]int64, n)
		for j := range v {
			v[j] = int64(j*(i+1)) % 20_000
		}
		cols = append(cols, warehouse.Column{Name: fmt.Sprintf("tokens%d", i), Values: v})
	}
	return cols
}

const wideTable = `CREATE TABLE wide (tenant LowCardinality(String), time DateTime64(3, 'UTC'), source LowCardinality(String), event_id String,
	rank UInt64, key FixedString(16), provider LowCardinality(String), model LowCardinality(String), department LowCardinality(String),
	agent LowCardinality(String), session String, cost Nullable(Decimal(38, 12)), tags Map(LowCardinality(String), String),
	tokens0 Int64, tokens1 Int64, tokens2 Int64, tokens3 Int64, tokens4 Int64, tokens5 Int64, tokens6 Int64)
	ENGINE = ReplacingMergeTree(rank) PARTITION BY toYYYYMM(time) ORDER BY (tenant, toStartOfHour(time), source, event_id)` + warehousetest.Durable

func hash128(n uint64) (k [16]byte) {
	h := fnv.New128a()
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	_, _ = h.Write(b[:])
	h.Sum(k[:0])
	return k
}

// BenchmarkInsert inserts 20 columns in blocks of 50,000 rows with fsync on.
func BenchmarkInsert(b *testing.B) {
	for name, byDriver := range map[string]bool{"block": false, "driver": true} {
		b.Run(name, func(b *testing.B) {
			db := warehousetest.Open(b)
			if byDriver {
				db.InsertByDriver()
			}
			if err := db.Exec(b.Context(), wideTable); err != nil {
				b.Fatal(err)
			}
			cols := wideColumns(0)
			b.ReportAllocs()
			for b.Loop() {
				if err := db.Insert(b.Context(), "wide", cols...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(benchRows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkLookup finds 500 keys, half of them there, among a million, for both
// ways to keep a key of 128 bits.
func BenchmarkLookup(b *testing.B) {
	for _, kind := range []string{"FixedString(16)", "UInt128"} {
		b.Run(kind, func(b *testing.B) {
			db := warehousetest.Open(b)
			if err := db.Exec(b.Context(), "CREATE TABLE keys (key "+kind+" CODEC(NONE), content UInt64) ENGINE = ReplacingMergeTree ORDER BY key SETTINGS index_granularity = 256"); err != nil {
				b.Fatal(err)
			}
			inserting := time.Duration(0)
			for block := range 20 {
				inserting += insertKeys(b, db, kind, block)
			}
			b.ReportMetric(20*benchRows/inserting.Seconds(), "inserted/s")
			lookup(b, db, kind)
		})
	}
}

func insertKeys(b *testing.B, db *warehouse.DB, kind string, block int) time.Duration {
	b.Helper()
	fixed, wide, content := make([][16]byte, benchRows), make([]warehouse.UInt128, benchRows), make([]uint64, benchRows)
	for i := range fixed {
		fixed[i] = hash128(uint64(block*benchRows + i))
		wide[i] = warehouse.UInt128FromBytes(fixed[i])
	}
	var keys any = fixed
	if kind == "UInt128" {
		keys = wide
	}
	started := time.Now()
	if err := db.Insert(b.Context(), "keys", warehouse.Column{Name: "key", Values: keys}, warehouse.Column{Name: "content", Values: content}); err != nil {
		b.Fatal(err)
	}
	return time.Since(started)
}

func lookup(b *testing.B, db *warehouse.DB, kind string) {
	sql := "SELECT key, content FROM keys WHERE key IN {keys:Array(FixedString(16))}"
	var keys [][16]byte
	for i := range 500 {
		keys = append(keys, hash128(uint64(i)*4000))
	}
	var param any = keys
	if kind == "UInt128" {
		sql = "SELECT reinterpretAsFixedString(key), content FROM keys WHERE key IN (SELECT reinterpretAsUInt128(reverse(arrayJoin({keys:Array(FixedString(16))}))))"
	}
	for b.Loop() {
		rows, err := db.Query(b.Context(), sql, warehouse.Param{Name: "keys", Value: param})
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for rows.Next() {
			n++
		}
		if err := rows.Err(); err != nil || n != 250 {
			b.Fatalf("found %d of 250 keys, error %v", n, err)
		}
		rows.Close()
	}
}

// BenchmarkStart opens and closes an engine of its own.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		db, err := warehouse.Open(b.Context(), warehousetest.Config(dir))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(residentMiB(b, db.Health().PID), "MiB")
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func residentMiB(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			return kib / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
