package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/ingest"
)

func TestParseCount(t *testing.T) {
	for _, c := range []struct {
		cell string
		want int64
		bad  string // part of the error
	}{
		{"0", 0, ""}, {"374", 374, ""}, {"007", 7, ""}, {"-5", -5, ""}, {"9223372036854775807", 9223372036854775807, ""},
		{"1,234", 0, "without separators, as 1234"}, {"1'234", 0, "as 1234"}, {"1 234", 0, "as 1234"}, {"1_000", 0, "as 1000"},
		{"12.0", 0, "no decimals"}, {"1e3", 0, "no exponent"}, {"9223372036854775808", 0, "64 bits"}, {"", 0, "not a whole"},
		{"-", 0, "not a whole"}, {"--5", 0, "not a whole"}, {"+5", 0, "not a whole"}, {"0x10", 0, "not a whole"}, {"١٢", 0, "not a whole"},
	} {
		got, err := parseCount(c.cell)
		switch {
		case c.bad == "" && (err != nil || got != c.want):
			t.Errorf("%q: %d, %v", c.cell, got, err)
		case c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)):
			t.Errorf("%q: %d, %v; not an error with %q", c.cell, got, err, c.bad)
		}
	}
}

func TestParseRowTime(t *testing.T) {
	const want = "2023-11-16T18:15:46Z"
	for _, c := range []struct{ cell, format, want string }{
		{"2023-11-16T18:15:46Z", timeAuto, want},
		{"2023-11-16T19:15:46+01:00", timeAuto, want},
		{"2023-11-16 18:15:46", timeAuto, want},
		{"2023-11-16T18:15:46", timeAuto, want},
		{"2023-11-16 19:15:46+01:00", timeAuto, want},
		{"2023-11-16 18:15:46.6805900", timeAuto, "2023-11-16T18:15:46.68059Z"},
		{"2023-11-16 18:15:46.123456789", timeAuto, "2023-11-16T18:15:46.123456789Z"},
		{"1700158546", timeAuto, want},
		{"1700158546123", timeAuto, "2023-11-16T18:15:46.123Z"},
		{"1700158546123456", timeAuto, "2023-11-16T18:15:46.123456Z"},
		{"1000", timeUnix, "1970-01-01T00:16:40Z"},
		{"1000", timeUnixMS, "1970-01-01T00:00:01Z"},
		{"1000", timeUnixUS, "1970-01-01T00:00:00.001Z"},
		{"16.11.2023 18:15:46", "02.01.2006 15:04:05", want},
		{"1000", timeAuto, "error: before 1973"},
		{"1700158546.5", timeAuto, "error: is not a time"},
		{"16.11.2023", timeAuto, "error: is not a time"},
		{"2023-13-01", "2006-01-02", "error: is not a time of the form"},
		{"2023-11-16 18:15", timeAuto, "error: is not a time"},
		{"99999999999999999999", timeUnix, "error: is not a whole number"},
		{"-5", timeAuto, "error: before 1973"},
	} {
		got, err := parseRowTime(c.cell, c.format)
		if problem, bad := strings.CutPrefix(c.want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), problem) {
				t.Errorf("%s %s: %v, %v; not an error with %q", c.format, c.cell, got, err, problem)
			}
			continue
		}
		if err != nil || got.UTC().Format(time.RFC3339Nano) != c.want {
			t.Errorf("%s %s: %v, %v; not %s", c.format, c.cell, got, err, c.want)
		}
	}
}

func TestMappingRefusesWhatCannotWork(t *testing.T) {
	for _, c := range []struct {
		maps, sets []string
		want       string
	}{
		{[]string{"time"}, nil, "write TARGET=COLUMN"},
		{[]string{"tokens=x"}, nil, `"tokens" is not a target`},
		{[]string{"inputs_tokens=x"}, nil, "is not a target"},
		{[]string{"tag.=x"}, nil, "is not a target"},
		{[]string{"model=a", "model=b"}, nil, "mapped twice"},
		{[]string{"model=a"}, []string{"model=b"}, "both mapped"},
		{nil, []string{"model="}, "write TARGET=VALUE"},
		{nil, []string{"id=x"}, "cannot be set"},
		{nil, []string{"source=x"}, "use --source"},
		{nil, []string{"input_tokens=1,000"}, "without separators"},
		{nil, []string{"amount=1.2.3"}, "--set amount"},
	} {
		_, err := newMapping(c.maps, c.sets, "import", timeAuto)
		if err == nil || !strings.Contains(err.Error(), c.want) || exitCode(err) != exitUsage {
			t.Errorf("--map %v --set %v: %v; not a usage error with %q", c.maps, c.sets, err, c.want)
		}
	}
}

func TestMappingWithoutTimeCountOrModel(t *testing.T) {
	for header, want := range map[string]string{
		"when,model,input_tokens": "no column is the time", "time,model,prompt": "no column is a count",
		"time,llm,input_tokens": "no column is the model", "time,type,unit.web_search": "", "time,model,output_tokens": "",
	} {
		m, err := newMapping(nil, nil, "import", timeAuto)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.bind(strings.Split(header, ","), true); err != nil {
			t.Fatal(err)
		}
		err = m.complete()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", header, err, want)
		}
	}
}

// A row with every kind of target becomes an event that the server's own decoder
// reads as meant.
func TestMappedRowIsAnEvent(t *testing.T) {
	e := eventOfRows(t, []string{"model=llm", "latency_ms=ms"}, []string{"department=research", "tag.team=blue"},
		"time,llm,ms,input_tokens,cache_write_1h_tokens,output_tokens,tag.env,unit.web_search,status,note\r\n"+
			"2026-02-01 00:00:00.5,claude-sonnet-4-5,812,18234,7,1022,prod,2,error,ignored\r\n")[0]
	text, err := e.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ingest.DecodeEvent(text)
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("%s %s %s %s %d %v %v %v %s", got.Timestamp().Format(time.RFC3339Nano), got.Model, got.Department, got.Status,
		got.LatencyMS, got.Tokens, got.Units, got.Tags, got.Source)
	want := "2026-02-01T00:00:00.5Z claude-sonnet-4-5 research error 812 [18234 0 0 7 1022 0 0 0 0] [{web_search 2}] " +
		"[{env prod} {team blue}] import"
	if diff := cmp.Diff(want, line); diff != "" {
		t.Error(diff)
	}
}

// eventOfRows reads a file and makes its events.
func eventOfRows(t testing.TB, maps, sets []string, file string) []wireEvent {
	t.Helper()
	m, err := newMapping(maps, sets, "import", timeAuto)
	if err != nil {
		t.Fatal(err)
	}
	rows, closeRows, err := openRows(strings.NewReader(file), formatAuto)
	if err != nil {
		t.Fatal(err)
	}
	defer closeRows()
	_, table := rows.(*csvRows)
	var events []wireEvent
	for {
		row, err := rows.next()
		if errors.Is(err, io.EOF) {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := m.bind(row.names, table); err != nil {
			t.Fatal(err)
		}
		e, err := m.event(row.cells)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
}

func idsOf(events []wireEvent) []string {
	ids := make([]string, len(events))
	for i := range events {
		ids[i] = events[i].ID
	}
	return ids
}

// The rule of ids: what makes the same rows the same calls, and what does not.
func TestRowIDs(t *testing.T) {
	const header = "time,model,input_tokens\n"
	const a, b = "2026-02-01T00:00:00Z,gpt-4o,1\n", "2026-02-01T00:00:01Z,gpt-4o,2\n"
	base := idsOf(eventOfRows(t, nil, nil, header+a+b+a))
	if base[0] == base[2] || base[0] == base[1] {
		t.Fatalf("rows that are alike are different calls: %v", base)
	}
	for name, ids := range map[string][]string{
		"again":                   idsOf(eventOfRows(t, nil, nil, header+a+b+a)),
		"another constant":        idsOf(eventOfRows(t, nil, []string{"department=x"}, header+a+b+a)),
		"lines added":             idsOf(eventOfRows(t, nil, nil, header+a+b+a+b+a))[:3],
		"no newline at the end":   idsOf(eventOfRows(t, nil, nil, strings.TrimSuffix(header+a+b+a, "\n"))),
		"CRLF":                    idsOf(eventOfRows(t, nil, nil, strings.ReplaceAll(header+a+b+a, "\n", "\r\n"))),
		"blanks around cells":     idsOf(eventOfRows(t, nil, nil, header+strings.ReplaceAll(a+b+a, ",", " , "))),
		"the time in other words": idsOf(eventOfRows(t, nil, nil, header+strings.ReplaceAll(a+b+a, "T00:00:0", " 00:00:0"))),
		"another name of a column": idsOf(eventOfRows(t, []string{"input_tokens=in"}, nil,
			strings.Replace(header, "input_tokens", "in", 1)+a+b+a)),
		"other columns, other order": idsOf(eventOfRows(t, nil, nil, "x,input_tokens,model,time\n"+
			"1,1,gpt-4o,2026-02-01T00:00:00Z\n2,2,gpt-4o,2026-02-01T00:00:01Z\n3,1,gpt-4o,2026-02-01T00:00:00Z\n")),
		"JSONL": idsOf(eventOfRows(t, nil, nil, `{"time":"2026-02-01T00:00:00Z","model":"gpt-4o","input_tokens":1}`+"\n"+
			`{"model":"gpt-4o","time":"2026-02-01T00:00:01Z","input_tokens":"2"}`+"\n"+
			`{"time":1769904000,"model":"gpt-4o","input_tokens":1,"output_tokens":null}`)),
	} {
		if diff := cmp.Diff(base, ids); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if moved := idsOf(eventOfRows(t, nil, nil, header+b+a+a)); !slices.Equal(sorted(moved), sorted(base)) {
		t.Errorf("another order: %v and %v", moved, base)
	}
	if other := idsOf(eventOfRows(t, nil, nil, header+strings.Replace(a, ",1\n", ",3\n", 1))); other[0] == base[0] {
		t.Error("another count has the same id")
	}
	if mapped := idsOf(eventOfRows(t, []string{"id=req"}, nil, "req,"+header+"r1,"+a)); mapped[0] != "r1" {
		t.Errorf("a mapped id became %s", mapped[0])
	}
}

func sorted(ids []string) []string { return slices.Sorted(slices.Values(ids)) }

// The ids of files that people have imported must not change with a new
// version: their rows would count again.
func TestRowIDsAreForEver(t *testing.T) {
	ids := idsOf(eventOfRows(t, []string{"time=TIMESTAMP", "input_tokens=ContextTokens", "output_tokens=GeneratedTokens"},
		[]string{"model=gpt-4"}, "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n"+
			"2023-11-16 18:15:46.6805900,374,44"))
	if diff := cmp.Diff([]string{"row-aaaf6ba8e148b383f41d02ba4e07ef71", "row-88bc0d62438d20263fd6ff14e7e18afe"}, ids); diff != "" {
		t.Error(diff)
	}
}

func TestColumnAt(t *testing.T) {
	fields := []boundField{{"cost_center", "kst", 0}, {"input_tokens", "in", 1}, {"tag.a/b", "label", 2}, {"time", "when", 3}}
	for pointer, want := range map[string]string{
		"/data/tokens/input": "in", "/time": "when", "/data/tags/a~1b": "label", "/data/cost_center": "kst", "/data/model": "model",
		"/data/tokens/output": "output_tokens", "/data/units/x": "unit.x",
	} {
		if got := columnAt(fields, pointer); got != want {
			t.Errorf("%s is column %s, not %s", pointer, got, want)
		}
	}
}
