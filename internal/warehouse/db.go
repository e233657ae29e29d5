package warehouse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/agentik-os/panda/schemas"
)

// DB is an open warehouse. It is safe for use by many goroutines.
type DB struct {
	cfg      Config
	child    *child            // nil for an external warehouse
	read     clickhouse.Conn   // queries, read only
	write    clickhouse.Conn   // statements, and blocks over the native protocol
	blocks   *blockSender      // blocks over HTTP; nil for the native protocol
	httpMu   sync.Mutex        // guards http
	http     []*http.Transport // the transports under all of these, to drop their idle connections
	closed   atomic.Bool
	borrowed bool // child belongs to another DB, see ForDatabase
}

// Open opens the warehouse: it starts the embedded engine if there is no URL,
// waits until it answers, creates the database, and asserts the settings.
//
// The engine's own reasons not to start match engine.ErrLibMissing,
// ErrLibChecksum and ErrDataDirInUse; an external warehouse that does not answer
// is schemas.ErrUnavailable.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	u, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", schemas.ErrInvalid, err)
	}
	db := &DB{cfg: cfg}
	if u == nil {
		if db.child, err = startChild(ctx, &db.cfg); err != nil {
			return nil, fmt.Errorf("start warehouse engine: %w", err)
		}
	}
	if err := db.connect(ctx, u); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (db *DB) connect(ctx context.Context, u *url.URL) error {
	if db.child != nil {
		db.child.users.Store(db, db.dropConnections)
	}
	if err := db.createDatabase(ctx, u); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	var err error
	if db.write, err = db.open(u, db.cfg.Database, db.cfg.writeSettings()); err != nil {
		return err
	}
	settings := db.cfg.writeSettings()
	for name, value := range db.cfg.readSettings() {
		settings[name] = value
	}
	if db.read, err = db.open(u, db.cfg.Database, settings); err != nil {
		return err
	}
	if u == nil || u.Scheme == "http" || u.Scheme == "https" {
		if db.blocks, err = newBlockSender(db, u); err != nil {
			return err
		}
	}
	return db.CheckSettings(ctx)
}

// createDatabase runs on a connection of its own, as the others name the database.
func (db *DB) createDatabase(ctx context.Context, u *url.URL) error {
	first, err := db.open(u, "system", nil)
	if err != nil {
		return err
	}
	sql := "CREATE DATABASE IF NOT EXISTS " + db.cfg.Database
	if db.cfg.Cluster != "" {
		sql += " ON CLUSTER " + db.cfg.Cluster
	}
	return classify(errors.Join(first.Exec(ctx, sql), first.Close()))
}

// open makes a pool of clickhouse-go connections. u is nil for the embedded engine.
func (db *DB) open(u *url.URL, database string, settings clickhouse.Settings) (clickhouse.Conn, error) {
	opt := &clickhouse.Options{Protocol: clickhouse.HTTP, Addr: []string{"engine:80"}}
	if u != nil {
		var err error
		if opt, err = clickhouse.ParseDSN(u.String()); err != nil {
			return nil, fmt.Errorf("%w: warehouse url is not one of ClickHouse's", schemas.ErrInvalid)
		}
	}
	opt.Auth.Database = database
	opt.Settings = settings
	opt.DialTimeout = db.cfg.DialMax
	opt.MaxOpenConns, opt.MaxIdleConns = db.cfg.ConnsMax, db.cfg.ConnsMax
	opt.ClientInfo.Products = append(opt.ClientInfo.Products, struct{ Name, Version string }{"panda", ""})
	if opt.Protocol == clickhouse.HTTP {
		transport := db.transport(u == nil, opt.TLS)
		opt.TransportFunc = func(*http.Transport) (http.RoundTripper, error) { return listening{transport}, nil }
	}
	conn, err := clickhouse.Open(opt)
	if err != nil {
		return nil, fmt.Errorf("open warehouse connection: %w", err)
	}
	return conn, nil
}

// transport makes an HTTP transport whose idle connections DB can drop when the
// engine restarts.
func (db *DB) transport(socket bool, secure *tls.Config) *http.Transport {
	t := &http.Transport{TLSClientConfig: secure, MaxIdleConnsPerHost: db.cfg.ConnsMax, IdleConnTimeout: time.Minute, DisableCompression: true,
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: db.cfg.DialMax}).DialContext}
	if socket {
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: db.cfg.DialMax}
			return d.DialContext(ctx, "unix", db.child.socket)
		}
	}
	db.httpMu.Lock()
	db.http = append(db.http, t)
	db.httpMu.Unlock()
	return t
}

func (db *DB) dropConnections() {
	db.httpMu.Lock()
	defer db.httpMu.Unlock()
	for _, t := range db.http {
		t.CloseIdleConnections()
	}
}

// ready returns at once why a statement cannot run now, or nil.
func (db *DB) ready() error {
	if db.closed.Load() {
		return ErrClosed
	}
	if db.child != nil {
		return db.child.ready()
	}
	return nil
}

// Close ends the connections and stops the embedded engine, letting running
// statements end for at most EngineConfig.StopMax.
func (db *DB) Close() error {
	if db.closed.Swap(true) {
		return nil
	}
	var errs []error
	for _, c := range []clickhouse.Conn{db.read, db.write} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	db.dropConnections()
	if db.child != nil {
		db.child.users.Delete(db)
		if !db.borrowed {
			errs = append(errs, db.child.stop())
		}
	}
	return errors.Join(errs...)
}

// ForDatabase opens another database of the same warehouse, such as a tenant's
// own; it is created if it is missing. It must be closed before db is.
func (db *DB) ForDatabase(ctx context.Context, name string) (*DB, error) {
	cfg := db.cfg
	cfg.Database = name
	u, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", schemas.ErrInvalid, err)
	}
	other := &DB{cfg: cfg, child: db.child, borrowed: true}
	if err := other.connect(ctx, u); err != nil {
		return nil, errors.Join(err, other.Close())
	}
	return other, nil
}

// DropDatabase takes another database of the same warehouse away, with all that is in
// it. One that is not there is no error.
func (db *DB) DropDatabase(ctx context.Context, name string) error {
	if !isName(name) || name == db.cfg.Database {
		return usagef("%q is not the name of a database that may be dropped", name)
	}
	sql := "DROP DATABASE IF EXISTS " + name
	if db.cfg.Cluster != "" {
		sql += " ON CLUSTER " + db.cfg.Cluster
	}
	if db.child == nil {
		sql += " SYNC" // the embedded engine removes the files later, by itself
	}
	if err := db.Exec(ctx, sql); err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

// Database is the database the tables are in.
func (db *DB) Database() string { return db.cfg.Database }

// Exec runs a statement that returns no rows.
func (db *DB) Exec(ctx context.Context, sql string, args ...Param) error {
	if err := db.ready(); err != nil {
		return err
	}
	ctx, err := withParams(ctx, args)
	if err != nil {
		return err
	}
	ctx, run := db.cfg.Runs.begin(ctx, sql, args)
	err = classify(db.write.Exec(ctx, sql))
	run.end(err)
	return err
}

// Query runs a reading statement. It cannot write, whatever the statement says.
// Rows must be closed.
func (db *DB) Query(ctx context.Context, sql string, args ...Param) (*Rows, error) {
	if err := db.ready(); err != nil {
		return nil, err
	}
	ctx, err := withParams(ctx, args)
	if err != nil {
		return nil, err
	}
	ctx, run := db.cfg.Runs.begin(ctx, sql, args)
	rows, err := db.read.Query(ctx, sql)
	if err != nil {
		err = classify(err)
		run.end(err)
		return nil, err
	}
	return &Rows{rows: rows, run: run}, nil
}

// QueryRow runs a query of one row. Its error comes from Scan; without a row it
// is ErrNoRows.
func (db *DB) QueryRow(ctx context.Context, sql string, args ...Param) *Row {
	rows, err := db.Query(ctx, sql, args...)
	return &Row{rows: rows, err: err}
}

func withParams(ctx context.Context, args []Param) (context.Context, error) {
	if len(args) == 0 {
		return ctx, nil
	}
	params, err := parameters(args)
	if err != nil {
		return nil, err
	}
	return clickhouse.Context(ctx, clickhouse.WithParameters(params)), nil
}

// Health is what a probe or a metric wants to know.
type Health struct {
	// Up: statements are let through.
	Up bool
	// Err says why not.
	Err error
	// Restarts counts the embedded engine's restarts since Open.
	Restarts uint64
	// Hangs counts those of them that followed a missed ping, not a death.
	Hangs uint64
	// PID of the embedded engine, 0 for an external warehouse.
	PID int
	// Since is when the engine was last started.
	Since time.Time
}

// Health reports the state as the watchdog last saw it; it asks nothing. For an
// external warehouse, which has no watchdog here, use Ping.
func (db *DB) Health() Health {
	if err := db.ready(); err != nil && db.child == nil {
		return Health{Err: err}
	}
	if db.child == nil {
		return Health{Up: true}
	}
	return db.child.health()
}

// Restarts counts the embedded engine's restarts since Open.
func (db *DB) Restarts() uint64 { return db.Health().Restarts }

// Ping asks the warehouse for one row.
func (db *DB) Ping(ctx context.Context) error {
	var one uint8
	if err := db.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
		return fmt.Errorf("ping warehouse: %w", err)
	}
	if one != 1 {
		return fmt.Errorf("ping warehouse: answered %s", strconv.Itoa(int(one)))
	}
	return nil
}
