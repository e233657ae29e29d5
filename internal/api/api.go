package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/onboarding"
	"github.com/agentik-os/panda/internal/pricelist"
	"github.com/agentik-os/panda/internal/statement"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// Stages are what the API asks. They exist once the warehouse is open.
type Stages struct {
	// Shards are the parts that count, in order, each for a part of the tenants.
	Shards []*Shard
	Jobs   *rollup.Jobs
	// Verify holds everything against everything; with repair it mends what it
	// finds and says what it did.
	Verify func(ctx context.Context, opts rollup.VerifyOptions, repair bool) (rollup.Repair, error)
	// Statements is the SQL of the stages, Runs what of it, and what else, was run.
	Statements *statement.Catalog
	Runs       *warehouse.Runs
}

// API answers for a pipeline.
type API struct {
	// Stages returns the stages, or schemas.ErrUnavailable until they are there.
	Stages   func() (*Stages, error)
	Registry *tenancy.Registry
	Prices   *pricelist.List
	// Submit sends events of a tenant through the gateway's own path and returns
	// when they are on the log. It is how a quarantined event is replayed.
	Submit func(ctx context.Context, tenant string, events []schemas.Event) (seq uint64, err error)
	// Calls returns how many API calls count against a tenant's present minute; nil
	// where nobody counts them.
	Calls func(tenant string) int64
	// Still says whether who asked about a tenant may still have the answer. It is
	// asked after a request has waited. Nil: they may.
	Still func(scope tenancy.Scope, tenant string) error
	// Book knows the alerts, nil where there are none, and Decider notes who acked one.
	Book    Alerts
	Decider *alerting.Decider
	// Outbox hands alerts over; nil where nothing does.
	Outbox Outbox
	// Cursors makes and reads page cursors.
	Cursors httpapi.Cursors
	// Now is the clock that decides what "this month" is; time.Now.
	Now func() time.Time

	templates onboarding.Templates
}

// Register adds the routes to a server.
func (a *API) Register(s *httpapi.Server) {
	a.registerOperations(s)
	a.registerAlerting(s)
	if a.Now == nil {
		a.Now = time.Now
	}
	read, admin := tenancy.PermissionRead, tenancy.PermissionAdmin
	s.Handle("GET /v1/usage", read, a.usage)
	s.Handle("GET /v1/usage/series", read, a.series)
	s.Handle("GET /v1/entitlements", read, a.entitlements)
	s.Handle("POST /v1/entitlements/batch", read, a.entitlementsBatch, httpapi.Unkeyed) // changes nothing
	s.Handle("GET /v1/events", read, a.events)
	s.Handle("POST /v1/events/lookup", read, a.lookup, httpapi.Unkeyed) // changes nothing
	s.Handle("GET /v1/conflicts", read, a.conflicts)
	s.Handle("GET /v1/quarantine", read, a.quarantine)
	s.Handle("GET /v1/alerts", read, a.alerts)
	s.Handle("GET /v1/alerts/{alert}", read, a.alert)
	s.Handle("POST /v1/alerts/{alert}/ack", admin, a.ackAlert, httpapi.Unkeyed) // the first one stands
	s.Handle("POST /v1/quarantine/{id}/replay", admin, a.replay)
	s.Handle("GET /v1/prices", read, a.prices)
	s.Handle("GET /v1/prices/{provider}/{model...}", read, a.priceOfModel)
	s.Handle("POST /v1/prices/import", admin, a.importPrices, httpapi.Unkeyed) // the same file changes nothing
	s.Handle("GET /v1/tenants/{tenant}/statements", read, a.statements)
	s.Handle("GET /v1/tenants/{tenant}/statements/{month}", read, a.statement)
	s.Handle("POST /v1/tenants/{tenant}/statements/{month}/close", admin, a.closeMonth, httpapi.Unkeyed) // a month is sealed once
	s.Handle("GET /v1/summary", read, a.summary)
	s.Handle("GET /v1/jobs", read, a.jobs)
	s.Handle("POST /v1/verify", admin, a.verify, httpapi.Unkeyed) // what is mended is mended
}

// tenant returns the one tenant a request is about.
func (a *API) tenant(r *http.Request, scope tenancy.Scope) (tenancy.Tenant, error) {
	named := r.URL.Query().Get("tenant")
	if named == "" {
		if scope.IsPlatform() {
			return tenancy.Tenant{}, schemas.Invalid("/tenant", schemas.CodeMissing,
				"a key of the platform has to say which tenant: ?tenant=<id or slug>")
		}
		named = scope.TenantID()
	}
	return a.Registry.Find(scope, named)
}

// still asks whether who asked may still have the answer.
func (a *API) still(scope tenancy.Scope, tenant string) error {
	if a.Still == nil {
		return nil
	}
	return a.Still(scope, tenant)
}

// tenantOrAll returns the tenant's id, or "" for a key of the platform that named
// none: everything.
func (a *API) tenantOrAll(r *http.Request, scope tenancy.Scope) (string, error) {
	if scope.IsPlatform() && r.URL.Query().Get("tenant") == "" {
		return "", nil
	}
	t, err := a.tenant(r, scope)
	return t.ID, err
}

// intQuery reads a whole number from the query, def when it is absent.
func intQuery(r *http.Request, name string, def, least, most uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, schemas.Invalid("/"+name, schemas.CodeOutOfRange, "%q is not a whole number from %d to %d", text, least, most)
	}
	return n, nil
}

// boolQuery reads a switch from the query, false when it is absent. A word that
// is neither is refused: dry_run=on must not be a real run.
func boolQuery(r *http.Request, name string) (bool, error) {
	switch text := r.URL.Query().Get(name); text {
	case "1", "true":
		return true, nil
	case "", "0", "false":
		return false, nil
	default:
		return false, schemas.Invalid("/"+name, schemas.CodeMalformed, "%q is not a switch; use 1 or 0", text)
	}
}

// dayQuery reads a UTC day from the query, def when it is absent.
func dayQuery(r *http.Request, name string, def time.Time) (time.Time, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return def, nil
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, schemas.Invalid("/"+name, schemas.CodeMalformed, "%q is not a day; write it as 2026-02-14", text)
	}
	return day, nil
}

// writeJSON answers 200.
func writeJSON(w http.ResponseWriter, v any) error {
	httpapi.WriteJSON(w, http.StatusOK, v)
	return nil
}

// eventJSON is an event in the form it could be sent in.
func eventJSON(e *schemas.Event) json.RawMessage { return ingest.EncodeEvent(nil, e) }

// placeText is a place in the log: "<sequence>-<index>".
func placeText(seq uint64, idx uint16) string { return fmt.Sprintf("%d-%d", seq, idx) }

func parsePlace(field, text string) (seq uint64, idx uint16, err error) {
	first, second, _ := strings.Cut(text, "-")
	seq, seqErr := strconv.ParseUint(first, 10, 64)
	wide, idxErr := strconv.ParseUint(second, 10, 16)
	if seqErr != nil || idxErr != nil {
		return 0, 0, schemas.Invalid("/"+field, schemas.CodeMalformed, "%q is not a place in the log such as 1042-7", text)
	}
	return seq, uint16(wide), nil
}
