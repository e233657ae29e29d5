package eventlog_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
)

func TestEmbedded(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	var before *eventlog.Log
	eventlogtest.Run(t, func(t *testing.T, cfg eventlog.Config) *eventlog.Log {
		if before != nil {
			if err := before.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		}
		cfg.DataDir = dir
		before = eventlogtest.OpenConfig(t, cfg)
		return before
	})
}

func TestCluster(t *testing.T) {
	servers := eventlogtest.Cluster(t)
	eventlogtest.Run(t, func(t *testing.T, cfg eventlog.Config) *eventlog.Log { return servers.Open(t, cfg) })
}
