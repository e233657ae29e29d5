package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/mattn/go-isatty"
)

// The forms of output.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputCSV   = "csv"
)

// A column of a table. Its cells are plain text; numbers stand on the right.
type column struct {
	title string
	right bool
	// number marks cells that are numbers or amounts, which spreadsheets may take
	// as such; every other cell is protected from being taken as a formula.
	number bool
	// wrap is the width at which long text goes on in the next line; 0 is never.
	wrap int
}

func textColumn(title string) column   { return column{title: title} }
func proseColumn(title string) column  { return column{title: title, wrap: 48} }
func numberColumn(title string) column { return column{title: title, right: true, number: true} }

// A grid is a table before it is drawn.
type grid struct {
	columns []column
	rows    [][]string
	footer  []string // totals; nil for none
}

// draw writes the grid as aligned text, for people.
func (a *app) draw(g grid) {
	t := table.NewWriter()
	t.SetStyle(a.style())
	header := make(table.Row, len(g.columns))
	configs := make([]table.ColumnConfig, len(g.columns))
	for i, c := range g.columns {
		header[i] = strings.ToUpper(c.title)
		configs[i] = table.ColumnConfig{Number: i + 1, WidthMax: c.wrap, WidthMaxEnforcer: text.WrapSoft}
		if c.right {
			configs[i].Align, configs[i].AlignHeader, configs[i].AlignFooter = text.AlignRight, text.AlignRight, text.AlignRight
		}
	}
	t.AppendHeader(header)
	t.SetColumnConfigs(configs)
	for _, r := range g.rows {
		t.AppendRow(tableRow(r))
	}
	if g.footer != nil {
		t.AppendFooter(tableRow(g.footer))
	}
	// The cells of the last column are padded; nobody wants that when copying.
	for line := range strings.SplitSeq(t.Render(), "\n") {
		a.print("%s\n", strings.TrimRight(line, " "))
	}
}

func tableRow(cells []string) table.Row {
	row := make(table.Row, len(cells))
	for i, c := range cells {
		row[i] = visible(c)
	}
	return row
}

// style is the look of tables: no box, a line under the header and above totals.
func (a *app) style() table.Style {
	s := table.StyleLight
	if !a.utf8() {
		s = table.StyleDefault
	}
	s.Options.DrawBorder = false
	s.Options.SeparateColumns = true // by two blanks; padding would hang over the last column
	s.Options.SeparateHeader = true
	s.Options.SeparateFooter = true
	s.Box.PaddingLeft, s.Box.PaddingRight = "", ""
	s.Box.MiddleVertical, s.Box.MiddleSeparator = "  ", a.sign("──", "--")
	s.Box.TopSeparator, s.Box.BottomSeparator = s.Box.MiddleSeparator, s.Box.MiddleSeparator
	s.Format.Header, s.Format.Footer = text.FormatDefault, text.FormatDefault
	if a.colours() {
		text.EnableColors() // the library looks at the process's stdout, not at ours
		s.Color.Header = text.Colors{text.Bold}
		s.Color.Footer = text.Colors{text.Bold}
		s.Color.Separator = text.Colors{text.Faint}
	}
	return s
}

// writeCSV writes the grid as RFC 4180, without totals: a sum in the last row is
// in the way of whoever sums.
func (a *app) writeCSV(g grid) error {
	w := csv.NewWriter(a.stdout)
	w.UseCRLF = true
	record := make([]string, len(g.columns))
	for i, c := range g.columns {
		record[i] = strings.ReplaceAll(c.title, " ", "_")
	}
	_ = w.Write(record) // Error below tells
	w.Flush()
	if err := w.Error(); err != nil {
		return fmt.Errorf("write CSV: %w", err)
	}
	return a.writeCSVRows(g)
}

// writeCSVRows writes the rows alone, below those that are there.
func (a *app) writeCSVRows(g grid) error {
	w := csv.NewWriter(a.stdout)
	w.UseCRLF = true
	record := make([]string, len(g.columns))
	for _, r := range g.rows {
		for i, cell := range r {
			if !g.columns[i].number {
				cell = neutralised(cell)
			}
			record[i] = cell
		}
		if err := w.Write(record); err != nil {
			return fmt.Errorf("write CSV: %w", err)
		}
	}
	w.Flush()
	return w.Error()
}

// neutralised puts an apostrophe before text that a spreadsheet would run as a
// formula. Names come from tenants, and their CSV is opened by somebody else.
func neutralised(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// writeJSON writes an answer of the API, indented, otherwise as it came.
func (a *app) writeJSON(body []byte) error {
	var buf bytes.Buffer
	if err := json.Indent(&buf, bytes.TrimSpace(body), "", "  "); err != nil {
		return fmt.Errorf("indent JSON: %w", err)
	}
	buf.WriteByte('\n')
	_, err := a.stdout.Write(buf.Bytes())
	return err
}

// show writes an answer in the form that was asked for.
func (a *app) show(body []byte, plain func() grid, people func()) error {
	switch a.output {
	case outputJSON:
		return a.writeJSON(body)
	case outputCSV:
		return a.writeCSV(plain())
	}
	people()
	return nil
}

// print writes to standard output. A failure there has no one to be told to; a
// closed pipe ends the process by signal.
func (a *app) print(format string, args ...any) { _, _ = fmt.Fprintf(a.stdout, format, args...) }

// say writes to standard error.
func (a *app) say(format string, args ...any) { _, _ = fmt.Fprintf(a.stderr, format, args...) }

// visible makes text safe for a terminal: whatever is not printable, such as the
// escape that starts a control sequence, is written as its code.
func visible(s string) string {
	clean := true
	for _, r := range s {
		if !unicode.IsPrint(r) && r != '\n' {
			clean = false
			break
		}
	}
	if clean && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, "\\x%02x", s[i])
		case unicode.IsPrint(r) || r == '\n':
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, "\\x%02x", r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

// utf8 reports whether the terminal shows UTF-8. A locale that names another
// character set, or C, does not; no locale at all, as in a container, does.
func (a *app) utf8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := a.getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}

// sign picks a mark and its stand-in without UTF-8.
func (a *app) sign(mark, ascii string) string {
	if a.utf8() {
		return mark
	}
	return ascii
}

// colours reports whether to colour standard output.
func (a *app) colours() bool { return !a.noColor && isTerminal(a.stdout) && a.getenv("TERM") != "dumb" }

// paint colours text, if colours are on.
func (a *app) paint(s string, colours ...text.Color) string {
	if !a.colours() {
		return s
	}
	text.EnableColors()
	return text.Colors(colours).Sprint(s)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
