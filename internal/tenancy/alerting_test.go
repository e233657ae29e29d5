package tenancy

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/contact"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

func withKey(t *testing.T, log Log) *Registry {
	r := start(t, log)
	r.cfg.ChannelKey = contact.NewKey([]byte("a key that all nodes have"))
	return r
}

func hook(name string) contact.Draft {
	return contact.Draft{Channel: contact.Channel{Name: name, Type: contact.Webhook, Severity: "warning"}, Address: "https://hooks.acme.com/panda", Secret: "whsec_top secret"}
}

// TestChannelsAreKeptSealed: nobody who reads the log or the audit log finds a secret,
// and every node with the key does.
func TestChannelsAreKeptSealed(t *testing.T) {
	log := eventlogtest.Open(t)
	here, there := withKey(t, log), withKey(t, log)
	tenant := create(t, here, acme(""))
	made, secret, err := here.AddChannel(t.Context(), someone, tenant.ID, hook("Ops"))
	if err != nil || secret != "whsec_top secret" || !strings.HasPrefix(made.ID, "chn_") || made.Sealed != "" || made.URL != "https://hooks.acme.com/panda" {
		t.Fatalf("made %+v with secret %q: %v", made, secret, err)
	}
	slack, _, err := here.AddChannel(t.Context(), someone, "", contact.Draft{Channel: contact.Channel{Name: "Team", Type: contact.Slack}, Address: "https://hooks.slack.com/services/T1/B2/password"})
	if err != nil || slack.URL != "https://hooks.slack.com/…" {
		t.Fatalf("made %+v: %v", slack, err)
	}
	if err := there.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, address, got, err := there.OpenChannel(tenant.ID, made.ID); err != nil || got != secret || address != made.URL {
		t.Errorf("the other node opens %q and %q: %v", address, got, err)
	}
	if _, address, _, err := there.OpenChannel("", slack.ID); err != nil || !strings.HasSuffix(address, "password") {
		t.Errorf("the other node opens %q: %v", address, err)
	}
	// What is sealed for one tenant opens for no other.
	stolen := there.Alerting(tenant.ID).Channels[0]
	if _, _, err := stolen.Open(there.cfg.ChannelKey, "ten_other"); !errors.Is(err, contact.ErrSealed) {
		t.Errorf("opened elsewhere: %v", err)
	}
	_, err = here.UpdateChannel(t.Context(), someone, tenant.ID, made.ID, func(d *contact.Draft) error {
		d.Secret, d.Disabled = "whsec_another secret", true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if c, address, got, err := here.OpenChannel(tenant.ID, made.ID); err != nil || got != "whsec_another secret" || address != made.URL || !c.Disabled {
		t.Errorf("after the change %+v, %q and %q: %v", c, address, got, err)
	}
	entries, _, err := here.Audit(t.Context(), ScopeOf("", "test", PermissionAdmin), AuditQuery{Action: "channel.", Limit: 10})
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d entries: %v", len(entries), err)
	}
	want := map[string]AuditChange{made.ID + ".disabled": {From: false, To: true}, made.ID + ".secret": {From: "set", To: "replaced"}}
	if diff := cmp.Diff(want, entries[0].Changes); diff != "" {
		t.Error(diff)
	}
	_, err = log.Find(t.Context(), schemas.StreamControl, []string{"control.alerting.*"}, ^uint64(0), func(rec *eventlog.Record) error {
		if bytes.Contains(rec.Data, []byte("secret\":\"whsec")) || bytes.Contains(rec.Data, []byte("top secret")) || bytes.Contains(rec.Data, []byte("B2/password")) {
			t.Errorf("record %d shows a secret: %s", rec.Seq, rec.Data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestChannelsOfATenant(t *testing.T) {
	log := eventlogtest.Open(t)
	r := withKey(t, log)
	r.cfg.CheckChannel = func(kind, address, secret string) error {
		if address != "https://hooks.acme.com/panda" {
			return schemas.Invalid("/url", schemas.CodeNotAllowed, "%q leads into a private network", address)
		}
		return nil
	}
	tenant := create(t, r, acme(""))
	add := func(d contact.Draft) error { _, _, err := r.AddChannel(t.Context(), someone, tenant.ID, d); return err }
	if err := add(hook("Ops")); err != nil {
		t.Fatal(err)
	}
	inside := hook("Inside")
	inside.Address = "https://10.0.0.1/"
	mail := contact.Draft{Channel: contact.Channel{Type: contact.Email, Name: "Mail"}}
	for _, row := range []struct {
		d    contact.Draft
		want string
	}{
		{hook("Ops"), "a channel is called Ops already"},
		{hook(""), "/name"},
		{inside, "/url"},
		{mail, "/to"},
		{contact.Draft{Channel: contact.Channel{Name: "x", Type: "pigeon"}}, "/type"},
		{contact.Draft{Channel: contact.Channel{Name: "x", Type: contact.Email, To: []string{"a@b.c", "A@b.c", "nobody"}}}, "/to/1 /to/2"},
		{contact.Draft{Channel: contact.Channel{Name: "x", Type: contact.Email, Roles: []contact.Role{"boss"}, Severity: "dire", Digest: "weekly"}}, "/roles/0 /severity /digest"},
		{contact.Draft{Channel: contact.Channel{Name: "x", Type: contact.Email, Roles: []contact.Role{contact.Owners}, Quiet: &contact.QuietHours{From: "7:00", To: "25:00", Zone: "Local"}}}, "/quiet_hours/from /quiet_hours/to /quiet_hours/zone"},
	} {
		if err := add(row.d); err == nil || !containsAll(err.Error()+pointersOf(err), row.want) {
			t.Errorf("%+v: %v", row.d, err)
		}
	}
	// What is muted is muted until then; what is over goes with the next change.
	until := time.Now().Add(time.Hour)
	m, err := r.Mute(t.Context(), someone, tenant.ID, contact.Mute{Limit: "monthly_budget", Until: until})
	settings := r.Alerting(tenant.ID)
	if err != nil || !settings.Muted("alr_1", "threshold", "monthly_budget", "", until.Add(-time.Minute)) ||
		settings.Muted("alr_1", "threshold", "monthly_budget", "", until) || settings.Muted("alr_1", "threshold", "monthly_tokens", "", until.Add(-time.Minute)) {
		t.Errorf("muted by %+v: %v", m, err)
	}
	if _, err := r.Mute(t.Context(), someone, tenant.ID, contact.Mute{Until: until}); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a mute of nothing: %v", err)
	}
	if err := r.Unmute(t.Context(), someone, tenant.ID, m.ID); err != nil || len(r.Alerting(tenant.ID).Mutes) != 0 {
		t.Errorf("unmute: %v", err)
	}
	id := r.Alerting(tenant.ID).Channels[0].ID
	if err := r.RemoveChannel(t.Context(), someone, tenant.ID, id); err != nil || len(r.Alerting(tenant.ID).Channels) != 0 {
		t.Errorf("remove: %v", err)
	}
	if err := r.RemoveChannel(t.Context(), someone, tenant.ID, id); !errors.Is(err, ErrNotFound) {
		t.Errorf("remove again: %v", err)
	}
}

func containsAll(text, words string) bool {
	for _, w := range strings.Split(words, "|") {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// pointersOf lists the fields of an error.
func pointersOf(err error) string {
	var fields []string
	var walk func(error)
	walk = func(err error) {
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range many.Unwrap() {
				walk(e)
			}
			return
		}
		var field *schemas.FieldError
		if errors.As(err, &field) {
			fields = append(fields, field.Pointer)
		}
	}
	walk(err)
	return strings.Join(fields, " ")
}

// TestChannelsAreErasedWithTheTenant: the fold keeps nothing, and the erasure knows the
// subject.
func TestChannelsAreErasedWithTheTenant(t *testing.T) {
	log := eventlogtest.Open(t)
	r := withKey(t, log)
	tenant := create(t, r, acme(""))
	if _, _, err := r.AddChannel(t.Context(), someone, tenant.ID, hook("Ops")); err != nil {
		t.Fatal(err)
	}
	if subjects := SubjectsOf(&tenant); !strings.Contains(strings.Join(subjects, " "), "control.alerting."+tenant.ID) {
		t.Errorf("an erasure knows %v", subjects)
	}
	if _, err := r.Delete(t.Context(), someone, tenant.ID, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.BeginErasure(t.Context(), someone, tenant.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Erased(t.Context(), someone, tenant.ID, json.RawMessage("{}")); err != nil {
		t.Fatal(err)
	}
	if s := r.Alerting(tenant.ID); len(s.Channels) != 0 {
		t.Errorf("left: %+v", s)
	}
	if _, _, err := r.AddChannel(t.Context(), someone, tenant.ID, hook("Ops")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a channel of an erased tenant: %v", err)
	}
}
