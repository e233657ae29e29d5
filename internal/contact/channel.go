package contact

import (
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agentik-os/panda/schemas"
)

// The types of channels.
const (
	Email        = "email"
	Webhook      = "webhook"
	Slack        = "slack"
	PagerDuty    = "pagerduty"
	Alertmanager = "alertmanager"
)

// Types are all of them.
func Types() []string { return []string{Email, Webhook, Slack, PagerDuty, Alertmanager} }

// A Digest says how messages are put together.
type Digest string

// The digests. Messages of a critical alert never wait for one.
const (
	AtOnce Digest = ""
	Hourly Digest = "hourly"
	Daily  Digest = "daily" // at midnight in the zone of the quiet hours, or UTC
)

// A Role is whose e-mail addresses a channel takes from the tenant's own records.
type Role string

// The roles: those of members, and the address that invoices go to.
const (
	Owners  Role = "owner"
	Admins  Role = "admin"
	Members Role = "member"
	Viewers Role = "viewer"
	Billing Role = "billing"
)

func roles() []Role { return []Role{Owners, Admins, Members, Viewers, Billing} }

// A Channel is one way to tell somebody.
type Channel struct {
	// ID is "chn_" and 12 characters of a-z and 2-7.
	ID   string `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
	// To and Roles are of e-mail: addresses, and whose addresses. Either may be empty.
	To    []string `json:"to,omitempty"`
	Roles []Role   `json:"roles,omitempty"`
	// URL is where the others call. Of Slack, whose address is a secret, the host alone.
	URL string `json:"url,omitempty"`
	// HasSecret says that there is one. Sealed is what Key.Open reads.
	HasSecret bool   `json:"has_secret,omitempty"`
	Sealed    string `json:"sealed,omitempty"`
	// Severity is the least that is told here: info, warning or critical; "" is all.
	Severity string `json:"severity,omitempty"`
	// Rules and Limits, if any, are the names of rules ("threshold" for budgets and
	// quotas) and the words of limits that are told here; others are not.
	Rules  []string    `json:"rules,omitempty"`
	Limits []string    `json:"limits,omitempty"`
	Quiet  *QuietHours `json:"quiet_hours,omitempty"`
	Digest Digest      `json:"digest,omitempty"`
	// Disabled: nothing is sent here.
	Disabled  bool      `json:"disabled,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// A Draft is a channel as somebody asks for it: with its address and its secret in the
// clear. In a change of a channel that exists, an empty URL or Secret keeps what is there.
type Draft struct {
	Channel
	// Address is of a webhook, of Slack, of an Alertmanager, or of PagerDuty's events API
	// where it is not the usual one.
	Address string
	Secret  string
}

// Limits of settings: a record of the log holds all of a tenant's.
const (
	ChannelsMax = 50
	// RecipientsMax bounds the addresses of a channel.
	RecipientsMax = 50
	MutesMax      = 500
	nameRunesMax  = 100
	wordBytesMax  = 200
	wordsMax      = 50
	emailBytesMax = 254
)

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// Validate returns every field that is wrong, joined in the order of the fields. Errors
// match schemas.ErrInvalid and name the field by its JSON pointer. What an address or a
// secret must be like is not looked at here.
func (d *Draft) Validate() []error {
	var errs []error
	wrong := func(pointer, code, format string, args ...any) {
		errs = append(errs, schemas.Invalid(pointer, code, format, args...))
	}
	if d.Name == "" || utf8.RuneCountInString(d.Name) > nameRunesMax || !printable(d.Name) {
		wrong("/name", schemas.CodeMalformed, "1 to %d characters of printable text", nameRunesMax)
	}
	if !slices.Contains(Types(), d.Type) {
		wrong("/type", schemas.CodeUnknown, "%q is no type of channel; use %s", d.Type, strings.Join(Types(), ", "))
	}
	if d.Type == Email {
		errs = append(errs, d.validateRecipients()...)
	} else if len(d.To)+len(d.Roles) > 0 {
		wrong("/to", schemas.CodeNotAllowed, "only e-mail has recipients; the others have an address")
	}
	switch d.Severity {
	case "", "info", "warning", "critical":
	default:
		wrong("/severity", schemas.CodeUnknown, "use info, warning or critical")
	}
	for _, list := range []struct {
		pointer string
		words   []string
	}{{"/rules", d.Rules}, {"/limits", d.Limits}} {
		if len(list.words) > wordsMax {
			wrong(list.pointer, schemas.CodeTooMany, "%d of them; at most %d", len(list.words), wordsMax)
		}
		for i, word := range list.words {
			if word == "" || len(word) > wordBytesMax || !printable(word) {
				wrong(fmt.Sprintf("%s/%d", list.pointer, i), schemas.CodeMalformed, "1 to %d bytes of printable text", wordBytesMax)
			}
		}
	}
	if d.Quiet != nil {
		errs = append(errs, d.Quiet.validate()...)
	}
	switch d.Digest {
	case AtOnce, Hourly, Daily:
	default:
		wrong("/digest", schemas.CodeUnknown, "use hourly or daily, or leave it out")
	}
	return errs
}

func (d *Draft) validateRecipients() (errs []error) {
	if len(d.To)+len(d.Roles) == 0 {
		errs = append(errs, schemas.Invalid("/to", schemas.CodeMissing, "an e-mail channel needs addresses, or roles such as owner, admin or billing"))
	}
	if len(d.To) > RecipientsMax {
		errs = append(errs, schemas.Invalid("/to", schemas.CodeTooMany, "%d addresses; at most %d", len(d.To), RecipientsMax))
	}
	seen := map[string]bool{}
	for i, to := range d.To {
		a, err := mail.ParseAddress(to)
		switch {
		case err != nil || a.Address != to || len(to) > emailBytesMax || !printable(to):
			errs = append(errs, schemas.Invalid(fmt.Sprintf("/to/%d", i), schemas.CodeMalformed, "this is not an e-mail address such as user@acme.com"))
		case seen[strings.ToLower(to)]:
			errs = append(errs, schemas.Invalid(fmt.Sprintf("/to/%d", i), schemas.CodeRepeated, "%s is there twice", to))
		}
		seen[strings.ToLower(to)] = true
	}
	for i, role := range d.Roles {
		if !slices.Contains(roles(), role) {
			errs = append(errs, schemas.Invalid(fmt.Sprintf("/roles/%d", i), schemas.CodeUnknown, "use owner, admin, member, viewer or billing"))
		}
	}
	return errs
}

// shown is an address as people may see it: Slack's is a password.
func shown(kind, address string) string {
	if kind != Slack {
		return address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/…"
}

// Seal puts address and secret of a draft under a key, bound to whose it is and to the
// channel's id, and returns the channel as it is kept.
func (d *Draft) Seal(key *Key, tenant string) Channel {
	c := d.Channel
	c.URL, c.HasSecret = shown(c.Type, d.Address), d.Secret != ""
	c.Sealed = ""
	if d.Address != "" || d.Secret != "" {
		c.Sealed = key.seal(tenant+"/"+c.ID, d.Address, d.Secret)
	}
	return c
}

// Open returns the address and the secret of a channel.
func (c *Channel) Open(key *Key, tenant string) (address, secret string, err error) {
	if c.Sealed == "" {
		return "", "", nil
	}
	address, secret, err = key.open(tenant+"/"+c.ID, c.Sealed)
	if err != nil {
		return "", "", fmt.Errorf("channel %s: %w", c.ID, err)
	}
	return address, secret, nil
}

// Shown is the channel without what is sealed.
func (c Channel) Shown() Channel {
	c.Sealed = ""
	return c
}
