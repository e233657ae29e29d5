package eventlog_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  eventlog.Config
		says string
	}{
		{"no directory", eventlog.Config{}, "data directory"},
		{"copies in one process", eventlog.Config{DataDir: "x", Replicas: 3}, "replicas is 3"},
		{"port of a cluster", eventlog.Config{URL: "nats://a:1", UsageMaxBytes: 1, Listen: "127.0.0.1:0"}, "listen"},
		{"cluster without a limit", eventlog.Config{URL: "nats://a:1"}, "max bytes"},
		{"negative limit", eventlog.Config{DataDir: "x", InFlightMax: -1}, "negative"},
		{"window below nothing", eventlog.Config{DataDir: "x", DuplicateWindow: -time.Hour}, "duplicate window"},
		{"tenant with a wildcard", eventlog.Config{DataDir: "x", Users: []eventlog.User{{Name: "a", Password: "b", Tenant: "*"}}}, `user "a"`},
		{"bad port", eventlog.Config{DataDir: t.TempDir(), UsageMaxBytes: 1 << 20, Listen: "127.0.0.1:x"}, "bad port"},
		{"no port", eventlog.Config{DataDir: t.TempDir(), UsageMaxBytes: 1 << 20, Listen: "127.0.0.1"}, "listen address"},
	} {
		_, err := eventlog.Open(t.Context(), c.cfg)
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want it invalid and to say %q", c.name, err, c.says)
		}
	}
}

// How many shards there are is decided when the log is made: it is found again, another
// number is refused, and nothing is made before that.
func TestShardsAreDecidedForEver(t *testing.T) {
	for _, made := range []uint32{1, 3} {
		dir := t.TempDir()
		open := func(shards uint32) (*eventlog.Log, error) {
			return eventlog.Open(t.Context(), eventlog.Config{DataDir: dir, UsageMaxBytes: 1 << 30, Shards: shards})
		}
		for _, asked := range []uint32{made, 0, made} {
			log, err := open(asked)
			if err != nil {
				t.Fatalf("made with %d, opened with %d: %v", made, asked, err)
			}
			if log.Shards() != made {
				t.Errorf("made with %d, opened with %d: it has %d shards", made, asked, log.Shards())
			}
			if err := errors.Join(log.Healthy(t.Context()), log.CheckSettings(t.Context()), log.Close()); err != nil {
				t.Error(err)
			}
		}
		for _, other := range []uint32{4 - made, 2} {
			log, err := open(other)
			if err == nil {
				log.Close()
			}
			if !errors.Is(err, eventlog.ErrSetting) || !strings.Contains(err.Error(), fmt.Sprintf("--shards %d", made)) {
				t.Errorf("made with %d, opened with %d: %v; want it refused, and to say with what", made, other, err)
			}
		}
		log, err := open(0)
		if err != nil || log.Shards() != made {
			t.Fatalf("after refusals: %v", err)
		}
		log.Close()
	}
	if _, err := eventlog.Open(t.Context(), eventlog.Config{DataDir: t.TempDir(), Shards: schemas.ShardsMax + 1}); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("too many shards: %v", err)
	}
}

func TestDirectoryIsOneProcessOnly(t *testing.T) {
	dir := t.TempDir()
	log := eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	_, err := eventlog.Open(t.Context(), eventlog.Config{DataDir: dir, UsageMaxBytes: 1 << 20})
	if !errors.Is(err, eventlog.ErrInUse) || !errors.Is(err, schemas.ErrConflict) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second open: %v, want %v and the directory", err, eventlog.ErrInUse)
	}
	if err := log.Healthy(t.Context()); err != nil {
		t.Fatalf("the first is disturbed: %v", err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
	eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
}

func TestStoreIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("mode of the data directory = %v, %v; want 0700", info.Mode(), err)
	}
}

func TestClusterOutOfReach(t *testing.T) {
	_, err := eventlog.Open(t.Context(), eventlog.Config{URL: "nats://me:secret@127.0.0.1:1", UsageMaxBytes: 1 << 20})
	if !errors.Is(err, schemas.ErrUnavailable) {
		t.Fatalf("open: %v, want %v", err, schemas.ErrUnavailable)
	}
	text := err.Error()
	if strings.Contains(text, "\n") || strings.Contains(text, "secret") || !strings.Contains(text, "127.0.0.1:1") || !strings.Contains(text, "check") {
		t.Fatalf("open: %q, want one line with the address, what to check, and no password", text)
	}
}

func TestClusterRefusesCredentials(t *testing.T) {
	log, _ := openDoor(t)
	_, err := eventlog.Open(t.Context(), eventlog.Config{
		URL: "nats://" + log.Addr(), User: "me", Password: "wrong", Replicas: 1, UsageMaxBytes: 1 << 20,
	})
	if !errors.Is(err, schemas.ErrUnavailable) || !strings.Contains(err.Error(), "credentials") {
		t.Fatalf("open: %v, want it to name the credentials", err)
	}
}

func TestSettingsAreBroughtInLine(t *testing.T) {
	dir := t.TempDir()
	log := eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	stream, err := log.JetStream().Stream(t.Context(), schemas.StreamUsage)
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	if cfg.MaxAge != 0 || cfg.Discard != jetstream.DiscardNew || cfg.Duplicates != 2*time.Minute {
		t.Fatalf("settings = %+v", cfg)
	}
	// Someone loosens what may be changed back.
	cfg.MaxAge, cfg.Discard, cfg.AllowDirect = time.Hour, jetstream.DiscardOld, true
	cfg.Duplicates = time.Minute
	if _, err := log.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	log = eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	if stream, err = log.JetStream().Stream(t.Context(), schemas.StreamUsage); err != nil {
		t.Fatal(err)
	}
	cfg = stream.CachedInfo().Config
	if cfg.MaxAge != 0 || cfg.Discard != jetstream.DiscardNew || cfg.AllowDirect || cfg.Duplicates != 2*time.Minute {
		t.Fatalf("settings after open = %+v", cfg)
	}
}

func TestSettingsThatCannotChangeAreNamed(t *testing.T) {
	for _, c := range []struct {
		setting string
		change  func(*jetstream.StreamConfig)
	}{
		{"storage", func(s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage }},
		{"retention", func(s *jetstream.StreamConfig) { s.Retention = jetstream.WorkQueuePolicy }},
		{"deny_purge", func(s *jetstream.StreamConfig) { s.DenyPurge = true }},
		{"persist_mode", func(s *jetstream.StreamConfig) { s.PersistMode = jetstream.AsyncPersistMode }},
	} {
		t.Run(c.setting, func(t *testing.T) {
			dir := t.TempDir()
			log := eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
			js := log.JetStream()
			stream, err := js.Stream(t.Context(), schemas.StreamUsage)
			if err != nil {
				t.Fatal(err)
			}
			cfg := stream.CachedInfo().Config
			c.change(&cfg)
			if cfg.Storage == jetstream.MemoryStorage {
				cfg.MaxBytes = 1 << 20
			}
			if err := js.DeleteStream(t.Context(), schemas.StreamUsage); err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			if cfg.Storage == jetstream.MemoryStorage {
				// It would not outlive the server.
				err = log.EnsureStreams(t.Context())
			} else {
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
				_, err = eventlog.Open(t.Context(), eventlog.Config{DataDir: dir, UsageMaxBytes: 1 << 30})
			}
			if !errors.Is(err, eventlog.ErrSetting) || !strings.Contains(err.Error(), c.setting+" is ") {
				t.Fatalf("open: %v, want %v naming %s", err, eventlog.ErrSetting, c.setting)
			}
		})
	}
}

// A lease of a run that ended has no holder, and who holds the directory knows.
func TestLeaseOfAnEarlierRunIsFree(t *testing.T) {
	dir := t.TempDir()
	log := eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	first, err := log.Acquire(t.Context(), "writer", "first", 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.Lost():
	default:
		t.Error("the holder was not told")
	}
	log = eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	second, err := log.Acquire(t.Context(), "writer", "second", 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if second.Token() <= first.Token() {
		t.Errorf("token %d after %d", second.Token(), first.Token())
	}
}
