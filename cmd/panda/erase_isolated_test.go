package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/agentik-os/panda/internal/export"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/tenancy"
)

// A tenant with a database of its own is exported and erased from there, and from where
// its rows were before; a user of it likewise.
func TestEraseIsolatedTenant(t *testing.T) {
	t.Parallel()
	e := startErasing(t)
	e.fill()
	by := tenancy.Actor{ID: "system:test"}
	for _, id := range []string{e.acme.ID, e.globex.ID} {
		moved, err := e.move(t.Context(), by, id, tenancy.IsolatedDatabase, nil)
		if err != nil || moved.Rows != 62 || moved.To != placement.DatabaseOf(e.db.Database(), id) {
			t.Fatalf("moved %+v, %v", moved, err)
		}
	}
	e.agrees("moved")
	var out bytes.Buffer
	own := tenancy.ScopeOf(e.acme.ID, "user:test", tenancy.PermissionRead)
	if err := e.exporter.Write(t.Context(), own, "", &out, export.NDJSON); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), e.secrets["session"]); n < 60 {
		t.Errorf("the export has %d of the tenant's events", n)
	}

	user := e.secret("user") + "-1"
	c, err := e.shards[0].eraser.EraseUser(t.Context(), e.acme.ID, user, "key:test", nil)
	if err != nil || c.Erased["usage_raw"] != 21 {
		t.Fatalf("erased of a user: %+v, %v", c, err)
	}
	e.agrees("after the user")
	e.gone("after the user", map[string]string{"user": user})

	c = e.erase()
	if c.Erased["usage_raw"] != 62 {
		t.Errorf("erased of the tenant: %+v", c)
	}
	check := func(when string) {
		t.Helper()
		e.gone(when, e.secrets)
		e.agrees(when)
		var n uint64
		err := e.db.QueryRow(t.Context(), fmt.Sprintf("SELECT count() FROM %s.usage_raw", placement.DatabaseOf(e.db.Database(), e.globex.ID))).Scan(&n)
		if err != nil || n != 62 {
			t.Errorf("%s: the other tenant has %d rows: %v", when, n, err)
		}
	}
	check("after the tenant")
	e.stop()
	e.start()
	if _, err := e.endMoves(t.Context()); err != nil {
		t.Error(err)
	}
	var names int64
	if err := e.db.QueryRow(t.Context(), "SELECT toInt64(count()) FROM system.databases WHERE name = '"+
		placement.DatabaseOf(e.db.Database(), e.acme.ID)+"'").Scan(&names); err != nil || names != 0 {
		t.Errorf("the erased tenant's database is still there: %v", err)
	}
	check("after a restart")
}
