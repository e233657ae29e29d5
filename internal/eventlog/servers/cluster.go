package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Size is how many servers a Cluster has.
const Size = 3

// ClusterConfig is what a Cluster is made of.
type ClusterConfig struct {
	// Command starts one server: a program that calls Serve with what
	// ConfigFromEnv gives it and its standard input and output. Env is added to
	// its environment.
	Command, Env []string
	// Dir gets a directory for each server.
	Dir string
	// LazySync is Config.LazySync of all servers.
	LazySync bool
}

// Cluster is three servers in processes of their own. Servers are numbered from
// 0; clients that AddClient makes go on from 3. Its methods may be called from
// several goroutines, but who starts and ends the same server twice at once gets
// what he asked for.
type Cluster struct {
	cfg     ClusterConfig
	configs [Size]Config

	mu    sync.Mutex
	procs [Size]*process
	links map[direction]*Link
	ends  int // servers and clients
}

// A direction is from who dials to who is dialled.
type direction struct{ from, to int }

// pollEvery is how often a server is asked again whether it is so far.
const pollEvery = 20 * time.Millisecond

// Start starts three servers and returns when they have found each other and
// elected a leader. Close ends them.
func Start(ctx context.Context, cfg ClusterConfig) (*Cluster, error) {
	c := &Cluster{cfg: cfg, links: map[direction]*Link{}, ends: Size}
	if err := c.start(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("start log cluster: %w", err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	addresses, err := freeAddresses(2 * Size)
	if err != nil {
		return err
	}
	for i := range c.configs {
		c.configs[i] = Config{
			Name: fmt.Sprintf("log-%d", i), Dir: filepath.Join(c.cfg.Dir, strconv.Itoa(i)),
			Client: addresses[i], Route: addresses[Size+i], LazySync: c.cfg.LazySync,
		}
	}
	for i := range c.configs {
		for k := range c.configs {
			if i == k {
				continue
			}
			link, err := newLink(c.configs[k].Route)
			if err != nil {
				return err
			}
			c.links[direction{i, k}] = link
			c.configs[i].Routes = append(c.configs[i].Routes, link.Addr())
		}
	}
	for i := range c.configs {
		if err := c.Start(i); err != nil {
			return err
		}
	}
	return c.await(ctx, "a leader of the cluster that knows all servers", func(ctx context.Context) bool {
		for i := range Size {
			if s, err := c.Status(ctx, i, ""); err == nil && s.MetaLeader && s.Peers == Size {
				return true
			}
		}
		return false
	})
}

// freeAddresses finds loopback addresses that nobody listens on. They must be
// known before the servers start, because each names the others. They lie below
// the ports that the kernel gives to whoever dials: a server that is away must find
// its port free when it comes back, and a dial to it must not meet itself.
func freeAddresses(n int) ([]string, error) {
	const from, to, triesMax = 15000, 30000, 1000
	addresses := make([]string, 0, n)
	for range triesMax {
		if len(addresses) == n {
			return addresses, nil
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(from+rand.IntN(to-from)))
		if err != nil {
			continue
		}
		defer l.Close() // until all are found, so that none is found twice
		addresses = append(addresses, l.Addr().String())
	}
	return nil, fmt.Errorf("find %d free addresses: %d tries", n, triesMax)
}

// await asks again and again until it is so or ctx ends.
func (c *Cluster) await(ctx context.Context, what string, so func(context.Context) bool) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !so(ctx) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Close ends all servers and links.
func (c *Cluster) Close() {
	for i := range Size {
		c.Kill(i)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, link := range c.links {
		link.close()
	}
}

// URL is where clients reach the servers directly, past every cut.
func (c *Cluster) URL() string {
	urls := make([]string, Size)
	for i := range urls {
		urls[i] = "nats://" + c.configs[i].Client
	}
	return strings.Join(urls, ",")
}

// AddClient makes a client's place in the network: its number, for cuts, and its
// URL of the servers, one link to each.
func (c *Cluster) AddClient() (number int, url string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	number = c.ends
	urls := make([]string, Size)
	for i := range urls {
		link, err := newLink(c.configs[i].Client)
		if err != nil {
			return 0, "", err
		}
		c.links[direction{number, i}] = link
		urls[i] = "nats://" + link.Addr()
	}
	c.ends++
	return number, strings.Join(urls, ","), nil
}

// Start starts server i on the store it has. It is nothing if it runs.
func (c *Cluster) Start(i int) error {
	if p := c.process(i); p != nil && p.alive() {
		return nil
	}
	p, err := startProcess(c.cfg.Command, c.cfg.Env, c.configs[i])
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.procs[i] = p
	return nil
}

func (c *Cluster) process(i int) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.procs[i]
}

// Kill ends server i with SIGKILL, between any two of its instructions.
func (c *Cluster) Kill(i int) {
	if p := c.process(i); p != nil {
		p.kill()
	}
}

// KillAll ends all servers as near to one moment as signals can.
func (c *Cluster) KillAll() {
	for i := range Size {
		if p := c.process(i); p != nil {
			_ = p.cmd.Process.Kill() // one that has ended is as good
		}
	}
	for i := range Size {
		c.Kill(i)
	}
}

// Pause stops server i in the middle of whatever it does; Resume lets it go on,
// believing what it believed. Both are errors if it does not run.
func (c *Cluster) Pause(i int) error {
	p := c.process(i)
	if p == nil {
		return errNotStarted
	}
	return p.stop()
}

// Resume is the end of a Pause.
func (c *Cluster) Resume(i int) error {
	p := c.process(i)
	if p == nil {
		return errNotStarted
	}
	return p.resume()
}

var errNotStarted = errors.New("the server was not started")

// Restart kills server i, starts it again and waits until its copy of the stream
// is current.
func (c *Cluster) Restart(ctx context.Context, i int, stream string) error {
	c.Kill(i)
	if err := c.Start(i); err != nil {
		return err
	}
	return c.awaitCurrent(ctx, i, stream)
}

// Wipe is Restart with the server's store gone: it has to get everything from the
// others again.
func (c *Cluster) Wipe(ctx context.Context, i int, stream string) error {
	c.Kill(i)
	if err := os.RemoveAll(c.configs[i].Dir); err != nil {
		return fmt.Errorf("wipe server %d: %w", i, err)
	}
	if err := c.Start(i); err != nil {
		return err
	}
	return c.awaitCurrent(ctx, i, stream)
}

func (c *Cluster) awaitCurrent(ctx context.Context, i int, stream string) error {
	return c.await(ctx, fmt.Sprintf("current copy of %s on server %d", stream, i), func(ctx context.Context) bool {
		s, err := c.Status(ctx, i, stream)
		return err == nil && s.Current
	})
}

// answerMax is how long a server that runs may take to answer.
const answerMax = 5 * time.Second

// Status is what server i says about a stream.
func (c *Cluster) Status(ctx context.Context, i int, stream string) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerMax)
	defer cancel()
	p := c.process(i)
	if p == nil {
		return Status{}, errNotStarted
	}
	if p.isStopped() {
		return Status{}, fmt.Errorf("server %d is stopped", i)
	}
	s, err := p.ask(ctx, question{Stream: stream})
	if err != nil {
		return s, fmt.Errorf("server %d: %w", i, err)
	}
	return s, nil
}

// Leader waits until one of the servers that run says that it leads the stream,
// and no other does. A server that was cut off believes it for some seconds more;
// name it in except when the question is who leads now.
func (c *Cluster) Leader(ctx context.Context, stream string, except ...int) (int, error) {
	leader := -1
	err := c.await(ctx, "leader of "+stream, func(ctx context.Context) bool {
		leaders := 0
		for i := range Size {
			if slices.Contains(except, i) {
				continue
			}
			if s, err := c.Status(ctx, i, stream); err == nil && s.Leader {
				leader = i
				leaders++
			}
		}
		return leaders == 1
	})
	return leader, err
}

// Current waits until every server says that its copy of a stream is current.
func (c *Cluster) Current(ctx context.Context, stream string) error {
	for i := range Size {
		if err := c.awaitCurrent(ctx, i, stream); err != nil {
			return err
		}
	}
	return nil
}

// ErrCopiesDiffer says that replicas do not hold the same.
var ErrCopiesDiffer = errors.New("the copies differ")

// SameCopies waits until all servers say that they hold as much of a stream, kills
// them all, compares what each has on disk, and starts them again. Nobody may
// write to the stream meanwhile. When the copies are not the same the error is
// ErrCopiesDiffer and says what each is.
func (c *Cluster) SameCopies(ctx context.Context, stream string) (Copy, error) {
	var seen [Size]Status
	err := c.await(ctx, "copies of "+stream+" of equal length", func(ctx context.Context) bool {
		for i := range Size {
			s, err := c.Status(ctx, i, stream)
			if err != nil {
				return false
			}
			seen[i] = Status{Last: s.Last, Messages: s.Messages}
		}
		return seen[0].Last > 0 && seen[0] == seen[1] && seen[1] == seen[2]
	})
	if err != nil {
		return Copy{}, fmt.Errorf("%w: %d of %d messages, %d of %d, %d of %d: %w", ErrCopiesDiffer, seen[0].Messages,
			seen[0].Last, seen[1].Messages, seen[1].Last, seen[2].Messages, seen[2].Last, err)
	}
	c.KillAll()
	var copies [Size]Copy
	for i := range Size {
		if copies[i], err = ReadStore(ctx, c.configs[i].Dir, stream); err != nil {
			return Copy{}, err
		}
	}
	for i := range Size {
		if err := c.Start(i); err != nil {
			return Copy{}, err
		}
	}
	if copies[0] != copies[1] || copies[1] != copies[2] {
		return Copy{}, fmt.Errorf("%w of %s: %s; %s; %s", ErrCopiesDiffer, stream, copies[0], copies[1], copies[2])
	}
	return copies[0], nil
}
