package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
)

// The values that routes are asked about, and the comparison of somebody else's with
// nobody's.

// choice is what a parameter can be: the caller's own, others', and nobody's.
type choice struct {
	own     string
	foreign []string
	unknown string
	// shared is a value that belongs to nobody, such as the name of a plan.
	shared bool
}

func shared(value string) choice {
	return choice{own: value, foreign: []string{value}, unknown: value, shared: true}
}

// choices are the values of a parameter of a path, by the word before it and its name.
func (w *walk) choices(name string) (choice, bool) {
	a, b := w.alpha, w.beta
	const unknownID = "aaaaaaaaaaaa"
	switch name {
	case "tenants/{tenant}":
		return choice{own: a.id, foreign: []string{b.id, b.slug, w.gamma.id, w.gamma.slug, w.delta.id, w.delta.slug}, unknown: "ten_" + unknownID}, true
	case "keys/{id}", "keys/{key}":
		platformKey, err := auth.ParseKey(w.p.AdminKey())
		return choice{own: a.keyID, foreign: []string{b.keyID, w.gamma.keyID, platformKey}, unknown: "aaaaaaaa"}, err == nil
	case "members/{member}":
		return choice{own: a.member, foreign: []string{b.member, w.gamma.member}, unknown: "mem_" + unknownID}, true
	case "invitations/{invitation}":
		return choice{own: a.invited, foreign: []string{b.invited, w.gamma.invited}, unknown: "inv_" + unknownID}, true
	case "quarantine/{id}":
		return choice{own: a.held, foreign: []string{b.held, w.gamma.held}, unknown: "999999-0"}, true
	case "channels/{channel}":
		return choice{own: a.channel, foreign: []string{b.channel, w.gamma.channel}, unknown: "chn_" + unknownID}, true
	case "mutes/{mute}":
		return choice{own: a.mute, foreign: []string{b.mute, w.gamma.mute}, unknown: "mut_" + unknownID}, true
	case "deliveries/{delivery}":
		return choice{own: a.delivery(), foreign: []string{b.delivery(), w.gamma.delivery()}, unknown: "dlv_" + unknownID + unknownID}, true
	case "alerts/{alert}":
		return choice{own: a.alert, foreign: []string{b.alert, w.gamma.alert}, unknown: "alr_" + unknownID + unknownID}, true
	case "operations/{operation}":
		return choice{own: "op_" + unknownID, foreign: []string{w.operation()}, unknown: "op_" + unknownID}, true
	case "user-sessions/{user}", "users/{user}":
		return choice{own: a.n("sub-owner"), foreign: []string{b.n("sub-owner"), b.member}, unknown: "nobody"}, true
	case "statements/{month}":
		return shared("2026-02"), true
	case "plans/{plan}":
		return shared("pro"), true
	case "prices/{provider}":
		return shared("openai"), true
	case "{provider}/{model...}":
		return shared("gpt-4o"), true
	}
	return choice{}, false
}

// operation is one about beta, if the platform can begin one, else one of nobody's.
func (w *walk) operation() string { return "op_bbbbbbbbbbbb" }

// visitPairs asks about somebody else's and about nobody's, in every place where an id
// can be.
func (w *walk) visitPairs(t target, c *caller, known map[int]choice) {
	own, safe := map[int]string{}, map[int]string{}
	for place, v := range known {
		own[place], safe[place] = v.own, v.own
		if t.method != http.MethodGet && !strings.HasPrefix(t.parameters()[place], "tenants/") {
			safe[place] = v.unknown // what is tried here is not to work on anything
		}
	}
	body := ""
	if t.method != http.MethodGet {
		body = bodyFor(t.route.Pattern, w.world)
	}
	for place, v := range known {
		for _, foreign := range v.foreign {
			theirs, nobodys := maps.Clone(own), maps.Clone(own)
			theirs[place], nobodys[place] = foreign, v.unknown
			if v.shared {
				continue
			}
			w.pair(c, ask{method: t.method, path: t.path(theirs), body: body}, ask{method: t.method, path: t.path(nobodys), body: body}, foreign, v.unknown)
		}
	}
	// Everything of one and the same tenant, under its own path.
	theirs, nobodys, said := maps.Clone(own), maps.Clone(own), []string{}
	for place, v := range known {
		theirs[place], nobodys[place] = v.foreign[0], v.unknown
		said = append(said, v.foreign[0], v.unknown)
	}
	if len(known) > 1 {
		w.pair(c, ask{method: t.method, path: t.path(theirs), body: body}, ask{method: t.method, path: t.path(nobodys), body: body}, said...)
	}
	w.besideThePath(t, c, safe)
}

// besideThePath names somebody else in the query, in headers, in the body, by a cursor
// and by a revision.
func (w *walk) besideThePath(t target, c *caller, values map[int]string) {
	path := t.path(values)
	stale := map[string]string{"If-Match": `"1"`}
	const nobody = "ten_aaaaaaaaaaaa"
	body := ""
	if t.method != http.MethodGet {
		body = "{}"
	}
	for _, foreign := range []string{w.beta.id, w.beta.slug, w.gamma.id, w.delta.slug} {
		for _, name := range []string{"tenant", "tenant_id"} {
			w.pair(c, ask{t.method, path + "?" + name + "=" + foreign, body, stale}, ask{t.method, path + "?" + name + "=" + nobody, body, stale}, foreign, nobody)
		}
	}
	for _, name := range []string{"X-Tenant-Id", "X-Org-Id", "X-Forwarded-User"} {
		theirs, nobodys := maps.Clone(stale), maps.Clone(stale)
		theirs[name], nobodys[name] = w.beta.id, nobody
		w.pair(c, ask{t.method, path, body, theirs}, ask{t.method, path, body, nobodys}, w.beta.id, nobody)
	}
	if t.method == http.MethodGet {
		if cursor := w.cursors[t.route.Pattern]; cursor != "" {
			invented := strings.Repeat("A", len(cursor))
			w.pair(c, ask{method: t.method, path: path + "?cursor=" + cursor}, ask{method: t.method, path: path + "?cursor=" + invented}, cursor, invented)
		}
		return
	}
	for _, name := range []string{"tenant", "tenant_id", "id"} {
		w.pair(c, ask{t.method, path, `{"` + name + `":"` + w.beta.id + `"}`, stale}, ask{t.method, path, `{"` + name + `":"` + nobody + `"}`, stale}, w.beta.id, nobody)
	}
	for _, list := range []string{"tenants", "items", "checks"} {
		of := func(id string) string { return `{"` + list + `":[{"tenant":"` + id + `"}]}` }
		w.pair(c, ask{t.method, path, of(w.beta.id), stale}, ask{t.method, path, of(nobody), stale}, w.beta.id, nobody)
	}
	const revision = "987654321"
	w.pair(c, ask{t.method, path, body, map[string]string{"If-Match": strconv.Quote(w.beta.revision)}},
		ask{t.method, path, body, map[string]string{"If-Match": strconv.Quote(revision)}}, w.beta.revision, revision)
}

// pair holds the answer about somebody else's against that about nobody's.
func (w *walk) pair(c *caller, theirs, nobodys ask, said ...string) {
	var a, b answer
	var diff string
	// What is the caller's own may change between two requests, such as the audit log
	// when attempts are written to it; somebody else's differs each time.
	const triesMax, pause = 100, 20 * time.Millisecond
	tries := triesMax
	if w.found() > 0 {
		tries = 1 // the test has failed already
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	// An answer that is new each time, such as an export with its date, differs from
	// itself: then the status is compared, and that it holds nothing of others.
	const newMax = 5
	for isNew := 0; tries > 0 && isNew < newMax; tries-- {
		<-timer.C
		b, a = w.try(c, nobodys, said...), w.try(c, theirs, said...)
		if diff = difference(a, b); diff == "" || a.status != b.status {
			break
		}
		if a.status == http.StatusOK && w.try(c, nobodys, said...).body != b.body {
			if isNew++; isNew == newMax {
				diff = ""
			}
		}
		timer.Reset(pause)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pairs++
	w.foreignTook, w.unknownTook = append(w.foreignTook, a.took), append(w.unknownTook, b.took)
	w.differences = append(w.differences, (a.took - b.took).Abs())
	if diff != "" {
		w.leaks++
		w.Errorf("%s %s %s as %s tells somebody else's from nobody's (%s):\n%d %s\n%d %s", theirs.method, theirs.path, theirs.body, c.name, diff,
			a.status, a.body, b.status, b.body)
	}
}

// found is how many leaks there were so far.
func (w *walk) found() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leaks
}

// difference says what tells two answers apart. What was made is new each time, so of
// that the status is compared.
func difference(a, b answer) string {
	switch {
	case a.status != b.status:
		return "status"
	case a.status == http.StatusCreated || a.status == http.StatusAccepted:
		return ""
	case a.body != b.body:
		return "body or headers"
	}
	return ""
}

// bodyFor is a body that is right for a route, where that is known, so that what comes
// after the reading of the body is reached.
func bodyFor(pattern string, w *world) string {
	_, path, _ := strings.Cut(pattern, " ")
	fresh := strconv.FormatInt(time.Now().UnixNano(), 36)
	bodies := map[string]any{
		"/v1/tenants/{tenant}/keys":             map[string]any{"name": "walk", "scopes": []string{"read"}},
		"/v1/tenants/{tenant}/members":          map[string]any{"email": "walk-" + fresh + "@example.com", "role": "viewer"},
		"/v1/tenants/{tenant}/invitations":      map[string]any{"email": "walk-" + fresh + "@example.com", "role": "viewer"},
		"/v1/tenants/{tenant}/members/{member}": map[string]any{"role": "viewer"},
		"/v1/tenants/{tenant}/plan":             map[string]any{"plan": "pro"},
		"/v1/tenants/{tenant}/suspend":          map[string]any{"reason": "walk"},
		"/v1/tenants/{tenant}/migrate":          map[string]any{"to": "shared-database"},
		"/v1/tenants/{tenant}/erase-user":       map[string]any{"user": w.beta.n("user")},
		"/v1/tenants/{tenant}/provision":        map[string]any{"template": "customer-support"},
		"/v1/entitlements/batch":                map[string]any{"requests": []any{map[string]any{"action": "call"}}},
		"/v1/events/lookup":                     map[string]any{"source": "/" + w.beta.n("source"), "ids": []string{w.beta.n("first")}},
	}
	body, ok := bodies[path]
	if !ok {
		return "{}"
	}
	text, err := json.Marshal(body)
	if err != nil {
		w.Fatal(err)
	}
	return string(text)
}

// cursorOf gets a cursor of beta's for a list, if the route is one.
func (w *walk) cursorOf(route httpapi.Route) {
	t := targetOf(route)
	if t.method != http.MethodGet || route.Permission == "" {
		return
	}
	values := map[int]string{}
	for place, name := range t.parameters() {
		if name == "tenants/{tenant}" {
			values[place] = w.beta.id
		}
	}
	if len(values) != len(t.parameters()) {
		return
	}
	got := w.do(w.beta.owner, ask{method: t.method, path: t.path(values) + "?limit=1"})
	var page struct {
		NextCursor string `json:"next_cursor"`
	}
	if got.status == http.StatusOK && json.Unmarshal([]byte(got.body), &page) == nil && page.NextCursor != "" {
		w.cursors[route.Pattern] = page.NextCursor
	}
}

// own asks about the caller's own: it works, or fails for a reason of its own.
func (w *walk) own(route httpapi.Route, c *caller) {
	t := targetOf(route)
	if route.Permission == "" || c.refused != 0 || !c.allows(route.Permission) || c.platform && t.method != http.MethodGet {
		return
	}
	values, isNew := map[int]string{}, false
	for place, name := range t.parameters() {
		v, _ := w.choices(name)
		if values[place] = v.own; t.method != http.MethodGet {
			values[place], isNew = w.expendable(name, v.own), isNew || name == "operations/{operation}"
		}
	}
	a := ask{method: t.method, path: t.path(values)}
	if t.method != http.MethodGet {
		a.body = bodyFor(route.Pattern, w.world)
		a.header = map[string]string{"If-Match": `"1"`} // a tenant is not deleted here
	} else if c.platform {
		a.path += "?tenant=" + w.alpha.id
	}
	got := w.try(c, a, w.beta.n("user"), "/"+w.beta.n("source"), w.beta.n("first"))
	switch got.status {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent, http.StatusBadRequest, http.StatusConflict,
		http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity, http.StatusNotImplemented:
	case http.StatusForbidden:
		// A key with admin alone has nothing that it could give to a key or a person.
		gives := strings.Contains(route.Pattern, "/keys") || strings.Contains(route.Pattern, "/members") || strings.Contains(route.Pattern, "/invitations")
		nothing := gives && !c.allows(tenancy.PermissionRead) && codeIn(got.body) == auth.CodeInsufficientScope
		if code := codeIn(got.body); !nothing && code != "platform_only" && code != "owner_only" && code != "tenant_needed" {
			w.Errorf("%s %s as %s: %d %s", a.method, a.path, c.name, got.status, got.body)
		}
	case http.StatusNotFound:
		if !strings.Contains(route.Pattern, "{operation}") {
			w.Errorf("%s %s as %s: one's own is not found: %s", a.method, a.path, c.name, got.body)
		}
	default:
		w.Errorf("%s %s as %s: %d %s", a.method, a.path, c.name, got.status, got.body)
	}
	w.keepAlpha()
}

func codeIn(body string) string {
	first, _, _ := strings.Cut(body, "\n")
	return answer{body: first}.code()
}

// expendable is one's own that nobody misses.
func (w *walk) expendable(name, own string) string {
	switch name {
	case "keys/{id}", "keys/{key}":
		id, _ := w.alpha.newKey("expendable", tenancy.PermissionRead)
		return id
	case "members/{member}":
		return w.alpha.newMember()
	case "invitations/{invitation}":
		return w.alpha.newInvitation()
	case "channels/{channel}":
		return w.alpha.newChannel()
	case "mutes/{mute}":
		return w.alpha.newMute()
	}
	return own
}

// keepAlpha brings the caller's tenant back if a route has ended it.
func (w *walk) keepAlpha() {
	t, ok := w.p.registry.ByID(w.alpha.id)
	switch {
	case ok && t.Served():
	case ok && t.Status == tenancy.StatusDeleted:
		w.must(w.platform, "POST", "/v1/tenants/"+w.alpha.id+"/restore", nil)
	case ok && t.Status == tenancy.StatusSuspended:
		w.must(w.platform, "POST", "/v1/tenants/"+w.alpha.id+"/resume", nil)
	default:
		w.Fatalf("the caller's tenant is %s", t.Status)
	}
}

// stateOfOthers is everything that the platform sees of the other tenants.
func (w *walk) stateOfOthers() string {
	var all strings.Builder
	for _, s := range []*side{w.beta, w.gamma, w.delta} {
		for _, path := range []string{"/v1/tenants/" + s.id, "/v1/tenants/" + s.id + "/members?limit=500", "/v1/tenants/" + s.id + "/invitations?limit=500",
			"/v1/tenants/" + s.id + "/keys", "/v1/tenants/" + s.id + "/audit?outcome=ok&limit=500", "/v1/usage?by=model,agent,department&tenant=" + s.id,
			"/v1/events?limit=1000&tenant=" + s.id, "/v1/conflicts?tenant=" + s.id, "/v1/quarantine?tenant=" + s.id} {
			got := w.do(w.platform, ask{method: "GET", path: path})
			if got.status != http.StatusOK {
				w.Errorf("%s: %d %s", path, got.status, got.body)
			}
			var v map[string]any
			if err := json.Unmarshal([]byte(got.body), &v); err != nil {
				w.Fatal(err)
			}
			delete(v, "as_of") // how far the writer is
			text, _ := json.Marshal(v)
			all.WriteString(path + " " + string(text) + "\n")
		}
	}
	return all.String()
}

// authNewSecret is a key of the right form that nobody has.
func authNewSecret() (string, string) {
	secret, id := auth.NewSecret()
	return secret.Reveal(), id
}
