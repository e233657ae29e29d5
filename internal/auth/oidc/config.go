package oidc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/schemas"
)

// Config says whom to believe. The zero value of a limit takes the default.
type Config struct {
	// Issuers are the providers whose tokens are accepted, at least one.
	Issuers []Issuer

	// Leeway is how far the clocks of issuer and node may differ. Default 30
	// seconds, at most 5 minutes: it lengthens the life of every token.
	Leeway time.Duration
	// LifetimeMax bounds the time between a token's iat and exp. Default 24 hours,
	// the longest default among the common providers: a token that lives longer
	// is a password that nobody can change.
	LifetimeMax time.Duration
	// TokenBytesMax bounds a token before anything reads it. Default 8 KiB: the
	// tokens of real providers are under 4 KiB, the limit of a cookie.
	TokenBytesMax int
	// AnswerBytesMax bounds an answer of an issuer, unpacked. Default 256 KiB: a
	// key with its certificate chain takes under 10.
	AnswerBytesMax int64
	// KeysMax bounds the keys of an issuer. Default 100: providers have two or
	// three, Azure's shared endpoint about ten.
	KeysMax int
	// FetchTimeout bounds one reading of discovery document and keys. Default 5
	// seconds: a request with a key that is not known waits for it.
	FetchTimeout time.Duration
	// RefreshEvery is how often Run reads the keys. Default 10 minutes: that is how
	// long a key lives that its issuer has withdrawn.
	RefreshEvery time.Duration
	// RetryEvery is the shortest time between two readings, whatever asks for
	// them. Default 10 seconds.
	RetryEvery time.Duration
	// KeysAgeMax is how long keys work after they were last read. Default 24 hours:
	// it covers an outage of the issuer and bounds the life of a withdrawn key
	// when somebody blocks the endpoint.
	KeysAgeMax time.Duration

	// Transport carries the reading. Default: TLS 1.2 or newer with the system's
	// roots, through the proxy of the environment if there is one.
	Transport http.RoundTripper
	// Now is the clock. Default time.Now.
	Now    func() time.Time
	Logger zerolog.Logger
}

// Issuer is one provider. Audiences or AuthorizedParties must be given, or a token
// that the provider made for any other application would be good here.
type Issuer struct {
	// URL is the claim iss, exactly, such as https://clerk.example.com. It is an
	// https address; http is for loopback alone.
	URL string
	// Audiences are the accepted values of aud; one of a token's audiences must be
	// among them. Without any, a token must have no audience, as Clerk's session
	// tokens have none.
	Audiences []string
	// AuthorizedParties are the accepted values of azp: client ids, or with Clerk
	// the origins of the applications. If there are any, a token must have one.
	AuthorizedParties []string
	// JWKSURL is where the keys are. Default: what the discovery document at
	// URL + "/.well-known/openid-configuration" says.
	JWKSURL string
}

const leewayMax = 5 * time.Minute

// withDefaults returns the configuration with its defaults, or everything that is
// wrong with it.
func (c Config) withDefaults() (Config, error) {
	defaultTo(&c.Leeway, 30*time.Second)
	defaultTo(&c.LifetimeMax, 24*time.Hour)
	defaultTo(&c.TokenBytesMax, 8<<10)
	defaultTo(&c.AnswerBytesMax, 256<<10)
	defaultTo(&c.KeysMax, 100)
	defaultTo(&c.FetchTimeout, 5*time.Second)
	defaultTo(&c.RefreshEvery, 10*time.Minute)
	defaultTo(&c.RetryEvery, 10*time.Second)
	defaultTo(&c.KeysAgeMax, 24*time.Hour)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		c.Transport = transport()
	}
	var errs []error
	refuse := func(pointer, format string, args ...any) {
		errs = append(errs, schemas.Invalid(pointer, schemas.CodeOutOfRange, format, args...))
	}
	if c.Leeway < 0 || c.Leeway > leewayMax {
		refuse("/leeway", "%s; between 0 and %s", c.Leeway, leewayMax)
	}
	if min(c.LifetimeMax, c.FetchTimeout, c.RefreshEvery, c.RetryEvery, c.KeysAgeMax) < 0 ||
		min(int64(c.TokenBytesMax), c.AnswerBytesMax, int64(c.KeysMax)) < 0 {
		refuse("", "a limit is negative; leave it out for the default")
	}
	if c.KeysAgeMax < c.RefreshEvery {
		refuse("/keys_age_max", "%s is shorter than refresh_every, %s; keys would stop working in between", c.KeysAgeMax, c.RefreshEvery)
	}
	if len(c.Issuers) == 0 {
		errs = append(errs, schemas.Invalid("/issuers", schemas.CodeMissing, "name at least one issuer"))
	}
	for i, issuer := range c.Issuers {
		if err := issuer.validate(); err != nil {
			errs = append(errs, fmt.Errorf("issuer %d: %w", i, err))
		}
		if slices.ContainsFunc(c.Issuers[:i], func(o Issuer) bool { return o.URL == issuer.URL }) {
			errs = append(errs, schemas.Invalid("/issuers", schemas.CodeRepeated, "%s is there twice", issuer.URL))
		}
	}
	return c, errors.Join(errs...)
}

func defaultTo[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (i Issuer) validate() error {
	at, err := url.Parse(i.URL)
	if err != nil || !fetchable(at, true) || at.RawQuery != "" || at.Fragment != "" {
		return schemas.Invalid("/url", schemas.CodeMalformed,
			"an issuer is an https address without query and fragment, such as https://login.example.com; http is for loopback alone")
	}
	if len(i.Audiences) == 0 && len(i.AuthorizedParties) == 0 {
		return schemas.Invalid("/audiences", schemas.CodeMissing,
			"give audiences or authorized_parties, or tokens for every application of %s would be good here", i.URL)
	}
	if slices.Contains(i.Audiences, "") || slices.Contains(i.AuthorizedParties, "") {
		return schemas.Invalid("/audiences", schemas.CodeMalformed, "an audience or authorised party is empty; leave it out")
	}
	if i.JWKSURL == "" {
		return nil
	}
	if keys, err := url.Parse(i.JWKSURL); err != nil || !fetchable(keys, at.Scheme == "http") {
		return schemas.Invalid("/jwks_url", schemas.CodeMalformed,
			"keys are at an https address; http is for loopback alone, and for an issuer that is there too")
	}
	return nil
}

// fetchable reports whether an address may be read: over TLS, or from this machine
// if plain is allowed.
func fetchable(at *url.URL, plain bool) bool {
	if at.Host == "" || at.User != nil || at.Opaque != "" {
		return false
	}
	return at.Scheme == "https" || at.Scheme == "http" && plain && loopback(at.Hostname())
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// transport is for a few small requests an hour: it keeps no connection, so that
// nothing is left open when the verifier ends.
func transport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives = true
	t.MaxResponseHeaderBytes = 64 << 10
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	return t
}
