package contact

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
)

// A Key seals addresses and secrets: AES-256 in Galois counter mode with random nonces
// (NIST SP 800-38D), under a key that HKDF (RFC 5869) makes of the deployment's.
type Key struct{ aead cipher.AEAD }

// NewKey makes a Key of the secret that all nodes of a deployment share. It panics on an
// empty one.
func NewKey(secret []byte) *Key {
	if len(secret) == 0 {
		panic("contact: a key of nothing")
	}
	const keyBytes = 32
	derived, err := hkdf.Key(sha256.New, secret, nil, "panda: secrets of alert channels, 1", keyBytes)
	if err != nil {
		panic("contact: derive key: " + err.Error())
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		panic("contact: make cipher: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("contact: make cipher: " + err.Error())
	}
	return &Key{aead}
}

// ErrSealed: something was sealed with another key, or was changed since.
var ErrSealed = errors.New("its address and secret cannot be read with this deployment's envelope-key; give them again")

// sealed is what is inside.
type sealed struct {
	URL    string `json:"url,omitempty"`
	Secret string `json:"secret,omitempty"`
}

// seal encrypts, bound to a context.
func (k *Key) seal(context, address, secret string) string {
	plain, err := json.Marshal(sealed{address, secret})
	if err != nil {
		panic("contact: text that does not encode: " + err.Error())
	}
	return base64.StdEncoding.EncodeToString(k.aead.Seal(nil, nil, plain, []byte(context)))
}

func (k *Key) open(context, text string) (address, secret string, err error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", "", ErrSealed
	}
	plain, err := k.aead.Open(nil, nil, raw, []byte(context))
	if err != nil {
		return "", "", ErrSealed
	}
	var s sealed
	if err := json.Unmarshal(plain, &s); err != nil {
		return "", "", ErrSealed
	}
	return s.URL, s.Secret, nil
}

// NewWebhookSecret returns a secret to sign webhooks with, in the form of
// https://www.standardwebhooks.com: "whsec_" and the base64 of 32 random bytes.
func NewWebhookSecret() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails: it ends the process instead
	return "whsec_" + base64.StdEncoding.EncodeToString(raw)
}
