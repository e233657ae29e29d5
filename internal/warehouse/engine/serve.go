package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// Serve loads the engine and answers on the doors of cfg until ctx ends or the
// parent is gone; then it lets running statements end, for at most DrainMax.
//
// It may be called once in a process, and the process should end when it
// returns: the library is not shut down, because its own shutdown is less safe
// than the kernel's (every answered insert is on disk already) and it cannot be
// loaded twice. The process should run with GODEBUG=asyncpreemptoff=1, which
// keeps Go's preemption signal out of the library's system calls.
//
// Errors match ErrConfig, ErrLibMissing, ErrLibChecksum or ErrDataDirInUse where
// they apply.
func Serve(ctx context.Context, cfg Config) error {
	if err := cfg.complete(); err != nil {
		return err
	}
	// A core of this process would hold customers' data and gigabytes.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turn off core dumps: %w", err)
	}
	unlock, err := lockDir(cfg.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	started := time.Now()
	if err := verifyLib(cfg.LibPath, cfg.LibSHA256); err != nil {
		return err
	}
	s, err := newServer(&cfg)
	if err != nil {
		return err
	}
	defer s.closeListeners()
	cfg.Logger.Info().Str("version", Version).Dur("took", time.Since(started)).Str("data_dir", cfg.DataDir).
		Int64("memory_limit_bytes", cfg.MemoryLimitBytes).Msg("engine started")
	return s.run(ctx)
}

type server struct {
	cfg   *Config
	doors []door
}

type door struct {
	listener net.Listener
	http     *http.Server
}

func newServer(cfg *Config) (*server, error) {
	lib, err := load(cfg.LibPath)
	if err != nil {
		return nil, err
	}
	args := []string{"clickhouse", "--path=" + cfg.DataDir,
		"--max_server_memory_usage=" + strconv.FormatInt(cfg.MemoryLimitBytes, 10),
		"--max_threads=" + strconv.Itoa(cfg.MaxThreads)}
	// The first connection boots the engine and stays open: closing the last one
	// would shut it down.
	control, err := lib.open(args)
	if err != nil {
		return nil, err
	}
	ping, err := lib.open(args[:2])
	if err != nil {
		return nil, err
	}
	p := &pool{lib: lib, dataDir: cfg.DataDir, running: semaphore.NewWeighted(int64(cfg.MaxConcurrent)),
		queueMax: cfg.MaxQueued, waitMax: cfg.QueueWaitMax, maxThreads: cfg.MaxThreads}
	if _, err := control.exec("CREATE DATABASE IF NOT EXISTS "+quoteName(cfg.Database), "Null", nil, 0); err != nil {
		return nil, fmt.Errorf("create database: %w", err)
	}
	common := handler{pool: p, cfg: cfg, log: cfg.Logger, nextID: new(atomic.Uint64),
		killer: &killer{conn: control, log: cfg.Logger}, pinger: &pinger{conn: ping}, turns: &turns{}}
	s := &server{cfg: cfg}
	if err := s.open(common); err != nil {
		s.closeListeners()
		return nil, err
	}
	return s, nil
}

// open makes the doors. The token's door comes first: the socket answering
// means that the engine is ready.
func (s *server) open(common handler) error {
	if s.cfg.Listen != "" {
		l, err := net.Listen("tcp", s.cfg.Listen)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", s.cfg.Listen, err)
		}
		reading := common
		reading.readonly = true
		s.add(l, &reading)
		s.cfg.Logger.Info().Str("address", l.Addr().String()).Msg("listening for readers")
	}
	if s.cfg.Socket != "" {
		l, err := listenSocket(s.cfg.Socket)
		if err != nil {
			return err
		}
		s.add(l, &common)
	}
	return nil
}

func (s *server) add(l net.Listener, h *handler) {
	s.doors = append(s.doors, door{listener: l, http: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second, // a client that sends nothing holds a goroutine
		MaxHeaderBytes:    1 << 20,          // the statement of an insert travels in the URL
	}})
}

func listenSocket(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make socket directory: %w", err)
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("look at socket directory: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: socket directory %s has mode %o: others could reach the engine, make it 700",
			ErrConfig, filepath.Dir(path), info.Mode().Perm())
	}
	// The data directory's lock is ours, so a socket that is left is a dead one's.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("set mode of socket: %w", err)
	}
	return l, nil
}

func (s *server) closeListeners() {
	for _, d := range s.doors {
		_ = d.listener.Close()
	}
}

func (s *server) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if s.cfg.Parent != nil {
		go func() { // ends with the process: a read of stdin cannot be called off
			_, _ = io.Copy(io.Discard, s.cfg.Parent)
			stop(errParentGone)
		}()
	}
	var g errgroup.Group
	for _, d := range s.doors {
		g.Go(func() error {
			if err := d.http.Serve(d.listener); !errors.Is(err, http.ErrServerClosed) {
				stop(err)
				return fmt.Errorf("serve %s: %w", d.listener.Addr(), err)
			}
			return nil
		})
	}
	<-ctx.Done()
	s.cfg.Logger.Info().AnErr("cause", context.Cause(ctx)).Msg("engine stopping")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainMax)
	defer cancel()
	for _, d := range s.doors {
		g.Go(func() error {
			if err := d.http.Shutdown(drain); err != nil {
				return fmt.Errorf("drain statements: %w", errors.Join(err, d.http.Close()))
			}
			return nil
		})
	}
	return g.Wait()
}

var errParentGone = errors.New("the parent process is gone")

// lockDir takes the data directory for this process. The kernel gives the lock
// back when the process ends, however it ends.
func lockDir(dir string) (func(), error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "panda.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrDataDirInUse, dir)
		}
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return func() { f.Close() }, nil
}
