package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// Invitations makes and reads the tokens of invitations, which are sent to who is
// invited. A token reads
//
//	base64url(payload) "." base64url(HMAC-SHA256(key, domain payload))
//
// and its payload is a version byte, the time it ends in seconds since 1970 (8
// bytes, big endian), the id of the invitation, a zero byte, and the id of the tenant.
// The token says which invitation it is for; whether that is still open is for the
// registry to say. Nodes that serve the same people share the key, and another key
// ends every invitation that is under way.
type Invitations struct {
	// Key is at least 32 random bytes.
	Key []byte
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// The ways in which a token of an invitation does not work. They match
// schemas.ErrInvalid.
var (
	ErrInvitationMalformed = schemas.Invalid("/token", schemas.CodeMalformed,
		"this is not the token of an invitation; copy the whole link or token from the message")
	ErrInvitationForged = schemas.Invalid("/token", schemas.CodeUnknown,
		"this token was not made here, or was changed; ask for a new invitation")
	ErrInvitationExpired = schemas.Invalid("/token", schemas.CodeTooLate,
		"this invitation has expired; ask for a new one")
)

const (
	inviteVersion  = 1
	inviteIDMax    = 64    // ids are 16 characters
	inviteHead     = 1 + 8 // version and time
	invitePayload  = inviteHead + 2*inviteIDMax + 1
	inviteCharsMax = (invitePayload+sha256.Size)*4/3 + 8
	// inviteDomain keeps these sums apart from others that are made with the key.
	inviteDomain = "panda invitation token\x00"
)

// NewToken returns the token of an invitation that works until expires, to the
// second.
func (i Invitations) NewToken(tenantID, invitationID string, expires time.Time) string {
	if !inviteID(tenantID) || !inviteID(invitationID) || expires.Unix() < 0 {
		panic("auth: an invitation needs the ids of its tenant and itself, and a time after 1970")
	}
	payload := binary.BigEndian.AppendUint64([]byte{inviteVersion}, uint64(expires.Unix()))
	payload = append(append(append(payload, invitationID...), 0), tenantID...)
	return base64.RawURLEncoding.EncodeToString(payload) + "." + base64.RawURLEncoding.EncodeToString(i.sum(payload))
}

// ReadToken returns which invitation a token is for.
//
// Errors: ErrInvitationMalformed, ErrInvitationForged, ErrInvitationExpired; that one
// only for a token that was made here.
func (i Invitations) ReadToken(token string) (tenantID, invitationID string, err error) {
	head, tail, ok := strings.Cut(token, ".")
	if len(token) > inviteCharsMax || !ok {
		return "", "", ErrInvitationMalformed
	}
	payload, err := decodeStrict(head)
	if err != nil {
		return "", "", ErrInvitationMalformed
	}
	sum, err := decodeStrict(tail)
	if err != nil || len(sum) != sha256.Size || len(payload) < inviteHead || payload[0] != inviteVersion {
		return "", "", ErrInvitationMalformed
	}
	// Nothing in the payload is looked at before this.
	if !hmac.Equal(sum, i.sum(payload)) {
		return "", "", ErrInvitationForged
	}
	invitation, tenant, ok := bytes.Cut(payload[inviteHead:], []byte{0})
	if !ok || !inviteID(string(invitation)) || !inviteID(string(tenant)) {
		return "", "", ErrInvitationMalformed
	}
	now := time.Now
	if i.Now != nil {
		now = i.Now
	}
	if expires := time.Unix(int64(binary.BigEndian.Uint64(payload[1:inviteHead])), 0); !now().Before(expires) {
		return "", "", ErrInvitationExpired
	}
	return string(tenant), string(invitation), nil
}

func (i Invitations) sum(payload []byte) []byte {
	if len(i.Key) < 32 {
		panic("auth: invitations need a key of 32 bytes or more")
	}
	mac := hmac.New(sha256.New, i.Key)
	mac.Write([]byte(inviteDomain))
	mac.Write(payload)
	return mac.Sum(nil)
}

// inviteID reports whether an id fits a token.
func inviteID(id string) bool {
	return id != "" && len(id) <= inviteIDMax && !strings.Contains(id, "\x00")
}

// decodeStrict reads base64url that is spelt in the one way that NewToken does, so
// that one token is one text.
func decodeStrict(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, ErrInvitationMalformed
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}
