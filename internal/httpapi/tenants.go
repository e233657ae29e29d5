package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Tenants serves the registry: tenants, plans, members, invitations, keys and the
// audit log.
type Tenants struct {
	Registry *tenancy.Registry
	Cursors  Cursors
	// PublicURL is where people reach this installation, without a slash at the end.
	PublicURL string
	// NewToken and ReadToken make and read the tokens of invitations. An error of
	// ReadToken is what the client is told.
	NewToken  func(tenantID, invitationID string, expires time.Time) string
	ReadToken func(token string) (tenantID, invitationID string, err error)
	// Identify says who signed in at the identity provider, without asking whether
	// they are a member of anything. Nil means that people do not sign in here: then
	// an invitation, and a signup, gives an API key.
	Identify func(r *http.Request) (Person, error)
	// OpenSignup lets everybody make a tenant; otherwise that takes the platform.
	OpenSignup bool
	// Authenticate is Config.Authenticate, for routes that need no credential but
	// take one.
	Authenticate func(*http.Request) (tenancy.Scope, error)
	// Spent returns what a tenant has spent in the current month, false while that is
	// not known: a budget below it is refused. Nil knows nothing.
	Spent func(tenantID string) (schemas.Money, bool)
	// Erase erases everything of a deleted tenant and records its certificate. Nil
	// refuses.
	Erase func(ctx context.Context, by tenancy.Actor, tenantID string, step Step) error
	// EraseUser takes a person out of a tenant's events, and returns the certificate.
	EraseUser func(ctx context.Context, by tenancy.Actor, tenantID, user string, step Step) (any, error)
	// Export writes everything of a tenant in a format, json, ndjson or zip.
	Export func(ctx context.Context, scope tenancy.Scope, tenantID string, w io.Writer, format string) error
	// Operations runs what takes long. Required with Erase.
	Operations *Operations
	// Now is the clock of invitations. Default time.Now.
	Now func() time.Time
}

// Register adds the routes to a server.
func (t *Tenants) Register(s *Server) {
	if t.Now == nil {
		t.Now = time.Now
	}
	// The registry keeps the keys of this one, on the log and for good.
	s.Handle("POST /v1/tenants", tenancy.PermissionAdmin, t.create, Unkeyed)
	s.Handle("GET /v1/tenants", tenancy.PermissionAdmin, t.list)
	s.Handle("GET /v1/tenants/{tenant}", tenancy.PermissionRead, t.get)
	s.Handle("PATCH /v1/tenants/{tenant}", tenancy.PermissionAdmin, t.patch)
	s.Handle("DELETE /v1/tenants/{tenant}", tenancy.PermissionOwner, t.delete)
	s.Handle("PUT /v1/tenants/{tenant}/plan", tenancy.PermissionOwner, t.changePlan)
	s.Handle("POST /v1/tenants/{tenant}/suspend", tenancy.PermissionAdmin, t.suspend)
	s.Handle("POST /v1/tenants/{tenant}/resume", tenancy.PermissionAdmin, t.resume)
	s.Handle("POST /v1/tenants/{tenant}/activate", tenancy.PermissionAdmin, t.activate)
	s.Handle("POST /v1/tenants/{tenant}/restore", tenancy.PermissionAdmin, t.restore)
	s.Handle("GET /v1/plans", tenancy.PermissionRead, t.plans)
	s.Handle("GET /v1/plans/{plan}", tenancy.PermissionRead, t.plan)
	s.Handle("POST /v1/tenants/{tenant}/keys", tenancy.PermissionAdmin, t.createKey)
	s.Handle("GET /v1/tenants/{tenant}/keys", tenancy.PermissionAdmin, t.listKeys)
	s.Handle("POST /v1/keys/{id}/rotate", tenancy.PermissionAdmin, t.rotateKey)
	s.Handle("DELETE /v1/keys/{id}", tenancy.PermissionAdmin, t.revokeKey)
	t.registerMembers(s)
	s.Handle("GET /v1/tenants/{tenant}/export", tenancy.PermissionAdmin, t.export)
	s.Handle("POST /v1/tenants/{tenant}/erase-user", tenancy.PermissionOwner, t.eraseUser)
	s.Handle("GET /v1/audit", tenancy.PermissionAdmin, t.audit)
	s.Handle("GET /v1/tenants/{tenant}/audit", tenancy.PermissionAdmin, t.auditOfTenant)
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
	Name             string           `json:"name"`
	Slug             string           `json:"slug"`
	OrgID            string           `json:"org_id"`
	Plan             string           `json:"plan"`
	BillingEmail     string           `json:"billing_email"`
	StripeCustomerID string           `json:"stripe_customer_id"`
	MonthlyBudget    *schemas.Money   `json:"monthly_budget"`
	DailyBudget      *schemas.Money   `json:"daily_budget"`
	Budgets          []tenancy.Budget `json:"budgets"`
	Quotas           quotasPatch      `json:"quotas"`
}

// quotasPatch are limits of a tenant's own; null goes back to the plan's.
type quotasPatch struct {
	MaxAgents             patch[tenancy.Limit] `json:"max_agents"`
	MaxMonthlyTokens      patch[tenancy.Limit] `json:"max_monthly_tokens"`
	MaxStorageGB          patch[tenancy.Limit] `json:"max_storage_gb"`
	MaxConcurrentSessions patch[tenancy.Limit] `json:"max_concurrent_sessions"`
	MaxAPICallsPerMinute  patch[tenancy.Limit] `json:"max_api_calls_per_minute"`
}

// on returns overrides with the patch applied.
func (q *quotasPatch) on(was tenancy.QuotaOverrides) tenancy.QuotaOverrides {
	next := tenancy.QuotaOverrides{}
	for name, limit := range was {
		next[name] = limit
	}
	for name, p := range map[tenancy.QuotaName]patch[tenancy.Limit]{
		tenancy.MaxAgents: q.MaxAgents, tenancy.MaxMonthlyTokens: q.MaxMonthlyTokens, tenancy.MaxStorageGB: q.MaxStorageGB,
		tenancy.MaxConcurrentSessions: q.MaxConcurrentSessions, tenancy.MaxAPICallsPerMinute: q.MaxAPICallsPerMinute,
	} {
		switch {
		case p.null:
			delete(next, name)
		case p.set:
			next[name] = p.value
		}
	}
	if len(next) == 0 {
		return nil
	}
	return next
}

// any reports whether the patch changes something.
func (q *quotasPatch) any() bool {
	return q.MaxAgents.set || q.MaxMonthlyTokens.set || q.MaxStorageGB.set || q.MaxConcurrentSessions.set || q.MaxAPICallsPerMinute.set
}

type tenantView struct {
	ID               string                 `json:"id"`
	Name             string                 `json:"name"`
	Slug             string                 `json:"slug"`
	OrgID            string                 `json:"org_id,omitempty"`
	Plan             tenancy.Plan           `json:"plan"`
	PlanVersion      int                    `json:"plan_version"`
	Status           tenancy.Status         `json:"status"`
	SuspendedReason  string                 `json:"suspended_reason,omitempty"`
	BillingEmail     string                 `json:"billing_email,omitempty"`
	StripeCustomerID string                 `json:"stripe_customer_id,omitempty"`
	MonthlyBudget    *schemas.Money         `json:"monthly_budget"`
	DailyBudget      *schemas.Money         `json:"daily_budget"`
	Budgets          []tenancy.Budget       `json:"budgets"`
	Quotas           tenancy.Quotas         `json:"quotas"`
	QuotaOverrides   tenancy.QuotaOverrides `json:"quota_overrides"`
	Isolation        tenancy.Isolation      `json:"isolation,omitempty"`
	DashboardURL     string                 `json:"dashboard_url,omitempty"`
	CreatedAt        time.Time              `json:"created_at,omitzero"`
	UpdatedAt        time.Time              `json:"updated_at"`
	TrialEndsAt      time.Time              `json:"trial_ends_at,omitzero"`
	DeletedAt        time.Time              `json:"deleted_at,omitzero"`
	EraseAt          time.Time              `json:"erase_at,omitzero"`
	ErasedAt         time.Time              `json:"erased_at,omitzero"`
	Certificate      json.RawMessage        `json:"certificate,omitempty"`
	Revision         uint64                 `json:"revision"`
}

func (t *Tenants) viewOf(of *tenancy.Tenant) tenantView {
	v := tenantView{ID: of.ID, Name: of.Name, Slug: of.Slug, OrgID: of.OrgID, Plan: of.Plan, PlanVersion: t.Registry.Plans().Version,
		Status: of.Status, SuspendedReason: of.SuspendedReason, BillingEmail: of.BillingEmail, StripeCustomerID: of.StripeCustomerID,
		Budgets: of.Budgets, Quotas: t.Registry.Quotas(of), QuotaOverrides: of.QuotaOverrides, Isolation: of.Isolation,
		CreatedAt: of.CreatedAt, UpdatedAt: of.UpdatedAt, DeletedAt: of.DeletedAt, EraseAt: of.EraseAt, ErasedAt: of.ErasedAt,
		Certificate: of.Certificate, Revision: of.Revision}
	if of.Slug != "" { // it goes when the tenant is erased, as all that may be empty here
		v.DashboardURL = t.PublicURL + "/t/" + of.Slug
	}
	if of.Status == tenancy.StatusTrial {
		v.TrialEndsAt = of.TrialEndsAt
	}
	if of.HasBudget {
		v.MonthlyBudget = &of.MonthlyBudget
	}
	if of.HasDailyBudget {
		v.DailyBudget = &of.DailyBudget
	}
	if v.Budgets == nil {
		v.Budgets = []tenancy.Budget{}
	}
	if v.QuotaOverrides == nil {
		v.QuotaOverrides = tenancy.QuotaOverrides{}
	}
	return v
}

// show answers with a tenant and its ETag.
func (t *Tenants) show(w http.ResponseWriter, status int, of *tenancy.Tenant) {
	w.Header().Set("ETag", eTag(of.Revision))
	WriteJSON(w, status, t.viewOf(of))
}

func (t *Tenants) create(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := PlatformOnly(scope); err != nil {
		return err
	}
	var body tenantRequest
	if err := DecodeJSON(w, r, 0, &body); err != nil {
		return err
	}
	n := tenancy.NewTenant{Name: body.Name, Slug: body.Slug, OrgID: body.OrgID, Plan: tenancy.Plan(body.Plan), BillingEmail: body.BillingEmail,
		StripeCustomerID: body.StripeCustomerID, Budgets: body.Budgets, QuotaOverrides: body.Quotas.on(nil),
		RequestKey: r.Header.Get("Idempotency-Key")}
	if body.MonthlyBudget != nil {
		n.MonthlyBudget, n.HasBudget = *body.MonthlyBudget, true
	}
	if body.DailyBudget != nil {
		n.DailyBudget, n.HasDailyBudget = *body.DailyBudget, true
	}
	made, replayed, err := t.Registry.CreateTenant(r.Context(), actorOf(scope, r), n)
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	w.Header().Set("Location", "/v1/tenants/"+made.ID)
	t.show(w, http.StatusCreated, &made)
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
	q := r.URL.Query()
	search := tenancy.Search{Status: tenancy.Status(q.Get("status")), Plan: tenancy.Plan(q.Get("plan")), Text: q.Get("q"), Limit: limit + 1}
	if err := t.checkSearch(&search); err != nil {
		return err
	}
	list := "tenants\x00" + q.Get("status") + "\x00" + q.Get("plan") + "\x00" + q.Get("q")
	if search.After, err = t.Cursors.Decode(scope, list, q.Get("cursor")); err != nil {
		return err
	}
	found := t.Registry.Search(search)
	answer := page[tenantView]{Items: []tenantView{}}
	if len(found) > limit {
		found = found[:limit]
		answer.NextCursor = t.Cursors.Encode(scope, list, found[limit-1].Slug)
	}
	for i := range found {
		answer.Items = append(answer.Items, t.viewOf(&found[i]))
	}
	WriteJSON(w, http.StatusOK, answer)
	return nil
}

func (t *Tenants) checkSearch(s *tenancy.Search) error {
	known := s.Status == ""
	for _, status := range tenancy.Statuses() {
		known = known || status == s.Status
	}
	if !known {
		return schemas.Invalid("/status", schemas.CodeUnknown, "use trial, active, suspended or deleted")
	}
	if _, ok := t.Registry.Plans().Find(s.Plan); s.Plan != "" && !ok {
		return schemas.Invalid("/plan", schemas.CodeUnknown, "there is no plan %s", s.Plan)
	}
	return nil
}

func (t *Tenants) get(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	found, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	t.show(w, http.StatusOK, &found)
	return nil
}

// tenantPatch is the body of PATCH /v1/tenants/{tenant}, a merge patch.
type tenantPatch struct {
	Name             patch[string]           `json:"name"`
	OrgID            patch[string]           `json:"org_id"`
	BillingEmail     patch[string]           `json:"billing_email"`
	StripeCustomerID patch[string]           `json:"stripe_customer_id"`
	MonthlyBudget    patch[schemas.Money]    `json:"monthly_budget"`
	DailyBudget      patch[schemas.Money]    `json:"daily_budget"`
	Budgets          patch[[]tenancy.Budget] `json:"budgets"`
	Quotas           quotasPatch             `json:"quotas"`
}

func (t *Tenants) patch(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	var body tenantPatch
	return t.change(w, r, scope, func() error { return DecodeJSON(w, r, 0, &body) }, func(id string, revision uint64) (tenancy.Tenant, error) {
		// What a tenant pays for is not its own to raise.
		if body.Quotas.any() || body.StripeCustomerID.set || body.OrgID.set {
			if err := PlatformOnly(scope); err != nil {
				return tenancy.Tenant{}, err
			}
		}
		if err := t.coversSpend(id, &body.MonthlyBudget); err != nil {
			return tenancy.Tenant{}, err
		}
		return t.Registry.UpdateTenant(r.Context(), actorOf(scope, r), id, revision, func(of *tenancy.Tenant) error {
			body.Name.to(&of.Name)
			body.OrgID.to(&of.OrgID)
			body.BillingEmail.to(&of.BillingEmail)
			body.StripeCustomerID.to(&of.StripeCustomerID)
			if p := body.MonthlyBudget; p.set {
				of.MonthlyBudget, of.HasBudget = p.value, !p.null
			}
			if p := body.DailyBudget; p.set {
				of.DailyBudget, of.HasDailyBudget = p.value, !p.null
			}
			body.Budgets.to(&of.Budgets)
			of.QuotaOverrides = body.Quotas.on(of.QuotaOverrides)
			return nil
		})
	})
}

// coversSpend refuses a budget that is spent already: it would throttle the tenant at
// once, which nobody means by it.
func (t *Tenants) coversSpend(id string, budget *patch[schemas.Money]) error {
	if !budget.set || budget.null || t.Spent == nil || budget.value.Sign() < 0 {
		return nil
	}
	if spent, known := t.Spent(id); known && budget.value.Cmp(spent) < 0 {
		return schemas.Invalid("/monthly_budget", schemas.CodeOutOfRange,
			"%s is below the %s that this month has cost already; give more, or suspend the tenant", budget.value.Display(), spent.Display())
	}
	return nil
}

// change finds the tenant of a request, reads its body and If-Match, and answers with
// what became of the tenant.
func (t *Tenants) change(w http.ResponseWriter, r *http.Request, scope tenancy.Scope, read func() error,
	apply func(id string, revision uint64) (tenancy.Tenant, error)) error {
	found, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	if read != nil {
		if err := read(); err != nil {
			return err
		}
	}
	changed, err := apply(found.ID, revision)
	if err != nil {
		return stale(revision, err)
	}
	t.show(w, http.StatusOK, &changed)
	return nil
}

func (t *Tenants) changePlan(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	var body struct {
		Plan       string `json:"plan"`
		KeepQuotas bool   `json:"keep_quotas"`
	}
	return t.change(w, r, scope, func() error { return DecodeJSON(w, r, 0, &body) }, func(id string, revision uint64) (tenancy.Tenant, error) {
		if !scope.IsPlatform() {
			// A tenant may buy more, and not give itself more: there has to be who pays,
			// and limits that the platform has set stay.
			if found, _ := t.Registry.ByID(id); found.StripeCustomerID == "" {
				return tenancy.Tenant{}, Problem{Status: http.StatusForbidden, Code: "no_customer",
					Detail: "a plan is changed by its owner once there is a customer at Stripe who pays for it; ask the platform"}
			}
			body.KeepQuotas = true
		}
		return t.Registry.ChangePlan(r.Context(), actorOf(scope, r), id, revision, tenancy.Plan(body.Plan), body.KeepQuotas)
	})
}

// transition is a change of state that only the platform may make.
func (t *Tenants) transition(w http.ResponseWriter, r *http.Request, scope tenancy.Scope,
	move func(ctx context.Context, by tenancy.Actor, id string, revision uint64) (tenancy.Tenant, error)) error {
	if err := PlatformOnly(scope); err != nil {
		return err
	}
	return t.change(w, r, scope, nil, func(id string, revision uint64) (tenancy.Tenant, error) {
		return move(r.Context(), actorOf(scope, r), id, revision)
	})
}

func (t *Tenants) suspend(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	if err := PlatformOnly(scope); err != nil {
		return err
	}
	var body struct {
		Reason string `json:"reason"`
	}
	read := func() error {
		if r.ContentLength == 0 {
			return nil
		}
		return DecodeJSON(w, r, 0, &body)
	}
	return t.change(w, r, scope, read, func(id string, revision uint64) (tenancy.Tenant, error) {
		return t.Registry.Suspend(r.Context(), actorOf(scope, r), id, revision, body.Reason)
	})
}

func (t *Tenants) resume(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	return t.transition(w, r, scope, t.Registry.Resume)
}

func (t *Tenants) activate(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	return t.transition(w, r, scope, t.Registry.Activate)
}

func (t *Tenants) restore(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	return t.transition(w, r, scope, t.Registry.Restore)
}

// delete is soft, unless it is said to be permanent and the slug is repeated.
func (t *Tenants) delete(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	switch permanent := r.URL.Query().Get("permanent"); permanent {
	case "true":
		return t.deleteForEver(w, r, scope)
	case "", "false":
	default:
		return schemas.Invalid("/permanent", schemas.CodeUnknown, "use true or false")
	}
	return t.change(w, r, scope, nil, func(id string, revision uint64) (tenancy.Tenant, error) {
		return t.Registry.Delete(r.Context(), actorOf(scope, r), id, revision)
	})
}

// deleteForEver deletes a tenant and erases everything of it. That goes on when the
// caller leaves; asked again, it is completed, and then answered with the certificate.
func (t *Tenants) deleteForEver(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	found, err := t.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	by := actorOf(scope, r)
	if found.Status != tenancy.StatusErased {
		if r.URL.Query().Get("confirm") != found.Slug {
			return schemas.Invalid("/confirm", schemas.CodeMissing, "this cannot be undone: repeat the tenant's slug as confirm=%s", found.Slug)
		}
		if t.Erase == nil {
			return Problem{Status: http.StatusNotImplemented, Code: "not_implemented", Detail: "this server cannot erase"}
		}
		if _, err := t.Registry.Delete(r.Context(), by, found.ID, revision); err != nil {
			return stale(revision, err)
		}
	}
	return t.Operations.Do(w, r, "erase", found.ID, "", func(ctx context.Context, step Step) (any, error) {
		if found.Status != tenancy.StatusErased {
			if err := t.Erase(ctx, by, found.ID, step); err != nil {
				return nil, err
			}
		}
		erased, _ := t.Registry.ByID(found.ID)
		return t.viewOf(&erased), nil
	})
}

// stale tells that a change was refused because of its If-Match.
func stale(revision uint64, err error) error {
	if revision != 0 && errors.Is(err, tenancy.ErrStale) {
		return Problem{Status: http.StatusPreconditionFailed, Code: CodePreconditionFailed,
			Detail: "the tenant has changed since the revision in If-Match; read it again and decide again"}
	}
	return err
}

func (t *Tenants) plans(w http.ResponseWriter, _ *http.Request, _ tenancy.Scope) error {
	catalog := t.Registry.Plans()
	w.Header().Set("ETag", eTag(uint64(catalog.Version)))
	WriteJSON(w, http.StatusOK, struct {
		Version int                 `json:"version"`
		Items   []tenancy.PlanTerms `json:"items"`
	}{catalog.Version, catalog.Plans})
	return nil
}

func (t *Tenants) plan(w http.ResponseWriter, r *http.Request, _ tenancy.Scope) error {
	catalog := t.Registry.Plans()
	terms, ok := catalog.Find(tenancy.Plan(r.PathValue("plan")))
	if !ok {
		return tenancy.ErrNotFound
	}
	w.Header().Set("ETag", eTag(uint64(catalog.Version)))
	WriteJSON(w, http.StatusOK, terms)
	return nil
}
