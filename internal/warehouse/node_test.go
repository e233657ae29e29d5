package warehouse_test

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
)

// TestNodeClient lets ClickHouse's own client for Node, which is not ours and
// not in Go, read from the reading door, and fail to write.
func TestNodeClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, token := l.Addr().String(), "a token of the tests"
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	db := warehousetest.OpenDir(t, t.TempDir(), func(c *warehouse.Config) { c.Engine.Listen, c.Engine.Token = addr, token })
	for _, sql := range []string{
		"CREATE TABLE t (a Int32, s String) ENGINE = MergeTree ORDER BY a",
		`INSERT INTO t VALUES (1, 'it\'s; -- {s}'), (2, 'ü')`,
	} {
		if err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/nodeclient")); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "ENGINE_URL=http://"+addr, "ENGINE_TOKEN="+token)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s%s", name, err, out, complaint.Bytes())
		}
		return out
	}
	run("npm", "ci", "--silent")
	var got map[string]any
	if err := json.Unmarshal(run("node", "read.mjs"), &got); err != nil {
		t.Fatal(err)
	}
	row := func(kv ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return m
	}
	// The connection is cut behind the exception; which of the two the client
	// meets first is up to its buffers. No error would be a short result taken for whole.
	if got["failedStream"] == "ECONNRESET" {
		got["failedStream"] = "395"
	}
	want := map[string]any{
		"ping": true, "streamed": 500000.0,
		"rows":         []any{row("a", 1.0, "s", "it's; -- {s}"), row("a", 2.0, "s", "ü")},
		"params":       []any{row("a", 1.0)},
		"settings":     []any{row("n", 77.0)},
		"failedStream": "395", "insert": "164", "command": "164", "file": "164", "stranger": "516",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var rows uint64
	if err := db.QueryRow(t.Context(), "SELECT count() FROM t").Scan(&rows); err != nil || rows != 2 {
		t.Errorf("%d rows after the client's writes, error %v", rows, err)
	}
}
