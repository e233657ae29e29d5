package api

import (
	"context"
	"strings"
	"testing"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

type gotProvision struct {
	Template struct {
		Name    string
		Agents  []struct{ Name, Model string }
		Widgets []struct{ Title, Query string }
	}
	Skills []string
	Agents struct {
		Level    int
		Recorded bool
		Detail   string
	}
	Sample *struct {
		Conversations int
		Messages      int
		Added         int `json:"messages_added"`
		Generation    int
		Cost          string
	} `json:"sample_data"`
}

const withSample = `{"template":"customer-support","include_sample_data":true}`

// The guide's: three agents, fifty conversations, skills and widgets. Repeating it
// changes nothing, nothing of it costs anything or uses tokens, and all of it can be
// taken back and brought in again.
func TestProvision(t *testing.T) {
	s := newStack(t)
	path := "/v1/tenants/acme-corp/provision"
	first := into[gotProvision](t, s.ask(s.acme.key, "POST", path, withSample))
	if len(first.Template.Agents) != 3 || len(first.Template.Widgets) == 0 || len(first.Skills) == 0 || first.Agents.Level != 3 || !first.Agents.Recorded {
		t.Errorf("%+v", first)
	}
	if first.Sample == nil || first.Sample.Conversations != 50 || first.Sample.Added != first.Sample.Messages || first.Sample.Messages < 100 || strings.Trim(first.Sample.Cost, "0.") != "" {
		t.Fatalf("sample %+v", first.Sample)
	}
	for _, w := range first.Template.Widgets { // what a widget asks is a question that is answered
		at := w.Query + map[bool]string{true: "&", false: "?"}[strings.Contains(w.Query, "?")] + "tenant=acme-corp"
		if a := s.get(s.acme.key, at); a.status != 200 {
			t.Errorf("widget %q asks %s: %d %s", w.Title, w.Query, a.status, a.body)
		}
	}
	type sums struct {
		Total struct {
			Calls    int
			Unpriced int
			Tokens   int `json:"tokens_total"`
			Cost     string
		}
	}
	usage := func() (calls int) {
		t.Helper()
		created := s.acme.CreatedAt
		for _, month := range []string{created.AddDate(0, 0, -7).Format("2006-01"), created.Format("2006-01")} {
			if month == created.Format("2006-01") && created.AddDate(0, 0, -7).Month() == created.Month() && calls > 0 {
				continue
			}
			got := into[sums](t, s.get(s.platform, "/v1/usage?fresh=1&tenant=acme-corp&month="+month))
			if got.Total.Tokens != 0 || got.Total.Unpriced != 0 || strings.Trim(got.Total.Cost, "0.") != "" {
				t.Errorf("samples have %+v", got.Total)
			}
			calls += got.Total.Calls
		}
		return calls
	}
	if calls := usage(); calls != first.Sample.Messages {
		t.Errorf("%d messages count, want %d", calls, first.Sample.Messages)
	}

	again := into[gotProvision](t, s.ask(s.platform, "POST", path, withSample))
	if again.Sample.Added != 0 || again.Agents.Recorded || again.Agents.Level != 3 || usage() != first.Sample.Messages {
		t.Errorf("the second time %+v %+v, %d calls", again.Agents, again.Sample, usage())
	}

	type gotRemoved struct {
		Conversations, Messages int
		Templates               []string
	}
	remove := "/v1/tenants/acme-corp/sample-data"
	removed := into[gotRemoved](t, s.ask(s.acme.key, "DELETE", remove, ""))
	if removed.Conversations != 50 || removed.Messages != first.Sample.Messages || len(removed.Templates) != 1 {
		t.Errorf("removed %+v", removed)
	}
	if calls := usage(); calls != 0 {
		t.Errorf("%d calls are left", calls)
	}
	if removed := into[gotRemoved](t, s.ask(s.acme.key, "DELETE", remove, "")); removed.Messages != 0 {
		t.Errorf("removed again: %+v", removed)
	}
	back := into[gotProvision](t, s.ask(s.acme.key, "POST", path, withSample))
	if back.Sample.Generation != 2 || back.Sample.Added == 0 || usage() != back.Sample.Messages {
		t.Errorf("brought back: %+v", back.Sample)
	}
	// Who did it is in the audit log, and what changed nothing is not.
	type gotLog struct {
		Items []struct {
			Action, Actor, Outcome string
			Changes                map[string]struct{ To any }
		}
	}
	for action, want := range map[string]int{"tenant.provisioned": 3, "sample_data.removed": 1} {
		log := into[gotLog](t, s.get(s.platform, "/v1/tenants/acme-corp/audit?action="+action))
		if len(log.Items) != want {
			t.Errorf("%s: %+v, want %d", action, log, want)
		}
		for _, e := range log.Items {
			if !strings.HasPrefix(e.Actor, "key:") || e.Outcome != "ok" || e.Changes["template"].To != "customer-support" {
				t.Errorf("%+v", e)
			}
		}
	}
	for _, list := range []string{"/v1/conflicts", "/v1/quarantine"} {
		if a := s.get(s.platform, list); !strings.Contains(a.body, "[]") {
			t.Errorf("%s: %s", list, a.body)
		}
	}
}

// What a runtime has said about agents stands, and a template that does not fit is
// refused in the guide's words.
func TestProvisionAndAgents(t *testing.T) {
	s := newStack(t)
	s.send(s.acme.key, sample("l", s.now, `{"agents":12}`))
	got := into[gotProvision](t, s.ask(s.acme.key, "POST", "/v1/tenants/acme-corp/provision", `{"template":"code-review"}`))
	if got.Agents.Level != 12 || got.Agents.Recorded || got.Agents.Detail == "" || got.Sample != nil {
		t.Errorf("%+v", got)
	}
	limit := func(agents tenancy.Limit) {
		t.Helper()
		if _, err := s.registry.UpdateTenant(t.Context(), tenancy.Actor{ID: "test"}, s.beta.ID, 0, func(of *tenancy.Tenant) error {
			of.QuotaOverrides = tenancy.QuotaOverrides{tenancy.MaxAgents: agents}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	limit(2)
	p := wantProblem(t, s.ask(s.beta.key, "POST", "/v1/tenants/beta-industries/provision", withSample), 409, CodeQuotaExceeded, "")
	if !strings.HasPrefix(p.Detail, "Agent quota exceeded. Current: 0, Max: 2") {
		t.Errorf("detail %q", p.Detail)
	}
	if a := s.get(s.beta.key, "/v1/events"); !strings.Contains(a.body, `"events":[]`) {
		t.Errorf("a refused template left %s", a.body)
	}
	limit(3)
	if got := into[gotProvision](t, s.ask(s.beta.key, "POST", "/v1/tenants/beta-industries/provision", `{"template":"data-analysis"}`)); !got.Agents.Recorded {
		t.Errorf("%+v", got.Agents)
	}
}

func TestProvisionRefuses(t *testing.T) {
	s := newStack(t)
	path := "/v1/tenants/acme-corp/provision"
	wantProblem(t, s.ask(s.acme.key, "POST", path, `{"template":"support"}`), 422, "invalid", "/template")
	wantProblem(t, s.ask(s.acme.key, "POST", path, `{}`), 422, "invalid", "/template")
	wantProblem(t, s.ask(s.acme.key, "POST", path, `{"template":"code-review","agents":9}`), 422, "invalid", "/agents")
	wantProblem(t, s.ask(s.beta.key, "POST", path, withSample), 404, "not_found", "")
	if _, err := s.registry.Suspend(t.Context(), tenancy.Actor{ID: "test"}, s.acme.ID, 0, "unpaid"); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, s.ask(s.platform, "POST", path, withSample), 409, "tenant_not_served", "")
	wantProblem(t, s.ask(s.platform, "DELETE", "/v1/tenants/acme-corp/sample-data", ""), 409, "tenant_not_served", "")
	list := into[struct{ Items []struct{ Name string } }](t, s.get(s.beta.key, "/v1/templates"))
	if len(list.Items) < 3 {
		t.Errorf("templates %+v", list)
	}
}

// A tenant that is suspended while its template is prepared gets nothing of it.
func TestProvisionAsksAgain(t *testing.T) {
	s := newStack(t)
	suspend := func() {
		if _, err := s.registry.Suspend(context.Background(), tenancy.Actor{ID: "test"}, s.acme.ID, 0, "unpaid"); err != nil {
			t.Error(err)
		}
	}
	s.onStages.Store(&suspend)
	wantProblem(t, s.ask(s.platform, "POST", "/v1/tenants/acme-corp/provision", withSample), 409, "tenant_not_served", "")
	s.onStages.Store(nil)
	if got := s.get(s.platform, "/v1/tenants/acme-corp/audit?action=tenant.provisioned"); got.status != 200 || !strings.Contains(got.body, `"items":[]`) {
		t.Errorf("the audit log says %d %s", got.status, got.body)
	}
	if n, err := s.log.LastOf(t.Context(), schemas.StreamUsage, schemas.Shard{}.EnvelopeSubject(s.acme.ID)); err != nil || n != 0 {
		t.Errorf("events of the template are on the log, up to %d: %v", n, err)
	}
}
