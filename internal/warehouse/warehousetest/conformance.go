package warehousetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// Run checks that what open returns is a warehouse. open is called once per
// subtest and must give an empty database each time.
func Run(t *testing.T, open func(t *testing.T) *warehouse.DB) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *warehouse.DB)
	}{
		{"every type comes back", everyType},
		{"insert of binary text", binaryText},
		{"insert refuses", insertRefuses},
		{"parameters are values", parametersAreValues},
		{"parallel parameters do not mix", parallelParameters},
		{"a query cannot write", queryCannotWrite},
		{"an error is never an empty success", errorIsNoSuccess},
		{"a long result is whole", longResult},
		{"settings do not leak", settingsDoNotLeak},
		{"a cancelled query ends", cancelledQuery},
		{"memory limit", memoryLimit},
		{"migrations", migrations},
		{"migrations refuse", migrationsRefuse},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// Durable is the SETTINGS clause that a table needs to pass Migrate's check.
const Durable = ` SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1,
	min_compressed_bytes_to_fsync_after_merge = 1, non_replicated_deduplication_window = 0`

func exec(t *testing.T, db *warehouse.DB, sql string, args ...warehouse.Param) {
	t.Helper()
	if err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func one[T any](t *testing.T, db *warehouse.DB, sql string, args ...warehouse.Param) (v T) {
	t.Helper()
	if err := db.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// row has a field of each type that Insert takes.
type row struct {
	S, L, E string
	B       bool
	U8      uint8
	U16     uint16
	U32     uint32
	U64     uint64
	I8      int8
	I16     int16
	I32     int32
	I64     int64
	K       [16]byte
	W       warehouse.UInt128
	T, D    time.Time
	M       schemas.Money
	N       *schemas.Money
	Tags    map[string]string
	Units   map[string]int64
	AS      []string
	AU      []uint64
	AT      []time.Time
}

const everyTypeTable = `CREATE TABLE every (S String, L LowCardinality(String), E Enum8('hour' = 1, 'day' = 2), B Bool,
	U8 UInt8, U16 UInt16, U32 UInt32, U64 UInt64, I8 Int8, I16 Int16, I32 Int32, I64 Int64,
	K FixedString(16), W UInt128, T DateTime64(3, 'UTC'), D DateTime('UTC'), M Decimal(38, 12), N Nullable(Decimal(38, 12)),
	Tags Map(LowCardinality(String), String), Units Map(LowCardinality(String), Int64),
	AS Array(LowCardinality(String)), AU Array(UInt64), AT Array(DateTime('UTC'))) ENGINE = MergeTree ORDER BY U64`

func everyType(t *testing.T, db *warehouse.DB) {
	exec(t, db, everyTypeTable)
	at := time.Date(2026, 2, 28, 23, 59, 59, 999e6, time.UTC)
	some := schemas.Pico(-30_432_000_000)
	big, ok := schemas.MoneyFromBig(schemas.MoneyFromWords(1<<40, 7).Big())
	if !ok {
		t.Fatal("a constant is no money")
	}
	want := []row{
		{S: "a;'\"\\\x00\xffb", L: "openai", E: "day", B: true, U8: 255, U16: 65535, U32: 1<<32 - 1, U64: 0, I8: -128, I16: -32768,
			I32: -1 << 31, I64: -1 << 63, K: [16]byte{0, 1, ';', 15: 255}, W: warehouse.UInt128{Hi: 1 << 63, Lo: 1}, T: at,
			D: at.Truncate(time.Second), M: big, N: &some, Tags: map[string]string{"b": "1", "a": "ü;"}, Units: map[string]int64{"web_search": -3},
			AS: []string{"x", "y"}, AU: []uint64{1, 1<<64 - 1}, AT: []time.Time{at.Truncate(time.Hour)}},
		{S: strings.Repeat("long ", 1000), L: "", E: "hour", U64: 1<<64 - 1, T: at.Add(time.Millisecond), D: at.Truncate(time.Second),
			Tags: map[string]string{}, Units: map[string]int64{}, AS: []string{}, AU: []uint64{}, AT: []time.Time{}},
	}
	if err := db.Insert(t.Context(), "every", columnsOf(want)...); err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), "SELECT * FROM every ORDER BY U64")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []row
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.S, &r.L, &r.E, &r.B, &r.U8, &r.U16, &r.U32, &r.U64, &r.I8, &r.I16, &r.I32, &r.I64, &r.K, &r.W, &r.T, &r.D,
			&r.M, &r.N, &r.Tags, &r.Units, &r.AS, &r.AU, &r.AT); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b schemas.Money) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func column[T any](rows []row, f func(row) T) []T {
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = f(r)
	}
	return out
}

func columnsOf(rows []row) []warehouse.Column {
	null := warehouse.NullMoney{}
	for _, r := range rows {
		null.Null = append(null.Null, r.N == nil)
		if r.N == nil {
			r.N = new(schemas.Money)
		}
		null.Values = append(null.Values, *r.N)
	}
	return []warehouse.Column{
		{Name: "S", Values: column(rows, func(r row) string { return r.S })},
		{Name: "L", Values: column(rows, func(r row) string { return r.L })},
		{Name: "E", Values: column(rows, func(r row) string { return r.E })},
		{Name: "B", Values: column(rows, func(r row) bool { return r.B })},
		{Name: "U8", Values: column(rows, func(r row) uint8 { return r.U8 })},
		{Name: "U16", Values: column(rows, func(r row) uint16 { return r.U16 })},
		{Name: "U32", Values: column(rows, func(r row) uint32 { return r.U32 })},
		{Name: "U64", Values: column(rows, func(r row) uint64 { return r.U64 })},
		{Name: "I8", Values: column(rows, func(r row) int8 { return r.I8 })},
		{Name: "I16", Values: column(rows, func(r row) int16 { return r.I16 })},
		{Name: "I32", Values: column(rows, func(r row) int32 { return r.I32 })},
		{Name: "I64", Values: column(rows, func(r row) int64 { return r.I64 })},
		{Name: "K", Values: column(rows, func(r row) [16]byte { return r.K })},
		{Name: "W", Values: column(rows, func(r row) warehouse.UInt128 { return r.W })},
		{Name: "T", Values: column(rows, func(r row) time.Time { return r.T })},
		{Name: "D", Values: column(rows, func(r row) time.Time { return r.D })},
		{Name: "M", Values: column(rows, func(r row) schemas.Money { return r.M })},
		{Name: "N", Values: null},
		{Name: "Tags", Values: column(rows, func(r row) map[string]string { return r.Tags })},
		{Name: "Units", Values: column(rows, func(r row) map[string]int64 { return r.Units })},
		{Name: "AS", Values: column(rows, func(r row) []string { return r.AS })},
		{Name: "AU", Values: column(rows, func(r row) []uint64 { return r.AU })},
		{Name: "AT", Values: column(rows, func(r row) []time.Time { return r.AT })},
	}
}

// binaryText inserts every byte value at every place of a text, in one block of
// many rows: what is cut or escaped on the way changes the hash.
func binaryText(t *testing.T, db *warehouse.DB) {
	exec(t, db, "CREATE TABLE b (i UInt32, s String) ENGINE = MergeTree ORDER BY i")
	var ids []uint32
	var texts []string
	for i := range 70_000 {
		ids = append(ids, uint32(i))
		texts = append(texts, string([]byte{byte(i), ';', byte(i >> 8), '\n', byte(255 - i)}))
	}
	if err := db.Insert(t.Context(), "b", warehouse.Column{Name: "i", Values: ids}, warehouse.Column{Name: "s", Values: texts}); err != nil {
		t.Fatal(err)
	}
	const want = "SELECT count() FROM b WHERE s = concat(char(i % 256), ';', char(intDiv(i, 256) % 256), '\n', char(255 - i % 256))"
	if n := one[uint64](t, db, want); n != uint64(len(ids)) {
		t.Errorf("%d of %d rows are as they were sent", n, len(ids))
	}
	if n := one[uint64](t, db, "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'b' AND level = 0"); n > 1 {
		t.Errorf("one insert made %d parts: it is not atomic", n)
	}
}

func insertRefuses(t *testing.T, db *warehouse.DB) {
	exec(t, db, "CREATE TABLE r (i UInt32, e Enum8('a' = 1)) ENGINE = MergeTree ORDER BY i")
	for name, c := range map[string]struct {
		table string
		cols  []warehouse.Column
	}{
		"lengths differ":    {"r", []warehouse.Column{{Name: "i", Values: []uint32{1, 2}}, {Name: "e", Values: []string{"a"}}}},
		"no such column":    {"r", []warehouse.Column{{Name: "nope", Values: []uint32{1}}}},
		"no such table":     {"nope", []warehouse.Column{{Name: "i", Values: []uint32{1}}}},
		"not an enum value": {"r", []warehouse.Column{{Name: "i", Values: []uint32{1}}, {Name: "e", Values: []string{"b"}}}},
		"a type unknown":    {"r", []warehouse.Column{{Name: "i", Values: []complex64{1}}}},
		"a table injected":  {"r VALUES (1,'a') --", []warehouse.Column{{Name: "i", Values: []uint32{1}}}},
		"a column injected": {"r", []warehouse.Column{{Name: "i`) --", Values: []uint32{1}}}},
	} {
		err := db.Insert(t.Context(), c.table, c.cols...)
		if err == nil || errors.Is(err, schemas.ErrUnavailable) {
			t.Errorf("%s: got %v, want an error that a retry does not mend", name, err)
		}
	}
	if n := one[uint64](t, db, "SELECT count() FROM r"); n != 0 {
		t.Errorf("refused inserts left %d rows", n)
	}
}

var hostile = []string{"", "'", `\`, `\'`, "'; DROP TABLE x; --", "{a:String}", "tab\tnl\nnul\x00cr\r", `\N`, "ünï", "/* c */ -- d", `\\t`, "$$x$$", "a;b"}

func parametersAreValues(t *testing.T, db *warehouse.DB) {
	for _, s := range hostile {
		got := one[string](t, db, "SELECT {s:String} /* {t:String} */", warehouse.Param{Name: "s", Value: s})
		if got != s {
			t.Errorf("String: sent %q, got %q", s, got)
		}
	}
	got := one[[]string](t, db, "SELECT {l:Array(String)}", warehouse.Param{Name: "l", Value: hostile})
	if d := cmp.Diff(hostile, got); d != "" {
		t.Error(d)
	}
	keys := [][16]byte{{0: '\'', 1: '\\', 2: 0, 3: '\n', 4: 255, 15: 9}, {}}
	if n := one[uint64](t, db, "SELECT countIf(k IN {keys:Array(FixedString(16))}) FROM (SELECT arrayJoin({keys:Array(FixedString(16))}) AS k)",
		warehouse.Param{Name: "keys", Value: keys}); n != 2 {
		t.Errorf("%d of 2 keys came through", n)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	if back := one[time.Time](t, db, "SELECT {t:DateTime64(3, 'UTC')}", warehouse.Param{Name: "t", Value: at}); !back.Equal(at) {
		t.Errorf("time: sent %s, got %s", at, back)
	}
	money := schemas.Pico(-1)
	if back := one[schemas.Money](t, db, "SELECT {m:Decimal(38, 12)}", warehouse.Param{Name: "m", Value: money}); back != money {
		t.Errorf("money: sent %s, got %s", money, back)
	}
}

func parallelParameters(t *testing.T, db *warehouse.DB) {
	g, ctx := errgroup.WithContext(t.Context())
	for worker := range 16 {
		g.Go(func() error {
			for i := range 40 {
				want := fmt.Sprintf("%d-%d", worker, i)
				var got string
				if err := db.QueryRow(ctx, "SELECT {v:String}", warehouse.Param{Name: "v", Value: want}).Scan(&got); err != nil {
					return err
				}
				if got != want {
					return fmt.Errorf("sent %s, got another query's %s", want, got)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func queryCannotWrite(t *testing.T, db *warehouse.DB) {
	exec(t, db, "CREATE TABLE w (i UInt32) ENGINE = MergeTree ORDER BY i")
	for _, sql := range []string{"INSERT INTO w VALUES (1)", "DROP TABLE w", "TRUNCATE TABLE w", "SELECT 1; DROP TABLE w", "ALTER TABLE w DELETE WHERE 1"} {
		rows, err := db.Query(t.Context(), sql)
		if err == nil {
			err = rows.Close()
		}
		if err == nil || errors.Is(err, schemas.ErrUnavailable) {
			t.Errorf("%s: got %v, want a refusal", sql, err)
		}
	}
	if n := one[uint64](t, db, "SELECT count() FROM w"); n != 0 {
		t.Errorf("a query wrote %d rows", n)
	}
}

func errorIsNoSuccess(t *testing.T, db *warehouse.DB) {
	for sql, code := range map[string]int{
		"SELECT nope": 47, "SELECT 1 FROM nope": 60, "SELEC 1": 62, "SELECT throwIf(1)": 395,
		"SELECT number, throwIf(number = 3000000) FROM numbers(4000000)": 395, // after blocks were sent
	} {
		rows, err := db.Query(t.Context(), sql)
		n := 0
		if err == nil {
			for rows.Next() {
				n++
			}
			err = errors.Join(rows.Err(), rows.Close())
		}
		if warehouse.Code(err) != code {
			t.Errorf("%s: %d rows and error %v, want code %d", sql, n, err, code)
		}
	}
	var i uint8
	if err := db.QueryRow(t.Context(), "SELECT 1 WHERE 0").Scan(&i); !errors.Is(err, warehouse.ErrNoRows) {
		t.Errorf("no row: got %v", err)
	}
}

func longResult(t *testing.T, db *warehouse.DB) {
	const rowsWant = 3_000_000
	rows, err := db.Query(t.Context(), "SELECT number FROM numbers({n:UInt64})", warehouse.Param{Name: "n", Value: rowsWant})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var n, sum, v uint64
	for rows.Next() {
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		n, sum = n+1, sum+v
	}
	if err := rows.Err(); err != nil || n != rowsWant || sum != rowsWant*(rowsWant-1)/2 {
		t.Errorf("%d rows of sum %d, error %v", n, sum, err)
	}
}

func settingsDoNotLeak(t *testing.T, db *warehouse.DB) {
	const sql = "SELECT toUInt64(getSetting('max_block_size'))"
	before := one[uint64](t, db, sql)
	if got := one[uint64](t, db, sql+" SETTINGS max_block_size = 77"); got != 77 {
		t.Errorf("a query's own setting: got %d", got)
	}
	exec(t, db, "SET max_block_size = 78")
	for range 8 {
		if got := one[uint64](t, db, sql); got != before {
			t.Fatalf("max_block_size is %d after another statement, was %d", got, before)
		}
	}
}

func cancelledQuery(t *testing.T, db *warehouse.DB) {
	const mark = "conformance_cancelled_query"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		var n uint64
		ended <- db.QueryRow(ctx, "SELECT sum(sipHash64(number)) AS "+mark+" FROM numbers(100000000000)").Scan(&n)
	}()
	running := "SELECT count() FROM system.processes WHERE position(query, '" + mark + "') > 0 AND position(query, 'system.processes') = 0"
	await(t, db, running, 1)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	await(t, db, running, 0)
}

// await polls until a count has a value, for at most 10 s.
func await(t *testing.T, db *warehouse.DB, sql string, want uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if n := one[uint64](t, db, sql); n == want {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s is not %d after 10 s", sql, want)
		}
	}
}

func memoryLimit(t *testing.T, db *warehouse.DB) {
	var n uint64
	err := db.QueryRow(t.Context(), "SELECT length(groupArray(number)) + length(groupArray(toString(number))) FROM numbers(1000000000) SETTINGS max_memory_usage = 200000000").Scan(&n)
	if warehouse.Code(err) != 241 || errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("got %v, want code 241 and no retry", err)
	}
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("after a query over the limit: %v", err)
	}
}

func migrations(t *testing.T, db *warehouse.DB) {
	files := fstest.MapFS{
		"0001_first.sql": {Data: []byte("-- why\nCREATE TABLE IF NOT EXISTS first {{on_cluster}} (i UInt64)\nENGINE = {{engine \"ReplacingMergeTree(i)\"}} ORDER BY i" + Durable + ";\n\n" +
			"CREATE VIEW IF NOT EXISTS v {{on_cluster}} AS SELECT ';' AS c;\n-- the end;\n")},
	}
	g, ctx := errgroup.WithContext(t.Context())
	for range 3 { // several nodes start at once
		g.Go(func() error { return db.Migrate(ctx, files) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	files["0002_second.sql"] = &fstest.MapFile{Data: []byte("ALTER TABLE first {{on_cluster}} ADD COLUMN IF NOT EXISTS j UInt64")}
	if err := db.Migrate(t.Context(), files); err != nil {
		t.Fatal(err)
	}
	if n := one[uint64](t, db, "SELECT count() FROM schema_migrations FINAL"); n != 2 {
		t.Errorf("%d migrations are noted, want 2", n)
	}
	if n := one[uint64](t, db, "SELECT count() FROM system.columns WHERE database = currentDatabase() AND table = 'first'"); n != 2 {
		t.Errorf("table first has %d columns, want 2", n)
	}
}

func migrationsRefuse(t *testing.T, db *warehouse.DB) {
	table := func(extra string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("CREATE TABLE IF NOT EXISTS f (i UInt64) ENGINE = MergeTree ORDER BY i" + Durable + extra)}
	}
	migrate := func(files fstest.MapFS) error { return db.Migrate(t.Context(), files) }
	if err := migrate(fstest.MapFS{"0001_f.sql": table("")}); err != nil {
		t.Fatal(err)
	}
	if err := migrate(fstest.MapFS{"0001_f.sql": table(" -- edited")}); !errors.Is(err, warehouse.ErrMigrationChanged) {
		t.Errorf("an edited file: got %v", err)
	}
	if err := migrate(fstest.MapFS{}); !errors.Is(err, warehouse.ErrMigrationMissing) {
		t.Errorf("an older program: got %v", err)
	}
	if err := migrate(fstest.MapFS{"0001_f.sql": table(""), "0003_g.sql": table("")}); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a gap in the numbers: got %v", err)
	}
	frail := &fstest.MapFile{Data: []byte("CREATE TABLE IF NOT EXISTS frail (i UInt64) ENGINE = MergeTree ORDER BY i")}
	if err := migrate(fstest.MapFS{"0001_f.sql": table(""), "0002_frail.sql": frail}); err == nil || !strings.Contains(err.Error(), "frail is not durable") {
		t.Errorf("a table without fsync: got %v", err)
	}
}
