package torture

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/agentik-os/panda/internal/bench"
)

// PandaConfig says how `panda serve` runs.
type PandaConfig struct {
	// Binary is the program, built with the tag failpoint.
	Binary string
	// Data is the directory of state. It outlives the processes.
	Data string
	// Dir is where the log of the process and the log of its failpoints are kept.
	Dir string
	// Name tells the files of several pandas in one Dir apart. Default "panda".
	Name string
	// Shards is how many there are; 0 is one.
	Shards uint32
	// Flags are added to those of serve, and win over them.
	Flags []string
	// Env is added to this process's own.
	Env []string
	// Prefix is put before the program, such as {"prlimit", "--as=…", "--"}.
	Prefix []string
	// External says that the log is a NATS cluster, named in Flags, so that no port
	// of the log in the process is opened.
	External bool
}

// A Panda is `panda serve` on a data directory that outlives its processes. One
// process runs at a time. Its methods may be called from any goroutine; starting
// and ending is for one at a time.
type Panda struct {
	cfg   PandaConfig
	token string // of the engine's reading door
	// tmp is for what processes put into a temporary directory. Its path is short,
	// however deep Dir lies: the path of a socket has 100 bytes at most.
	tmp string

	// HTTP, NATS and Engine are addresses, host:port, the same for every process.
	HTTP, NATS, Engine string

	mu      sync.Mutex
	cmd     *exec.Cmd     // of the newest process, nil before the first
	exited  chan struct{} // closed when it has ended
	points  string        // PANDA_FAILPOINT of the next start
	started time.Time     // of the newest process
	starts  int
}

// NewPanda returns a Panda that has no process yet.
func NewPanda(cfg PandaConfig) (*Panda, error) {
	if cfg.Name == "" {
		cfg.Name = "panda"
	}
	p := &Panda{cfg: cfg}
	raw := make([]byte, 16)
	if _, err := rand.Read(raw); err != nil {
		return nil, fmt.Errorf("make engine token: %w", err)
	}
	p.token = hex.EncodeToString(raw)
	for _, address := range []*string{&p.HTTP, &p.NATS, &p.Engine} {
		var err error
		if *address, err = FreeAddress(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of panda: %w", err)
	}
	var err error
	if p.tmp, err = os.MkdirTemp("", "pt"); err != nil {
		return nil, fmt.Errorf("make temporary directory of panda: %w", err)
	}
	return p, nil
}

// FreeAddress returns a loopback address that nobody listens on. It lies below the
// ports that the kernel gives to clients: a server that is away for a moment must
// find its port free when it comes back.
func FreeAddress() (string, error) {
	const from, to, triesMax = 15000, 30000, 100
	var err error
	for range triesMax {
		address := "127.0.0.1:" + strconv.Itoa(from+mathrand.IntN(to-from))
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

// Failpoints sets what the next Start gets as PANDA_FAILPOINT; "" is nothing. It
// holds for one start.
func (p *Panda) Failpoints(points string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.points = points
}

// HitLog is the file in which processes note the points they pass.
func (p *Panda) HitLog() string { return filepath.Join(p.cfg.Dir, p.cfg.Name+".points") }

// LogFile is the file with what the processes said.
func (p *Panda) LogFile() string { return filepath.Join(p.cfg.Dir, p.cfg.Name+".log") }

// Data is the directory of state.
func (p *Panda) Data() string { return p.cfg.Data }

// URL is where processes answer.
func (p *Panda) URL() string { return "http://" + p.HTTP }

// Starts counts processes.
func (p *Panda) Starts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}

// StartedAt is when the newest process was started.
func (p *Panda) StartedAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}

// Launch starts a process and returns at once.
func (p *Panda) Launch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		select {
		case <-p.exited:
		default:
			return errors.New("start panda: the process before still runs")
		}
	}
	if err := os.MkdirAll(p.tmp, 0o700); err != nil { // Close took it away
		return fmt.Errorf("start panda: %w", err)
	}
	log, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start panda: %w", err)
	}
	defer log.Close() // the process has its own
	args := []string{"serve", "--data", p.cfg.Data, "--listen", p.HTTP, "--log-level", "warn",
		"--engine-listen", p.Engine, "--engine-token", p.token, "--disk-free-min", "0", "--shards", strconv.FormatUint(uint64(p.cfg.Shards), 10)}
	if !p.cfg.External {
		args = append(args, "--nats-listen", p.NATS)
	}
	line := append(append(append([]string{}, p.cfg.Prefix...), p.cfg.Binary), append(args, p.cfg.Flags...)...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "TMPDIR="+p.tmp, "PANDA_FAILPOINT="+p.points, "PANDA_FAILPOINT_LOG="+p.HitLog())
	cmd.Env = append(cmd.Env, p.cfg.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: a signal at the terminal is for the run to handle, and the
	// engine can be found and ended with its parent.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_, _ = fmt.Fprintf(log, "-- start %d of %s, failpoints %q\n", p.starts+1, p.cfg.Name, p.points)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start panda: %w", err)
	}
	p.cmd, p.exited, p.points, p.started = cmd, make(chan struct{}), "", time.Now()
	p.starts++
	go func(exited chan struct{}) {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(exited)
	}(p.exited)
	return nil
}

// ErrEnded says that the process ended while something was asked of it.
var ErrEnded = errors.New("panda ended")

// exitInUse is the exit code of a server that found its data in use.
const exitInUse = 73

// Start starts a process and returns when it takes events in. The error matches
// ErrEnded if the process ended before that, as it does at a failpoint. A process
// that finds its data in use is started again for a while, as any supervisor does:
// what a killed one had begun to start may hold a lock for a moment longer.
func (p *Panda) Start(ctx context.Context) error {
	const heldMax, again = 20 * time.Second, 100 * time.Millisecond
	for began := time.Now(); ; {
		p.mu.Lock()
		points := p.points
		p.mu.Unlock()
		if err := p.Launch(); err != nil {
			return err
		}
		err := p.WaitListening(ctx)
		if err == nil || p.exitCode() != exitInUse || time.Since(began) > heldMax || !rest(ctx, again) {
			return err
		}
		p.Failpoints(points)
	}
}

// exitCode is that of the newest process if it has ended by itself, else -1.
func (p *Panda) exitCode() int {
	if p.Running() {
		return -1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.ProcessState.ExitCode()
}

// Killed reports whether the newest process was ended by SIGKILL.
func (p *Panda) Killed() bool {
	if p.Running() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// WaitListening returns when the newest process takes events in.
func (p *Panda) WaitListening(ctx context.Context) error {
	pid := p.PID()
	return p.await(ctx, "address of the server", func() (bool, error) {
		text, err := os.ReadFile(filepath.Join(p.cfg.Data, "server.json"))
		if err != nil {
			return false, nil // there is none yet
		}
		var run struct {
			PID int `json:"pid"`
		}
		// One that was killed leaves its own.
		return json.Unmarshal(text, &run) == nil && run.PID == pid, nil
	})
}

// WaitReady returns when the newest process answers questions.
func (p *Panda) WaitReady(ctx context.Context) error {
	return p.await(ctx, "readiness", func() (bool, error) { return p.API("").Ready(ctx), nil })
}

// pollEvery is how often a real process is looked at, for nothing tells when it is
// so far.
const pollEvery = 5 * time.Millisecond

// await polls until ask says yes, the process ends or ctx does.
func (p *Panda) await(ctx context.Context, what string, ask func() (bool, error)) error {
	exited := p.Exited()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, err := ask()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no %s: %w", what, ctx.Err())
		case <-exited:
			return fmt.Errorf("no %s: %w: %s", what, ErrEnded, p.LastWords())
		case <-tick.C:
		}
	}
}

// Exited is closed when the newest process has ended.
func (p *Panda) Exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exited == nil {
		ended := make(chan struct{})
		close(ended)
		return ended
	}
	return p.exited
}

// Running reports whether a process runs.
func (p *Panda) Running() bool {
	select {
	case <-p.Exited():
		return false
	default:
		return true
	}
}

// PID is the newest process's, 0 before the first.
func (p *Panda) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Signal sends a signal to the process alone.
func (p *Panda) Signal(s syscall.Signal) error {
	if err := syscall.Kill(p.PID(), s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal panda: %w", err)
	}
	return nil
}

// Kill ends the process as kill -9 does, and returns when it is gone. Its engine
// notices by itself.
func (p *Panda) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.Exited()
	return nil
}

// Stop pauses the process, its engine not; Continue lets it go on.
func (p *Panda) Stop() error { return p.Signal(syscall.SIGSTOP) }

// Continue ends what Stop, or a failpoint with stop, began.
func (p *Panda) Continue() error { return p.Signal(syscall.SIGCONT) }

// Drain tells the process to end, waits, and returns its exit code.
func (p *Panda) Drain(ctx context.Context) (code int, err error) {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-p.Exited():
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("drain panda: %w", ctx.Err())
	}
}

// WaitEngine returns the engine's process id once there is one that is not the
// given one.
func (p *Panda) WaitEngine(ctx context.Context, not int) (pid int, err error) {
	err = p.await(ctx, "engine", func() (bool, error) {
		pid = bench.ChildOf(p.PID())
		return pid != 0 && pid != not && executed(pid, p.PID()), nil
	})
	return pid, err
}

// executed reports whether a child has begun its own program. Until then it shares
// the memory of its parent, which waits for it with everything it does: a child that
// is stopped in that moment stops the parent, and would look like a fault of it.
func executed(child, parent int) bool {
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
	if err != nil {
		return false
	}
	inherited, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", parent))
	return err == nil && string(own) != string(inherited)
}

// KillEngine sends a signal to the engine alone and returns its process id.
func (p *Panda) KillEngine(ctx context.Context, s syscall.Signal) (pid int, err error) {
	if pid, err = p.WaitEngine(ctx, 0); err != nil {
		return 0, err
	}
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return pid, fmt.Errorf("signal engine: %w", err)
	}
	return pid, nil
}

// Close ends everything that runs, at once. The data stays.
func (p *Panda) Close() error {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return os.RemoveAll(p.tmp)
	}
	// The group holds the engine too; it is gone when this process is, but not
	// if it is stopped.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-p.Exited()
	return os.RemoveAll(p.tmp)
}

// LastWords returns the end of what the processes said.
func (p *Panda) LastWords() string {
	text, err := os.ReadFile(p.LogFile())
	if err != nil {
		return err.Error()
	}
	const wordsMax = 3000
	if len(text) > wordsMax {
		text = text[len(text)-wordsMax:]
	}
	return strings.TrimSpace(string(text))
}
