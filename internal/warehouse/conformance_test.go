package warehouse_test

import (
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
)

func TestEmbedded(t *testing.T) {
	warehousetest.Run(t, func(t *testing.T) *warehouse.DB { return warehousetest.Open(t) })
}

// TestDriverInsert runs the suite with inserts through clickhouse-go's batches,
// which is how blocks travel over the native protocol.
func TestDriverInsert(t *testing.T) {
	warehousetest.Run(t, func(t *testing.T) *warehouse.DB {
		db := warehousetest.Open(t)
		db.InsertByDriver()
		return db
	})
}

// TestExternalHTTP runs the suite on a DB that knows only an http:// URL. The
// server behind it is an engine whose socket is passed on to a TCP port.
func TestExternalHTTP(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s", "engine.sock")
	warehousetest.OpenDir(t, dir, func(c *warehouse.Config) { c.Engine.Socket = socket })
	addr := passOn(t, socket)
	admin, err := warehouse.Open(t.Context(), warehouse.Config{URL: "http://default@" + addr + "/admin"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close() })
	n := 0
	warehousetest.Run(t, func(t *testing.T) *warehouse.DB {
		n++
		db, err := admin.ForDatabase(t.Context(), "external_"+string(rune('a'+n)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	})
}

// passOn listens on a loopback port and connects each caller to a unix socket.
func passOn(t *testing.T, socket string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", socket)
			if err != nil {
				in.Close()
				continue
			}
			go func() { defer out.Close(); defer in.Close(); _, _ = io.Copy(out, in) }()
			go func() { defer out.Close(); defer in.Close(); _, _ = io.Copy(in, out) }()
		}
	}()
	return l.Addr().String()
}
