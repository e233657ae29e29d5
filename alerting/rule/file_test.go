package rule

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

// guideRules are those of the platform's guide, as they stand there.
const guideRules = `# Alert configurations
alerts:
  - name: quota-exceeded
    condition: usage > quota * 0.95
    action: email-admin

  - name: payment-failed
    condition: stripe.payment.failed
    action: suspend-tenant

  - name: high-error-rate
    condition: error_rate > 5%
    action: page-oncall
`

func TestTheGuidesRulesReadUnchanged(t *testing.T) {
	t.Parallel()
	set, err := Parse("rules.yaml", []byte(guideRules))
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{
		{Name: "quota-exceeded", Actions: []alerting.Action{alerting.EmailAdmin}, Severity: alerting.SeverityWarning, Every: Live, Scope: OfQuota, File: "rules.yaml", Line: 3},
		{Name: "payment-failed", Actions: []alerting.Action{alerting.SuspendTenant}, Severity: alerting.SeverityCritical, Every: Live, Scope: OfTenant, File: "rules.yaml", Line: 7},
		{Name: "high-error-rate", Actions: []alerting.Action{alerting.PageOncall}, Severity: alerting.SeverityCritical, Window: WindowDefault, Every: Minute, Scope: OfTenant, File: "rules.yaml", Line: 11},
	}
	got := slices.Clone(set.Rules)
	for i := range got {
		got[i].Condition = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read differently (-want +got):\n%s", diff)
	}
}

func TestEveryKeyOfARule(t *testing.T) {
	t.Parallel()
	set, err := Parse("rules.yaml", []byte(`thresholds: [50, 75%, 100]
alerts:
  - name: slow
    description: Calls are slow.
    condition: |
      latency_p95 > 10s and
      calls > 100
    actions: [slack, page-oncall]
    for: 10 minutes
    window: 1h
    severity: info
    group_by: model
    every: minute
`))
	if err != nil {
		t.Fatal(err)
	}
	r := set.Rules[0]
	if !slices.Equal(set.Thresholds, []int{50, 75, 100}) || r.For != 10*time.Minute || r.Window != time.Hour || r.Severity != alerting.SeverityInfo ||
		r.GroupBy != schemas.ByModel || r.Every != Minute || !r.Does(alerting.PageOncall) || r.Does(alerting.EmailAdmin) || r.Description != "Calls are slow." {
		t.Errorf("read as %+v with thresholds %v", r, set.Thresholds)
	}
}

// Everything that is wrong is told at once, each with its place.
func TestAFileThatIsWrong(t *testing.T) {
	t.Parallel()
	file := `thresholds: [80, 70]
alerts:
  - name: High Errors
    condition: eror_rate > 5%
    action: page-on-call
  - condition: "cost > 10"
    actions: [email-admin, email-admin]
    sevrity: critical
  - name: twice
    condition: calls > 100 and ingest_lag > 5m
    action: slack
  - name: twice
    condition: |
      calls > 5 or
      errors
    action: slack
    for: 2 weeks
  - name: late
    condition: ingest_lag > 5m
    action: suspend-tenant
    every: live
    window: 5m
  - name: grouped
    condition: max_monthly_tokens > 5
    action: webhook
    group_by: modell
  - name: threshold
    condition: 'burn_rate > 3x'
    window: 90 days
  - name: daily
    condition: budget > $5
    action: slack
    group_by: model
    every: daily
    for: 5m
  - just text
`
	_, err := Parse("rules.yaml", []byte(file))
	var problems Problems
	if !errors.As(err, &problems) || !errors.Is(err, schemas.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	want := strings.TrimSpace(`
rules.yaml:1:18: 70 % comes after 80 %; write the lowest first
rules.yaml:3:11: "High Errors" is no name: small letters, digits and dashes, at most 64
rules.yaml:4:16: there is no metric eror_rate, did you mean error_rate?
rules.yaml:5:13: there is no action page-on-call, did you mean page-oncall?
rules.yaml:6:5: the rule has no name; add name: in small letters with dashes
rules.yaml:6:22: an amount of money is compared with a plain number; a unit is missing, as in $10
rules.yaml:7:28: email-admin is there twice
rules.yaml:8:5: a rule has no key "sevrity", did you mean severity?
rules.yaml:10:16: ingest_lag is of the whole platform and calls of a tenant; make two rules of it
rules.yaml:12:5: the name twice is taken by the rule in line 9
rules.yaml:13:16: or wants a condition on either side; this is a count. Compare it, as in … > 1_000
rules.yaml:17:10: for: 2 weeks is not from 0ms to 1 days
rules.yaml:18:5: suspend-tenant needs a tenant, and ingest_lag is of the whole platform
rules.yaml:21:12: every: live is too often for ingest_lag; use minute
rules.yaml:22:13: window: none of the condition's metrics looks at a window
rules.yaml:26:15: group_by: there is no dimension "modell"; use provider, model, department, cost_center, agent
rules.yaml:27:5: the rule has no action; add one such as action: email-admin
rules.yaml:27:11: threshold is the name of the built-in rule of budgets and quotas
rules.yaml:29:13: window: 90 days is not from 1m to 7 days
rules.yaml:33:15: group_by: budget is not kept by model
rules.yaml:35:10: for: with every: daily would wait for the next day; leave one out
rules.yaml:36:5: a rule is made of keys and values, such as name: …`)
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("told differently (-want +got):\n%s", diff)
	}
	if got, want := problems[2].Caret(), "    condition: eror_rate > 5%\n               ^"; got != want {
		t.Errorf("the caret is\n%s\nwant\n%s", got, want)
	}
}

func TestFilesThatAreNoRules(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                   "1:1: the file is empty",
		"# nothing\n":                        "the file is empty",
		"just text":                          "1:1: the file is made of keys and values",
		"alerts:":                            "alerts: is a list",
		"alerts: {}":                         "1:9: alerts: is a list",
		"rules: []":                          `1:1: the file has no key "rules"`,
		"alerts: []\n---\na: b":              "a second document",
		"alerts:\n\t- name: x":               "2:1: this is no YAML",
		"alerts: &a []":                      "anchors and aliases are not read",
		"alerts: []\nalerts: []":             "there twice",
		"thresholds: []\nalerts: []":         "no thresholds",
		"thresholds: [80, 1001]\nalerts: []": "1:18: 1001 % is not from 1 to 1000 %",
		"thresholds: 80\nalerts: []":         "is a list of percents",
		"alerts: []\n#" + strings.Repeat("x", FileBytesMax):   "at most 262144",
		"alerts:\n" + strings.Repeat("  - a\n", RulesMax+1):   "201 rules; at most 200",
		"alerts:\n  - name: \xff\n":                           "this is no YAML",
		"alerts:\n  - {name: ä, condition: calls > 5 ä}\n":    "2:12: \"ä\" is no name",
		"alerts:\n  - {name: [a], condition: [b], action: 5}": "name: is a text",
	} {
		_, err := Parse("", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q is refused with %v, and not with %q", text, err, want)
		}
	}
}

// What fires is told again when a rule fires on other grounds, and not when its words
// change.
func TestAHashIsOfTheGrounds(t *testing.T) {
	t.Parallel()
	hash := func(lines ...string) string {
		t.Helper()
		set, err := Parse("", []byte("alerts:\n  - name: a\n    "+strings.Join(lines, "\n    ")+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		return set.Rules[0].Hash()
	}
	base := hash("condition: error_rate > 5%", "action: slack")
	for _, same := range [][]string{
		{"condition: error_rate>0.05", "action: page-oncall", "severity: info"},
		{"description: x", "condition: (error_rate > 5.0 %)", "action: slack", "window: 5m"},
	} {
		if same[1] == "condition: (error_rate > 5.0 %)" {
			same[1] = "condition: (error_rate > 5.0%)"
		}
		if hash(same...) != base {
			t.Errorf("%v is another rule", same)
		}
	}
	for _, other := range [][]string{
		{"condition: error_rate > 6%", "action: slack"}, {"condition: error_rate >= 5%", "action: slack"},
		{"condition: error_rate > 5%", "action: slack", "for: 5m"}, {"condition: error_rate > 5%", "action: slack", "window: 10m"},
		{"condition: error_rate > 5%", "action: slack", "group_by: model"}, {"condition: error_rate > 5%", "action: slack", "every: daily"},
	} {
		if hash(other...) == base {
			t.Errorf("%v is the same rule", other)
		}
	}
	if base != "f1569422d309960c" {
		t.Errorf("the hash is %s: a version that computes another one ends all alerts and fires them anew", base)
	}
}

func TestHealthIsTheGuidesJob(t *testing.T) {
	t.Parallel()
	health := Health()
	var names []string
	for i := range health.Rules {
		r := &health.Rules[i]
		names = append(names, r.Name)
		if r.Every != Daily {
			t.Errorf("%s is looked at %s", r.Name, r.Every)
		}
	}
	if !slices.Equal(names, []string{"tokens-nearly-used", "unusual-usage", "idle"}) {
		t.Errorf("the rules are %v", names)
	}
	own, err := Parse("", []byte("alerts:\n  - name: idle\n    condition: usage.daysSinceLastMessage > 60\n    action: slack\n    every: daily\n"))
	if err != nil {
		t.Fatal(err)
	}
	merged := own.Over(health)
	if len(merged.Rules) != 3 || merged.Rules[2].Condition.String() != "usage.daysSinceLastMessage > 60" {
		t.Errorf("merged: %+v", merged.Rules)
	}
}

func TestTheNearestWordIsSuggested(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{"cots": ", did you mean cost?", "tokns_today": ", did you mean tokens_today?", "latency": ", did you mean latency_p95?", "zebra": ""} {
		if got := didYouMean(word, metricNames()); got != want {
			t.Errorf("%s%s, want %q", word, got, want)
		}
	}
}

// FuzzParse: no file makes it fail otherwise than with places inside the file.
func FuzzParse(f *testing.F) {
	f.Add([]byte(guideRules))
	f.Add(healthFile)
	f.Add([]byte("alerts:\n  - {name: a, condition: !!binary x, action: [}\n"))
	f.Add([]byte("alerts:\n  - name: ä\n    condition: >\n      calls > ö\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Parse("f", data)
		if err == nil {
			for i := range set.Rules {
				set.Rules[i].Hash()
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("refused without a place: %v", err)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Column < 1 {
				t.Fatalf("a problem nowhere: %+v", p)
			}
			_ = p.Caret()
		}
	})
}
