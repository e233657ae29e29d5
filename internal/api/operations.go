package api

import (
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/onboarding"
	"github.com/agentik-os/panda/internal/tenancy"
)

// registerOperations adds the routes for starting a tenant, for its levels, and for
// whoever looks into what a tenant reports.
func (a *API) registerOperations(s *httpapi.Server) {
	a.templates = onboarding.Default()
	read, admin := tenancy.PermissionRead, tenancy.PermissionAdmin
	s.Handle("GET /v1/tenants/{tenant}/usage-levels", read, a.usageLevels)
	s.Handle("GET /v1/templates", read, a.listTemplates)
	s.Handle("POST /v1/tenants/{tenant}/provision", admin, a.provision)
	s.Handle("DELETE /v1/tenants/{tenant}/sample-data", admin, a.removeSample)
	s.Handle("GET /v1/debug/user-sessions/{user}", admin, a.userSessions)
	s.Handle("GET /v1/debug/slow-queries", admin, a.slowQueries)
	s.Handle("GET /v1/audit/queries", admin, a.auditQueries)
}
