package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/auth/oidc"
	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/export"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/pricelist"
	"github.com/agentik-os/panda/internal/ratelimit"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas/prices"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
)

// shard is the one shard of this version. Subjects, ledger and leases carry it, so
// that more of them need no new format.
const shard uint32 = 0

const (
	// writerLeaseTTL is how long a writer that died keeps others waiting.
	writerLeaseTTL = 10 * time.Second
	// jobLeaseTTL is the same for a job.
	jobLeaseTTL = 30 * time.Second
)

// pipeline is the running system: every stage, wired. Parts are started in the
// order of the data and stopped in the same order, so that what was taken in is
// handed on.
type pipeline struct {
	cfg    Config
	logger zerolog.Logger

	metrics  *prometheus.Registry
	log      *eventlog.Log
	registry *tenancy.Registry
	keys     *auth.Authenticator
	prices   *pricelist.List
	gateway  *ingest.Gateway
	server   *httpapi.Server
	attempts *tenancy.Attempts
	signIns  *oidc.Verifier // nil where people do not sign in
	adminKey auth.Secret
	lag      *lagMonitor
	alerts   *alerts
	limiter  *ratelimit.Limiter
	direct   directKeys

	db *warehouse.DB
	// placement says in which database a tenant's rows lie.
	placement *placement.Map
	store     *ingest.Tables
	live      *aggregate.Live
	reader    *aggregate.Reader
	worker    *rollup.Worker
	jobs      *rollup.Jobs
	billing   *rollup.Billing

	verifier *rollup.Verifier
	repairer *rollup.Repairer
	auditor  *rollup.Auditor
	eraser   *erasure.Eraser
	exporter *export.Exporter
	// places knows where messages were erased from the log.
	places *erasure.Places
	// These outlive a warehouse that had to be opened, or counting begun, again.
	auditMetrics  *rollup.AuditMetrics
	writerMetrics *ingest.WriterMetrics
	// monitor remembers why the counting stopped, if it did.
	monitor *invariant.Monitor
	breach  chan error    // a breach that a job found; holds one
	mended  chan struct{} // a repair left nothing to find; holds one
	// repairing is held by a repair: one at a time.
	repairing sync.Mutex
	// writing is the writer that runs, nil while none does.
	writing atomic.Pointer[ingest.Writer]
	// restoring is read-held while a range is restored, and held by a move in its pause.
	restoring sync.RWMutex
	// mendedAlone is when a repair was last made that nobody asked for; of count.
	mendedAlone time.Time
	// verified is up to where the ledger was held against everything in this process.
	verified atomic.Uint64
	// signing is the key of envelopes.
	signing []byte
	// queries says which statements there are, and which were run in this process.
	queries queries
	// known is closed once the registry is read, or will not be any more.
	known     chan struct{}
	openKnown func()
	// open is set once the parts above may be used. Until then events are taken
	// in and acknowledged, and questions are answered 503.
	open atomic.Bool

	cancel context.CancelFunc
	group  *errgroup.Group
	ended  chan struct{} // closed when the group has ended; then err is set
	err    error
}

// startPipeline opens the log, answers HTTP, and opens the warehouse behind it:
// an acknowledgement needs the log alone. When it returns, events are taken in;
// Counting waits for the rest.
func startPipeline(ctx context.Context, cfg Config, logger zerolog.Logger) (_ *pipeline, err error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.ClickHouseURL == "" {
		// Asked before events are taken in that nobody could count.
		if _, err := engine.FindLib(cfg.getenv); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	p := &pipeline{cfg: cfg, logger: logger, metrics: prometheus.NewRegistry(), limiter: ratelimit.New(nil), ended: make(chan struct{}), known: make(chan struct{}), breach: make(chan error, 1), mended: make(chan struct{}, 1)}
	p.monitor, p.auditMetrics = invariant.NewMonitor(p.metrics), rollup.NewAuditMetrics(p.metrics)
	p.writerMetrics = ingest.NewWriterMetrics(p.metrics)
	p.openKnown = sync.OnceFunc(func() { close(p.known) })
	p.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, p.closeParts())
		}
	}()
	if p.queries, err = readQueries(); err != nil {
		return nil, err
	}
	if err := p.openLog(ctx); err != nil {
		return nil, err
	}
	// What runs, runs until Close: it does not end with the caller's context.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	p.group, running = errgroup.WithContext(running)
	p.group.Go(func() error { return p.registry.Run(running) })
	if err := p.openDoors(ctx, running); err != nil {
		cancel()
		_ = p.group.Wait() // the reason is err
		return nil, err
	}
	p.group.Go(func() error { return p.count(running) })
	go func() {
		p.err = p.group.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *pipeline) openLog(ctx context.Context) (err error) {
	// The registry answers for NATS passwords, and needs the log itself first. Until
	// it is read a connection waits: a client that is told twice that its key is
	// wrong gives up for good.
	var keys atomic.Pointer[auth.Authenticator]
	p.log, err = eventlog.Open(ctx, eventlog.Config{
		URL: p.cfg.NATSURL, CredsFile: p.cfg.NATSCreds, DataDir: filepath.Join(p.cfg.Data, "log"),
		Listen: p.cfg.NATSListen, ListenCertFile: p.cfg.NATSListenCert, ListenKeyFile: p.cfg.NATSListenKey,
		Relay: p.cfg.NATSRelay, Replicas: p.cfg.replicas(), UsageMaxBytes: p.cfg.LogBytes,
		Authenticate: func(user, password string) (string, bool) {
			p.awaitKnown(ctx)
			k := keys.Load()
			if k == nil {
				return "", false
			}
			tenant, ok := k.CheckPassword(user, password)
			if id, err := auth.ParseKey(password); ok && err == nil {
				p.direct.opened(tenant, id, time.Now())
			}
			return tenant, ok
		},
		Admit: p.admitDirect, MayStore: p.servedDirect,
		Logger: p.logger.With().Str("part", "log").Logger(),
	})
	if err != nil {
		return err
	}
	p.lag = newLagMonitor(p.cfg.LagMax)
	p.places = erasure.NewPlaces(p.log)
	p.registry = tenancy.New(tenancy.Config{DatabaseOf: p.cfg.newDatabases(), Logger: p.logger.With().Str("part", "tenancy").Logger()}, p.log)
	authentication := auth.Config{Registry: p.registry, Members: p.registry, PlatformAdmins: p.admins(), Logger: p.logger}
	if p.signIns, err = p.tokens(); err != nil {
		return err
	}
	if p.signIns != nil {
		authentication.Tokens = p.signIns
	}
	p.keys = auth.New(authentication)
	if p.alerts, err = p.newAlerts(); err != nil {
		return err
	}
	keys.Store(p.keys)
	p.prices = pricelist.New(p.log, []uint32{shard})
	return nil
}

// awaitKnown waits until keys are known, within reason: while somebody waits here,
// the log cannot close.
func (p *pipeline) awaitKnown(ctx context.Context) {
	const waitMax = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, waitMax)
	defer cancel()
	select {
	case <-p.known:
	case <-ctx.Done():
	}
}

// openDoors waits for the registry, publishes the first prices and listens.
func (p *pipeline) openDoors(ctx, running context.Context) (err error) {
	select {
	case <-p.registry.Ready():
	case <-ctx.Done():
		return fmt.Errorf("read the registry: %w", ctx.Err())
	case <-running.Done():
		return errors.New("read the registry: it ended")
	}
	p.openKnown()
	if p.adminKey, err = auth.Bootstrap(ctx, p.registry, filepath.Join(p.cfg.Data, "admin.key")); err != nil {
		return fmt.Errorf("make the admin key: %w", err)
	}
	catalog, err := prices.Catalog()
	if err != nil {
		return fmt.Errorf("read the price catalog: %w", err)
	}
	if err := p.prices.Ensure(ctx, catalog); err != nil {
		return err
	}
	if p.signing, err = p.envelopeKey(); err != nil {
		return err
	}
	p.attempts = tenancy.NewAttempts(p.log, p.logger.With().Str("part", "audit").Logger())
	usage := usageLog{log: p.log, appended: p.appended}
	p.gateway = ingest.NewGateway(p.gatewayConfig(), usage)
	p.server = httpapi.New(httpapi.Config{
		Addr: p.cfg.Listen, Authenticate: p.keys.Authenticate, Limit: p.limitCalls, Metrics: p.metrics, Refused: p.attempts.Note,
		Logger: p.logger.With().Str("part", "http").Logger(),
	})
	p.server.AddCheck("log", p.log.Healthy)
	p.server.AddCheck("tenants", p.registry.Check)
	p.server.AddCheck("warehouse", func(ctx context.Context) error { return p.ready() })
	p.server.AddCheck("counting", func(ctx context.Context) error { return p.counting() })
	p.routes(running, usage)
	if err := p.server.Listen(); err != nil {
		return err
	}
	p.group.Go(func() error { return p.server.Run(running) })
	p.group.Go(func() error { return p.lag.run(running, p.log) })
	p.group.Go(func() error { return p.attempts.Run(running) })
	p.group.Go(func() error { return p.watchDirect(running) })
	p.group.Go(func() error { return p.alerts.run(running) })
	if p.signIns != nil {
		p.group.Go(func() error { return p.signIns.Run(running) })
	}
	return p.writeRunFile()
}

// envelopeKey returns the signing key: the configured one, or one that is made
// once and kept in the data directory.
func (p *pipeline) envelopeKey() ([]byte, error) {
	if p.cfg.EnvelopeKey != "" {
		return []byte(p.cfg.EnvelopeKey), nil
	}
	path := filepath.Join(p.cfg.Data, "envelope.key")
	data, err := os.ReadFile(path)
	if err == nil {
		return []byte(strings.TrimSpace(string(data))), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read envelope key: %w", err)
	}
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return nil, fmt.Errorf("make envelope key: %w", err)
	}
	text := hex.EncodeToString(raw)
	if err := writeDurably(path, []byte(text+"\n")); err != nil {
		return nil, fmt.Errorf("keep envelope key: %w", err)
	}
	return []byte(text), nil
}

// writeDurably writes a file whole or not at all, readable by its owner alone.
func writeDurably(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// URL is where the API answers.
func (p *pipeline) URL() string { return "http://" + p.server.Addr() }

// AdminKey is the platform's first key.
func (p *pipeline) AdminKey() string { return p.adminKey.Reveal() }

// Publish sends a message to the log as a runtime with NATS credentials would.
func (p *pipeline) Publish(ctx context.Context, subject string, data []byte) error {
	_, _, err := usageLog{log: p.log, appended: p.appended}.Append(ctx, subject, "", data)
	return err
}

// Wait returns when the pipeline has ended by itself, with the reason.
func (p *pipeline) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-p.ended:
		if p.err == nil {
			return errors.New("the pipeline ended")
		}
		return p.err
	}
}

// Close stops taking in, finishes what runs, and closes everything. What was
// acknowledged is on the log; the next start counts it.
func (p *pipeline) Close() error {
	p.cancel()
	<-p.ended
	err := p.err
	if errors.Is(err, context.Canceled) || errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, p.closeParts())
}

// closeAfter closes after err, which may be why the pipeline ended, and says
// everything once.
func (p *pipeline) closeAfter(err error) error {
	closed := p.Close()
	if errors.Is(closed, err) {
		return closed
	}
	return errors.Join(err, closed)
}

func (p *pipeline) closeParts() error {
	var errs []error
	if p.db != nil {
		errs = append(errs, p.db.Close())
	}
	p.openKnown()
	if p.log != nil {
		errs = append(errs, p.log.Close())
	}
	if p.server != nil {
		errs = append(errs, removeRunFile(p.cfg.Data))
	}
	return errors.Join(errs...)
}

// newServe is `panda serve`.
func newServe(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the whole pipeline until it is interrupted", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger := a.cfg.logger(a.stderr)
			p, err := startPipeline(cmd.Context(), *a.cfg, logger)
			if err != nil {
				return err
			}
			logger.Info().Str("url", p.URL()).Str("data", a.cfg.Data).Msg("events are taken in")
			key := filepath.Join(a.cfg.Data, "admin.key")
			if p.AdminKey() == "" {
				key = "not on this node; the first one that ran on this log has it, or whoever took it from there"
			}
			_, _ = fmt.Fprintf(a.stdout, "panda listens on %s\nadmin key: %s\n", p.URL(), key)
			return p.closeAfter(p.Wait(cmd.Context()))
		},
	}
	addSettings(cmd, a.cfg)
	return cmd
}

// addSettings gives a command every setting as a flag, but those that the root
// has for all.
func addSettings(cmd *cobra.Command, cfg *Config) {
	fs := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	cfg.settings(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Name != "data" && f.Name != "log-level" {
			cmd.Flags().AddFlag(f)
		}
	})
}
