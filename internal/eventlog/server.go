package eventlog

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nuid"

	"github.com/agentik-os/panda/schemas"
)

// pendingBytesMax is how much the server holds for a connection that reads too
// slowly before it cuts it off. Twice the read-ahead of a reader, for several
// readers on the one connection.
const pendingBytesMax = 256 << 20

// broker is the server inside this process.
type broker struct {
	srv  atomic.Pointer[server.Server]
	lock *dirLock
	door *door
	// port is where runtimes reach the server, kept when it is started again.
	port int
	// boot names this run of the server. A lease from another run has no holder
	// any more, because the directory lock admits one process.
	boot string
}

// startBroker takes the data directory and starts a server on it.
// If the byte limit of USAGE is left open, it is worked out from the disk and
// written to cfg.
func startBroker(ctx context.Context, cfg *Config, trouble *outage) (*broker, error) {
	lock, err := lockDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	b := &broker{lock: lock, door: newDoor(*cfg), boot: nuid.Next()}
	if cfg.UsageMaxBytes == 0 {
		cfg.UsageMaxBytes, err = defaultUsageBytes(cfg.DataDir)
	}
	if err == nil {
		err = settle(cfg.DataDir)
	}
	if err == nil {
		err = b.start(ctx, *cfg, trouble)
	}
	if err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

// server is the one that runs now, or ran last.
func (b *broker) server() *server.Server { return b.srv.Load() }

// start starts a server. What its store fails of is told to trouble.
func (b *broker) start(ctx context.Context, cfg Config, trouble *outage) error {
	opts, err := serverOptions(cfg)
	if err != nil {
		return err
	}
	if b.port != 0 {
		opts.Port = b.port
	}
	opts.CustomClientAuthentication = b.door
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("configure log server: %w", err)
	}
	b.srv.Store(srv)
	b.door.srv.Store(srv)
	log := newServerLog(cfg.Logger, trouble)
	srv.SetLoggerV2(log, false, false, false)
	// Start returns once listeners and JetStream are up, or after a fatal line.
	started := make(chan struct{})
	go func() {
		defer close(started)
		srv.Start()
	}()
	select {
	case <-started:
	case why := <-log.fatal:
		return fmt.Errorf("start log server: %w: %s", schemas.ErrUnavailable, why)
	case <-ctx.Done():
		return fmt.Errorf("start log server: %w: %w", schemas.ErrUnavailable, ctx.Err())
	}
	select {
	case why := <-log.fatal:
		return fmt.Errorf("start log server: %w: %s", schemas.ErrUnavailable, why)
	default:
	}
	if !srv.JetStreamEnabled() {
		return fmt.Errorf("start log server: %w: store at %s could not be opened", schemas.ErrUnavailable, cfg.DataDir)
	}
	if tcp, ok := srv.Addr().(*net.TCPAddr); ok {
		b.port = tcp.Port
	}
	return b.assertSync()
}

// assertSync reads back what the server really does, because the promise of an
// acknowledgement hangs on it.
func (b *broker) assertSync() error {
	info, err := b.server().Jsz(nil)
	if err != nil {
		return fmt.Errorf("read server settings: %w", err)
	}
	if info.Disabled {
		return fmt.Errorf("read server settings: %w: the store is down", schemas.ErrUnavailable)
	}
	if !info.Config.SyncAlways {
		return fmt.Errorf("%w: sync_always is off; acknowledged messages would not be on disk", ErrSetting)
	}
	return nil
}

// serverOptions are the settings of the server inside this process.
func serverOptions(cfg Config) (*server.Options, error) {
	store := filepath.Join(cfg.DataDir, "store")
	opts := &server.Options{
		ServerName: "panda",
		DontListen: true,
		// Signals belong to main, and so does the exit code.
		NoSigs: true,
		NoLog:  true,

		JetStream: true,
		StoreDir:  store,
		// An ack means fsynced. The default is every two minutes.
		SyncAlways: true,
		// Room for USAGE, and as much again as a fifth of it or 8 GiB for the
		// streams and buckets that have no limit of their own.
		JetStreamMaxStore:      cfg.UsageMaxBytes + max(cfg.UsageMaxBytes/5, 8<<30),
		JetStreamMaxMemory:     256 << 20,
		DisableJetStreamBanner: true,

		MaxPayload: payloadBytesMax,
		MaxPending: pendingBytesMax,
		// A runtime that does not read its acknowledgements is cut off after this.
		WriteDeadline: 10 * time.Second,
		// Half a minute for a connection to say who it is is the library's
		// default for TLS; two seconds are plenty on a wire.
		AuthTimeout: 2,
	}
	if cfg.Listen == "" {
		return opts, nil
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("%w: listen address %q: %w", schemas.ErrInvalid, cfg.Listen, err)
	}
	number, err := strconv.Atoi(port)
	if err != nil || number < 0 || number > 65535 {
		return nil, fmt.Errorf("%w: listen address %q: bad port", schemas.ErrInvalid, cfg.Listen)
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	opts.DontListen, opts.Host, opts.Port = false, host, number
	if cfg.ListenCertFile == "" {
		return opts, nil
	}
	opts.TLS, opts.TLSTimeout = true, opts.AuthTimeout
	opts.TLSConfig, err = server.GenTLSConfig(&server.TLSConfigOpts{
		CertFile: cfg.ListenCertFile, KeyFile: cfg.ListenKeyFile, MinVersion: tls.VersionTLS12,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: listen certificate: %w", schemas.ErrInvalid, err)
	}
	return opts, nil
}

// stop ends the server and gives the directory back. It is safe on a broker that
// did not start.
func (b *broker) stop() {
	b.shutdown()
	_ = b.lock.release()
}

// shutdown ends the server and keeps the directory.
func (b *broker) shutdown() {
	if srv := b.server(); srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
}

// diskOf returns the bytes free to us on the disk of dir.
func diskOf(dir string) (free int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("measure disk of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
