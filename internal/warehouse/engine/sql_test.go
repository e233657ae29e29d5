package engine

import (
	"strings"
	"testing"
)

func TestFence(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"SELECT 1", ""},
		{"(SELECT 1) UNION ALL (SELECT 2);", ""},
		{"WITH x AS (SELECT 1 AS a) SELECT a FROM x FORMAT JSONEachRow", ""},
		{"SHOW TABLES", ""},
		{"DESCRIBE TABLE panda.usage_raw", ""},
		{"EXISTS TABLE t", ""},
		{"EXPLAIN SELECT count() FROM t WHERE s = 'file(' -- file('x')", ""},
		{"SELECT file, `url`, \"s3\" FROM t", ""}, // columns of those names
		{"SELECT 'INTO OUTFILE', /* ; DROP */ format('{}', 'x')", ""},
		{"SELECT toDate('2026-01-01'), {x:String}", ""},
		{"SELECT 'ünï', `ü`", ""},
		{"", "not a reading statement"},
		{"INSERT INTO t VALUES (1)", "INSERT is not"},
		{"DROP TABLE t", "DROP is not"},
		{"SYSTEM STOP MERGES", "SYSTEM is not"},
		{"KILL QUERY WHERE 1", "KILL is not"},
		{"SET readonly = 0", "SET is not"},
		{"/* SELECT */ DROP TABLE t", "DROP is not"},
		{"SELECT 1; DROP TABLE t", "one statement"},
		{"SELECT * FROM file('/etc/passwd')", "function file"},
		{"SELECT * FROM `file`('/etc/passwd')", "function file"},
		{"SELECT * FROM \"fi\\le\"('/etc/passwd')", "function file"},
		{"SELECT * FROM file/* x */ ('/etc/passwd')", "function file"},
		{"SELECT file('/etc/passwd')", "function file"},
		{"SELECT * FROM URL('http://x')", "function url"},
		{"SELECT * FROM s3('x')", "function s3"},
		{"SELECT * FROM remote('h', system.one)", "function remote"},
		{"SELECT * FROM view(SELECT * FROM executable('x','TSV','a String'))", "function executable"},
		{"SELECT * FROM '/etc/passwd'", "text cannot"},
		{"SELECT * FROM default.`/etc/passwd`", "database `default`"},
		{"SELECT * FROM `default`.`/etc/passwd`", "database `default`"},
		{"SELECT * FROM default /**/ . `/etc/passwd`", "database `default`"},
		{"SELECT 1 INTO OUTFILE '/tmp/x'", "INTO is not"},
		{"SELECT 1 FORMAT Template", "format Template"},
		{"SELECT 1 FORMAT Protobuf", "format Protobuf"},
		{"SELECT * FROM {t:Identifier}", "IDENTIFIER is not"},
		{"SELECT ‘x’", "cannot be read"},
		{"SELECT 'open", "cannot be read"},
		{"SELECT 1 /* open", "cannot be read"},
		{"SELECT /* a /* b */ 1 */ 2", ""}, // comments nest in the engine too
		{"SELECT $$;$$, $a$ file('x') $a$", ""},
		{"SELECT 1 -- x\n; DROP TABLE t", "one statement"},
	} {
		tokens := lex(c.sql, 0)
		err := fence(tokens, firstOf(outputFormat(tokens), "TabSeparated"))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%q was refused: %v", c.sql, err)
		case c.want != "" && err == nil:
			t.Errorf("%q was let through", c.sql)
		case c.want != "" && !strings.Contains(err.Error(), c.want):
			t.Errorf("%q was refused with %q, want %q", c.sql, err, c.want)
		}
	}
}

func TestSplitInsert(t *testing.T) {
	for _, c := range []struct {
		sql              string
		into, tail, data string
	}{
		{"INSERT INTO t (a, b) FORMAT Native\x01;'\"", "INSERT INTO t (a, b) ", "FORMAT Native", "\x01;'\""},
		{"INSERT INTO t SETTINGS x = 'FORMAT CSV' FORMAT CSV\n1,2", "INSERT INTO t ", "SETTINGS x = 'FORMAT CSV' FORMAT CSV", "\n1,2"},
		{"insert into `format` (`settings`, format) format JSONEachRow {\"a\":1}", "insert into `format` (`settings`, format) ", "format JSONEachRow", " {\"a\":1}"},
		{"INSERT INTO t -- FORMAT CSV\n FORMAT TSV", "INSERT INTO t -- FORMAT CSV\n ", "FORMAT TSV", ""},
		{"INSERT INTO t SELECT * FROM u FORMAT CSV", "", "", ""},
		{"INSERT INTO t FROM INFILE 'x' FORMAT CSV", "", "", ""},
		{"INSERT INTO t VALUES (1, 'FORMAT CSV')", "", "", ""},
	} {
		h := splitInsert(c.sql)
		data := ""
		if h.data > 0 {
			data = c.sql[h.data:]
		}
		if h.into != c.into || h.tail != c.tail || data != c.data {
			t.Errorf("%q: got %q, %q, %q", c.sql, h.into, h.tail, data)
		}
	}
}

func TestSpoils(t *testing.T) {
	for sql, want := range map[string]bool{
		"SELECT 1": false, "SET a = 1": true, "USE x": true, "SELECT 1; SET a = 1": true, "CREATE TEMPORARY TABLE x (a Int8)": true,
		"SELECT set, use FROM t": false, "ALTER TABLE t UPDATE a = 1 WHERE 1": false, "SELECT 'open": true,
	} {
		if got := spoils(lex(sql, 0)); got != want {
			t.Errorf("%q: %t", sql, got)
		}
	}
}

// FuzzLex checks that lexing ends, covers the text in order, and never panics.
func FuzzLex(f *testing.F) {
	for _, s := range []string{"SELECT 1", "'a''b\\'", "/* /* */ */", "$x$ $x$", "`", "-- x", "\xff", "((("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		end := 0
		for _, tok := range lex(sql, 0) {
			if tok.start < end || tok.end <= tok.start || tok.end > len(sql) {
				t.Fatalf("token %+v after %d", tok, end)
			}
			end = tok.end
		}
		splitInsert("INSERT INTO t " + sql)
	})
}
