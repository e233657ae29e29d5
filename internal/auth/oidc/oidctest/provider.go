package oidctest

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/text/language"
)

// ClientID is the application whose tokens the provider makes: their aud and azp.
const ClientID = "panda-dashboard"

const (
	redirectURI = "http://localhost/auth/callback"
	password    = "correct horse battery staple" // of every user
)

// User is somebody who can sign in.
type User struct {
	Subject       string
	Email         string
	EmailVerified bool
	// Claims are further claims of the user's tokens, such as "o" or "org_id".
	Claims map[string]any
}

// Provider is a running OpenID Connect provider. It is safe for concurrent use.
type Provider struct {
	// URL is the issuer.
	URL string
	// Transport reaches the provider and keeps no connection.
	Transport http.RoundTripper

	handler  http.Handler
	inFront  atomic.Pointer[http.Handler]
	keysRead atomic.Int64

	mu        sync.Mutex // guards what follows
	users     map[string]User
	signing   *Key
	published []*Key
}

// Start starts a provider with an RS256 key on a loopback port. It ends with the
// test.
func Start(t testing.TB) *Provider {
	t.Helper()
	return start(t, (*httptest.Server).Start)
}

// StartTLS is Start with https and a certificate that only Transport trusts.
func StartTLS(t testing.TB) *Provider {
	t.Helper()
	return start(t, (*httptest.Server).StartTLS)
}

func start(t testing.TB, serve func(*httptest.Server)) *Provider {
	t.Helper()
	p := &Provider{users: map[string]User{}}
	p.Rotate(NewKey(t, jose.RS256))
	server := httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.build(t, func() string {
		serve(server)
		t.Cleanup(server.Close)
		return server.URL
	})
	transport := server.Client().Transport.(*http.Transport)
	transport.DisableKeepAlives = true
	p.Transport = transport
	return p
}

// InProcess makes a provider without a port, for a test with a clock of its own:
// Transport calls it directly.
func InProcess(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{users: map[string]User{}}
	p.Rotate(NewKey(t, jose.RS256))
	p.build(t, func() string { return "http://localhost" })
	p.Transport = direct{http.HandlerFunc(p.serve)}
	return p
}

type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}

// build makes the provider's handler; begin starts to serve and returns the issuer.
func (p *Provider) build(t testing.TB, begin func() string) {
	t.Helper()
	p.URL = begin()
	store := &store{p: p, Storage: storage.NewStorageWithClients(people{p}, map[string]*storage.Client{
		ClientID: storage.NativeClient(ClientID, redirectURI)})}
	provider, err := op.NewProvider(&op.Config{
		CryptoKey: sha256.Sum256([]byte("of codes and refresh tokens")), CodeMethodS256: true,
	}, store, op.StaticIssuer(p.URL), op.WithAllowInsecure())
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	login := op.NewIssuerInterceptor(provider.IssuerFromRequest).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.PostFormValue("id")
		if err := store.CheckUsernamePassword(r.PostFormValue("username"), r.PostFormValue("password"), id); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, op.AuthCallbackURL(provider)(r.Context(), id), http.StatusFound)
	})
	mux.HandleFunc("POST /login/username", login)
	mux.Handle("/", provider)
	p.handler = mux
}

func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/keys") {
		p.keysRead.Add(1)
	}
	if h := p.inFront.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	p.handler.ServeHTTP(w, r)
}

// StandInFront has a handler answer everything from now on; nil takes it away. The
// provider itself is the handler's to call with ServeHTTP.
func (p *Provider) StandInFront(h http.Handler) {
	if h == nil {
		p.inFront.Store(nil)
		return
	}
	p.inFront.Store(&h)
}

// ServeHTTP is the provider behind what stands in front.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// JWKSURL is where the provider's keys are.
func (p *Provider) JWKSURL() string { return p.URL + "/keys" }

// KeysRead is how often somebody asked for the keys.
func (p *Provider) KeysRead() int64 { return p.keysRead.Load() }

// AddUser adds somebody, or replaces the user with that subject.
func (p *Provider) AddUser(u User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[u.Subject] = u
}

// Rotate makes key the one that signs. The keys of before are withdrawn, but for
// those that are kept.
func (p *Provider) Rotate(key *Key, kept ...*Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signing, p.published = key, append([]*Key{key}, kept...)
}

// Signing is the key that signs.
func (p *Provider) Signing() *Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signing
}

func (p *Provider) user(subject string) (User, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u, ok := p.users[subject]
	return u, ok
}

// people are the users as the provider's store wants them.
type people struct{ p *Provider }

func (s people) GetUserByID(id string) *storage.User {
	u, ok := s.p.user(id)
	if !ok {
		return nil
	}
	return &storage.User{ID: u.Subject, Username: u.Subject, Password: password, Email: u.Email,
		EmailVerified: u.EmailVerified, PreferredLanguage: language.English}
}

func (s people) GetUserByUsername(name string) *storage.User { return s.GetUserByID(name) }
func (s people) ExampleClientID() string                     { return "" }

// store is the provider's store with our keys, and with our users' claims.
type store struct {
	*storage.Storage
	p *Provider
}

func (s *store) SigningKey(context.Context) (op.SigningKey, error) {
	return signingKey{s.p.Signing()}, nil
}

func (s *store) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{s.p.Signing().Algorithm}, nil
}

func (s *store) KeySet(context.Context) (list []op.Key, err error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	for _, k := range s.p.published {
		list = append(list, publicKey{k})
	}
	return list, nil
}

// GetClientByClientID returns the client with everything in its tokens.
func (s *store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	return client{c}, err
}

type client struct{ op.Client }

func (client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (client) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeJWT }

// SetUserinfoFromRequest adds the user's claims to an ID token.
func (s *store) SetUserinfoFromRequest(ctx context.Context, info *oidc.UserInfo, token op.IDTokenRequest, scopes []string) error {
	u, _ := s.p.user(token.GetSubject())
	for name, value := range u.Claims {
		info.AppendClaims(name, value)
	}
	return s.Storage.SetUserinfoFromRequest(ctx, info, token, scopes)
}

// GetPrivateClaimsFromScopes adds the user's claims to an access token.
func (s *store) GetPrivateClaimsFromScopes(_ context.Context, subject, _ string, _ []string) (map[string]any, error) {
	u, _ := s.p.user(subject)
	return u.Claims, nil
}

type signingKey struct{ key *Key }

func (k signingKey) ID() string                                  { return k.key.ID }
func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return k.key.Algorithm }
func (k signingKey) Key() any                                    { return k.key.Private }

type publicKey struct{ key *Key }

func (k publicKey) ID() string                         { return k.key.ID }
func (k publicKey) Algorithm() jose.SignatureAlgorithm { return k.key.Algorithm }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return k.key.Private.Public() }

// The provider looks for these by their interfaces.
var (
	_ op.CanSetUserinfoFromRequest = (*store)(nil)
	_ storage.UserStore            = people{}
)
