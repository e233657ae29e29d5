package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testApp is an app that writes into buffers, with an environment of its own.
func testApp(env map[string]string) (*app, *bytes.Buffer, *bytes.Buffer) {
	var stdout, stderr bytes.Buffer
	getenv := func(name string) string { return env[name] }
	cfg := defaultConfig(getenv)
	return &app{getenv: getenv, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, cfg: &cfg, output: outputTable},
		&stdout, &stderr
}

var sampleGrid = grid{
	columns: []column{textColumn("model"), numberColumn("calls"), numberColumn("cost")},
	rows:    [][]string{{"gpt-4o", "1,234", "$12.500000"}, {"=cmd()\x1b[m", "-3", "-$0.500000"}},
	footer:  []string{"Total", "1,231", "$12.000000"},
}

func TestDrawTable(t *testing.T) {
	for _, c := range []struct {
		name, locale string
		want         string
	}{
		{"UTF-8", "de_DE.UTF-8", "" +
			"MODEL         CALLS        COST\n" +
			"───────────────────────────────\n" +
			"gpt-4o        1,234  $12.500000\n" +
			"=cmd()\\x1b[m     -3  -$0.500000\n" +
			"───────────────────────────────\n" +
			"Total         1,231  $12.000000\n"},
		{"ASCII", "C", "" +
			"MODEL         CALLS        COST\n" +
			"-------------------------------\n" +
			"gpt-4o        1,234  $12.500000\n" +
			"=cmd()\\x1b[m     -3  -$0.500000\n" +
			"-------------------------------\n" +
			"Total         1,231  $12.000000\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, stdout, _ := testApp(map[string]string{"LC_ALL": c.locale})
			a.draw(sampleGrid)
			if diff := cmp.Diff(c.want, stdout.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCSVIsSafeInSpreadsheets(t *testing.T) {
	g := grid{columns: []column{textColumn("name"), numberColumn("cost")}}
	for _, name := range []string{"plain", "=1+1", "+1", "-1", "@x", "\tx", "a,b", "say \"hi\"", ""} {
		g.rows = append(g.rows, []string{name, "-0.5"})
	}
	a, stdout, _ := testApp(nil)
	if err := a.writeCSV(g); err != nil {
		t.Fatal(err)
	}
	want := "name,cost\r\nplain,-0.5\r\n'=1+1,-0.5\r\n'+1,-0.5\r\n'-1,-0.5\r\n'@x,-0.5\r\n'\tx,-0.5\r\n" +
		"\"a,b\",-0.5\r\n\"say \"\"hi\"\"\",-0.5\r\n,-0.5\r\n"
	if diff := cmp.Diff(want, stdout.String()); diff != "" {
		t.Error(diff)
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"Größe 日本": "Größe 日本", "a\x1b]0;x\x07b": "a\\x1b]0;x\\x07b", "\xff\xfe": "\\xff\\xfe", "two\nlines": "two\nlines",
		"\u009b31m": "\\u009b31m", "\u202egnp.exe": "\\u202egnp.exe", "\ufffd": "\ufffd",
	} {
		if got := visible(in); got != want {
			t.Errorf("%q is shown as %q, not %q", in, got, want)
		}
	}
}
