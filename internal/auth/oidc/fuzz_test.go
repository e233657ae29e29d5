package oidc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentik-os/panda/internal/auth/oidc/oidctest"
)

// Whatever text comes, it is refused unless it is, but for the signature, exactly a
// text that a published key has signed.
//
// The keys and the time are always the same, because the processes that try texts
// must accept what the process that made them has signed.
func FuzzVerify(f *testing.F) {
	seed := bytes.Repeat([]byte{7}, 32)
	curve, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed)
	if err != nil {
		f.Fatal(err)
	}
	ed := &oidctest.Key{ID: "ed", Algorithm: jose.EdDSA, Private: ed25519.NewKeyFromSeed(seed)}
	es := &oidctest.Key{ID: "es", Algorithm: jose.ES256, Private: curve}
	p := oidctest.InProcess(f)
	p.Rotate(ed, es)
	a := arena{Provider: p, key: ed, attacker: oidctest.NewKey(f, jose.RS256), now: time.Unix(1_800_000_000, 0)}
	cfg := configOf(p)
	cfg.Now = func() time.Time { return a.now }
	v := newVerifier(f, cfg)
	input := func(token string) string { return token[:max(0, strings.LastIndexByte(token, '.'))] }
	signed := map[string]bool{}
	for _, k := range []*oidctest.Key{ed, es} {
		token := k.Sign(f, k.Header(), valid(p, a.now))
		signed[input(token)] = true
		f.Add(token)
	}
	for _, attempts := range []map[string]attempt{attemptsOnHeader(f, a), attemptsOnClaims(f, a), attemptsOnForm(f, a)} {
		for name, try := range attempts {
			if try.code == "" {
				signed[input(try.token)] = true
			}
			if name != "megabytes of dots" {
				f.Add(try.token)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := v.Verify(t.Context(), text)
		switch code := codeOf(t, err); {
		case code == "unavailable":
			t.Fatal(err)
		case code == "" && !signed[input(text)]:
			t.Fatalf("nobody has signed this, and it is %+v", got)
		case code == "" && got.Subject != "user_ada":
			t.Fatalf("identity %+v", got)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	k := oidctest.NewKey(f, jose.ES256)
	f.Add([]byte(setOf(f, published(k))))
	f.Add([]byte(setOf(f, published(oidctest.NewKey(f, jose.RS256)), published(oidctest.NewKey(f, jose.EdDSA)))))
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		byID, err := parseKeys(body, 10)
		if (err == nil) != (len(byID) > 0) {
			t.Fatalf("%d keys, %v", len(byID), err)
		}
		for id, list := range byID {
			for _, k := range list {
				if id == "" || algorithmOf(k.public) != k.algorithm {
					t.Fatalf("key %q is %T for %s", id, k.public, k.algorithm)
				}
			}
		}
	})
}
