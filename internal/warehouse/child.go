package warehouse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/schemas"
)

// child is the embedded engine's process and its watchdog. One goroutine (run)
// starts it, pings it, kills it when it hangs, and starts it again.
type child struct {
	cfg    *Config
	lib    string
	socket string
	tmpDir string // holds socket, if it was made here
	ping   *http.Client
	users  sync.Map // *DB → func(), called when the engine is found dead or hanging

	quit chan struct{} // closed by stop
	done chan struct{} // closed when run has ended and the process is reaped

	mu    sync.Mutex // guards state; never held over a call
	state Health
}

// startChild starts the engine and returns when it answers.
func startChild(ctx context.Context, cfg *Config) (*child, error) {
	c := &child{cfg: cfg, quit: make(chan struct{}), done: make(chan struct{})}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	first := make(chan error, 1)
	go c.run(first)
	select {
	case err := <-first:
		if err != nil {
			return nil, errors.Join(err, c.stop())
		}
		return c, nil
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), c.stop())
	}
}

func (c *child) prepare() error {
	e := &c.cfg.Engine
	c.lib, c.socket = e.LibPath, e.Socket
	if c.lib == "" {
		var err error
		if c.lib, err = engine.FindLib(os.Getenv); err != nil {
			return err
		}
	}
	if c.socket == "" {
		dir, err := os.MkdirTemp("", "panda-")
		if err != nil {
			return fmt.Errorf("make socket directory: %w", err)
		}
		c.tmpDir, c.socket = dir, filepath.Join(dir, "engine.sock")
	}
	c.ping = &http.Client{Timeout: e.HealthTimeout, Transport: &http.Transport{
		DisableKeepAlives: true, // a ping must reach the process that runs now
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.socket)
		},
	}}
	return nil
}

// run is the watchdog. It keeps its OS thread: the kernel sends a child's
// parent-death signal when the thread that started it ends.
func (c *child) run(first chan<- error) {
	runtime.LockOSThread()
	defer close(c.done)
	wait := time.Duration(0)
	for starts := 0; ; starts++ {
		p, err := c.start()
		if starts == 0 {
			first <- err
			if err != nil {
				return
			}
		}
		if err == nil {
			c.up(p, starts)
			lived := time.Now()
			err = c.watch(p)
			if time.Since(lived) > c.cfg.Engine.RestartWaitMax {
				wait = 0 // it ran well for a while: the next restart is at once
			}
		}
		if err == nil {
			return // stopped on purpose
		}
		c.down(err)
		if !c.pause(wait) {
			return
		}
		wait = min(max(2*wait, c.cfg.Engine.RestartWait), c.cfg.Engine.RestartWaitMax)
	}
}

// process is one life of the engine.
type process struct {
	cmd    *exec.Cmd
	stdin  interface{ Close() error } // closing it tells the child that its parent is gone
	exited chan struct{}              // closed once reaped; err is set then
	err    error
	tail   *tail
}

// engineNice is the engine's nice value: a third of the share of processor time that the
// server gets when both want it. Who sends events waits for the server, and can
// wait for what the engine does only where the server itself is done.
const engineNice = 5

func (c *child) start() (*process, error) {
	e := &c.cfg.Engine
	p := &process{exited: make(chan struct{}), tail: &tail{next: e.Stderr}}
	p.cmd = exec.Command(e.Command[0], e.Command[1:]...)
	p.cmd.Env = c.environment()
	p.cmd.Stderr = p.tail
	// In a group of its own, so that a terminal's interrupt ends the parent, which
	// drains and then ends the child in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	// Its threads inherit it from the one there is now. That it is refused is no reason
	// not to run.
	if err := syscall.Setpriority(syscall.PRIO_PGRP, p.cmd.Process.Pid, engineNice); err != nil {
		c.cfg.Logger.Warn().Err(err).Msg("the engine runs at the priority of the server")
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	if err := c.await(p); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

func (c *child) environment() []string {
	e := &c.cfg.Engine
	env := []string{
		// Go's preemption signal interrupts the library's system calls.
		"GODEBUG=asyncpreemptoff=1",
		engine.EnvLib + "=" + c.lib, engine.EnvSHA256 + "=" + e.LibSHA256, engine.EnvDataDir + "=" + e.DataDir,
		engine.EnvSocket + "=" + c.socket, engine.EnvListen + "=" + e.Listen, engine.EnvToken + "=" + e.Token,
		engine.EnvDatabase + "=" + c.cfg.Database,
		engine.EnvMemory + "=" + strconv.FormatInt(e.MemoryLimitBytes, 10),
		engine.EnvThreads + "=" + strconv.Itoa(e.Threads),
		engine.EnvParent + "=stdin",
	}
	for _, name := range []string{"HOME", "PATH", "XDG_CACHE_HOME", "TZ", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, e.Env...)
}

// startPoll is how often a starting engine is asked whether it is ready.
const startPoll = 10 * time.Millisecond

// await returns when the engine answers, ends, or takes longer than StartMax.
func (c *child) await(p *process) error {
	limit := time.NewTimer(c.cfg.Engine.StartMax)
	defer limit.Stop()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		select {
		case <-p.exited:
			return p.death()
		case <-limit.C:
			return fmt.Errorf("%w: the engine did not answer within %s", schemas.ErrUnavailable, c.cfg.Engine.StartMax)
		case <-c.quit:
			return ErrClosed
		case <-tick.C:
			if c.alive() == nil {
				return nil
			}
		}
	}
}

func (c *child) alive() error {
	res, err := c.ping.Get("http://engine/ping")
	if err != nil {
		return withoutURL(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the engine answered a ping with status %d", res.StatusCode)
	}
	return nil
}

var errHang = errors.New("the engine did not answer a ping")

// watch pings until the process ends or hangs, and returns why; nil after stop.
func (c *child) watch(p *process) error {
	tick := time.NewTicker(c.cfg.Engine.HealthInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.exited:
			return p.death()
		case <-c.quit:
			p.drain(c.cfg.Engine.StopMax)
			return nil
		case <-tick.C:
		}
		answer := make(chan error, 1)
		go func() { answer <- c.alive() }()
		select {
		case <-p.exited:
			return p.death()
		case <-c.quit:
			p.drain(c.cfg.Engine.StopMax)
			return nil
		case err := <-answer:
			if err != nil {
				return p.end(err, c.cfg.Engine.StopMax)
			}
		}
	}
}

// deathGrace is how long a process that broke off a ping has to turn out dead.
const deathGrace = 250 * time.Millisecond

// end is called after a ping failed. A process that is dying breaks connections
// off a moment before it is reaped, and one that was told to end (by an operator's
// SIGTERM) closes its socket first and then lets statements end, for at most
// drainMax; neither is a hang.
func (p *process) end(ping error, drainMax time.Duration) error {
	grace := deathGrace
	if errors.Is(ping, syscall.ENOENT) || errors.Is(ping, syscall.ECONNREFUSED) {
		grace = drainMax
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.exited:
		return p.death()
	case <-t.C:
	}
	p.kill()
	return fmt.Errorf("%w: %w", errHang, ping)
}

// drain asks the engine to end and kills it if it has not after limit.
func (p *process) drain(limit time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.exited:
	case <-t.C:
	}
	p.kill()
}

// kill ends the process, also a stopped one, and waits until it is reaped. Its
// locks are free then.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
	_ = p.stdin.Close()
}

// death says why the process ended, with its last words.
func (p *process) death() error {
	_ = p.stdin.Close()
	reason := fmt.Errorf("the engine ended: %w", p.err)
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		// By itself a start does not end like this; the next one may work.
		reason = &unavailable{reason}
	}
	words := strings.TrimSpace(p.tail.String())
	if known := engine.ErrorOfExit(p.cmd.ProcessState.ExitCode()); known != nil {
		// Its last words begin with the error that they explain.
		if i := strings.LastIndex(words, known.Error()); i >= 0 {
			return fmt.Errorf("%w%s", known, words[i+len(known.Error()):])
		}
		reason = known
	}
	if words != "" {
		return fmt.Errorf("%w (%s)", reason, words)
	}
	return reason
}

func (c *child) up(p *process, restarts int) {
	c.mu.Lock()
	c.state = Health{Up: true, Restarts: uint64(restarts), Hangs: c.state.Hangs, PID: p.cmd.Process.Pid, Since: time.Now()}
	c.mu.Unlock()
	if restarts > 0 {
		failpoint.Reached(failpoint.EngineRestarted)
		c.cfg.Logger.Info().Int("pid", p.cmd.Process.Pid).Int("restarts", restarts).Msg("warehouse engine is back")
	}
}

func (c *child) down(err error) {
	c.mu.Lock()
	c.state.Up, c.state.PID = false, 0
	c.state.Err = &unavailable{fmt.Errorf("the engine restarts: %w", err)}
	if errors.Is(err, errHang) {
		failpoint.Reached(failpoint.EngineHung)
		c.state.Hangs++
	}
	c.mu.Unlock()
	c.users.Range(func(_, dropConnections any) bool { dropConnections.(func())(); return true })
	c.cfg.Logger.Error().Err(err).Msg("warehouse engine died, restarting")
}

// pause waits before a restart; false means stopped meanwhile.
func (c *child) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.quit:
		return false
	}
}

func (c *child) ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Up {
		return nil
	}
	return c.state.Err
}

func (c *child) health() Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// stop ends the engine in order and waits for it.
func (c *child) stop() error {
	close(c.quit)
	<-c.done
	c.ping.CloseIdleConnections()
	if c.tmpDir != "" {
		if err := os.RemoveAll(c.tmpDir); err != nil {
			return fmt.Errorf("remove socket directory: %w", err)
		}
	}
	return nil
}

// tail keeps the end of what the child wrote to stderr, for the error that
// reports its death.
type tail struct {
	next interface{ Write([]byte) (int, error) }
	mu   sync.Mutex
	last []byte
}

// tailMax is enough for a panic's first lines or a configuration error.
const tailMax = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if over := len(t.last) - tailMax; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	if t.next != nil {
		return t.next.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.last)
}
