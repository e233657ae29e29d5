package channel_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	netmail "net/mail"
	"net/netip"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/channel"
	"github.com/agentik-os/panda/alerting/channel/channeltest"
	"github.com/agentik-os/panda/schemas"
)

func TestMain(m *testing.M) {
	channeltest.ServeMail()
	goleak.VerifyTestMain(m)
}

// loopback lets a guard reach the receivers of these tests.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func guard(roots *x509.CertPool) *channel.Guard {
	return channel.NewGuard(channel.GuardConfig{Allow: loopback, Insecure: true, Roots: roots})
}

func record(kind alerting.Kind) alerting.Record {
	id := alerting.Identity{Tenant: "ten_a", Rule: alerting.RuleThreshold, Limit: "monthly_budget", Period: "2026-02", Revision: "3-1000", Threshold: 100}
	exact, _ := schemas.ParseMoney("1000.000000000001")
	return alerting.Record{Version: alerting.RecordVersion, Alert: id.ID(), Kind: kind, Identity: id, Severity: alerting.SeverityCritical,
		At: time.Date(2026, 2, 17, 9, 30, 0, 0, time.UTC), AsOf: 41,
		Facts: alerting.Facts{TenantName: "Acme <!channel> & Söhne", TenantSlug: "acme-corp", Percent: 100, Used: alerting.Amount{Unit: alerting.UnitUSD, Money: exact},
			Max: alerting.Amount{Unit: alerting.UnitUSD, Money: schemas.Mul(schemas.PicoPerUSD, 1000)}}}
}

func message(kind alerting.Kind, to string) *alerting.Message {
	m := alerting.Render(alerting.RenderConfig{PublicURL: "https://panda.your-domain.com"}, "msg_0123", to, []alerting.Record{record(kind)})
	return &m
}

func secret(t *testing.T) string {
	t.Helper()
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	return channel.SecretPrefix + base64.StdEncoding.EncodeToString(raw)
}

func open(t *testing.T, kind string, s channel.Settings) channel.Channel {
	t.Helper()
	c, err := channel.New(kind, s, channel.Config{Guard: guard(nil), PublicURL: "https://panda.your-domain.com"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// failure says how an error is to be dealt with.
func failure(t *testing.T, err error) (permanent bool, after time.Duration) {
	t.Helper()
	var e *channel.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a channel.Error", err)
	}
	return e.Permanent(), e.RetryAfter()
}

// TestWebhook: the specification's own library accepts the signature, by the old and the
// new secret while one replaces the other; amounts are exact.
func TestWebhook(t *testing.T) {
	r := channeltest.NewHTTP(t, false)
	one, two := secret(t), secret(t)
	c := open(t, channel.TypeWebhook, channel.Settings{URL: r.URL + "/hook", Secret: one + " " + two})
	for _, kind := range []alerting.Kind{alerting.Fired, alerting.Resolved} {
		if err := c.Send(t.Context(), message(kind, "")); err != nil {
			t.Fatal(err)
		}
	}
	calls := r.Taken()
	if len(calls) != 2 {
		t.Fatalf("%d calls arrived, want 2", len(calls))
	}
	for i, want := range []string{"alert.fired", "alert.resolved"} {
		for _, s := range []string{one, two} {
			verifier, err := standardwebhooks.NewWebhook(s)
			if err == nil {
				err = verifier.Verify(calls[i].Body, calls[i].Header)
			}
			if err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		var body struct {
			Type string `json:"type"`
			Data struct {
				Alert alerting.Record `json:"alert"`
			} `json:"data"`
		}
		if err := json.Unmarshal(calls[i].Body, &body); err != nil || body.Type != want || calls[i].Header.Get("webhook-id") != "msg_0123" {
			t.Errorf("call %d: %v, type %q, id %q", i, err, body.Type, calls[i].Header.Get("webhook-id"))
		}
		if got := body.Data.Alert.Facts.Used.Money.String(); got != "1000.000000000001" {
			t.Errorf("the amount arrived as %s", got)
		}
	}
	tampered := bytes.Replace(calls[0].Body, []byte("1000"), []byte("9000"), 1)
	if verifier, err := standardwebhooks.NewWebhook(one); err != nil || verifier.Verify(tampered, calls[0].Header) == nil {
		t.Errorf("a body that was changed is accepted, %v", err)
	}
}

// TestIncidents: PagerDuty and Alertmanager are told the same incident when it begins
// and when it is over.
func TestIncidents(t *testing.T) {
	r := channeltest.NewHTTP(t, false)
	const key = "0123456789abcdef0123456789abcdef"
	pager := open(t, channel.TypePagerDuty, channel.Settings{URL: r.URL + "/v2/enqueue", Secret: key})
	manager := open(t, channel.TypeAlertmanager, channel.Settings{URL: r.URL + "/am/"})
	for _, kind := range []alerting.Kind{alerting.Fired, alerting.Resolved} {
		for _, c := range []channel.Channel{pager, manager} {
			if err := c.Send(t.Context(), message(kind, "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	calls := r.Taken()
	var events [2]struct {
		RoutingKey string         `json:"routing_key"`
		Action     string         `json:"event_action"`
		DedupKey   string         `json:"dedup_key"`
		Payload    map[string]any `json:"payload"`
	}
	var alerts [2][]struct {
		Labels           map[string]string `json:"labels"`
		StartsAt, EndsAt time.Time
	}
	for i := range 2 {
		if err := errors.Join(json.Unmarshal(calls[2*i].Body, &events[i]), json.Unmarshal(calls[2*i+1].Body, &alerts[i])); err != nil {
			t.Fatal(err)
		}
	}
	if events[0].Action != "trigger" || events[1].Action != "resolve" || events[0].DedupKey != events[1].DedupKey || events[0].DedupKey == "" || events[0].RoutingKey != key {
		t.Errorf("PagerDuty got %+v", events)
	}
	if events[0].Payload["severity"] != "critical" || events[0].Payload["source"] != "acme-corp" {
		t.Errorf("PagerDuty's payload is %v", events[0].Payload)
	}
	if calls[1].Path != "/am/api/v2/alerts" {
		t.Errorf("Alertmanager's path is %s", calls[1].Path)
	}
	begin, end := alerts[0][0], alerts[1][0]
	if len(begin.Labels) == 0 || !mapsEqual(begin.Labels, end.Labels) {
		t.Errorf("another alert is over than began: %v, %v", begin.Labels, end.Labels)
	}
	if at := record(alerting.Fired).At; !begin.StartsAt.Equal(at) || !begin.EndsAt.After(at.AddDate(0, 0, 31)) || !end.EndsAt.Equal(at) {
		t.Errorf("from %v to %v, over at %v", begin.StartsAt, begin.EndsAt, end.EndsAt)
	}
}

func mapsEqual(a, b map[string]string) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

// TestSlack: a name cannot mention a whole channel.
func TestSlack(t *testing.T) {
	r := channeltest.NewHTTP(t, false)
	if err := open(t, channel.TypeSlack, channel.Settings{URL: r.URL}).Send(t.Context(), message(alerting.Fired, "")); err != nil {
		t.Fatal(err)
	}
	var body struct {
		Text   string
		Blocks []struct {
			Text struct{ Type, Text string }
		}
	}
	if err := json.Unmarshal(r.Taken()[0].Body, &body); err != nil || len(body.Blocks) != 3 {
		t.Fatalf("%v, %d blocks", err, len(body.Blocks))
	}
	for _, b := range body.Blocks[1:] {
		if b.Text.Type == "mrkdwn" && strings.Contains(b.Text.Text, "<!") {
			t.Errorf("a mention got through: %s", b.Text.Text)
		}
	}
	if !strings.Contains(body.Blocks[1].Text.Text, "&lt;!channel&gt; &amp; Söhne") || !strings.Contains(body.Text, "100%") {
		t.Errorf("got %+v", body)
	}
}

// TestMail: real mail servers, with TLS from the start and by STARTTLS.
func TestMail(t *testing.T) {
	for name, implicit := range map[string]bool{"smtps": true, "starttls": false} {
		t.Run(name, func(t *testing.T) {
			server := channeltest.StartMail(t, implicit)
			m := mailer(t, server.URL, server.Roots)
			if err := m.Send(t.Context(), message(alerting.Fired, "finance@acme.com")); err != nil {
				t.Fatal(err)
			}
			mails := server.Mails(t)
			if len(mails) != 1 {
				t.Fatalf("%d mails arrived", len(mails))
			}
			checkMail(t, mails[0])

			if permanent, _ := failure(t, m.Send(t.Context(), message(alerting.Fired, "nobody@acme.com"))); !permanent {
				t.Error("a user that does not exist is tried again")
			}
			server.Fail(t, "451 try again later")
			if permanent, _ := failure(t, m.Send(t.Context(), message(alerting.Fired, "finance@acme.com"))); permanent {
				t.Error("451 is not tried again")
			}
			server.Fail(t, "")
			server.Stop()
			if permanent, _ := failure(t, m.Send(t.Context(), message(alerting.Fired, "finance@acme.com"))); permanent {
				t.Error("a server that is away is not tried again")
			}
			server.Again(t)
			if err := m.Send(t.Context(), message(alerting.Fired, "finance@acme.com")); err != nil {
				t.Error(err)
			}
			mails = server.Mails(t)
			if len(mails) != 2 || mails[0].Header.Get("Message-Id") != mails[1].Header.Get("Message-Id") {
				t.Errorf("the same message has another id when it is sent again: %d mails", len(mails))
			}
			wrong := mailer(t, strings.Replace(server.URL, channeltest.MailUser+":", "somebody:", 1), server.Roots)
			if err := wrong.Send(t.Context(), message(alerting.Fired, "finance@acme.com")); err == nil || strings.Contains(err.Error(), channeltest.MailPassword) {
				t.Errorf("a wrong user: %v", err)
			}
			if err := mailer(t, server.URL, x509.NewCertPool()).Send(t.Context(), message(alerting.Fired, "finance@acme.com")); err == nil || !strings.Contains(err.Error(), "certificate") {
				t.Errorf("a certificate that nobody vouches for: %v", err)
			}
		})
	}
}

func mailer(t *testing.T, url string, roots *x509.CertPool) *channel.Mailer {
	t.Helper()
	m, err := channel.NewMailer(channel.MailConfig{URL: url, From: "Panda <panda@your-domain.com>", Roots: roots})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func checkMail(t *testing.T, m *netmail.Message) {
	t.Helper()
	h := m.Header
	subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
	if err != nil || subject != message(alerting.Fired, "").Subject {
		t.Errorf("subject %q, %v", subject, err)
	}
	if h.Get("Message-Id") != "<msg_0123@your-domain.com>" || h.Get("To") != "<finance@acme.com>" || h.Get("From") != `"Panda" <panda@your-domain.com>` ||
		h.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("header %v", h)
	}
	if date, err := h.Date(); err != nil || !date.Equal(record(alerting.Fired).At) {
		t.Errorf("date %v, %v", date, err)
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("type %q, %v", kind, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for _, want := range []struct{ kind, text string }{{"text/plain", message(alerting.Fired, "").Text}, {"text/html", message(alerting.Fired, "").HTML}} {
		part, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(part))
		got := strings.ReplaceAll(string(text), "\r\n", "\n")
		if err != nil || !strings.HasPrefix(part.Header.Get("Content-Type"), want.kind) || strings.TrimSpace(got) != strings.TrimSpace(want.text) {
			t.Errorf("part %s, %v:\n%s", part.Header.Get("Content-Type"), err, got)
		}
	}
}

// TestAnswers: what a receiver answers decides whether it is tried again.
func TestAnswers(t *testing.T) {
	r := channeltest.NewHTTP(t, false)
	c := open(t, channel.TypeWebhook, channel.Settings{URL: r.URL, Secret: secret(t)})
	for _, row := range []struct {
		status    int
		header    string
		permanent bool
		after     time.Duration
	}{
		{500, "", false, 0}, {503, "120", false, 2 * time.Minute}, {429, "100000000", false, time.Hour}, {429, "-5", false, 0}, {408, "", false, 0},
		{400, "", true, 0}, {401, "", true, 0}, {404, "", true, 0}, {410, "", true, 0},
	} {
		r.Answer(func(_ int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", row.header)
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, "because \x1b[31mof\r\nthis")
			return true
		})
		err := c.Send(t.Context(), message(alerting.Fired, ""))
		if permanent, after := failure(t, err); permanent != row.permanent || after != row.after {
			t.Errorf("%d: permanent %v, after %s", row.status, permanent, after)
		}
		if strings.ContainsAny(err.Error(), "\x1b\r\n") || !strings.Contains(err.Error(), "of this") {
			t.Errorf("%d: %q", row.status, err)
		}
	}
	// A redirect is not followed, and says where it wanted to lead.
	r.Answer(func(_ int, w http.ResponseWriter, req *http.Request) bool {
		http.Redirect(w, req, "http://169.254.169.254/latest/meta-data/", http.StatusTemporaryRedirect)
		return true
	})
	before := len(r.Calls())
	err := c.Send(t.Context(), message(alerting.Fired, ""))
	if permanent, _ := failure(t, err); !permanent || !strings.Contains(err.Error(), "169.254.169.254") || len(r.Calls()) != before+1 {
		t.Errorf("a redirect: %v", err)
	}
	// An answer without end is not read to its end.
	r.Answer(func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		for block := bytes.Repeat([]byte("x"), 1<<16); ; {
			if _, err := w.Write(block); err != nil {
				return true
			}
		}
	})
	if err := c.Send(t.Context(), message(alerting.Fired, "")); err != nil {
		t.Errorf("an endless answer of 200: %v", err)
	}
}

// TestHang: a receiver that does not answer costs the timeout and no more.
func TestHang(t *testing.T) {
	r := channeltest.NewHTTP(t, false)
	release := make(chan struct{})
	defer close(release)
	r.Answer(func(int, http.ResponseWriter, *http.Request) bool { <-release; return false })
	c, err := channel.New(channel.TypeSlack, channel.Settings{URL: r.URL}, channel.Config{
		Guard: channel.NewGuard(channel.GuardConfig{Allow: loopback, Insecure: true, Timeout: 50 * time.Millisecond})})
	if err != nil {
		t.Fatal(err)
	}
	if permanent, _ := failure(t, c.Send(t.Context(), message(alerting.Fired, ""))); permanent {
		t.Error("a receiver that hangs is not tried again")
	}
}

// TestPrivateAddresses: no form of a private address is connected to, whether it is
// seen at once or a name leads to it.
func TestPrivateAddresses(t *testing.T) {
	strict := channel.NewGuard(channel.GuardConfig{})
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.0.1", "198.18.0.1",
		"224.0.0.1", "255.255.255.255", "240.0.0.1", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]",
		"[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2002:a00:1::1]", "[2001:db8::1]", "[2001::1]", "localhost", "LOCALHOST.", "a.localhost",
	} {
		if err := strict.CheckURL("/url", "https://"+host+"/x"); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s is accepted as an address: %v", host, err)
		}
		if host == "LOCALHOST." || host == "a.localhost" {
			continue // whether these are names is the resolver's affair
		}
		conn, err := strict.Dial(t.Context(), "tcp", net.JoinHostPort(strings.Trim(host, "[]"), "443"))
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, channel.ErrNotAllowed) {
			t.Errorf("%s is connected to: %v", host, err)
		}
	}
	for _, text := range []string{"", "hooks.your-domain.com", "ftp://your-domain.com/", "file:///etc/passwd", "http://your-domain.com/", "https://user:pass@your-domain.com/",
		"https://your-domain.com/#x", "https://", "gopher://your-domain.com", "https://your-domain.com/" + strings.Repeat("x", 3000)} {
		if err := strict.CheckURL("/url", text); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%.60q is accepted: %v", text, err)
		}
	}
	for _, text := range []string{"https://hooks.your-domain.com/x?y=1", "https://8.8.8.8/x", "https://[2606:4700::1111]:8443/x"} {
		if err := strict.CheckURL("/url", text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestRebinding: a name that answers with a public address when it is looked at and with
// a private one when it is called leads nowhere; nor does the environment's proxy.
func TestRebinding(t *testing.T) {
	r := channeltest.NewHTTP(t, true)
	t.Setenv("HTTPS_PROXY", r.URL)
	t.Setenv("HTTP_PROXY", r.URL)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(r.URL, "https://"))
	answers := nameServer(t, []byte{127, 0, 0, 1})
	strict := channel.NewGuard(channel.GuardConfig{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", answers)
	}}})
	address := "https://rebinding.your-domain.com:" + port + "/secret-path"
	if err := strict.CheckURL("/url", address); err != nil {
		t.Fatal(err)
	}
	c, err := channel.New(channel.TypeWebhook, channel.Settings{URL: address, Secret: secret(t)}, channel.Config{Guard: strict})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Send(t.Context(), message(alerting.Fired, ""))
	if permanent, _ := failure(t, err); !permanent || !errors.Is(err, channel.ErrNotAllowed) {
		t.Errorf("got %v", err)
	}
	if strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "secret-path") {
		t.Errorf("the error tells too much: %v", err)
	}
	if n := len(r.Calls()); n != 0 {
		t.Errorf("%d calls arrived", n)
	}
}

// nameServer answers every question for an address with one.
func nameServer(t *testing.T, ip []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			// The question again, and for type A one answer that points back to its name.
			end := 12 + bytes.IndexByte(buf[12:n], 0) + 5
			reply := append([]byte(nil), buf[:end]...)
			reply[2], reply[3] = 0x81, 0x80
			copy(reply[6:12], []byte{0, 0, 0, 0, 0, 0})
			if buf[end-3] == 1 {
				reply[7] = 1
				reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				reply = append(reply, ip...)
			}
			_, _ = conn.WriteTo(reply, from)
		}
	}()
	return conn.LocalAddr().String()
}

// TestSettings: what cannot work is refused when it is set.
func TestSettings(t *testing.T) {
	good := secret(t)
	for name, row := range map[string]struct {
		kind string
		s    channel.Settings
	}{
		"no such type":         {"fax", channel.Settings{}},
		"no mail server":       {channel.TypeEmail, channel.Settings{}},
		"webhook, no secret":   {channel.TypeWebhook, channel.Settings{URL: "https://your-domain.com"}},
		"webhook, weak secret": {channel.TypeWebhook, channel.Settings{URL: "https://your-domain.com", Secret: "whsec_c2hvcnQ="}},
		"webhook, no prefix":   {channel.TypeWebhook, channel.Settings{URL: "https://your-domain.com", Secret: strings.TrimPrefix(good, channel.SecretPrefix)}},
		"webhook, no address":  {channel.TypeWebhook, channel.Settings{Secret: good}},
		"pagerduty, short key": {channel.TypePagerDuty, channel.Settings{Secret: "abc"}},
		"slack, private":       {channel.TypeSlack, channel.Settings{URL: "https://10.0.0.1/"}},
		"alertmanager, file":   {channel.TypeAlertmanager, channel.Settings{URL: "file:///etc/passwd"}},
	} {
		if _, err := channel.New(row.kind, row.s, channel.Config{Guard: channel.NewGuard(channel.GuardConfig{})}); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, row := range [][2]string{{"", "a@b.c"}, {"https://mail.your-domain.com", "a@b.c"}, {"smtp://mail.your-domain.com:x", "a@b.c"}, {"smtps://mail.your-domain.com", "nobody"},
		{"smtp+insecure://user:pass@localhost", "a@b.c"}} {
		if _, err := channel.NewMailer(channel.MailConfig{URL: row[0], From: row[1]}); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%v: got %v", row, err)
		}
	}
}

// TestPlainCallsStayInside: without TLS a call leads into the networks that were allowed
// and nowhere else, whatever its name answers.
func TestPlainCallsStayInside(t *testing.T) {
	answers := nameServer(t, []byte{8, 8, 8, 8})
	guard := channel.NewGuard(channel.GuardConfig{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Insecure: true,
		Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", answers)
		}}})
	if err := guard.CheckURL("/url", "http://8.8.8.8/x"); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a public address without TLS: %v", err)
	}
	if err := guard.CheckURL("/url", "http://127.0.0.1:1/x"); err != nil {
		t.Errorf("an allowed one: %v", err)
	}
	c, err := channel.New(channel.TypeWebhook, channel.Settings{URL: "http://hooks.your-domain.com/x", Secret: secret(t)}, channel.Config{Guard: guard})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Send(t.Context(), message(alerting.Fired, ""))
	if permanent, _ := failure(t, err); !permanent || !errors.Is(err, channel.ErrNotAllowed) {
		t.Errorf("a name that leads to a public address: %v", err)
	}
}
