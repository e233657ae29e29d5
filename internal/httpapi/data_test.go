package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/tenancy"
)

// exported and erasedUser are what stands behind the routes in these tests: what the
// program does there is tested where it is wired.
func exported(_ context.Context, scope tenancy.Scope, tenantID string, w io.Writer, format string) error {
	if format == "zip" {
		return errors.New("the store is away")
	}
	if _, err := io.WriteString(w, `{"tenant":{"id":"`+tenantID+`"}`); err != nil {
		return err
	}
	if format == "ndjson" {
		return errors.New("the store went away in the middle")
	}
	_, err := io.WriteString(w, `,"manifest":{"created_by":"`+scope.Actor()+`"}}`)
	return err
}

func erasedUser(_ context.Context, by tenancy.Actor, tenantID, user string, step Step) (any, error) {
	step("rows", 1, 2)
	now := time.Now().UTC()
	return erasure.Certificate{Version: 1, Erasure: "era_abcdefgh2345", TenantID: tenantID, Scope: "user", Actor: by.ID,
		StartedAt: now, FinishedAt: now, Erased: map[string]uint64{"usage_raw": uint64(len(user))}, SHA256: strings.Repeat("0", 64)}, nil
}

func withData(t *Tenants) {
	t.Export, t.EraseUser, t.Operations = exported, erasedUser, &Operations{Base: context.Background()}
}

func TestExportOverHTTP(t *testing.T) {
	a := newAPI(t, withData)
	id := a.tenant("acme-corp")
	other := a.tenant("globex")
	admin, _ := a.key(id, `"admin"`)
	server := httptest.NewServer(a.h)
	defer server.Close()
	ask := func(tenant, format string) (*http.Response, string, error) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/v1/tenants/"+tenant+"/export?format="+format, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+admin)
		res, err := server.Client().Do(r)
		if err != nil {
			return &http.Response{}, "", err // it broke off before the first packet
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return res, string(body), err
	}
	res, body, err := ask("acme-corp", "json")
	if err != nil || res.StatusCode != 200 || !json.Valid([]byte(body)) || res.Header.Get("Content-Type") != "application/json" ||
		!strings.HasPrefix(res.Header.Get("Content-Disposition"), `attachment; filename="acme-corp-`) {
		t.Errorf("%d %v %s: %v", res.StatusCode, res.Header, body, err)
	}
	// What fails before the first byte has an answer of its own; what fails later breaks
	// off, so that nobody takes a part for the whole.
	if res, body, err := ask("acme-corp", "zip"); err != nil || res.StatusCode != 500 || strings.Contains(body, "store") {
		t.Errorf("failed at once: %d %s: %v", res.StatusCode, body, err)
	}
	if res, body, err := ask("acme-corp", "ndjson"); err == nil {
		t.Errorf("failed later and looks whole: %d %s", res.StatusCode, body)
	}
	for name, tenant := range map[string]string{"another tenant's": other, "nobody's": "ten_aaaaaaaaaaaa"} {
		if res, body, _ := ask(tenant, "json"); res.StatusCode != 404 {
			t.Errorf("%s: %d %s", name, res.StatusCode, body)
		}
	}
	if res, body, _ := ask("acme-corp", "pdf"); res.StatusCode != 422 {
		t.Errorf("an unknown format: %d %s", res.StatusCode, body)
	}
}

func TestEraseUserOverHTTP(t *testing.T) {
	a := newAPI(t, withData)
	id := a.tenant("acme-corp")
	admin, _ := a.key(id, `"admin"`)
	v := a.made(a.call(a.platform, "POST", "/v1/tenants/acme-corp/erase-user", `{"user":"user_xyz789"}`), 200)
	if v["tenant_id"] != id || v["erased"].(map[string]any)["usage_raw"] != 11.0 {
		t.Errorf("%v", v)
	}
	for body, code := range map[string]int{`{"user":""}`: 422, `{}`: 422, `{"user":"x","tenant":"y"}`: 422} {
		if w := a.call(a.platform, "POST", "/v1/tenants/acme-corp/erase-user", body); w.Code != code {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if w := a.call(admin, "POST", "/v1/tenants/acme-corp/erase-user", `{"user":"x"}`); w.Code != http.StatusForbidden {
		t.Errorf("a key: %d %s", w.Code, w.Body)
	}
}
