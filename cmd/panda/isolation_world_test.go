package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/outbox"
	"github.com/agentik-os/panda/internal/auth/oidc/oidctest"
	"github.com/agentik-os/panda/internal/contact"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// The world in which isolation is tried: the whole pipeline as it is wired, on real
// ports, with a provider where people sign in, and tenants that have everything a
// tenant can have. Every name of a tenant begins with a word that nobody else knows, so
// that a leak is a word found where it should not be.

const platformSubject = "platform-person"

// world is a running installation.
type world struct {
	testing.TB
	p        *pipeline
	provider *oidctest.Provider
	lines    *lineBuffer // of the server's log, at its most talkative

	keepAlive, fresh *http.Client
	addresses        atomic.Uint32

	mu     sync.Mutex // guards tokens
	tokens map[string]signedIn

	platform *caller
	alpha    *side // who asks
	beta     *side // a tenant with everything
	gamma    *side // suspended, with a reason
	delta    *side // deleted
}

// lineBuffer is a log that can be read while it is written.
type lineBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lineBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lineBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

type signedIn struct {
	token string
	at    time.Time
}

// newWorld starts a pipeline and fills it.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, provider: oidctest.Start(t), lines: &lineBuffer{}, tokens: map[string]signedIn{}}
	cfg := defaultConfig(os.Getenv)
	cfg.Data, cfg.Listen, cfg.NATSListen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	cfg.OIDCIssuer, cfg.OIDCAudiences, cfg.OIDCParties, cfg.OIDCAdmins = w.provider.URL, oidctest.ClientID, oidctest.ClientID, platformSubject
	cfg.EngineMemory, cfg.DiskFreeMin = 1<<30, 1<<20 // the machine is shared
	var err error
	if w.p, err = startPipeline(t.Context(), cfg, zerolog.New(w.lines).Level(zerolog.DebugLevel)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := w.p.Counting(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.keepAlive = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, CheckRedirect: noRedirect}
	// Whoever is refused comes from another address each time, or the limit on failures
	// would be what is tested.
	w.fresh = &http.Client{CheckRedirect: noRedirect, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			n := w.addresses.Add(1)
			from := net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext(ctx, network, address)
		}}}
	t.Cleanup(w.keepAlive.CloseIdleConnections)
	w.platform = &caller{name: "platform key", bearer: w.p.AdminKey, platform: true, grants: tenancy.Permissions()}
	w.alpha, w.beta, w.gamma, w.delta = w.newSide("alpha"), w.newSide("beta"), w.newSide("gamma"), w.newSide("delta")
	w.must(w.platform, "POST", "/v1/tenants/"+w.gamma.id+"/suspend", map[string]any{"reason": w.gamma.n("reason")})
	w.must(w.platform, "DELETE", "/v1/tenants/"+w.delta.id, nil)
	return w
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// caller is somebody who asks.
type caller struct {
	name   string
	bearer func() string // nil sends nothing
	grants []tenancy.Permission
	// tenant is whose it is, nil for the platform and for nobody.
	tenant   *side
	platform bool
	// refused is the status whatever is asked, 0 for a caller who is let in.
	refused int
}

func (c *caller) allows(p tenancy.Permission) bool {
	for _, g := range c.grants {
		if g == p {
			return true
		}
	}
	return false
}

// ask is a request, answer what came back.
type ask struct {
	method, path, body string
	header             map[string]string
}

type answer struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

func (a answer) code() string {
	var p struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal([]byte(a.body), &p) // an answer that is no problem has no code
	return p.Code
}

func (a answer) String() string {
	if code := a.code(); code != "" {
		return fmt.Sprintf("%d %s", a.status, code)
	}
	return fmt.Sprint(a.status)
}

// do sends a request over the real door.
func (w *world) do(c *caller, a ask) answer {
	r, err := http.NewRequestWithContext(w.Context(), a.method, w.p.URL()+a.path, strings.NewReader(a.body))
	if err != nil {
		w.Errorf("%s %s: %v", a.method, a.path, err)
		return answer{}
	}
	if a.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.bearer != nil {
		r.Header.Set("Authorization", "Bearer "+c.bearer())
	}
	for name, value := range a.header {
		r.Header.Set(name, value)
	}
	client := w.keepAlive
	if c.refused == http.StatusUnauthorized {
		client = w.fresh
	}
	began := time.Now()
	resp, err := client.Do(r)
	if err != nil {
		w.Errorf("%s %s as %s: %v", a.method, a.path, c.name, err)
		return answer{}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Errorf("%s %s as %s: %v", a.method, a.path, c.name, err)
	}
	return answer{resp.StatusCode, resp.Header, string(body), time.Since(began)}
}

// must sends JSON and wants success.
func (w *world) must(c *caller, method, path string, body any) map[string]any {
	w.Helper()
	a := ask{method: method, path: path}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			w.Fatal(err)
		}
		a.body = string(text)
	}
	got := w.do(c, a)
	if got.status < 200 || got.status > 299 {
		w.Fatalf("%s %s as %s: %d %s", method, path, c.name, got.status, got.body)
	}
	made := map[string]any{}
	if got.body != "" {
		if err := json.Unmarshal([]byte(got.body), &made); err != nil {
			w.Fatalf("%s %s: %v in %s", method, path, err, got.body)
		}
	}
	return made
}

// textOf is a string of an answer.
func textOf(made map[string]any, name string) string { s, _ := made[name].(string); return s }

// side is a tenant with everything a tenant can have.
type side struct {
	w        *world
	tag      string // begins every name of the tenant
	id, slug string
	key      *caller // an API key with every scope that keys may have
	keyID    string
	owner    *caller // a person
	member   string  // ids
	invited  string
	held     string // a place in quarantine
	alert    string
	channel  string
	mute     string
	revision string
	lastSeq  uint64
}

// n is a name of the tenant, such as that of its agent.
func (s *side) n(what string) string { return s.tag + "-" + what }

func (w *world) newSide(name string) *side {
	w.Helper()
	s := &side{w: w, tag: "zq" + strings.ToLower(rand.Text()[:12])}
	s.slug = s.n("slug")
	budgets := []map[string]any{{"kind": "department", "name": s.n("budget-department"), "monthly_budget": "50"},
		{"kind": "agent", "name": s.n("budget-agent"), "monthly_budget": "5"},
		{"kind": "cost_center", "name": s.n("budget-cost-center"), "monthly_budget": "5"}}
	made := w.must(w.platform, "POST", "/v1/tenants", map[string]any{"name": s.n("name"), "slug": s.slug, "plan": "pro",
		"billing_email": s.n("billing") + "@example.com", "stripe_customer_id": "cus_" + s.tag, "org_id": s.n("org"),
		"monthly_budget": "1000", "budgets": budgets, "quotas": map[string]any{"max_agents": "unlimited", "max_monthly_tokens": "unlimited",
			"max_storage_gb": "unlimited", "max_concurrent_sessions": "unlimited", "max_api_calls_per_minute": "unlimited"}})
	s.id, s.revision = textOf(made, "id"), fmt.Sprint(made["revision"])
	s.keyID, s.key = s.newKey(name+" key", tenancy.RoleAdmin.Permissions()...)
	s.owner = s.person("owner", tenancy.RoleOwner)
	s.member, s.invited = s.newMember(), s.newInvitation()
	s.fill()
	return s
}

// newKey makes an API key.
func (s *side) newKey(name string, scopes ...tenancy.Permission) (id string, c *caller) {
	s.w.Helper()
	made := s.w.must(s.w.platform, "POST", "/v1/tenants/"+s.id+"/keys", map[string]any{"name": s.n("key"), "scopes": scopes})
	secret := textOf(made, "key")
	return textOf(made, "id"), &caller{name: name, bearer: func() string { return secret }, grants: scopes, tenant: s}
}

func (s *side) newMember() string {
	s.w.Helper()
	return textOf(s.w.must(s.w.platform, "POST", "/v1/tenants/"+s.id+"/members", map[string]any{
		"email": s.n("m"+strings.ToLower(rand.Text()[:8])) + "@example.com", "name": s.n("member"), "role": "viewer"}), "id")
}

func (s *side) newInvitation() string {
	s.w.Helper()
	return textOf(s.w.must(s.w.platform, "POST", "/v1/tenants/"+s.id+"/invitations", map[string]any{
		"email": s.n("i"+strings.ToLower(rand.Text()[:8])) + "@example.com", "name": s.n("invited"), "role": "viewer"}), "id")
}

// person is somebody who was invited, signed in and accepted.
func (s *side) person(name string, role tenancy.Role) *caller {
	s.w.Helper()
	w, subject := s.w, s.n("sub-"+name)
	email := subject + "@example.com"
	w.provider.AddUser(oidctest.User{Subject: subject, Email: email, EmailVerified: true})
	made := w.must(w.platform, "POST", "/v1/tenants/"+s.id+"/invitations", map[string]any{"email": email, "name": s.n("person"), "role": role})
	c := &caller{name: name, bearer: func() string { return w.token(subject) }, grants: role.Permissions(), tenant: s}
	w.must(c, "POST", "/v1/invitations/accept", map[string]any{"token": textOf(made, "token"), "name": s.n("person")})
	return c
}

// token is that of somebody who signed in a moment ago.
func (w *world) token(subject string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	const fresh = time.Minute // tokens of the provider live longer
	if in := w.tokens[subject]; time.Since(in.at) < fresh {
		return in.token
	}
	token := w.provider.SignIn(w, subject).ID
	w.tokens[subject] = signedIn{token, time.Now()}
	return token
}

// event is a call in which every field is a name of the tenant.
func (s *side) event(id string, more map[string]any) map[string]any {
	data := map[string]any{"provider": s.n("provider"), "model": s.n("model"), "department": s.n("department"), "cost_center": s.n("cost-center"),
		"agent": s.n("agent"), "user": s.n("user"), "session": s.n("session"), "run": s.n("run"), "parent_run": s.n("parent-run"),
		"status": "error", "error": s.n("error"), "latency_ms": 5, "tags": map[string]any{s.n("tag"): s.n("tag-value")},
		"tokens": map[string]any{"input": 1000, "output": 10}}
	for name, value := range more {
		data[name] = value
	}
	return map[string]any{"specversion": "1.0", "id": s.n(id), "source": "/" + s.n("source"), "type": "llm.call",
		"time": time.Now().UTC().Format(time.RFC3339), "data": data}
}

// fill uses what there is to use, with mistakes: usage, a repeat, a conflict, one that
// is refused, one in quarantine.
func (s *side) fill() {
	s.w.Helper()
	w := s.w
	first := s.event("first", nil)
	for _, e := range []map[string]any{first, first, s.event("first", map[string]any{"agent": s.n("other-agent")}),
		s.event("priced", map[string]any{"provider": "openai", "model": "gpt-4o"}), s.event("third", nil)} {
		s.send(e)
	}
	if got := s.post("/v1/events", s.event("wrong", map[string]any{"tokens": map[string]any{"input": -1}})); got.status != http.StatusUnprocessableEntity {
		w.Fatalf("a wrong event: %d %s", got.status, got.body)
	}
	ack := s.publish(s.key, schemas.DirectSubject(s.id), `{"`+s.n("broken")+`": `)
	s.held = fmt.Sprintf("%d-0", ack)
	s.channel, s.mute = s.newChannel(), s.newMute()
	s.alert = s.fire()
	if err := w.p.shards[0].live.WaitFor(w.Context(), max(ack, s.lastSeq)); err != nil {
		w.Fatal(err)
	}
}

// newChannel tells of alerts where nobody listens.
func (s *side) newChannel() string {
	s.w.Helper()
	made, _, err := s.w.p.registry.AddChannel(s.w.Context(), tenancy.Actor{ID: "system:test"}, s.id, contact.Draft{
		Channel: contact.Channel{Name: s.n("channel") + tenancy.NewID(4), Type: contact.Webhook, Severity: "critical"}, Address: "https://hooks.invalid/" + s.n("hook")})
	if err != nil {
		s.w.Fatal(err)
	}
	return made.ID
}

func (s *side) newMute() string {
	s.w.Helper()
	made, err := s.w.p.registry.Mute(s.w.Context(), tenancy.Actor{ID: "system:test"}, s.id, contact.Mute{Rule: s.n("muted"), Until: time.Now().Add(time.Hour), Reason: s.n("reason")})
	if err != nil {
		s.w.Fatal(err)
	}
	return made.ID
}

// delivery is one of the tenant's, once there is one.
func (s *side) delivery() string {
	s.w.Helper()
	for s.w.Context().Err() == nil {
		if list, _ := s.w.p.alerts.outbox.Deliveries(outbox.Query{Tenant: s.id, Max: 1}); len(list) > 0 {
			return list[0].ID
		}
		runtime.Gosched()
	}
	s.w.Fatal("there is no delivery")
	return ""
}

// fire decides an alert of the tenant.
func (s *side) fire() string {
	s.w.Helper()
	id := alerting.Identity{Tenant: s.id, Rule: alerting.RuleThreshold, Limit: alerting.LimitMonthlyBudget, Name: s.n("agent"), Period: "2026-02", Threshold: 100}
	_, err := alerting.NewDecider(s.w.p.log).Decide(s.w.Context(), alerting.Record{Alert: id.ID(), Kind: alerting.Fired, Identity: id, Severity: alerting.SeverityCritical,
		At: time.Now(), Facts: alerting.Facts{TenantName: s.n("name"), Condition: s.n("condition"), Next: s.n("next")}})
	if err == nil {
		var state eventlog.State
		if state, err = s.w.p.log.State(s.w.Context(), schemas.StreamDecisions); err == nil {
			err = s.w.p.alerts.book.WaitFor(s.w.Context(), state.Last)
		}
	}
	if err != nil {
		s.w.Fatal(err)
	}
	return id.ID()
}

// post sends one event.
func (s *side) post(path string, event map[string]any) answer {
	body, err := json.Marshal(event)
	if err != nil {
		s.w.Fatal(err)
	}
	return s.w.do(s.key, ask{method: "POST", path: path, body: string(body), header: map[string]string{"Content-Type": "application/cloudevents+json"}})
}

func (s *side) send(event map[string]any) {
	s.w.Helper()
	got := s.post("/v1/events", event)
	var stored struct {
		Seq uint64 `json:"seq"`
	}
	if err := json.Unmarshal([]byte(got.body), &stored); err != nil || got.status != http.StatusOK {
		s.w.Fatalf("send: %d %s", got.status, got.body)
	}
	s.lastSeq = max(s.lastSeq, stored.Seq)
}

// connect opens the NATS door with a key.
func (w *world) connect(secret string, options ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(w.p.log.Addr(), append([]nats.Option{nats.UserInfo("runtime", secret), nats.NoReconnect()}, options...)...)
}

// publish sends a message over the NATS door and returns its place.
func (s *side) publish(c *caller, subject, body string) uint64 {
	s.w.Helper()
	conn, err := s.w.connect(c.bearer())
	if err != nil {
		s.w.Fatal(err)
	}
	defer conn.Close()
	const answerMax = 30 * time.Second // the machine is shared
	m, err := conn.Request(subject, []byte(body), answerMax)
	if err != nil {
		s.w.Fatal(err)
	}
	var ack struct {
		Seq uint64 `json:"seq"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil || ack.Seq == 0 {
		s.w.Fatalf("publish on %s: %s, %v", subject, m.Data, err)
	}
	return ack.Seq
}
