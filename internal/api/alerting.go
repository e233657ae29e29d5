package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/outbox"
	"github.com/agentik-os/panda/internal/contact"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Outbox hands alerts over; *outbox.Outbox is it.
type Outbox interface {
	Deliveries(q outbox.Query) (list []outbox.Delivery, next string)
	Replay(ctx context.Context, tenant, id string) (outbox.Delivery, error)
	Test(ctx context.Context, tenant, id string) (outbox.Delivery, error)
}

// registerAlerting adds the routes about who is told of alerts. The settings are a
// tenant's, or the platform's own for a key of the platform that names no tenant.
func (a *API) registerAlerting(s *httpapi.Server) {
	read, admin := tenancy.PermissionRead, tenancy.PermissionAdmin
	s.Handle("GET /v1/alerting/channels", read, a.channels)
	s.Handle("POST /v1/alerting/channels", admin, a.addChannel)
	s.Handle("PATCH /v1/alerting/channels/{channel}", admin, a.updateChannel)
	s.Handle("DELETE /v1/alerting/channels/{channel}", admin, a.removeChannel)
	s.Handle("POST /v1/alerting/channels/{channel}/test", admin, a.testChannel)
	s.Handle("GET /v1/alerting/mutes", read, a.mutes)
	s.Handle("POST /v1/alerting/mutes", admin, a.mute)
	s.Handle("DELETE /v1/alerting/mutes/{mute}", admin, a.unmute)
	s.Handle("GET /v1/alerting/deliveries", read, a.deliveries)
	s.Handle("POST /v1/alerting/deliveries/{delivery}/replay", admin, a.replayDelivery, httpapi.Unkeyed) // once it is on its way, it is refused
}

// channelBody is a channel as somebody asks for it; what is left out of a change stays.
type channelBody struct {
	Name       *string             `json:"name"`
	Type       string              `json:"type"`
	To         *[]string           `json:"to"`
	Roles      *[]contact.Role     `json:"roles"`
	URL        string              `json:"url"`
	Secret     string              `json:"secret"`
	Severity   *string             `json:"severity"`
	Rules      *[]string           `json:"rules"`
	Limits     *[]string           `json:"limits"`
	QuietHours *contact.QuietHours `json:"quiet_hours"`
	// NoQuietHours takes them away.
	NoQuietHours bool            `json:"no_quiet_hours"`
	Digest       *contact.Digest `json:"digest"`
	Disabled     *bool           `json:"disabled"`
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// fill changes a draft to what the body says.
func (b *channelBody) fill(d *contact.Draft) error {
	if b.Type != "" && d.Type != "" && b.Type != d.Type {
		return schemas.Invalid("/type", schemas.CodeNotAllowed, "a channel keeps its type; make another one")
	}
	if b.Type != "" {
		d.Type = b.Type
	}
	set(&d.Name, b.Name)
	set(&d.To, b.To)
	set(&d.Roles, b.Roles)
	set(&d.Severity, b.Severity)
	set(&d.Rules, b.Rules)
	set(&d.Limits, b.Limits)
	set(&d.Digest, b.Digest)
	set(&d.Disabled, b.Disabled)
	d.Address, d.Secret = b.URL, b.Secret
	if b.QuietHours != nil {
		d.Quiet = b.QuietHours
	}
	if b.NoQuietHours {
		d.Quiet = nil
	}
	return nil
}

// channelView is a channel without what is secret about it.
type channelView struct {
	ID         string              `json:"id"`
	Name       string              `json:"name"`
	Type       string              `json:"type"`
	To         []string            `json:"to,omitempty"`
	Roles      []contact.Role      `json:"roles,omitempty"`
	URL        string              `json:"url,omitempty"`
	HasSecret  bool                `json:"has_secret"`
	Severity   string              `json:"severity,omitempty"`
	Rules      []string            `json:"rules,omitempty"`
	Limits     []string            `json:"limits,omitempty"`
	QuietHours *contact.QuietHours `json:"quiet_hours,omitempty"`
	Digest     contact.Digest      `json:"digest,omitempty"`
	Disabled   bool                `json:"disabled"`
	CreatedAt  time.Time           `json:"created_at"`
	// Secret is there in the answer that made the channel, and never again.
	Secret string `json:"secret,omitempty"`
}

func viewOfChannel(c *contact.Channel) channelView {
	return channelView{ID: c.ID, Name: c.Name, Type: c.Type, To: c.To, Roles: c.Roles, URL: c.URL, HasSecret: c.HasSecret, Severity: c.Severity,
		Rules: c.Rules, Limits: c.Limits, QuietHours: c.Quiet, Digest: c.Digest, Disabled: c.Disabled, CreatedAt: c.CreatedAt.UTC()}
}

// channels is GET /v1/alerting/channels.
func (a *API) channels(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	settings := a.Registry.Alerting(owner)
	answer := struct {
		Channels []channelView `json:"channels"`
	}{Channels: []channelView{}}
	for i := range settings.Channels {
		shown := settings.Channels[i].Shown()
		answer.Channels = append(answer.Channels, viewOfChannel(&shown))
	}
	return writeJSON(w, answer)
}

// addChannel is POST /v1/alerting/channels.
func (a *API) addChannel(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	var body channelBody
	if err := httpapi.DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	var draft contact.Draft
	if err := body.fill(&draft); err != nil {
		return err
	}
	made, secret, err := a.Registry.AddChannel(r.Context(), actorOf(scope, r), owner, draft)
	if err != nil {
		return err
	}
	view := viewOfChannel(&made)
	view.Secret = secret
	httpapi.WriteJSON(w, http.StatusCreated, view)
	return nil
}

// updateChannel is PATCH /v1/alerting/channels/{channel}.
func (a *API) updateChannel(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	var body channelBody
	if err := httpapi.DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	changed, err := a.Registry.UpdateChannel(r.Context(), actorOf(scope, r), owner, r.PathValue("channel"), body.fill)
	if err != nil {
		return err
	}
	return writeJSON(w, viewOfChannel(&changed))
}

// removeChannel is DELETE /v1/alerting/channels/{channel}.
func (a *API) removeChannel(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	if err := a.Registry.RemoveChannel(r.Context(), actorOf(scope, r), owner, r.PathValue("channel")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// outbox returns who hands alerts over.
func (a *API) outbox() (Outbox, error) {
	if a.Outbox == nil {
		return nil, fmt.Errorf("nothing is sent here: %w", schemas.ErrUnavailable)
	}
	return a.Outbox, nil
}

// testChannel is POST /v1/alerting/channels/{channel}/test. That the receiver does not
// take it is an answer, and no error of this server's.
func (a *API) testChannel(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	if settings := a.Registry.Alerting(owner); r.PathValue("channel") != outbox.Default {
		if _, ok := settings.Channel(r.PathValue("channel")); !ok {
			return httpapi.NotFound()
		}
	}
	box, err := a.outbox()
	if err != nil {
		return err
	}
	d, err := box.Test(r.Context(), owner, r.PathValue("channel"))
	outcome := struct {
		Sent   bool   `json:"sent"`
		Reason string `json:"reason,omitempty"`
	}{Sent: err == nil && d.State == outbox.Sent, Reason: d.Reason}
	if err != nil {
		outcome.Reason = err.Error()
	}
	return writeJSON(w, outcome)
}

// mutes is GET /v1/alerting/mutes: those that are not over.
func (a *API) mutes(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	settings := a.Registry.Alerting(owner)
	answer := struct {
		Mutes []contact.Mute `json:"mutes"`
	}{Mutes: []contact.Mute{}}
	for i := range settings.Mutes {
		if m := &settings.Mutes[i]; a.Now().Before(m.Until) {
			answer.Mutes = append(answer.Mutes, *m)
		}
	}
	return writeJSON(w, answer)
}

// mute is POST /v1/alerting/mutes.
func (a *API) mute(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	var body struct {
		Alert  string    `json:"alert"`
		Rule   string    `json:"rule"`
		Limit  string    `json:"limit"`
		Name   string    `json:"name"`
		Until  time.Time `json:"until"`
		Reason string    `json:"reason"`
	}
	if err := httpapi.DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	if body.Alert != "" && a.Book != nil {
		of := owner
		if of == "" {
			of = alerting.Everyone
		}
		if _, ok := a.Book.Get(of, body.Alert); !ok {
			return schemas.Invalid("/alert", schemas.CodeUnknown, "there is no alert %q", body.Alert)
		}
	}
	made, err := a.Registry.Mute(r.Context(), actorOf(scope, r), owner, contact.Mute{
		Alert: body.Alert, Rule: body.Rule, Limit: body.Limit, Name: body.Name, Until: body.Until, Reason: body.Reason})
	if err != nil {
		return err
	}
	httpapi.WriteJSON(w, http.StatusCreated, made)
	return nil
}

// unmute is DELETE /v1/alerting/mutes/{mute}: by its id, or that of its alert.
func (a *API) unmute(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := a.tenantOrAll(r, scope)
	if err != nil {
		return err
	}
	if err := a.Registry.Unmute(r.Context(), actorOf(scope, r), owner, r.PathValue("mute")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deliveryView is a message to one receiver.
type deliveryView struct {
	ID        string            `json:"id"`
	Tenant    string            `json:"tenant,omitempty"`
	Alert     string            `json:"alert"`
	Kind      alerting.Kind     `json:"kind"`
	Severity  alerting.Severity `json:"severity"`
	Channel   string            `json:"channel"`
	Type      string            `json:"type"`
	To        string            `json:"to,omitempty"`
	State     outbox.State      `json:"state"`
	Reason    string            `json:"reason,omitempty"`
	Attempts  int               `json:"attempts"`
	Records   int               `json:"records"`
	CreatedAt time.Time         `json:"created_at"`
	NotBefore time.Time         `json:"not_before,omitzero"`
	EndedAt   time.Time         `json:"ended_at,omitzero"`
}

func viewOfDelivery(d *outbox.Delivery) deliveryView {
	v := deliveryView{ID: d.ID, Tenant: d.About, Alert: d.Alert, Kind: d.Kind, Severity: d.Severity, Channel: d.Channel, Type: d.Type, To: d.To,
		State: d.State, Reason: d.Reason, Attempts: d.Attempts, Records: len(d.Records), CreatedAt: d.CreatedAt.UTC(), NotBefore: d.NotBefore, EndedAt: d.EndedAt}
	if v.Tenant == alerting.Platform {
		v.Tenant = ""
	}
	return v
}

// deliveriesOf returns whose deliveries a request may see: a tenant its own channels', the
// platform all.
func (a *API) deliveriesOf(r *http.Request, scope tenancy.Scope) (string, error) {
	tenant, err := a.tenantOrAll(r, scope)
	if tenant == "" {
		tenant = alerting.Everyone
	}
	return tenant, err
}

// deliveries is GET /v1/alerting/deliveries.
func (a *API) deliveries(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.deliveriesOf(r, scope)
	if err != nil {
		return err
	}
	box, err := a.outbox()
	if err != nil {
		return err
	}
	values := r.URL.Query()
	q := outbox.Query{Tenant: tenant, State: outbox.State(values.Get("state")), Channel: values.Get("channel"), Alert: values.Get("alert")}
	switch q.State {
	case "", outbox.Pending, outbox.Waiting, outbox.Joined, outbox.Sent, outbox.Dead, outbox.Muted:
	default:
		return schemas.Invalid("/state", schemas.CodeUnknown, "use pending, waiting, joined, sent, dead or muted")
	}
	if q.Max, err = httpapi.PageSize(r); err != nil {
		return err
	}
	list := "deliveries\x00" + tenant
	if q.After, err = a.Cursors.Decode(scope, list, values.Get("cursor")); err != nil {
		return err
	}
	found, next := box.Deliveries(q)
	answer := struct {
		Deliveries []deliveryView `json:"deliveries"`
		NextCursor string         `json:"next_cursor,omitempty"`
	}{Deliveries: make([]deliveryView, len(found))}
	for i := range found {
		answer.Deliveries[i] = viewOfDelivery(&found[i])
	}
	if next != "" {
		answer.NextCursor = a.Cursors.Encode(scope, list, next)
	}
	return writeJSON(w, answer)
}

// replayDelivery is POST /v1/alerting/deliveries/{delivery}/replay: what was given up is
// sent again, with the id that it had.
func (a *API) replayDelivery(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.deliveriesOf(r, scope)
	if err != nil {
		return err
	}
	box, err := a.outbox()
	if err != nil {
		return err
	}
	d, err := box.Replay(r.Context(), tenant, r.PathValue("delivery"))
	switch {
	case errors.Is(err, outbox.ErrNotFound):
		return httpapi.NotFound()
	case errors.Is(err, outbox.ErrNotDead):
		return httpapi.Problem{Status: http.StatusConflict, Code: "delivery_not_dead",
			Detail: fmt.Sprintf("the delivery is %s; only what was given up is sent again", d.State)}
	case err != nil:
		return err
	}
	return writeJSON(w, viewOfDelivery(&d))
}
