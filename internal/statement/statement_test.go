package statement_test

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/statement"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

func TestMain(m *testing.M) { os.Exit(warehousetest.Main(m)) }

func catalog(t *testing.T) *statement.Catalog {
	t.Helper()
	c, err := statement.NewCatalog(schemas.Migrations(), map[string]fs.FS{
		"aggregate": aggregate.Statements(), "ingest": ingest.Statements(), "rollup": rollup.Statements()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTablesOfTheMigrations(t *testing.T) {
	t.Parallel()
	tables := catalog(t).Tables
	for name, column := range map[string]string{"usage_raw": "tenant", "rollup": "tenant", "conflicts": "tenant", "quarantine": "tenant", "ledger": "dirty_tenants"} {
		if tables[name] != column {
			t.Errorf("%s has the tenant in %q, want %q", name, tables[name], column)
		}
	}
	if without := tables.Without(); !slices.Contains(without, "usage_keys") || !slices.Contains(without, "job_runs") {
		t.Errorf("tables without a tenant: %v", without)
	}
}

var tables = statement.Tables{"usage_raw": "tenant", "rollup": "tenant", "ledger": "dirty_tenants", "job_runs": ""}

func TestAnalyse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sql  string
		want statement.Verdict
	}{
		{"SELECT 1", statement.NoTenantData},
		{"SELECT * FROM job_runs WHERE job = {job:String}", statement.NoTenantData},
		{"SELECT * FROM usage_raw FINAL WHERE tenant = {tenant:String} AND seq > 1", statement.Filtered},
		{"select * from usage_raw as u final where u.tenant = {tenant:String}", statement.Filtered},
		{"SELECT * FROM {database:Identifier}.usage_raw AS u FINAL WHERE seq > 1 AND {tenant:String} = u.tenant", statement.Filtered},
		{"SELECT * FROM usage_raw PREWHERE tenant = {tenant:String} WHERE a OR b", statement.Filtered},
		{"SELECT * FROM usage_raw WHERE (tenant = {tenant:String} AND a) AND b", statement.Filtered},
		{"SELECT window AS start FROM rollup WHERE tenant = {tenant:String} AND window >= 1 GROUP BY window", statement.Filtered},
		{"SELECT sum(x) FROM (SELECT x FROM usage_raw WHERE tenant = {tenant:String})", statement.Filtered},
		{"WITH u AS (SELECT * FROM usage_raw WHERE tenant = {tenant:String}) SELECT * FROM u", statement.Filtered},
		{"ALTER TABLE db.usage_raw ON CLUSTER c DELETE WHERE tenant = {tenant:String}", statement.Filtered},
		{"DELETE FROM usage_raw WHERE tenant = {tenant:String} AND user = {user:String}", statement.Filtered},
		{"INSERT INTO rollup (a) SELECT a FROM usage_raw WHERE tenant = {tenant:String}", statement.Filtered},
		{"SELECT * FROM numbers(3)", statement.NoTenantData},
		{"ALTER TABLE usage_raw DETACH PART 'x'", statement.NoTenantData},

		{"SELECT * FROM usage_raw", statement.Missing},
		{"SELECT * FROM usage_raw -- WHERE tenant = {tenant:String}", statement.Missing},
		{"SELECT * FROM usage_raw WHERE tenant = {tenant:String} OR seq = 1", statement.Missing},
		{"SELECT * FROM usage_raw WHERE (tenant = {tenant:String} OR 1)", statement.Missing},
		{"SELECT * FROM usage_raw WHERE NOT tenant = {tenant:String}", statement.Missing},
		{"SELECT * FROM usage_raw WHERE tenant != {tenant:String}", statement.Missing},
		{"SELECT * FROM usage_raw WHERE tenant >= {tenant:String}", statement.Missing},
		{"SELECT * FROM usage_raw WHERE tenant = {other:String}", statement.Missing},
		{"SELECT * FROM usage_raw WHERE tenant = tenant", statement.Missing},
		{"SELECT * FROM usage_raw WHERE user = {tenant:String}", statement.Missing},
		{"SELECT 'x' FROM usage_raw HAVING tenant = {tenant:String}", statement.Missing},
		{"SELECT *, {tenant:String} AS tenant FROM usage_raw WHERE tenant = {tenant:String}", statement.Missing},
		{"SELECT * FROM usage_raw WHERE seq BETWEEN 1 AND tenant = {tenant:String}", statement.Missing},
		{"SELECT * FROM usage_raw WHERE CASE WHEN a AND tenant = {tenant:String} AND b THEN 1 ELSE 1 END", statement.Missing},
		{"SELECT * FROM (SELECT * FROM usage_raw) WHERE tenant = {tenant:String}", statement.Missing},
		{"SELECT * FROM job_runs WHERE x IN usage_raw", statement.Missing},
		{"SELECT * FROM job_runs WHERE x IN (SELECT tenant FROM db.usage_raw)", statement.Missing},
		{"SELECT * FROM usage_raw WHERE tenant = {tenant:String} UNION ALL SELECT * FROM usage_raw", statement.Missing},
		{"SELECT * FROM usage_raw AS a JOIN rollup AS b ON a.tenant = b.tenant WHERE a.tenant = {tenant:String}", statement.Missing},
		{"SELECT * FROM job_runs, usage_raw WHERE tenant = {tenant:String}", statement.Missing},
		{"SELECT * FROM merge('usage_raw')", statement.Missing},
		{"SELECT * FROM {table:Identifier}", statement.Missing},
		{"SELECT count() FROM ledger", statement.Missing},
		{"SELECT (SELECT count() FROM usage_raw), x FROM usage_raw WHERE tenant = {tenant:String}", statement.Missing},
		{"ALTER TABLE usage_raw DELETE WHERE user = {user:String}", statement.Missing},
		{"DELETE FROM usage_raw WHERE 1", statement.Missing},
		{"SELECT * FROM usage_raw WHERE ({tenant:String} = '' OR tenant = {tenant:String})", statement.Missing},
		{"SELECT 'it is open", statement.Missing},
		{"SELECT (1", statement.Missing},

		{"-- why\n-- all tenants: the platform's\n--   own sums\nSELECT * FROM usage_raw", statement.Declared},
		{"-- all tenants: a list\nSELECT * FROM usage_raw WHERE ({tenant:String} = '' OR tenant = {tenant:String})", statement.Declared},
	} {
		if got := statement.Analyse(c.sql, tables); got.Verdict != c.want {
			t.Errorf("%s\nis %s %q, want %s", c.sql, got.Verdict, got.Problems, c.want)
		}
	}
}

func TestAnalysisSaysWhatItFound(t *testing.T) {
	t.Parallel()
	got := statement.Analyse("-- all tenants: the platform's\n--   own sums\nSELECT a FROM usage_raw, rollup", tables)
	want := statement.Analysis{Verdict: statement.Declared, Tables: []string{"rollup", "usage_raw"}, Reason: "the platform's own sums",
		Problems: []string{"usage_raw is read without a condition on tenant", "rollup is read without a condition on tenant"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	optional := statement.Analyse("SELECT a FROM rollup WHERE ({tenant:String} = '' OR tenant = {tenant:String})", tables)
	if !optional.Optional || optional.Filter() != "{tenant:String} = '' OR tenant = {tenant:String}" || len(optional.Problems) != 1 {
		t.Errorf("%+v", optional)
	}
}

func TestCatalogRefusesAStageWithoutStatements(t *testing.T) {
	t.Parallel()
	if _, err := statement.NewCatalog(schemas.Migrations(), map[string]fs.FS{"ingest": fstest.MapFS{}}); err == nil {
		t.Error("a stage without statements is taken")
	}
}

var placeholder = regexp.MustCompile(`\{(\w+):([^}]+)\}`)

// The lexer's word is held against the engine's: with rows of two tenants in every
// table, a statement that is called filtered and asked about the one never reads a
// row of the other.
func TestFilteredStatementsReadOneTenantOnTheEngine(t *testing.T) {
	t.Parallel()
	db := warehousetest.Open(t)
	if err := db.Migrate(t.Context(), schemas.Migrations()); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"INSERT INTO usage_raw (tenant, time, source, event_id, rank, model, tags) SELECT arrayJoin(['mine', 'theirs']) AS tenant, toDateTime64('2026-02-01 10:00:00', 3, 'UTC'), 's', 'e', bitNot(toUInt64(5)), concat('secret of ', tenant), map()",
		"INSERT INTO rollup (tenant, grain, window, gen, calls, by.model, by.calls) SELECT arrayJoin(['mine', 'theirs']) AS tenant, 'hour', toDateTime('2026-02-01 10:00:00', 'UTC'), 1, if(tenant = 'mine', 0, 7) AS n, ['m'], [n]",
		"INSERT INTO conflicts (tenant, seq, idx, source, event_id, body) SELECT arrayJoin(['mine', 'theirs']) AS tenant, 5, 0, 's', 'e', concat('secret of ', tenant)",
		"INSERT INTO quarantine (tenant, seq, idx, body) SELECT arrayJoin(['mine', 'theirs']) AS tenant, 5, 0, concat('secret of ', tenant)",
	} {
		if err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	asked := 0
	c := catalog(t)
	for i := range c.Statements {
		s := &c.Statements[i]
		if s.Verdict != statement.Filtered && !s.Optional || strings.Contains(s.Text, "INSERT INTO") {
			continue
		}
		asked++
		// Asked for everything but the tenant: only the filter is in the way.
		wide := regexp.MustCompile(`(?m)^WHERE tenant = \{tenant:String\}(?s:.*?)(GROUP|ORDER|LIMIT|SETTINGS|\z)`).ReplaceAllString(s.Text, "WHERE tenant = {tenant:String}\n$1")
		var params []warehouse.Param
		seen := map[string]bool{}
		for _, m := range placeholder.FindAllStringSubmatch(wide, -1) {
			if seen[m[1]] {
				continue
			}
			seen[m[1]] = true
			var value any = "5"
			switch {
			case m[1] == "tenant":
				value = "mine"
			case m[2] == "Identifier":
				value = db.Database()
			case strings.HasPrefix(m[2], "Array(String"):
				value = []string{}
			case strings.HasPrefix(m[2], "Array("):
				value = []uint64{}
			case m[1] == "before_seq":
				value = "9"
			case m[1] == "idx":
				value = "0"
			case m[1] == "state":
				value = ""
			}
			params = append(params, warehouse.Param{Name: m[1], Value: value})
		}
		wide = strings.Split(wide, "\nSETTINGS")[0]
		var rows, foreign uint64
		err := db.QueryRow(t.Context(), "SELECT count(), countIf(positionUTF8(toString(tuple(*)), 'secret of theirs') > 0 OR positionUTF8(toString(tuple(*)), 'theirs') > 0 OR positionUTF8(toString(tuple(*)), ',7,') > 0) FROM ("+wide+")", params...).Scan(&rows, &foreign)
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		if foreign > 0 {
			t.Errorf("%s called %s reads %d rows of another tenant", s.Name, s.Verdict, foreign)
		}
		if rows == 0 && s.Name != "aggregate/rejects" {
			t.Errorf("%s read nothing at all, so it shows nothing", s.Name)
		}
	}
	if asked < 8 {
		t.Errorf("only %d statements were asked", asked)
	}
}
