package channel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	netmail "net/mail"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

// MailConfig says how e-mail is sent.
type MailConfig struct {
	// URL is the mail server: smtps://user:password@host:465 with TLS from the start,
	// smtp://user:password@host:587 with STARTTLS, which is then required, and
	// smtp+insecure://host:25 without TLS, for a server on the same machine.
	URL string
	// From is the sender, such as "Panda <panda@your-domain.com>".
	From string
	// Roots are the certificate authorities that are trusted; nil for the system's.
	Roots *x509.CertPool
	// Timeout bounds one message. Default 30 seconds: mail servers look into what they
	// are given before they answer.
	Timeout time.Duration
}

// A Mailer sends e-mail. The mail server is the operator's, so its address is not held
// against the [Guard].
type Mailer struct {
	cfg  MailConfig
	host string
	from *netmail.Address
	opts []mail.Option
}

// recipientsMax bounds who one message goes to.
const recipientsMax = 100

// NewMailer returns a Mailer. Errors match schemas.ErrInvalid. It connects to nobody.
func NewMailer(cfg MailConfig) (*Mailer, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Hostname() == "" {
		return nil, schemas.Invalid("/smtp_url", schemas.CodeMalformed, "not an address such as smtps://user:password@mail.your-domain.com:465")
	}
	m := &Mailer{cfg: cfg, host: u.Hostname()}
	if m.from, err = netmail.ParseAddress(cfg.From); err != nil {
		return nil, schemas.Invalid("/smtp_from", schemas.CodeMalformed, "%q is no sender such as Panda <panda@your-domain.com>", cfg.From)
	}
	port := map[string]int{"smtps": 465, "smtp": 587, "smtp+insecure": 25}[u.Scheme]
	if port == 0 {
		return nil, schemas.Invalid("/smtp_url", schemas.CodeUnknown, "%q is not smtps, smtp or smtp+insecure", u.Scheme)
	}
	if text := u.Port(); text != "" {
		if port, err = strconv.Atoi(text); err != nil {
			return nil, schemas.Invalid("/smtp_url", schemas.CodeMalformed, "%q is no port", text)
		}
	}
	m.opts = []mail.Option{mail.WithPort(port), mail.WithTimeout(cfg.Timeout), mail.WithHELO(domainOf(m.from.Address)),
		mail.WithTLSConfig(&tls.Config{ServerName: m.host, RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12})}
	switch u.Scheme {
	case "smtps":
		m.opts = append(m.opts, mail.WithSSL())
	case "smtp":
		m.opts = append(m.opts, mail.WithTLSPolicy(mail.TLSMandatory))
	default:
		m.opts = append(m.opts, mail.WithTLSPolicy(mail.NoTLS))
	}
	if user := u.User.Username(); user != "" {
		password, _ := u.User.Password()
		if u.Scheme == "smtp+insecure" {
			return nil, schemas.Invalid("/smtp_url", schemas.CodeNotAllowed, "a password does not go over a connection without TLS; use smtp or smtps")
		}
		m.opts = append(m.opts, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(user), mail.WithPassword(password))
	}
	return m, nil
}

func domainOf(address string) string {
	_, domain, _ := strings.Cut(address, "@")
	return domain
}

// Send sends a message to the addresses in m.To. The mail's Message-ID is made of the
// message's id.
func (m *Mailer) Send(ctx context.Context, message *alerting.Message) error {
	msg, err := m.compose(message)
	if err != nil {
		return &Error{What: "message", Cause: err, permanent: true}
	}
	client, err := mail.NewClient(m.host, m.opts...)
	if err != nil {
		return &Error{What: "mail server", Cause: err, permanent: true}
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		return mailError(err)
	}
	return nil
}

func (m *Mailer) compose(message *alerting.Message) (*mail.Msg, error) {
	to := strings.Split(message.To, ",")
	if message.To == "" || len(to) > recipientsMax {
		return nil, errors.New("it has no recipients, or more than a hundred")
	}
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	err := errors.Join(msg.FromFormat(m.from.Name, m.from.Address), msg.To(to...))
	if err != nil {
		return nil, err
	}
	msg.Subject(message.Subject)
	msg.SetMessageIDWithValue(message.ID + "@" + domainOf(m.from.Address))
	msg.SetDateWithValue(message.At)
	// So that nobody's absence note answers it (RFC 3834, section 5).
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Panda-Alert", message.DedupKey)
	msg.SetBodyString(mail.TypeTextPlain, message.Text)
	msg.AddAlternativeString(mail.TypeTextHTML, message.HTML)
	return msg, nil
}

// mailError tells what may pass from what will not: a server that says 5xx to what it was
// given means it.
func mailError(err error) error {
	e := &Error{What: "mail server", Cause: errors.New(clean(err.Error()))}
	var refused *mail.SendError
	if errors.As(err, &refused) {
		const permanentFrom = 500
		e.permanent = !refused.IsTemp() && refused.ErrorCode() >= permanentFrom
	}
	var network net.Error
	if errors.As(err, &network) {
		e.permanent = false
	}
	return e
}
