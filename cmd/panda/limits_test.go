package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/internal/auth"
)

func TestDirectKeys(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 15, 12, 0, 0, 0, time.UTC)
	revoked := map[string]bool{}
	works := func(_, key string) bool { return !revoked[key] }
	var d directKeys
	ended := func(connected ...string) string {
		return strings.Join(d.ended(connected, now, works), ",")
	}
	d.opened("acme", "old", now)
	d.opened("acme", "new", now)
	d.opened("beta", "other", now)
	if got := ended("acme", "beta"); got != "" {
		t.Errorf("all keys work, ended %s", got)
	}
	revoked["old"] = true
	for i, want := range []string{"acme", "acme", "", ""} {
		if got := ended("acme", "beta"); got != want {
			t.Errorf("look %d after a revocation: ended %q", i, got)
		}
	}
	// A key that was checked before its revocation and listed after it.
	d.opened("late", "old", now)
	if got := ended("acme") + ended("acme", "late"); got != "late" {
		t.Errorf("one that was about to be opened: ended %q", got)
	}
	now = now.Add(connectMax + 1)
	if ended(); len(d.used) != 0 {
		t.Errorf("%d tenants are remembered, and nobody is connected", len(d.used))
	}
}

// limitStack is the whole program as a process, with a NATS door.
type limitStack struct {
	t             *testing.T
	url, natsAddr string
	admin         string
}

func newLimitStack(t *testing.T) *limitStack {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &limitStack{t: t, natsAddr: free.Addr().String()}
	free.Close()
	data := filepath.Join(t.TempDir(), "data")
	cmd := exec.Command("panda", "serve", "--data", data, "--listen", "127.0.0.1:0", "--nats-listen", s.natsAddr, "--disk-free-min", "0", "--log-level", "error")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
			t.Errorf("panda serve: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("panda serve said %q: %v", line, err)
	}
	s.url = strings.TrimSpace(strings.TrimPrefix(line, "panda listens on "))
	key, err := os.ReadFile(filepath.Join(data, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	s.admin = strings.TrimSpace(string(key))
	for deadline := time.Now().Add(time.Minute); ; <-time.After(50 * time.Millisecond) {
		if res, err := http.Get(s.url + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return s
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("panda serve does not get ready")
		}
	}
}

// did asks as the platform, and the answer has to be good.
func (s *limitStack) did(method, path, body string) map[string]any {
	s.t.Helper()
	status, _, answer := s.ask(s.admin, method, path, strings.NewReader(body))
	if status < 200 || status > 299 {
		s.t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

// tenant makes a tenant with so many calls a minute, and returns its id and a key.
func (s *limitStack) tenant(slug, callsPerMinute string) (id, key string) {
	s.t.Helper()
	made := s.did("POST", "/v1/tenants", fmt.Sprintf(`{"name":%q,"slug":%q,"plan":"pro","quotas":{"max_api_calls_per_minute":%s}}`, slug, slug, callsPerMinute))
	secret := s.did("POST", "/v1/tenants/"+slug+"/keys", `{"name":"all","scopes":["ingest","read"]}`)
	return made["id"].(string), secret["key"].(string)
}

// ask sends a request and returns status, headers and the answer's members.
func (s *limitStack) ask(key, method, path string, body io.Reader) (int, http.Header, map[string]any) {
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Error(err)
		return 0, nil, nil
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Error(err)
		return 0, nil, nil
	}
	defer res.Body.Close()
	var members map[string]any
	if err := json.NewDecoder(res.Body).Decode(&members); err != nil {
		s.t.Errorf("%s %s: %d: %v", method, path, res.StatusCode, err)
	}
	return res.StatusCode, res.Header, members
}

func limitEvents(prefix string, n int) *bytes.Reader {
	var b bytes.Buffer
	for i := range n {
		b.WriteString(map[bool]string{true: "[", false: ","}[i == 0])
		fmt.Fprintf(&b, `{"specversion":"1.0","id":"%s-%d","source":"/r","type":"llm.call","time":%q,"data":{"model":"model-%s-%d","agent":"agent-%s-%d","tokens":{"input":1}}}`,
			prefix, i, time.Now().UTC().Format(time.RFC3339Nano), prefix, i, prefix, i)
	}
	b.WriteString("]")
	return bytes.NewReader(b.Bytes())
}

// TestFlood: a tenant that floods the doors, with events, bytes, and names that
// nobody has seen, is refused beyond its rate and its bounds; the quiet tenant
// beside it is refused nothing and loses nothing, and no call of the flood that
// was taken in is lost either.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := newLimitStack(t)
	const perMinute = 12 // one comes free every five seconds
	flood, floodKey := s.tenant("flood", strconv.Itoa(perMinute))
	_, quietKey := s.tenant("quiet", `"unlimited"`)
	began := time.Now()
	var mu sync.Mutex
	stored, refused, events := 0, map[string]int{}, 0.0
	var wg sync.WaitGroup
	for worker := range 40 { // more than may be on the way
		wg.Go(func() {
			for i := range 10 {
				status, header, answer := s.ask(floodKey, "POST", "/v1/events", limitEvents(fmt.Sprintf("f%d-%d", worker, i), 100))
				mu.Lock()
				switch status {
				case 200:
					stored++
					events += answer["accepted"].(float64)
				case 429:
					refused[answer["code"].(string)]++
					if n, err := strconv.Atoi(header.Get("Retry-After")); err != nil || n < 1 {
						t.Errorf("a refusal without Retry-After: %v", header)
					}
				default:
					t.Errorf("%d: %v", status, answer)
				}
				if header.Get("RateLimit-Policy") != fmt.Sprintf(`"api-calls";q=%d;w=60`, perMinute) || header.Get("RateLimit") == "" {
					t.Errorf("%d without the limit: %v", status, header)
				}
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for i := range 30 {
			if status, header, answer := s.ask(quietKey, "POST", "/v1/events", limitEvents(fmt.Sprint("q", i), 1)); status != 200 || header.Get("RateLimit") != "" {
				t.Errorf("the quiet tenant's batch %d: %d %v", i, status, answer)
			}
			if status, _, answer := s.ask(quietKey, "GET", "/v1/entitlements", nil); status != 200 {
				t.Errorf("the quiet tenant's question %d: %d %v", i, status, answer)
			}
		}
	})
	wg.Wait()
	// What it may: a minute's calls at once, and those that came free meanwhile.
	if most := perMinute + int(time.Since(began)*perMinute/time.Minute); stored+refused["too_many_in_flight"] > most || stored == 0 || refused["rate_limited"] == 0 {
		t.Errorf("%d batches of the flood stored, %v refused; at most %d may come in", stored, refused, most)
	}
	for key, want := range map[string]float64{floodKey: events, quietKey: 30} {
		if key == floodKey { // its own door is closed for a while
			key = s.admin
		}
		path := "/v1/usage?fresh=1"
		if key == s.admin {
			path += "&tenant=" + flood
		}
		if status, _, answer := s.ask(key, "GET", path, nil); status != 200 || answer["total"].(map[string]any)["calls"] != want {
			t.Errorf("%d: %v, want %v calls", status, answer["total"], want)
		}
	}
	useUp := func() {
		for status := 0; status != http.StatusTooManyRequests; {
			status, _, _ = s.ask(floodKey, "GET", "/v1/entitlements", nil)
		}
	}
	useUp()
	// The platform may ask on, and hears that the calls are used up.
	status, header, answer := s.ask(s.admin, "GET", "/v1/entitlements?tenant=flood", nil)
	if status != 200 || header.Get("RateLimit") != "" || answer["decision"] != "deny" || answer["limit"].(map[string]any)["name"] != "api_calls_per_minute" {
		t.Errorf("the platform's question: %d %v", status, answer)
	}
	// A message over NATS is a call too.
	js := s.connect(floodKey)
	useUp()
	var apiErr *jetstream.APIError
	if _, err := js.Publish(t.Context(), "usage."+flood, []byte("[]")); !errors.As(err, &apiErr) || apiErr.Code != 429 || !strings.Contains(apiErr.Description, "API rate limit exceeded") {
		t.Errorf("over NATS: %v", err)
	}
}

func (s *limitStack) connect(key string, options ...nats.Option) jetstream.JetStream {
	s.t.Helper()
	conn, err := nats.Connect(s.natsAddr, append(options, nats.UserInfo("runtime", key), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

// TestSuspensionAtEveryDoor: within a second of the decision every door refuses a
// tenant, also what was on the way and connections that were open, and another
// tenant's are not touched.
func TestSuspensionAtEveryDoor(t *testing.T) {
	t.Parallel()
	s := newLimitStack(t)
	made, key := s.tenant("ends", "1000")
	other, otherKey := s.tenant("stays", "1000")
	js, otherJS := s.connect(key), s.connect(otherKey)
	event := func(id string) []byte { b, _ := io.ReadAll(limitEvents(id, 1)); return b }
	for _, open := range []struct {
		js     jetstream.JetStream
		tenant string
	}{{js, made}, {otherJS, other}} {
		if _, err := open.js.Publish(t.Context(), "usage."+open.tenant, event("before")); err != nil {
			t.Fatal(err)
		}
	}
	// A request whose body is on the way when the decision is made.
	body, rest := io.Pipe()
	type outcome struct {
		status int
		answer map[string]any
	}
	underWay := make(chan outcome, 1)
	go func() {
		status, _, answer := s.ask(key, "POST", "/v1/events", body)
		underWay <- outcome{status, answer}
	}()
	if _, err := rest.Write(event("under-way")[:50]); err != nil { // returns once it is read
		t.Fatal(err)
	}
	s.did("POST", "/v1/tenants/ends/suspend", `{"reason":"a test"}`)
	decided := time.Now()
	for _, door := range []struct{ name, key, method, path, code string }{
		{"ingest", key, "POST", "/v1/events", "tenant_suspended"},
		{"ingest by the platform", s.admin, "POST", "/v1/events?tenant=ends", "tenant_suspended"},
		{"import by the platform", s.admin, "POST", "/v1/import?tenant=ends", "tenant_suspended"},
		{"usage", key, "GET", "/v1/usage", "tenant_suspended"},
		{"events", key, "GET", "/v1/events", "tenant_suspended"},
		{"entitlements", key, "GET", "/v1/entitlements", "tenant_suspended"},
	} {
		if status, _, answer := s.ask(door.key, door.method, door.path, limitEvents("after", 1)); status != 403 || answer["code"] != door.code {
			t.Errorf("%s: %d %v", door.name, status, answer)
		}
	}
	if status, _, answer := s.ask(s.admin, "GET", "/v1/entitlements?tenant=ends&action=upload", nil); status != 200 || answer["decision"] != "deny" {
		t.Errorf("entitlements by the platform: %d %v", status, answer)
	}
	var refused *jetstream.APIError
	publish, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := js.Publish(publish, "usage."+made, event("after")); err == nil || errors.As(err, &refused) && refused.Code != 403 {
		t.Errorf("the open NATS connection: %v", err)
	}
	if _, err := io.Copy(rest, bytes.NewReader(event("under-way")[50:])); err != nil {
		t.Fatal(err)
	}
	rest.Close()
	if got := <-underWay; got.status != 403 || got.answer["code"] != "tenant_suspended" {
		t.Errorf("what was on the way: %+v", got)
	}
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for js.Conn().IsConnected() {
		if <-poll.C; time.Since(decided) > 10*time.Second {
			t.Fatal("the connection stays open")
		}
	}
	if took := time.Since(decided); took > time.Second {
		t.Errorf("the connection was ended after %s", took)
	}
	if _, err := nats.Connect(s.natsAddr, nats.UserInfo("runtime", key)); err == nil {
		t.Error("a new NATS connection was let in")
	}
	if _, err := otherJS.Publish(t.Context(), "usage."+other, event("after")); err != nil || otherJS.Conn().Stats().Reconnects != 0 {
		t.Errorf("the other tenant: %v", err)
	}
	status, _, answer := s.ask(s.admin, "GET", "/v1/usage?fresh=1&tenant=ends", nil)
	if status != 200 || answer["total"].(map[string]any)["calls"] != 1.0 {
		t.Errorf("what was counted: %d %v", status, answer["total"])
	}
	s.did("POST", "/v1/tenants/ends/resume", `{}`)
	if status, _, answer := s.ask(key, "POST", "/v1/events", limitEvents("again", 1)); status != 200 {
		t.Errorf("after it was resumed: %d %v", status, answer)
	}
}

// TestRevokedKeyEndsItsConnections: a connection lives no longer than its key.
func TestRevokedKeyEndsItsConnections(t *testing.T) {
	t.Parallel()
	s := newLimitStack(t)
	made, key := s.tenant("acme", "1000")
	id, err := auth.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	js := s.connect(key, nats.DisconnectErrHandler(func(*nats.Conn, error) { close(closed) }), nats.NoReconnect())
	if _, err := js.Publish(t.Context(), "usage."+made, []byte("[]")); err != nil {
		t.Fatal(err)
	}
	s.did("DELETE", "/v1/keys/"+id, "")
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection outlives its key")
	}
}
