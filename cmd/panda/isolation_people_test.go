package main

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/auth/oidc/oidctest"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// The attacks with statements, tokens and time.

func idOfKey(secret string) (string, error) { return auth.ParseKey(secret) }

// statements are S7 to S10: SQL that is not ours, and statements without a tenant.
func (f *fight) statements() []attack {
	hostile := []string{"' OR 1=1 --", `\') UNION ALL SELECT * FROM usage_raw --`, "{tenant:String}", "1; DROP TABLE usage_raw", "') OR tenant='" + f.beta.id,
		"file('/etc/passwd')", "url('http://127.0.0.1:1/')", "s3('x')", "remote('127.0.0.1', system.tables)", "executable('x')", "system.users", "x' SETTINGS readonly=0 --"}
	paths := []string{"/v1/usage?by=", "/v1/usage?month=", "/v1/usage?model=", "/v1/usage?department=", "/v1/usage/series?by=", "/v1/usage/series?grain=", "/v1/events?id=",
		"/v1/events?source=x&id=", "/v1/events?after=", "/v1/events?cursor=", "/v1/conflicts?cursor=", "/v1/quarantine?state=", "/v1/usage?timezone=", "/v1/prices/openai/", "/v1/audit?action="}
	sweep := func(words []string) string {
		seen := map[int]int{}
		for _, path := range paths {
			for _, word := range words {
				got := f.do(f.alpha.key, ask{method: "GET", path: path + url.QueryEscape(word)})
				seen[got.status/100]++
				if strings.Contains(got.body, f.beta.tag) || got.status >= 500 || strings.Contains(got.body, "root:") {
					return fmt.Sprintf("%s%s: %d %s", path, word, got.status, got.body)
				}
			}
		}
		return fmt.Sprintf("nothing of B, nothing broken after %d requests", seen[2]+seen[4])
	}
	return []attack{
		{"S7", "a scope that nobody made looks for B", "not found", func() string {
			_, err := f.p.registry.Find(tenancy.Scope{}, f.beta.id)
			_, err2 := tenancy.Scope{}.For(f.beta.id)
			if err == nil || err2 == nil {
				return "found"
			}
			return err.Error()
		}},
		{"S7", "the newest events of no tenant", "0 events", func() string {
			rows, _, err := f.p.shards[0].reader.Recent(f.Context(), "", 100, "")
			if err != nil {
				return err.Error()
			}
			return fmt.Sprintf("%d events", len(rows))
		}},
		{"S8", "SQL in every parameter of every list", "nothing of B, nothing broken", func() string { return sweep(hostile[:5]) }},
		{"S8", "SQL as the names in an event", "200 and read back as it was", func() string {
			word := `'); DROP TABLE usage_raw; -- \' {x:String}`
			got := f.event("s8", func(_, d map[string]any) { d["agent"], d["model"], d["department"] = word, word, word })
			back := f.do(f.alpha.key, ask{method: "GET", path: "/v1/events?id=" + f.alpha.n("s8")})
			var page struct {
				Events []struct {
					Event struct {
						Data struct{ Agent, Model, Department string }
					}
				}
			}
			if err := json.Unmarshal([]byte(back.body), &page); err != nil || len(page.Events) != 1 || page.Events[0].Event.Data.Agent != word {
				return got + " and read back as " + back.body
			}
			return got + " and read back as it was"
		}},
		{"S9", "table functions and settings in every parameter", "nothing of B, nothing broken", func() string { return sweep(hostile[5:]) }},
		{"S9", "the engine's own port", "there is none", func() string {
			if f.p.cfg.EngineListen != "" {
				return f.p.cfg.EngineListen
			}
			return "there is none"
		}},
		{"S10", "row policies and users in the engine, as our own user", "no rights to them: every statement names its tenant", func() string {
			for _, sql := range []string{"CREATE ROW POLICY p ON usage_raw USING 1 TO ALL", "CREATE USER u", "GRANT ALL ON *.* TO default"} {
				if err := f.p.db.Exec(f.Context(), sql); err == nil || !strings.Contains(err.Error(), "ACCESS_DENIED") {
					return fmt.Sprintf("%s: %v", sql, err)
				}
			}
			return "no rights to them: every statement names its tenant"
		}},
	}
}

// tokens is S11: tokens that are not the provider's, or not for here.
func (f *fight) tokens() []attack {
	key, now := f.provider.Signing(), time.Now()
	valid := map[string]any{"iss": f.provider.URL, "sub": f.alpha.n("sub-owner"), "aud": oidctest.ClientID, "azp": oidctest.ClientID,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	with := func(m map[string]any, name string, value any) map[string]any {
		m = maps.Clone(m)
		m[name] = value
		return m
	}
	der, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		f.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	part := func(v any) string {
		raw, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	attacker := oidctest.NewKey(f, "RS256")
	attacker.ID = key.ID
	row := func(attempt, want, token string) attack {
		c := *f.outside
		c.bearer = func() string { return token }
		return attack{"S11", attempt, want, func() string { return f.ask(&c, "GET", "/v1/usage", "") }}
	}
	claims := func(name string, value any) string { return key.Sign(f, key.Header(), with(valid, name, value)) }
	good := key.Sign(f, key.Header(), valid)
	return []attack{
		row("a token as it should be", "200", good),
		row("alg none", "401 token_malformed", part(with(key.Header(), "alg", "none"))+"."+part(valid)+"."),
		row("HS256 with the public key as the secret", "401 token_algorithm_refused", oidctest.SignHMAC(f, public, with(key.Header(), "alg", "HS256"), valid)),
		row("a stranger's key under the provider's kid", "401 token_signature_invalid", attacker.Sign(f, attacker.Header(), valid)),
		row("a stranger's key in the header (jwk, jku)", "401 token_malformed", attacker.Sign(f, with(attacker.Header(), "jku", "http://127.0.0.1:1/keys"), valid)),
		row("an unknown kid", "401 token_key_unknown", key.Sign(f, with(key.Header(), "kid", "other"), valid)),
		row("a kid that is a path", "401 token_key_unknown", key.Sign(f, with(key.Header(), "kid", "../../../../dev/null"), valid)),
		row("another issuer", "401 token_issuer_unknown", claims("iss", "https://login.attacker.example")),
		row("another audience", "401 token_audience_mismatch", claims("aud", "another-application")),
		row("another authorised party", "401 token_party_not_allowed", claims("azp", "https://attacker.example")),
		row("expired", "401 token_expired", claims("exp", now.Add(-time.Hour).Unix())),
		row("not valid yet", "401 token_not_yet_valid", claims("nbf", now.Add(time.Hour).Unix())),
		row("the organisation of B", "403 not_a_member", claims("org_id", f.beta.n("org"))),
		row("B's id as the organisation", "403 not_a_member", claims("org_id", f.beta.id)),
		row("two organisations, A's and B's", "401 token_organisation_conflict", key.Sign(f, key.Header(), with(with(valid, "org_id", f.beta.n("org")), "o", map[string]any{"id": f.alpha.n("org")}))),
		row("two signatures (JWS JSON)", "401 token_malformed", `{"payload":"`+part(valid)+`","signatures":[{},{}]}`),
		row("the payload of another signature", "401 token_signature_invalid", strings.Join([]string{part(key.Header()), part(with(valid, "sub", f.beta.n("sub-owner"))), good[strings.LastIndex(good, ".")+1:]}, ".")),
		{"S11", "a token of B's owner at A's paths", "404 not_found", func() string { return f.ask(f.beta.owner, "GET", "/v1/tenants/"+f.alpha.id, "") }},
	}
}

// issuer is S12: the provider's keys cannot be had, or are not its own.
func (f *fight) issuer() []attack {
	key := oidctest.NewKey(f, "RS256")
	now := time.Now()
	forged := *f.outside
	forged.bearer = func() string {
		return key.Sign(f, key.Header(), map[string]any{"iss": f.provider.URL, "sub": f.alpha.n("sub-owner"), "aud": oidctest.ClientID,
			"azp": oidctest.ClientID, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	}
	token := f.token(f.alpha.n("sub-owner"))
	known := *f.outside
	known.bearer = func() string { return token }
	during := func(h http.HandlerFunc) string {
		f.provider.StandInFront(h)
		defer f.provider.StandInFront(nil)
		return f.ask(&known, "GET", "/v1/usage", "") + ", " + f.ask(&forged, "GET", "/v1/usage", "")
	}
	return []attack{
		{"S12", "JWKS is down: a known person, a forged token", "200, 401 token_key_unknown", func() string {
			return during(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		}},
		{"S12", "JWKS is huge: the same", "200, 401 token_key_unknown", func() string {
			return during(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, endless{}, 10<<20) })
		}},
		{"S12", "JWKS redirects to an attacker: the same", "200, 401 token_key_unknown", func() string {
			return during(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://127.0.0.1:1/keys", http.StatusFound)
			})
		}},
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	return len(p), nil
}

// until asks again until the answer is what it must become, and says how long that took
// from when the change was asked for. 1 s is the promise; a machine that is shared gets
// more.
func (f *fight) until(want string, began time.Time, try func() string) string {
	const most, promised = 20 * time.Second, time.Second
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		got := try()
		took := time.Since(began)
		if got == want {
			return fmt.Sprintf("%s after %d ms", got, took.Milliseconds())
		}
		if took > most {
			return fmt.Sprintf("%s, still, %d ms later (promised within %s)", got, took.Milliseconds(), promised)
		}
		<-poll.C
	}
}

// revocation is S13: access that was taken away.
func (f *fight) revocation() []attack {
	person := func(name string, role tenancy.Role) (*caller, string) {
		c := f.alpha.person("gone-"+name, role)
		return c, "/v1/tenants/" + f.alpha.id + "/members/" + f.idOf("gone-"+name)
	}
	return []attack{
		{"S13", "a member who was removed reads", "403 not_a_member", func() string {
			c, path := person("reader", tenancy.RoleViewer)
			began := time.Now()
			f.must(f.platform, "DELETE", path, nil)
			return f.until("403 not_a_member", began, func() string { return f.ask(c, "GET", "/v1/usage", "") })
		}},
		{"S13", "an admin who was made a viewer makes a key", "403 insufficient_scope", func() string {
			c, path := person("admin", tenancy.RoleAdmin)
			began := time.Now()
			f.must(f.platform, "PATCH", path, map[string]any{"role": "viewer"})
			return f.until("403 insufficient_scope", began, func() string { return f.ask(c, "POST", "/v1/tenants/"+f.alpha.id+"/keys", "{}") })
		}},
		{"S13", "the invitation of somebody who was removed, again", "409 conflict", func() string {
			made := f.must(f.platform, "POST", "/v1/tenants/"+f.alpha.id+"/invitations", map[string]any{"email": f.alpha.n("again") + "@example.com", "role": "admin"})
			f.provider.AddUser(oidctest.User{Subject: f.alpha.n("again"), Email: f.alpha.n("again") + "@example.com", EmailVerified: true})
			c := &caller{name: "again", bearer: func() string { return f.token(f.alpha.n("again")) }}
			body := map[string]any{"token": textOf(made, "token"), "name": "x"}
			joined := f.must(c, "POST", "/v1/invitations/accept", body)
			member, _ := joined["member"].(map[string]any)
			f.must(f.platform, "DELETE", "/v1/tenants/"+f.alpha.id+"/members/"+textOf(member, "id"), nil)
			raw, _ := json.Marshal(body)
			return f.ask(c, "POST", "/v1/invitations/accept", string(raw))
		}},
		{"S13", "an invitation of A accepted by somebody else", "403 other_address", func() string {
			made := f.must(f.platform, "POST", "/v1/tenants/"+f.alpha.id+"/invitations", map[string]any{"email": f.alpha.n("other") + "@example.com", "role": "admin"})
			return f.ask(f.beta.owner, "POST", "/v1/invitations/accept", `{"token":"`+textOf(made, "token")+`","name":"x"}`)
		}},
		{"S13", "NATS: a connection whose key was revoked publishes", "ended", func() string {
			id, c := f.alpha.newKey("revoked", tenancy.PermissionIngest)
			conn, err := f.connect(c.bearer())
			if err != nil {
				return err.Error()
			}
			defer conn.Close()
			began := time.Now()
			f.must(f.platform, "DELETE", "/v1/keys/"+id, nil)
			return f.until("ended", began, func() string { return publishes(conn, f.alpha.id) })
		}},
	}
}

// publishes says what becomes of a message on an open connection.
func publishes(conn *nats.Conn, tenant string) string {
	const answerMax = 2 * time.Second
	m, err := conn.Request(schemas.DirectSubject(tenant), []byte(`{}`), answerMax)
	switch {
	case err != nil && (conn.IsClosed() || conn.IsReconnecting()):
		return "ended"
	case err != nil:
		return err.Error()
	case strings.Contains(string(m.Data), `"error"`):
		return "refused"
	}
	return "taken"
}

// suspension is S34: the tenant is suspended between authentication and the work.
func (f *fight) suspension() []attack {
	door := func(attempt, want string, try func(s *side) string) attack {
		return attack{"S34", "suspended, then: " + attempt, want, func() string {
			s := f.newSide("suspended")
			return try(s)
		}}
	}
	suspend := func(s *side) time.Time {
		began := time.Now()
		f.must(f.platform, "POST", "/v1/tenants/"+s.id+"/suspend", nil)
		return began
	}
	const refused = "403 tenant_suspended"
	return []attack{
		door("HTTP ingest on a connection that is open", refused, func(s *side) string {
			began := suspend(s)
			return f.until(refused, began, func() string { return s.post("/v1/events", s.event("late", nil)).String() })
		}),
		door("HTTP ingest whose body is under way", refused+", stored 0", func(s *side) string { return f.slowBody(s, suspend) }),
		door("NATS publish on a connection that is open", "no more", func(s *side) string {
			conn, err := f.connect(s.key.bearer())
			if err != nil {
				return err.Error()
			}
			defer conn.Close()
			began := suspend(s)
			return f.until("no more", began, func() string {
				if got := publishes(conn, s.id); got != "refused" && got != "ended" {
					return got
				}
				return "no more"
			})
		}),
		door("NATS connects", "not let in", func(s *side) string {
			began := suspend(s)
			return f.until("not let in", began, func() string {
				conn, err := f.connect(s.key.bearer())
				if err != nil {
					return "not let in"
				}
				conn.Close()
				return "let in"
			})
		}),
		door("a key reads usage", refused, func(s *side) string {
			began := suspend(s)
			return f.until(refused, began, func() string { return f.ask(s.key, "GET", "/v1/usage", "") })
		}),
		door("a person reads usage", refused, func(s *side) string {
			began := suspend(s)
			return f.until(refused, began, func() string { return f.ask(s.owner, "GET", "/v1/usage", "") })
		}),
		door("entitlements", refused, func(s *side) string {
			began := suspend(s)
			return f.until(refused, began, func() string { return f.ask(s.key, "GET", "/v1/entitlements", "") })
		}),
		door("a list that waits for new events", refused, func(s *side) string {
			got := make(chan string, 1)
			go func() {
				got <- f.ask(s.key, "GET", fmt.Sprintf("/v1/events?after=%d-999&wait=20s", s.lastSeq), "")
			}()
			f.awaitRequest()
			began := suspend(s)
			return fmt.Sprintf("%s after %d ms", <-got, time.Since(began).Milliseconds())
		}),
	}
}

// awaitRequest waits until a request is being served.
func (f *fight) awaitRequest() {
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for f.waiting() == 0 {
		<-poll.C
	}
}

// waiting is how many requests are being served, without the one that asks.
func (f *fight) waiting() int {
	got := f.do(f.outside, ask{method: "GET", path: "/metrics"})
	_, rest, _ := strings.Cut(got.body, "\npanda_http_requests_in_flight ")
	n := 0
	_, _ = fmt.Sscan(rest, &n) // nothing is none
	return n - 1
}

// slowBody sends the head of a request, suspends the tenant, and then sends the rest.
func (f *fight) slowBody(s *side, suspend func(*side) time.Time) string {
	raw, _ := json.Marshal(s.event("slow", nil))
	conn, err := net.Dial("tcp", f.p.server.Addr())
	if err != nil {
		f.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/cloudevents+json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		s.key.bearer(), len(raw), raw[:10]); err != nil {
		f.Fatal(err)
	}
	f.awaitRequest()
	began := suspend(s)
	if _, err := conn.Write(raw[10:]); err != nil {
		f.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		f.Fatal(err)
	}
	took := time.Since(began)
	status, code := "", ""
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		status = fields[1]
	}
	if at := strings.Index(string(text), "{"); at >= 0 {
		code = answer{body: string(text[at:])}.code()
	}
	f.settled()
	found := f.do(f.platform, ask{method: "POST", path: "/v1/events/lookup?tenant=" + s.id, body: `{"source":"/` + s.n("source") + `","ids":["` + s.n("slow") + `"]}`})
	stored := strings.Count(found.body, `"seq"`)
	return fmt.Sprintf("%s %s, stored %d after %d ms", status, code, stored, took.Milliseconds())
}

// canary is S26: B's names anywhere but at B.
func (f *fight) canary() []attack {
	return []attack{{"S26", "B's names in every list of A, in /metrics, /readyz and the log", "0 found", func() string {
		k := &walk{world: f.world, secrets: []string{f.beta.tag}}
		places := 0
		for _, route := range f.p.server.Routes() {
			t := targetOf(route)
			if t.method != http.MethodGet {
				continue
			}
			values := map[int]string{}
			for place, name := range t.parameters() {
				v, _ := k.choices(name)
				values[place] = v.own
			}
			for _, c := range []*caller{f.outside, f.alpha.key, f.alpha.owner, f.viewer} {
				k.try(c, ask{method: "GET", path: t.path(values)})
				places++
			}
		}
		if strings.Contains(f.lines.String(), f.beta.tag) {
			k.leaks++
		}
		return fmt.Sprintf("%d found after %d answers", k.leaks, places+1)
	}}}
}

// malformed is S33: what is no request, in every door. The fuzz targets of the packages
// go deeper; this is the same at the real doors.
func (f *fight) malformed() []attack {
	return []attack{{"S33", "600 malformed cursors, tokens, keys, revisions, bodies and lists of people", "0 broken", func() string {
		random := rand.New(rand.NewPCG(7, 7))
		noise := func(n int) string {
			b := make([]byte, random.IntN(n))
			for i := range b {
				b[i] = byte(random.IntN(256))
			}
			return string(b)
		}
		broken, sent := 0, 0
		own := "/v1/tenants/" + f.alpha.id
		for range 100 {
			text := noise(64)
			quoted := url.QueryEscape(text)
			header := strings.Map(func(r rune) rune {
				if r < 0x20 || r > 0x7e {
					return 'x'
				}
				return r
			}, text)
			bad := *f.outside
			bad.bearer = func() string { return "eyJ" + header + ".x.y" }
			for _, a := range []struct {
				c *caller
				a ask
			}{
				{f.alpha.key, ask{method: "GET", path: "/v1/conflicts?cursor=" + quoted}},
				{f.alpha.key, ask{method: "GET", path: "/v1/audit?from=" + quoted + "&to=" + quoted + "&outcome=" + quoted}},
				{&bad, ask{method: "GET", path: "/v1/usage"}},
				{f.alpha.key, ask{method: "PATCH", path: own, body: `{"name":` + text + `}`, header: map[string]string{"If-Match": header}}},
				{f.alpha.key, ask{method: "POST", path: "/v1/events", body: text, header: map[string]string{"Content-Type": "application/cloudevents+json"}}},
				{f.alpha.key, ask{method: "POST", path: own + "/members/import", body: text, header: map[string]string{"Content-Type": "text/csv"}}},
			} {
				sent++
				if got := f.do(a.c, a.a); got.status >= 500 {
					broken++
					f.Errorf("%s %s %q: %d %s", a.a.method, a.a.path, a.a.body, got.status, got.body)
				}
			}
		}
		return fmt.Sprintf("%d broken after %d requests", broken, sent)
	}}}
}
