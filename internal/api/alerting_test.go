package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/outbox"
	"github.com/agentik-os/panda/internal/tenancy"
)

// notedOutbox is an outbox with deliveries that a test has written down. The real one is
// tested in its package and with the whole program.
type notedOutbox struct {
	list   []outbox.Delivery
	tested []string
}

func (o *notedOutbox) Deliveries(q outbox.Query) (list []outbox.Delivery, next string) {
	for i := range o.list {
		d := &o.list[i]
		if (q.Tenant == alerting.Everyone || q.Tenant == d.Owner) && (q.State == "" || q.State == d.State) {
			list = append(list, *d)
		}
	}
	return list, ""
}

func (o *notedOutbox) Replay(_ context.Context, tenant, id string) (outbox.Delivery, error) {
	for i := range o.list {
		if d := &o.list[i]; d.ID == id && (tenant == alerting.Everyone || tenant == d.Owner) {
			if d.State != outbox.Dead {
				return *d, outbox.ErrNotDead
			}
			d.State = outbox.Pending
			return *d, nil
		}
	}
	return outbox.Delivery{}, outbox.ErrNotFound
}

func (o *notedOutbox) Test(_ context.Context, tenant, id string) (outbox.Delivery, error) {
	o.tested = append(o.tested, tenant+"/"+id)
	return outbox.Delivery{State: outbox.Dead, Reason: "the receiver answered 500"}, nil
}

// TestChannels: a tenant adds, changes, tries out and takes away its own channels; a
// secret is shown once, and somebody else's channel is not there.
func TestChannels(t *testing.T) {
	s := newStack(t)
	type channel struct {
		ID, Name, Type, URL, Secret, Severity string
		HasSecret                             bool `json:"has_secret"`
		Disabled                              bool
	}
	body := `{"name":"hook","type":"webhook","url":"https://hooks.acme.example/panda","severity":"warning","quiet_hours":{"from":"22:00","to":"07:00","zone":"Europe/Berlin"}}`
	a := s.ask(s.acme.key, "POST", "/v1/alerting/channels", body)
	if a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	made := decoded[channel](t, a)
	if !strings.HasPrefix(made.Secret, "whsec_") || !made.HasSecret || made.Severity != "warning" {
		t.Errorf("made %+v", made)
	}
	list := s.get(s.acme.key, "/v1/alerting/channels")
	if strings.Contains(list.body, made.Secret) || !strings.Contains(list.body, made.ID) {
		t.Errorf("the list is %s", list.body)
	}
	path := "/v1/alerting/channels/" + made.ID
	changed := into[channel](t, s.ask(s.acme.key, "PATCH", path, `{"name":"other","disabled":true,"no_quiet_hours":true}`))
	if changed.Name != "other" || !changed.Disabled || changed.URL != made.URL || changed.Secret != "" {
		t.Errorf("changed %+v", changed)
	}
	type tested struct {
		Sent   bool
		Reason string
	}
	outcome := into[tested](t, s.ask(s.acme.key, "POST", path+"/test", ""))
	if outcome.Sent || outcome.Reason != "the receiver answered 500" || fmt.Sprint(s.outbox.tested) != "["+s.acme.ID+"/"+made.ID+"]" {
		t.Errorf("tested %v: %+v", s.outbox.tested, outcome)
	}
	for _, method := range []string{"PATCH", "DELETE", "POST"} {
		p, b := path, ""
		switch method {
		case "PATCH":
			b = `{"name":"mine"}`
		case "POST":
			p += "/test"
		}
		if got := s.ask(s.beta.key, method, p, b); got.status != 404 {
			t.Errorf("%s of somebody else's: %d %s", method, got.status, got.body)
		}
	}
	wantProblem(t, s.ask(s.acme.key, "PATCH", path, `{"type":"slack"}`), 422, "invalid", "/type")
	wantProblem(t, s.ask(s.acme.key, "POST", "/v1/alerting/channels", `{"name":"x","type":"pigeon"}`), 422, "invalid", "/type")
	if got := s.ask(s.acme.key, "DELETE", path, ""); got.status != http.StatusNoContent {
		t.Errorf("taken away: %d %s", got.status, got.body)
	}
	if got := s.ask(s.acme.key, "DELETE", path, ""); got.status != 404 {
		t.Errorf("taken away again: %d %s", got.status, got.body)
	}
	if own := into[struct{ Channels []channel }](t, s.get(s.platform, "/v1/alerting/channels")); len(own.Channels) != 0 {
		t.Errorf("the platform has %+v", own)
	}
}

// TestMutes: what is muted is listed until it is taken back.
func TestMutes(t *testing.T) {
	s := newStack(t)
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	type mute struct{ ID, Limit, By string }
	a := s.ask(s.acme.key, "POST", "/v1/alerting/mutes", `{"limit":"monthly_budget","until":"`+until+`","reason":"we know"}`)
	if a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	made := decoded[mute](t, a)
	list := into[struct{ Mutes []mute }](t, s.get(s.acme.key, "/v1/alerting/mutes"))
	if len(list.Mutes) != 1 || list.Mutes[0].ID != made.ID || !strings.HasPrefix(list.Mutes[0].By, "key:") {
		t.Errorf("muted %+v", list)
	}
	wantProblem(t, s.ask(s.acme.key, "POST", "/v1/alerting/mutes", `{"alert":"alr_unknown","until":"`+until+`"}`), 422, "invalid", "/alert")
	if got := s.ask(s.beta.key, "DELETE", "/v1/alerting/mutes/"+made.ID, ""); got.status != 404 {
		t.Errorf("somebody else's: %d", got.status)
	}
	if got := s.ask(s.acme.key, "DELETE", "/v1/alerting/mutes/"+made.ID, ""); got.status != http.StatusNoContent {
		t.Errorf("taken back: %d %s", got.status, got.body)
	}
	entries, _, err := s.registry.Audit(t.Context(), tenancy.ScopeOf("", "key:test", tenancy.PermissionAdmin),
		tenancy.AuditQuery{TenantID: s.acme.ID, Action: "alert.", Limit: 10})
	if err != nil || len(entries) != 2 {
		t.Errorf("the audit log has %+v, %v", entries, err)
	}
}

// TestDeliveries: a tenant sees its own deliveries and sends again what was given up, once.
func TestDeliveries(t *testing.T) {
	s := newStack(t)
	record := []outbox.Ref{{Subject: "s", Seq: 1}}
	for _, d := range []outbox.Delivery{
		{ID: "dlv_a", Owner: s.acme.ID, State: outbox.Dead, Reason: "550 no such user"}, {ID: "dlv_b", Owner: s.beta.ID, State: outbox.Dead}, {ID: "dlv_s", Owner: s.acme.ID, State: outbox.Sent},
	} {
		d.About, d.Alert, d.Kind, d.Severity, d.Channel, d.Type, d.Records, d.CreatedAt = d.Owner, "alr_1", alerting.Fired, alerting.SeverityInfo, outbox.Default, "email", record, s.now
		s.outbox.list = append(s.outbox.list, d)
	}
	type page struct{ Deliveries []struct{ ID, State string } }
	for _, row := range []struct {
		key, query string
		want       int
	}{{s.acme.key, "", 2}, {s.acme.key, "?state=dead", 1}, {s.platform, "", 3}, {s.platform, "?tenant=" + s.beta.Slug, 1}} {
		if got := into[page](t, s.get(row.key, "/v1/alerting/deliveries"+row.query)); len(got.Deliveries) != row.want {
			t.Errorf("%q lists %+v", row.query, got)
		}
	}
	if got := s.get(s.acme.key, "/v1/alerting/deliveries?state=lost"); got.status != 422 {
		t.Errorf("an unknown state: %d", got.status)
	}
	if got := s.ask(s.acme.key, "POST", "/v1/alerting/deliveries/dlv_b/replay", ""); got.status != 404 {
		t.Errorf("somebody else's: %d", got.status)
	}
	if got := s.ask(s.acme.key, "POST", "/v1/alerting/deliveries/dlv_a/replay", ""); got.status != 200 || !strings.Contains(got.body, `"pending"`) {
		t.Errorf("sent again: %d %s", got.status, got.body)
	}
	wantProblem(t, s.ask(s.acme.key, "POST", "/v1/alerting/deliveries/dlv_a/replay", ""), 409, "delivery_not_dead", "")
}

// decoded reads the body of an answer that made something.
func decoded[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return v
}
