package tenancy

import "slices"

// Scope is the proof of who asks: which tenant's data a call may touch and what
// it may do there. Only package auth makes one (a test walks the module and
// holds everybody else to that), so a query that takes a Scope cannot be reached
// without authentication. The zero Scope may do nothing.
type Scope struct {
	tenantID string
	platform bool
	actor    string
	granted  [5]Permission // permissions are few; a value compares and copies
}

// ScopeOf makes a Scope for a tenant, or for the platform when tenantID is "".
// The actor goes into the audit log, for instance "key:abcd2345".
//
// It is called by internal/auth alone, and by tests.
func ScopeOf(tenantID, actor string, granted ...Permission) Scope {
	s := Scope{tenantID: tenantID, platform: tenantID == "", actor: actor}
	n := 0
	for _, p := range granted {
		if !p.Known() {
			panic("tenancy: a scope with an unknown permission; validate keys before they are stored")
		}
		if !slices.Contains(s.granted[:n], p) {
			s.granted[n] = p
			n++
		}
	}
	return s
}

// TenantID is the tenant whose data this scope reaches. It is "" for the
// platform, which must choose one with For before it touches usage.
func (s Scope) TenantID() string { return s.tenantID }

// IsPlatform reports whether the scope reaches every tenant.
func (s Scope) IsPlatform() bool { return s.platform }

// Allows reports whether the scope has the permission.
func (s Scope) Allows(p Permission) bool { return p != "" && slices.Contains(s.granted[:], p) }

// Actor says who it is in the audit log.
func (s Scope) Actor() string { return s.actor }

// For narrows the scope to one tenant, with the same permissions. A tenant's own
// scope can be narrowed to that tenant only; everything else is ErrNotFound,
// whether the tenant exists or not.
func (s Scope) For(tenantID string) (Scope, error) {
	switch {
	case tenantID == "":
		return Scope{}, ErrNotFound
	case s.platform:
		s.tenantID, s.platform = tenantID, false
		return s, nil
	case s.tenantID == tenantID:
		return s, nil
	}
	return Scope{}, ErrNotFound
}
