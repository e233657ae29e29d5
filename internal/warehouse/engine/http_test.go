package engine_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/klauspost/compress/zstd"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
)

const token = "a token of the tests"

// doors is an engine with both doors open.
type doors struct {
	t      *testing.T
	db     *warehouse.DB
	socket *http.Client
	addr   string // of the reading door
}

func open(t *testing.T) *doors {
	t.Helper()
	dir := t.TempDir()
	d := &doors{t: t, addr: freeAddress(t)}
	path := filepath.Join(dir, "s", "e.sock")
	d.db = warehousetest.OpenDir(t, dir, func(c *warehouse.Config) {
		c.Engine.Socket, c.Engine.Listen, c.Engine.Token = path, d.addr, token
	})
	transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	d.socket = &http.Client{Transport: transport}
	for _, sql := range []string{"CREATE TABLE t (a Int64, s String) ENGINE = MergeTree ORDER BY a", "INSERT INTO t VALUES (1, 'one'), (2, 'two')"} {
		if err := d.db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for p, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %v, want %o, error %v", p, info.Mode().Perm(), mode, err)
		}
	}
	return d
}

// freeAddress is a loopback port that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// all posts to the socket.
func (d *doors) all(query string, body []byte, header ...string) (int, http.Header, string) {
	d.t.Helper()
	return d.post(d.socket, "http://engine/?database=panda&"+query, body, header...)
}

// read posts to the reading door.
func (d *doors) read(query, body string, header ...string) (int, http.Header, string) {
	d.t.Helper()
	return d.post(http.DefaultClient, "http://"+d.addr+"/?"+query, []byte(body), header...)
}

func (d *doors) post(client *http.Client, target string, body []byte, header ...string) (int, http.Header, string) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		d.t.Error(err)
		return 0, nil, ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, res.Header, string(text) + "\nCUT: " + err.Error()
	}
	return res.StatusCode, res.Header, string(text)
}

func TestReadingDoor(t *testing.T) {
	d := open(t)
	for name, c := range map[string]struct {
		query, body string
		header      []string
		status      int
		want        string
	}{
		"no token":        {"", "SELECT 1", nil, 401, "Code: 516"},
		"wrong token":     {"", "SELECT 1", []string{"X-ClickHouse-Key", "guess"}, 401, "Code: 516"},
		"key":             {"", "SELECT count() FROM t", []string{"X-ClickHouse-User", "default", "X-ClickHouse-Key", token}, 200, "2\n"},
		"bearer":          {"", "SELECT 1", []string{"Authorization", "Bearer " + token}, 200, "1\n"},
		"basic":           {"", "SELECT 1", []string{"Authorization", "Basic ZGVmYXVsdDphIHRva2VuIG9mIHRoZSB0ZXN0cw=="}, 200, "1\n"},
		"password":        {"password=" + url.QueryEscape(token), "SELECT 1", nil, 200, "1\n"},
		"setting":         {"max_block_size=99", "SELECT getSetting('max_block_size'), getSetting('readonly')", key, 200, "99\t1\n"},
		"setting refused": {"readonly=0", "SELECT 1", key, 403, "setting readonly"},
		"path setting":    {"format_schema=x", "SELECT 1", key, 403, "setting format_schema"},
		"own settings":    {"", "SELECT 1 SETTINGS max_threads = 1", key, 403, "Code: 164"},
		"insert":          {"", "INSERT INTO t VALUES (3, 'x')", key, 403, "Code: 164"},
		"insert data":     {"query=" + url.QueryEscape("INSERT INTO t FORMAT CSV"), "3,x", key, 403, "Code: 164"},
		"file function":   {"", "SELECT file('/etc/hostname')", key, 403, "function file"},
		"a path":          {"", "SELECT * FROM default.`/etc/hostname`", key, 403, "default"},
		"default db":      {"database=default", "SELECT * FROM `/etc/hostname`", key, 403, "default"},
		"path in panda":   {"", "SELECT * FROM `/etc/hostname`", key, 404, "Code: 60"},
		"template":        {"default_format=Template", "SELECT 1", key, 403, "format Template"},
		"session":         {"session_id=x", "SELECT 1", key, 501, "Code: 48"},
		"parameters":      {"param_a=" + url.QueryEscape("x' OR 1"), "SELECT count() FROM t WHERE s = {a:String}", key, 200, "0\n"},
	} {
		status, header, text := d.read(c.query, c.body, c.header...)
		if status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %q, want %d %q", name, status, text, c.status, c.want)
		}
		if status != 200 && header.Get("X-ClickHouse-Exception-Code") == "" {
			t.Errorf("%s: no exception code", name)
		}
	}
	if _, _, n := d.all("", []byte("SELECT count() FROM t")); n != "2\n" {
		t.Errorf("the reading door wrote: %s rows", n)
	}
}

var key = []string{"X-ClickHouse-Key", token}

// TestFenceCoversTheEngine asks the engine for its table functions, so that a new
// release's new ones are looked at before they are let through.
func TestFenceCoversTheEngine(t *testing.T) {
	d := open(t)
	known := map[string]bool{}
	for _, name := range strings.Fields(`numbers numbers_mt zeros zeros_mt values null view viewIfPermitted format generate_series
		generateSeries generateRandom SQLStandardValues mergeTreeIndex mergeTreeProjection mergeTreeTextIndex mergeTreeAnalyzeIndexes
		mergeTreeAnalyzeIndexesUUID primes viewExplain`) {
		known[name] = true // they only make rows, or read tables
	}
	_, _, names := d.all("", []byte("SELECT name FROM system.table_functions"))
	for name := range strings.Lines(names) {
		name = strings.TrimSpace(name)
		status, _, text := d.read("", "SELECT * FROM `"+name+"`('x')", key...)
		if !known[name] && (status != 403 || !strings.Contains(text, "reading only")) {
			t.Errorf("table function %s is not fenced: %d %.200s", name, status, text)
		}
	}
}

func TestCompression(t *testing.T) {
	d := open(t)
	insert := "query=" + url.QueryEscape("INSERT INTO t FORMAT TabSeparated")
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("10\tgzip;\n"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _, text := d.all(insert, zipped.Bytes(), "Content-Encoding", "gzip"); status != 200 {
		t.Errorf("gzip body: %d %s", status, text)
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, text := d.all(insert, enc.EncodeAll([]byte("11\tzstd\n"), nil), "Content-Encoding", "zstd"); status != 200 {
		t.Errorf("zstd body: %d %s", status, text)
	}
	if status, _, text := d.all(insert, []byte("x"), "Content-Encoding", "rot13"); status != 501 || !strings.Contains(text, "rot13") {
		t.Errorf("unknown encoding: %d %s", status, text)
	}
	w := compress.NewWriter(0, compress.LZ4)
	if err := w.Compress([]byte("12\tlz4\n")); err != nil {
		t.Fatal(err)
	}
	if status, _, text := d.all(insert+"&decompress=1", w.Data); status != 200 {
		t.Errorf("native blocks: %d %s", status, text)
	}
	const sql, want = "SELECT s FROM t WHERE a >= 10 ORDER BY a", "gzip;\nzstd\nlz4\n"
	_, header, text := d.all("enable_http_compression=1", []byte(sql), "Accept-Encoding", "gzip")
	r, err := gzip.NewReader(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %v %q", err, header, text)
	}
	if plain, err := io.ReadAll(r); err != nil || string(plain) != want {
		t.Errorf("gzip answer: %q, %v", plain, err)
	}
	_, _, text = d.all("compress=1", []byte(sql))
	cr := chproto.NewReader(strings.NewReader(text))
	cr.EnableCompression()
	plain := make([]byte, len(want))
	if err := cr.ReadFull(plain); err != nil || string(plain) != want {
		t.Errorf("native answer: %q, %v", plain, err)
	}
}

func TestStatementAndData(t *testing.T) {
	d := open(t)
	for name, c := range map[string]struct{ query, body string }{
		"data in the body":       {"query=" + url.QueryEscape("INSERT INTO t FORMAT JSONEachRow"), `{"a":20,"s":"x;y"}`},
		"data behind the query":  {"", "INSERT INTO t (a, s) FORMAT CSV\n20,\"x;y\""},
		"values":                 {"", "INSERT INTO t VALUES (20, 'x;y')"},
		"values in the body":     {"query=" + url.QueryEscape("INSERT INTO t VALUES"), "(20, 'x;y')"},
		"settings of the insert": {"", "INSERT INTO t SETTINGS async_insert = 0 FORMAT TSV\n20\tx;y"},
		"insert select":          {"", "INSERT INTO t SELECT 20, 'x;y'"},
	} {
		if status, _, text := d.all(c.query, []byte(c.body)); status != 200 {
			t.Errorf("%s: %d %s", name, status, text)
		}
		if _, _, text := d.all("", []byte("SELECT count(), any(s) FROM t WHERE a = 20")); text != "1\tx;y\n" {
			t.Errorf("%s: found %q", name, text)
		}
		if status, _, text := d.all("mutations_sync=2", []byte("ALTER TABLE t DELETE WHERE a = 20")); status != 200 {
			t.Fatal(text)
		}
	}
	_, header, _ := d.all("query_id=q1", []byte("SELECT 1 FORMAT JSON"))
	if header.Get("X-ClickHouse-Query-Id") != "q1" || header.Get("X-ClickHouse-Format") != "JSON" || !strings.Contains(header.Get("X-ClickHouse-Summary"), `"read_rows":"1"`) {
		t.Errorf("headers: %v", header)
	}
}

// TestFailureLeavesNothing checks that what a failed statement had put out is not
// in front of the next answer of the same connection.
func TestFailureLeavesNothing(t *testing.T) {
	d := open(t)
	for _, format := range []string{"JSON", "CSVWithNames", "JSONEachRow"} {
		for range 5 {
			status, _, text := d.all("max_block_size=1000&default_format="+format, []byte("SELECT number, throwIf(number = 500000) FROM numbers(1000000)"))
			if !strings.Contains(text, "Code: 395") {
				t.Fatalf("%s: %d without the exception", format, status)
			}
			if status == 200 && !strings.Contains(text, "CUT: ") {
				t.Errorf("%s: a failed stream ended as if it were whole", format)
			}
			if _, _, text := d.all("max_block_size=1000&default_format=TSV", []byte("SELECT 42")); text != "42\n" {
				t.Fatalf("%s: the next answer is %.100q", format, text)
			}
		}
	}
}

// TestTermDrains checks that a statement under way ends before the engine does.
func TestTermDrains(t *testing.T) {
	d := open(t)
	answer := make(chan string, 1)
	go func() {
		_, _, text := d.all("max_block_size=1", []byte("SELECT sum(ignore(sleepEachRow(0.1))) AS drained FROM numbers(10) FORMAT JSONEachRow"))
		answer <- text
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for running := ""; running != "1\n"; <-tick.C {
		if len(answer) > 0 {
			t.Fatalf("the statement ended too early: %s", <-answer)
		}
		_, _, running = d.all("", []byte("SELECT count() FROM system.processes WHERE query LIKE '%drained%' AND query NOT LIKE '%system%'"))
	}
	if err := syscall.Kill(d.db.Health().PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "{\"drained\":0}\n" {
		t.Errorf("the statement under way answered %q", got)
	}
}

// TestRunning: what is asked of an engine that hangs is something it answers.
func TestRunning(t *testing.T) {
	d := open(t)
	if status, _, text := d.all("", []byte(engine.RunningSQL)); status != http.StatusOK || !strings.Contains(text, "system.processes") {
		t.Errorf("status %d: %s", status, text)
	}
}
