package eventlogtest

import (
	"testing"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/eventlog"
)

// Open returns a log with its own server on a directory that goes with the test.
func Open(t testing.TB) *eventlog.Log {
	t.Helper()
	return OpenConfig(t, eventlog.Config{})
}

// OpenConfig is Open with settings of the test's own. DataDir and limits are filled
// in where they are not set; warnings go to the test's output.
func OpenConfig(t testing.TB, cfg eventlog.Config) *eventlog.Log {
	t.Helper()
	if cfg.URL == "" && cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	if cfg.UsageMaxBytes == 0 {
		cfg.UsageMaxBytes = 1 << 30
	}
	cfg.Logger = zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)
	log, err := eventlog.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open event log: %v", err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Errorf("close event log: %v", err)
		}
	})
	return log
}
