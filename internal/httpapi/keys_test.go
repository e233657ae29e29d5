package httpapi

import (
	"testing"

	"github.com/agentik-os/panda/internal/auth"
)

// Nobody gives away more than they have: not by a key, not by the successor of another
// key, and not by a role that comes with a key.
func TestAdminKeysGiveNoMoreThanTheyHave(t *testing.T) {
	a := newAPI(t)
	mine, theirs := a.tenant("mine"), a.tenant("theirs")
	admin, _ := a.key(mine, `"admin","read"`)
	reader, readerID := a.key(mine, `"read"`)
	_, ingestID := a.key(mine, `"ingest","read"`)
	_, foreignID := a.key(theirs, `"read"`)
	const people = "/v1/tenants/mine/members"
	owner := a.made(a.call(a.platform, "POST", people, `{"email":"owner@mine.example","role":"owner"}`), 201)
	viewer := a.made(a.call(a.platform, "POST", people, `{"email":"viewer@mine.example","role":"viewer"}`), 201)
	invited := a.made(a.call(a.platform, "POST", "/v1/tenants/mine/invitations", `{"email":"second@mine.example","role":"owner"}`), 201)
	joined := a.made(a.call("", "POST", "/v1/invitations/accept", `{"token":"`+invited["token"].(string)+`"}`), 201)["key"].(map[string]any)
	all, _ := a.key(mine, `"ingest","import","read","admin"`)
	before := len(a.registry.KeysOf(mine)) + len(a.registry.KeysOf(theirs)) + len(a.registry.KeysOf(""))
	for _, row := range []struct {
		name, key, method, path, body string
		code                          int
		want                          string
	}{
		{"a scope it has not", admin, "POST", "/v1/tenants/mine/keys", `{"name":"x","scopes":["ingest"]}`, 403, auth.CodeInsufficientScope},
		{"one of several that it has not", admin, "POST", "/v1/tenants/mine/keys", `{"name":"x","scopes":["read","import"]}`, 403, auth.CodeInsufficientScope},
		{"the scope of owners", all, "POST", "/v1/tenants/mine/keys", `{"name":"x","scopes":["owner"]}`, 422, "invalid"},
		{"the scope of owners, from the platform", a.platform, "POST", "/v1/tenants/mine/keys", `{"name":"x","scopes":["owner"]}`, 422, "invalid"},
		{"for another tenant", all, "POST", "/v1/tenants/theirs/keys", `{"name":"x","scopes":["read"]}`, 404, "not_found"},
		{"a key without admin", reader, "POST", "/v1/tenants/mine/keys", `{"name":"x","scopes":["read"]}`, 403, auth.CodeInsufficientScope},
		{"the successor of a key that may more", admin, "POST", "/v1/keys/" + ingestID + "/rotate", `{}`, 403, auth.CodeInsufficientScope},
		{"the successor of an owner's own key", all, "POST", "/v1/keys/" + joined["id"].(string) + "/rotate", `{}`, 403, "owner_only"},
		{"the successor of another tenant's key", all, "POST", "/v1/keys/" + foreignID + "/rotate", `{}`, 404, "not_found"},
		{"an invitation to more", admin, "POST", "/v1/tenants/mine/invitations", `{"email":"x@mine.example","role":"admin"}`, 403, auth.CodeInsufficientScope},
		{"a member who may more", admin, "POST", people, `{"email":"x@mine.example","role":"member"}`, 403, auth.CodeInsufficientScope},
		{"a role that may more", admin, "PATCH", people + "/" + viewer["id"].(string), `{"role":"admin"}`, 403, auth.CodeInsufficientScope},
		{"an owner", all, "POST", people, `{"email":"x@mine.example","role":"owner"}`, 403, "owner_only"},
		{"an owner's role", all, "PATCH", people + "/" + owner["id"].(string), `{"role":"viewer"}`, 403, "owner_only"},
	} {
		w := a.call(row.key, row.method, row.path, row.body)
		if p := problemIn(t, w); w.Code != row.code || p.Code != row.want {
			t.Errorf("%s: %d %s; want %d %s", row.name, w.Code, w.Body, row.code, row.want)
		}
	}
	if after := len(a.registry.KeysOf(mine)) + len(a.registry.KeysOf(theirs)) + len(a.registry.KeysOf("")); after != before {
		t.Errorf("%d keys were made by what was refused", after-before)
	}
	// What it has it may give, and a key may always renew itself.
	a.made(a.call(admin, "POST", "/v1/tenants/mine/keys", `{"name":"another","scopes":["admin","read"]}`), 201)
	a.made(a.call(admin, "POST", "/v1/keys/"+readerID+"/rotate", `{}`), 201)
	a.made(a.call(admin, "POST", "/v1/tenants/mine/invitations", `{"email":"y@mine.example","role":"viewer"}`), 201)
	a.made(a.call(joined["key"].(string), "POST", "/v1/keys/"+joined["id"].(string)+"/rotate", `{}`), 201)
}
