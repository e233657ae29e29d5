package bench

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// Unit says how a figure is written.
type Unit string

// The units of figures. Durations are in nanoseconds, sizes in bytes.
const (
	UnitRate     Unit = "events/s"
	UnitPercent  Unit = "%"
	UnitDuration Unit = "duration"
	UnitBytes    Unit = "bytes"
	UnitPerEvent Unit = "B/event"
	UnitTimes    Unit = "×"
)

// A Row is one measure with its goals and its limit.
type Row struct {
	Name    string `json:"name"` // of --rows
	Measure string `json:"measure"`
	Unit    Unit   `json:"unit"`
	// More says that a larger figure is better.
	More bool `json:"more_is_better"`
	// Must and Aim are the goals; 0 is none.
	Must float64 `json:"must,omitempty"`
	Aim  float64 `json:"aim,omitempty"`
	Got  float64 `json:"got"`
	// Limit is what LimitOf measured in the same run; 0 is none.
	Limit   float64 `json:"limit,omitempty"`
	LimitOf string  `json:"limit_of,omitempty"`
	// Ratio is Got / Limit, or 0.
	Ratio   float64 `json:"ratio,omitempty"`
	Verdict string  `json:"verdict"`
}

// The verdicts.
const (
	VerdictAim  = "aim met"
	VerdictMust = "must met"
	VerdictMiss = "MISSED"
	VerdictNone = "–" // there is no goal
)

// settle computes what follows from the measured figures.
func (r *Row) settle() {
	if r.Limit != 0 {
		r.Ratio = r.Got / r.Limit
	}
	meets := func(goal float64) bool {
		if r.More {
			return r.Got >= goal
		}
		return r.Got <= goal
	}
	switch {
	case r.Must == 0 && r.Aim == 0:
		r.Verdict = VerdictNone
	case meets(r.Aim):
		r.Verdict = VerdictAim
	case meets(r.Must):
		r.Verdict = VerdictMust
	default:
		r.Verdict = VerdictMiss
	}
}

// A Detail is something that was measured beside the rows.
type Detail struct {
	Name  string `json:"name"` // of the row it belongs to
	What  string `json:"what"`
	Value string `json:"value"`
}

// A Report is a run.
type Report struct {
	Started time.Time `json:"started"`
	Took    string    `json:"took"`
	// Facts are the machine, the versions and the parameters, in order.
	Facts   []Detail `json:"facts"`
	Rows    []Row    `json:"rows"`
	Details []Detail `json:"details"`
	// Columns are bytes per event of every column, after merging; only with the
	// row disk.
	Columns []ColumnSize `json:"columns,omitempty"`
}

// Add appends a row.
func (r *Report) Add(row Row) {
	row.settle()
	r.Rows = append(r.Rows, row)
}

// Note appends a detail.
func (r *Report) Note(name, what, format string, args ...any) {
	r.Details = append(r.Details, Detail{name, what, fmt.Sprintf(format, args...)})
}

// Fact appends a fact.
func (r *Report) Fact(what, format string, args ...any) {
	r.Facts = append(r.Facts, Detail{What: what, Value: fmt.Sprintf(format, args...)})
}

// Missed reports whether a row missed what it must meet.
func (r *Report) Missed() bool {
	for _, row := range r.Rows {
		if row.Verdict == VerdictMiss {
			return true
		}
	}
	return false
}

// Header names the cells of Cells.
func Header() []string {
	return []string{"measure", "must", "aim", "got", "limit in the same run", "ratio", "verdict"}
}

// Cells returns a row as text.
func (r *Row) Cells() []string {
	limit, ratio := VerdictNone, VerdictNone
	if r.Limit != 0 {
		limit = Format(r.Unit, r.Limit) + ": " + r.LimitOf
		ratio = significant(r.Ratio)
	}
	goal := func(v float64) string {
		if v == 0 {
			return VerdictNone
		}
		return Format(r.Unit, v)
	}
	return []string{r.Measure, goal(r.Must), goal(r.Aim), Format(r.Unit, r.Got), limit, ratio, r.Verdict}
}

// Format writes a figure with its unit.
func Format(u Unit, v float64) string {
	switch u {
	case UnitDuration:
		return duration(time.Duration(v))
	case UnitBytes:
		return strconv.FormatFloat(v/1e6, 'f', 0, 64) + " MB"
	case UnitRate:
		return schemas.GroupDigits(strconv.FormatFloat(v, 'f', 0, 64)) + "/s"
	case UnitPercent:
		return strconv.FormatFloat(v, 'f', 1, 64) + " %"
	case UnitPerEvent:
		return strconv.FormatFloat(v, 'f', 1, 64) + " B"
	}
	return significant(v) + " " + string(u)
}

// duration writes three digits and a unit.
func duration(d time.Duration) string {
	switch {
	case d >= time.Second:
		return significant(d.Seconds()) + " s"
	case d >= time.Millisecond:
		return significant(float64(d)/1e6) + " ms"
	case d >= time.Microsecond:
		return significant(float64(d)/1e3) + " µs"
	}
	return strconv.FormatInt(int64(d), 10) + " ns"
}

// significant writes three significant digits without an exponent.
func significant(v float64) string {
	const digits = 3
	decimals, size := digits-1, v
	for size >= 10 && decimals > 0 {
		size /= 10
		decimals--
	}
	for size > 0 && size < 1 && decimals < 6 {
		size *= 10
		decimals++
	}
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// Markdown writes the report as BENCH.md.
func (r *Report) Markdown() string {
	var b strings.Builder
	b.WriteString("# What panda measures\n\n" +
		"Made by `make bench`; edits are overwritten. Every figure and every limit was measured in this one run.\n\n")
	writeTable(&b, Header(), func(add func([]string)) {
		for i := range r.Rows {
			add(r.Rows[i].Cells())
		}
	})
	b.WriteString("\nRatio is got / limit. The limit is what the parts alone did in the same run, on the same engine and log.\n\n## Run\n\n")
	writeTable(&b, []string{"what", "value"}, func(add func([]string)) {
		for _, f := range r.Facts {
			add([]string{f.What, f.Value})
		}
	})
	b.WriteString("\n## Beside the rows\n\n")
	writeTable(&b, []string{"row", "what", "value"}, func(add func([]string)) {
		for _, d := range r.Details {
			add([]string{d.Name, d.What, d.Value})
		}
	})
	if len(r.Columns) > 0 {
		b.WriteString("\n## Bytes per event by column, after merging\n\n")
		writeTable(&b, []string{"table", "column", "bytes/event"}, func(add func([]string)) {
			for _, c := range r.Columns {
				add([]string{c.Table, c.Column, strconv.FormatFloat(c.PerEvent, 'f', 2, 64)})
			}
		})
	}
	return b.String()
}

func writeTable(b *strings.Builder, header []string, rows func(add func([]string))) {
	line := func(cells []string) {
		for _, c := range cells {
			b.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
		}
		b.WriteString("|\n")
	}
	line(header)
	b.WriteString(strings.Repeat("|---", len(header)) + "|\n")
	rows(line)
}
