package main

import (
	"net/http"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/apidoc"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
)

// The route table of the whole program and the API's description name the same
// methods, paths and permissions, and the same routes take an Idempotency-Key.
func TestRoutesAreDescribed(t *testing.T) {
	t.Parallel()
	p := &pipeline{
		signing: []byte("a signing key for tests, 32 bytes"), alerts: &alerts{}, registry: tenancy.New(tenancy.Config{}, nil),
		server: httpapi.New(httpapi.Config{Addr: "127.0.0.1:0", Metrics: prometheus.NewRegistry(), Logger: zerolog.Nop(),
			Authenticate: func(*http.Request) (tenancy.Scope, error) { return tenancy.Scope{}, tenancy.ErrNotFound }}),
	}
	p.gateway = ingest.NewGateway(ingest.GatewayConfig{Key: p.signing}, usageLog{})
	p.routes(t.Context(), usageLog{})
	served := map[string]httpapi.Route{}
	for _, route := range p.server.Routes() {
		served[route.Pattern] = route
	}
	document, err := apidoc.Default()
	if err != nil {
		t.Fatal(err)
	}
	for i := range document.Operations {
		o := &document.Operations[i]
		route, ok := served[o.Pattern()]
		delete(served, o.Pattern())
		if !ok {
			t.Errorf("%s (%s) is described and not served", o.ID, o.Pattern())
			continue
		}
		if string(route.Permission) != o.Permission {
			t.Errorf("%s needs %q, described is %q", o.Pattern(), route.Permission, o.Permission)
		}
		// POST /v1/tenants keeps its keys itself, and public routes are not marked.
		takes := route.Keyed || o.ID == "createTenant" || route.Permission == "" && o.Method == "POST"
		described := slices.ContainsFunc(o.Parameters, func(p apidoc.Parameter) bool { return p.Name == "Idempotency-Key" })
		if takes != described {
			t.Errorf("%s takes an Idempotency-Key: %t, described: %t", o.Pattern(), takes, described)
		}
	}
	for pattern := range served {
		t.Errorf("%s is served and not described in schemas/openapi.yaml", pattern)
	}
}
