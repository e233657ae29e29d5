package servers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// EnvConfig is the environment variable by which Cluster tells a child which
// server to be: a Config as JSON.
const EnvConfig = "PANDA_LOG_SERVER"

// nowhere is what servers tell each other about how to reach one of them. Routes
// are configured, each over its own link; an address learned from a third server
// would lead around a cut.
const nowhere = "127.0.0.1:1"

// Config is one server of a cluster.
type Config struct {
	// Name is the server's name in the cluster.
	Name string `json:"name"`
	// Dir is its store.
	Dir string `json:"dir"`
	// Client and Route are where it listens, "host:port".
	Client string `json:"client"`
	Route  string `json:"route"`
	// Routes are where it reaches the others.
	Routes []string `json:"routes"`
	// LazySync leaves fsync to a timer, two minutes, which is the broker's own
	// default. It is for the control that shows what the promise hangs on.
	LazySync bool `json:"lazy_sync,omitempty"`
}

// ConfigFromEnv returns what a parent asks this process to be. It reports false
// if there is no such parent.
func ConfigFromEnv(getenv func(string) string) (Config, bool, error) {
	text := getenv(EnvConfig)
	if text == "" {
		return Config{}, false, nil
	}
	var cfg Config
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return Config{}, true, fmt.Errorf("read %s: %w", EnvConfig, err)
	}
	return cfg, true, nil
}

// New returns the server of a configuration, not started.
func New(cfg Config) (*server.Server, error) {
	opts := &server.Options{
		ServerName: cfg.Name, NoSigs: true, NoLog: true,
		JetStream: true, SyncAlways: !cfg.LazySync, StoreDir: cfg.Dir,
		JetStreamMaxStore: 64 << 30, JetStreamMaxMemory: 1 << 30, MaxPayload: 2 << 20,
		Cluster: server.ClusterOpts{Name: "panda", Advertise: nowhere, NoAdvertise: true},
	}
	var err error
	if opts.Host, opts.Port, err = splitAddress(cfg.Client); err != nil {
		return nil, err
	}
	if opts.Cluster.Host, opts.Cluster.Port, err = splitAddress(cfg.Route); err != nil {
		return nil, err
	}
	for _, address := range cfg.Routes {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats-route", Host: address})
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("configure log server %s: %w", cfg.Name, err)
	}
	return srv, nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil {
		return "", 0, fmt.Errorf("address %q: %w", address, err)
	}
	return host, port, nil
}

// startMax is how long a server may take to open its store and listen.
const startMax = time.Minute

// Serve is one server, from start until ctx ends or in does. Lines of in ask
// about it, lines of out are the answers; see ask.
func Serve(ctx context.Context, cfg Config, in io.Reader, out io.Writer) error {
	srv, err := New(cfg)
	if err != nil {
		return err
	}
	go srv.Start()
	defer func() { srv.Shutdown(); srv.WaitForShutdown() }()
	if !srv.ReadyForConnections(startMax) {
		return fmt.Errorf("log server %s does not listen on %s after %s", cfg.Name, cfg.Client, startMax)
	}
	ended := make(chan error, 1)
	go func() { // ends with the process: a read of standard input cannot be called off
		answers := json.NewEncoder(out)
		for lines := bufio.NewScanner(in); lines.Scan(); {
			var q question
			err := json.Unmarshal(lines.Bytes(), &q)
			if err == nil {
				err = answers.Encode(answer(srv, q))
			}
			if err != nil {
				ended <- fmt.Errorf("answer the parent: %w", err)
				return
			}
		}
		ended <- errParentGone
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

var errParentGone = errors.New("the parent process is gone")

// A question is what a parent wants to know of a server.
type question struct {
	Number int    `json:"number"` // the answer carries it
	Stream string `json:"stream"`
}

// Status is what a server says about a stream.
type Status struct {
	Number int `json:"number"`
	// Peers is how many servers it knows in the cluster, itself among them.
	Peers int `json:"peers"`
	// MetaLeader says that it leads the cluster, Leader that it leads the stream.
	MetaLeader bool `json:"meta_leader"`
	Leader     bool `json:"leader"`
	// Current says that its copy has what the leader has, as far as it knows.
	Current bool `json:"current"`
	// Last and Messages are where its own copy ends and how much it holds.
	Last     uint64 `json:"last"`
	Messages uint64 `json:"messages"`
}

func answer(srv *server.Server, q question) Status {
	account := server.DEFAULT_GLOBAL_ACCOUNT
	s := Status{
		Number: q.Number, Peers: len(srv.JetStreamClusterPeers()), MetaLeader: srv.JetStreamIsLeader(),
		Leader:  srv.JetStreamIsStreamLeader(account, q.Stream),
		Current: srv.JetStreamIsStreamCurrent(account, q.Stream),
	}
	info, err := srv.Jsz(&server.JSzOptions{Account: account, Streams: true})
	if err != nil {
		return s // it is still opening its store
	}
	for _, a := range info.AccountDetails {
		for i := range a.Streams {
			if a.Streams[i].Name == q.Stream {
				s.Last, s.Messages = a.Streams[i].State.LastSeq, a.Streams[i].State.Msgs
			}
		}
	}
	return s
}
