package warehouse

import (
	"fmt"
	"io"
	"net/url"
	"runtime"
	"time"

	"github.com/rs/zerolog"
)

// Config says which warehouse to open. The zero value of a limit means its default.
type Config struct {
	// URL of an external ClickHouse, clickhouse://user:pass@host:9000/db (native) or
	// http(s)://user:pass@host:8123/db. Empty means the embedded engine.
	URL string
	// Database holds the tables; it is created if it is missing. Default: the
	// path of URL, else "panda". A name of letters, digits and underscores.
	Database string
	// Cluster is the ON CLUSTER name, external only. Set, it makes migrations
	// create replicated tables on every node.
	Cluster string
	// Engine configures the embedded engine.
	Engine EngineConfig

	// ConnsMax bounds statements at once from this process. Default 32: above the
	// engine's own bound on a small machine, so that it is the engine that queues.
	ConnsMax int
	// DialMax bounds making a connection and waiting for a free one. Default 5 s.
	DialMax time.Duration
	// QueryMax bounds a query's run time on the server. Default 5 min, which no
	// query that a person waits for should need.
	QueryMax time.Duration
	// QueryMemoryMaxBytes bounds one query's memory (code 241 above it). Default:
	// half of the embedded engine's, so that one query cannot stop the inserts;
	// external: what the server says.
	QueryMemoryMaxBytes int64
	// InsertMax bounds one Insert. Default 1 min: twenty files at two seconds an fsync,
	// and a caller that waits for ever counts nothing.
	InsertMax time.Duration
	// InsertRowsMax bounds a block of Insert. Default 1,000,000: the server takes
	// a block up to there as one part, which is what makes it atomic.
	InsertRowsMax int

	// Runs, if not nil, is told every statement of Query and Exec.
	Runs *Runs
	// Logger gets starts, deaths and restarts of the engine.
	Logger zerolog.Logger
	// Progress, if not nil, is told each migration step that is done.
	Progress func(done, total int, name string)
}

// EngineConfig is how the embedded engine's child process is run.
type EngineConfig struct {
	// Command is the child's argument vector, such as {os.Executable(), "engine"}.
	// It gets its configuration in the environment (engine.ConfigFromEnv).
	Command []string
	// Env is added to a minimal environment (HOME, PATH, XDG_CACHE_HOME, TZ).
	Env []string
	// LibPath and LibSHA256 of libchdb.so; empty: see engine.FindLib.
	LibPath, LibSHA256 string
	// DataDir holds the tables. Needed.
	DataDir string
	// Socket is where the child listens. Default: a new directory of mode 0700
	// under the system's temporary directory (short, as the kernel wants it).
	Socket string
	// Listen and Token open the reading door, see engine.Config.
	Listen, Token string
	// MemoryLimitBytes and Threads: see engine.Config.
	MemoryLimitBytes int64
	Threads          int
	// StartMax bounds the time from start to the first answer. Default 60 s: the
	// first start on a machine reads the library once to check its sum.
	StartMax time.Duration
	// HealthInterval and HealthTimeout: a ping is sent every interval, and one that
	// is not answered within the timeout means that the engine hangs: it is
	// killed. Defaults 500 ms and 3 s, which make a hang cost less than 5 s.
	HealthInterval, HealthTimeout time.Duration
	// RestartWait is the pause before the second restart in a row, doubled up to
	// RestartWaitMax; the first one is at once. Defaults 250 ms and 4 s: whoever
	// waits for the engine waits no longer than for a start.
	RestartWait, RestartWaitMax time.Duration
	// StopMax bounds the wait for running statements on Close. Default 15 s.
	StopMax time.Duration
	// Stderr gets what the child writes there. Default: nowhere but the last lines
	// in the error when it dies.
	Stderr io.Writer
}

const (
	defaultDatabase       = "panda"
	defaultConns          = 32
	defaultDial           = 5 * time.Second
	defaultQuery          = 5 * time.Minute
	defaultInsertRows     = 1_000_000
	defaultMemory         = 2 << 30
	defaultStart          = 60 * time.Second
	defaultHealthInterval = 500 * time.Millisecond
	defaultHealthTimeout  = 3 * time.Second
	defaultRestartWait    = 250 * time.Millisecond
	defaultRestartWaitMax = 4 * time.Second
	defaultStop           = 15 * time.Second
)

// DatabaseName returns the database that Open would open.
func (c Config) DatabaseName() string {
	if c.Database != "" {
		return c.Database
	}
	if u, err := url.Parse(c.URL); err == nil && len(u.Path) > 1 {
		return u.Path[1:]
	}
	return defaultDatabase
}

func (c *Config) complete() (*url.URL, error) {
	var u *url.URL
	if c.URL != "" {
		var err error
		if u, err = url.Parse(c.URL); err != nil {
			return nil, fmt.Errorf("warehouse url is not a URL") // its text has a password in it
		}
		switch u.Scheme {
		case "clickhouse", "tcp", "http", "https":
		default:
			return nil, fmt.Errorf("warehouse url has the scheme %q: use clickhouse://, http:// or https://", u.Scheme)
		}
		if c.Database == "" && len(u.Path) > 1 {
			c.Database = u.Path[1:]
		}
	} else {
		if c.Cluster != "" {
			return nil, fmt.Errorf("a cluster needs an external warehouse url")
		}
		if c.Engine.DataDir == "" || len(c.Engine.Command) == 0 {
			return nil, fmt.Errorf("the embedded warehouse needs a data directory and a command")
		}
	}
	setDefault(&c.Database, defaultDatabase)
	if !isName(c.Database) || (c.Cluster != "" && !isName(c.Cluster)) {
		return nil, fmt.Errorf("warehouse database %q and cluster %q must be letters, digits and underscores", c.Database, c.Cluster)
	}
	setDefault(&c.ConnsMax, defaultConns)
	setDefault(&c.DialMax, defaultDial)
	setDefault(&c.QueryMax, defaultQuery)
	setDefault(&c.InsertMax, time.Minute)
	setDefault(&c.InsertRowsMax, defaultInsertRows)
	c.Engine.complete()
	if u == nil {
		setDefault(&c.QueryMemoryMaxBytes, c.Engine.MemoryLimitBytes/2)
	}
	return u, nil
}

func (e *EngineConfig) complete() {
	setDefault(&e.MemoryLimitBytes, defaultMemory)
	setDefault(&e.Threads, runtime.NumCPU())
	setDefault(&e.StartMax, defaultStart)
	setDefault(&e.HealthInterval, defaultHealthInterval)
	setDefault(&e.HealthTimeout, defaultHealthTimeout)
	setDefault(&e.RestartWait, defaultRestartWait)
	setDefault(&e.RestartWaitMax, defaultRestartWaitMax)
	setDefault(&e.StopMax, defaultStop)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// isName reports whether s can stand in SQL and in a path without quoting.
func isName(s string) bool {
	if s == "" || len(s) > 64 || (s[0] >= '0' && s[0] <= '9') {
		return false
	}
	for _, c := range []byte(s) {
		if c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}
