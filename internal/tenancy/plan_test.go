package tenancy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/agentik-os/panda/schemas"
)

// The table of the guide, "Setting Quotas".
func TestPlansAreThoseOfTheGuide(t *testing.T) {
	c, err := DefaultCatalog()
	if err != nil {
		t.Fatal(err)
	}
	for plan, want := range map[Plan]Quotas{
		PlanStarter:    {10, 5_000_000, 10, 25, 500},
		PlanPro:        {100, 50_000_000, 100, 100, 5000},
		PlanEnterprise: {Unlimited, Unlimited, Unlimited, Unlimited, Unlimited},
	} {
		if got, ok := c.Find(plan); !ok || got.Quotas != want {
			t.Errorf("%s: %+v", plan, got)
		}
	}
	// What a plan leaves out is the column "Default".
	c, err = ParseCatalog([]byte(strings.Replace(string(schemas.PlansYAML()), "      max_agents: 10\n", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := c.Find(PlanStarter); got.Quotas.MaxAgents != 5 || got.Quotas.MaxStorageGB != 10 {
		t.Errorf("defaults: %+v", got)
	}
}

func TestBadPlansAreNamed(t *testing.T) {
	good := string(schemas.PlansYAML())
	for name, row := range map[string]struct{ old, new, want string }{
		"negative":        {"max_agents: 10\n", "max_agents: -1\n", `line 37: "-1" is not a whole number`},
		"a word":          {"max_agents: 10\n", "max_agents: many\n", `"many" is not a whole number`},
		"unknown quota":   {"max_agents: 10\n", "max_gold: 10\n", "max_gold is no quota"},
		"twice":           {"name: pro", "name: starter", `plan "starter" has no name or title, or is there twice`},
		"isolation":       {"isolation: isolated-database", "isolation: moon", `not "moon"`},
		"no version":      {"version: 2", "version: 0", "version is missing"},
		"unknown field":   {"version: 2", "version: 2\ncolour: red", "colour"},
		"default missing": {"  max_agents: 5\n", "", "defaults name 4 of 5"},
	} {
		if !strings.Contains(good, row.old) {
			t.Fatalf("%s: the file does not have %q", name, row.old)
		}
		_, err := ParseCatalog([]byte(strings.Replace(good, row.old, row.new, 1)))
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLimitsOnTheWire(t *testing.T) {
	for text, want := range map[string]Limit{"0": 0, "100": 100, `"unlimited"`: Unlimited, "9007199254740992": limitMax} {
		var got Limit
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
		if back, err := json.Marshal(want); err != nil || string(back) != text {
			t.Errorf("%d is written %s, %v", want, back, err)
		}
	}
	for _, text := range []string{"-1", "1.5", "9007199254740993", `"lots"`, "1e3", "true", "99999999999999999999"} {
		var got Limit
		if err := json.Unmarshal([]byte(text), &got); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	if got := (Quotas{MaxStorageGB: 500}).StorageBytes(); got != 500_000_000_000 {
		t.Errorf("500 GB are %d bytes", got)
	}
	if got := (Quotas{MaxStorageGB: limitMax}).StorageBytes(); got <= 0 {
		t.Errorf("the largest storage is %d bytes", got)
	}
}
