package engine

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/rs/zerolog"
)

// Version is the release of libchdb this package is written for, and LibSHA256
// the checksum of its linux/amd64 build. Another build is used by giving its
// path and its checksum.
const (
	Version   = "26.5.3"
	LibSHA256 = "4330da79405733f7572f27c1442f46c03a08301f00859dce0368645731b1e1dc"
)

// Config says what Serve serves. LibPath, DataDir and Socket are needed; the
// rest has defaults. A command `panda engine` fills it with ConfigFromEnv and
// its flags, and ends with ExitCode(Serve(ctx, cfg)).
type Config struct {
	// LibPath is the absolute path of libchdb.so. Only this path is opened:
	// CHDB_LIB_PATH and the loader's search paths are not looked at, so a
	// planted library elsewhere is never run.
	LibPath string
	// LibSHA256 is the file's expected SHA-256 in hex; empty means LibSHA256 of
	// this package.
	LibSHA256 string
	// DataDir holds the databases. One engine per directory.
	DataDir string
	// Socket is the path of the unix socket; its directory is made with mode 0700.
	// At most 100 bytes, which is what the kernel's sun_path leaves.
	Socket string
	// Listen is a loopback host:port for reading with Token; empty means none.
	Listen string
	// Token is what clients of Listen must show. At least 16 bytes.
	Token string
	// Database is the current database of clients of Listen that name none.
	// Default "panda".
	Database string
	// MemoryLimitBytes bounds what the engine tracks as allocated, over all
	// queries. Default 2 GiB: an insert of 50,000 wide rows and a merge need a
	// few hundred MiB, and the rest of a small machine belongs to the log.
	// The process's RSS is about 200 MiB more (code, arenas).
	MemoryLimitBytes int64
	// MaxThreads is the threads of one query. Default: the number of CPUs.
	MaxThreads int
	// MaxConcurrent bounds the statements that run at once. Default 8 per CPU: more only
	// divides the same memory among more queries.
	MaxConcurrent int
	// MaxQueued bounds those that wait for their turn. Default 256; one more is
	// answered with code 202, which a client takes as "later".
	MaxQueued int
	// QueueWaitMax is how long one waits before the same answer. Default 10 s,
	// shorter than any client's own patience.
	QueueWaitMax time.Duration
	// MaxBodyBytes bounds a request's body after decompression. Default 1 GiB:
	// twenty times a block of 50,000 rows.
	MaxBodyBytes int64
	// MaxResultBytes bounds a result in a format that cannot be streamed (JSON,
	// Parquet, …). Default 256 MiB, as it is held in memory once.
	MaxResultBytes int64
	// DrainMax is how long running statements may take after a stop. Default 10 s.
	DrainMax time.Duration
	// Parent, if not nil, is read until it ends; its end means the parent
	// process is gone, and the engine stops. A parent gives it as stdin.
	Parent io.Reader
	// Logger gets one line per start, stop and failure; no query text.
	Logger zerolog.Logger
}

const (
	socketPathMax   = 100
	tokenLenMin     = 16
	memoryLimitMin  = 256 << 20
	defaultMemory   = 2 << 30
	perCPU          = 8
	defaultQueued   = 256
	defaultBody     = 1 << 30
	defaultResult   = 256 << 20
	defaultDrain    = 10 * time.Second
	defaultQueue    = 10 * time.Second
	defaultDatabase = "panda"
)

func (c *Config) complete() error {
	if c.LibSHA256 == "" {
		c.LibSHA256 = LibSHA256
	}
	setDefault(&c.Database, defaultDatabase)
	setDefault(&c.MemoryLimitBytes, defaultMemory)
	setDefault(&c.MaxThreads, runtime.NumCPU())
	setDefault(&c.MaxConcurrent, perCPU*runtime.NumCPU())
	setDefault(&c.MaxQueued, defaultQueued)
	setDefault(&c.QueueWaitMax, defaultQueue)
	setDefault(&c.MaxBodyBytes, int64(defaultBody))
	setDefault(&c.MaxResultBytes, int64(defaultResult))
	setDefault(&c.DrainMax, defaultDrain)
	switch {
	case !filepath.IsAbs(c.LibPath):
		return fmt.Errorf("%w: library path %q is not absolute", ErrConfig, c.LibPath)
	case c.DataDir == "":
		return fmt.Errorf("%w: data directory is not set", ErrConfig)
	case c.Socket == "" && c.Listen == "":
		return fmt.Errorf("%w: neither a socket nor an address is set", ErrConfig)
	case len(c.Socket) > socketPathMax:
		return fmt.Errorf("%w: socket path has %d bytes, the kernel allows %d: choose a shorter directory",
			ErrConfig, len(c.Socket), socketPathMax)
	case c.MemoryLimitBytes < memoryLimitMin:
		return fmt.Errorf("%w: memory limit %d is below %d bytes, under which merges fail", ErrConfig, c.MemoryLimitBytes, memoryLimitMin)
	}
	return c.checkListen()
}

func (c *Config) checkListen() error {
	if c.Listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("%w: listen address %q: %w", ErrConfig, c.Listen, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%w: listen address %q is not a loopback address; the embedded engine has no users, put a proxy in front of it",
			ErrConfig, c.Listen)
	}
	if len(c.Token) < tokenLenMin {
		return fmt.Errorf("%w: listening needs a token of at least %d bytes", ErrConfig, tokenLenMin)
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// The environment by which a parent tells its child what to serve. It is not
// the command line, where every user of the machine could read the token.
const (
	EnvLib      = "PANDA_ENGINE_LIB"
	EnvSHA256   = "PANDA_ENGINE_LIB_SHA256"
	EnvDataDir  = "PANDA_ENGINE_DATA_DIR"
	EnvSocket   = "PANDA_ENGINE_SOCKET"
	EnvListen   = "PANDA_ENGINE_LISTEN"
	EnvToken    = "PANDA_ENGINE_TOKEN"
	EnvDatabase = "PANDA_ENGINE_DATABASE"
	EnvMemory   = "PANDA_ENGINE_MEMORY_BYTES"
	EnvThreads  = "PANDA_ENGINE_THREADS"
	// EnvParent is "stdin" when stdin is the parent's pipe, to be watched for its end.
	EnvParent = "PANDA_ENGINE_PARENT"
)

// ConfigFromEnv reads the Env variables. The library is looked for with FindLib.
// stdin becomes Parent if EnvParent says so.
func ConfigFromEnv(getenv func(string) string, stdin io.Reader) (Config, error) {
	lib, err := FindLib(getenv)
	if err != nil {
		return Config{}, err
	}
	c := Config{
		LibPath: lib, LibSHA256: getenv(EnvSHA256), DataDir: getenv(EnvDataDir), Socket: getenv(EnvSocket),
		Listen: getenv(EnvListen), Token: getenv(EnvToken), Database: getenv(EnvDatabase),
	}
	if v := getenv(EnvMemory); v != "" {
		if c.MemoryLimitBytes, err = strconv.ParseInt(v, 10, 64); err != nil {
			return Config{}, fmt.Errorf("%w: %s: %w", ErrConfig, EnvMemory, err)
		}
	}
	if v := getenv(EnvThreads); v != "" {
		if c.MaxThreads, err = strconv.Atoi(v); err != nil {
			return Config{}, fmt.Errorf("%w: %s: %w", ErrConfig, EnvThreads, err)
		}
	}
	if getenv(EnvParent) == "stdin" {
		c.Parent = stdin
	}
	return c, nil
}
