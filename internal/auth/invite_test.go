package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/agentik-os/panda/schemas"
)

const (
	inviteTenant = "ten_abcdefghijkl"
	inviteID1    = "inv_mnopqrstuvwx"
)

func invitations(now *time.Time) Invitations {
	return Invitations{Key: bytes.Repeat([]byte{7}, 32), Now: func() time.Time { return *now }}
}

func TestInvitation(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	i := invitations(&now)
	token := i.NewToken(inviteTenant, inviteID1, now.Add(time.Hour))
	tenantID, id, err := i.ReadToken(token)
	if err != nil || tenantID != inviteTenant || id != inviteID1 {
		t.Errorf("%q, %q, %v", tenantID, id, err)
	}
	// The form is what is in mailboxes; it does not change by accident.
	const want = "AQAAAABlU_8QaW52X21ub3BxcnN0dXZ3eAB0ZW5fYWJjZGVmZ2hpamts." // and the sum
	if !strings.HasPrefix(token, want) || len(token) != len(want)+43 {
		t.Errorf("the token is %s", token)
	}
	for d, want := range map[time.Duration]error{time.Hour - time.Second: nil, time.Hour: ErrInvitationExpired, 1000 * time.Hour: ErrInvitationExpired} {
		now = time.Unix(1_700_000_000, 0).Add(d)
		if _, _, err := i.ReadToken(token); err != want {
			t.Errorf("after %s: %v, want %v", d, err, want)
		}
	}
}

func TestForgedInvitation(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	i := invitations(&now)
	good := i.NewToken(inviteTenant, inviteID1, now.Add(time.Hour))
	head, tail, _ := strings.Cut(good, ".")
	other := i.NewToken("ten_another12345", inviteID1, now.Add(time.Hour))
	longer := i.NewToken(inviteTenant, inviteID1, now.Add(1000*time.Hour))
	payload, _ := base64.RawURLEncoding.DecodeString(head)
	encode := base64.RawURLEncoding.EncodeToString
	// Signed by us, and not a payload of ours.
	signed := func(payload []byte) string { return encode(payload) + "." + encode(i.sum(payload)) }
	stranger := invitations(&now)
	stranger.Key = bytes.Repeat([]byte{8}, 32)
	for name, row := range map[string]struct {
		token string
		want  error
	}{
		"another tenant":       {other[:strings.Index(other, ".")] + "." + tail, ErrInvitationForged},
		"a longer life":        {longer[:strings.Index(longer, ".")] + "." + tail, ErrInvitationForged},
		"another key":          {stranger.NewToken(inviteTenant, inviteID1, now.Add(time.Hour)), ErrInvitationForged},
		"expired and forged":   {stranger.NewToken(inviteTenant, inviteID1, now.Add(-time.Hour)), ErrInvitationForged},
		"no sum":               {head + ".", ErrInvitationMalformed},
		"half a sum":           {head + "." + tail[:20], ErrInvitationMalformed},
		"no payload":           {"." + tail, ErrInvitationMalformed},
		"no dot":               {head + tail, ErrInvitationMalformed},
		"two dots":             {good + "." + tail, ErrInvitationMalformed},
		"empty":                {"", ErrInvitationMalformed},
		"space":                {good + " ", ErrInvitationMalformed},
		"line break":           {good[:10] + "\n" + good[10:], ErrInvitationMalformed},
		"padded":               {good + "=", ErrInvitationMalformed},
		"other spelling":       {good[:len(good)-1] + string(good[len(good)-1]+1), ErrInvitationMalformed},
		"huge":                 {good + strings.Repeat("A", 1<<20), ErrInvitationMalformed},
		"another version":      {signed(append([]byte{2}, payload[1:]...)), ErrInvitationMalformed},
		"signed without ids":   {signed(payload[:inviteHead]), ErrInvitationMalformed},
		"signed with one id":   {signed(append(payload[:inviteHead:inviteHead], "inv_a\x00"...)), ErrInvitationMalformed},
		"signed with three":    {signed(append(bytes.Clone(payload), "\x00ten_c"...)), ErrInvitationMalformed},
		"without the domain":   {withoutDomain(i, payload), ErrInvitationForged},
		"a key of the product": {"panda_abcdefgh_" + strings.Repeat("A", 49), ErrInvitationMalformed},
	} {
		tenantID, id, err := i.ReadToken(row.token)
		if err != row.want || tenantID != "" || id != "" {
			t.Errorf("%s: %q, %q, %v, want %v", name, tenantID, id, err, row.want)
		}
		if !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %v is not the caller's fault", name, err)
		}
	}
	// Any bit that is flipped is noticed.
	for at := range payload {
		changed := bytes.Clone(payload)
		changed[at] ^= 1
		if _, _, err := i.ReadToken(encode(changed) + "." + tail); err == nil {
			t.Errorf("byte %d was changed and the token works", at)
		}
	}
}

// withoutDomain is a sum over the payload alone, as another use of the key might
// make it.
func withoutDomain(i Invitations, payload []byte) string {
	mac := hmac.New(sha256.New, i.Key)
	mac.Write(payload)
	return base64.RawURLEncoding.EncodeToString(payload) + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestInvitationsNeedAKey(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("tokens are made with an empty key")
		}
	}()
	Invitations{}.NewToken(inviteTenant, inviteID1, time.Now())
}

func FuzzReadInvitation(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	i := invitations(&now)
	good := i.NewToken(inviteTenant, inviteID1, now.Add(time.Hour))
	f.Add(good)
	f.Add(i.NewToken(inviteTenant, inviteID1, now.Add(-time.Hour)))
	f.Add("." + good)
	f.Add("AQ.AQ")
	f.Fuzz(func(t *testing.T, token string) {
		tenantID, id, err := i.ReadToken(token)
		if (err == nil) != (tenantID != "" && id != "") {
			t.Fatalf("%q, %q, %v", tenantID, id, err)
		}
		if err == nil && token != good {
			t.Fatalf("nobody has made %q, and it is %s of %s", token, id, tenantID)
		}
	})
}
