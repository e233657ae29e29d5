package eventlog_test

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

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
