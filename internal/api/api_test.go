package api

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/apidoc"
	"github.com/agentik-os/panda/internal/apidoc/apidoctest"
	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/contact"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/pricelist"
	"github.com/agentik-os/panda/internal/statement"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// described holds every exchange of every test against the API's description.
var described = sync.OnceValues(apidoctest.New)

// TestMain lets this test binary be the engine's child process too. A run of all tests
// has to have seen every route of this package and of the gateway succeed.
func TestMain(m *testing.M) {
	code := warehousetest.Main(m)
	if all := flag.Lookup("test.run"); code == 0 && (all == nil || all.Value.String() == "") && len(served) > 0 {
		checker, err := described()
		if err != nil {
			panic(err)
		}
		missing := checker.Missing(func(o *apidoc.Operation) bool {
			return slices.Contains([]string{"Events", "Usage", "Entitlements", "Prices", "Platform"}, o.Tags[0]) && served[o.Pattern()]
		})
		if len(missing) > 0 {
			fmt.Fprintf(os.Stderr, "no test has these operations of the API answer with success: %v\n", missing)
			code = 1
		}
	}
	os.Exit(code)
}

// served are the patterns of the routes of a stack, once there was one.
var served map[string]bool

// patience bounds a wait for another goroutine; nothing here takes that long.
const patience = 60 * time.Second

var signingKey = []byte("a signing key for tests, 32 bytes")

// priceLog is CONTROL and USAGE as the price list sees them; before runs ahead of
// each append.
type priceLog struct {
	*eventlog.Log
	before func(subject string)
}

func (l *priceLog) Append(ctx context.Context, m eventlog.Message) (eventlog.Ack, error) {
	if l.before != nil {
		l.before(m.Subject)
	}
	return l.Log.Append(ctx, m)
}

// usageLog is USAGE as the stages see it.
type usageLog struct{ *eventlog.Log }

func (l usageLog) Append(ctx context.Context, subject, id string, data []byte) (uint64, bool, error) {
	ack, err := l.Log.Append(ctx, eventlog.Message{Subject: subject, ID: id, Data: data})
	return ack.Seq, ack.Duplicate, err
}

func (l usageLog) End(ctx context.Context) (last, epoch uint64, err error) {
	state, err := l.State(ctx, schemas.StreamUsage)
	return state.Last, state.Epoch, err
}

func (l usageLog) Read(ctx context.Context, from uint64) (ingest.LogReader, error) {
	reader, err := l.Log.Read(ctx, eventlog.ReadConfig{Stream: schemas.StreamUsage, From: from})
	return usageReader{reader}, err
}

func (l usageLog) Bounds(ctx context.Context) (first, last uint64, err error) {
	state, err := l.State(ctx, schemas.StreamUsage)
	return state.First, state.Last, err
}

func (l usageLog) Counts(ctx context.Context, from, to uint64, each func(seq uint64, events int) error) error {
	for seq := from; seq <= to; seq++ {
		record, err := l.Get(ctx, schemas.StreamUsage, seq)
		if err != nil {
			return err
		}
		r := ingest.Record(record)
		if err := each(seq, ingest.EventsIn(&r, signingKey)); err != nil {
			return err
		}
	}
	return nil
}

type usageReader struct{ *eventlog.Reader }

func (r usageReader) Next(ctx context.Context, limit int, wait time.Duration) ([]ingest.Record, error) {
	records, err := r.Reader.Next(ctx, limit, 32<<20, wait)
	out := make([]ingest.Record, len(records))
	for i := range records {
		out[i] = ingest.Record(records[i])
	}
	return out, err
}

type writerLease struct{ *eventlog.Lease }

func (l writerLease) Release() { _ = l.Lease.Release(context.Background()) }

// jobsAlone gives the leases of jobs to the one process there is.
type jobsAlone struct{}

func (jobsAlone) Hold(ctx context.Context, _ string) (context.Context, func(), error) {
	return ctx, func() {}, nil
}

// stack is the pipeline behind the API: a log, an engine, and every stage.
type stack struct {
	billedAt atomic.Int64 // the clock of billing, in Unix milliseconds
	t        *testing.T
	url      string
	// now is the clock of everything but the broker: noon of the 15th of a month
	// that is over, so that no test meets the end of a day or a month.
	now time.Time

	log      *eventlog.Log
	priceLog *priceLog
	prices   *pricelist.List
	registry *tenancy.Registry
	db       *warehouse.DB
	runs     *warehouse.Runs
	live     *aggregate.Live
	book     *alerting.Book
	outbox   *notedOutbox
	worker   *rollup.Worker
	jobs     *rollup.Jobs
	routes   []httpapi.Route

	down     atomic.Bool            // the warehouse is being opened
	onStages atomic.Pointer[func()] // runs whenever a handler asks for the stages
	platform string                 // the platform's key
	acme     tenant                 // with all permissions a tenant's key can have
	beta     tenant
}

// tenant is a tenant with a key that may do everything a tenant may.
type tenant struct {
	tenancy.Tenant
	key string
}

// firstPrices price two models per million tokens: alpha 1 and 2 USD, beta 10 and
// 20, for input and output.
func firstPrices() schemas.PriceRevision {
	row := func(model string, usdPerMtok int64) schemas.PriceRow {
		r := schemas.PriceRow{Provider: "house", Model: model}
		r.Tokens.Set(schemas.Input, usdPerMtok*1_000_000)
		r.Tokens.Set(schemas.Output, 2*usdPerMtok*1_000_000)
		return r
	}
	return schemas.PriceRevision{
		Created: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Actor: "test", Note: "first", Source: "test",
		Rows: []schemas.PriceRow{row("alpha", 1), row("team/beta", 10)},
	}
}

func newStack(t *testing.T) *stack {
	t.Helper()
	today := time.Now().UTC()
	s := &stack{t: t, outbox: &notedOutbox{}, now: time.Date(today.Year(), today.Month()-1, 15, 12, 0, 0, 0, time.UTC), log: eventlogtest.Open(t)}
	db := warehousetest.Open(t)
	if err := db.Migrate(t.Context(), schemas.Migrations()); err != nil {
		t.Fatal(err)
	}
	catalog, err := statement.NewCatalog(schemas.Migrations(), map[string]fs.FS{
		"aggregate": aggregate.Statements(), "ingest": ingest.Statements(), "rollup": rollup.Statements()})
	if err != nil {
		t.Fatal(err)
	}
	s.db, s.runs = db, warehouse.NewRuns(warehouse.RunsConfig{Names: catalog.Names()})
	db.Observe(s.runs)
	clock := func() time.Time { return s.now }
	s.registry = tenancy.New(tenancy.Config{ChannelKey: contact.NewKey(signingKey)}, s.log)
	s.run("registry", s.registry.Run)
	admin, err := auth.Bootstrap(t.Context(), s.registry, t.TempDir()+"/admin.key")
	if err != nil {
		t.Fatal(err)
	}
	s.platform = admin.Reveal()
	s.priceLog = &priceLog{Log: s.log}
	s.prices = pricelist.New(s.priceLog, schemas.Shards(1))
	if err := s.prices.Ensure(t.Context(), firstPrices()); err != nil {
		t.Fatal(err)
	}

	tables := ingest.NewTables(db, nil)
	s.live = aggregate.NewLive(aggregate.LiveConfig{Now: clock}, aggregate.NewLiveTables(db, nil))
	if err := s.live.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.worker = rollup.New(rollup.Config{IntervalMin: 10 * time.Millisecond, DutyPercent: 100, Now: clock}, rollup.NewTables(db, nil))
	s.jobs = rollup.NewJobs(rollup.JobsConfig{Lease: jobsAlone{}}, db)
	verifier := rollup.NewVerifier(rollup.VerifyConfig{Log: usageLog{s.log}, Replay: func(context.Context, uint64) error { return nil }}, db)
	stages := &Stages{
		Shards: []*Shard{{
			Reader: aggregate.NewReader(aggregate.ReaderConfig{Live: s.live, Rollups: s.worker, Now: clock}, db),
			Live:   s.live, Tables: tables, Rollup: s.worker, Billing: s.newBilling(),
			End: func(ctx context.Context) (uint64, error) {
				last, _, err := usageLog{s.log}.End(ctx)
				return last, err
			},
		}},
		Jobs: s.jobs, Statements: catalog, Runs: s.runs,
		Verify: func(ctx context.Context, opts rollup.VerifyOptions, _ bool) (rollup.Repair, error) {
			report, err := verifier.Verify(ctx, opts, nil)
			return rollup.Repair{Report: report}, err
		},
	}
	writer := ingest.NewWriter(ingest.WriterConfig{
		Key: signingKey, Claims: onlyWriter{}, CommitEvery: 5 * time.Millisecond, Logger: zerolog.Nop(),
		Acquire: func(ctx context.Context) (ingest.Lease, error) {
			lease, err := s.log.Acquire(ctx, "writer-0", "test", 10*time.Second)
			return writerLease{lease}, err
		},
		OnCommit: func(rows []schemas.Accepted, to uint64) { s.live.Apply(rows, to); s.worker.Nudge() },
	}, usageLog{s.log}, tables, s.prices)
	s.run("writer", writer.Run)
	s.run("rollup", s.worker.Run)
	s.serve(stages, clock)
	s.acme = s.tenant("Acme Corporation", "acme-corp")
	s.beta = s.tenant("Beta <Industries> & Sons", "beta-industries")
	return s
}

// serve answers HTTP as the binary does.
func (s *stack) serve(stages *Stages, clock func() time.Time) {
	gateway := ingest.NewGateway(ingest.GatewayConfig{
		Key: signingKey, Now: clock,
		FindTenant: func(scope tenancy.Scope, idOrSlug string) (string, error) {
			t, err := s.registry.Find(scope, idOrSlug)
			return t.ID, err
		},
	}, usageLog{s.log})
	authenticate := auth.New(auth.Config{Registry: s.registry, RemoteIP: httpapi.RemoteIP}).Authenticate
	server := httpapi.New(httpapi.Config{
		Authenticate: authenticate, Metrics: prometheus.NewRegistry(), Logger: zerolog.Nop(),
	})
	cursors := httpapi.Cursors{Key: bytes.Repeat([]byte{7}, 32)}
	gateway.Routes(server)
	invitations := auth.Invitations{Key: bytes.Repeat([]byte{8}, 32)}
	(&httpapi.Tenants{Registry: s.registry, Cursors: cursors, Authenticate: authenticate,
		NewToken: invitations.NewToken, ReadToken: invitations.ReadToken}).Register(server)
	s.book = alerting.NewBook(alerting.BookConfig{}, s.log)
	s.run("book", s.book.Run)
	(&API{
		Book: s.book, Decider: alerting.NewDecider(s.log), Outbox: s.outbox,
		Stages: func() (*Stages, error) {
			if f := s.onStages.Load(); f != nil {
				(*f)()
			}
			if s.down.Load() {
				return nil, fmt.Errorf("the warehouse is being opened: %w", schemas.ErrUnavailable)
			}
			return stages, nil
		},
		Registry: s.registry, Prices: s.prices, Cursors: cursors, Now: clock,
		Submit: func(ctx context.Context, tenant string, events []schemas.Event) (uint64, error) {
			envelope := ingest.EncodeEnvelope(nil, tenant, events, ingest.FlagImport, signingKey)
			seq, _, err := usageLog{s.log}.Append(ctx, schemas.Shard{}.EnvelopeSubject(tenant), "", envelope)
			return seq, err
		},
	}).Register(server)
	s.routes = server.Routes()
	served = map[string]bool{}
	for _, route := range s.routes {
		served[route.Pattern] = true
	}
	// Every answer of every test is held against the API's description.
	checker, err := described()
	if err != nil {
		s.t.Fatal(err)
	}
	web := httptest.NewServer(checker.Wrap(s.t, server.Handler()))
	s.t.Cleanup(web.Close)
	s.url = web.URL
}

// run runs a part until the test's end.
func (s *stack) run(name string, part func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			s.t.Errorf("%s: %v", name, err)
		}
	})
}

func (s *stack) tenant(name, slug string) tenant {
	s.t.Helper()
	by := tenancy.Actor{ID: "test"}
	made, _, err := s.registry.CreateTenant(s.t.Context(), by, tenancy.NewTenant{Name: name, Slug: slug, Plan: tenancy.PlanEnterprise})
	if err != nil {
		s.t.Fatal(err)
	}
	secret, _, err := auth.Issue(s.t.Context(), s.registry, by, made.ID, "all", tenancy.RoleAdmin.Permissions()...)
	if err != nil {
		s.t.Fatal(err)
	}
	return tenant{made, secret.Reveal()}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request with a key.
func (s *stack) ask(key, method, path, body string) answer {
	s.t.Helper()
	a, err := s.try(key, method, path, strings.NewReader(body))
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// try is ask for goroutines.
func (s *stack) try(key, method, path string, body io.Reader) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, body)
	if err != nil {
		return answer{}, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	req.Header.Set("Content-Type", "application/json")
	if strings.HasPrefix(path, "/v1/events") && !strings.HasPrefix(path, "/v1/events/lookup") {
		req.Header.Set("Content-Type", "application/cloudevents-batch+json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(text)}, err
}

// into decodes an answer that must be 200.
func into[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	return v
}

func (s *stack) get(key, path string) answer { s.t.Helper(); return s.ask(key, "GET", path, "") }

// wantProblem checks a refusal: its status, its code, and the field at fault with
// a sentence about it.
func wantProblem(t *testing.T, a answer, status int, code, pointer string) httpapi.Problem {
	t.Helper()
	var p httpapi.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != status || p.Code != code {
		t.Errorf("%d %s\nwant %d %s", a.status, a.body, status, code)
		return p
	}
	if got := a.header.Get("Content-Type"); got != httpapi.ContentTypeProblem {
		t.Errorf("content type %q", got)
	}
	if p.Detail == "" || p.Title == "" {
		t.Errorf("nothing for a person to read: %s", a.body)
	}
	if pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != pointer || p.Errors[0].Detail == "") {
		t.Errorf("errors %+v, want one at %s", p.Errors, pointer)
	}
	return p
}

// call is an event of one call at a time.
func call(id string, at time.Time, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/r","type":"llm.call","time":%q,"data":{%s}}`,
		id, at.Format(time.RFC3339Nano), data)
}

// send sends events through the front door and waits until they are judged.
func (s *stack) send(key string, events ...string) uint64 {
	s.t.Helper()
	got := into[struct {
		Accepted, Duplicates, Rejected int
		Seq                            uint64
	}](s.t, s.ask(key, "POST", "/v1/events", "["+strings.Join(events, ",")+"]"))
	if got.Rejected != 0 {
		s.t.Fatalf("%+v", got)
	}
	s.judged(got.Seq)
	return got.Seq
}

// publish publishes as a runtime with NATS credentials does, and waits.
func (s *stack) publish(tenant, data string) uint64 {
	s.t.Helper()
	ack, err := s.log.Append(s.t.Context(), eventlog.Message{Subject: schemas.DirectSubject(tenant), Data: []byte(data)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.judged(ack.Seq)
	return ack.Seq
}

// judged waits until the writer has committed as far as seq.
func (s *stack) judged(seq uint64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := s.live.WaitFor(ctx, seq); err != nil {
		s.t.Fatalf("wait for the writer: %v", err)
	}
}

// rolledUp waits until the windows cover seq.
func (s *stack) rolledUp(seq uint64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := s.worker.WaitFor(ctx, seq); err != nil {
		s.t.Fatalf("wait for the rollups: %v", err)
	}
}

// onlyWriter keeps no claim: there is one writer, and none of its commits is lost.
type onlyWriter struct{}

func (onlyWriter) Take(context.Context) (ingest.Claim, error) { return ingest.Claim{}, nil }
func (onlyWriter) Put(context.Context, ingest.Claim) error    { return nil }
