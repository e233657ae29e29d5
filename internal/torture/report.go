package torture

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/bench"
	"github.com/agentik-os/panda/internal/failpoint"
)

// split sorts passes of points into crash points and rare paths.
func split(f *Figures, hits map[string]int64) {
	for name, n := range hits {
		into := &f.Rare
		if i, known := failpoint.Lookup(failpoint.Point(name)); known && i.Crash() {
			into = &f.Points
		}
		if *into == nil {
			*into = map[string]int64{}
		}
		(*into)[name] += n
	}
}

// pointsAll counts the points there are of a kind.
func pointsAll(crash bool) (n int) {
	for _, i := range failpoint.Points() {
		if i.Crash() == crash && i.In != failpoint.InErasure {
			n++
		}
	}
	return n
}

func hit(m map[string]int64) (n int) {
	for name, v := range m {
		// The simulation has rare paths of its own, which are no points.
		if _, known := failpoint.Lookup(failpoint.Point(name)); known && v > 0 {
			n++
		}
	}
	return n
}

// A Report is what a run did, for people.
type Report struct {
	tally     *Tally
	scenarios []Scenario
	again     string
	began     time.Time
	took      time.Duration
	machine   bench.Report
	skipped   map[string]string
}

// NewReport makes the report of a run that is over. again is the command that
// repeats it.
func NewReport(t *Tally, scenarios []Scenario, run *Runner, again string) *Report {
	t.mu.Lock()
	r := &Report{tally: t, scenarios: scenarios, again: again, began: t.started, took: time.Since(t.started), skipped: t.skipped}
	t.mu.Unlock()
	r.machine.Machine(run.Dir)
	return r
}

// Held reports whether rounds were run and nothing was wrong.
func (r *Report) Held() bool {
	f := r.tally.Total()
	for _, c := range r.tally.Controls() {
		if !c.Caught {
			return false
		}
	}
	return f.Rounds > 0 && f.Failed == 0 && f.Lost == 0 && f.Doubled == 0 && f.Wrong == 0
}

// verdict is the report in one sentence.
func (r *Report) verdict() string {
	f := r.tally.Total()
	text := fmt.Sprintf("%s events sent, %s acknowledged, %s of unknown outcome; %s kills and %s faults in %s rounds: %d lost, %d doubled, %d otherwise wrong.",
		digits(f.Sent), digits(f.Acked), digits(f.Unknown), digits(f.Kills), digits(sumOf(f.Faults)), digits(f.Rounds), f.Lost, f.Doubled, f.Wrong)
	if r.Held() {
		return text
	}
	return "NOT everything held. " + text
}

type table struct {
	header []string
	rows   [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (r *Report) byScenario() table {
	t := table{header: []string{"scenario", "what it does", "rounds", "kills", "events acknowledged", "unknown", "looks", "checks", "lost", "doubled", "wrong"}}
	for i := range r.scenarios {
		s := &r.scenarios[i]
		f := r.tally.Of(s.Name)
		about := s.About
		if why := r.skipped[s.Name]; why != "" {
			about += " (did not run: " + why + ")"
		}
		t.add(s.Name, about, digits(f.Rounds), digits(f.Kills), digits(f.Acked), digits(f.Unknown), digits(f.Answers), digits(f.Checks),
			digits(f.Lost), digits(f.Doubled), digits(f.Wrong))
	}
	return t
}

func (r *Report) byFault() table {
	t := table{header: []string{"scenario", "fault", "times", "rounds of it that failed"}}
	for i := range r.scenarios {
		s := &r.scenarios[i]
		f := r.tally.Of(s.Name)
		names := slices.Clone(s.Faults)
		for name := range f.Faults {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		slices.Sort(names[len(s.Faults):])
		for _, name := range names {
			t.add(s.Name, name, digits(f.Faults[name]), digits(f.Failed))
		}
	}
	return t
}

func (r *Report) points(crash bool) table {
	t := table{header: []string{"rare path", "in", "what led there", "why it is right", "times"}}
	if crash {
		t.header = []string{"crash point", "in", "where it is", "what must be true after a death there", "passed"}
	}
	f := r.tally.Total()
	for _, i := range failpoint.Points() {
		switch {
		case i.Crash() != crash, i.In == failpoint.InErasure:
		case crash:
			t.add(string(i.Point)+" ("+i.K+")", string(i.In), i.Means, i.Must, digits(f.Points[string(i.Point)]))
		default:
			t.add(string(i.Point), string(i.In), i.Means, i.Must, digits(f.Rare[string(i.Point)]))
		}
	}
	if !crash { // the simulation's own, which are sentences
		for _, name := range slices.Sorted(maps.Keys(f.Rare)) {
			if _, known := failpoint.Lookup(failpoint.Point(name)); !known {
				t.add(name, "simulation", "", "", digits(f.Rare[name]))
			}
		}
	}
	return t
}

func (r *Report) controls() table {
	t := table{header: []string{"defect", "must be caught at", "by", "caught", "after", "events", "lost", "doubled", "wrong", "for example"}}
	for _, c := range r.tally.Controls() {
		caught := "NO"
		if c.Caught {
			caught = "yes"
		}
		t.add(c.Name, c.Expect, c.By, caught, c.Took.Round(time.Second).String(), digits(c.Events), digits(c.Lost), digits(c.Doubled),
			digits(c.Wrong), clip(c.Detail))
	}
	return t
}

func (r *Report) measures() table {
	t := table{header: []string{"scenario", "what", "value"}}
	for _, m := range r.tally.Measures() {
		t.add(m.Scenario, m.What, m.Value)
	}
	return t
}

func (r *Report) failures() table {
	t := table{header: []string{"scenario", "seed", "why", "again"}}
	for _, f := range r.tally.Failures() {
		t.add(f.Scenario, fmt.Sprint(f.Seed), clip(strings.Join(append([]string{f.Error}, f.Found...), "; ")), f.Again)
	}
	return t
}

// Text is the report for a terminal: the tables without their long words.
func (r *Report) Text() string {
	var b strings.Builder
	b.WriteString("\n" + r.verdict() + "\n")
	part := func(title string, t table, columns ...int) {
		if len(t.rows) == 0 {
			return
		}
		b.WriteString("\n" + title + "\n")
		writeAligned(&b, t, columns)
	}
	part("Scenarios", r.byScenario(), 0, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	part("Faults", r.byFault(), 0, 1, 2)
	part("Crash points", r.points(true), 0, 1, 4)
	part("Rare paths", r.points(false), 0, 1, 4)
	part("Controls", r.controls(), 0, 2, 3, 4, 5, 6, 7, 8)
	part("Measured", r.measures(), 0, 1, 2)
	part("Failures", r.failures(), 0, 1, 2, 3)
	return b.String()
}

func writeAligned(b *strings.Builder, t table, columns []int) {
	widths := make([]int, len(columns))
	all := append([][]string{t.header}, t.rows...)
	for _, row := range all {
		for i, c := range columns {
			widths[i] = max(widths[i], len([]rune(row[c])))
		}
	}
	for _, row := range all {
		line := " "
		for i, c := range columns {
			line += fmt.Sprintf(" %-*s", widths[i]+1, row[c])
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// Markdown is the report as a document.
func (r *Report) Markdown() string {
	var b strings.Builder
	b.WriteString("# What panda went through\n\nMade by `make torture`; edits are overwritten. Every number was counted in this one run.\n\n" +
		"**" + r.verdict() + "**\n\n")
	part := func(title, words string, t table) {
		if len(t.rows) == 0 {
			return
		}
		b.WriteString("## " + title + "\n\n")
		if words != "" {
			b.WriteString(words + "\n\n")
		}
		writeMarkdown(&b, t)
		b.WriteString("\n")
	}
	part("Scenarios", "Looks are answers that readers compared while faults happened; checks are comparisons at the end of a round, one for each event and each sum.", r.byScenario())
	part("Faults", "", r.byFault())
	part("Crash points", "A pass is noted before the process can die at it. Points on hot paths are counted at least so often.", r.points(true))
	part("Rare paths", "", r.points(false))
	part("Controls", "Defects that were built into the program, under the same checks. Each must be caught. The time includes building it.", r.controls())
	part("Measured", "", r.measures())
	part("Failures", "", r.failures())
	facts := table{header: []string{"what", "value"}}
	facts.add("command", "`"+r.again+"`")
	facts.add("began", r.began.UTC().Format(time.DateTime)+" UTC")
	facts.add("took", r.took.Round(time.Second).String())
	for _, f := range r.machine.Facts {
		facts.add(f.What, f.Value)
	}
	part("Run", "", facts)
	return b.String()
}

func writeMarkdown(b *strings.Builder, t table) {
	line := func(cells []string) {
		for _, c := range cells {
			b.WriteString("| " + strings.NewReplacer("|", `\|`, "\n", " ").Replace(c) + " ")
		}
		b.WriteString("|\n")
	}
	line(t.header)
	b.WriteString(strings.Repeat("|---", len(t.header)) + "|\n")
	for _, row := range t.rows {
		line(row)
	}
}
