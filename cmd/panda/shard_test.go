package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// With several shards each tenant's usage is on the stream and in the database of its
// own shard alone, counted by a writer of its own; what is asked of the platform is the
// sum; and it stays so over a restart.
func TestShards(t *testing.T) {
	t.Parallel()
	const split, tenants, events = 4, 12, 20
	e := startErasingIn(t, false, split)
	by := tenancy.Actor{ID: "system:test"}
	var ids []string
	in := map[*shard]int{}
	for i := 0; len(ids) < tenants || len(in) < split; i++ {
		made, _, err := e.registry.CreateTenant(t.Context(), by, tenancy.NewTenant{Name: "T", Slug: fmt.Sprintf("t-%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, made.ID)
		in[e.of(made.ID)]++
	}
	for i, id := range ids {
		for n := range events {
			e.send(id, event(fmt.Sprintf("e-%d", n), time.Now(), map[string]any{"tokens": map[string]any{"input": 1 + i}}))
		}
		e.send(id, event("e-0", time.Now(), map[string]any{"tokens": map[string]any{"input": 1000}})) // a conflict
		e.send(id, []byte("{unreadable"))
	}
	e.await()
	check := func(when string) {
		t.Helper()
		e.agrees(when)
		for i, id := range ids {
			totals, _, ok := e.of(id).live.Totals(id, schemas.WindowOf(schemas.GrainMonth, time.Now()))
			if !ok || totals.Calls != events || totals.Tokens.Total() != int64(events*(1+i)) {
				t.Errorf("%s: tenant %d has %d calls, %d tokens", when, i, totals.Calls, totals.Tokens.Total())
			}
		}
		for _, s := range e.shards {
			var rows, others, ranges uint64
			own := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return e.of(id) != s })
			err := s.db.QueryRow(t.Context(), "SELECT countIf(has({own:Array(String)}, tenant)), countIf(NOT has({own:Array(String)}, tenant)), (SELECT count() FROM ledger) FROM usage_raw FINAL",
				param("own", own)).Scan(&rows, &others, &ranges)
			if err != nil || rows != uint64(events*len(own)) || others != 0 || ranges == 0 {
				t.Errorf("%s: shard %s has %d rows of its tenants, %d of others, %d ranges: %v", when, s, rows, others, ranges, err)
			}
		}
	}
	check("counted")

	c := &apiClient{base: e.URL(), key: e.AdminKey(), http: http.DefaultClient}
	sum, _, err := call[summary](t.Context(), c, request{method: http.MethodGet, path: "/v1/summary"})
	if err != nil || sum.Accepted != int64(events*len(ids)) || sum.Conflicts != int64(len(ids)) || sum.Quarantined != int64(len(ids)) || sum.Position.Log != sum.Position.Ledger {
		t.Errorf("the platform's summary is %+v, %v", sum, err)
	}
	for _, list := range []string{"conflicts", "quarantine"} {
		pages, seen := 0, map[string]int{}
		for cursor := ""; pages == 0 || cursor != ""; pages++ {
			page, _, err := call[map[string]any](t.Context(), c, request{method: http.MethodGet, path: "/v1/" + list, query: params("limit", "5", "cursor", cursor)})
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range page[list].([]any) {
				seen[row.(map[string]any)["tenant"].(string)]++
			}
			cursor, _ = page["next_cursor"].(string)
		}
		for _, id := range ids {
			if seen[id] != 1 {
				t.Errorf("%s lists %d rows of a tenant, want 1", list, seen[id])
			}
		}
		if len(seen) != len(ids) || pages < len(ids)/5 {
			t.Errorf("%s has rows of %d tenants on %d pages", list, len(seen), pages)
		}
	}
	done, _, err := e.verify(t.Context(), rollup.VerifyOptions{})
	if err != nil || len(done.Report.Checks) != 10*split || !done.Report.OK() || !strings.HasPrefix(done.Report.Checks[39].Name, "shard 3: ") {
		t.Errorf("verify made %d checks, %v", len(done.Report.Checks), err)
	}

	e.stop()
	e.split = 2
	cfg := defaultConfig(os.Getenv)
	cfg.Data, cfg.Listen, cfg.LogLevel, cfg.Shards = e.dir, "127.0.0.1:0", "warn", 2
	if p, err := startPipeline(t.Context(), cfg, cfg.logger(t.Output())); !errors.Is(err, eventlog.ErrSetting) {
		t.Errorf("started with another number of shards: %v", err)
		if err == nil {
			p.Close()
		}
	}
	e.split = 0 // what the log has
	e.start()
	if len(e.shards) != split {
		t.Errorf("after a restart there are %d shards", len(e.shards))
	}
	check("after a restart")
}
