package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/api"
	"github.com/agentik-os/panda/internal/apidoc"
	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// routes fills the route table. Work that outlives a request ends with running.
func (p *pipeline) routes(running context.Context, usage usageLog) {
	cursors := httpapi.Cursors{Key: p.keyFor("cursors")}
	apidoc.Register(p.server)
	p.server.HandlePublic("GET /alerts/{alert}", http.HandlerFunc(serveAlertPage))
	p.gateway.Routes(p.server)
	operations := &httpapi.Operations{Base: running}
	invitations := auth.Invitations{Key: p.keyFor("invitations")}
	(&httpapi.Tenants{
		Registry: p.registry, Cursors: cursors, PublicURL: p.publicURL(),
		NewToken: invitations.NewToken, ReadToken: invitations.ReadToken, Identify: p.identify(),
		OpenSignup: p.cfg.Signup == signupOpen, Authenticate: p.keys.Authenticate, Spent: p.spent,
		Erase: p.eraseTenant, EraseUser: p.eraseUser, Export: p.export, Operations: operations,
	}).Register(p.server)
	(&api.API{
		Stages:   p.stages,
		Registry: p.registry,
		Prices:   p.prices,
		Submit: func(ctx context.Context, tenant string, events []schemas.Event) (uint64, error) {
			envelope := ingest.EncodeEnvelope(nil, tenant, events, ingest.FlagImport, p.signing)
			// No message id: the same bytes may be on the log from before, and are to
			// be judged again.
			seq, _, err := usage.Append(ctx, p.of(tenant).EnvelopeSubject(tenant), "", envelope)
			return seq, err
		},
		Calls:   p.calls,
		Book:    p.alerts.book,
		Decider: alerting.NewDecider(p.log),
		Outbox:  p.alerts.outbox,
		Still:   p.mayStore,
		Cursors: cursors,
	}).Register(p.server)
	operations.Register(p.server)
	(&httpapi.Moves{Registry: p.registry, Operations: operations, Move: p.moveFor}).Register(p.server)
}

// publicURL is where people reach this installation.
func (p *pipeline) publicURL() string {
	if p.cfg.PublicURL != "" {
		return strings.TrimSuffix(p.cfg.PublicURL, "/")
	}
	return "http://" + p.cfg.Listen
}

// stages returns what the API asks, once it may be asked.
func (p *pipeline) stages() (*api.Stages, error) {
	if err := p.ready(); err != nil {
		return nil, err
	}
	var shards []*api.Shard
	for _, s := range p.shards {
		shards = append(shards, s.answers())
	}
	return &api.Stages{
		Shards: shards, Jobs: p.jobs, Statements: p.queries.catalog, Runs: p.queries.runs,
		Verify: func(ctx context.Context, opts rollup.VerifyOptions, repair bool) (rollup.Repair, error) {
			// Windows that are behind would be left out; a verify is worth a short wait.
			waiting, cancel := context.WithTimeout(ctx, verifyWait)
			defer cancel()
			for _, s := range p.shards {
				_ = s.worker.WaitFor(waiting, s.live.Position().Seq) // what is left out is named
			}
			if repair {
				return p.repair(ctx, opts)
			}
			found, _, err := p.verify(ctx, opts)
			return found, err
		},
	}, nil
}

// verifyWait is how long a verify waits for windows that are behind.
const verifyWait = 20 * time.Second

// gatewayConfig wires the front door.
func (p *pipeline) gatewayConfig() ingest.GatewayConfig {
	return ingest.GatewayConfig{
		Key:   p.signing,
		Shard: func(tenant string) schemas.Shard { return p.of(tenant).Shard },
		Admit: p.admit, MayStore: p.mayStore,
		FindTenant: func(scope tenancy.Scope, idOrSlug string) (string, error) {
			t, err := p.registry.Find(scope, idOrSlug)
			return t.ID, err
		},
		Metrics: ingest.NewGatewayMetrics(p.metrics),
		Logger:  p.logger.With().Str("part", "gateway").Logger(),
	}
}

// admitRetry is what a refused client waits: long enough for a merge or an
// expiry to free space, short enough to be soon.
const admitRetry = 5 * time.Second

// admit refuses events before the log is at risk: a disk that is filled up stops
// the log for everybody, so it is never filled.
func (p *pipeline) admit(tenant string) (time.Duration, error) {
	if err := p.served(tenant); err != nil {
		return 0, err
	}
	if free, known := p.shards[0].lag.diskFree(); known && free >= 0 && free < p.cfg.DiskFreeMin {
		return admitRetry, fmt.Errorf("the disk of the log has %d bytes left, below disk_free_min %d: %w", free, p.cfg.DiskFreeMin, schemas.ErrUnavailable)
	}
	if behind := p.of(tenant).lag.behind(time.Now()); behind > p.cfg.LagMax {
		return admitRetry, fmt.Errorf("the writer is %s behind, above lag_max %s: %w", behind.Round(time.Second), p.cfg.LagMax, schemas.ErrUnavailable)
	}
	return 0, nil
}
