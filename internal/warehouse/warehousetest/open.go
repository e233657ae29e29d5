package warehousetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/internal/warehouse/engine"
)

// envChild marks the test binary's run as the engine's child.
const envChild = "PANDA_WAREHOUSETEST_ENGINE=1"

// shared is the test binary's one engine. Main owns it: it makes the directory
// before and ends both after the tests.
var shared struct {
	once sync.Once
	dir  string
	db   *warehouse.DB
	err  error
}

// Main runs the tests, or the engine if this process is the engine's child. It
// returns the exit code.
func Main(m *testing.M) int {
	if name, value, _ := strings.Cut(envChild, "="); os.Getenv(name) == value {
		return RunEngine()
	}
	dir, err := os.MkdirTemp("", "pandatest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make test directory:", err)
		return 1
	}
	shared.dir = dir
	code := m.Run()
	if shared.db != nil {
		if err := shared.db.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close shared engine:", err)
			code = max(code, 1)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "remove test directory:", err)
		code = max(code, 1)
	}
	return code
}

// RunEngine is the child's main function, as `panda engine` has it.
func RunEngine() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	cfg, err := engine.ConfigFromEnv(os.Getenv, os.Stdin)
	if err == nil {
		cfg.Logger = zerolog.New(os.Stderr)
		err = engine.Serve(ctx, cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return engine.ExitCode(err)
}

// Config is a Config for an embedded engine on dir, with the test binary as its
// child. Options change it.
func Config(dir string, options ...func(*warehouse.Config)) warehouse.Config {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	cfg := warehouse.Config{
		Engine: warehouse.EngineConfig{
			Command: []string{self}, Env: []string{envChild}, DataDir: filepath.Join(dir, "data"),
			MemoryLimitBytes: 1 << 30, // tests share the machine
		},
		Logger: zerolog.Nop(),
	}
	for _, o := range options {
		o(&cfg)
	}
	return cfg
}

// dropMax bounds dropping a test's database.
const dropMax = 10 * time.Second

// Open returns a fresh database of the binary's shared engine, gone after the test.
func Open(t testing.TB) *warehouse.DB {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir == "" {
			shared.err = fmt.Errorf("TestMain does not call warehousetest.Main")
			return
		}
		shared.db, shared.err = warehouse.Open(context.Background(), Config(shared.dir))
	})
	if shared.err != nil {
		t.Fatalf("open shared warehouse: %v", shared.err)
	}
	db, err := shared.db.ForDatabase(context.Background(), "test_"+strings.ToLower(rand.Text()))
	if err != nil {
		t.Fatalf("open test database: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close test database: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), dropMax)
		defer cancel()
		if err := shared.db.Exec(ctx, "DROP DATABASE IF EXISTS "+db.Database()); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return db
}

// OpenDir opens an engine of the test's own on dir, closed after the test. It may
// be closed and opened again on the same dir.
func OpenDir(t testing.TB, dir string, options ...func(*warehouse.Config)) *warehouse.DB {
	t.Helper()
	db, err := warehouse.Open(context.Background(), Config(dir, options...))
	if err != nil {
		t.Fatalf("open warehouse: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close warehouse: %v", err)
		}
	})
	return db
}
