package torture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/agentik-os/panda/internal/eventlog/servers"
)

// nodesMax is how many pandas a Cluster has.
const nodesMax = 2

// A Cluster is two pandas over three log servers and one ClickHouse, all processes
// of their own, with every link to and between log servers in this process's hands.
// The ClickHouse is the embedded engine behind a TCP port, as a server elsewhere
// would be: pandas know nothing but an http:// address.
type Cluster struct {
	Logs *servers.Cluster
	// Nodes are the pandas, Places what they are called in partitions of Logs.
	Nodes  [nodesMax]*Panda
	Places [nodesMax]int
	Acks   *ackMeter

	arena  *Arena
	engine *exec.Cmd
	exited chan struct{} // closed when the engine has ended
	relay  *relay
}

// NewCluster starts everything, with two tenants. Load it through its Arena.
func NewCluster(ctx context.Context, r *Round) (*Cluster, error) {
	c := &Cluster{Acks: &ackMeter{}, exited: make(chan struct{})}
	r.OnEnd(func() error { c.close(); return nil })
	r.At("starts log servers")
	var err error
	c.Logs, err = servers.Start(ctx, servers.ClusterConfig{Command: []string{r.Self}, Dir: filepath.Join(r.Dir, "log")})
	if err != nil {
		return nil, err
	}
	r.At("starts the engine")
	engine, err := c.startEngine(ctx, r)
	if err != nil {
		return nil, err
	}
	r.At("starts two pandas")
	for i := range c.Nodes {
		place, url, err := c.Logs.AddClient()
		if err != nil {
			return nil, err
		}
		c.Places[i] = place
		c.Nodes[i], err = r.Panda(PandaConfig{
			Name: fmt.Sprint("node-", i), Data: filepath.Join(r.Dir, fmt.Sprint("node-", i)), External: true,
			Flags: []string{"--nats-url", url, "--log-bytes", "4294967296", "--clickhouse-url", "http://default@" + c.relay.Addr() + "/panda",
				"--envelope-key", "0123456789abcdef0123456789abcdef"},
		})
		if err != nil {
			return nil, err
		}
		c.Nodes[i].Engine, c.Nodes[i].token = engine.Engine, engine.token
		if err := c.Nodes[i].Start(ctx); err != nil {
			return nil, err
		}
	}
	// The first node made the platform's key; it is the same platform on the second.
	key, err := os.ReadFile(filepath.Join(c.Nodes[0].Data(), "admin.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(c.Nodes[1].Data(), "admin.key"), key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("give the admin key to the second node: %w", err)
	}
	return c, c.load(ctx, r)
}

// load makes the tenants and who loads them: for each, one loader at each node and
// one that goes to the other node when one does not answer.
func (c *Cluster) load(ctx context.Context, r *Round) error {
	a := &Arena{Round: r, Panda: c.Nodes[0], now: time.Now()}
	c.arena = a
	// A fault takes half a minute, and what is sent in it has to be checked.
	load := ArenaConfig{Pause: 30 * time.Millisecond}
	for _, slug := range []string{"acme-corp", "globex"} {
		t, err := r.Tenant(ctx, c.Nodes[0], slug)
		if err != nil {
			return err
		}
		a.Tenants = append(a.Tenants, t)
		var each []Sender
		for i, node := range c.Nodes {
			send := &HTTPSender{Panda: node, Key: t.Key, Gzip: i == 1}
			each = append(each, send)
			a.loader(t, fmt.Sprint("node-", i), metered{send, c.Acks}, load)
		}
		a.loader(t, "either", metered{&eitherSender{senders: each}, c.Acks}, load)
	}
	for _, node := range c.Nodes {
		a.readers = append(a.readers, &Reader{Panda: node, Tenants: a.Tenants, Rng: a.rng()})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = func() (n int64) {
		for _, reader := range a.readers {
			n += reader.Answers()
		}
		return n
	}
	return nil
}

// startEngine starts the engine with a reading door for the checker and a port for
// the pandas. It returns a Panda that stands for nothing but the door.
func (c *Cluster) startEngine(ctx context.Context, r *Round) (*Panda, error) {
	data := filepath.Join(r.Dir, "engine")
	door, err := NewPanda(PandaConfig{Name: "engine", Dir: r.Dir, Data: data})
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	log, err := os.Create(filepath.Join(r.Dir, "engine.log"))
	if err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	defer log.Close() // the process has its own
	c.engine = exec.Command(r.Binary, "engine", "--data", data, "--listen", door.Engine, "--log-level", "warn")
	c.engine.Env = append(os.Environ(), "PANDA_ENGINE_TOKEN="+door.token, "GODEBUG=asyncpreemptoff=1")
	c.engine.Stdout, c.engine.Stderr = log, log
	c.engine.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.engine.Start(); err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	go func() {
		_ = c.engine.Wait() // it is killed
		close(c.exited)
	}()
	socket := filepath.Join(data, "engine.sock")
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			_ = conn.Close()
			break
		}
		select {
		case <-c.exited:
			return nil, fmt.Errorf("start engine: %w; see %s", ErrEnded, log.Name())
		case <-ctx.Done():
			return nil, fmt.Errorf("start engine: %w", ctx.Err())
		case <-tick.C:
		}
	}
	c.relay, err = newRelay(socket)
	return door, err
}

// close ends what the round does not end: pandas are the round's.
func (c *Cluster) close() {
	for _, node := range c.Nodes {
		if node != nil {
			_ = node.Close() // before what they depend on, so that they do not complain
		}
	}
	if c.Logs != nil {
		c.Logs.Close()
	}
	if c.relay != nil {
		c.relay.Close()
	}
	if c.engine != nil && c.engine.Process != nil {
		_ = c.engine.Process.Kill()
		<-c.exited
	}
}

// progress waits until so many more batches are acknowledged, by whichever node.
func (c *Cluster) progress(ctx context.Context, more int64) error {
	goal := c.arena.Acked() + more
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for c.arena.Acked() < goal {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no acknowledgements: %w", ctx.Err())
		case <-c.arena.loading.Done():
			return c.arena.Rest()
		case <-tick.C:
		}
	}
	return nil
}

// An eitherSender goes to the next sender whenever one has no clear answer.
type eitherSender struct {
	senders []Sender
	at      int
}

// Send implements Sender.
func (s *eitherSender) Send(ctx context.Context, batch Batch) (Reply, error) {
	reply, err := s.senders[s.at].Send(ctx, batch)
	if err == nil && !reply.Clear {
		s.at = (s.at + 1) % len(s.senders)
	}
	return reply, err
}

// An ackMeter measures the longest time in which nobody got an answer.
type ackMeter struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

// begin starts to measure anew.
func (m *ackMeter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.longest = time.Now(), 0
}

func (m *ackMeter) acked() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.longest = max(m.longest, now.Sub(m.last))
	m.last = now
}

// end returns the longest time without an answer since begin.
func (m *ackMeter) end() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.longest, time.Since(m.last))
}

// metered tells a meter of each clear answer.
type metered struct {
	Sender
	meter *ackMeter
}

// Send implements Sender.
func (m metered) Send(ctx context.Context, batch Batch) (Reply, error) {
	reply, err := m.Sender.Send(ctx, batch)
	if err == nil && reply.Clear {
		m.meter.acked()
	}
	return reply, err
}

// A relay listens on a loopback port and connects each caller to a unix socket.
type relay struct {
	listener net.Listener
	socket   string
}

func newRelay(socket string) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open relay: %w", err)
	}
	r := &relay{l, socket}
	go r.run() // ends with the listener
	return r, nil
}

// Addr is where to dial.
func (r *relay) Addr() string { return r.listener.Addr().String() }

// Close ends it for new callers.
func (r *relay) Close() { _ = r.listener.Close() }

func (r *relay) run() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", r.socket)
		if err != nil {
			_ = in.Close()
			continue
		}
		for _, way := range [2][2]net.Conn{{in, out}, {out, in}} {
			go func() {
				_, err := io.Copy(way[0], way[1])
				_ = errors.Join(err, in.Close(), out.Close()) // one of the two has ended, which ends both
			}()
		}
	}
}
