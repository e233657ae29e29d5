package httpapi

import (
	"net/http"
	"time"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Tenants serves the registry of tenants and keys.
type Tenants struct {
	Registry *tenancy.Registry
	Cursors  Cursors
}

// Register adds the routes to a server.
func (t *Tenants) Register(s *Server) {
	s.Handle("POST /v1/tenants", tenancy.PermissionAdmin, t.create)
	s.Handle("GET /v1/tenants", tenancy.PermissionAdmin, t.list)
	s.Handle("GET /v1/tenants/{tenant}", tenancy.PermissionRead, t.get)
	s.Handle("POST /v1/tenants/{tenant}/keys", tenancy.PermissionAdmin, t.createKey)
	s.Handle("GET /v1/tenants/{tenant}/keys", tenancy.PermissionAdmin, t.listKeys)
	s.Handle("DELETE /v1/keys/{id}", tenancy.PermissionAdmin, t.revokeKey)
}

// PlatformOnly refuses a tenant's own key on a route of the platform. Such a route
// is about no tenant, so the refusal tells nothing about one.
func PlatformOnly(scope tenancy.Scope) error {
	if scope.IsPlatform() {
		return nil
	}
	return Problem{Status: http.StatusForbidden, Code: "platform_only", Detail: "this is about the whole platform; use a key of the platform, such as the one in admin.key"}
}

func actorOf(scope tenancy.Scope, r *http.Request) tenancy.Actor {
	a := tenancy.Actor{ID: scope.Actor()}
	if ip := RemoteIP(r); ip.IsValid() {
		a.IP = ip.String()
	}
	return a
}

// tenantRequest is the body of POST /v1/tenants. Status, id and the rest are not
// the caller's to set.
type tenantRequest struct {
	Name             string         `json:"name"`
	Slug             string         `json:"slug"`
	Plan             string         `json:"plan"`
	BillingEmail     string         `json:"billing_email"`
	MonthlyBudget    *schemas.Money `json:"monthly_budget"`
	MaxMonthlyTokens int64          `json:"max_monthly_tokens"`
}

type tenantView struct {
	ID               string         `json:"id"`
	Name             string         `json:"name"`
	Slug             string         `json:"slug"`
	Plan             tenancy.Plan   `json:"plan"`
	Status           tenancy.Status `json:"status"`
	BillingEmail     string         `json:"billing_email,omitempty"`
	MonthlyBudget    *schemas.Money `json:"monthly_budget"`
	MaxMonthlyTokens int64          `json:"max_monthly_tokens"`
	CreatedAt        time.Time      `json:"created_at"`
	UpdatedAt        time.Time      `json:"updated_at"`
}

func viewOf(t *tenancy.Tenant) tenantView {
	v := tenantView{ID: t.ID, Name: t.Name, Slug: t.Slug, Plan: t.Plan, Status: t.Status, BillingEmail: t.BillingEmail,
		MaxMonthlyTokens: t.MaxMonthlyTokens, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt}
	if t.HasBudget {
		v.MonthlyBudget = &t.MonthlyBudget
	}
	return v
}

func (t *Tenants) create(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := PlatformOnly(scope); err != nil {
		return err
	}
	var body tenantRequest
	if err := DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	n := tenancy.NewTenant{Name: body.Name, Slug: body.Slug, Plan: tenancy.Plan(body.Plan), BillingEmail: body.BillingEmail,
		MaxMonthlyTokens: body.MaxMonthlyTokens, RequestKey: r.Header.Get("Idempotency-Key")}
	if body.MonthlyBudget != nil {
		n.MonthlyBudget, n.HasBudget = *body.MonthlyBudget, true
	}
	made, replayed, err := t.Registry.CreateTenant(r.Context(), actorOf(scope, r), n)
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	w.Header().Set("Location", "/v1/tenants/"+made.ID)
	WriteJSON(w, http.StatusCreated, viewOf(&made))
	return nil
}

// page is a list on the wire.
type page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty"`
}

func (t *Tenants) list(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := PlatformOnly(scope); err != nil {
		return err
	}
	limit, err := PageSize(r)
	if err != nil {
		return err
	}
	after, err := t.Cursors.Decode(scope, "tenants", r.URL.Query().Get("cursor"))
	if err != nil {
		return err
	}
	found := t.Registry.ListAfter(after, limit+1)
	answer := page[tenantView]{Items: []tenantView{}}
	if len(found) > limit {
		found = found[:limit]
		answer.NextCursor = t.Cursors.Encode(scope, "tenants", found[limit-1].Slug)
	}
	for i := range found {
		answer.Items = append(answer.Items, viewOf(&found[i]))
	}
	WriteJSON(w, http.StatusOK, answer)
	return nil
}

func (t *Tenants) get(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	found, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	WriteJSON(w, http.StatusOK, viewOf(&found))
	return nil
}

type keyRequest struct {
	Name   string               `json:"name"`
	Scopes []tenancy.Permission `json:"scopes"`
}

type keyView struct {
	ID        string               `json:"id"`
	TenantID  string               `json:"tenant_id,omitempty"`
	Name      string               `json:"name"`
	Scopes    []tenancy.Permission `json:"scopes"`
	CreatedAt time.Time            `json:"created_at"`
	RevokedAt *time.Time           `json:"revoked_at,omitempty"`
	// Key is the secret, in the answer to its creation and never again.
	Key string `json:"key,omitempty"`
}

func viewOfKey(k *tenancy.Key) keyView {
	v := keyView{ID: k.ID, TenantID: k.TenantID, Name: k.Name, Scopes: k.Scopes, CreatedAt: k.CreatedAt}
	if k.Revoked() {
		v.RevokedAt = &k.RevokedAt
	}
	return v
}

func (t *Tenants) createKey(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	var body keyRequest
	if err := DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	secret, key, err := auth.Issue(r.Context(), t.Registry, actorOf(scope, r), owner.ID, body.Name, body.Scopes...)
	if err != nil {
		return err
	}
	v := viewOfKey(&key)
	v.Key = secret.Reveal()
	WriteJSON(w, http.StatusCreated, v)
	return nil
}

func (t *Tenants) listKeys(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	owner, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	answer := page[keyView]{Items: []keyView{}}
	for _, k := range t.Registry.KeysOf(owner.ID) {
		answer.Items = append(answer.Items, viewOfKey(&k))
	}
	WriteJSON(w, http.StatusOK, answer)
	return nil
}

func (t *Tenants) revokeKey(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	key, err := t.Registry.RevokeKey(r.Context(), scope, actorOf(scope, r).IP, r.PathValue("id"))
	if err != nil {
		return err
	}
	WriteJSON(w, http.StatusOK, viewOfKey(&key))
	return nil
}
