package eventlog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// TestDoorAsksBeforeItStores: what refuses events at other doors, such as a disk
// that fills, refuses them here, and nothing of them is stored.
func TestDoorAsksBeforeItStores(t *testing.T) {
	var full atomic.Bool
	log := eventlogtest.OpenConfig(t, eventlog.Config{
		Listen: "127.0.0.1:0", Users: []eventlog.User{{Name: "u", Password: "pw", Tenant: "acme"}},
		Admit: func(tenant string) error {
			if tenant == "acme" && full.Load() {
				return fmt.Errorf("the disk is nearly full: %w", schemas.ErrUnavailable)
			}
			return nil
		},
	})
	conn, err := nats.Connect(log.Addr(), nats.UserInfo("u", "pw"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	publish := func() (code, seq int) {
		t.Helper()
		m, err := conn.Request("usage.acme", []byte("x"), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Seq   int
			Error struct{ Code int }
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Error.Code, answer.Seq
	}
	full.Store(true)
	if code, seq := publish(); code != 503 || seq != 0 {
		t.Errorf("refused with %d, at %d", code, seq)
	}
	full.Store(false)
	if code, seq := publish(); code != 0 || seq != 1 {
		t.Errorf("stored with %d, at %d", code, seq)
	}
}

// TestDoorSaysWhatARefusalSays: a refusal that says more than "send again" reaches
// the runtime as it is.
func TestDoorSaysWhatARefusalSays(t *testing.T) {
	log := eventlogtest.OpenConfig(t, eventlog.Config{
		Listen: "127.0.0.1:0", Users: []eventlog.User{{Name: "u", Password: "pw", Tenant: "acme"}},
		Admit: func(string) error {
			return fmt.Errorf("admit: %w", &eventlog.Refusal{Code: 403, Description: "the tenant is suspended"})
		},
	})
	conn, err := nats.Connect(log.Addr(), nats.UserInfo("u", "pw"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	var refused *jetstream.APIError
	if _, err := js.Publish(t.Context(), "usage.acme", []byte("x")); !errors.As(err, &refused) || refused.Code != 403 || refused.Description != "the tenant is suspended" {
		t.Errorf("%v", err)
	}
	if got := log.Connected(); len(got) != 1 || got[0] != "acme" {
		t.Errorf("connected are %v", got)
	}
	if err := log.Disconnect("acme"); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	for conn.Stats().Reconnects == 0 {
		select {
		case <-deadline:
			t.Fatal("the connection was not ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestDoorAsksAgainBeforeItStores: a message that was admitted and waits behind
// others of its tenant is not stored if the tenant may not any more.
func TestDoorAsksAgainBeforeItStores(t *testing.T) {
	var ended atomic.Bool
	log := eventlogtest.OpenConfig(t, eventlog.Config{
		Listen: "127.0.0.1:0", Users: []eventlog.User{{Name: "u", Password: "pw", Tenant: "acme"}},
		Admit: func(string) error {
			ended.Store(true) // while it is on its way
			return nil
		},
		MayStore: func(tenant string) error {
			if tenant == "acme" && ended.Load() {
				return &eventlog.Refusal{Code: 403, Description: "suspended meanwhile"}
			}
			return nil
		},
	})
	conn, err := nats.Connect(log.Addr(), nats.UserInfo("u", "pw"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 10 { // more than the door stores at once: a refusal gives its turn back
		m, err := conn.Request("usage.acme", []byte("x"), 10*time.Second)
		if err != nil || !strings.Contains(string(m.Data), `"code":403`) {
			t.Fatalf("%s, %v", m.Data, err)
		}
	}
	if state, err := log.State(t.Context(), schemas.StreamUsage); err != nil || state.Last != 0 {
		t.Errorf("the log ends at %d, %v", state.Last, err)
	}
}

// TestDoorUnderAFlood: a tenant that publishes far ahead of its acknowledgements
// is refused beyond a bound; what is stored is in order; another tenant's message
// does not wait for the flood's end.
func TestDoorUnderAFlood(t *testing.T) {
	log := eventlogtest.OpenConfig(t, eventlog.Config{Listen: "127.0.0.1:0", Users: []eventlog.User{
		{Name: "f", Password: "pw", Tenant: "flood"}, {Name: "q", Password: "pw", Tenant: "quiet"},
	}})
	connect := func(user string) *nats.Conn {
		conn, err := nats.Connect(log.Addr(), nats.UserInfo(user, "pw"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		return conn
	}
	flood, quiet := connect("f"), connect("q")
	const messages = 5000
	answers, err := flood.SubscribeSync("_INBOX.flood.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := answers.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 16<<10) // a few thousand of them are more than may be on the way
	for i := range messages {
		copy(body, fmt.Sprintf("%08d", i))
		if err := flood.PublishRequest("usage.flood", fmt.Sprintf("_INBOX.flood.%d", i), body); err != nil {
			t.Fatal(err)
		}
	}
	if err := flood.Flush(); err != nil {
		t.Fatal(err)
	}
	between, err := quiet.Request("usage.quiet", []byte("q"), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var own struct{ Seq int }
	if err := json.Unmarshal(between.Data, &own); err != nil || own.Seq == 0 {
		t.Fatalf("the quiet tenant: %s, %v", between.Data, err)
	}
	stored, refused, seqs := 0, 0, make(map[int]int, messages)
	for range messages {
		m, err := answers.NextMsg(30 * time.Second)
		if err != nil {
			t.Fatalf("after %d stored and %d refused: %v", stored, refused, err)
		}
		var answer struct {
			Seq   int
			Error struct{ Code int }
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			t.Fatal(err)
		}
		var i int
		if _, err := fmt.Sscanf(m.Subject, "_INBOX.flood.%d", &i); err != nil {
			t.Fatal(err)
		}
		switch answer.Error.Code {
		case 0:
			stored, seqs[i] = stored+1, answer.Seq
		case 429:
			refused++
		default:
			t.Fatalf("message %d: %s", i, m.Data)
		}
	}
	if stored == 0 || refused == 0 {
		t.Errorf("%d stored, %d refused", stored, refused)
	}
	last := 0
	for i := range messages {
		if seq, ok := seqs[i]; ok {
			if seq <= last {
				t.Fatalf("message %d is at %d, after %d", i, seq, last)
			}
			last = seq
		}
	}
	if own.Seq >= last {
		t.Errorf("the quiet tenant's message is at %d, behind the flood that ends at %d", own.Seq, last)
	}
}
