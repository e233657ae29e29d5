package rule

import (
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

// ruleKeys are the keys of a rule.
func ruleKeys() []string {
	return []string{"name", "condition", "action", "actions", "for", "window", "severity", "group_by", "every", "description"}
}

// Actions lists what a rule may do.
func Actions() []alerting.Action {
	return []alerting.Action{alerting.EmailAdmin, alerting.EmailTenant, alerting.SuspendTenant, alerting.PageOncall,
		alerting.ActionWebhook, alerting.ActionSlack, alerting.NotifyDashboard}
}

var ruleName = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$`)

// rule reads one rule. What is wrong with a part leaves that part at its zero value.
func (f *reader) rule(n *yaml.Node) Rule {
	r := Rule{File: f.file, Line: n.Line}
	keys := f.keys(n, "a rule", ruleKeys())
	if n.Kind != yaml.MappingNode {
		return r
	}
	r.Name = f.name(n, keys["name"])
	if d := keys["description"]; d != nil {
		r.Description = f.text(d, "description")
		if len(r.Description) > descriptionMax {
			f.at(d, "the description has %d bytes; at most %d", len(r.Description), descriptionMax)
		}
	}
	r.Condition = f.condition(n, keys["condition"])
	r.Actions = f.actions(n, keys)
	r.Severity = f.severity(keys["severity"], r.Actions)
	if d := keys["for"]; d != nil {
		r.For = f.duration(d, "for", 0, ForMax)
	}
	if r.Condition != nil {
		f.fit(n, keys, &r)
	}
	return r
}

// text returns the text of a node that has to be one.
func (f *reader) text(n *yaml.Node, key string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		f.at(n, "%s: is a text", key)
		return ""
	}
	return n.Value
}

func (f *reader) name(rule, n *yaml.Node) string {
	if n == nil {
		f.at(rule, "the rule has no name; add name: in small letters with dashes")
		return ""
	}
	name := f.text(n, "name")
	switch {
	case name == "":
	case name == alerting.RuleThreshold:
		f.at(n, "%s is the name of the built-in rule of budgets and quotas", name)
	case !ruleName.MatchString(name):
		f.at(n, "%q is no name: small letters, digits and dashes, at most 64", name)
	}
	return name
}

func (f *reader) condition(rule, n *yaml.Node) *Expr {
	if n == nil {
		f.at(rule, "the rule has no condition; add one such as condition: error_rate > 5%%")
		return nil
	}
	text := f.text(n, "condition")
	if text == "" {
		return nil
	}
	e, slips := parseExpr(text)
	for _, s := range slips {
		line, column := f.place(n, s.at)
		f.problem(line, column, "%s", s.what)
	}
	return e
}

// actions reads action: or actions:.
func (f *reader) actions(rule *yaml.Node, keys map[string]*yaml.Node) []alerting.Action {
	one, many := keys["action"], keys["actions"]
	var nodes []*yaml.Node
	switch {
	case one != nil && many != nil:
		f.at(many, "action: and actions: are both there; keep one")
		return nil
	case one != nil:
		nodes = []*yaml.Node{one}
	case many != nil && many.Kind == yaml.SequenceNode && len(many.Content) > 0:
		nodes = many.Content
	case many != nil:
		f.at(many, "actions: is a list, such as [email-admin, slack]")
		return nil
	default:
		f.at(rule, "the rule has no action; add one such as action: email-admin")
		return nil
	}
	var words []string
	for _, a := range Actions() {
		words = append(words, string(a))
	}
	var actions []alerting.Action
	for _, n := range nodes {
		word := f.text(n, "action")
		switch a := alerting.Action(word); {
		case word == "":
		case !slices.Contains(words, word):
			what := didYouMean(word, words)
			if what == "" {
				what = "; there are " + strings.Join(words, ", ")
			}
			f.at(n, "there is no action %s%s", word, what)
		case slices.Contains(actions, a):
			f.at(n, "%s is there twice", word)
		default:
			actions = append(actions, a)
		}
	}
	return actions
}

// severity is critical by itself for what ends access or wakes somebody up.
func (f *reader) severity(n *yaml.Node, actions []alerting.Action) alerting.Severity {
	if n == nil {
		if slices.Contains(actions, alerting.PageOncall) || slices.Contains(actions, alerting.SuspendTenant) {
			return alerting.SeverityCritical
		}
		return alerting.SeverityWarning
	}
	s := alerting.Severity(f.text(n, "severity"))
	if s.Rank() == 0 {
		f.at(n, "%q is no severity; use info, warning or critical", n.Value)
	}
	return s
}

// duration reads 5m or 30 days.
func (f *reader) duration(n *yaml.Node, key string, least, most time.Duration) time.Duration {
	text := f.text(n, key)
	if text == "" {
		return 0
	}
	tokens, wrong := lex(text)
	if wrong != nil || len(tokens) != 2 || tokens[0].kind != literalToken || tokens[0].value.kind != Duration {
		f.at(n, "%s: %q is no duration; write 5m, 1h30m or 7 days", key, text)
		return 0
	}
	nanos := tokens[0].value.Rat()
	nanos.Mul(nanos, new(big.Rat).SetInt64(int64(time.Second)))
	if !nanos.IsInt() || !nanos.Num().IsInt64() || time.Duration(nanos.Num().Int64()) < least || time.Duration(nanos.Num().Int64()) > most {
		f.at(n, "%s: %s is not from %s to %s", key, text, OfDuration(least).Show(""), OfDuration(most).Show(""))
		return 0
	}
	return time.Duration(nanos.Num().Int64())
}

// fit settles scope, window, grouping and schedule by the metrics of the condition.
func (f *reader) fit(n *yaml.Node, keys map[string]*yaml.Node, r *Rule) {
	r.Scope, r.Every = OfTenant, Live
	var platform, tenant, slowest string
	windowed := false
	for _, m := range r.Condition.Metrics() {
		windowed = windowed || m.Windowed
		switch m.Scope {
		case OfPlatform:
			platform, r.Scope = m.Name, OfPlatform
		case OfQuota:
			tenant, r.Scope = m.Name, OfQuota
		default:
			tenant = m.Name
		}
		if m.Finest.rank() > r.Every.rank() {
			r.Every, slowest = m.Finest, m.Name
		}
	}
	if platform != "" && tenant != "" {
		f.at(keys["condition"], "%s is of the whole platform and %s of a tenant; make two rules of it", platform, tenant)
	}
	f.fitWindow(keys["window"], r, windowed)
	f.fitGroup(keys["group_by"], r)
	if e := keys["every"]; e != nil {
		every := Schedule(f.text(e, "every"))
		switch {
		case every.rank() < 0:
			f.at(e, "every: %q is no schedule; use live, minute or daily", e.Value)
		case every.rank() < r.Every.rank():
			f.at(e, "every: %s is too often for %s; use %s", every, slowest, r.Every)
		default:
			r.Every = every
		}
	}
	if r.For > 0 && r.Every == Daily {
		f.at(keys["for"], "for: with every: daily would wait for the next day; leave one out")
	}
	if r.Scope == OfPlatform {
		for _, a := range []alerting.Action{alerting.SuspendTenant, alerting.EmailTenant} {
			if r.Does(a) {
				f.at(n, "%s needs a tenant, and %s is of the whole platform", a, platform)
			}
		}
	}
}

func (f *reader) fitWindow(n *yaml.Node, r *Rule, windowed bool) {
	switch {
	case windowed:
		r.Window = WindowDefault
		if n != nil {
			r.Window = f.duration(n, "window", WindowMin, WindowMax)
		}
	case n != nil:
		f.at(n, "window: none of the condition's metrics looks at a window")
	}
}

func (f *reader) fitGroup(n *yaml.Node, r *Rule) {
	if n == nil {
		return
	}
	by := schemas.Dimension(f.text(n, "group_by"))
	var words []string
	for _, d := range schemas.Dimensions() {
		words = append(words, string(d))
	}
	if !slices.Contains(words, string(by)) {
		f.at(n, "group_by: there is no dimension %q; use %s", n.Value, strings.Join(words, ", "))
		return
	}
	for _, m := range r.Condition.Metrics() {
		if !slices.Contains(m.Groups, by) {
			f.at(n, "group_by: %s is not kept by %s", m.Name, by)
			return
		}
	}
	r.GroupBy = by
}
