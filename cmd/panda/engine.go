package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/spf13/cobra"
)

// newEngine is `panda engine`: the ClickHouse engine as a process of its own.
// The pipeline starts it as its child; a person starts it to read the tables with
// a ClickHouse client.
func newEngine(a *app) *cobra.Command {
	var listen, token, library string
	cmd := &cobra.Command{
		Use: "engine", Short: "Serve the ClickHouse engine (read-only on TCP) for Grafana, DBeaver or any ClickHouse client",
		Long: `Serves the tables of --data over ClickHouse's HTTP interface.

With --listen it opens a loopback address for reading, with --token as the password of
any user name. The engine has one process per data directory: while ` + "`panda serve`" + ` runs, give
that --engine-listen and --engine-token instead.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := a.serveEngine(cmd.Context(), listen, token, library)
			if err != nil && a.getenv(engine.EnvParent) != "" {
				return engineError{err}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "loopback address to open for reading, such as 127.0.0.1:8123")
	cmd.Flags().StringVar(&token, "token", a.getenv("PANDA_ENGINE_TOKEN"), "password of readers, at least 16 characters")
	cmd.Flags().StringVar(&library, "library", "", "path of libchdb.so (default: PANDA_ENGINE_LIB, else the user cache)")
	return cmd
}

func (a *app) serveEngine(ctx context.Context, listen, token, library string) error {
	cfg, err := engine.ConfigFromEnv(a.getenv, a.stdin)
	if err != nil {
		return err
	}
	if library != "" {
		cfg.LibPath = library
	}
	if cfg.LibPath == "" {
		if cfg.LibPath, err = engine.FindLib(a.getenv); err != nil {
			return err
		}
	}
	if cfg.DataDir == "" {
		cfg.DataDir = filepath.Join(a.cfg.Data, "warehouse")
		cfg.Socket = filepath.Join(a.cfg.Data, "engine.sock")
	}
	if listen != "" {
		cfg.Listen, cfg.Token = listen, token
	}
	cfg.Logger = a.cfg.logger(a.stderr)
	return engine.Serve(ctx, cfg)
}

// engineError ends the child of a pipeline with the engine's own exit codes: the parent reads
// from them why its child did not start.
type engineError struct{ err error }

func (e engineError) Error() string { return e.err.Error() }
func (e engineError) Unwrap() error { return e.err }

// engineCommand is how the pipeline starts its engine: this program again.
func (c *Config) engineCommand(self string) []string {
	if c.program != "" {
		self = c.program
	}
	return []string{self, "engine"}
}

// connect returns a client of the server at --url, else of the one that runs on
// the data directory, else of one that is started for the command's duration.
func connect(ctx context.Context, a *app) (*apiClient, func() error, error) {
	nothing := func() error { return nil }
	if a.url != "" {
		if _, err := url.Parse(a.url); err != nil {
			return nil, nil, fmt.Errorf("--url %q: %w", a.url, err)
		}
		return &apiClient{base: a.url, key: a.key(), http: http.DefaultClient}, nothing, nil
	}
	if address, ok := runningServer(ctx, a.cfg.Data); ok {
		return &apiClient{base: address, key: a.key(), http: http.DefaultClient}, nothing, nil
	}
	cfg := *a.cfg
	cfg.Listen, cfg.NATSListen = "127.0.0.1:0", ""
	if a.getenv("PANDA_LOG_LEVEL") == "" && cfg.LogLevel == defaultConfig(a.getenv).LogLevel {
		cfg.LogLevel = "warn" // a command is not a server; its output is its answer
	}
	p, err := startPipeline(ctx, cfg, cfg.logger(a.stderr))
	if err != nil {
		return nil, nil, err
	}
	if err := p.Counting(ctx); err != nil {
		return nil, nil, p.closeAfter(err)
	}
	key := a.apiKey
	if key == "" {
		key = p.AdminKey()
	}
	return &apiClient{base: p.URL(), key: key, http: http.DefaultClient}, p.Close, nil
}

// key returns the API key of a command: the one given, else the data directory's.
func (a *app) key() string {
	if a.apiKey != "" {
		return a.apiKey
	}
	data, err := os.ReadFile(filepath.Join(a.cfg.Data, "admin.key"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// runningServer asks the server that the data directory names whether it lives.
// A file left by a server that was killed names nobody.
func runningServer(ctx context.Context, data string) (string, bool) {
	run, err := readRunFile(data)
	if err != nil {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, run.URL+"/livez", nil)
	if err != nil {
		return "", false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		var refused *net.OpError
		if !errors.As(err, &refused) {
			return run.URL, true // it is there and slow; let the command say so
		}
		return "", false
	}
	_ = res.Body.Close()
	return run.URL, true
}
