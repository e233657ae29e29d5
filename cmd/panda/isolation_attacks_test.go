package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// An attack is tried for real, over the doors that everybody has.
type attack struct {
	id, attempt string
	want        string // what has to come of it
	try         func() string
}

// TestAttacks makes every attack and prints what came of it. A is the attacker, a
// tenant with every permission a tenant can have, B the victim.
func TestAttacks(t *testing.T) {
	w := newWorld(t)
	f := &fight{world: w, viewer: w.alpha.person("attack-viewer", tenancy.RoleViewer), member: w.alpha.person("attack-member", tenancy.RoleMember),
		admin: w.alpha.person("attack-admin", tenancy.RoleAdmin), outside: &caller{name: "outside", refused: http.StatusUnauthorized}}
	var list []attack
	for _, some := range []func() []attack{f.naming, f.ids, f.cursors, f.mixing, f.assignment, f.functions, f.statements, f.tokens, f.issuer,
		f.revocation, f.keys, f.scopes, f.canary, f.malformed, f.suspension} {
		list = append(list, some()...)
	}
	var table strings.Builder
	rows := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(rows, "id\tattempt\texpected\tgot\t")
	for _, a := range list {
		got, mark := a.try(), ""
		// A time that was measured is written behind what it must be.
		if answer, _, _ := strings.Cut(got, " after "); answer != a.want {
			mark = "WRONG"
			t.Errorf("%s, %s: %s; want %s", a.id, a.attempt, got, a.want)
		}
		fmt.Fprintf(rows, "%s\t%s\t%s\t%s\t%s\n", a.id, a.attempt, a.want, got, mark)
	}
	_ = rows.Flush() // into memory
	t.Logf("%d attacks\n%s", len(list), table.String())
}

// fight is a world with people of A.
type fight struct {
	*world
	viewer, member, admin, outside *caller
}

// ask sends a request and says what came back.
func (f *fight) ask(c *caller, method, path, body string, headers ...string) string {
	a := ask{method: method, path: path, body: body, header: map[string]string{}}
	for i := 0; i+1 < len(headers); i += 2 {
		a.header[headers[i]] = headers[i+1]
	}
	return f.do(c, a).String()
}

// counted says by how much the calls of A and B grew.
func (f *fight) counted(try func() string) string {
	f.Helper()
	calls := func(s *side) int64 {
		f.settled()
		totals, _, _ := f.p.shards[0].live.Totals(s.id, schemas.WindowOf(schemas.GrainMonth, time.Now()))
		return totals.Calls
	}
	a, b := calls(f.alpha), calls(f.beta)
	got := try()
	return fmt.Sprintf("%s, A +%d, B +%d", got, calls(f.alpha)-a, calls(f.beta)-b)
}

// settled waits until everything on the log is counted.
func (f *fight) settled() {
	f.Helper()
	last, _, err := usageLog{log: f.p.log, appended: f.p.appended}.End(f.Context())
	if err == nil {
		err = f.p.shards[0].live.WaitFor(f.Context(), last)
	}
	if err != nil {
		f.Fatal(err)
	}
}

// event posts an event of A with one thing changed.
func (f *fight) event(id string, change func(event, data map[string]any), headers ...string) string {
	e := f.alpha.event(id, nil)
	change(e, e["data"].(map[string]any))
	body, err := json.Marshal(e)
	if err != nil {
		f.Fatal(err)
	}
	return f.ask(f.alpha.key, "POST", "/v1/events", string(body), append([]string{"Content-Type", "application/cloudevents+json"}, headers...)...)
}

func unchanged(_, _ map[string]any) {}

// naming is S1: somebody else is named beside the credential.
func (f *fight) naming() []attack {
	b := f.beta
	return []attack{
		{"S1", "an event with tenant_id = B", "422 invalid, A +0, B +0", func() string {
			return f.counted(func() string { return f.event("s1a", func(e, _ map[string]any) { e["tenant_id"] = b.id }) })
		}},
		{"S1", "an event with data.tenant = B", "422 invalid, A +0, B +0", func() string {
			return f.counted(func() string { return f.event("s1b", func(_, d map[string]any) { d["tenant"] = b.id }) })
		}},
		{"S1", "an event whose subject is B", "200, A +1, B +0", func() string {
			return f.counted(func() string { return f.event("s1c", func(e, _ map[string]any) { e["subject"] = b.id }) })
		}},
		{"S1", "X-Tenant-Id: B", "200, A +1, B +0", func() string {
			return f.counted(func() string { return f.event("s1d", unchanged, "X-Tenant-Id", b.id, "X-Panda-Tenant", b.slug) })
		}},
		{"S1", "POST /v1/events?tenant=B", "404 not_found, A +0, B +0", func() string {
			return f.counted(func() string { return f.ask(f.alpha.key, "POST", "/v1/events?tenant="+b.slug, "[]") })
		}},
		{"S1", "POST /v1/import?tenant=B", "404 not_found, A +0, B +0", func() string {
			return f.counted(func() string { return f.ask(f.alpha.key, "POST", "/v1/import?tenant="+b.id, "[]") })
		}},
		{"S1", "GET /v1/usage?tenant=A&tenant=B", "A's", func() string {
			got := f.do(f.alpha.key, ask{method: "GET", path: "/v1/usage?tenant=" + f.alpha.id + "&tenant=" + b.id + "&by=agent"})
			return whose(got, f.alpha, b)
		}},
		{"S1", "NATS: A publishes on usage.B", "refused, A +0, B +0", func() string {
			return f.counted(func() string { return f.publishOn(f.alpha.key.bearer(), schemas.DirectSubject(b.id)) })
		}},
		{"S1", "NATS: A publishes on usage.>, door.B and $JS.API", "refused refused refused", func() string {
			var got []string
			for _, subject := range []string{"usage.>", "door." + b.id, "$JS.API.STREAM.PURGE.USAGE"} {
				got = append(got, f.publishOn(f.alpha.key.bearer(), subject))
			}
			return strings.Join(got, " ")
		}},
		{"S1", "NATS: an event on usage.A with tenant_id = B", "A's quarantine, A +0, B +0", func() string {
			return f.counted(func() string {
				place := f.alpha.publish(f.alpha.key, schemas.DirectSubject(f.alpha.id), `{"specversion":"1.0","id":"s1n","source":"/x","type":"llm.call","time":"`+
					time.Now().UTC().Format(time.RFC3339)+`","tenant_id":"`+b.id+`","data":{"model":"m"}}`)
				got := f.do(f.alpha.key, ask{method: "GET", path: "/v1/quarantine"})
				if strings.Contains(got.body, fmt.Sprintf(`"%d-0"`, place)) && !strings.Contains(f.do(b.key, ask{method: "GET", path: "/v1/quarantine"}).body, "s1n") {
					return "A's quarantine"
				}
				return got.body
			})
		}},
	}
}

// whose says whose names an answer holds.
func whose(got answer, a, b *side) string {
	switch ofA, ofB := strings.Contains(got.body, a.tag), strings.Contains(got.body, b.tag); {
	case got.status != http.StatusOK:
		return got.String()
	case ofA && !ofB:
		return "A's"
	case ofB:
		return "B's"
	}
	return "nobody's"
}

// publishOn tries a subject with a key of A.
func (f *fight) publishOn(secret, subject string) string {
	refused := make(chan error, 4)
	conn, err := f.connect(secret, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		return "not let in"
	}
	defer conn.Close()
	if err := conn.Publish(subject, []byte(`{}`)); err != nil {
		return err.Error()
	}
	if err := conn.Flush(); err != nil {
		return err.Error()
	}
	select {
	case err := <-refused:
		if errors.Is(err, nats.ErrPermissionViolation) {
			return "refused"
		}
		return err.Error()
	case <-time.After(5 * time.Second): // a broker that refuses says so before it answers the flush
		return "taken"
	}
}

// ids is S2: every id of B, in every place of every route, by everybody of A.
func (f *fight) ids() []attack {
	return []attack{{"S2", "every route with ids of B as A's key, owner, admin, member and viewer", "0 differ from an unknown id", func() string {
		// B's id is among what A has sent itself by now, and finds again.
		k := &walk{world: f.world, cursors: map[string]string{}, secrets: []string{f.beta.tag}}
		for _, route := range f.p.server.Routes() {
			if len(targetOf(route).parameters()) == 0 {
				continue
			}
			for _, c := range []*caller{f.alpha.key, f.alpha.owner, f.admin, f.member, f.viewer} {
				k.visit(route, c)
			}
		}
		return fmt.Sprintf("%d differ from an unknown id after %d requests", k.leaks, k.cases)
	}}, {"S2", "the Idempotency-Key under which B made a key, by A, by a viewer of B, by nobody", "404 not_found, 403 insufficient_scope, 401 key_missing", func() string {
		path, body := "/v1/tenants/"+f.beta.id+"/keys", `{"name":"kept","scopes":["read"]}`
		if got := f.ask(f.beta.key, "POST", path, body, "Idempotency-Key", "order-1"); got != "201" {
			return got
		}
		var got []string
		for _, c := range []*caller{f.alpha.key, f.beta.person("viewer", tenancy.RoleViewer), f.outside} {
			got = append(got, f.ask(c, "POST", path, body, "Idempotency-Key", "order-1"))
		}
		return strings.Join(got, ", ")
	}}, {"S2", "the Idempotency-Key under which the platform made a tenant, by A", "403 platform_only", func() string {
		body := `{"name":"Made Once","slug":"made-once"}`
		if got := f.ask(f.platform, "POST", "/v1/tenants", body, "Idempotency-Key", "order-2"); got != "201" {
			return got
		}
		return f.ask(f.alpha.key, "POST", "/v1/tenants", body, "Idempotency-Key", "order-2")
	}}}
}

// cursors is S3.
func (f *fight) cursors() []attack {
	k := &walk{world: f.world, cursors: map[string]string{}}
	for _, route := range f.p.server.Routes() {
		k.cursorOf(route)
	}
	each := func(change func(string) string) string {
		var got []string
		for pattern, cursor := range k.cursors {
			path := strings.ReplaceAll(strings.TrimPrefix(pattern, "GET "), "{tenant}", f.alpha.id)
			if s := f.ask(f.alpha.owner, "GET", path+"?cursor="+change(cursor), ""); !slices.Contains(got, s) {
				got = append(got, s)
			}
		}
		return fmt.Sprintf("%s after %d lists", strings.Join(got, ", "), len(k.cursors))
	}
	return []attack{
		{"S3", "cursors of B's lists", "422 invalid", func() string { return each(func(c string) string { return c }) }},
		{"S3", "the same, one character changed", "422 invalid", func() string {
			return each(func(c string) string { return c[:len(c)-2] + string('A'+(c[len(c)-2]-'A'+1)%26) + c[len(c)-1:] })
		}},
		{"S3", "GET /v1/usage?by=tenant", "422 invalid", func() string { return f.ask(f.alpha.key, "GET", "/v1/usage?by=tenant", "") }},
		{"S3", "GET /v1/audit?tenant=B and ?actor=B's key", "404 not_found, nothing of B", func() string {
			got := f.do(f.alpha.key, ask{method: "GET", path: "/v1/audit?actor=key:" + f.beta.keyID})
			if strings.Contains(got.body, f.beta.id) || got.status != http.StatusOK {
				return got.body
			}
			return f.ask(f.alpha.key, "GET", "/v1/audit?tenant="+f.beta.id, "") + ", nothing of B"
		}},
		{"S3", "an event of B by id and source", "404 not_found", func() string {
			return f.ask(f.alpha.key, "GET", "/v1/events?id="+f.beta.n("first")+"&source=/"+f.beta.n("source"), "")
		}},
		{"S3", "ids of B's events at /v1/events/lookup", "missing", func() string {
			got := f.do(f.alpha.key, ask{method: "POST", path: "/v1/events/lookup", body: bodyFor("POST /v1/events/lookup", f.world)})
			if strings.Contains(got.body, `"found":[]`) && strings.Contains(got.body, `"missing":["`) {
				return "missing"
			}
			return got.body
		}},
		{"S3", "everything of the log after place 0-0", "A's", func() string {
			return whose(f.do(f.alpha.key, ask{method: "GET", path: "/v1/events?after=0-0&limit=1000"}), f.alpha, f.beta)
		}},
	}
}

// mixing is S4: a batch in which somebody else is named.
func (f *fight) mixing() []attack {
	return []attack{{"S4", "a batch of A's events, one with tenant_id = B", "200 and that one rejected, A +1, B +0", func() string {
		return f.counted(func() string {
			mixed := f.alpha.event("s4b", nil)
			mixed["tenant_id"] = f.beta.id
			body, _ := json.Marshal([]any{f.alpha.event("s4a", nil), mixed})
			got := f.do(f.alpha.key, ask{method: "POST", path: "/v1/events", body: string(body), header: map[string]string{"Content-Type": "application/cloudevents-batch+json"}})
			if strings.Contains(got.body, `"rejected"`) {
				return got.String() + " and that one rejected"
			}
			return got.body
		})
	}}}
}

// assignment is S5: fields that are not the caller's to set.
func (f *fight) assignment() []attack {
	own := "/v1/tenants/" + f.alpha.id
	k := f.alpha.key
	event := func(name string, value any) attack {
		return attack{"S5", "an event with data." + name, "422 invalid", func() string {
			return f.event("s5"+name, func(_, d map[string]any) { d[name] = value })
		}}
	}
	return []attack{
		{"S5", "PATCH the own tenant's status, id, plan, revision", "422 invalid ×4", func() string {
			got := ""
			for _, body := range []string{`{"status":"active"}`, `{"id":"` + f.beta.id + `"}`, `{"plan":"enterprise"}`, `{"revision":1}`} {
				if s := f.ask(k, "PATCH", own, body); got != "" && s != got {
					return got + " and " + s
				} else {
					got = s
				}
			}
			return got + " ×4"
		}},
		{"S5", "PATCH the own quotas", "403 platform_only", func() string { return f.ask(k, "PATCH", own, `{"quotas":{"max_agents":"unlimited"}}`) }},
		{"S5", "PATCH the own org_id to B's", "403 platform_only", func() string { return f.ask(k, "PATCH", own, `{"org_id":"`+f.beta.n("org")+`"}`) }},
		{"S5", "PATCH the own Stripe customer to B's", "403 platform_only", func() string { return f.ask(k, "PATCH", own, `{"stripe_customer_id":"cus_`+f.beta.tag+`"}`) }},
		{"S5", "an admin makes an owner", "403 owner_only", func() string {
			return f.ask(f.admin, "POST", own+"/members", `{"email":"x@example.com","role":"owner"}`)
		}},
		{"S5", "an admin makes themselves owner", "403 owner_only", func() string {
			return f.ask(f.admin, "PATCH", own+"/members/"+f.idOf("attack-admin"), `{"role":"owner"}`)
		}},
		{"S5", "a member with tenant_id = B", "422 invalid", func() string {
			return f.ask(k, "POST", own+"/members", `{"email":"x@example.com","role":"viewer","tenant_id":"`+f.beta.id+`"}`)
		}},
		{"S5", "a key with the scope owner", "422 invalid", func() string { return f.ask(k, "POST", own+"/keys", `{"name":"x","scopes":["owner"]}`) }},
		{"S5", "a key with tenant_id = B", "422 invalid", func() string {
			return f.ask(k, "POST", own+"/keys", `{"name":"x","scopes":["read"],"tenant_id":"`+f.beta.id+`"}`)
		}},
		event("price", "0"), event("cost", "0"), event("accepted", true), event("tenant_id", f.beta.id),
	}
}

// idOf is the member that a person of A is.
func (f *fight) idOf(name string) string {
	for _, m := range f.p.registry.MembersOf(f.alpha.id) {
		if strings.HasPrefix(m.Email, f.alpha.n("sub-"+name)) {
			return m.ID
		}
	}
	f.Fatalf("%s is no member", name)
	return ""
}

// functions is S6: what takes another role, under other names.
func (f *fight) functions() []attack {
	own := "/v1/tenants/" + f.alpha.id
	row := func(attempt, want string, c *caller, method, path, body string, headers ...string) attack {
		return attack{"S6", attempt, want, func() string { return f.ask(c, method, path, body, headers...) }}
	}
	return []attack{
		row("a member lists keys", "403 insufficient_scope", f.member, "GET", own+"/keys", ""),
		row("a viewer invites", "403 insufficient_scope", f.viewer, "POST", own+"/invitations", "{}"),
		row("an admin deletes the tenant", "403 insufficient_scope", f.admin, "DELETE", own, ""),
		row("an owner lists all tenants", "403 platform_only", f.alpha.owner, "GET", "/v1/tenants", ""),
		row("an owner verifies the platform", "403 platform_only", f.alpha.owner, "POST", "/v1/verify", ""),
		row("GET with X-HTTP-Method-Override: DELETE", "200", f.viewer, "GET", own, "", "X-HTTP-Method-Override", "DELETE"),
		row("POST with ?_method=DELETE", "405 method_not_allowed", f.viewer, "POST", own+"?_method=DELETE", ""),
		row("//v1//tenants", "404 not_found", f.viewer, "GET", "//v1//tenants", ""),
		row("/v1/tenants/", "404 not_found", f.viewer, "GET", "/v1/tenants/", ""),
		row("/v1/usage/../tenants", "404 not_found", f.viewer, "GET", "/v1/usage/../tenants", ""),
		row("/v1/usage/%2e%2e/tenants", "404 not_found", f.viewer, "GET", "/v1/usage/%2e%2e/tenants", ""),
		row("/V1/TENANTS", "404 not_found", f.viewer, "GET", "/V1/TENANTS", ""),
		row("/v1/tenants/A%2Fkeys", "404 not_found", f.viewer, "GET", own+"%2Fkeys", ""),
		row("/v1/tenants/A%2F..%2FB", "404 not_found", f.alpha.owner, "GET", own+"%2F..%2F"+f.beta.id, ""),
		row("/v1/tenants/B%00", "404 not_found", f.alpha.owner, "GET", "/v1/tenants/"+f.beta.id+"%00", ""),
		row("X-Original-URL: /v1/tenants", "200", f.viewer, "GET", own, "", "X-Original-URL", "/v1/tenants"),
	}
}

// keys is S14 and S15: keys that do not work, and what is kept of those that do.
func (f *fight) keys() []attack {
	with := func(text string) func() string {
		return func() string {
			c := *f.outside
			c.bearer = func() string { return text }
			return f.ask(&c, "GET", "/v1/usage", "")
		}
	}
	good := f.alpha.key.bearer()
	_, revoked := f.alpha.newKey("revoked", tenancy.PermissionRead)
	unknown, _ := authNewSecret()
	return []attack{
		{"S14", "a key with a wrong checksum", "401 key_malformed", with(good[:len(good)-1] + string('0'+(good[len(good)-1]+1)%10))},
		{"S14", "a key that is cut off", "401 key_malformed", with(good[:40])},
		{"S14", "a key of another installation", "401 key_unknown", with(unknown)},
		{"S14", "a key of a deleted tenant", "403 tenant_suspended", func() string { return f.ask(f.delta.key, "GET", "/v1/usage", "") }},
		{"S14", "a revoked key, at once", "200 then 401 key_revoked", func() string {
			before := f.ask(revoked, "GET", "/v1/usage", "")
			id, err := idOfKey(revoked.bearer())
			if err != nil {
				f.Fatal(err)
			}
			f.must(f.platform, "DELETE", "/v1/keys/"+id, nil)
			return before + " then " + f.ask(revoked, "GET", "/v1/usage", "")
		}},
		{"S14", "a key in the URL", "401 key_in_url, in the log without the secret", func() string {
			got := f.ask(f.outside, "GET", "/v1/usage?api_key="+good, "")
			if lines := f.lines.String(); !strings.Contains(lines, "query string refused") || strings.Contains(lines, good) {
				return got + ", and the log has it or says nothing"
			}
			return got + ", in the log without the secret"
		}},
		{"S14", "two credentials", "401 key_malformed", func() string {
			r, err := http.NewRequestWithContext(f.Context(), http.MethodGet, f.p.URL()+"/v1/usage", nil)
			if err != nil {
				f.Fatal(err)
			}
			r.Header["Authorization"] = []string{"Bearer " + good, "Bearer " + f.beta.key.bearer()}
			resp, err := f.fresh.Do(r)
			if err != nil {
				f.Fatal(err)
			}
			defer resp.Body.Close()
			var p struct{ Code string }
			_ = json.NewDecoder(resp.Body).Decode(&p) // no code is not what is wanted
			return fmt.Sprintf("%d %s", resp.StatusCode, p.Code)
		}},
		{"S15", "read every file for the secrets of keys and tokens", "0 found", func() string {
			found := 0
			secrets := []string{good, f.beta.key.bearer(), f.token(f.alpha.n("sub-owner"))}
			files := 0
			err := filepath.WalkDir(f.p.cfg.Data, func(path string, d os.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return nil // a file that is gone again, or a socket
				}
				data, err := os.ReadFile(path)
				if err != nil {
					return nil
				}
				files++
				for _, s := range secrets {
					if strings.Contains(string(data), s) || strings.Contains(string(data), s[len(s)/2:]) {
						found++
					}
				}
				return nil
			})
			if err != nil {
				f.Fatal(err)
			}
			return fmt.Sprintf("%d found after %d files", found, files)
		}},
	}
}

// scopes is S16.
func (f *fight) scopes() []attack {
	_, ingest := f.alpha.newKey("ingest", tenancy.PermissionIngest)
	_, read := f.alpha.newKey("read", tenancy.PermissionRead)
	return []attack{
		{"S16", "an ingest key reads", "403 insufficient_scope", func() string { return f.ask(ingest, "GET", "/v1/usage", "") }},
		{"S16", "an ingest key imports", "403 insufficient_scope", func() string { return f.ask(ingest, "POST", "/v1/import", "[]") }},
		{"S16", "a read key ingests", "403 insufficient_scope", func() string { return f.ask(read, "POST", "/v1/events", "[]") }},
		{"S16", "a read key makes keys", "403 insufficient_scope", func() string { return f.ask(read, "POST", "/v1/tenants/"+f.alpha.id+"/keys", "{}") }},
		{"S16", "NATS with a read key", "not let in", func() string { return f.publishOn(read.bearer(), schemas.DirectSubject(f.alpha.id)) }},
		{"S16", "NATS with the platform's key", "not let in", func() string { return f.publishOn(f.p.AdminKey(), schemas.DirectSubject(f.alpha.id)) }},
		{"S16", "NATS subscribes to usage.>", "refused", func() string { return f.subscribe("usage.>") }},
		{"S16", "NATS subscribes to everything", "refused", func() string { return f.subscribe(">") }},
	}
}

// subscribe tries to listen with a key of A.
func (f *fight) subscribe(subject string) string {
	refused := make(chan error, 4)
	conn, err := f.connect(f.alpha.key.bearer(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		return "not let in"
	}
	defer conn.Close()
	if _, err := conn.SubscribeSync(subject); err != nil {
		return err.Error()
	}
	if err := conn.Flush(); err != nil {
		return err.Error()
	}
	select {
	case err := <-refused:
		if errors.Is(err, nats.ErrPermissionViolation) {
			return "refused"
		}
		return err.Error()
	case <-time.After(5 * time.Second):
		return "taken"
	}
}
