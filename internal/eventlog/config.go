package eventlog

import (
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/schemas"
)

// MessageBytesMax is the largest message, payload and headers together: an
// ingest request of 1 MiB plus what an envelope adds to it.
const MessageBytesMax = 1<<20 + 256<<10

// payloadBytesMax is the server's own limit on a message. It is above
// MessageBytesMax so that the stream's limit is the one that answers.
const payloadBytesMax = 2 << 20

// Config says where the log is and what bounds it. The zero value of a limit
// takes the default named beside it.
type Config struct {
	// URL is "" for a server inside this process, or the addresses of a cluster,
	// separated by commas: "nats://a:4222,nats://b:4222".
	URL string
	// How to authenticate to the cluster: a credentials file, a user and a
	// password, or a token. Unused without URL.
	CredsFile, User, Password, Token string
	// TLS to the cluster: the authority that signed its certificate, and a
	// certificate and key of our own when it asks for one.
	CAFile, CertFile, KeyFile string

	// DataDir is the store directory of the server inside this process. One
	// process at a time may have it open.
	DataDir string
	// Listen opens the server inside this process to runtimes of tenants, on
	// "host:port". With "" there is no port at all.
	Listen string
	// ListenCertFile and ListenKeyFile make Listen speak TLS. Without them keys
	// cross the wire readable, so leave them out only on a loopback address.
	ListenCertFile, ListenKeyFile string
	// Relay stores what arrives on the service "door.<tenant>" of a cluster, as
	// Listen does of its own accord. The accounts of tenants there import it as
	// usage.<tenant>. A user with permission to publish to usage.<tenant> in the
	// log's own account will not do: a reply subject is not checked against
	// permissions, and the acknowledgement sent to it is a publication.
	Relay bool
	// Authenticate says which tenant a runtime is, for connections to Listen. It
	// is asked once per connection; Disconnect ends the ones that exist. It must
	// be safe for concurrent use, and may block while it does not know yet: the
	// connection waits. Nil refuses everyone that is not in Users.
	Authenticate func(user, password string) (tenant string, ok bool)
	// Admit says whether a runtime of a tenant may store a message now; it is asked
	// for each. A runtime that is refused is told to send again, or, by a *Refusal,
	// what it says. It must be safe for concurrent use. Nil admits all.
	Admit func(tenant string) error
	// MayStore is asked again, as Admit is, right before a message that was admitted
	// is stored: it may have waited behind others of its tenant. Nil: it may.
	MayStore func(tenant string) error
	// Users may connect to Listen besides those Authenticate knows.
	Users []User

	// Replicas is the number of copies of every stream: 1 inside this process,
	// 3 in a cluster.
	Replicas int
	// Shards is how many parts the usage of all tenants is split into, each with a
	// stream of its own; see schemas.Shard. It is decided for ever when the log is made:
	// 0 takes what was decided, and 1 for a new log. Log.Shards says how many there are.
	Shards uint32
	// UsageMaxBytes bounds the usage of all tenants, each shard an even share of it;
	// above it, new messages are refused.
	// Default inside this process: 60 % of the disk (free and used by the log
	// already), so that the warehouse beside it has room. A cluster needs a number.
	UsageMaxBytes int64
	// DuplicateWindow is how long the broker remembers message ids. Default 2
	// minutes: longer costs memory and start time, and is never needed, because
	// readers tell repeats apart themselves.
	DuplicateWindow time.Duration
	// OpenTimeout bounds Open. Default 2 minutes: a server that was killed reads
	// the end of its store and the ids of the duplicate window again.
	OpenTimeout time.Duration
	// AckTimeout bounds the wait for one answer of the broker. Default 5 seconds:
	// a cluster elects a new leader in 4 to 9, and what was sent to the old one is
	// better sent again than waited for.
	AckTimeout time.Duration
	// InFlightMax bounds the messages that AppendAsync has sent and that are not
	// acknowledged. Default 256: enough to hide the fsync of a cluster, and at
	// 64 KiB a message 16 MiB to hold.
	InFlightMax int
	// ReadAheadBytes bounds what one Reader holds beyond what was asked of it.
	// Default 32 MiB: a tenth of a second at full speed.
	ReadAheadBytes int

	// Logger receives what the server says and what this package has to report.
	Logger zerolog.Logger
}

// User is a runtime of a tenant that may connect to Config.Listen and publish to
// the tenant's own subject, nothing else.
type User struct {
	Name, Password string
	// Tenant is the tenant whose usage this runtime publishes.
	Tenant string
}

func (c Config) embedded() bool { return c.URL == "" }

func (c Config) withDefaults() Config {
	if c.Replicas == 0 {
		c.Replicas = 1
		if !c.embedded() {
			c.Replicas = 3
		}
	}
	c.DuplicateWindow = orDuration(c.DuplicateWindow, 2*time.Minute)
	c.OpenTimeout = orDuration(c.OpenTimeout, 2*time.Minute)
	c.AckTimeout = orDuration(c.AckTimeout, 5*time.Second)
	if c.InFlightMax == 0 {
		c.InFlightMax = 256
	}
	if c.ReadAheadBytes == 0 {
		c.ReadAheadBytes = 32 << 20
	}
	return c
}

func orDuration(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// check refuses settings that contradict each other.
func (c Config) check() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("event log: %w: %s", schemas.ErrInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case c.embedded() && c.DataDir == "":
		return invalid("a data directory is needed when no NATS URL is given")
	case c.embedded() && c.Replicas != 1:
		return invalid("replicas is %d, but a server inside this process keeps 1 copy; give the URL of a cluster", c.Replicas)
	case !c.embedded() && c.Listen != "":
		return invalid("listen is for the server inside this process; a cluster opens its own ports")
	case (c.ListenCertFile == "") != (c.ListenKeyFile == ""):
		return invalid("listen needs both a certificate and its key, or neither")
	case !c.embedded() && c.UsageMaxBytes <= 0:
		return invalid("usage max bytes is needed with a cluster: at most 70 %% of a server's disk")
	case c.Replicas < 1 || c.Replicas > 5:
		return invalid("replicas is %d, want 1 to 5", c.Replicas)
	case c.UsageMaxBytes < 0 || c.InFlightMax < 0 || c.ReadAheadBytes < 0:
		return invalid("a limit is negative")
	case c.Shards > schemas.ShardsMax:
		return invalid("shards is %d, want 1 to %d", c.Shards, schemas.ShardsMax)
	case c.DuplicateWindow < 0:
		return invalid("duplicate window is %s, want it above 0", c.DuplicateWindow)
	}
	for _, u := range c.Users {
		if u.Name == "" || u.Password == "" || !validToken(u.Tenant) {
			return invalid("user %q: a name, a password and a tenant id without spaces, dots or wildcards are needed", u.Name)
		}
	}
	return nil
}

// validToken reports that s can be one token of a subject.
func validToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '.' || c == '*' || c == '>' {
			return false
		}
	}
	return s != ""
}
