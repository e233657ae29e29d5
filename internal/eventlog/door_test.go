package eventlog_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// openDoor opens a log with a port, where acme and globex have a key each.
func openDoor(t *testing.T) (*eventlog.Log, *keys) {
	t.Helper()
	k := &keys{tenants: map[string]string{"key-acme": "acme", "key-globex": "globex", "key-odd": "a.*.>"}}
	log := eventlogtest.OpenConfig(t, eventlog.Config{
		Listen:       "127.0.0.1:0",
		Authenticate: k.authenticate,
		Users:        []eventlog.User{{Name: "static", Password: "pw", Tenant: "initech"}},
	})
	return log, k
}

type keys struct {
	mu      sync.Mutex
	tenants map[string]string
}

func (k *keys) authenticate(_, password string) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	tenant, ok := k.tenants[password]
	return tenant, ok
}

func (k *keys) revoke(password string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.tenants, password)
}

// runtime is a tenant's NATS client with the library's defaults. What the server
// refuses asynchronously arrives on refused.
type runtime struct {
	*nats.Conn
	refused chan error
}

func connect(t *testing.T, log *eventlog.Log, password string) *runtime {
	t.Helper()
	r := &runtime{refused: make(chan error, 16)}
	conn, err := nats.Connect(log.Addr(), nats.UserInfo("runtime", password), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { r.refused <- err }))
	if err != nil {
		t.Fatalf("connect with %s: %v", password, err)
	}
	t.Cleanup(conn.Close)
	r.Conn = conn
	return r
}

// wantRefused waits for the server to complain about a subject.
func (r *runtime) wantRefused(t *testing.T, subject string) {
	t.Helper()
	if err := r.Flush(); err != nil {
		t.Fatalf("flush: %v", err)
	}
	select {
	case err := <-r.refused:
		if !errors.Is(err, nats.ErrPermissionViolation) && !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Fatalf("%s: refused with %v, want a permissions violation", subject, err)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: not refused", subject)
	}
}

// subjects returns the subjects of all records of a stream, oldest first.
func subjects(t *testing.T, log *eventlog.Log, stream string) []string {
	t.Helper()
	state, err := log.State(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for seq := state.First; seq <= state.Last; seq++ {
		rec, err := log.Get(t.Context(), stream, seq)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, rec.Subject)
	}
	return out
}

func TestRuntimePublishesToItsOwnSubject(t *testing.T) {
	log, _ := openDoor(t)
	acme := connect(t, log, "key-acme")
	js, err := jetstream.New(acme.Conn)
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(t.Context(), "usage.acme", []byte(`{"id":"1"}`), jetstream.WithMsgID("m-1"))
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	if ack.Stream != schemas.StreamUsage || ack.Sequence != 1 || ack.Duplicate {
		t.Fatalf("ack = %+v, want USAGE 1", ack)
	}
	again, err := js.Publish(t.Context(), "usage.acme", []byte(`{"id":"1"}`), jetstream.WithMsgID("m-1"))
	if err != nil || !again.Duplicate || again.Sequence != 1 {
		t.Fatalf("second publish = %+v, %v, want a duplicate of 1", again, err)
	}
	rec, err := log.Get(t.Context(), schemas.StreamUsage, 1)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Subject != "usage.acme" || string(rec.Data) != `{"id":"1"}` {
		t.Fatalf("record = %s %q", rec.Subject, rec.Data)
	}
}

// Two tenants that both count their messages from 1 must not swallow each
// other's.
func TestMessageIDsOfTenantsAreApart(t *testing.T) {
	log, _ := openDoor(t)
	for i, tenant := range []string{"acme", "globex"} {
		js, err := jetstream.New(connect(t, log, "key-"+tenant).Conn)
		if err != nil {
			t.Fatal(err)
		}
		ack, err := js.Publish(t.Context(), "usage."+tenant, []byte("same"), jetstream.WithMsgID("1"))
		if err != nil || ack.Duplicate || ack.Sequence != uint64(i+1) {
			t.Fatalf("%s: ack = %+v, %v; want %d, new", tenant, ack, err, i+1)
		}
	}
}

func TestRuntimeMayDoNothingElse(t *testing.T) {
	log, _ := openDoor(t)
	globex := connect(t, log, "key-globex")
	for _, subject := range []string{
		"usage.acme", "usage.globex.x", "usage", "envelope.0.globex", "prices.0", "control.tenants", "decision.x",
		"door.acme", "door.globex", "nudge.x", "$JS.API.STREAM.PURGE.USAGE", "$JS.API.STREAM.DELETE.USAGE",
		"$JS.API.STREAM.RESTORE.USAGE", "$JS.API.INFO", "$SYS.REQ.SERVER.PING", "$KV.LEASES.writer", "_INBOX.acme.1",
		"$JS.ACK.USAGE.c.1.1.1.1.1", "_R_.x",
	} {
		if err := globex.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
		globex.wantRefused(t, "publish "+subject)
	}
	for _, subject := range []string{">", "*", "usage.>", "usage.globex", "usage.acme", "envelope.>", "$JS.API.>", "$SYS.>", "$KV.>", "door.>"} {
		if _, err := globex.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		globex.wantRefused(t, "subscribe "+subject)
		if _, err := globex.QueueSubscribeSync(subject, "q"); err != nil {
			t.Fatal(err)
		}
		globex.wantRefused(t, "queue subscribe "+subject)
	}
	if got := subjects(t, log, schemas.StreamUsage); len(got) != 0 {
		t.Fatalf("records %v arrived, want none", got)
	}
}

// The server sends an acknowledgement wherever the reply subject says. It must
// not become a publication in another place.
func TestReplySubjectIsNotADoor(t *testing.T) {
	log, _ := openDoor(t)
	for _, data := range []string{"a", "b", "c"} {
		if _, err := log.Append(t.Context(), eventlog.Message{Subject: "envelope.0.acme", Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	acme := connect(t, log, "key-acme")
	inbox, err := acme.SubscribeSync("_INBOX.>") // the tenant's own account: anything sent to acme
	if err != nil {
		t.Fatal(err)
	}
	globex := connect(t, log, "key-globex")
	replies := []string{"usage.acme", "envelope.0.acme", "control.x", "decision.x", "door.acme", "nudge.x", "_INBOX.acme",
		"$JS.API.STREAM.PURGE.USAGE", "$JS.API.STREAM.DELETE.USAGE", "$JS.API.CONSUMER.DELETE.USAGE.c"}
	for _, reply := range replies {
		if err := globex.PublishRequest("usage.globex", reply, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	// Whatever those caused was caused before this one is answered.
	if _, err := globex.Request("usage.globex", []byte("last"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	want := []string{"envelope.0.acme", "envelope.0.acme", "envelope.0.acme"}
	for range len(replies) + 1 {
		want = append(want, "usage.globex")
	}
	if diff := cmp.Diff(want, subjects(t, log, schemas.StreamUsage)); diff != "" {
		t.Errorf("stream USAGE (-want +got):\n%s", diff)
	}
	for _, stream := range []string{schemas.StreamControl, schemas.StreamDecisions} {
		if got := subjects(t, log, stream); len(got) != 0 {
			t.Errorf("stream %s has %v, want nothing", stream, got)
		}
	}
	if err := acme.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := inbox.Pending(); n != 0 {
		t.Errorf("acme received %d messages of globex's making", n)
	}
}

// Headers instruct the broker; a runtime's are not passed on.
func TestHeadersOfRuntimesAreDropped(t *testing.T) {
	log, _ := openDoor(t)
	acme := connect(t, log, "key-acme")
	msg := &nats.Msg{Subject: "usage.acme", Data: []byte("x"), Header: nats.Header{
		"Nats-Expected-Last-Sequence": {"999"}, "Nats-Rollup": {"all"}, "Nats-TTL": {"1s"}, "Nats-Expected-Stream": {"OTHER"},
	}}
	for i := range 2 {
		reply, err := acme.RequestMsg(msg, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var ack struct {
			Seq   uint64
			Error any
		}
		if err := json.Unmarshal(reply.Data, &ack); err != nil || ack.Error != nil || ack.Seq != uint64(i+1) {
			t.Fatalf("reply %d = %s, want it stored as %d", i, reply.Data, i+1)
		}
	}
}

func TestWrongCredentialsAreRefused(t *testing.T) {
	log, _ := openDoor(t)
	for _, opt := range []nats.Option{
		nats.UserInfo("runtime", "wrong"), nats.UserInfo("panda", "wrong"), nats.UserInfo("panda", ""),
		nats.UserInfo("static", "wrong"), nats.UserInfo("static", ""), nats.Token("wrong"), nats.Name("nobody"),
		nats.UserInfo("runtime", "key-odd"), // a tenant that is no single token
	} {
		conn, err := nats.Connect(log.Addr(), opt, nats.NoReconnect())
		if err == nil {
			conn.Close()
			t.Fatal("connected, want an authorization error")
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Fatalf("error = %v, want %v", err, nats.ErrAuthorization)
		}
	}
}

func TestUsersChangeWhileRunning(t *testing.T) {
	log, k := openDoor(t)
	conn, err := nats.Connect(log.Addr(), nats.UserInfo("static", "pw"))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := log.SetUsers([]eventlog.User{{Name: "other", Password: "pw", Tenant: "initech"}}); err != nil {
		t.Fatal(err)
	}
	if conn, err := nats.Connect(log.Addr(), nats.UserInfo("static", "pw"), nats.NoReconnect()); err == nil {
		conn.Close()
		t.Fatal("a removed user connected")
	}
	conn, err = nats.Connect(log.Addr(), nats.UserInfo("other", "pw"))
	if err != nil {
		t.Fatalf("an added user: %v", err)
	}
	conn.Close()

	acme, globex := connect(t, log, "key-acme"), connect(t, log, "key-globex")
	gone := acme.StatusChanged(nats.CLOSED)
	k.revoke("key-acme")
	if err := log.Disconnect("acme"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("acme is still connected")
	}
	if conn, err := nats.Connect(log.Addr(), nats.UserInfo("runtime", "key-acme"), nats.NoReconnect()); err == nil {
		conn.Close()
		t.Fatal("a revoked key connected")
	}
	if _, err := globex.Request("usage.globex", []byte("x"), 10*time.Second); err != nil {
		t.Fatalf("globex was disturbed: %v", err)
	}
}

// In a cluster the door is a service that the accounts of tenants import.
func TestRelayOfACluster(t *testing.T) {
	servers := eventlogtest.Cluster(t)
	log := servers.Open(t, eventlog.Config{Relay: true})
	servers.Open(t, eventlog.Config{Relay: true}) // one of the two answers
	conn, err := nats.Connect(servers.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := js.Publish(t.Context(), "door.acme", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"usage.acme", "usage.acme"}, subjects(t, log, schemas.StreamUsage)); diff != "" {
		t.Errorf("stream USAGE (-want +got):\n%s", diff)
	}
}

func TestDoorSpeaksTLS(t *testing.T) {
	cert, key, pool := certificate(t)
	log := eventlogtest.OpenConfig(t, eventlog.Config{
		Listen: "127.0.0.1:0", ListenCertFile: cert, ListenKeyFile: key,
		Users: []eventlog.User{{Name: "a", Password: "b", Tenant: "acme"}},
	})
	conn, err := nats.Connect("tls://"+log.Addr(), nats.UserInfo("a", "b"), nats.Secure(&tls.Config{RootCAs: pool}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Request("usage.acme", []byte("x"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	// A client that would send its password in the clear does not get in.
	plain, err := net.Dial("tcp", log.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.Write([]byte("CONNECT {\"user\":\"a\",\"pass\":\"b\",\"verbose\":true}\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(plain) // up to when the server hangs up
	if strings.Contains(string(answer), "PONG") || strings.Contains(string(answer), "+OK") {
		t.Fatalf("a plain connection was answered: %q", answer)
	}
}

// certificate makes a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(cert)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER), pool
}
