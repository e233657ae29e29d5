package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// readAllRows writes what a file holds, a line per row or error.
func readAllRows(t testing.TB, file []byte, format string) []string {
	t.Helper()
	rows, closeRows, err := openRows(bytes.NewReader(file), format)
	if err != nil {
		return []string{"refused: " + err.Error()}
	}
	defer closeRows()
	var out []string
	for {
		row, err := rows.next()
		var bad *columnError
		switch {
		case errors.Is(err, io.EOF):
			return out
		case errors.As(err, &bad):
			out = append(out, fmt.Sprintf("%d: error: %v", row.line, bad))
		case err != nil:
			return append(out, "ended: "+err.Error())
		case row.event != nil:
			out = append(out, fmt.Sprintf("%d: event %s %s", row.line, row.source, row.id))
		default:
			out = append(out, fmt.Sprintf("%d: %s", row.line, strings.Join(row.cells, "|")))
		}
	}
}

func TestReadForms(t *testing.T) {
	long := strings.Repeat("x", lineBytesMax)
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"CSV", "a,b\n1,2\n3,4\n", []string{"2: 1|2", "3: 3|4"}},
		{"CRLF, no newline at the end", "a,b\r\n1,2\r\n3,4", []string{"2: 1|2", "3: 3|4"}},
		{"byte order mark", "\ufeffa,b\n1,2\n", []string{"2: 1|2"}},
		{"a bad row and its neighbours", "a,b\n1,2\n3\n\n5,6,7\n8,9\n", []string{"2: 1|2",
			"3: error: 1 cells; the header has 2 columns", "5: error: 3 cells; the header has 2 columns", "6: 8|9"}},
		{"a stray quote", "a,b\n1,x\"y\n3,4\n", []string{`2: error: this is not CSV: bare " in non-quoted-field`, "3: 3|4"}},
		{"quotes, commas, lines in cells", "a,b\n\"1,\"\"2\"\"\",\"x\ny\"\n3,4\n", []string{"2: 1,\"2\"|x\ny", "4: 3|4"}},
		{"header alone", "a,b", nil},
		{"empty", "", []string{"refused: the file is empty"}},
		{"blanks", " \n\n", []string{"refused: the file is empty"}},
		{"semicolons", "a;b\n1;2\n", []string{`refused: the header row "a;b" is not separated by commas`}},
		{"binary", "PK\x03\x04\x00\x00", []string{
			"refused: the file is not text; CSV and JSONL in UTF-8, plain or packed with gzip or zstd, can be read"}},
		{"JSONL", `{"a":1,"b":"x","c":null,"d":true}` + "\n\n" + `{"a":2}`, []string{"1: 1|x||true", "3: 2"}},
		{"JSONL with bad lines", "{\"a\":1}\n[1]\n{\"a\":\n{\"a\":1} 2\nx\n{\"a\":2}\n", []string{"1: 1", "2: error: this is not a JSON object",
			"3: error: this is not JSON: the line ends within the object",
			"4: error: more follows the JSON object; write one object per line", "5: error: this is not a JSON object", "6: 2"}},
		{"a line that is too long", "{\"a\":1}\n{\"a\":\"" + long + "\"}\n{\"a\":2}", []string{"1: 1",
			fmt.Sprintf("2: error: the line is longer than %d bytes", lineBytesMax), "3: 2"}},
		{"CloudEvents", `{"specversion":"1.0","id":"i","source":"/s","type":"llm.call"}` + "\n", []string{"1: event /s i"}},
		{"a JSON array", "[{\"a\":1}]", []string{"refused: the file is a JSON array; write one object per line (jq -c '.[]' does it)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, readAllRows(t, []byte(c.file), formatAuto)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadPacked(t *testing.T) {
	plain := "a,b\n" + strings.Repeat("1,2\n", 5000)
	want := readAllRows(t, []byte(plain), formatAuto)
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := io.WriteString(w, plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, packed := range map[string][]byte{"gzip": gz.Bytes(), "zstd": z.EncodeAll([]byte(plain), nil)} {
		if diff := cmp.Diff(want, readAllRows(t, packed, formatAuto)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		// A file that was cut must not pass for a whole one.
		rows := readAllRows(t, packed[:len(packed)-9], formatAuto)
		if last := rows[len(rows)-1]; !strings.HasPrefix(last, "ended: ") && !strings.HasPrefix(last, "refused: ") {
			t.Errorf("%s, cut: it ends with %q", name, last)
		}
	}
}
