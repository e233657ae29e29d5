package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// platform is the registry and its routes on a real log, with a clock that a test can
// move, and commands that talk to it.
type platform struct {
	t        *testing.T
	registry *tenancy.Registry
	server   *httpapi.Server
	key      string
	base     string
	later    atomic.Int64 // how far the clock is ahead, in nanoseconds
	before   atomic.Pointer[func(r *http.Request)]
	export   atomic.Pointer[func(w io.Writer) error]
}

func newPlatform(t *testing.T) *platform {
	t.Helper()
	p := &platform{t: t}
	now := func() time.Time { return time.Now().Add(time.Duration(p.later.Load())) }
	p.registry = tenancy.New(tenancy.Config{Now: now}, eventlogtest.Open(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.registry.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-p.registry.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the registry did not catch up")
	}
	secret, err := auth.Bootstrap(t.Context(), p.registry, filepath.Join(t.TempDir(), "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	p.key = secret.Reveal()
	invitations := auth.Invitations{Key: bytes.Repeat([]byte{7}, 32), Now: now}
	p.server = httpapi.New(httpapi.Config{Addr: "127.0.0.1:0", Metrics: prometheus.NewRegistry(), Logger: zerolog.Nop(),
		Authenticate: auth.New(auth.Config{Registry: p.registry, RemoteIP: httpapi.RemoteIP}).Authenticate})
	(&httpapi.Tenants{Registry: p.registry, Cursors: httpapi.Cursors{Key: bytes.Repeat([]byte{8}, 32)}, PublicURL: "https://panda.example",
		NewToken: invitations.NewToken, ReadToken: invitations.ReadToken, Now: now, Export: p.exported}).Register(p.server)
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before := p.before.Load(); before != nil {
			(*before)(r)
		}
		p.server.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(served.Close)
	p.base = served.URL
	return p
}

// exported writes the export that a test has set.
func (p *platform) exported(_ context.Context, _ tenancy.Scope, _ string, w io.Writer, _ string) error {
	return (*p.export.Load())(w)
}

// beforeEach has f called before each request is served.
func (p *platform) beforeEach(f func(r *http.Request)) { p.before.Store(&f) }

func (p *platform) client() *apiClient {
	return &apiClient{base: p.base, key: p.key, http: http.DefaultClient}
}

// run runs a command and returns what it printed.
func (p *platform) run(line ...string) (stdout, stderr string, err error) {
	a, out, errs := testApp(nil)
	a.connect = func(context.Context) (*apiClient, func() error, error) {
		return p.client(), func() error { return nil }, nil
	}
	root := newRoot(a)
	root.SetArgs(line)
	err = root.ExecuteContext(p.t.Context())
	return out.String(), errs.String(), err
}

func (p *platform) must(line ...string) string {
	p.t.Helper()
	out, _, err := p.run(line...)
	if err != nil {
		p.t.Fatalf("%s: %v", strings.Join(line, " "), err)
	}
	return out
}

func TestInvitationExpires(t *testing.T) {
	p := newPlatform(t)
	p.must("tenant", "create", "--name", "Acme", "--slug", "acme")
	out := p.must("tenant", "invite", "--tenant", "acme", "--email", "a@acme.com", "--role", "viewer", "-o", "json")
	var i invitationView
	if err := json.Unmarshal([]byte(out), &i); err != nil || i.Token == "" {
		t.Fatalf("%v in %s", err, out)
	}
	p.later.Store(int64((tenancy.InvitationDays*24 + 1) * time.Hour))
	_, _, err := p.run("tenant", "accept", i.Token)
	if exitCode(err) != exitUsage || !strings.Contains(fmt.Sprint(err), "this invitation has expired; ask for a new one") {
		t.Errorf("exit code %d: %v", exitCode(err), err)
	}
	if out := p.must("tenant", "invitations", "acme"); !strings.Contains(out, "  expired  ") {
		t.Errorf("%s", out)
	}
	if out := p.must("tenant", "members", "acme"); !strings.HasPrefix(out, "No members.") {
		t.Errorf("%s", out)
	}
}

// A change of one budget is made of all of them: what somebody else changes meanwhile
// stays.
func TestBudgetsOfTwoAdministrators(t *testing.T) {
	p := newPlatform(t)
	p.must("tenant", "create", "--name", "Acme", "--slug", "acme", "--budget", "department:Support=500")
	var others, most atomic.Int64
	most.Store(2)
	p.beforeEach(func(r *http.Request) {
		if r.Method != http.MethodPatch || others.Load() == most.Load() {
			return
		}
		name := fmt.Sprint("A", others.Add(1)) // somebody else, between the reading and the change
		found, _ := p.registry.BySlug("acme")
		_, err := p.registry.UpdateTenant(t.Context(), tenancy.Actor{ID: "system:test"}, found.ID, 0, func(of *tenancy.Tenant) error {
			of.Budgets = append(slices.Clone(of.Budgets), tenancy.Budget{Kind: tenancy.BudgetAgent, Name: name, MonthlyBudget: schemas.Pico(1e12)})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	out := p.must("tenant", "update", "acme", "--budget", "department:Support=none", "--budget", "cost_center:a:b=c=7")
	_, budgets, _ := strings.Cut(out, "BUDGET OF")
	want := "    NAME    PER MONTH\n─────────────────────────────\nagent        A1          $1.00\nagent        A2          $1.00\ncost center  a:b=c       $7.00\n"
	if words(budgets) != words(want) {
		t.Errorf("%s", out)
	}
	// With a revision there is no second try.
	most.Store(3)
	found, _ := p.registry.BySlug("acme")
	_, _, err := p.run("tenant", "update", "acme", "--budget", "agent:A1=none", "--if-revision", fmt.Sprint(found.Revision))
	if exitCode(err) != exitConflict {
		t.Errorf("exit code %d: %v", exitCode(err), err)
	}
}

// words is text without what only lays it out.
func words(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "─", "")), " ")
}

func TestTenantListOfManyPages(t *testing.T) {
	p := newPlatform(t)
	const count = 2*pageMax + 7
	for i := range count {
		_, _, err := p.registry.CreateTenant(t.Context(), tenancy.Actor{ID: "system:test"},
			tenancy.NewTenant{Name: fmt.Sprint("Tenant ", i), Slug: fmt.Sprintf("t-%04d", i), Plan: tenancy.PlanPro})
		if err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(p.must("tenant", "list"), "\n"), "\n")
	if len(lines) != count+3 || lines[len(lines)-1] != "407 tenants. Trial: 407" {
		t.Fatalf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
	for i, line := range lines[2 : count+2] {
		if !strings.HasPrefix(line, fmt.Sprintf("t-%04d  Tenant %d ", i, i)) || len(line) != len(lines[2]) {
			t.Fatalf("line %d: %q", i, line)
		}
	}
	if out := p.must("tenant", "list", "--limit", "250", "-o", "csv"); strings.Count(out, "\n") != 251 {
		t.Errorf("%d lines", strings.Count(out, "\n"))
	}
}

// A server that takes longer than a request is asked how far it is.
func TestOperationIsAwaited(t *testing.T) {
	p := newPlatform(t)
	p.must("tenant", "create", "--name", "Acme", "--slug", "acme")
	tenant, _ := p.registry.BySlug("acme")
	operations := &httpapi.Operations{Base: t.Context(), WaitMax: time.Millisecond}
	operations.Register(p.server)
	asked := make(chan struct{}, 10)
	p.beforeEach(func(r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/operations/") {
			asked <- struct{}{}
		}
	})
	var full atomic.Bool
	p.server.Handle("POST /v1/tenants/{tenant}/migrate", tenancy.PermissionAdmin, func(w http.ResponseWriter, r *http.Request, _ tenancy.Scope) error {
		return operations.Do(w, r, "migrate", tenant.ID, "", func(_ context.Context, step httpapi.Step) (any, error) {
			step("copying events", 1000, 4000)
			<-asked
			if full.Load() {
				return nil, schemas.Invalid("/to", schemas.CodeNotAllowed, "the database is full")
			}
			return map[string]any{"from": "panda", "to": "panda_acme", "rows": 4000, "paused_ms": 12}, nil
		})
	})
	out, said, err := p.run("tenant", "migrate", "acme", "--to", "isolated-database")
	if err != nil || out != "✅ Tenant acme is in the isolated-database model now.\n\nDatabase: panda_acme\nRows: 4,000\nCounting paused for: 12ms\n" {
		t.Errorf("%v: %s", err, out)
	}
	if said != "" && said != "migrating acme: copying events 1,000 of 4,000\n" {
		t.Errorf("progress: %q", said)
	}
	for len(asked) > 0 {
		<-asked
	}
	full.Store(true)
	_, _, err = p.run("tenant", "migrate", "acme", "--to", "shared-database")
	if exitCode(err) != exitUsage || !strings.Contains(fmt.Sprint(err), "migrating acme: the database is full") {
		t.Errorf("exit code %d: %v", exitCode(err), err)
	}
}

// An export that breaks off leaves the file that was there.
func TestExportIsWholeOrNotThere(t *testing.T) {
	p := newPlatform(t)
	p.must("tenant", "create", "--name", "Acme", "--slug", "acme")
	whole := `{"events":["` + strings.Repeat("x", 1<<17) + `"]}` // more than a server keeps before it sends
	var breakOff atomic.Bool
	breakOff.Store(true)
	p.export.Store(new(func(w io.Writer) error {
		text := whole
		if breakOff.Load() {
			text = text[:len(text)-2]
		}
		if _, err := io.WriteString(w, text); err != nil || !breakOff.Load() {
			return err
		}
		return schemas.ErrUnavailable
	}))
	dir := t.TempDir()
	file := filepath.Join(dir, "acme.json")
	if err := os.WriteFile(file, []byte("the one before"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := p.run("tenant", "export", "acme", "--format", "json", "--output", file)
	if text, _ := os.ReadFile(file); !errors.Is(err, io.ErrUnexpectedEOF) || exitCode(err) != exitUnavailable || string(text) != "the one before" {
		t.Errorf("%v; the file holds %q", err, text)
	}
	breakOff.Store(false)
	_, said, err := p.run("tenant", "export", "acme", "--format", "json", "--output", file)
	if text, _ := os.ReadFile(file); err != nil || string(text) != whole || said != file+": 131,087 bytes of tenant acme\n" {
		t.Errorf("%v; the file holds %d bytes; %s", err, len(text), said)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files are left", len(entries))
	}
}

func TestUsageLevels(t *testing.T) {
	const answer = `{"levels":[
		{"name":"agents","current":100,"max":100},
		{"name":"agents","current":0,"max":0},
		{"name":"agents","current":101,"max":100},
		{"name":"tokens","current":28500000,"max":50000000},
		{"name":"tokens","current":39999999,"max":50000000},
		{"name":"tokens","current":40000000,"max":50000000},
		{"name":"storage","current":"47.30","max":100,"unit":"GB"},
		{"name":"sessions","current":12,"max":"unlimited"},
		{"name":"calls_per_minute","max":5000}]}`
	const want = `Agents: 100/100 ⚠ At limit
Agents: 0/0 ⚠ At limit
Agents: 101/100 ⚠ Over limit
Tokens: 28,500,000/50,000,000 (57%)
Tokens: 39,999,999/50,000,000 (79%)
Tokens: 40,000,000/50,000,000 ⚠ 80%, near the limit
Storage: 47.3/100 GB (47%)
Concurrent sessions: 12/unlimited
API calls/min: unknown/5,000
`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	defer server.Close()
	c := &apiClient{base: server.URL, http: server.Client()}
	a, stdout, _ := testApp(map[string]string{"LANG": "C.UTF-8"})
	if err := a.showLevels(t.Context(), c, "acme-corp"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, stdout.String()); diff != "" {
		t.Error(diff)
	}
	a, stdout, _ = testApp(nil)
	a.output = outputCSV
	if err := a.showLevels(t.Context(), c, "acme-corp"); err != nil || !strings.HasPrefix(stdout.String(), "name,current,max,unit\r\nagents,100,100,\r\n") ||
		!strings.Contains(stdout.String(), "storage,47.3,100,GB\r\nsessions,12,unlimited,\r\n") {
		t.Errorf("%v: %s", err, stdout)
	}
}

func TestTenantStatus(t *testing.T) {
	now := time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		status string
		left   time.Duration
		want   string
	}{
		{"trial", 14 * 24 * time.Hour, "Active (Trial - 14 days remaining)"},
		{"trial", 14*24*time.Hour - time.Second, "Active (Trial - 14 days remaining)"},
		{"trial", 24 * time.Hour, "Active (Trial - 1 day remaining)"},
		{"trial", time.Second, "Active (Trial - 1 day remaining)"},
		{"trial", -48 * time.Hour, "Active (Trial - 0 days remaining)"},
		{"suspended", time.Hour, "Suspended"},
	} {
		if got := tenantStatus(&tenantView{Status: c.status, TrialEndsAt: now.Add(c.left)}, now); got != c.want {
			t.Errorf("%s, %s left: %q", c.status, c.left, got)
		}
	}
}
