package channel

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/schemas"
)

// A webhook is a POST signed as https://www.standardwebhooks.com says: webhook-id,
// webhook-timestamp and webhook-signature, "v1," and the base64 of the HMAC-SHA256 of
// "<id>.<timestamp>.<body>" per secret.
type webhook struct {
	url     string
	secrets [][]byte
	guard   *Guard
	now     func() time.Time
}

// SecretPrefix begins a webhook's secret.
const SecretPrefix = "whsec_"

// secretsMax is how many secrets may sign at once: the present one and those that it
// replaces.
const secretsMax = 3

func newWebhook(s Settings, cfg Config) (Channel, error) {
	if err := cfg.Guard.CheckURL("/url", s.URL); err != nil {
		return nil, err
	}
	w := webhook{url: s.URL, guard: cfg.Guard, now: time.Now}
	for _, text := range strings.Fields(s.Secret) {
		secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, SecretPrefix))
		const secretBytesMin, secretBytesMax = 24, 64
		if err != nil || !strings.HasPrefix(text, SecretPrefix) || len(secret) < secretBytesMin || len(secret) > secretBytesMax {
			return nil, schemas.Invalid("/secret", schemas.CodeMalformed, "a secret is whsec_ and the base64 of 24 to 64 random bytes")
		}
		w.secrets = append(w.secrets, secret)
	}
	if len(w.secrets) == 0 || len(w.secrets) > secretsMax {
		return nil, schemas.Invalid("/secret", schemas.CodeMissing, "a webhook has one to %d secrets", secretsMax)
	}
	return w, nil
}

// webhookBody is the body of a call.
type webhookBody struct {
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

// digestBody is the data of several records.
type digestBody struct {
	Subject string            `json:"subject"`
	Alerts  []alerting.Record `json:"alerts"`
}

// alertBody is the data of one record.
type alertBody struct {
	Subject string          `json:"subject"`
	Link    string          `json:"link,omitempty"`
	Record  alerting.Record `json:"alert"`
}

func (w webhook) Send(ctx context.Context, m *alerting.Message) error {
	body, err := webhookText(m)
	if err != nil {
		return encodeError(err)
	}
	stamp := strconv.FormatInt(w.now().Unix(), 10)
	var signatures []string
	for _, secret := range w.secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(m.ID + "." + stamp + "."))
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	header := jsonHeader()
	// The names are lower case in the specification; HTTP does not mind.
	header.Set("webhook-id", m.ID)
	header.Set("webhook-timestamp", stamp)
	header.Set("webhook-signature", strings.Join(signatures, " "))
	return w.guard.post(ctx, w.url, header, body)
}

func webhookText(m *alerting.Message) ([]byte, error) {
	var kind string
	var data any
	switch {
	case m.Test:
		kind, data = "alert.test", struct {
			Subject string `json:"subject"`
		}{m.Subject}
	case len(m.Records) == 1:
		kind, data = "alert."+string(m.Records[0].Kind), alertBody{m.Subject, m.Link, m.Records[0]}
	default:
		kind, data = "alert.digest", digestBody{m.Subject, m.Records}
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	return json.Marshal(webhookBody{kind, m.At.UTC(), raw})
}
