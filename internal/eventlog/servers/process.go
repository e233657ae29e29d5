package servers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// process is one run of one server.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	exited chan struct{} // closed when it has ended and stderr is whole
	stderr *tail

	mu      sync.Mutex
	asked   int
	waiting map[int]chan Status
	stopped bool // by SIGSTOP
}

// startProcess starts command as the server of cfg.
func startProcess(command, env []string, cfg Config) (*process, error) {
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(command[0], command[1:]...), exited: make(chan struct{}),
		stderr: &tail{}, waiting: map[int]chan Status{}}
	p.cmd.Env = append(append(os.Environ(), env...), EnvConfig+"="+string(text))
	p.cmd.Stderr = p.stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start log server %s: %w", cfg.Name, err)
	}
	go func() {
		answers := bufio.NewScanner(out)
		for answers.Scan() {
			var s Status
			if json.Unmarshal(answers.Bytes(), &s) == nil {
				p.deliver(s)
			}
		}
		_ = p.cmd.Wait() // it is killed
		close(p.exited)
	}()
	return p, nil
}

func (p *process) deliver(s Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to := p.waiting[s.Number]; to != nil {
		to <- s // it has room for one
		delete(p.waiting, s.Number)
	}
}

// ask waits for the server's own answer.
func (p *process) ask(ctx context.Context, q question) (Status, error) {
	to := make(chan Status, 1)
	p.mu.Lock()
	p.asked++
	q.Number = p.asked
	p.waiting[q.Number] = to
	text, err := json.Marshal(q)
	if err == nil {
		_, err = p.in.Write(append(text, '\n')) // a hundred bytes; a pipe has room for 64 KiB of them
	}
	p.mu.Unlock()
	if err != nil {
		return Status{}, fmt.Errorf("ask: %w", err)
	}
	defer func() {
		p.mu.Lock()
		delete(p.waiting, q.Number)
		p.mu.Unlock()
	}()
	select {
	case s := <-to:
		return s, nil
	case <-p.exited:
		return Status{}, fmt.Errorf("it ended: %s", p.stderr)
	case <-ctx.Done():
		return Status{}, ctx.Err()
	}
}

func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// stop and resume are SIGSTOP and SIGCONT.
func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	return p.cmd.Process.Signal(syscall.SIGSTOP)
}

func (p *process) resume() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = false
	return p.cmd.Process.Signal(syscall.SIGCONT)
}

func (p *process) isStopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped
}

// kill ends it with SIGKILL, which reaches a stopped process too.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// tail keeps the end of what a process wrote.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-tailBytes):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
