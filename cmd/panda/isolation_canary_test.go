package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
)

// TestCanary has a tenant whose every field is a word that nobody else knows, uses every
// feature as that tenant, as others and with mistakes, and looks for the words wherever
// they should not be: in what any other caller is answered, body and headers, in
// /metrics and the probes, and in the server's log at debug level. The platform may see
// its tenants.
func TestCanary(t *testing.T) {
	w := newWorld(t)
	canary := w.beta
	// The words are there at all, or nothing would be found anywhere.
	seen := ""
	for _, path := range []string{"/v1/tenants/" + canary.id, "/v1/tenants/" + canary.id + "/members", "/v1/tenants/" + canary.id + "/invitations",
		"/v1/tenants/" + canary.id + "/keys", "/v1/events?limit=100", "/v1/conflicts", "/v1/quarantine", "/v1/usage?by=agent,department,model,cost_center"} {
		got := w.do(canary.owner, ask{method: "GET", path: path})
		seen += got.body
		if got.status != http.StatusOK {
			t.Errorf("the canary at %s: %d %s", path, got.status, got.body)
		}
	}
	for _, field := range []string{"name", "slug", "billing", "org", "budget-department", "budget-agent", "budget-cost-center", "provider", "model", "department",
		"cost-center", "agent", "other-agent", "user", "session", "run", "parent-run", "error", "tag", "tag-value", "first", "source", "broken", "member", "person", "key"} {
		if !strings.Contains(seen, canary.n(field)) {
			t.Errorf("the canary itself does not see its %s", field)
		}
	}
	w.useAsCanary(canary)
	attackers := []*caller{{name: "nobody", refused: http.StatusUnauthorized}, w.alpha.key, w.alpha.owner, w.alpha.person("canary-viewer", tenancy.RoleViewer),
		w.gamma.key, w.delta.key}
	for _, c := range w.callers() {
		if !c.platform {
			attackers = append(attackers, c)
		}
	}
	k := &walk{world: w, cursors: map[string]string{}, secrets: []string{canary.tag, w.gamma.tag, w.delta.tag}}
	for _, c := range attackers {
		for _, route := range w.p.server.Routes() {
			w.provoke(k, route.Pattern, c)
		}
	}
	log, metrics := w.lines.String(), w.do(&caller{}, ask{method: "GET", path: "/metrics"}).body
	for name, text := range map[string]string{"the log": log, "/metrics": metrics} {
		if len(text) < 1000 {
			t.Errorf("%s has %d bytes; is it the right one?", name, len(text))
		}
		for _, secret := range []string{canary.tag, w.gamma.tag, w.delta.tag, w.alpha.tag} {
			if strings.Contains(text, secret) {
				k.leaks++
				t.Errorf("%s holds %s", name, around(text, secret))
			}
		}
	}
	if k.leaks > 0 {
		t.Errorf("%d leaks", k.leaks)
	}
	t.Logf("%d answers to %d other callers, %d bytes of log at debug level, %d bytes of metrics: %d with a word of the canary",
		k.cases, len(attackers), len(log), len(metrics), k.leaks)
}

// useAsCanary asks every route as the canary itself, by its slug where it can, and makes
// the mistakes that fill logs: wrong paths, wrong bodies, a key in the URL.
func (w *world) useAsCanary(s *side) {
	for _, route := range w.p.server.Routes() {
		t := targetOf(route)
		if route.Permission == "" || t.method == http.MethodDelete && strings.HasSuffix(route.Pattern, "{tenant}") {
			continue
		}
		values := map[int]string{}
		for place, name := range t.parameters() {
			switch {
			case name == "tenants/{tenant}":
				values[place] = s.slug
			case strings.HasPrefix(name, "members/"):
				values[place] = s.member
			default:
				values[place] = s.n("no-such")
			}
		}
		body := ""
		if t.method != http.MethodGet {
			body = `{"` + s.n("field") + `":"` + s.n("value") + `"}`
		}
		query := url.Values{"by": {s.n("by")}, "month": {s.n("month")}, "cursor": {s.n("cursor")}, "id": {s.n("first")}, "action": {s.n("action")}, "q": {s.n("q")}}
		for _, q := range []string{"", "?" + query.Encode(), "?tenant=" + s.slug} {
			w.do(s.owner, ask{method: t.method, path: t.path(values) + q, body: body})
			w.do(s.key, ask{method: t.method, path: t.path(values) + q, body: body})
		}
		w.do(s.owner, ask{method: t.method, path: t.path(values) + "/", body: body})
		w.do(s.owner, ask{method: "TRACE", path: t.path(values)})
	}
	stranger := &caller{name: "a mistake", refused: http.StatusUnauthorized}
	w.do(stranger, ask{method: "GET", path: "/v1/tenants/" + s.slug + "?api_key=" + s.key.bearer()})
	w.do(s.key, ask{method: "GET", path: "/v1/" + s.n("no-such-path")})
	if conn, err := w.connect(s.n("password")); err == nil {
		conn.Close()
		w.Error("anybody may connect")
	}
	s.publish(s.key, "usage."+s.id, s.n("not-json"))
}

// provoke asks a route in ways that are answered with a mistake: the mistake of one must
// not hold the words of another.
func (w *world) provoke(k *walk, pattern string, c *caller) {
	method, _, _ := strings.Cut(pattern, " ")
	path := pattern[len(method)+1:]
	fill := strings.NewReplacer("{tenant}", w.alpha.id, "{id}", "x", "{member}", w.alpha.member, "{invitation}", w.alpha.invited, "{operation}", "op_x",
		"{plan}", "pro", "{provider}", "openai", "{model...}", "gpt-4o", "{user}", w.beta.n("sub-owner"))
	foreign := strings.NewReplacer("{tenant}", w.beta.id, "{id}", w.beta.held, "{member}", w.beta.member, "{invitation}", w.beta.invited, "{operation}", "op_x",
		"{plan}", "pro", "{provider}", "openai", "{model...}", "gpt-4o", "{user}", w.beta.n("sub-owner"))
	if strings.HasSuffix(pattern, "{tenant}") && method == http.MethodDelete || strings.Contains(pattern, "/verify") {
		return
	}
	for _, p := range []string{fill.Replace(path), foreign.Replace(path)} {
		body := ""
		if method != http.MethodGet {
			body = "{"
		}
		for _, a := range []ask{{method: method, path: p, body: body}, {method: method, path: p + "?tenant=" + w.beta.id, body: body},
			{method: method, path: p + "?limit=-1&cursor=AAAA&by=x&month=x&id=x&source=y", body: body}} {
			k.try(c, a, w.beta.id, w.beta.held, w.beta.member, w.beta.invited)
		}
	}
}

// TestMistakesAtTheNATSDoor reads what a tenant's runtime hears at its door: nothing of
// anybody else.
func TestMistakesAtTheNATSDoor(t *testing.T) {
	w := newWorld(t)
	conn, err := w.connect(w.alpha.key.bearer())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard, err := conn.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		w.beta.send(w.beta.event("overheard", nil))
		w.beta.publish(w.beta.key, "usage."+w.beta.id, w.beta.n("overheard"))
	}
	// What the broker has for this connection comes before the answer to a flush.
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := heard.Pending(); err != nil || n != 0 {
		m, _ := heard.NextMsg(time.Second)
		t.Errorf("a runtime of one tenant hears %d messages of another, the first %+v, %v", n, m, err)
	}
}
