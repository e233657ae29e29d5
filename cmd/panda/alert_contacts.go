package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/agentik-os/panda/alerting/channel"
	"github.com/agentik-os/panda/alerting/outbox"
	"github.com/agentik-os/panda/internal/contact"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// channelConfig is what channels need to know about this installation.
func (c *Config) channelConfig() (channel.Config, error) {
	allow, err := parseNetworks(c.AlertAllow)
	if err != nil {
		return channel.Config{}, err
	}
	cfg := channel.Config{PublicURL: strings.TrimSuffix(c.PublicURL, "/"),
		Guard: channel.NewGuard(channel.GuardConfig{Allow: allow, Insecure: len(allow) > 0})}
	if c.SMTPURL == "" {
		if c.SMTPFrom != "" {
			return channel.Config{}, schemas.Invalid("/smtp_url", schemas.CodeMissing, "smtp_from is of use with smtp_url alone")
		}
		return cfg, nil
	}
	cfg.Mail, err = channel.NewMailer(channel.MailConfig{URL: c.SMTPURL, From: c.SMTPFrom})
	return cfg, err
}

// parseNetworks reads networks with commas between.
func parseNetworks(text string) (list []netip.Prefix, err error) {
	for _, word := range splitList(text) {
		p, err := netip.ParsePrefix(word)
		if err != nil {
			return nil, schemas.Invalid("/alert_allow", schemas.CodeMalformed, "%q is no network such as 10.1.0.0/16", word)
		}
		list = append(list, p)
	}
	return list, nil
}

func splitList(text string) (words []string) {
	for _, word := range strings.Split(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}

// checkChannel returns what says what is wrong with a channel's address and secret.
func checkChannel(cfg channel.Config) func(kind, address, secret string) error {
	return func(kind, address, secret string) error {
		_, err := channel.New(kind, channel.Settings{URL: address, Secret: secret}, cfg)
		return err
	}
}

// alertContacts are tenants, members and channels as the outbox sees them.
type alertContacts struct {
	registry *tenancy.Registry
	channels channel.Config
}

func (c alertContacts) CatchUp(ctx context.Context) error { return c.registry.CatchUp(ctx) }

func (c alertContacts) Audience(tenantID string) (outbox.Audience, bool) {
	to := outbox.Audience{Platform: outbox.Party{Settings: c.registry.Alerting("")}}
	if tenantID == "" {
		return to, true
	}
	t, ok := c.registry.ByID(tenantID)
	if !ok || t.Status == tenancy.StatusErased || !t.ErasingAt.IsZero() {
		return outbox.Audience{}, false
	}
	to.Tenant = outbox.Party{Settings: c.registry.Alerting(tenantID), Emails: map[contact.Role][]string{}}
	if t.BillingEmail != "" {
		to.Tenant.Emails[contact.Billing] = []string{t.BillingEmail}
	}
	for _, m := range c.registry.MembersOf(tenantID) {
		role := contact.Role(m.Role)
		to.Tenant.Emails[role] = append(to.Tenant.Emails[role], m.Email)
	}
	if c.channels.Mail != nil {
		for _, role := range []contact.Role{contact.Billing, contact.Owners, contact.Admins} {
			to.Tenant.Default = append(to.Tenant.Default, to.Tenant.Emails[role]...)
		}
	}
	return to, true
}

// final is an error of a channel that waiting does not mend.
type final struct{ error }

func (final) Permanent() bool { return true }
func (f final) Unwrap() error { return f.error }

func (c alertContacts) Channel(tenantID, id string) (outbox.Opened, error) {
	if id == outbox.Default {
		if c.channels.Mail == nil {
			return outbox.Opened{}, final{errors.New("no mail server is set; start the server with --smtp-url")}
		}
		var to []string
		if a, ok := c.Audience(tenantID); ok {
			to = a.Tenant.Default
		}
		return outbox.Opened{Channel: c.channels.Mail, Name: id, To: to}, nil
	}
	kept, address, secret, err := c.registry.OpenChannel(tenantID, id)
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
		return outbox.Opened{}, final{fmt.Errorf("the channel was removed: %w", err)}
	case err != nil:
		return outbox.Opened{}, err
	case kept.Disabled:
		return outbox.Opened{}, final{errors.New("the channel is disabled")}
	}
	opened := outbox.Opened{Name: kept.Name, Quiet: kept.Quiet.Until}
	if kept.Type == contact.Email {
		opened.To = kept.To
		if a, ok := c.Audience(tenantID); ok {
			for _, role := range kept.Roles {
				opened.To = append(opened.To[:len(opened.To):len(opened.To)], a.Tenant.Emails[role]...)
			}
		}
	}
	if opened.Channel, err = channel.New(kept.Type, channel.Settings{URL: address, Secret: secret}, c.channels); err != nil {
		return outbox.Opened{}, final{err}
	}
	return opened, nil
}
