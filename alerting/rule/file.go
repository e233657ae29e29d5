package rule

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

// The limits of a rules file and of a rule.
const (
	FileBytesMax = 256 << 10
	// RulesMax bounds what is computed for every tenant, every minute.
	RulesMax = 200
	// WindowMin is the time between two looks; WindowMax what one look may scan of a
	// tenant's events.
	WindowMin     = time.Minute
	WindowMax     = 7 * 24 * time.Hour
	WindowDefault = 5 * time.Minute
	// ForMax bounds what is only in memory: a restart begins to wait anew.
	ForMax         = 24 * time.Hour
	descriptionMax = 500
)

// A Rule says when an alert fires and what it does.
type Rule struct {
	Name        string
	Description string
	Condition   *Expr
	Actions     []alerting.Action
	Severity    alerting.Severity
	// For is how long the condition must hold before it fires.
	For time.Duration
	// Window is the span of time, up to now, that windowed metrics are of; 0 if it names
	// none of them.
	Window time.Duration
	// GroupBy makes it a rule for each department, model, and so on, by itself; "" for
	// one about the tenant.
	GroupBy schemas.Dimension
	Every   Schedule
	// Scope is whose values it looks at.
	Scope Scope
	// File and Line are where it stands.
	File string
	Line int
}

// Hash tells apart rules of one name that fire on different grounds: by condition,
// window, duration, grouping and schedule. A rule with another severity, description or
// other actions is the same, so that what fires is not told twice for a change of words.
func (r *Rule) Hash() string {
	parts := []string{r.Condition.Canonical(), r.For.String(), r.Window.String(), string(r.GroupBy), string(r.Every)}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// Does reports whether an action is among the rule's.
func (r *Rule) Does(a alerting.Action) bool { return slices.Contains(r.Actions, a) }

// A Set is what a rules file says.
type Set struct {
	Rules []Rule
	// Thresholds take the place of the default ones for budgets and quotas; nil if the
	// file names none.
	Thresholds []int
}

// Over returns the rules of s with those of another set that have other names before
// them: a rule takes the place of a built-in one of its name.
func (s *Set) Over(base *Set) *Set {
	merged := &Set{Thresholds: s.Thresholds}
	for i := range base.Rules {
		name := base.Rules[i].Name
		if !slices.ContainsFunc(s.Rules, func(r Rule) bool { return r.Name == name }) {
			merged.Rules = append(merged.Rules, base.Rules[i])
		}
	}
	merged.Rules = append(merged.Rules, s.Rules...)
	if merged.Thresholds == nil {
		merged.Thresholds = base.Thresholds
	}
	return merged
}

//go:embed health.yaml
var healthFile []byte

// Health returns the built-in rules: the daily health check of the platform's guide.
func Health() *Set {
	set, err := Parse("health.yaml", healthFile)
	if err != nil {
		panic("rule: the built-in rules are wrong: " + err.Error())
	}
	return set
}

// Parse reads a rules file. The error is a Problems with everything that is wrong with
// it; file is what they call it.
func Parse(file string, data []byte) (*Set, error) {
	f := &reader{file: file, lines: strings.Split(string(data), "\n")}
	set := f.read(data)
	if len(f.problems) > 0 {
		slices.SortStableFunc(f.problems, func(a, b Problem) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return nil, f.problems
	}
	return set, nil
}

// A reader reads one file and gathers what is wrong with it.
type reader struct {
	file     string
	lines    []string
	problems Problems
}

// problem notes what is wrong at a place.
func (f *reader) problem(line, column int, format string, args ...any) {
	p := Problem{File: f.file, Line: max(line, 1), Column: max(column, 1), What: fmt.Sprintf(format, args...)}
	if p.Line <= len(f.lines) {
		p.Source = strings.TrimSuffix(f.lines[p.Line-1], "\r")
	}
	const problemsMax = 100
	if len(f.problems) < problemsMax {
		f.problems = append(f.problems, p)
	}
}

func (f *reader) at(n *yaml.Node, format string, args ...any) {
	line, column := f.place(n, -1)
	f.problem(line, column, format, args...)
}

// place returns line and column of a node, or of a byte of its text; columns of YAML
// count letters, ours bytes.
func (f *reader) place(n *yaml.Node, offset int) (line, column int) {
	line, column = n.Line, n.Column
	if line < 1 || line > len(f.lines) {
		return line, column
	}
	text := f.lines[line-1]
	at := len(text)
	for letters, i := 1, 0; i < len(text); letters++ {
		if letters == n.Column {
			at = i
			break
		}
		_, size := utf8.DecodeRuneInString(text[i:])
		i += size
	}
	column = at + 1
	if offset < 0 {
		return line, column
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && line < len(f.lines) {
		below := f.lines[line]
		first, _, _ := strings.Cut(n.Value, "\n")
		if indent := strings.Index(below, first); indent >= 0 && offset <= len(first) {
			return line + 1, indent + offset + 1
		}
		return line, column
	}
	rest := text[at:]
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && rest != "" {
		rest, at = rest[1:], at+1
	}
	if strings.HasPrefix(rest, n.Value) {
		return line, at + offset + 1
	}
	return line, column // text over several lines: its beginning
}

var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

func (f *reader) read(data []byte) *Set {
	if len(data) > FileBytesMax {
		f.problem(1, 1, "the file has %d bytes; at most %d", len(data), FileBytesMax)
		return nil
	}
	var document, more yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	err := decoder.Decode(&document)
	if err == nil && !errors.Is(decoder.Decode(&more), io.EOF) {
		f.problem(max(more.Line, 1), 1, "a second document, or what is no YAML; write everything under one alerts:")
		return nil
	}
	switch {
	case errors.Is(err, io.EOF):
		f.problem(1, 1, "the file is empty; it begins with alerts:")
		return nil
	case err != nil:
		line, what := 1, strings.TrimPrefix(err.Error(), "yaml: ")
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1]) // digits, by the pattern
			what = m[2]
		}
		f.problem(line, 1, "this is no YAML: %s", what)
		return nil
	}
	if n := anchored(&document); n != nil {
		f.at(n, "anchors and aliases are not read; write it out")
		return nil
	}
	set := &Set{}
	root := document.Content[0]
	keys := f.keys(root, "the file", []string{"alerts", "thresholds"})
	if n := keys["thresholds"]; n != nil {
		set.Thresholds = f.thresholds(n)
	}
	n := keys["alerts"]
	if n == nil {
		if root.Kind == yaml.MappingNode {
			f.at(root, "alerts: is missing")
		}
		return set
	}
	f.rules(n, set)
	return set
}

// rules reads the list of rules.
func (f *reader) rules(n *yaml.Node, set *Set) {
	switch {
	case n.Kind != yaml.SequenceNode:
		f.at(n, "alerts: is a list; begin each rule with - name:")
		return
	case len(n.Content) > RulesMax:
		f.at(n, "%d rules; at most %d", len(n.Content), RulesMax)
		return
	}
	lines := map[string]int{}
	for _, item := range n.Content {
		r := f.rule(item)
		if r.Name != "" && lines[r.Name] > 0 {
			f.at(item, "the name %s is taken by the rule in line %d", r.Name, lines[r.Name])
		}
		lines[r.Name] = item.Line
		set.Rules = append(set.Rules, r)
	}
}

// anchored returns the first node that is one of YAML's references.
func anchored(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return n
	}
	for _, c := range n.Content {
		if found := anchored(c); found != nil {
			return found
		}
	}
	return nil
}

// keys returns the values of a mapping by key, and notes keys that mean nothing.
func (f *reader) keys(n *yaml.Node, of string, known []string) map[string]*yaml.Node {
	found := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		f.at(n, "%s is made of keys and values, such as %s: …", of, known[0])
		return found
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case !slices.Contains(known, key.Value):
			f.at(key, "%s has no key %q%s", of, key.Value, didYouMean(key.Value, known))
		case found[key.Value] != nil:
			f.at(key, "%s is there twice", key.Value)
		default:
			found[key.Value] = value
		}
	}
	return found
}

// thresholds reads percents of budgets and quotas.
func (f *reader) thresholds(n *yaml.Node) []int {
	if n.Kind != yaml.SequenceNode {
		f.at(n, "thresholds: is a list of percents, such as [80, 90, 100]")
		return nil
	}
	var list []int
	for _, item := range n.Content {
		percent, err := strconv.Atoi(strings.TrimSuffix(item.Value, "%"))
		if err != nil || item.Kind != yaml.ScalarNode {
			f.at(item, "%q is no whole number of percents", item.Value)
			return nil
		}
		list = append(list, percent)
	}
	// What is out of place stands where the shortest list ends that is wrong.
	for i := range list {
		if err := alerting.CheckThresholds(list[:i+1]); err != nil {
			var invalid *schemas.FieldError
			what := err.Error()
			if errors.As(err, &invalid) {
				what = invalid.Detail
			}
			f.at(n.Content[i], "%s", what)
			return nil
		}
	}
	if len(list) == 0 {
		f.at(n, "no thresholds; leave the key out for 80, 90 and 100")
	}
	return list
}
