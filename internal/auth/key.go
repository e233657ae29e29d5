package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/agentik-os/panda/internal/tenancy"
)

// Secret is text that must not be seen: every way of printing or encoding it
// gives a fixed word instead. Reveal is the one way to the text.
type Secret string

const redacted = "[redacted]"

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string   { return redacted }
func (s Secret) GoString() string { return redacted }

// Format covers every verb of package fmt, wrong ones too.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText covers JSON, YAML, flags and logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes the text, so that a Secret can be configured.
func (s *Secret) UnmarshalText(text []byte) error { *s = Secret(text); return nil }

// The form of a key: keyPrefix, id, "_", secret, checksum.
const (
	keyPrefix   = "panda_"
	secretBytes = 32
	secretChars = 43 // 256 bits in base64url
	sumChars    = 6  // 32 bits in base62
	idEnd       = len(keyPrefix) + tenancy.KeyIDChars
	secretStart = idEnd + 1
	sumStart    = secretStart + secretChars
	keyChars    = sumStart + sumChars
)

// base62 is the alphabet of checksums, most significant digit first.
const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// checksum is the CRC-32 (IEEE) of a key up to its checksum.
func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	var out [sumChars]byte
	for i := sumChars - 1; i >= 0; i-- {
		out[i] = base62[sum%62]
		sum /= 62
	}
	return string(out[:])
}

// NewSecret makes a key that nobody knows yet, and its id.
func NewSecret() (secret Secret, id string) {
	var random [secretBytes]byte
	_, _ = rand.Read(random[:]) // never fails: it ends the process instead
	id = tenancy.NewID(tenancy.KeyIDChars)
	body := keyPrefix + id + "_" + base64.RawURLEncoding.EncodeToString(random[:])
	return Secret(body + checksum(body)), id
}

// errMalformed: the text is no key. It says nothing more, because it is about a
// secret.
var errMalformed = errors.New("not a key of the form panda_<id>_<secret>, or it was cut off or mistyped")

// ParseKey checks the form and checksum of a key and returns its id. It looks
// nothing up.
func ParseKey(text string) (id string, err error) {
	if len(text) != keyChars || !strings.HasPrefix(text, keyPrefix) || text[idEnd] != '_' {
		return "", errMalformed
	}
	if text[sumStart:] != checksum(text[:sumStart]) {
		return "", errMalformed
	}
	if _, err := base64.RawURLEncoding.DecodeString(text[secretStart:sumStart]); err != nil {
		return "", errMalformed
	}
	if id = text[len(keyPrefix):idEnd]; !tenancy.ValidKeyID(id) {
		return "", errMalformed
	}
	return id, nil
}

// HashOf is what is stored of a key: SHA-256 over the whole text.
func HashOf(secret Secret) [32]byte { return sha256.Sum256([]byte(secret)) }
