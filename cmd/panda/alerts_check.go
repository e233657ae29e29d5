package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/alerting/rule"
	"github.com/agentik-os/panda/schemas"
)

// ruleLine is a rule as the commands show it.
type ruleLine struct {
	Name        string   `json:"name"`
	Condition   string   `json:"condition"`
	Actions     []string `json:"actions"`
	Severity    string   `json:"severity"`
	For         string   `json:"for,omitempty"`
	Window      string   `json:"window,omitempty"`
	GroupBy     string   `json:"group_by,omitempty"`
	Every       string   `json:"every"`
	Of          string   `json:"of"`
	Description string   `json:"description,omitempty"`
	Hash        string   `json:"hash"`
	File        string   `json:"file"`
	Line        int      `json:"line"`
}

// checkReport is what `panda alerts check -o json` prints.
type checkReport struct {
	Files      []string       `json:"files"`
	Rules      []ruleLine     `json:"rules"`
	Problems   []rule.Problem `json:"problems"`
	Thresholds []int          `json:"thresholds,omitempty"`
}

func newAlertsCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "check FILE…", Short: "Check files of alert rules, and show what they say", Args: cobra.MinimumNArgs(1),
		Long: "Every problem is shown with its place, all of them at once. Nothing is sent to a server.\n" +
			"The exit code is 0 if all files are good, 1 if one is not, and 2 if one cannot be read. The file - is standard input.",
		Example: "  panda alerts check rules.yaml\n  panda alerts check rules/*.yaml -o json",
		RunE: func(_ *cobra.Command, files []string) error {
			report := checkReport{Files: files, Rules: []ruleLine{}, Problems: []rule.Problem{}}
			for _, file := range files {
				set, err := readRules(file, a.stdin)
				var problems rule.Problems
				switch {
				case errors.As(err, &problems):
					report.Problems = append(report.Problems, problems...)
				case err != nil:
					return err
				default:
					report.Rules = append(report.Rules, ruleLines(set)...)
					report.Thresholds = append(report.Thresholds, set.Thresholds...)
				}
			}
			return a.showCheck(&report)
		},
	}
}

func (a *app) showCheck(report *checkReport) error {
	if a.output == outputJSON {
		body, err := plainJSON(report)
		if err != nil {
			return fmt.Errorf("encode the report: %w", err)
		}
		if err := a.writeJSON(body); err != nil {
			return err
		}
	}
	if len(report.Problems) > 0 {
		if a.output != outputJSON {
			for i := range report.Problems {
				p := &report.Problems[i]
				a.say("%s\n", visible(p.String()))
				if caret := p.Caret(); caret != "" {
					a.say("  %s\n", strings.ReplaceAll(visible(caret), "\n", "\n  "))
				}
			}
			a.say("%s in %s. The metrics: panda alerts metrics\n", plural(int64(len(report.Problems)), "problem", "problems"), strings.Join(report.Files, ", "))
		}
		return errFoundWrong
	}
	switch a.output {
	case outputJSON:
	case outputCSV:
		return a.writeCSV(ruleGrid(report.Rules))
	default:
		a.draw(ruleGrid(report.Rules))
		a.print("%s, all good.\n", plural(int64(len(report.Rules)), "rule", "rules"))
	}
	return nil
}

// plainJSON leaves < and > as they are: conditions are made of them.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// readRules reads a file of rules; "-" is standard input. What is wrong with the rules is
// a rule.Problems, and a file that cannot be read matches schemas.ErrInvalid.
func readRules(file string, stdin io.Reader) (*rule.Set, error) {
	from := stdin
	if file == "-" {
		file = "stdin"
	} else {
		f, err := os.Open(file)
		if err != nil {
			return nil, schemas.Invalid("/alert_rules", schemas.CodeMissing, "read the alert rules: %v", err)
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, rule.FileBytesMax+1))
	if err != nil {
		return nil, schemas.Invalid("/alert_rules", schemas.CodeMalformed, "read the alert rules %s: %v", file, err)
	}
	return rule.Parse(file, data)
}

func ruleLines(set *rule.Set) []ruleLine {
	lines := make([]ruleLine, 0, len(set.Rules))
	for i := range set.Rules {
		r := &set.Rules[i]
		l := ruleLine{Name: r.Name, Condition: r.Condition.String(), Severity: string(r.Severity), GroupBy: string(r.GroupBy),
			Every: string(r.Every), Of: r.Scope.String(), Description: r.Description, Hash: r.Hash(), File: r.File, Line: r.Line}
		for _, action := range r.Actions {
			l.Actions = append(l.Actions, string(action))
		}
		if r.For > 0 {
			l.For = rule.OfDuration(r.For).Show("")
		}
		if r.Window > 0 {
			l.Window = rule.OfDuration(r.Window).Show("")
		}
		lines = append(lines, l)
	}
	return lines
}

func ruleGrid(rules []ruleLine) grid {
	g := grid{columns: []column{textColumn("rule"), proseColumn("condition"), textColumn("for"), textColumn("window"), textColumn("of each"),
		textColumn("looked at"), textColumn("severity"), textColumn("does"), textColumn("where")}}
	for i := range rules {
		r := &rules[i]
		of := r.Of
		if r.GroupBy != "" {
			of = strings.ReplaceAll(r.GroupBy, "_", " ")
		}
		g.rows = append(g.rows, []string{r.Name, strings.Join(strings.Fields(r.Condition), " "), r.For, r.Window, of, r.Every, r.Severity,
			strings.Join(r.Actions, ", "), fmt.Sprintf("%s:%d", r.File, r.Line)})
	}
	return g
}

// newAlertsRules is `panda alerts rules`: what a server with these settings runs.
func newAlertsRules(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rules", Short: "Show the alert rules that panda serve runs with the settings of this machine", Args: cobra.NoArgs,
		Long: "The rules are the built-in ones, unless alert-health is off, and those of the file that alert-rules names.",
		RunE: func(*cobra.Command, []string) error {
			set, err := a.cfg.rules()
			if err != nil {
				return err
			}
			lines := ruleLines(set)
			body, err := plainJSON(map[string]any{"rules": lines})
			if err != nil {
				return fmt.Errorf("encode the rules: %w", err)
			}
			return a.show(body, func() grid { return ruleGrid(lines) }, func() { a.draw(ruleGrid(lines)) })
		},
	}
	cmd.Flags().StringVar(&a.cfg.AlertRules, "alert-rules", a.cfg.AlertRules, "file of alert rules")
	cmd.Flags().BoolVar(&a.cfg.AlertHealth, "alert-health", a.cfg.AlertHealth, "with the built-in rules")
	return cmd
}

// metricLine is a metric as `panda alerts metrics` shows it.
type metricLine struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases,omitempty"`
	Kind    string   `json:"kind"`
	Of      string   `json:"of"`
	Every   string   `json:"every"`
	Window  bool     `json:"window"`
	GroupBy []string `json:"group_by,omitempty"`
	Doc     string   `json:"doc"`
}

func newAlertsMetrics(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "metrics", Short: "Show the metrics that the conditions of alert rules may name", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var lines []metricLine
			g := grid{columns: []column{textColumn("metric"), textColumn("kind"), textColumn("of each"), textColumn("at most"), textColumn("window"),
				proseColumn("what it is"), proseColumn("group by"), textColumn("also")}}
			for _, m := range rule.Metrics() {
				l := metricLine{Name: m.Name, Aliases: m.Aliases, Kind: m.Kind.String(), Of: m.Scope.String(), Every: string(m.Finest), Window: m.Windowed, Doc: m.Doc}
				for _, d := range m.Groups {
					l.GroupBy = append(l.GroupBy, string(d))
				}
				lines = append(lines, l)
				window := ""
				if m.Windowed {
					window = "yes"
				}
				g.rows = append(g.rows, []string{m.Name, l.Kind, l.Of, l.Every, window, m.Doc, strings.Join(l.GroupBy, ", "), strings.Join(m.Aliases, ", ")})
			}
			body, err := plainJSON(map[string]any{"metrics": lines})
			if err != nil {
				return fmt.Errorf("encode the metrics: %w", err)
			}
			return a.show(body, func() grid { return g }, func() { a.draw(g) })
		},
	}
}
