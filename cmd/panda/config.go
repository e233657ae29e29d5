package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/schemas"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"
)

// Config is everything that can be set. Each setting has one name, written
// nats-url as a flag, nats_url in the file and PANDA_NATS_URL in the environment.
// A flag wins over the environment, the environment over the file, the file over
// the default. `panda config dump` prints what is in force.
type Config struct {
	// Data is the directory of all state: the log, the warehouse, the admin key.
	Data string
	// Listen is the HTTP address. Loopback by default: there is no TLS here; put
	// a proxy in front before you open it.
	Listen string

	// TrustedProxies are the networks of the proxies in front, as CIDR with commas
	// between: the client's address is what they say in X-Forwarded-For. Empty: nobody
	// is believed, and the address is the connection's.
	TrustedProxies string

	// PublicURL is where people reach this installation, for links; empty is the
	// address of Listen.
	PublicURL string
	// Signup is who may make a tenant by POST /v1/signup: "platform", or "open" for
	// everybody.
	Signup string
	// Isolation is "shared-database", or "hybrid": then a new tenant whose plan says so
	// gets a database of its own.
	Isolation string

	// OIDCIssuer is the identity provider whose tokens people sign in with; empty:
	// people do not sign in, keys do.
	OIDCIssuer string
	// OIDCAudiences and OIDCParties are what a token must be for, its aud, and come
	// from, its azp; several with commas between.
	OIDCAudiences, OIDCParties string
	// OIDCAdmins are the subjects of people who administer the platform, with commas
	// between.
	OIDCAdmins string

	// NATSURL is a NATS cluster; empty runs the log in this process.
	NATSURL string
	// NATSCreds is a NATS credentials file for NATSURL.
	NATSCreds string
	// NATSListen opens the log in this process to runtimes that publish directly,
	// with an API key as password. Empty: no port at all.
	NATSListen string
	// NATSListenCert and NATSListenKey are the PEM files of NATSListen's TLS; an
	// address that is not loopback needs them, because keys travel on it.
	NATSListenCert, NATSListenKey string
	// NATSRelay takes direct publishing from a cluster: the cluster has to give
	// each tenant an account of its own that exports nothing but its door; see
	// ARCHITECTURE.md.
	NATSRelay bool
	// NATSReplicas is how many servers of a cluster keep each event.
	NATSReplicas int
	// Shards is how many parts the usage is split into by tenant, each with a stream, a
	// database and a writer of its own. It is decided for ever when the log is made: 0
	// takes what was decided, and 1 for a new log.
	Shards uint32
	// LogBytes bounds the log; 0 takes a share of the disk.
	LogBytes int64
	// LogAge is how long an event stays on the log, by the log's own times, after it
	// was counted and audited; what was not stays longer.
	LogAge time.Duration

	// ClickHouseURL is a ClickHouse server; empty runs the engine in a child
	// process.
	ClickHouseURL string
	// ClickHouseCluster is the name of a ClickHouse cluster for replicated tables.
	ClickHouseCluster string
	// EngineListen opens the engine to any ClickHouse client for reading, on a
	// loopback address, with EngineToken as the password. Empty: a socket of the
	// pipeline's own, and no port.
	EngineListen string
	EngineToken  string
	// EngineMemory bounds the child process's memory, in bytes.
	EngineMemory int64

	// AlertThresholds are the percents of a budget or a quota at which an alert fires,
	// with commas between.
	AlertThresholds string
	// SMTPURL is the mail server that alerts are sent with:
	// smtps://user:password@host:465, smtp://user:password@host:587 with STARTTLS, or
	// smtp+insecure://127.0.0.1:25. Empty: no e-mail.
	SMTPURL string
	// SMTPFrom is the sender, such as "Panda <panda@your-domain.com>".
	SMTPFrom string
	// AlertAllow are private networks that webhooks may lead into, with commas between,
	// such as 10.1.0.0/16. Empty: none, and https alone.
	AlertAllow string
	// AlertRules is a file of alert rules, checked with `panda alerts check`; empty:
	// none but the built-in ones. All nodes need the same: the one that decides ends
	// the alerts of rules that it does not have.
	AlertRules string
	// AlertHealth runs the built-in rules, the daily health check of tenants.
	AlertHealth bool
	// EnvelopeKey signs what gateways put on the log. All processes of a
	// deployment need the same; empty makes one and keeps it in Data.
	EnvelopeKey string
	// CommitEvery is the least time between two commits of the writer.
	CommitEvery time.Duration
	// ClockBackMax is how far the clock may be before the newest commit. Beyond,
	// counting halts.
	ClockBackMax time.Duration
	// LagMax is how far the writer may fall behind before the gateway answers 503.
	// A day by default: the log keeps what it acknowledged, whatever the writer
	// does, so lag alone is no reason to refuse.
	LagMax time.Duration
	// DiskFreeMin is how much of the disk must be free, in bytes, before the
	// gateway answers 503. A full disk would stop the whole log.
	DiskFreeMin int64

	LogLevel  string
	LogFormat string
	// Environment, for what is not a setting of its own.
	getenv func(string) string
	// program is what the engine is run with; "" is the one that runs. A test is another.
	program string
}

// The values of Signup and Isolation that have no type of their own.
const (
	signupPlatform  = "platform"
	signupOpen      = "open"
	isolationHybrid = "hybrid"
)

// settings binds every field to its name. It is the one list of settings.
func (c *Config) settings(fs *pflag.FlagSet) {
	fs.StringVar(&c.Data, "data", c.Data, "directory of all state")
	fs.StringVar(&c.Listen, "listen", c.Listen, "HTTP address")
	fs.StringVar(&c.TrustedProxies, "trusted-proxies", c.TrustedProxies, "networks of the proxies in front, whose X-Forwarded-For is believed, such as 10.0.0.0/8,127.0.0.1/32 (empty: none)")
	fs.StringVar(&c.PublicURL, "public-url", c.PublicURL, "where people reach this installation, such as https://your-domain.com (empty: the HTTP address)")
	fs.StringVar(&c.Signup, "signup", c.Signup, "who may make a tenant by POST /v1/signup: platform, or open for everybody")
	fs.StringVar(&c.Isolation, "isolation", c.Isolation, "shared-database, or hybrid: a database of its own for a new tenant whose plan says so")
	fs.StringVar(&c.OIDCIssuer, "oidc-issuer", c.OIDCIssuer, "identity provider that people sign in with, such as https://clerk.your-domain.com (empty: none)")
	fs.StringVar(&c.OIDCAudiences, "oidc-audience", c.OIDCAudiences, "audiences that a person's token may be for, with commas between")
	fs.StringVar(&c.OIDCParties, "oidc-party", c.OIDCParties, "authorized parties (azp) that a person's token may come from, with commas between")
	fs.StringVar(&c.OIDCAdmins, "oidc-admin", c.OIDCAdmins, "subjects (sub) of people who administer the platform, with commas between")
	fs.StringVar(&c.NATSURL, "nats-url", c.NATSURL, "NATS cluster, such as nats://a:4222,nats://b:4222 (empty: in this process)")
	fs.StringVar(&c.NATSCreds, "nats-creds", c.NATSCreds, "NATS credentials file")
	fs.StringVar(&c.NATSListen, "nats-listen", c.NATSListen, "open the log in this process to direct publishing, such as 127.0.0.1:4222 (empty: no port)")
	fs.StringVar(&c.NATSListenCert, "nats-listen-cert", c.NATSListenCert, "TLS certificate of nats-listen, PEM")
	fs.StringVar(&c.NATSListenKey, "nats-listen-key", c.NATSListenKey, "TLS key of nats-listen, PEM")
	fs.BoolVar(&c.NATSRelay, "nats-relay", c.NATSRelay, "take direct publishing from the accounts of a NATS cluster")
	fs.IntVar(&c.NATSReplicas, "nats-replicas", c.NATSReplicas, "how many servers of a NATS cluster keep each event")
	fs.Uint32Var(&c.Shards, "shards", c.Shards, "into how many parts usage is split by tenant, for ever, when the log is made (0: what the log has, 1 for a new one)")
	fs.Int64Var(&c.LogBytes, "log-bytes", c.LogBytes, "size limit of the log in bytes (0: a share of the disk)")
	fs.DurationVar(&c.LogAge, "log-age", c.LogAge, "how long an event stays on the log after it was counted and audited")
	fs.StringVar(&c.ClickHouseURL, "clickhouse-url", c.ClickHouseURL, "ClickHouse server, such as clickhouse://user:password@host:9000/panda (empty: a child process)")
	fs.StringVar(&c.ClickHouseCluster, "clickhouse-cluster", c.ClickHouseCluster, "ClickHouse cluster name, for replicated tables")
	fs.StringVar(&c.EngineListen, "engine-listen", c.EngineListen, "open the ClickHouse engine for reading, such as 127.0.0.1:8123 (empty: no port)")
	fs.StringVar(&c.EngineToken, "engine-token", c.EngineToken, "password of the engine's readers, at least 16 characters")
	fs.Int64Var(&c.EngineMemory, "engine-memory", c.EngineMemory, "memory limit of the ClickHouse engine in bytes")
	fs.StringVar(&c.AlertThresholds, "alert-thresholds", c.AlertThresholds, "percents of a budget or quota at which an alert fires, with commas between")
	fs.StringVar(&c.SMTPURL, "smtp-url", c.SMTPURL, "mail server for alerts, such as smtps://user:password@mail.your-domain.com:465 (empty: no e-mail)")
	fs.StringVar(&c.SMTPFrom, "smtp-from", c.SMTPFrom, "sender of alerts, such as Panda <panda@your-domain.com>")
	fs.StringVar(&c.AlertAllow, "alert-allow", c.AlertAllow, "private networks that webhooks may lead into, such as 10.1.0.0/16, with commas between (empty: none)")
	fs.StringVar(&c.AlertRules, "alert-rules", c.AlertRules, "file of alert rules, the same on every node (empty: the built-in ones alone)")
	fs.BoolVar(&c.AlertHealth, "alert-health", c.AlertHealth, "run the built-in alert rules, the daily health check of tenants")
	fs.StringVar(&c.EnvelopeKey, "envelope-key", c.EnvelopeKey, "secret that signs batches on the log; the same on every node")
	fs.DurationVar(&c.CommitEvery, "commit-every", c.CommitEvery, "least time between two commits of the writer")
	fs.DurationVar(&c.ClockBackMax, "clock-back-max", c.ClockBackMax, "how far the clock may be before the newest commit; beyond, counting halts")
	fs.DurationVar(&c.LagMax, "lag-max", c.LagMax, "how far the writer may fall behind before events are refused with 503")
	fs.Int64Var(&c.DiskFreeMin, "disk-free-min", c.DiskFreeMin, "bytes of disk that stay free; below, events are refused with 503")
	fs.StringVar(&c.LogLevel, "log-level", c.LogLevel, "trace, debug, info, warn or error")
	fs.StringVar(&c.LogFormat, "log-format", c.LogFormat, "text or json")
}

// secretSettings are not printed.
var secretSettings = []string{"envelope-key", "engine-token", "clickhouse-url", "nats-url", "smtp-url"}

// defaultConfig returns the settings of a machine that nobody configured.
func defaultConfig(getenv func(string) string) Config {
	return Config{
		Data:            dataDir(getenv),
		Listen:          "127.0.0.1:8080",
		Signup:          signupPlatform,
		Isolation:       string(tenancy.SharedDatabase),
		NATSReplicas:    3,
		LogAge:          45 * 24 * time.Hour,
		EngineMemory:    8 << 30,
		AlertThresholds: "80,90,100",
		AlertHealth:     true,
		CommitEvery:     100 * time.Millisecond,
		ClockBackMax:    time.Hour,
		LagMax:          24 * time.Hour,
		DiskFreeMin:     2 << 30,
		LogLevel:        "info",
		LogFormat:       "text",
		getenv:          getenv,
	}
}

func dataDir(getenv func(string) string) string {
	if dir := getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "panda")
	}
	return filepath.Join(getenv("HOME"), ".local", "share", "panda")
}

// configFile is where settings are read from unless PANDA_CONFIG names another.
const configFile = "panda.yaml"

// loadConfig returns the defaults overlaid with the file and the environment.
// Flags follow when the command line is parsed.
func loadConfig(getenv func(string) string) (Config, error) {
	cfg := defaultConfig(getenv)
	fs := pflag.NewFlagSet("config", pflag.ContinueOnError)
	cfg.settings(fs)
	path, named := getenv("PANDA_CONFIG"), true
	if path == "" {
		path, named = configFile, false
	}
	data, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := setFromFile(fs, path, data); err != nil {
			return cfg, err
		}
	case named || !errors.Is(err, os.ErrNotExist):
		return cfg, usageError{fmt.Errorf("read configuration: %w", err)}
	}
	var bad error
	fs.VisitAll(func(f *pflag.Flag) {
		name := "PANDA_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value := getenv(name); value != "" && bad == nil {
			if err := fs.Set(f.Name, value); err != nil {
				bad = schemas.Invalid("", schemas.CodeMalformed, "%s=%q: %v", name, value, err)
			}
		}
	})
	return cfg, bad
}

func setFromFile(fs *pflag.FlagSet, path string, data []byte) error {
	values := map[string]any{}
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&values); err != nil && !errors.Is(err, io.EOF) {
		return schemas.Invalid("", schemas.CodeMalformed, "%s: %v", path, err)
	}
	for _, key := range sortedKeys(values) {
		name := strings.ReplaceAll(key, "_", "-")
		if fs.Lookup(name) == nil || strings.Contains(key, "-") {
			return schemas.Invalid("/"+key, schemas.CodeUnknown, "%s: %q is not a setting; `panda config dump` lists them", path, key)
		}
		if err := fs.Set(name, fmt.Sprint(values[key])); err != nil {
			return schemas.Invalid("/"+key, schemas.CodeMalformed, "%s: %s: %v", path, key, err)
		}
	}
	return nil
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// check refuses settings that cannot work, before anything is started.
func (c *Config) check() error {
	if c.Data == "" {
		return schemas.Invalid("/data", schemas.CodeMissing, "data names the directory of all state")
	}
	for name, addr := range map[string]string{"listen": c.Listen, "nats_listen": c.NATSListen, "engine_listen": c.EngineListen} {
		if addr == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return schemas.Invalid("/"+name, schemas.CodeMalformed, "%q is not host:port", addr)
		}
	}
	if host, _, err := net.SplitHostPort(c.NATSListen); err == nil && !loopback(host) && c.NATSListenCert == "" {
		return schemas.Invalid("/nats_listen", schemas.CodeNotAllowed,
			"%q is open to others and API keys travel on it; give nats_listen_cert and nats_listen_key, or listen on 127.0.0.1", c.NATSListen)
	}
	if c.NATSURL != "" && c.NATSListen != "" {
		return schemas.Invalid("/nats_listen", schemas.CodeNotAllowed, "nats_listen opens the log of this process; with nats_url there is none")
	}
	if c.ClickHouseCluster != "" && c.ClickHouseURL == "" {
		return schemas.Invalid("/clickhouse_cluster", schemas.CodeNotAllowed, "a cluster needs clickhouse_url")
	}
	if c.NATSURL != "" && c.LogBytes <= 0 {
		return schemas.Invalid("/log_bytes", schemas.CodeMissing, "with nats_url the log needs log_bytes: at most 70 %% of a NATS server's disk")
	}
	if c.NATSURL != "" && c.EnvelopeKey == "" {
		return schemas.Invalid("/envelope_key", schemas.CodeMissing, "with nats_url every node needs the same envelope_key; make one with: openssl rand -hex 32")
	}
	if _, err := parseThresholds(c.AlertThresholds); err != nil {
		return err
	}
	if _, err := c.channelConfig(); err != nil {
		return err
	}
	if _, err := parseProxies(c.TrustedProxies); err != nil {
		return err
	}
	if _, err := c.rules(); err != nil {
		return err
	}
	if c.CommitEvery < time.Millisecond || c.CommitEvery > time.Minute {
		return schemas.Invalid("/commit_every", schemas.CodeOutOfRange, "%s is outside 1ms to 1m", c.CommitEvery)
	}
	const engineMemoryMin = 512 << 20
	if c.EngineMemory < engineMemoryMin {
		return schemas.Invalid("/engine_memory", schemas.CodeOutOfRange, "the engine needs at least %d bytes", engineMemoryMin)
	}
	if _, err := zerolog.ParseLevel(c.LogLevel); err != nil {
		return schemas.Invalid("/log_level", schemas.CodeUnknown, "%q is not a level; use trace, debug, info, warn or error", c.LogLevel)
	}
	if c.Signup != signupPlatform && c.Signup != signupOpen {
		return schemas.Invalid("/signup", schemas.CodeUnknown, "%q is neither %s nor %s", c.Signup, signupPlatform, signupOpen)
	}
	if c.Isolation != string(tenancy.SharedDatabase) && c.Isolation != isolationHybrid {
		return schemas.Invalid("/isolation", schemas.CodeUnknown, "%q is neither %s nor %s", c.Isolation, tenancy.SharedDatabase, isolationHybrid)
	}
	if c.PublicURL != "" {
		if u, err := url.Parse(c.PublicURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" {
			return schemas.Invalid("/public_url", schemas.CodeMalformed, "%q is not an address such as https://your-domain.com", c.PublicURL)
		}
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return schemas.Invalid("/log_format", schemas.CodeUnknown, "%q is not a format; use text or json", c.LogFormat)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// replicas is 1 for the log in this process, whatever is set for a cluster.
func (c *Config) replicas() int {
	if c.NATSURL == "" {
		return 1
	}
	return c.NATSReplicas
}

// behindMax is how long the writer believes that a log which ends before the ledger
// will still show the rest. An election and what follows it take some ten seconds.
func (c *Config) behindMax() time.Duration {
	const clusterMax = time.Minute
	if c.NATSURL == "" {
		return 0
	}
	return clusterMax
}

// dump writes the settings in the form of the file, without secrets.
func (c *Config) dump(w io.Writer) {
	fs := pflag.NewFlagSet("dump", pflag.ContinueOnError)
	copied := *c
	copied.settings(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		value := f.Value.String()
		for _, secret := range secretSettings {
			if f.Name == secret && value != "" {
				value = "(set)"
			}
		}
		_, _ = fmt.Fprintf(w, "# %s\n%s: %s\n", f.Usage, strings.ReplaceAll(f.Name, "-", "_"), yamlText(value))
	})
}

func yamlText(s string) string {
	out, err := yaml.Marshal(s)
	if err != nil {
		return s
	}
	return strings.TrimSuffix(string(out), "\n")
}

// logger returns the program's logger.
func (c *Config) logger(stderr io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel
	}
	if c.LogFormat == "text" {
		file, ok := stderr.(*os.File)
		plain := !ok || !term.IsTerminal(int(file.Fd())) || c.getenv("NO_COLOR") != ""
		stderr = zerolog.ConsoleWriter{Out: stderr, TimeFormat: time.TimeOnly, NoColor: plain}
	}
	return zerolog.New(stderr).Level(level).With().Timestamp().Logger()
}

// newConfig is `panda config check|dump`.
func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check or print the settings in force"}
	cmd.AddCommand(&cobra.Command{
		Use: "check", Short: "Say whether the settings can work", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.cfg.check(); err != nil {
				return err
			}
			if a.cfg.ClickHouseURL == "" {
				if _, err := engine.FindLib(a.getenv); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintln(a.stdout, "the settings are fine")
			return err
		},
	}, &cobra.Command{
		Use: "dump", Short: "Print the settings in the form of " + configFile, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			a.cfg.dump(a.stdout)
			return nil
		},
	})
	return cmd
}
