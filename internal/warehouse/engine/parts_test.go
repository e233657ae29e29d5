package engine

import "testing"

// TestInsertTarget: an insert whose table is not found is answered before its files
// were looked at.
func TestInsertTarget(t *testing.T) {
	t.Parallel()
	params := []param{{"database", "panda_a"}, {"table", "usage_raw"}}
	for sql, want := range map[string][2]string{
		"INSERT INTO ledger (a) FORMAT Native":                                     {"", "ledger"},
		"INSERT INTO panda_a.usage_raw (a) FORMAT Native":                          {"panda_a", "usage_raw"},
		"insert into table `panda_a`.`usage_raw` SELECT 1":                         {"panda_a", "usage_raw"},
		"-- why\nINSERT INTO {database:Identifier}.rollup\n(\n    tenant)SELECT 1": {"panda_a", "rollup"},
		"INSERT INTO {database:Identifier}.{table:Identifier} SELECT 1":            {"panda_a", "usage_raw"},
		"INSERT INTO {table:Identifier} SELECT 1":                                  {"", "usage_raw"},
		"INSERT INTO FUNCTION file('x') SELECT 1":                                  {"", ""},
		"INSERT INTO {unknown:Identifier}.t SELECT 1":                              {"", ""},
	} {
		if database, table := insertTarget(sql, params); database != want[0] || table != want[1] {
			t.Errorf("%s: %q.%q, want %q", sql, database, table, want)
		}
	}
}
