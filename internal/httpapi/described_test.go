package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/tenancy"
)

// What no other test asks for, so that each answer was held against the API's
// description at least once.
func TestTheRestOfTheRegistryAnswersAsDescribed(t *testing.T) {
	a := newAPI(t)
	a.tenant("mine")
	if v := a.made(a.call(a.platform, "POST", "/v1/tenants/mine/activate", ""), 200); v["status"] != "active" {
		t.Errorf("after its trial: %v", v["status"])
	}
	member := a.made(a.call(a.platform, "POST", "/v1/tenants/mine/members", `{"email":"Jane@acme.com","name":"Jane Smith","role":"owner"}`), 201)
	other := a.made(a.call(a.platform, "POST", "/v1/tenants/mine/members", `{"email":"john@acme.com","role":"viewer"}`), 201)
	if v := a.made(a.call(a.platform, "PATCH", "/v1/tenants/mine/members/"+other["id"].(string), `{"role":"admin"}`), 200); v["role"] != "admin" || member["email"] != "jane@acme.com" {
		t.Errorf("%v, %v", v, member)
	}
	invited := a.made(a.call(a.platform, "POST", "/v1/tenants/mine/invitations", `{"email":"new@acme.com","role":"member"}`), 201)
	list := a.made(a.call(a.platform, "GET", "/v1/tenants/mine/invitations", ""), 200)
	if items := list["items"].([]any); len(items) != 1 || items[0].(map[string]any)["status"] != "pending" || items[0].(map[string]any)["token"] != nil {
		t.Errorf("%v", list)
	}
	if v := a.made(a.call(a.platform, "DELETE", "/v1/tenants/mine/invitations/"+invited["id"].(string), ""), 200); v["status"] != "revoked" {
		t.Errorf("%v", v)
	}
	plans := a.call(a.platform, "GET", "/v1/plans", "")
	pro := a.made(a.call(a.platform, "GET", "/v1/plans/pro", ""), 200)
	if pro["quotas"].(map[string]any)["max_agents"] != 100.0 || plans.Header().Get("ETag") == "" || !strings.Contains(plans.Body.String(), `"max_agents":"unlimited"`) {
		t.Errorf("%v, %s", pro, plans.Body)
	}
	for _, path := range []string{"/v1/audit?tenant=mine&action=member.added", "/v1/tenants/mine/audit?action=member.&outcome=ok"} {
		entries := a.made(a.call(a.platform, "GET", path, ""), 200)["items"].([]any)
		if len(entries) < 2 || entries[0].(map[string]any)["action"] == "" {
			t.Errorf("%s: %v", path, entries)
		}
	}
	const mergePatch = "Content-Type: application/merge-patch+json"
	if v := a.made(a.call(a.platform, "PATCH", "/v1/tenants/mine", `{"name":"Mine"}`, mergePatch), 200); v["name"] != "Mine" {
		t.Errorf("%v", v)
	}
	if w := a.call(a.platform, "POST", "/v1/tenants", `{"name":"x","slug":"xx"}`, mergePatch); w.Code != 415 {
		t.Errorf("a tenant is made of a patch: %d", w.Code)
	}
}

// A file in each format, and a tenant that is gone for ever.
func TestDataAnswersAsDescribed(t *testing.T) {
	a := newAPI(t, func(tenants *Tenants) {
		tenants.Operations = &Operations{Base: t.Context()}
		tenants.Export = func(_ context.Context, _ tenancy.Scope, _ string, w io.Writer, format string) error {
			_, err := io.WriteString(w, map[string]string{"json": `{"manifest":{}}`, "ndjson": `{"section":"manifest","record":{}}`, "zip": "PK"}[format])
			return err
		}
		tenants.Erase = func(ctx context.Context, by tenancy.Actor, id string, _ Step) error {
			certificate, err := json.Marshal(erasure.Certificate{Version: 1, Erasure: "era_abcdefgh2345", TenantID: id, Scope: "tenant", Actor: by.ID, Erased: map[string]uint64{"usage_raw": 3}})
			if err == nil {
				_, err = tenants.Registry.Erased(ctx, by, id, certificate)
			}
			return err
		}
	})
	a.tenant("mine")
	server := httptest.NewServer(a.h)
	defer server.Close()
	for format, media := range map[string]string{"": "application/json", "json": "application/json", "ndjson": "application/x-ndjson", "zip": "application/zip"} {
		// A write has a deadline, so there has to be a connection.
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/v1/tenants/mine/export?format="+format, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+a.platform)
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != media || !strings.Contains(res.Header.Get("Content-Disposition"), `"mine-`) {
			t.Errorf("%q: %d %v", format, res.StatusCode, res.Header)
		}
	}
	const forEver = "/v1/tenants/mine?permanent=true&confirm=mine"
	if v := a.made(a.call(a.platform, "DELETE", forEver, ""), 200); v["status"] != "erased" {
		t.Errorf("%v", v)
	}
}

func TestKeysArePaged(t *testing.T) {
	a := newAPI(t)
	a.tenant("mine")
	var made, got []string
	for range 5 {
		_, id := a.key("mine", `"read"`)
		made = append(made, id)
	}
	for target := "/v1/tenants/mine/keys?limit=2"; target != ""; {
		v := a.made(a.call(a.platform, "GET", target, ""), 200)
		for _, item := range v["items"].([]any) {
			got = append(got, item.(map[string]any)["id"].(string))
		}
		next, more := v["next_cursor"].(string)
		if target = ""; more {
			target = "/v1/tenants/mine/keys?limit=2&cursor=" + next
		}
		if len(got) > len(made) {
			t.Fatal("the list does not end")
		}
	}
	if diff := cmp.Diff(made, got); diff != "" {
		t.Error(diff)
	}
}
