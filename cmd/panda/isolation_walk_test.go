package main

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/internal/auth/oidc/oidctest"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
)

// TestWalk asks every route as every kind of caller about what is its own, somebody
// else's and nobody's. What is expected follows from the permission that the route
// declares: no credential is 401, a lacking permission 403 whatever is asked about, and
// with the permission somebody else's and nobody's have the same answer, byte for byte.
// A route that is added is walked without a change here, unless it has a parameter that
// nobody knows a value for; then the test fails until there is one in values.
func TestWalk(t *testing.T) {
	w := newWorld(t)
	walk := &walk{world: w, callers: w.callers(), cursors: map[string]string{}}
	walk.secrets = []string{w.beta.tag, w.gamma.tag, w.delta.tag, w.beta.id, w.gamma.id, w.delta.id}
	before := walk.stateOfOthers()
	routes := w.p.server.Routes()
	for _, route := range routes {
		walk.cursorOf(route)
	}
	group := errgroup.Group{}
	group.SetLimit(4)
	for _, route := range routes {
		for _, c := range walk.callers {
			group.Go(func() error { walk.visit(route, c); return nil })
		}
	}
	_ = group.Wait() // what is wrong is reported where it is found
	for _, route := range routes {
		for _, c := range walk.callers {
			walk.own(route, c)
		}
	}
	walk.keepAlpha()
	if after := walk.stateOfOthers(); after != before {
		t.Errorf("something of another tenant was changed:\nbefore %s\nafter  %s", before, after)
	}
	leaks := walk.leaks
	for _, where := range []struct{ name, text string }{{"the log", w.lines.String()}, {"/metrics", w.do(&caller{}, ask{method: "GET", path: "/metrics"}).body}} {
		for _, secret := range []string{w.beta.tag, w.gamma.tag, w.delta.tag} {
			if strings.Contains(where.text, secret) {
				leaks++
				t.Errorf("%s holds %s", where.name, around(where.text, secret))
			}
		}
	}
	const casesMin = 10_000
	if leaks != 0 || walk.cases < casesMin {
		t.Errorf("%d leaks in %d cases", leaks, walk.cases)
	}
	t.Logf("%d routes, %d callers, %d requests, %d of them in pairs of somebody else's and nobody's: %d leaks",
		len(routes), len(walk.callers), walk.cases, 2*walk.pairs, leaks)
	t.Logf("time, nobody's against somebody else's: median %s, %s; the medians of the differences %s",
		median(walk.unknownTook), median(walk.foreignTook), median(walk.differences))
}

// walk is what the visits of all routes know.
type walk struct {
	*world
	callers []*caller
	secrets []string
	cursors map[string]string // of beta's lists, by pattern

	mu           sync.Mutex // guards what follows
	cases, pairs int
	leaks        int
	foreignTook  []time.Duration
	unknownTook  []time.Duration
	differences  []time.Duration
}

// callers are every kind of caller there is.
func (w *world) callers() []*caller {
	w.Helper()
	nobody := &caller{name: "nobody", refused: http.StatusUnauthorized}
	list := []*caller{nobody, w.platform}
	bad := func(name, secret string) {
		list = append(list, &caller{name: name, bearer: func() string { return secret }, refused: http.StatusUnauthorized})
	}
	bad("not a key", "open sesame")
	stranger, _ := authNewSecret()
	bad("unknown key", stranger)
	for _, p := range tenancy.RoleAdmin.Permissions() {
		_, c := w.alpha.newKey("key with "+string(p), p)
		list = append(list, c)
	}
	_, c := w.alpha.newKey("key with all", tenancy.RoleAdmin.Permissions()...)
	list = append(list, c)
	for _, role := range tenancy.Roles() {
		list = append(list, w.alpha.person("walk-"+string(role), role))
	}
	w.provider.AddUser(oidctest.User{Subject: platformSubject, Email: "root@example.com", EmailVerified: true})
	list = append(list, &caller{name: "platform person", bearer: func() string { return w.token(platformSubject) }, platform: true, grants: tenancy.Permissions()})
	reader := w.must(w.platform, "POST", "/v1/tenants/"+w.alpha.id+"/keys", map[string]any{"name": "gone", "scopes": tenancy.RoleAdmin.Permissions()})
	w.must(w.platform, "DELETE", "/v1/keys/"+textOf(reader, "id"), nil)
	bad("revoked key", textOf(reader, "key"))
	rotated := w.must(w.platform, "POST", "/v1/tenants/"+w.alpha.id+"/keys", map[string]any{"name": "old", "scopes": tenancy.RoleAdmin.Permissions()})
	w.must(w.platform, "POST", "/v1/keys/"+textOf(rotated, "id")+"/rotate", map[string]any{"overlap_seconds": 0})
	bad("rotated key", textOf(rotated, "key"))
	forged := w.provider.Signing().Header()
	bad("forged token", oidctest.NewKey(w, "RS256").Sign(w, forged, map[string]any{"iss": w.provider.URL, "sub": w.alpha.n("sub-walk-owner"),
		"aud": oidctest.ClientID, "azp": oidctest.ClientID, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}))
	for _, s := range []*side{w.gamma, w.delta} {
		list = append(list, &caller{name: "key of " + s.key.name, bearer: s.key.bearer, refused: http.StatusForbidden},
			&caller{name: "person of " + s.key.name, bearer: s.owner.bearer, refused: http.StatusForbidden})
	}
	removed := w.alpha.person("walk-removed", tenancy.RoleAdmin)
	for _, m := range w.p.registry.MembersOf(w.alpha.id) {
		if strings.HasPrefix(m.Email, w.alpha.n("sub-walk-removed")) {
			w.must(w.platform, "DELETE", "/v1/tenants/"+w.alpha.id+"/members/"+m.ID, nil)
		}
	}
	removed.refused, removed.name = http.StatusForbidden, "removed member"
	w.provider.AddUser(oidctest.User{Subject: "passer-by", Email: "passer-by@example.com", EmailVerified: true})
	return append(list, removed, &caller{name: "person of no tenant", bearer: func() string { return w.token("passer-by") }, refused: http.StatusForbidden})
}

var requestIDs = regexp.MustCompile(`urn:uuid:[0-9a-f-]{36}`)

// try sends a request, counts it, and looks for what is not the caller's to see. said
// are the words of the request, which an answer may repeat.
func (w *walk) try(c *caller, a ask, said ...string) answer {
	got := w.do(c, a)
	text := requestIDs.ReplaceAllString(got.body, "")
	for _, name := range slices.Sorted(maps.Keys(got.header)) {
		// The length is that of the body, which may repeat a word of the request.
		if name != "Date" && name != "X-Request-Id" && name != "Content-Length" {
			text += "\n" + name + ": " + strings.Join(got.header[name], ",")
		}
	}
	slices.SortFunc(said, func(x, y string) int { return len(y) - len(x) })
	for _, word := range said {
		if word != "" {
			text = strings.ReplaceAll(text, word, "·")
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cases++
	if got.status >= http.StatusInternalServerError && got.status != http.StatusNotImplemented {
		w.Errorf("%s %s as %s: %d %s", a.method, a.path, c.name, got.status, got.body)
	}
	for _, secret := range w.secrets {
		if !c.platform && strings.Contains(text, secret) {
			w.leaks++
			w.Errorf("%s %s as %s shows %s", a.method, a.path, c.name, around(text, secret))
		}
	}
	got.body = text
	return got
}

func around(text, word string) string {
	at := strings.Index(text, word)
	const chars = 80
	return fmt.Sprintf("%q", text[max(0, at-chars):min(len(text), at+len(word)+chars)])
}

// target is a request about values.
type target struct {
	route  httpapi.Route
	method string
	segs   []string
}

func targetOf(route httpapi.Route) target {
	method, path, _ := strings.Cut(route.Pattern, " ")
	return target{route, method, strings.Split(strings.TrimSpace(path), "/")[1:]}
}

// parameters are the places of the path that take a value, each under the name by which
// values knows it: the word before it, and its own.
func (t target) parameters() (places map[int]string) {
	places = map[int]string{}
	for i, seg := range t.segs {
		if strings.HasPrefix(seg, "{") {
			before := ""
			if i > 0 {
				before = t.segs[i-1]
			}
			places[i] = before + "/" + seg
		}
	}
	return places
}

// path is the target's with values in its places.
func (t target) path(values map[int]string) string {
	segs := slices.Clone(t.segs)
	for i, v := range values {
		segs[i] = v
	}
	return "/" + strings.Join(segs, "/")
}

// visit tries a route as a caller.
func (w *walk) visit(route httpapi.Route, c *caller) {
	t := targetOf(route)
	known := map[int]choice{}
	for place, name := range t.parameters() {
		v, ok := w.choices(name)
		if !ok {
			w.Errorf("%s: nobody knows a value for %s; add one to choices", route.Pattern, name)
			return
		}
		known[place] = v
	}
	switch {
	case route.Permission == "":
		w.visitPublic(t, c)
	case c.refused != 0:
		w.visitRefused(t, c, known, c.refused)
	case !c.allows(route.Permission):
		w.visitRefused(t, c, known, http.StatusForbidden)
	case !c.platform:
		w.visitPairs(t, c, known)
	}
}

func (w *walk) visitPublic(t target, c *caller) {
	for _, body := range []string{"", "{}", `{"token":"` + w.beta.invited + `","name":"x"}`, `{"token":"` + w.beta.id + `"}`} {
		if len(t.parameters()) > 0 || t.method == http.MethodGet && body != "" {
			return
		}
		w.try(c, ask{method: t.method, path: t.path(nil), body: body}, w.beta.invited, w.beta.id)
	}
}

// visitRefused tries what is refused whatever it is about: always with the same answer.
func (w *walk) visitRefused(t target, c *caller, known map[int]choice, want int) {
	var first *answer
	pick := func(of func(choice) string) map[int]string {
		values := map[int]string{}
		for place, v := range known {
			values[place] = of(v)
		}
		return values
	}
	for _, values := range []map[int]string{pick(func(v choice) string { return v.own }), pick(func(v choice) string { return v.foreign[0] }),
		pick(func(v choice) string { return v.unknown })} {
		for _, query := range []string{"", "?tenant=" + w.beta.id, "?tenant=" + w.beta.slug, "?tenant=ten_aaaaaaaaaaaa"} {
			a := ask{method: t.method, path: t.path(values) + query}
			got := w.try(c, a)
			if got.status != want {
				w.Errorf("%s %s as %s: %d %s, want %d", a.method, a.path, c.name, got.status, got.body, want)
				return
			}
			if first == nil {
				first = &got
			} else if got.body != first.body {
				w.Errorf("%s %s as %s: %s\nand for another id: %s", a.method, a.path, c.name, got.body, first.body)
			}
		}
	}
}

// median of durations.
func median(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return 0
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2].Round(time.Microsecond)
}
