package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/schemas"
)

// Log is an open event log. Its methods are safe for concurrent use.
type Log struct {
	cfg    Config
	log    zerolog.Logger
	broker *broker // nil for a cluster
	outage *outage // of the broker
	conn   *nats.Conn
	js     jetstream.JetStream
	mover  *mover // nil for the server inside this process
	// slots bounds AppendAsync: one is taken per message in flight and given back
	// by landed.
	slots chan struct{}
	// queues are what tenants have on the way through the door.
	queues doorQueues

	scrubMu   sync.Mutex                // held by whoever erases from files
	scrubbing atomic.Pointer[scrubbing] // what the next start of the server does first; nil for nothing

	handlesMu sync.Mutex
	handles   map[string]jetstream.Stream // by stream name

	// background ends with the Log; readers, leases and the door run under it, as
	// goroutines that spawn starts and Close waits for.
	background context.Context
	cancel     context.CancelFunc
	work       sync.WaitGroup
	workMu     sync.Mutex // orders work.Add before work.Wait
	ending     bool       // guarded by workMu: no more work starts
	closing    sync.Once
	closeErr   error
}

// Open starts or reaches the log, makes its streams and checks that they run
// with the settings that this package's promises need.
//
// Errors: ErrInUse, ErrSetting (names the setting), schemas.ErrInvalid for the
// configuration, schemas.ErrUnavailable when a cluster or the store cannot be
// reached.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.OpenTimeout)
	defer cancel()
	l := &Log{
		cfg:     cfg,
		log:     cfg.Logger,
		slots:   make(chan struct{}, cfg.InFlightMax),
		handles: make(map[string]jetstream.Stream),
		outage:  newOutage(),
	}
	l.background, l.cancel = context.WithCancel(context.Background())
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open event log: %w", err), l.Close())
	}
	return l, nil
}

func (l *Log) open(ctx context.Context) (err error) {
	if l.cfg.embedded() {
		if l.broker, err = startBroker(ctx, &l.cfg, l.outage); err != nil {
			return err
		}
	}
	if err := l.connect(); err != nil {
		return err
	}
	l.js, err = jetstream.New(l.conn,
		jetstream.WithDefaultTimeout(l.cfg.AckTimeout),
		jetstream.WithPublishAsyncTimeout(l.cfg.AckTimeout),
		jetstream.WithPublishAsyncMaxPending(l.cfg.InFlightMax+1),
		jetstream.WithPublishAsyncAckHandler(func(jetstream.JetStream, *nats.Msg, *jetstream.PubAck) { l.landed() }),
		jetstream.WithPublishAsyncErrHandler(func(jetstream.JetStream, *nats.Msg, error) { l.landed() }))
	if err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	if err := l.ensureStreams(ctx); err != nil {
		return err
	}
	if err := l.openDoor(); err != nil || l.broker == nil {
		return err
	}
	_, err = l.spawn(l.mend)
	return err
}

// connect dials the server inside this process or the cluster.
func (l *Log) connect() error {
	opts := []nats.Option{
		nats.Name("panda"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 500*time.Millisecond),
		// Nothing is held back while the connection is down: a caller that waits
		// for an acknowledgement is told at once that there is none.
		nats.ReconnectBufSize(-1),
		// A server that hangs is left after six seconds.
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				l.log.Warn().Err(err).Msg("connection to the event log lost, trying again")
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			l.log.Info().Str("server", c.ConnectedServerName()).Msg("connection to the event log is back")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.log.Warn().Err(err).Msg("event log client error")
		}),
	}
	if l.broker != nil {
		user, password := l.broker.door.own()
		opts = append(opts, nats.InProcessServer(l.broker), nats.UserInfo(user, password))
	} else {
		opts = append(opts, clusterOptions(l.cfg)...)
	}
	conn, err := nats.Connect(l.cfg.URL, opts...)
	if err != nil {
		return l.explainConnect(err)
	}
	l.conn = conn
	if l.broker == nil {
		l.mover = newMover(l.cfg.AckTimeout, func() error {
			if !conn.IsConnected() {
				return nats.ErrConnectionReconnecting // it is on its way already
			}
			return conn.ForceReconnect()
		})
	}
	if got := conn.MaxPayload(); got < MessageBytesMax {
		return fmt.Errorf("%w: the server's max_payload is %d, need at least %d", ErrSetting, got, MessageBytesMax)
	}
	return nil
}

func clusterOptions(cfg Config) []nats.Option {
	opts := []nats.Option{nats.Timeout(5 * time.Second)}
	if cfg.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(cfg.CredsFile))
	}
	if cfg.User != "" {
		opts = append(opts, nats.UserInfo(cfg.User, cfg.Password))
	}
	if cfg.Token != "" {
		opts = append(opts, nats.Token(cfg.Token))
	}
	if cfg.CAFile != "" {
		opts = append(opts, nats.RootCAs(cfg.CAFile))
	}
	if cfg.CertFile != "" {
		opts = append(opts, nats.ClientCert(cfg.CertFile, cfg.KeyFile))
	}
	return opts
}

// explainConnect turns a failed dial into one line a person can act on.
func (l *Log) explainConnect(err error) error {
	if l.broker != nil {
		return fmt.Errorf("connect to the server inside this process: %w: %w", schemas.ErrUnavailable, err)
	}
	hint := "check that the address is right, the servers run and the port is open from here"
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		hint = "the servers answer but refuse the credentials; check the credentials file, user or token"
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		hint = "one side wants TLS and the other does not; check the scheme of the address (tls://) and the CA file"
	}
	return fmt.Errorf("connect to %s: %w: %w (%s)", redact(l.cfg.URL), schemas.ErrUnavailable, err, hint)
}

// Close stops readers, stops renewing leases (release them before), waits for what AppendAsync has in flight (at
// most AckTimeout), disconnects and, for a server inside this process, shuts it
// down. It is safe to call twice.
func (l *Log) Close() error {
	l.closing.Do(func() {
		l.workMu.Lock()
		l.ending = true
		l.workMu.Unlock()
		l.cancel()
		l.work.Wait()
		if l.conn != nil {
			l.closeErr = l.drain()
			l.conn.Close()
		}
		if l.broker != nil {
			l.broker.stop()
		}
	})
	return l.closeErr
}

// spawn runs f beside the callers of the Log, until stop is called or the Log is
// closed. Close waits for f. After Close the error is ErrClosed.
func (l *Log) spawn(f func(context.Context)) (stop context.CancelFunc, err error) {
	l.workMu.Lock()
	defer l.workMu.Unlock()
	if l.ending {
		return nil, ErrClosed
	}
	ctx, stop := context.WithCancel(l.background)
	l.work.Add(1)
	go func() {
		defer l.work.Done()
		defer stop()
		f(ctx)
	}()
	return stop, nil
}

func (l *Log) drain() error {
	if l.js == nil || !l.conn.IsConnected() {
		return nil
	}
	timer := time.NewTimer(l.cfg.AckTimeout)
	defer timer.Stop()
	select {
	case <-l.js.PublishAsyncComplete():
	case <-timer.C:
		return fmt.Errorf("close event log: %w: %d messages are not acknowledged", schemas.ErrUnavailable,
			l.js.PublishAsyncPending())
	}
	l.js.CleanupPublisher()
	return nil
}

// Healthy reports whether the log would take a message: connected, every shard has
// a leader, and the server inside this process can write to its disk. The error says
// what is wrong, for a readiness probe.
func (l *Log) Healthy(ctx context.Context) error {
	if err := l.outage.reason(); err != nil {
		return fmt.Errorf("event log: %w; it goes on by itself once the disk does", err)
	}
	if l.broker != nil && !l.broker.server().JetStreamEnabled() {
		return fmt.Errorf("event log: %w: the server stopped its store; look for a full or failing disk", schemas.ErrUnavailable)
	}
	if !l.conn.IsConnected() {
		return fmt.Errorf("event log: %w: not connected to %s", schemas.ErrUnavailable, redact(l.cfg.URL))
	}
	for _, shard := range schemas.Shards(l.cfg.Shards) {
		stream, err := l.stream(ctx, shard.Stream())
		if err != nil {
			return fmt.Errorf("event log: %w", err)
		}
		info, err := stream.Info(ctx)
		if err != nil {
			return fmt.Errorf("event log: look up %s: %w", shard.Stream(), classify(err))
		}
		if c := info.Cluster; c != nil && c.Leader == "" {
			return fmt.Errorf("event log: %w: %s has no leader", schemas.ErrUnavailable, shard.Stream())
		}
	}
	return nil
}

// Space says how near the log is to its limits.
type Space struct {
	// UsageBytes and UsageBytesMax are what all usage takes and may take. A shard that
	// has taken its even share is full, and Append returns ErrFull.
	UsageBytes, UsageBytesMax int64
	// DiskFree is what is left on the disk of the server inside this process, or
	// -1 for a cluster, whose disks cannot be seen from here.
	DiskFree int64
}

// Space measures the log. Callers refuse new work above a watermark of theirs,
// because a broker that meets a full disk stops all its streams.
func (l *Log) Space(ctx context.Context) (Space, error) {
	space := Space{UsageBytesMax: l.cfg.UsageMaxBytes, DiskFree: -1}
	for _, shard := range schemas.Shards(l.cfg.Shards) {
		state, err := l.State(ctx, shard.Stream())
		if err != nil {
			return Space{}, err
		}
		space.UsageBytes += int64(state.Bytes)
	}
	if l.broker != nil {
		free, err := diskOf(l.cfg.DataDir)
		if err != nil {
			return Space{}, err
		}
		space.DiskFree = free
	}
	return space, nil
}
