package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

func TestParseProxies(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "[]", "10.0.0.0/8, 127.0.0.1": "[10.0.0.0/8 127.0.0.1/32]", "fd00::/8,::1": "[fd00::/8 ::1/128]", "10.1.2.3/8": "[10.0.0.0/8]",
		"10.0.0.0/40": "malformed", "proxy.example": "malformed", "10.0.0.0-10.0.0.9": "malformed", "::ffff:10.0.0.1": "malformed",
		"0.0.0.0/0": "not_allowed", "10.0.0.0/8,::/0": "not_allowed",
	} {
		list, err := parseProxies(text)
		got := fmt.Sprint(list)
		var field *schemas.FieldError
		if errors.As(err, &field) {
			got = field.Code
		}
		if got != want {
			t.Errorf("%q is %s, want %s: %v", text, got, want, err)
		}
	}
}

// Who changed something from where is what the proxy in front says, and what the client
// says is nothing: without a proxy that is trusted, and before the hop that it wrote.
func TestAddressBehindAProxy(t *testing.T) {
	for proxies, want := range map[string]string{"": "127.0.0.1", "10.0.0.0/8": "127.0.0.1", "127.0.0.0/8,10.0.0.0/8": "203.0.113.9"} {
		t.Run("trusted "+proxies, func(t *testing.T) {
			e := &erasing{t: t, dir: filepath.Join(t.TempDir(), "data"), proxies: proxies, secrets: map[string]string{}}
			e.start()
			t.Cleanup(e.stop)
			ask := func(key, body string) int {
				t.Helper()
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.server.Addr()+"/v1/tenants", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+key)
				r.Header.Set("Content-Type", "application/json")
				r.Header.Add("X-Forwarded-For", "198.51.100.66, 203.0.113.9") // the client wrote the first
				r.Header.Add("X-Forwarded-For", "10.9.9.9")
				res, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				return res.StatusCode
			}
			if status := ask(e.AdminKey(), `{"name":"Acme","slug":"acme-corp"}`); status != http.StatusCreated {
				t.Fatalf("status %d", status)
			}
			entries, _, err := e.registry.Audit(t.Context(), tenancy.ScopeOf("", "key:test", tenancy.PermissionAdmin),
				tenancy.AuditQuery{Action: "tenant.created", Limit: 10})
			if err != nil || len(entries) != 1 || entries[0].IP != want {
				t.Errorf("the audit log has %+v, %v; want the address %s", entries, err, want)
			}
		})
	}
}
