package demo

import (
	"github.com/agentik-os/panda/schemas"
)

// Tenant is one of the demo's tenants, as it is registered.
type Tenant struct {
	Name, Slug, Plan, Email string
	// Budget is the monthly budget in whole dollars, 0 for none.
	Budget int64
	// TokensMax is the limit on a month's tokens, 0 for the plan's own.
	TokensMax int64
}

// profile is how a tenant uses models.
type profile struct {
	Tenant
	// named are the agents that the guide or a story knows.
	named []agentSpec
	// The other agents share restCents, the first of them most.
	restCents, restCount int64
	restMix              mix
	users                uint64
	rhythm               rhythm
	// unlistedOf is one in how many of its calls goes to the model that no price
	// book knows; 0 for none.
	unlistedOf uint64
}

// mix says how an agent's cost is spread over opus, sonnet, haiku and gpt4o, in
// thousandths.
type mix [4]int64

type agentSpec struct {
	name, department, costCenter string
	// cents is about what the agent costs in the month at ReferenceEvents events.
	cents int64
	// size is how large its calls are, in eighths of the model's usual.
	size int64
	mix  mix
}

// ReferenceEvents is the number of events at which a month costs what the
// profiles say. Costs grow with the number of events.
const ReferenceEvents = 1_000_000

// tenantCount is the number of the demo's tenants; the first one is on the
// screen.
const tenantCount = 4

// profiles are the guide's tenants with the guide's costs. Acme's agents and
// models have the shares of the guide's cost attribution screen.
func profiles() [tenantCount]profile {
	return [tenantCount]profile{
		{
			Tenant: Tenant{Name: "Acme Corporation", Slug: "acme-corp", Plan: "pro", Email: "billing@acme.com",
				Budget: 1000, TokensMax: 1_000_000_000},
			named: []agentSpec{
				{"Customer Support", "support", "CC-1003", 31_245, 6, mix{550, 300, 130, 20}},
				{"Code Reviewer", "engineering", "CC-1002", 18_923, 12, mix{850, 140, 10, 0}},
				{"Data Analyst", "sales", "CC-1001", 15_678, 10, mix{700, 230, 40, 30}},
				{"Email Assistant", "sales", "CC-1001", 9_865, 6, mix{350, 350, 280, 20}},
				{"Research Bot", "engineering", "CC-1002", 4_532, 12, mix{600, 250, 50, 100}},
			},
			restCents: 4_489, restCount: 82, restMix: mix{450, 250, 230, 70},
			users: 23, rhythm: rhythm{zone: -5, hours: office, days: workweek},
		},
		{
			Tenant: Tenant{Name: "Beta Industries", Slug: "beta-industries", Plan: "enterprise", Email: "finance@beta.example",
				Budget: 5000, TokensMax: 5_000_000_000},
			named: []agentSpec{
				{"Plant Monitor", "operations", "CC-2001", 74_000, 8, mix{380, 420, 150, 50}},
				{"Contract Reader", "legal", "CC-2004", 52_000, 14, mix{800, 180, 20, 0}},
				{"Supplier Desk", "procurement", "CC-2002", 41_000, 7, mix{300, 450, 200, 50}},
				{"Code Reviewer", "engineering", "CC-2003", 38_000, 12, mix{820, 160, 20, 0}},
				{"Service Desk", "support", "CC-2005", 33_000, 6, mix{350, 400, 220, 30}},
			},
			restCents: 104_100, restCount: 319, restMix: mix{440, 330, 170, 60},
			users: 410, rhythm: rhythm{zone: 1, hours: shifts, days: workweek}, unlistedOf: 1500,
		},
		{
			Tenant: Tenant{Name: "Gamma Solutions", Slug: "gamma-solutions", Plan: "starter", Email: "hello@gamma.example",
				Budget: 150, TokensMax: 200_000_000},
			named: []agentSpec{
				{"Website Chat", "support", "CC-3001", 5_600, 6, mix{150, 400, 350, 100}},
				{"Proposal Writer", "sales", "CC-3002", 3_100, 11, mix{600, 300, 50, 50}},
			},
			restCents: 3_600, restCount: 10, restMix: mix{300, 300, 300, 100},
			users: 9, rhythm: rhythm{zone: -8, hours: allDay, days: everyDay},
		},
		{
			Tenant: Tenant{Name: "Delta Inc", Slug: "delta-inc", Plan: "pro", Email: "accounts@delta.example",
				Budget: 600, TokensMax: 1_000_000_000},
			named: []agentSpec{
				{"Shop Assistant", "sales", "CC-4001", 17_500, 6, mix{250, 380, 320, 50}},
				{"Returns Desk", "support", "CC-4002", 10_200, 7, mix{300, 350, 300, 50}},
				{"Catalog Writer", "marketing", "CC-4003", 7_400, 10, mix{500, 350, 100, 50}},
			},
			restCents: 10_500, restCount: 42, restMix: mix{400, 300, 250, 50},
			users: 31, rhythm: rhythm{zone: 8, hours: allDay, days: everyDay},
		},
	}
}

// Tenants returns the demo's tenants; the first one is on the screen.
func Tenants() []Tenant {
	var out []Tenant
	for _, p := range profiles() {
		out = append(out, p.Tenant)
	}
	return out
}

// The names of the other agents are made of one word of each list, and their
// departments come in turn.
var (
	agentFields = [18]string{"Invoice", "Contract", "Ticket", "Release", "Lead", "Churn", "Onboarding", "Inventory",
		"Hiring", "Travel", "Compliance", "Security", "Quality", "Pricing", "Forecast", "Survey", "Outreach", "Renewal"}
	agentRoles = [18]string{"Triage", "Writer", "Checker", "Digest", "Router", "Planner", "Watcher", "Scorer",
		"Translator", "Tagger", "Reporter", "Scheduler", "Matcher", "Auditor", "Explainer", "Cleaner", "Tracker", "Coach"}
)

// agents returns all agents of a tenant: those with a name of their own, then
// the others, whose costs fall like 1/n.
func (p *profile) agents() []agentSpec {
	out := append([]agentSpec(nil), p.named...)
	const flatten = 3 // the first of the others costs 1/4 of a unit, not the lot
	var units int64
	for i := range p.restCount {
		units += unit * unit / (i + 1 + flatten)
	}
	for i := range p.restCount {
		home := p.named[int(i)%len(p.named)]
		role := agentRoles[(i+i/18)%18]
		out = append(out, agentSpec{
			name: agentFields[i%18] + " " + role, department: home.department, costCenter: home.costCenter,
			cents: max(1, p.restCents*(unit*unit/(i+1+flatten))/units), size: 5 + i%5, mix: p.restMix,
		})
	}
	return out
}

// pair is an agent calling a model: what a call of it looks like and, as the
// generator goes on, what all of them came to.
type pair struct {
	model *modelSpec
	agent agentSpec
	// mean are the tokens of a usual call by bucket.
	mean [schemas.BucketCount]int64
	// upTo is the sum of weights of this pair and those before it.
	upTo uint64
	// source and names are constant parts of its events' JSON.
	source string
	names  string

	sum tally
}

// pairsOf returns the pairs of a tenant. A pair's weight is how many calls it
// takes to cost its share, in 1/1024 of a call.
func (p *profile) pairsOf() (pairs []pair, weight uint64) {
	for i, a := range p.agents() {
		for m, thousandths := range a.mix {
			model := &models[m]
			// 1e10 pico-USD are a cent: cents × mix/1000 × 1e10 × 1024, over the mean
			// cost of a call of this size. The numerator stays under 2^63.
			calls := uint64(a.cents*thousandths*10_000_000*unit) / uint64(model.meanPico()*a.size/8)
			if calls == 0 {
				continue
			}
			weight += calls
			pairs = append(pairs, p.newPair(i, a, model, weight))
		}
	}
	if p.unlistedOf > 0 {
		weight += weight / p.unlistedOf
		pairs = append(pairs, p.newPair(0, p.named[0], &models[unlisted], weight))
	}
	return pairs, weight
}

func (p *profile) newPair(i int, a agentSpec, model *modelSpec, upTo uint64) pair {
	x := pair{model: model, agent: a, upTo: upTo}
	x.source = "/runtime/" + p.Slug + "/" + string(rune('1'+i%3))
	x.names = `"provider":"` + model.provider + `","model":"` + model.id + `","department":"` + a.department +
		`","cost_center":"` + a.costCenter + `","agent":"` + a.name + `"`
	return x
}

// scale sets the tokens of a usual call so that ReferenceEvents events cost what
// the profiles say; calls is how many it would take at the models' own sizes, in
// 1/1024.
func (x *pair) scale(calls uint64) {
	for b := range x.mean {
		size := x.model.shape.mean[b] * x.agent.size / 8
		// Failed calls cost next to nothing; the others make up for it.
		x.mean[b] = size * int64(calls/unit) * errorsOf / (errorsOf - 1) / ReferenceEvents
	}
}
