package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Appender is the log as the gateway sees it.
type Appender interface {
	// Append stores a message and returns when it is on disk. id makes the same
	// message recognisable; duplicate says that it was there already. After an
	// error that matches schemas.ErrUnavailable it may or may not be stored, and
	// sending it again is harmless. data is not kept after a nil error.
	Append(ctx context.Context, subject, id string, data []byte) (seq uint64, duplicate bool, err error)
}

// CodeLogFull is the code of the 503 that a full log gives.
const CodeLogFull = "log_full"

// GatewayConfig configures a Gateway. The zero value of a limit means its
// default.
type GatewayConfig struct {
	// Key signs envelopes; the writers' has to be the same. Required.
	Key []byte
	// FindTenant returns the id of a tenant that is named by id or slug and within
	// reach of a scope, else an error for httpapi.ProblemOf. Default: nobody can be
	// named.
	FindTenant func(scope tenancy.Scope, idOrSlug string) (string, error)
	// Shard says which shard a tenant belongs to. Default: the only one.
	Shard func(tenant string) schemas.Shard
	// Now is the clock that events' times are checked against.
	Now func() time.Time
	// Admit says whether events of a tenant may come in now; it refuses when the
	// disk fills, the writer lags or the tenant floods, before anything is read.
	// Its error is answered as it is by httpapi.ProblemOf, with retryAfter.
	// Default: always.
	Admit func(tenant string) (retryAfter time.Duration, err error)
	// MayStore is asked right before events go on the log, whether the caller may
	// still send for the tenant: reading a body may take half a minute, and a tenant
	// that was suspended or a key that was revoked meanwhile is refused. Default:
	// it may.
	MayStore func(scope tenancy.Scope, tenant string) error

	// BodyBytesMax bounds a body, both as it is sent and after decompression.
	// Default schemas.RequestBytesMax.
	BodyBytesMax int
	// BatchEventsMax bounds the events of a request. Default schemas.BatchEventsMax,
	// which the envelope does not allow to exceed.
	BatchEventsMax int
	// EnvelopeBytesMax bounds one message to the log; a batch that needs more goes
	// in several. Default 1 MiB, below what the log takes by its headroom.
	EnvelopeBytesMax int
	// PastMax is how old an event may be at the regular door. Default
	// schemas.PastMax.
	PastMax time.Duration
	// TenantRequestsMax bounds the requests of one tenant that are on the way at
	// once; one more is 429. Default 32: a fleet behind a few connections.
	TenantRequestsMax int
	// TenantBytesMax bounds the bytes their bodies may have, compressed ones at
	// their largest. Default 16 MiB: what a hundred such floods hold fits in memory.
	TenantBytesMax int64
	// Lanes is how many requests are decoded and appended at once, of all tenants.
	// Default 16: more would wait for the log's syncs there, and no longer by turns.
	Lanes int
	// TenantLanes is how many of them may be of one tenant while others send too.
	// Default 4: two are decoded while two are synced.
	TenantLanes int

	Metrics *GatewayMetrics
	Logger  zerolog.Logger
}

func (cfg GatewayConfig) withDefaults() GatewayConfig {
	if len(cfg.Key) == 0 {
		panic("ingest: a gateway needs the key that signs envelopes")
	}
	if cfg.FindTenant == nil {
		cfg.FindTenant = func(tenancy.Scope, string) (string, error) { return "", tenancy.ErrNotFound }
	}
	if cfg.Shard == nil {
		cfg.Shard = func(string) schemas.Shard { return schemas.Shard{} }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Admit == nil {
		cfg.Admit = func(string) (time.Duration, error) { return 0, nil }
	}
	if cfg.BodyBytesMax == 0 {
		cfg.BodyBytesMax = schemas.RequestBytesMax
	}
	if cfg.BatchEventsMax == 0 {
		cfg.BatchEventsMax = schemas.BatchEventsMax
	}
	if cfg.EnvelopeBytesMax == 0 {
		cfg.EnvelopeBytesMax = 1 << 20
	}
	if cfg.PastMax == 0 {
		cfg.PastMax = schemas.PastMax
	}
	if cfg.MayStore == nil {
		cfg.MayStore = func(tenancy.Scope, string) error { return nil }
	}
	if cfg.TenantRequestsMax == 0 {
		cfg.TenantRequestsMax = 32
	}
	if cfg.TenantBytesMax == 0 {
		cfg.TenantBytesMax = 16 << 20
	}
	if cfg.Lanes == 0 {
		cfg.Lanes = 16
	}
	if cfg.TenantLanes == 0 {
		cfg.TenantLanes = 4
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewGatewayMetrics(nil)
	}
	return cfg
}

// Gateway takes events in over HTTP. It checks them, puts what is good on the
// log and answers when that is on disk, with a verdict per event:
//
//	accepted   it is on the log
//	duplicate  the same event is in the batch before, or the same batch is on the
//	           log already; nothing was added
//	conflict   another event of the same source and id is in the batch before; it
//	           is on the log, and the first one counts
//	rejected   it is wrong, and nothing of it is stored
//
// Whether an accepted event is new is the writer's to say: it may repeat one
// from long ago, and is then not counted again.
//
// It holds no state between requests but buffers, so any number of gateways can
// run side by side.
type Gateway struct {
	cfg     GatewayConfig
	log     Appender
	body    *bodyReader
	flights *flights
	pool    sync.Pool // of *exchange
}

// NewGateway returns a Gateway that appends to log.
func NewGateway(cfg GatewayConfig, log Appender) *Gateway {
	cfg = cfg.withDefaults()
	g := &Gateway{cfg: cfg, log: log, body: newBodyReader(cfg.BodyBytesMax), flights: newFlights(&cfg)}
	g.pool.New = func() any { return newExchange() }
	return g
}

// Routes adds the gateway's routes to a server.
func (g *Gateway) Routes(s *httpapi.Server) {
	// Events have identities of their own; a batch sent again is recognised by them.
	s.Handle("POST /v1/events", tenancy.PermissionIngest, g.Events, httpapi.Unkeyed)
	s.Handle("POST /v1/import", tenancy.PermissionImport, g.Import, httpapi.Unkeyed)
}

// Events is the handler of POST /v1/events.
func (g *Gateway) Events(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	return g.serve(w, r, scope, door{pastMax: g.cfg.PastMax})
}

// Import is the handler of POST /v1/import: the same, but events may be of any
// age.
func (g *Gateway) Import(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	return g.serve(w, r, scope, door{flags: FlagImport})
}

// A door is how events come in.
type door struct {
	pastMax time.Duration // 0 is no limit
	flags   EnvelopeFlags
}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, scope tenancy.Scope, in door) error {
	x := g.pool.Get().(*exchange)
	x.begin()
	err := g.handle(r, scope, in, x)
	if err == nil {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", fmt.Sprint(len(x.answer)))
		// The events are stored. If the client is gone it will send them again,
		// and then they are recognised.
		_, _ = w.Write(x.answer)
	}
	g.cfg.Metrics.request(x, err)
	if x.reusable() {
		g.pool.Put(x)
	}
	return err
}

// tenantOf returns whose usage a request brings. A tenant's key brings its own; a
// key of the platform has to name one with ?tenant=. A tenant's key may name
// itself, and nobody else.
func (g *Gateway) tenantOf(r *http.Request, scope tenancy.Scope) (string, error) {
	named := r.URL.Query().Get("tenant")
	switch {
	case named != "":
		id, err := g.cfg.FindTenant(scope, named)
		if err != nil {
			return "", err
		}
		// Asked again here, where it decides on whose account the events go.
		narrowed, err := scope.For(id)
		return narrowed.TenantID(), err
	case scope.TenantID() == "":
		return "", httpapi.Problem{Status: http.StatusForbidden, Code: "tenant_needed",
			Detail: "usage belongs to a tenant, and this key belongs to none; " +
				"name one with ?tenant=<id or slug>, or use a key of the tenant"}
	}
	return scope.TenantID(), nil
}

// handle takes a request to its answer, or to an error for httpapi.ProblemOf.
func (g *Gateway) handle(r *http.Request, scope tenancy.Scope, in door, x *exchange) error {
	tenant, err := g.tenantOf(r, scope)
	if err != nil {
		return err
	}
	if strings.ContainsAny(tenant, ".*> \t\r\n") {
		// It would be published under another name. No registry gives such ids.
		return fmt.Errorf("tenant id %q cannot be part of a subject", tenant)
	}
	onlyRejected, err := verdictsParameter(r)
	if err != nil {
		return err
	}
	if wait, err := g.cfg.Admit(tenant); err != nil {
		return refusal(err, wait)
	}
	bytes := g.body.heldMax(r)
	if err := g.flights.enter(tenant, bytes); err != nil {
		return err
	}
	defer g.flights.leave(tenant, bytes)
	if err := g.body.read(r, x); err != nil {
		return err
	}
	if err := g.flights.lane(r.Context(), tenant, len(x.body)); err != nil {
		return err
	}
	defer g.flights.done(tenant)
	if err := x.decode(r, g.cfg.BatchEventsMax); err != nil {
		return err
	}
	runtime.Gosched() // a batch is milliseconds of work; others do not wait for all of it
	x.judge(g.cfg.Now(), in.pastMax)
	if len(x.events) == 0 && len(x.decoded) > 0 {
		return x.allRejected()
	}
	if err := g.cfg.MayStore(scope, tenant); err != nil {
		return err
	}
	x.shard = g.cfg.Shard(tenant)
	if err := g.store(r.Context(), tenant, in, x); err != nil {
		return err
	}
	x.writeAnswer(onlyRejected)
	return nil
}

// verdictsParameter reads the query parameter that asks for a short answer.
func verdictsParameter(r *http.Request) (onlyRejected bool, err error) {
	if r.URL.RawQuery == "" {
		return false, nil
	}
	switch v := r.URL.Query().Get("verdicts"); v {
	case "", "all":
		return false, nil
	case "rejected":
		return true, nil
	default:
		return false, schemas.Invalid("/verdicts", schemas.CodeUnknown,
			"%q is not known; use all or rejected", clipped([]byte(v)))
	}
}

// refusal makes the answer of a refusal by Admit or the log. The cause stays in
// the error for the log line.
func refusal(err error, wait time.Duration) error {
	p := httpapi.ProblemOf(err)
	if wait > 0 {
		p.RetryAfter = wait
	}
	return fmt.Errorf("%w (%w)", p, err)
}

// store puts the events on the log: in one message, or in several when they do
// not fit. It returns when all are on disk.
//
// A crash or an error in between leaves whole messages on the log. The client
// sees an error, sends the batch again, and what was stored is recognised.
func (g *Gateway) store(ctx context.Context, tenant string, in door, x *exchange) error {
	began := time.Now()
	subject := x.shard.EnvelopeSubject(tenant)
	stored := 0
	for parts := []int{len(x.events)}; len(parts) > 0 && stored < len(x.events); {
		n := parts[len(parts)-1]
		events := x.events[stored : stored+n]
		runtime.Gosched()
		x.envelope = EncodeEnvelope(x.envelope[:0], tenant, events, in.flags, g.cfg.Key)
		if len(x.envelope) > g.cfg.EnvelopeBytesMax && n > 1 {
			parts = append(parts[:len(parts)-1], n-n/2, n/2)
			continue
		}
		parts = parts[:len(parts)-1]
		failpoint.Hit(failpoint.GatewayBeforeAppend)
		seq, duplicate, err := g.log.Append(ctx, subject, EnvelopeID(x.envelope), x.envelope)
		if err != nil {
			x.envelope = nil // the log may still hold it
			return x.notStored(stored, err)
		}
		failpoint.Hit(failpoint.GatewayAfterAppend)
		x.stored(stored, n, seq, duplicate)
		stored += n
	}
	if stored > 0 {
		g.cfg.Metrics.appends.Observe(time.Since(began).Seconds())
	}
	return nil
}

// notStored makes the answer when the log failed after the first events were
// stored. It is an error even if most are: a client that looks at nothing but
// the status must not take it for an acknowledgement.
func (x *exchange) notStored(stored int, err error) error {
	if errors.Is(err, schemas.ErrInvalid) {
		// Ours to mend, so a 500: the class of err must not show through.
		return fmt.Errorf("append envelope: the log calls it invalid: %v", err) //nolint:errorlint // see above
	}
	p := httpapi.ProblemOf(err)
	if errors.Is(err, eventlog.ErrFull) {
		// Room comes with the expiry of old messages or with an operator.
		const fullRetryAfter = 30 * time.Second
		p.Code, p.RetryAfter = CodeLogFull, fullRetryAfter
		p.Title = "Log full"
		p.Detail = "the event log is full and takes nothing more for now; keep the events and send them again"
	}
	if stored > 0 {
		p.Detail = fmt.Sprintf("%d of %d events are stored; send the same batch again, what is stored will be recognised",
			stored, len(x.events))
		for i := range x.verdicts {
			if v := &x.verdicts[i]; v.event >= stored {
				p.Errors = append(p.Errors, httpapi.FieldProblem{Pointer: x.pointer(i, ""), Code: "not_stored",
					Detail: "this event is not stored"})
			}
		}
	}
	return fmt.Errorf("append envelope: %w (%w)", p, err)
}
