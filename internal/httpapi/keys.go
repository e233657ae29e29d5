package httpapi

import (
	"net/http"
	"slices"
	"time"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/tenancy"
)

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
	ExpiresAt *time.Time           `json:"expires_at,omitempty"`
	RotatedTo string               `json:"rotated_to,omitempty"`
	// Key is the secret, in the answer to its creation and never again.
	Key string `json:"key,omitempty"`
}

func viewOfKey(k *tenancy.Key) keyView {
	v := keyView{ID: k.ID, TenantID: k.TenantID, Name: k.Name, Scopes: k.Scopes, CreatedAt: k.CreatedAt}
	if k.Revoked() {
		v.RevokedAt = &k.RevokedAt
	}
	if !k.ExpiresAt.IsZero() {
		v.ExpiresAt, v.RotatedTo = &k.ExpiresAt, k.RotatedTo
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
	granted := slices.DeleteFunc(slices.Clone(body.Scopes), func(p tenancy.Permission) bool { return p == tenancy.PermissionOwner }) // which no key of a tenant has
	if err := mayGrant(scope, granted); err != nil {
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
	return listed(t, w, r, scope, "keys", t.Registry.KeysOf, func(k tenancy.Key) string { return k.ID },
		func(k tenancy.Key) keyView { return viewOfKey(&k) })
}

func (t *Tenants) revokeKey(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	key, err := t.Registry.RevokeKey(r.Context(), scope, actorOf(scope, r).IP, r.PathValue("id"))
	if err != nil {
		return err
	}
	WriteJSON(w, http.StatusOK, viewOfKey(&key))
	return nil
}

// rotateKey gives a key a successor with the same name and scopes. The old one works
// beside it for a while, so that nothing stops while the new one is rolled out.
func (t *Tenants) rotateKey(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	var body struct {
		OverlapSeconds int64 `json:"overlap_seconds"`
	}
	if r.ContentLength != 0 {
		if err := DecodeJSON(w, r, 0, &body); err != nil {
			return err
		}
	}
	overlap := time.Duration(min(max(body.OverlapSeconds, -1), int64(2*tenancy.RotateOverlapMax/time.Second))) * time.Second
	old, err := t.Registry.ReachableKey(scope, r.PathValue("id"), overlap)
	if err != nil {
		return err
	}
	if scope.Actor() != "key:"+old.ID {
		if err := t.mayHave(scope, &old); err != nil {
			return err
		}
	}
	secret, key, err := auth.IssueKey(r.Context(), t.Registry, actorOf(scope, r),
		tenancy.NewKey{TenantID: old.TenantID, Name: old.Name, Scopes: old.Scopes, MemberID: old.MemberID})
	if err != nil {
		return err
	}
	old, err = t.Registry.RotateKey(r.Context(), scope, actorOf(scope, r).IP, old.ID, key.ID, overlap)
	if err != nil {
		return err
	}
	v := viewOfKey(&key)
	v.Key = secret.Reveal()
	WriteJSON(w, http.StatusCreated, struct {
		keyView
		Old keyView `json:"old"`
	}{v, viewOfKey(&old)})
	return nil
}

// mayHave refuses who would get more than they have with the secret of a key's successor:
// a scope, or what an owner may do.
func (t *Tenants) mayHave(scope tenancy.Scope, k *tenancy.Key) error {
	if m, ok := t.Registry.MemberByID(k.TenantID, k.MemberID); ok {
		if err := mayTouch(scope, m.Role); err != nil {
			return err
		}
	}
	return mayGrant(scope, k.Scopes)
}
