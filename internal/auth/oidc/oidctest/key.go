package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// Key is a key that signs tokens.
type Key struct {
	ID        string
	Algorithm jose.SignatureAlgorithm
	Private   crypto.Signer
}

// NewKey makes a key for RS256, ES256 or EdDSA.
func NewKey(t testing.TB, algorithm jose.SignatureAlgorithm) *Key {
	t.Helper()
	k := &Key{ID: "key-" + rand.Text(), Algorithm: algorithm}
	var err error
	switch algorithm {
	case jose.RS256:
		k.Private, err = rsa.GenerateKey(rand.Reader, 2048)
	case jose.ES256:
		k.Private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, k.Private, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("no keys for %s", algorithm)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Header is the header of a token that the key signs, to be changed at will.
func (k *Key) Header() map[string]any {
	return map[string]any{"alg": string(k.Algorithm), "kid": k.ID, "typ": "JWT"}
}

// Sign returns a token in compact form. Header and payload are texts or become
// JSON, and may be anything: nothing is checked but that the signature is good.
func (k *Key) Sign(t testing.TB, header, payload any) string {
	t.Helper()
	input := encode(t, header) + "." + encode(t, payload)
	hash := sha256.Sum256([]byte(input))
	var signature []byte
	var err error
	switch private := k.Private.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, hash[:])
	case *ecdsa.PrivateKey:
		// RFC 7518, 3.4: the two numbers in 32 bytes each.
		r, s, signErr := ecdsa.Sign(rand.Reader, private, hash[:])
		if err = signErr; err == nil {
			signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case ed25519.PrivateKey:
		signature = ed25519.Sign(private, []byte(input))
	default:
		t.Fatalf("no signatures with a %T", private)
	}
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// SignHMAC returns a token that is signed with HS256 and a secret.
func SignHMAC(t testing.TB, secret []byte, header, payload any) string {
	t.Helper()
	input := encode(t, header) + "." + encode(t, payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func encode(t testing.TB, part any) string {
	t.Helper()
	text, ok := part.(string)
	if !ok {
		raw, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		text = string(raw)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}
