package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/onboarding"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// CodeQuotaExceeded is the code of a refusal for want of room in a quota.
const CodeQuotaExceeded = "quota_exceeded"

// generationsMax bounds how often sample data can be taken away and brought back.
const generationsMax = 100

// agentsView says what became of the number of agents.
type agentsView struct {
	// Level is the tenant's number of agents now.
	Level int64 `json:"level"`
	// Recorded: it was set by this request.
	Recorded bool `json:"recorded"`
	// Detail says why not.
	Detail string `json:"detail,omitempty"`
}

// sampleView says what became of the sample conversations.
type sampleView struct {
	Conversations int       `json:"conversations"`
	Messages      int       `json:"messages"`
	Added         int       `json:"messages_added"`
	Generation    int       `json:"generation"`
	From          time.Time `json:"from"`
	To            time.Time `json:"to"`
	// Cost is zero for ever: the messages hold nothing that has a price.
	Cost schemas.Money `json:"cost"`
}

type provisionView struct {
	Tenant   tenantRef            `json:"tenant"`
	Template *onboarding.Template `json:"template"`
	Skills   []string             `json:"skills"`
	Agents   agentsView           `json:"agents"`
	Sample   *sampleView          `json:"sample_data,omitempty"`
}

// templates is GET /v1/templates.
func (a *API) listTemplates(w http.ResponseWriter, _ *http.Request, _ tenancy.Scope) error {
	return writeJSON(w, struct {
		Items onboarding.Templates `json:"items"`
	}{a.templates})
}

// provision is POST /v1/tenants/{tenant}/provision: it records how many agents the
// template has, unless a runtime has reported agents, and if asked adds the sample
// conversations. The configuration is the answer; the runtime and the dashboard carry
// it out. Repeating it changes nothing.
func (a *API) provision(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	var body struct {
		Template          string `json:"template"`
		IncludeSampleData bool   `json:"include_sample_data"`
	}
	if err := httpapi.DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	template, err := a.templates.Find(body.Template)
	if err != nil {
		return err
	}
	if err := mustBeServed(&tenant); err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	stages.settle(r.Context(), tenant.ID)
	answer := provisionView{Tenant: refOf(&tenant), Template: template, Skills: template.Skills()}
	job := provisioning{api: a, stages: stages, by: actorOf(scope, r), tenant: &tenant, template: template}
	if answer.Agents, err = job.recordAgents(r.Context()); err != nil {
		return err
	}
	if body.IncludeSampleData {
		if answer.Sample, err = job.addSample(r.Context()); err != nil {
			return err
		}
	}
	return writeJSON(w, answer)
}

func actorOf(scope tenancy.Scope, r *http.Request) tenancy.Actor {
	by := tenancy.Actor{ID: scope.Actor()}
	if ip := httpapi.RemoteIP(r); ip.IsValid() {
		by.IP = ip.String()
	}
	return by
}

// provisioning is what one request does to a tenant with a template.
type provisioning struct {
	api      *API
	stages   *Stages
	by       tenancy.Actor
	tenant   *tenancy.Tenant
	template *onboarding.Template
}

// submit asks once more whether the tenant is served, since what was looked up before took
// its time, notes in the audit log what is about to change, sends the events and waits
// until they are judged.
func (p *provisioning) submit(ctx context.Context, action string, to map[string]any, events []schemas.Event) error {
	if err := p.api.Registry.CatchUp(ctx); err != nil {
		return err
	}
	now, ok := p.api.Registry.ByID(p.tenant.ID)
	if !ok {
		return tenancy.ErrNotFound
	}
	if err := mustBeServed(&now); err != nil {
		return err
	}
	if err := p.api.Registry.Record(ctx, p.by, p.tenant.ID, action, to); err != nil {
		return err
	}
	seq, err := p.api.Submit(ctx, p.tenant.ID, events)
	if err != nil {
		return err
	}
	return p.stages.of(p.tenant.ID).Live.WaitFor(ctx, seq)
}

// The words of the audit log.
const (
	actionProvisioned   = "tenant.provisioned"
	actionSampleRemoved = "sample_data.removed"
)

// mustBeServed refuses to change the data of a tenant that is not served.
func mustBeServed(t *tenancy.Tenant) error {
	if t.Served() {
		return nil
	}
	return httpapi.Problem{Status: http.StatusConflict, Code: "tenant_not_served",
		Detail: fmt.Sprintf("the tenant %s is %s; resume or restore it first", t.Slug, t.Status)}
}

// recordAgents sets the number of agents to the template's, if nobody has said
// another.
func (p *provisioning) recordAgents(ctx context.Context) (agentsView, error) {
	levels, _, ok := p.stages.of(p.tenant.ID).Live.Levels(p.tenant.ID)
	if !ok {
		return agentsView{}, schemas.ErrUnavailable
	}
	for _, l := range levels {
		if l.Name == schemas.LevelAgents {
			return agentsView{Level: l.Value, Detail: "the number of agents is what was reported last; it is left as it is"}, nil
		}
	}
	want := int64(len(p.template.Agents))
	if limit := p.api.Registry.Quotas(p.tenant).MaxAgents; limit != tenancy.Unlimited && want > int64(limit) {
		return agentsView{}, httpapi.Problem{Status: http.StatusConflict, Code: CodeQuotaExceeded,
			Detail: fmt.Sprintf("Agent quota exceeded. Current: 0, Max: %d, and the template has %d. Upgrade your plan.", limit, want)}
	}
	earlier, err := p.stages.of(p.tenant.ID).Reader.Find(ctx, p.tenant.ID, onboarding.ProvisionSource, p.template.LevelID())
	if err != nil {
		return agentsView{}, err
	}
	if len(earlier) > 0 { // from so long ago that live levels do not go back to it
		return agentsView{Level: want, Detail: "it was recorded on " + earlier[0].Event.Timestamp().Format(time.DateOnly)}, nil
	}
	return agentsView{Level: want, Recorded: true}, p.submit(ctx, actionProvisioned,
		map[string]any{"template": p.template.Name, "agents": want}, []schemas.Event{p.template.AgentsLevel(p.api.Now())})
}

// addSample adds the conversations of the first generation that is not taken back.
func (p *provisioning) addSample(ctx context.Context) (*sampleView, error) {
	template := p.template
	generation := 1
	for ; ; generation++ {
		if generation > generationsMax {
			return nil, httpapi.Problem{Status: http.StatusConflict, Code: httpapi.CodeConflict,
				Detail: fmt.Sprintf("the sample data of %s was taken away %d times already; that is enough", template.Name, generationsMax)}
		}
		state, err := p.sampleState(ctx, generation)
		if err != nil {
			return nil, err
		}
		if state != sampleVoided {
			break
		}
	}
	events := template.Sample(p.tenant.CreatedAt, generation)
	known, err := p.stages.of(p.tenant.ID).Tables.Lookup(ctx, p.tenant.ID, onboarding.SampleSource, onboarding.IDs(events))
	if err != nil {
		return nil, err
	}
	if len(known) < len(events) {
		err := p.submit(ctx, actionProvisioned, map[string]any{"template": template.Name, "sample_messages": len(events)}, events)
		if err != nil {
			return nil, err
		}
	}
	view := &sampleView{Conversations: onboarding.Sessions(events), Messages: len(events), Added: len(events) - len(known), Generation: generation}
	view.From, view.To = span(events)
	return view, nil
}

// span is the first and the last time of events.
func span(events []schemas.Event) (from, to time.Time) {
	for i := range events {
		at := events[i].Timestamp()
		if from.IsZero() || at.Before(from) {
			from = at
		}
		if at.After(to) {
			to = at
		}
	}
	return from, to
}

// The states of a generation of sample data.
const (
	sampleAbsent = iota
	sampleThere
	sampleVoided
)

func (p *provisioning) sampleState(ctx context.Context, generation int) (int, error) {
	rows, err := p.stages.of(p.tenant.ID).Reader.Find(ctx, p.tenant.ID, onboarding.SampleSource, p.template.FirstID(generation))
	if err != nil {
		return sampleAbsent, err
	}
	state := sampleAbsent
	for i := range rows {
		if rows[i].Event.Type == schemas.TypeVoid {
			return sampleVoided, nil
		}
		state = sampleThere
	}
	return state, nil
}

// removeSample is DELETE /v1/tenants/{tenant}/sample-data: it takes every sample
// conversation of the tenant back, of all templates, each by a void. What was taken
// back before stays so.
func (a *API) removeSample(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	if err := mustBeServed(&tenant); err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	stages.settle(r.Context(), tenant.ID)
	answer := struct {
		Tenant        tenantRef `json:"tenant"`
		Conversations int       `json:"conversations"`
		Messages      int       `json:"messages"`
		Templates     []string  `json:"templates"`
	}{Tenant: refOf(&tenant), Templates: []string{}}
	for i := range a.templates {
		template := &a.templates[i]
		job := provisioning{api: a, stages: stages, by: actorOf(scope, r), tenant: &tenant, template: template}
		for generation := 1; generation <= generationsMax; generation++ {
			state, err := job.sampleState(r.Context(), generation)
			if err != nil {
				return err
			}
			if state == sampleAbsent {
				break
			}
			if state == sampleVoided {
				continue
			}
			events := template.Sample(tenant.CreatedAt, generation)
			// The void of the first message says that all are: it goes last, so that a
			// request that broke off is finished by the next one.
			voids := onboarding.Voids(append(events[1:len(events):len(events)], events[0]))
			err = job.submit(r.Context(), actionSampleRemoved, map[string]any{"template": template.Name, "sample_messages": len(voids)}, voids)
			if err != nil {
				return err
			}
			answer.Conversations += onboarding.Sessions(events)
			answer.Messages += len(events)
			answer.Templates = append(answer.Templates, template.Name)
		}
	}
	return writeJSON(w, answer)
}

// plural writes a count with its word.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%s %s", grouped(n), many)
}

// grouped is a whole number with commas.
func grouped(n int64) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return strings.TrimSpace(text)
}
