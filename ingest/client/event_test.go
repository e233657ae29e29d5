package client

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/agentik-os/panda/schemas"
)

func TestEncodeEverything(t *testing.T) {
	amount := schemas.Pico(-1_500_000_000_000)
	full := Event{
		ID: "id", Source: "/s", Type: schemas.TypeAdjustment, Time: time.Date(2026, 2, 14, 9, 30, 0, 123_456_789, time.FixedZone("", 3600)),
		Provider: "p", Model: "m", Department: "d", CostCenter: "c", Agent: "a", User: "u", Session: "s", Run: "r",
		ParentRun: "pr", Status: "ok", Error: "e", Latency: 1500 * time.Millisecond, Completeness: "estimated",
		ServiceTier: "batch", Tokens: schemas.Tokens{schemas.Input: 1, schemas.CacheWrite1h: 2}, TotalTokens: 3,
		Usage: json.RawMessage(`{"input_tokens":1}`), Units: map[string]int64{"web_search": 2, "request": 1},
		Tags: map[string]string{"b": "2", "a": "1"}, Levels: map[string]json.Number{"storage_gb": "1.5"},
		Corrects: schemas.EventRef{Source: "/s", ID: "old"}, Amount: &amount,
	}
	got, err := full.encode("/default", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"specversion":"1.0","id":"id","source":"/s","type":"adjustment","time":"2026-02-14T08:30:00.123Z","data":{` +
		`"provider":"p","model":"m","department":"d","cost_center":"c","agent":"a","user":"u","session":"s","run":"r",` +
		`"parent_run":"pr","status":"ok","error":"e","latency_ms":1500,"completeness":"estimated","service_tier":"batch",` +
		`"tokens":{"cache_write_1h":2,"input":1},"total_tokens":3,"usage":{"input_tokens":1},` +
		`"units":{"request":1,"web_search":2},"tags":{"a":"1","b":"2"},"levels":{"storage_gb":1.5},` +
		`"corrects":{"source":"/s","id":"old"},"amount":"-1.5"}}`
	// The decimal of an amount is Money's own matter.
	text, _ := amount.MarshalText()
	want = strings.Replace(want, `"-1.5"`, `"`+string(text)+`"`, 1)
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDefaultsAreSetBeforeTheFirstSend(t *testing.T) {
	now := time.Date(2026, 2, 14, 9, 30, 0, 0, time.UTC)
	data, err := Event{Model: "m"}.encode("/default", now)
	if err != nil {
		t.Fatal(err)
	}
	var w wireEvent
	if err := json.Unmarshal(data, &w); err != nil {
		t.Fatal(err)
	}
	if id, err := uuid.Parse(w.ID); err != nil || id.Version() != 7 {
		t.Errorf("id is %q, want a UUIDv7", w.ID)
	}
	if w.Source != "/default" || w.Type != schemas.TypeLLMCall || w.Time != "2026-02-14T09:30:00.000Z" {
		t.Errorf("got %s", data)
	}
}

func TestRecordRefusesWhatTheServerWould(t *testing.T) {
	c := open(t, newOracle(t), nil)
	defer closed(t, c)
	for pointer, e := range map[string]Event{
		"/data/model":        {},
		"/type":              {Model: "m", Type: "nonsense"},
		"/data/tokens/input": {Model: "m", Tokens: schemas.Tokens{-1}},
		"/data":              {Model: "m", Usage: json.RawMessage(`{`)},
		"":                   {Model: "m", Usage: json.RawMessage(`"` + strings.Repeat("x", schemas.EventBytesMax) + `"`)},
	} {
		var field *schemas.FieldError
		if err := c.Record(e); !errors.As(err, &field) || field.Pointer != pointer {
			t.Errorf("record gives %v, want pointer %q", err, pointer)
		}
	}
	if s := c.Stats(); s.Recorded != 0 || s.Pending != 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{URL: "https://panda.test/", APIKey: "k"}
	if endpoint, err := good.withDefaults().check(); err != nil || endpoint != "https://panda.test/v1/events?verdicts=rejected" {
		t.Errorf("endpoint is %q: %v", endpoint, err)
	}
	for name, change := range map[string]func(*Config){
		"no url":        func(c *Config) { c.URL = "" },
		"ftp":           func(c *Config) { c.URL = "ftp://x" },
		"key in url":    func(c *Config) { c.URL = "https://key@x" },
		"key in query":  func(c *Config) { c.URL = "https://x?api_key=1" },
		"no key":        func(c *Config) { c.APIKey = "" },
		"key with line": func(c *Config) { c.APIKey = "a\nb" },
		"batch":         func(c *Config) { c.BatchEventsMax = 1001 },
		"spool":         func(c *Config) { c.SpoolBytesMax = 1000 },
		"backoff":       func(c *Config) { c.BackoffMin, c.BackoffMax = time.Hour, time.Second },
		"sync":          func(c *Config) { c.Sync = 9 },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	c := Config{}.withDefaults().HTTPClient
	if err := c.CheckRedirect(nil, nil); !errors.Is(err, http.ErrUseLastResponse) {
		t.Errorf("a redirect gives %v; the key would go to another host", err)
	}
}

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 2, 14, 9, 30, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-3": 0, "soon": 0,
		"Sat, 14 Feb 2026 09:31:00 GMT": time.Minute, "Sat, 14 Feb 2026 09:00:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("Retry-After %q is %s, want %s", text, got, want)
		}
	}
}
