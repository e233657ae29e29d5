package channel

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

// A Channel hands messages over. It is safe for concurrent use.
type Channel interface {
	// Send hands a message over. Its error is an *Error.
	Send(ctx context.Context, m *alerting.Message) error
}

// The types of channels.
const (
	TypeEmail        = "email"
	TypeWebhook      = "webhook"
	TypeSlack        = "slack"
	TypePagerDuty    = "pagerduty"
	TypeAlertmanager = "alertmanager"
)

// Types are all of them.
func Types() []string {
	return []string{TypeEmail, TypeWebhook, TypeSlack, TypePagerDuty, TypeAlertmanager}
}

// KeepsIncidents reports whether a type of channel keeps an incident open until it is
// told that it is over.
func KeepsIncidents(kind string) bool { return kind == TypePagerDuty || kind == TypeAlertmanager }

// Settings are one channel's.
type Settings struct {
	// URL is of a webhook, of Slack's incoming webhook, of an Alertmanager, or of
	// PagerDuty's events API where it is not the usual one.
	URL string
	// Secret signs webhooks ("whsec_…", several with spaces between while one replaces
	// another), or is PagerDuty's routing key.
	Secret string
}

// Config is what channels need to know about the installation.
type Config struct {
	Guard *Guard
	// Mail sends e-mail; nil where none can be sent.
	Mail *Mailer
	// PublicURL is where people reach the installation, for links; may be empty.
	PublicURL string
}

// New returns a channel.
//
// Errors match schemas.ErrInvalid: a type that is none, an address or a secret that
// cannot be used.
func New(kind string, s Settings, cfg Config) (Channel, error) {
	switch kind {
	case TypeEmail:
		if cfg.Mail == nil {
			return nil, schemas.Invalid("/type", schemas.CodeNotAllowed, "no mail server is set; start the server with --smtp-url")
		}
		return cfg.Mail, nil
	case TypeWebhook:
		return newWebhook(s, cfg)
	case TypeSlack:
		return slack{url: s.URL, guard: cfg.Guard}, cfg.Guard.CheckURL("/url", s.URL)
	case TypePagerDuty:
		return newPagerDuty(s, cfg)
	case TypeAlertmanager:
		return alertmanager{url: strings.TrimSuffix(s.URL, "/"), guard: cfg.Guard, public: cfg.PublicURL}, cfg.Guard.CheckURL("/url", s.URL)
	}
	return nil, schemas.Invalid("/type", schemas.CodeUnknown, "%q is no type of channel; use %s", kind, strings.Join(Types(), ", "))
}

// jsonHeader is that of every body here.
func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// encodeError is one that no input should be able to cause.
func encodeError(err error) error {
	return &Error{What: "message", Cause: fmt.Errorf("encode: %w", err), permanent: true}
}
