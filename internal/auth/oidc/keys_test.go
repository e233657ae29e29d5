package oidc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/auth/oidc/oidctest"
)

// steps is a clock that a test moves.
type steps struct {
	mu  sync.Mutex
	now time.Time
}

func (s *steps) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *steps) add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// answer is a handler with one answer.
func answer(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

func setOf(t testing.TB, list ...any) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func published(k *oidctest.Key) jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: string(k.Algorithm), Use: "sig"}
}

// Whatever becomes of the endpoint, the keys known before work and no other does,
// and not for ever.
func TestBrokenEndpoint(t *testing.T) {
	a := newArena(t)
	good := func() string { return a.key.Sign(t, a.key.Header(), valid(a.Provider, a.now)) }
	attackerSet := setOf(t, published(a.attacker))
	elsewhere := oidctest.Start(t) // of the attacker, with keys of its own
	elsewhere.Rotate(a.attacker)
	onKeys := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/keys") {
				h.ServeHTTP(w, r)
				return
			}
			a.ServeHTTP(w, r)
		})
	}
	private := published(a.attacker)
	private.Key = a.attacker.Private
	discovery := func(issuer, jwks string) http.Handler {
		return answer(200, `{"issuer":"`+issuer+`","jwks_uri":"`+jwks+`"}`)
	}
	for name, broken := range map[string]http.Handler{
		"down":                        answer(503, ""),
		"keys down":                   onKeys(answer(500, attackerSet)),
		"keys gone":                   onKeys(answer(404, "")),
		"no content":                  onKeys(answer(204, "")),
		"a page":                      answer(200, "<html>sign in to the hotel's network</html>"),
		"keys are a page":             onKeys(answer(200, "<html>")),
		"no keys":                     onKeys(answer(200, `{"keys":[]}`)),
		"keys of another kind":        onKeys(answer(200, `{"keys":{}}`)),
		"keys twice":                  onKeys(answer(200, `{"keys":[],"keys":[]}`)),
		"private keys":                onKeys(answer(200, setOf(t, private))),
		"symmetric keys":              onKeys(answer(200, setOf(t, jose.JSONWebKey{Key: []byte("secret"), KeyID: a.attacker.ID, Algorithm: "HS256"}))),
		"keys for encryption":         onKeys(answer(200, setOf(t, jose.JSONWebKey{Key: a.attacker.Private.Public(), KeyID: a.attacker.ID, Use: "enc"}))),
		"huge keys":                   onKeys(answer(200, strings.Repeat(" ", 300<<10)+attackerSet)),
		"huge after the keys":         onKeys(answer(200, attackerSet+strings.Repeat(" ", 300<<10))),
		"more keys than anybody has":  onKeys(answer(200, setOf(t, slicesOf(published(a.attacker), 101)...))),
		"huge discovery document":     answer(200, strings.Repeat(" ", 300<<10)+"{}"),
		"sent elsewhere":              onKeys(http.RedirectHandler(elsewhere.JWKSURL(), http.StatusFound)),
		"all sent elsewhere":          http.RedirectHandler(elsewhere.URL+"/.well-known/openid-configuration", http.StatusTemporaryRedirect),
		"another's document":          elsewhere,
		"document names no issuer":    discovery("", elsewhere.JWKSURL()),
		"document names a prefix":     discovery(a.URL+"/", elsewhere.JWKSURL()),
		"keys in a file":              discovery(a.URL, "file:///etc/passwd"),
		"keys in the clear elsewhere": discovery(a.URL, "http://192.0.2.1/keys"),
		"keys nowhere":                discovery(a.URL, ""),
		"never answers":               http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
	} {
		t.Run(name, func(t *testing.T) {
			clock := &steps{now: a.now}
			cfg := configOf(a.Provider)
			cfg.Now = clock.Now
			v := newVerifier(t, cfg)
			patience := v.cfg.FetchTimeout
			breakIt := func() {
				a.StandInFront(broken)
				if name == "never answers" {
					v.cfg.FetchTimeout = 20 * time.Millisecond // nobody reads at the moment
				}
			}
			breakIt()
			defer a.StandInFront(nil)
			if _, err := v.Verify(t.Context(), good()); codeOf(t, err) != "unavailable" {
				t.Errorf("before any key is known: %v", err)
			}
			a.StandInFront(nil)
			v.cfg.FetchTimeout = patience
			clock.add(v.cfg.RetryEvery)
			if _, err := v.Verify(t.Context(), good()); err != nil {
				t.Fatalf("when it is well: %v", err)
			}
			breakIt()
			clock.add(v.cfg.RetryEvery)
			forged := a.attacker.Sign(t, a.attacker.Header(), valid(a.Provider, a.now))
			if _, err := v.Verify(t.Context(), forged); codeOf(t, err) != CodeKey {
				t.Errorf("a key of the attacker's: %v", err)
			}
			if _, err := v.Verify(t.Context(), good()); err != nil {
				t.Errorf("a known key: %v", err)
			}
			clock.add(v.cfg.KeysAgeMax)
			late := a.key.Sign(t, a.key.Header(), valid(a.Provider, clock.Now()))
			if _, err := v.Verify(t.Context(), late); codeOf(t, err) != "unavailable" {
				t.Errorf("a key that is too old: %v", err)
			}
		})
	}
	if elsewhere.KeysRead() != 0 {
		t.Error("a redirect was followed")
	}
}

// everywhere answers for every host: discovery documents that name jwks, and keys.
type everywhere struct{ issuer, jwks, keys string }

func (e everywhere) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
		answer(200, `{"issuer":"`+e.issuer+`","jwks_uri":"`+e.jwks+`"}`).ServeHTTP(w, r)
	} else {
		answer(200, e.keys).ServeHTTP(w, r)
	}
	return w.Result(), nil
}

// Keys are read over TLS, or from this machine for an issuer that is there too,
// whatever the discovery document says.
func TestWhereKeysMayBe(t *testing.T) {
	k := oidctest.NewKey(t, jose.ES256)
	for _, row := range []struct{ issuer, jwks, code string }{
		{"https://login.example", "https://keys.example/keys", ""},
		{"http://127.0.0.1:1/realm", "http://localhost:2/keys", ""},
		{"http://127.0.0.1:1", "https://keys.example/keys", ""},
		{"https://login.example", "http://login.example/keys", "unavailable"},
		{"https://login.example", "http://127.0.0.1/keys", "unavailable"},
		{"https://login.example", "ftp://login.example/keys", "unavailable"},
		{"https://login.example", "https://user:password@login.example/keys", "unavailable"},
		{"https://login.example", "/keys", "unavailable"},
		{"http://127.0.0.1:1", "http://192.0.2.1/keys", "unavailable"},
	} {
		v := newVerifier(t, Config{Transport: everywhere{row.issuer, row.jwks, setOf(t, published(k))},
			Issuers: []Issuer{{URL: row.issuer, Audiences: []string{oidctest.ClientID}}}})
		claims := with(valid(&oidctest.Provider{URL: row.issuer}, time.Now()), "azp", nil)
		if _, err := v.Verify(t.Context(), k.Sign(t, k.Header(), claims)); codeOf(t, err) != row.code {
			t.Errorf("%s with keys at %s: %v, want %q", row.issuer, row.jwks, err, row.code)
		}
	}
}

func slicesOf(one any, n int) (list []any) {
	for range n {
		list = append(list, one)
	}
	return list
}

// A set may hold keys that are not for us; those that are work.
func TestMixedKeys(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := []*oidctest.Key{oidctest.NewKey(t, jose.RS256), oidctest.NewKey(t, jose.ES256), oidctest.NewKey(t, jose.EdDSA)}
	good[1].ID = good[0].ID // one id, two keys
	ed25519 := published(good[2])
	ed25519.Algorithm = "Ed25519"
	body := setOf(t, published(good[0]), published(good[1]), ed25519,
		jose.JSONWebKey{Key: &short.PublicKey, KeyID: "short"},
		jose.JSONWebKey{Key: curve.Public(), KeyID: "P-384"},
		jose.JSONWebKey{Key: good[0].Private.Public(), KeyID: "PS", Algorithm: "PS256"},
		jose.JSONWebKey{Key: good[0].Private.Public()},
		map[string]any{"kty": "AKP", "kid": "ML-DSA", "alg": "ML-DSA-44", "pub": "AAAA"},
		map[string]any{"kty": "RSA", "kid": "broken", "n": "AQAB", "e": ""},
		"text", nil, 7)
	byID, err := parseKeys([]byte(body), 100)
	if err != nil || len(byID) != 2 || len(byID[good[0].ID]) != 2 || len(byID[good[2].ID]) != 1 {
		t.Errorf("%d ids: %v", len(byID), err)
	}
	for id, alg := range map[string]string{good[0].ID: "RS256 ES256", good[2].ID: "EdDSA"} {
		for _, k := range byID[id] {
			if !strings.Contains(alg, string(k.algorithm)) {
				t.Errorf("%s is for %s", id, k.algorithm)
			}
		}
	}
}

// The issuer has a new key: its tokens work once the keys may be read again. The
// old key is withdrawn: its tokens stop.
func TestRotation(t *testing.T) {
	a := newArena(t)
	clock := &steps{now: a.now}
	cfg := configOf(a.Provider)
	cfg.Now = clock.Now
	v := newVerifier(t, cfg)
	verify := func(k *oidctest.Key) string {
		t.Helper()
		_, err := v.Verify(t.Context(), k.Sign(t, k.Header(), valid(a.Provider, a.now)))
		return codeOf(t, err)
	}
	if code := verify(a.key); code != "" {
		t.Fatal(code)
	}
	second := oidctest.NewKey(t, jose.ES256)
	a.Rotate(second, a.key)
	if code := verify(second); code != CodeKey {
		t.Errorf("at once: %q", code)
	}
	clock.add(v.cfg.RetryEvery)
	if first, new := verify(a.key), verify(second); first != "" || new != "" {
		t.Errorf("both keys are published: %q, %q", first, new)
	}
	a.Rotate(second)
	clock.add(v.cfg.RetryEvery)
	if code := verify(oidctest.NewKey(t, jose.EdDSA)); code != CodeKey {
		t.Errorf("a stranger's key: %q", code)
	}
	if first, new := verify(a.key), verify(second); first != CodeKey || new != "" {
		t.Errorf("the first key is withdrawn: %q, %q", first, new)
	}
}

// A flood of tokens with made-up keys reaches the issuer as one request per
// RetryEvery, and holds up nobody whose key is known.
func TestFloodOfUnknownKeys(t *testing.T) {
	a := newArena(t)
	clock := &steps{now: a.now}
	cfg := configOf(a.Provider)
	cfg.Now, cfg.FetchTimeout = clock.Now, time.Minute
	v := newVerifier(t, cfg)
	good := a.key.Sign(t, a.key.Header(), valid(a.Provider, a.now))
	if _, err := v.Verify(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	clock.add(v.cfg.RetryEvery)
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	a.StandInFront(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		a.ServeHTTP(w, r)
	}))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			k := *a.attacker
			k.ID = rand.Text()
			if _, err := v.Verify(t.Context(), k.Sign(t, k.Header(), valid(a.Provider, a.now))); codeOf(t, err) != CodeKey {
				t.Errorf("made up: %v", err)
			}
		})
	}
	<-arrived
	if _, err := v.Verify(t.Context(), good); err != nil {
		t.Errorf("a known key while others wait: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	other := *a.attacker
	if _, err := v.Verify(gone, other.Sign(t, other.Header(), valid(a.Provider, a.now))); codeOf(t, err) != "unavailable" {
		t.Errorf("who does not wait: %v", err)
	}
	close(release)
	wg.Wait()
	if n := a.KeysRead(); n != 2 {
		t.Errorf("the keys were read %d times, want once more than before the flood", n)
	}
}

// Run reads the keys without being asked, so a withdrawn key dies even where
// nobody comes with a new one; and it tells the log about an outage once.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := oidctest.InProcess(t)
		var lines bytes.Buffer
		cfg := configOf(p)
		cfg.Logger = zerolog.New(&lines)
		v := newVerifier(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- v.Run(ctx) }()
		synctest.Wait()
		old := p.Signing()
		verify := func() string {
			_, err := v.Verify(t.Context(), old.Sign(t, old.Header(), valid(p, time.Now())))
			return codeOf(t, err)
		}
		if code := verify(); code != "" || p.KeysRead() != 1 {
			t.Errorf("after the start: %q, read %d times", code, p.KeysRead())
		}
		p.StandInFront(answer(503, ""))
		time.Sleep(time.Hour)
		if code := verify(); code != "" {
			t.Errorf("after an hour's outage: %q", code)
		}
		synctest.Wait()
		if n := strings.Count(lines.String(), "\n"); n != 1 {
			t.Errorf("%d log lines for one outage:\n%s", n, lines.String())
		}
		p.StandInFront(nil)
		p.Rotate(oidctest.NewKey(t, jose.RS256))
		time.Sleep(v.cfg.RetryEvery)
		synctest.Wait()
		if code := verify(); code != CodeKey {
			t.Errorf("withdrawn: %q", code)
		}
		if n := strings.Count(lines.String(), "\n"); n != 2 {
			t.Errorf("%d log lines after the outage:\n%s", n, lines.String())
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}
