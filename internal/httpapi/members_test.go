package httpapi

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/tenancy"
)

// What a list of people says, whichever way round it is written.
func TestReadPeople(t *testing.T) {
	for _, row := range []struct{ name, csv, want string }{
		{"as the guide heads it", "name,email,role\nJohn Doe,john@acme.com,admin\n", "2 john@acme.com/John Doe/admin"},
		{"as the guide writes it", "john@acme.com,John Doe,admin\n", "1 john@acme.com/John Doe/admin"},
		{"both of them", "name,email,role\njohn@acme.com,John Doe,admin\n", "2 john@acme.com/John Doe/admin"},
		{"with a comment", "# CSV format: name,email,role\njohn@acme.com,John Doe,admin\n", "2 john@acme.com/John Doe/admin"},
		{"another order", "role,email,name\nadmin,john@acme.com,John Doe\n", "2 john@acme.com/John Doe/admin"},
		{"quotes, spaces and capitals", "name, email, role\n\"Doe, John\", John@Acme.com , ADMIN\n", "2 john@acme.com/Doe, John/admin"},
		{"a byte order mark", "\ufeffname,email,role\nJ,j@acme.com,admin\n", "2 j@acme.com/J/admin"},
		{"no rows", "name,email,role\n", ""},
		{"nothing", "", ""},
		{"a header with more than the three words", "name,role,x,email\nA,viewer,a@b.c\n",
			"1 !4 fields; a row is name,email,role|2 viewer/A/a@b.c"},
		{"a broken row in the middle", "a@acme.com,A,admin\nb@acme.com\nc@acme.com,C,viewer\n",
			"1 a@acme.com/A/admin|2 !1 fields; a row is name,email,role|3 c@acme.com/C/viewer"},
	} {
		people, report, err := readPeople(strings.NewReader(row.csv))
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		var got []string
		for i, p := range people {
			text := p.Email + "/" + p.Name + "/" + string(p.Role)
			if report[i].Detail != "" {
				text = "!" + report[i].Detail
			}
			got = append(got, string(rune('0'+report[i].Line))+" "+text)
		}
		if diff := cmp.Diff(row.want, strings.Join(got, "|")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, diff)
		}
	}
	if _, _, err := readPeople(strings.NewReader(strings.Repeat("a@b.c,A,viewer\n", tenancy.MembersMax+1))); err == nil {
		t.Error("a list without end is read")
	}
}

func TestInvitationsOverHTTP(t *testing.T) {
	a := newAPI(t)
	id := a.tenant("acme-corp")
	admin, _ := a.key(id, `"ingest","import","read","admin"`)
	member := func(email, role string) map[string]any {
		t.Helper()
		return a.made(a.call(a.platform, "POST", "/v1/tenants/acme-corp/members", `{"email":"`+email+`","role":"`+role+`"}`), 201)
	}
	owner := member("owner@acme.com", "owner")
	v := a.made(a.call(admin, "POST", "/v1/tenants/acme-corp/invitations", `{"email":"user@acme.com","role":"admin"}`), 201)
	token, _ := v["token"].(string)
	if v["status"] != "pending" || token == "" {
		t.Fatalf("invited: %v", v)
	}
	accept := func(token string) (int, string) {
		t.Helper()
		w := a.call("", "POST", "/v1/invitations/accept", `{"token":"`+token+`","name":"User"}`)
		return w.Code, w.Body.String()
	}
	tampered := "A" + token[1:]
	if token[0] == 'A' {
		tampered = "B" + token[1:]
	}
	for name, bad := range map[string]string{"tampered": tampered, "cut": token[:20], "empty": ""} {
		if code, body := accept(bad); code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	joined := a.made(a.call("", "POST", "/v1/invitations/accept", `{"token":"`+token+`","name":"User"}`), 201)
	key := joined["key"].(map[string]any)["key"].(string)
	if w := a.call(key, "GET", "/v1/tenants/acme-corp/members", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "user@acme.com") {
		t.Errorf("the new member's key: %d %s", w.Code, w.Body)
	}
	if code, body := accept(token); code != http.StatusConflict || !strings.Contains(body, "used already") {
		t.Errorf("again: %d %s", code, body)
	}
	// The key goes with the member and with the role.
	joinedID := joined["member"].(map[string]any)["id"].(string)
	a.made(a.call(a.platform, "PATCH", "/v1/tenants/acme-corp/members/"+joinedID, `{"role":"viewer"}`), 200)
	if w := a.call(key, "POST", "/v1/tenants/acme-corp/members", `{"email":"x@acme.com","role":"viewer"}`); w.Code != http.StatusForbidden {
		t.Errorf("the key of a member who is a viewer now: %d %s", w.Code, w.Body)
	}
	if w := a.call(a.platform, "DELETE", "/v1/tenants/acme-corp/members/"+joinedID, ""); w.Code != http.StatusNoContent {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := a.call(key, "GET", "/v1/tenants/acme-corp", ""); w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "no member any more") {
		t.Errorf("the key of who was removed: %d %s", w.Code, w.Body)
	}
	// Owners are named, changed and removed by owners and the platform alone.
	for _, row := range []struct{ method, path, body string }{
		{"POST", "/members", `{"email":"x@acme.com","role":"owner"}`},
		{"POST", "/invitations", `{"email":"x@acme.com","role":"owner"}`},
		{"PATCH", "/members/" + owner["id"].(string), `{"role":"viewer"}`},
		{"DELETE", "/members/" + owner["id"].(string), ""},
	} {
		if w := a.call(admin, row.method, "/v1/tenants/acme-corp"+row.path, row.body); w.Code != http.StatusForbidden {
			t.Errorf("%s %s by an admin: %d %s", row.method, row.path, w.Code, w.Body)
		}
	}
	if w := a.call(a.platform, "DELETE", "/v1/tenants/acme-corp/members/"+owner["id"].(string), ""); w.Code != http.StatusConflict {
		t.Errorf("the last owner is removed: %d %s", w.Code, w.Body)
	}
	member("other@acme.com", "owner")
	if w := a.call(a.platform, "DELETE", "/v1/tenants/acme-corp/members/"+owner["id"].(string), ""); w.Code != http.StatusNoContent {
		t.Errorf("an owner of two is removed: %d %s", w.Code, w.Body)
	}
}

func TestMembersPageByPage(t *testing.T) {
	a := newAPI(t)
	a.tenant("acme-corp")
	other := a.tenant("globex")
	var csv strings.Builder
	for i := range 120 {
		csv.WriteString("u" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + "@acme.com,U,viewer\n")
	}
	v := a.made(a.call(a.platform, "POST", "/v1/tenants/acme-corp/members/import", csv.String(), "Content-Type: text/csv"), 200)
	if v["added"] != 120.0 {
		t.Fatalf("%v", v)
	}
	seen, cursor := 0, ""
	for {
		page := a.made(a.call(a.platform, "GET", "/v1/tenants/acme-corp/members?limit=50&cursor="+cursor, ""), 200)
		seen += len(page["items"].([]any))
		next, _ := page["next_cursor"].(string)
		if next == "" {
			break
		}
		cursor = next
		if w := a.call(a.platform, "GET", "/v1/tenants/"+other+"/members?cursor="+cursor, ""); w.Code != 422 && w.Code != 400 {
			t.Errorf("a cursor of another tenant's list: %d %s", w.Code, w.Body)
		}
	}
	if seen != 120 {
		t.Errorf("%d members page by page", seen)
	}
}

func TestChangesOfATenantOverHTTP(t *testing.T) {
	a := newAPI(t)
	id := a.tenant("acme-corp")
	admin, _ := a.key(id, `"admin","read"`)
	w := a.call(a.platform, "GET", "/v1/tenants/acme-corp", "")
	old := w.Header().Get("ETag")
	for _, row := range []struct {
		name, key, method, path, body, header string
		code                                  int
		want                                  string
	}{
		{"quotas", a.platform, "PATCH", "", `{"quotas":{"max_agents":200,"max_monthly_tokens":"unlimited"}}`, "If-Match: " + old, 200, `"max_agents":200,"max_monthly_tokens":"unlimited"`},
		{"a stale ETag", a.platform, "PATCH", "", `{"name":"Other"}`, "If-Match: " + old, 412, "read it again"},
		{"no ETag but text", a.platform, "PATCH", "", `{"name":"Other"}`, "If-Match: W/\"3\"", 422, "/If-Match"},
		{"back to the plan's", a.platform, "PATCH", "", `{"quotas":{"max_agents":null}}`, "", 200, `"max_agents":10,`},
		{"a negative quota", a.platform, "PATCH", "", `{"quotas":{"max_agents":-5}}`, "", 422, "/quotas/max_agents"},
		{"a quota that overflows", a.platform, "PATCH", "", `{"quotas":{"max_storage_gb":99999999999999999999}}`, "", 422, "/quotas/max_storage_gb"},
		{"an unknown quota", a.platform, "PATCH", "", `{"quotas":{"max_gold":5}}`, "", 422, "/quotas/max_gold"},
		{"an unknown field", a.platform, "PATCH", "", `{"status":"active"}`, "", 422, "/status"},
		{"the id", a.platform, "PATCH", "", `{"id":"ten_x"}`, "", 422, "/id"},
		{"a budget of a department", a.platform, "PATCH", "", `{"budgets":[{"kind":"department","name":"Support","monthly_budget":"500"}]}`, "", 200, `"name":"Support","monthly_budget":"500.000000"`},
		{"a budget without an amount", a.platform, "PATCH", "", `{"budgets":[{"kind":"department","name":"eng"}]}`, "", 422, `"/budgets/0/monthly_budget"`},
		{"the second budget's amount", a.platform, "PATCH", "", `{"budgets":[{"kind":"agent","name":"a","monthly_budget":"1"},{"kind":"agent","name":"b","monthly_budget":"1,5"}]}`, "", 422, `"/budgets/1/monthly_budget"`},
		{"an amount that is a number", a.platform, "PATCH", "", `{"budgets":[{"kind":"agent","name":"a","daily_budget":5}]}`, "", 422, `"/budgets/0/daily_budget"`},
		{"a budget with a field too many", a.platform, "PATCH", "", `{"budgets":[{"kind":"agent","name":"a","amount":"5"}]}`, "", 422, `"/budgets/0/amount"`},
		{"a budget that is none", a.platform, "PATCH", "", `{"budgets":["agent"]}`, "", 422, `"/budgets/0"`},
		{"budgets that are none", a.platform, "PATCH", "", `{"budgets":"agent"}`, "", 422, `"/budgets"`},
		{"budgets of a day", a.platform, "PATCH", "", `{"daily_budget":"40","budgets":[{"kind":"department","name":"Support","daily_budget":"20"}]}`, "", 200,
			`"daily_budget":"40.000000","budgets":[{"kind":"department","name":"Support","daily_budget":"20.000000"}]`},
		{"no budget of a day", a.platform, "PATCH", "", `{"daily_budget":null}`, "", 200, `"daily_budget":null`},
		{"a negative budget of a day", a.platform, "PATCH", "", `{"daily_budget":"-1"}`, "", 422, "/daily_budget"},
		{"the plan it has, with its own limits", a.platform, "PUT", "/plan", `{"plan":"starter"}`, "", 200, `"max_monthly_tokens":"unlimited"`},
		{"a budget of nothing we know", a.platform, "PATCH", "", `{"budgets":[{"kind":"team","name":"x","monthly_budget":"5"}]}`, "", 422, "/budgets/0/kind"},
		{"a tenant raises its own quota", admin, "PATCH", "", `{"quotas":{"max_agents":1000}}`, "", 403, "platform_only"},
		{"a tenant's own name", admin, "PATCH", "", `{"name":"Acme Inc."}`, "", 200, `"name":"Acme Inc."`},
		{"a key cannot upgrade", admin, "PUT", "/plan", `{"plan":"pro"}`, "", 403, "lacks the scope owner"},
		{"an unknown plan", a.platform, "PUT", "/plan", `{"plan":"gold"}`, "", 422, "use starter, pro or enterprise"},
		{"upgrade", a.platform, "PUT", "/plan", `{"plan":"enterprise"}`, "", 200, `"max_agents":"unlimited"`},
		{"suspended", a.platform, "POST", "/suspend", `{"reason":"unpaid"}`, "", 200, `"suspended_reason":"unpaid"`},
		{"the key of a suspended tenant", admin, "GET", "", "", "", 403, "suspended"},
		{"resumed", a.platform, "POST", "/resume", "", "", 200, `"status":"trial"`},
		{"a tenant suspends itself", admin, "POST", "/suspend", "{}", "", 403, "platform_only"},
		{"permanent without saying so twice", a.platform, "DELETE", "?permanent=true", "", "", 422, "confirm=acme-corp"},
		{"permanent, another slug", a.platform, "DELETE", "?permanent=true&confirm=globex", "", "", 422, "confirm=acme-corp"},
		{"deleted", a.platform, "DELETE", "", "", "", 200, `"status":"deleted"`},
		{"restored", a.platform, "POST", "/restore", "", "", 200, `"status":"trial"`},
	} {
		var headers []string
		if row.header != "" {
			headers = []string{row.header}
		}
		w := a.call(row.key, row.method, "/v1/tenants/acme-corp"+row.path, row.body, headers...)
		if w.Code != row.code || !strings.Contains(w.Body.String(), row.want) {
			t.Errorf("%s: %d %s; want %d with %s", row.name, w.Code, w.Body, row.code, row.want)
		}
	}
}

func TestSignup(t *testing.T) {
	a := newAPI(t)
	body := `{"company":"Gamma Solutions GmbH","plan":"pro","email":"Owner@gamma.example","name":"G"}`
	if w := a.call("", "POST", "/v1/signup", body); w.Code != http.StatusUnauthorized {
		t.Errorf("anybody: %d %s", w.Code, w.Body)
	}
	v := a.made(a.call(a.platform, "POST", "/v1/signup", body, "Idempotency-Key: one"), 201)
	tenant := v["tenant"].(map[string]any)
	if tenant["slug"] != "gamma-solutions-gmbh" || tenant["status"] != "trial" || v["member"].(map[string]any)["role"] != "owner" {
		t.Errorf("%v", v)
	}
	key := v["key"].(map[string]any)["key"].(string)
	if w := a.call(key, "GET", "/v1/tenants/gamma-solutions-gmbh", ""); w.Code != 200 {
		t.Errorf("the owner's key: %d %s", w.Code, w.Body)
	}
	if w := a.call(a.platform, "POST", "/v1/signup", `{"company":"","email":"a@b.c"}`); w.Code != 422 || !strings.Contains(w.Body.String(), "/company") {
		t.Errorf("no company: %d %s", w.Code, w.Body)
	}
	if w := a.call(a.platform, "POST", "/v1/signup", `{"company":"X Y","email":"nobody"}`); w.Code != 422 || !strings.Contains(w.Body.String(), "/email") {
		t.Errorf("no address: %d %s", w.Code, w.Body)
	}
}

// Where everybody may sign up, nobody gets a key to what somebody else made by sending
// what they sent, under the same Idempotency-Key or under one of the platform's.
func TestOpenSignupIsNotJoinedByRepeating(t *testing.T) {
	a := newAPI(t, func(t *Tenants) { t.OpenSignup = true })
	first := `{"company":"First","slug":"first","email":"owner@first.example","name":"F"}`
	a.made(a.call("", "POST", "/v1/signup", first, "Idempotency-Key: one"), 201)
	if w := a.call("somebody else", "POST", "/v1/signup", first, "Idempotency-Key: one"); w.Code != http.StatusConflict || strings.Contains(w.Body.String(), "panda_") {
		t.Errorf("again: %d %s", w.Code, w.Body)
	}
	a.made(a.call(a.platform, "POST", "/v1/tenants", `{"name":"Second","slug":"second","billing_email":"owner@second.example"}`, "Idempotency-Key: two"), 201)
	w := a.call("", "POST", "/v1/signup", `{"company":"Second","slug":"second","email":"owner@second.example"}`, "Idempotency-Key: two")
	if w.Code != http.StatusConflict || strings.Contains(w.Body.String(), "panda_") {
		t.Errorf("what the platform made: %d %s", w.Code, w.Body)
	}
	if second, _ := a.registry.BySlug("second"); len(a.registry.MembersOf(second.ID)) != 0 || len(a.registry.KeysOf(second.ID)) != 0 {
		t.Error("somebody has become a member of what the platform made")
	}
}

func TestRotationOverHTTP(t *testing.T) {
	a := newAPI(t)
	id := a.tenant("acme-corp")
	admin, adminID := a.key(id, `"admin","read"`)
	v := a.made(a.call(admin, "POST", "/v1/keys/"+adminID+"/rotate", `{"overlap_seconds":3600}`), 201)
	next := v["key"].(string)
	for name, key := range map[string]string{"the old key": admin, "the new key": next} {
		if w := a.call(key, "GET", "/v1/tenants/acme-corp/keys", ""); w.Code != 200 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	v = a.made(a.call(next, "POST", "/v1/keys/"+v["id"].(string)+"/rotate", ""), 201)
	if w := a.call(next, "GET", "/v1/tenants/acme-corp/keys", ""); w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "successor") {
		t.Errorf("a key without overlap: %d %s", w.Code, w.Body)
	}
	if _, err := time.Parse(time.RFC3339, v["old"].(map[string]any)["expires_at"].(string)); err != nil {
		t.Error(err)
	}
}
