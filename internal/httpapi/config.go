package httpapi

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/ratelimit"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Config says where a Server listens and what bounds it. The zero value of a
// limit takes the default.
type Config struct {
	// Addr is "host:port"; port 0 picks a free one. "" is no TCP port.
	Addr string
	// Socket is the path of a unix socket, "" for none. A stale one is replaced.
	Socket string
	// Authenticate says who a request comes from. Required.
	Authenticate func(*http.Request) (tenancy.Scope, error)
	// Limit counts a request of a caller against what it may ask per minute, after
	// authentication and before anything else. Its answer is on every response; a
	// request that it refuses is 429. Default: no limit for anybody.
	Limit func(tenancy.Scope) ratelimit.State
	// Refused is told of requests that were not let in and of changes that were not
	// made, for the audit log. Nil tells nobody. It must not wait.
	Refused func(tenancy.Attempt)
	// Metrics receives the server's counters and is what /metrics shows. Required.
	Metrics *prometheus.Registry
	// TrustedProxies are the networks whose X-Forwarded-For is believed. Default
	// none: anybody can write that header.
	TrustedProxies []netip.Prefix

	// Idempotency bounds what is remembered of requests with an Idempotency-Key.
	Idempotency IdempotencyConfig

	// ReadHeaderMax bounds the time until a request's headers are read. Default 5
	// seconds: a client that dribbles them holds a connection no longer.
	ReadHeaderMax time.Duration
	// ReadMax bounds the time until a request's body is read. Default 30 seconds,
	// a 1 MiB body over a slow mobile link.
	ReadMax time.Duration
	// WriteMax bounds the time from headers to the end of the answer. Default 60
	// seconds; it must exceed ReadMax and RequestMax.
	WriteMax time.Duration
	// RequestMax bounds what a handler may take; its context ends then. Default 30
	// seconds: longer work is a job, not a request.
	RequestMax time.Duration
	// IdleMax is how long a connection without a request is kept. Default 2
	// minutes, above the minute that many load balancers use.
	IdleMax time.Duration
	// HeaderBytesMax bounds request line and headers. Default 16 KiB: a person's
	// token is at most 8 KiB, a key and an idempotency key are 400 bytes.
	HeaderBytesMax int
	// ConnectionsMax bounds open connections; further ones wait in the kernel's
	// queue. Default 10,000, about 200 MB of buffers at worst.
	ConnectionsMax int
	// DrainMax bounds how long Run waits for requests under way once its context
	// has ended. Default 20 seconds, below the 30 that orchestrators grant.
	DrainMax time.Duration
	// DrainDelay is how long /readyz fails before connections are refused, for load
	// balancers that take a while to look. Default 0.
	DrainDelay time.Duration

	Logger zerolog.Logger
}

// BodyBytesMax bounds a JSON body that DecodeJSON reads, unless the caller gives
// another limit.
const BodyBytesMax = schemas.RequestBytesMax

func (c Config) withDefaults() Config {
	if c.Authenticate == nil || c.Metrics == nil {
		panic("httpapi: a server needs Authenticate and Metrics")
	}
	if c.Limit == nil {
		c.Limit = func(tenancy.Scope) ratelimit.State { return ratelimit.State{} }
	}
	for _, d := range []struct {
		field     *time.Duration
		otherwise time.Duration
	}{
		{&c.ReadHeaderMax, 5 * time.Second}, {&c.ReadMax, 30 * time.Second}, {&c.WriteMax, 60 * time.Second},
		{&c.RequestMax, 30 * time.Second}, {&c.IdleMax, 2 * time.Minute}, {&c.DrainMax, 20 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.otherwise
		}
	}
	if c.HeaderBytesMax == 0 {
		c.HeaderBytesMax = 16 << 10
	}
	if c.ConnectionsMax == 0 {
		c.ConnectionsMax = 10_000
	}
	return c
}
