package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/ratelimit"
	"github.com/agentik-os/panda/internal/tenancy"
)

// TestRateLimit: every authenticated request counts, whatever comes of it, before
// its body is read; every answer says how things stand.
func TestRateLimit(t *testing.T) {
	now := time.Date(2026, 5, 15, 12, 0, 0, 0, time.UTC)
	limiter := ratelimit.New(func() time.Time { return now })
	s := newServer(t, func(c *Config) {
		c.Limit = func(scope tenancy.Scope) ratelimit.State {
			if scope.IsPlatform() {
				return ratelimit.State{}
			}
			return limiter.Take(scope.TenantID(), 3)
		}
	})
	s.Handle("GET /v1/things", tenancy.PermissionRead, answer(""))
	s.Handle("POST /v1/things", tenancy.PermissionIngest, func(http.ResponseWriter, *http.Request, tenancy.Scope) error {
		return errors.New("broken")
	})
	const reader, ingester = "Authorization: ten_a/read", "Authorization: ten_a/ingest"
	for i, row := range []struct {
		method, header string
		status         int
		limit          string
	}{
		{"GET", "", 401, ""},
		{"GET", "Authorization: /read", 200, ""}, // the platform
		{"GET", reader, 200, `"api-calls";r=2;t=20`},
		{"GET", ingester, 403, `"api-calls";r=1;t=20`},
		{"POST", ingester, 500, `"api-calls";r=0;t=20`},
		{"GET", reader, 429, `"api-calls";r=0;t=20`},
		{"POST", ingester, 429, `"api-calls";r=0;t=20`},
		{"GET", "Authorization: ten_b/read", 200, `"api-calls";r=2;t=20`},
		{"GET", "Authorization: /read", 200, ""},
	} {
		w := do(s.Handler(), row.method, "/v1/things", row.header)
		if w.Code != row.status || w.Header().Get("RateLimit") != row.limit {
			t.Errorf("request %d: %d, %q", i, w.Code, w.Header().Get("RateLimit"))
		}
		policy := ""
		if row.limit != "" {
			policy = `"api-calls";q=3;w=60`
		}
		if got := w.Header().Get("RateLimit-Policy"); got != policy {
			t.Errorf("request %d: policy %q", i, got)
		}
		if row.status != 429 {
			continue
		}
		if got := w.Header().Get("Retry-After"); got != "20" {
			t.Errorf("request %d: retry after %q", i, got)
		}
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		want := Problem{Type: "https://iana.org/assignments/http-problem-types#quota-exceeded", Title: "API rate limit exceeded", Status: 429,
			Code: "rate_limited", Detail: "API rate limit exceeded. Current: 3, Max: 3. Upgrade your plan.", ViolatedPolicies: []string{"api-calls"}}
		if diff := cmp.Diff(want, p); diff != "" {
			t.Errorf("request %d (-want +got):\n%s", i, diff)
		}
	}
	now = now.Add(20 * time.Second)
	body := &untouched{t: t}
	r := httptest.NewRequest("POST", "/v1/things", body)
	r.Header.Set("Authorization", "ten_a/ingest")
	if w := httptest.NewRecorder(); true {
		do(s.Handler(), "GET", "/v1/things", reader) // the one that has come free
		s.Handler().ServeHTTP(w, r)
		if w.Code != 429 {
			t.Errorf("after the wait: %d", w.Code)
		}
	}
}

// untouched is a body that nobody may read.
type untouched struct{ t *testing.T }

func (u *untouched) Read([]byte) (int, error) {
	u.t.Error("the body of a refused request was read")
	return 0, io.EOF
}
