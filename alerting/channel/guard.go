package channel

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// The limits of a call.
const (
	// callMax bounds a call from the lookup of the name to the end of the answer.
	callMax = 10 * time.Second
	// answerBytesMax bounds what is read of an answer: its first words tell why.
	answerBytesMax = 64 << 10
)

// GuardConfig says where outgoing connections may lead.
type GuardConfig struct {
	// Allow are networks that may be reached though they are private, such as
	// 10.1.0.0/16 for a mail server or an Alertmanager in the same network.
	Allow []netip.Prefix
	// Insecure allows http:// for addresses in Allow.
	Insecure bool
	// Resolver answers for names; nil is the system's.
	Resolver *net.Resolver
	// Roots are the certificate authorities that are trusted; nil for the system's.
	Roots *x509.CertPool
	// Timeout bounds a call. Default 10 seconds.
	Timeout time.Duration
}

// A Guard opens outgoing connections. It is safe for concurrent use.
type Guard struct {
	cfg    GuardConfig
	client *http.Client
}

// NewGuard returns a Guard.
func NewGuard(cfg GuardConfig) *Guard {
	if cfg.Timeout == 0 {
		cfg.Timeout = callMax
	}
	g := &Guard{cfg: cfg}
	g.client = &http.Client{
		Timeout: cfg.Timeout,
		// What answers with a redirect wants the message to go where nobody looked.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:       nil,
			DialContext: g.Dial,
			// One message every now and then: a connection that is kept is one more that
			// was looked at long ago.
			DisableKeepAlives:      true,
			TLSHandshakeTimeout:    cfg.Timeout,
			TLSClientConfig:        &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: answerBytesMax,
		},
	}
	return g
}

// Dial connects to host:port. The address that it really connects to is looked at; an
// error for one that is not allowed matches [ErrNotAllowed].
func (g *Guard) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	plain := ctx.Value(plainly{}) != nil
	d := net.Dialer{Timeout: g.cfg.Timeout, Resolver: g.cfg.Resolver, Control: func(_, resolved string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return fmt.Errorf("%w: %q is no address", ErrNotAllowed, resolved)
		}
		if plain && !g.named(at.Addr()) {
			return fmt.Errorf("%w: %q is not in a network of alert-allow, and http is for those alone", ErrNotAllowed, hostOf(address))
		}
		if !g.allowed(at.Addr()) {
			// The address is not said: who asks could map the network with it.
			return fmt.Errorf("%w: %q leads into a private network", ErrNotAllowed, hostOf(address))
		}
		return nil
	}}
	return d.DialContext(ctx, network, address)
}

// ErrNotAllowed: an address leads where outgoing connections must not.
var ErrNotAllowed = errors.New("not allowed")

// internal are the networks that are not the public internet, beside those that package
// netip knows by itself. Source: the IANA registries of special-purpose addresses.
var internal = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10", "::/96",
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// plainly marks the context of a call without TLS.
type plainly struct{}

// allowed reports whether an address may be connected to.
func (g *Guard) allowed(a netip.Addr) bool {
	return g.named(a) || public(a.Unmap().WithZone(""))
}

// named reports whether an address is in a network that Allow names.
func (g *Guard) named(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(g.cfg.Allow, func(p netip.Prefix) bool { return p.Contains(a) })
}

// public reports whether an address is one of the public internet, and not one in
// another form behind which a private one hides.
func public(a netip.Addr) bool {
	if !a.IsValid() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || a.IsInterfaceLocalMulticast() {
		return false
	}
	for _, p := range internal {
		if p.Contains(a) {
			return false
		}
	}
	if inside, ok := embedded(a); ok {
		return public(inside)
	}
	return true
}

// embedded returns the IPv4 address that an IPv6 address stands for: 6to4 (RFC 3056)
// and NAT64 (RFC 6052, RFC 8215).
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	switch {
	case b[0] == 0x20 && b[1] == 0x02:
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case b[0] == 0 && b[1] == 0x64 && b[2] == 0xff && b[3] == 0x9b:
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return netip.Addr{}, false
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// CheckURL looks at an address before it is kept: what can be seen to be wrong without a
// connection is told at once. Errors match schemas.ErrInvalid and name the pointer.
func (g *Guard) CheckURL(pointer, text string) error {
	const urlBytesMax = 2048
	u, err := url.Parse(text)
	switch {
	case text == "":
		return schemas.Invalid(pointer, schemas.CodeMissing, "an address such as https://hooks.your-domain.com/panda")
	case err != nil || u.Hostname() == "" || len(text) > urlBytesMax:
		return schemas.Invalid(pointer, schemas.CodeMalformed, "not an address such as https://hooks.your-domain.com/panda")
	case u.User != nil:
		return schemas.Invalid(pointer, schemas.CodeNotAllowed, "an address with a user or a password in it is kept and shown; put a secret into the path, or check the signature")
	case u.Scheme != "https" && (u.Scheme != "http" || !g.cfg.Insecure):
		return schemas.Invalid(pointer, schemas.CodeNotAllowed, "%q is not https", u.Scheme)
	case u.Fragment != "":
		return schemas.Invalid(pointer, schemas.CodeNotAllowed, "the part after # never reaches a server; leave it out")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if a, err := netip.ParseAddr(host); err == nil && !g.allowed(a) || err != nil && (host == "localhost" || strings.HasSuffix(host, ".localhost")) && !g.allowed(netip.AddrFrom4([4]byte{127, 0, 0, 1})) {
		return schemas.Invalid(pointer, schemas.CodeNotAllowed, "%q leads into a private network; whoever runs the server can allow it with alert-allow", host)
	} else if err == nil && u.Scheme == "http" && !g.named(a) {
		return schemas.Invalid(pointer, schemas.CodeNotAllowed, "http is for the networks of alert-allow alone, and %q is in none", host)
	}
	return nil
}

// post sends a body and judges the answer.
func (g *Guard) post(ctx context.Context, address string, header http.Header, body []byte) error {
	if strings.HasPrefix(strings.ToLower(address), "http:") {
		ctx = context.WithValue(ctx, plainly{}, true)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return &Error{What: "address", Cause: errors.New("it cannot be read"), permanent: true}
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "Panda")
	if req.URL.Scheme == "http" && !g.cfg.Insecure {
		return &Error{What: "address", Cause: errors.New("it is not https"), permanent: true}
	}
	res, err := g.client.Do(req)
	if err != nil {
		return callError(err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(res.Body, answerBytesMax)) // for people; half of it is enough
	return judge(res, answer)
}
