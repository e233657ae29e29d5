package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/tenancy"
)

// api is the registry's routes over a real registry, log and authentication.
type api struct {
	t        *testing.T
	h        http.Handler
	registry *tenancy.Registry
	platform string
}

func newAPI(t *testing.T, options ...func(*Tenants)) *api {
	t.Helper()
	r := tenancy.New(tenancy.Config{}, eventlogtest.Open(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-r.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the registry did not catch up")
	}
	secret, err := auth.Bootstrap(t.Context(), r, t.TempDir()+"/admin.key")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, func(c *Config) {
		c.Authenticate = auth.New(auth.Config{Registry: r, RemoteIP: RemoteIP, FailuresMax: 1000}).Authenticate
	})
	invitations := auth.Invitations{Key: bytes.Repeat([]byte{8}, 32)}
	tenants := &Tenants{Registry: r, Cursors: Cursors{Key: bytes.Repeat([]byte{7}, 32)}, Authenticate: s.cfg.Authenticate,
		NewToken: invitations.NewToken, ReadToken: invitations.ReadToken}
	for _, o := range options {
		o(tenants)
	}
	tenants.Register(s)
	// Every answer of every test is held against the API's description.
	checker, err := described()
	if err != nil {
		t.Fatal(err)
	}
	served = map[string]bool{}
	for _, route := range s.Routes() {
		served[route.Pattern] = true
	}
	return &api{t: t, h: checker.Wrap(t, s.Handler()), registry: r, platform: secret.Reveal()}
}

func (a *api) call(key, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	a.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	a.h.ServeHTTP(w, r)
	return w
}

// made decodes an answer that must have the status.
func (a *api) made(w *httptest.ResponseRecorder, status int) map[string]any {
	a.t.Helper()
	var v map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != status {
		a.t.Fatalf("%d %s, want %d", w.Code, w.Body, status)
	}
	return v
}

func (a *api) tenant(slug string) (id string) {
	a.t.Helper()
	v := a.made(a.call(a.platform, "POST", "/v1/tenants", `{"name":"`+slug+`","slug":"`+slug+`"}`), 201)
	return v["id"].(string)
}

func (a *api) key(tenant, scopes string) (secret, id string) {
	a.t.Helper()
	v := a.made(a.call(a.platform, "POST", "/v1/tenants/"+tenant+"/keys", `{"name":"test","scopes":[`+scopes+`]}`), 201)
	return v["key"].(string), v["id"].(string)
}

func TestTenantLifecycle(t *testing.T) {
	a := newAPI(t)
	const body = `{"name":"Acme Corporation","slug":"acme-corp","plan":"pro","billing_email":"billing@acme.com",` +
		`"monthly_budget":"1000","daily_budget":"50","quotas":{"max_monthly_tokens":60000000}}`
	w := a.call(a.platform, "POST", "/v1/tenants", body)
	v := a.made(w, 201)
	if v["status"] != "trial" || v["plan"] != "pro" || v["monthly_budget"] != "1000.000000" || v["daily_budget"] != "50.000000" || v["quotas"].(map[string]any)["max_monthly_tokens"] != 6e7 ||
		v["quotas"].(map[string]any)["max_agents"] != 100.0 ||
		w.Header().Get("Location") != "/v1/tenants/"+v["id"].(string) {
		t.Errorf("%s", w.Body)
	}
	for _, name := range []string{"acme-corp", v["id"].(string)} {
		if got := a.call(a.platform, "GET", "/v1/tenants/"+name, ""); got.Body.String() != w.Body.String() {
			t.Errorf("%s: %s", name, got.Body)
		}
	}
	if w := a.call(a.platform, "POST", "/v1/tenants", body); w.Code != 409 || problemIn(t, w).Detail != "the slug acme-corp is taken; choose another" {
		t.Errorf("the slug again: %d %s", w.Code, w.Body)
	}
}

func TestIdempotencyKey(t *testing.T) {
	a := newAPI(t)
	const key = "Idempotency-Key: 6f1c"
	first := a.call(a.platform, "POST", "/v1/tenants", `{"name":"A","slug":"aa"}`, key)
	// The same content in another order of fields is the same request.
	again := a.call(a.platform, "POST", "/v1/tenants", `{"slug":"aa", "name":"A"}`, key)
	if first.Code != 201 || again.Code != 201 || again.Body.String() != first.Body.String() || again.Header().Get("Idempotent-Replayed") != "true" {
		t.Errorf("again: %d %s, %v", again.Code, again.Body, again.Header())
	}
	other := a.call(a.platform, "POST", "/v1/tenants", `{"name":"B","slug":"bb"}`, key)
	if other.Code != 422 || problemIn(t, other).Code != CodeIdempotency {
		t.Errorf("another body: %d %s", other.Code, other.Body)
	}
	if n := len(a.registry.List()); n != 1 {
		t.Errorf("%d tenants", n)
	}
}

func TestWrongBodiesNameTheirFields(t *testing.T) {
	a := newAPI(t)
	for body, want := range map[string]string{
		`{"name":"x","slug":"xx","status":"active"}`:       "/status unknown",
		`{"name":"x","slug":"xx","id":"ten_x"}`:            "/id unknown",
		`{"name":"x","slug":"xx","role":"owner"}`:          "/role unknown",
		`{"name":"x","slug":"xx","monthly_budget":12}`:     "/monthly_budget wrong_type",
		`{"name":"x","slug":"xx","monthly_budget":"12,5"}`: "/monthly_budget malformed",
		`{"name":"x","slug":"UPPER","plan":"gold"}`:        "/slug malformed, /plan unknown",
		`{}`: "/name missing, /slug missing",
	} {
		w := a.call(a.platform, "POST", "/v1/tenants", body)
		var got []string
		for _, e := range problemIn(t, w).Errors {
			got = append(got, e.Pointer+" "+e.Code)
		}
		if strings.Join(got, ", ") != want || w.Code != 422 {
			t.Errorf("%s: %d %v, want %s", body, w.Code, got, want)
		}
	}
	if n := len(a.registry.List()); n != 0 {
		t.Errorf("%d tenants were made of wrong bodies", n)
	}
}

// A change without content is a mistake of who sends it, and never "nothing to change":
// that is {}.
func TestEmptyChangesAreRefused(t *testing.T) {
	a := newAPI(t)
	id := a.tenant("mine")
	added := a.made(a.call(a.platform, "POST", "/v1/tenants/mine/members", `{"email":"a@mine.example","role":"owner"}`), 201)
	member := added["id"].(string)
	before := a.call(a.platform, "GET", "/v1/tenants/mine", "").Body.String()
	changes := 0
	for pattern := range served {
		method, path, _ := strings.Cut(pattern, " ")
		if method != http.MethodPatch && method != http.MethodPut {
			continue
		}
		changes++
		path = strings.NewReplacer("{tenant}", id, "{member}", member).Replace(path)
		for body, code := range map[string]string{"": "missing", "  ": "missing", "null": "wrong_type", "[]": "wrong_type", `"x"`: "wrong_type"} {
			w := a.call(a.platform, method, path, body, "Content-Type: application/json")
			p := problemIn(t, w)
			if w.Code != 400 || len(p.Errors) != 1 || p.Errors[0].Code != code || p.Errors[0].Detail == "" {
				t.Errorf("%s with %q: %d %s, want 400 %s", pattern, body, w.Code, w.Body, code)
			}
		}
	}
	if changes < 3 {
		t.Errorf("only %d routes change something", changes)
	}
	if after := a.call(a.platform, "GET", "/v1/tenants/mine", "").Body.String(); after != before {
		t.Errorf("changed by nothing: %s", after)
	}
}

// Two tenants and every way to reach over: what is foreign and what does not
// exist are one answer, byte for byte.
func TestNobodyReachesAnotherTenant(t *testing.T) {
	a := newAPI(t)
	mine, theirs := a.tenant("mine"), a.tenant("theirs")
	admin, _ := a.key(mine, `"admin","read"`)
	_, foreignKey := a.key(theirs, `"ingest"`)
	var platformKey string
	for _, k := range a.registry.KeysOf("") {
		platformKey = k.ID
	}
	same := func(method, unknown string, foreign ...string) {
		t.Helper()
		body := ""
		if method == "POST" {
			body = `{"name":"x","scopes":["read"]}`
		}
		want := a.call(admin, method, unknown, body, "X-Request-Id: same")
		if want.Code != 404 {
			t.Errorf("%s %s: %d", method, unknown, want.Code)
		}
		for _, target := range foreign {
			got := a.call(admin, method, target, body, "X-Request-Id: same")
			if got.Code != want.Code || cmp.Diff(want.Body.String(), got.Body.String()) != "" || cmp.Diff(want.Header(), got.Header()) != "" {
				t.Errorf("%s %s answers %d %s, an unknown id %d %s", method, target, got.Code, got.Body, want.Code, want.Body)
			}
		}
	}
	same("GET", "/v1/tenants/ten_aaaaaaaaaaaa", "/v1/tenants/"+theirs, "/v1/tenants/theirs")
	same("GET", "/v1/tenants/ten_aaaaaaaaaaaa/keys", "/v1/tenants/"+theirs+"/keys", "/v1/tenants/theirs/keys")
	same("POST", "/v1/tenants/ten_aaaaaaaaaaaa/keys", "/v1/tenants/"+theirs+"/keys", "/v1/tenants/theirs/keys")
	same("DELETE", "/v1/keys/aaaaaaaa", "/v1/keys/"+foreignKey, "/v1/keys/"+platformKey)
	for _, row := range [][2]string{{"GET", "/v1/tenants"}, {"POST", "/v1/tenants"}} {
		if w := a.call(admin, row[0], row[1], ""); w.Code != 403 {
			t.Errorf("%s %s with a tenant's key: %d", row[0], row[1], w.Code)
		}
	}
	if k, _ := a.registry.KeyByID(foreignKey); k.Revoked() {
		t.Error("a foreign key was revoked")
	}
	if n := len(a.registry.KeysOf(theirs)); n != 1 {
		t.Errorf("%d keys of the other tenant", n)
	}
}

func TestKeysOfATenant(t *testing.T) {
	a := newAPI(t)
	mine := a.tenant("mine")
	admin, _ := a.key(mine, `"ingest","read","admin"`)
	v := a.made(a.call(admin, "POST", "/v1/tenants/mine/keys", `{"name":"runtime","scopes":["ingest","read"]}`), 201)
	secret, id := v["key"].(string), v["id"].(string)
	if w := a.call(secret, "GET", "/v1/tenants/mine", ""); w.Code != 200 {
		t.Errorf("the new key: %d %s", w.Code, w.Body)
	}
	if w := a.call(secret, "GET", "/v1/tenants/mine/keys", ""); w.Code != 403 {
		t.Errorf("the new key lists keys: %d", w.Code)
	}
	list := a.call(admin, "GET", "/v1/tenants/mine/keys", "")
	if list.Code != 200 || !strings.Contains(list.Body.String(), id) || strings.Contains(list.Body.String(), secret) || strings.Contains(list.Body.String(), "hash") {
		t.Errorf("list: %d %s", list.Code, list.Body)
	}
	for range 2 {
		if w := a.call(admin, "DELETE", "/v1/keys/"+id, ""); w.Code != 200 || a.made(w, 200)["revoked_at"] == nil {
			t.Errorf("revoke: %d %s", w.Code, w.Body)
		}
	}
	w := a.call(secret, "GET", "/v1/tenants/mine", "")
	if w.Code != 401 || problemIn(t, w).Code != auth.CodeKeyRevoked || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("the revoked key: %d %s", w.Code, w.Body)
	}
}

func TestListIsPaged(t *testing.T) {
	a := newAPI(t)
	for _, slug := range []string{"ee", "bb", "dd", "aa", "cc"} {
		a.tenant(slug)
	}
	var got []string
	target := "/v1/tenants?limit=2"
	for pages := 0; target != ""; pages++ {
		if pages == 5 {
			t.Fatal("the list does not end")
		}
		v := a.made(a.call(a.platform, "GET", target, ""), 200)
		for _, item := range v["items"].([]any) {
			got = append(got, item.(map[string]any)["slug"].(string))
		}
		next, more := v["next_cursor"].(string)
		target = ""
		if more {
			target = "/v1/tenants?limit=2&cursor=" + next
		}
	}
	if diff := cmp.Diff([]string{"aa", "bb", "cc", "dd", "ee"}, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"limit=0", "limit=501", "limit=x", "cursor=Zm9yZ2Vk"} {
		if w := a.call(a.platform, "GET", "/v1/tenants?"+bad, ""); w.Code != 422 {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
}

func TestKeyInURLIsRefused(t *testing.T) {
	a := newAPI(t)
	w := a.call("", "GET", "/v1/tenants?api_key="+a.platform, "")
	if w.Code != 401 || problemIn(t, w).Code != auth.CodeKeyInURL {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
