package onboarding

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/schemas"
)

var created = time.Date(2026, 2, 14, 10, 30, 0, 123456789, time.UTC)

// What the guide says a template makes, and what finance needs of it: nothing in a
// sample can be billed, whatever the prices and plans.
func TestSamples(t *testing.T) {
	t.Parallel()
	list := Default()
	for _, name := range []string{"customer-support", "code-review", "data-analysis"} {
		tpl, err := list.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(tpl.Agents) != 3 || len(tpl.Widgets) == 0 || len(tpl.Skills()) == 0 {
			t.Errorf("%s has %d agents, %d widgets, skills %v", name, len(tpl.Agents), len(tpl.Widgets), tpl.Skills())
		}
		events := tpl.Sample(created, 1)
		if got := Sessions(events); got != 50 {
			t.Errorf("%s has %d conversations, want 50", name, got)
		}
		if len(events) > schemas.BatchEventsMax {
			t.Errorf("%s has %d messages, more than a batch", name, len(events))
		}
		if events[0].ID != tpl.FirstID(1) {
			t.Errorf("the first id is %q, not %q", events[0].ID, tpl.FirstID(1))
		}
		seen := map[string]bool{}
		for i := range events {
			e := &events[i]
			if err := e.Validate(); err != nil {
				t.Fatalf("%s: %v", e.ID, err)
			}
			if e.Type != schemas.TypeMessage || e.Tokens != (schemas.Tokens{}) || len(e.Units) != 0 || e.HasAmount || e.Model != "" {
				t.Fatalf("%s could be billed: %+v", e.ID, e)
			}
			if e.Tags[0] != SampleTag() || e.Source != SampleSource || seen[e.ID] {
				t.Fatalf("%s is not marked, or there twice", e.ID)
			}
			seen[e.ID] = true
			if at := e.Timestamp(); at.Before(created.AddDate(0, 0, -8)) || !at.Before(created) {
				t.Fatalf("%s is of %s", e.ID, at)
			}
		}
		if !reflect.DeepEqual(events, tpl.Sample(created, 1)) {
			t.Errorf("%s is another one the second time", name)
		}
		for _, e := range append(Voids(events), tpl.AgentsLevel(created)) {
			if err := e.Validate(); err != nil {
				t.Fatalf("%s: %v", e.ID, err)
			}
		}
		if other := tpl.Sample(created, 2); seen[other[0].ID] {
			t.Error("the second generation has the ids of the first")
		}
	}
}

func TestFindSaysWhichThereAre(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "support"} {
		if _, err := Default().Find(name); err == nil || !strings.Contains(err.Error(), "customer-support") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "version: 1\n", "version: 1\ntemplates: [{name: a}]\n", "version: 1\nextra: 2\n",
		"templates: [{name: a, title: A, topics: [t], agents: [{name: a, department: d, model: m, purpose: p}]}]\n",
		"version: 1\ntemplates: [{name: a, title: A, topics: [t], agents: [{name: a}]}]\n"} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
