package client

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// Sync says what a power cut may take from the spool. The death of the process
// takes nothing under any of them.
type Sync uint8

// The policies.
const (
	// SyncEverySecond: the last second. Record pays a write to the page cache.
	SyncEverySecond Sync = iota
	// SyncEach: nothing that Record returned nil for. Record waits for the disk, a
	// few milliseconds.
	SyncEach
	// SyncNever: what the system has not written yet, up to half a minute.
	SyncNever
)

// syncEvery is the period of SyncEverySecond.
const syncEvery = time.Second

// Config says where events go and what bounds the client. The zero value of a
// limit takes the default.
type Config struct {
	// URL is where Panda is, without a path: "https://panda.example.com".
	URL string
	// APIKey is a key with the scope ingest.
	APIKey string
	// Source is the source of events that name none, as "/runtime/eu-1". Events of
	// two producers with one source must have ids that differ.
	Source string

	// SpoolDir is a directory of this client's own. "" keeps the queue in memory,
	// where it dies with the process.
	SpoolDir string
	// SpoolBytesMax bounds the files of the spool. Default 64 MiB: more than
	// 100,000 usual events, a server outage of hours for most runtimes.
	SpoolBytesMax int64
	// Sync says what a power cut may take.
	Sync Sync
	// QueueEventsMax bounds the queue in memory, where there is no SpoolDir.
	// Default 10,000, about 6 MB.
	QueueEventsMax int

	// BatchEventsMax bounds the events of one request. Default 500: more saves
	// nothing, and a batch stays well below the server's limit of 1,000.
	BatchEventsMax int
	// FlushEvery is how long an event waits for others at most. Default 1 second,
	// which live totals can bear and which keeps requests few.
	FlushEvery time.Duration
	// AttemptMax bounds one request. Default 15 seconds, above what the server
	// needs for a change of leader.
	AttemptMax time.Duration
	// BackoffMin and BackoffMax bound the pause before a retry, which is drawn
	// between zero and a ceiling that doubles from the one to the other. Defaults
	// 200 ms and 30 seconds: a fleet spreads out, and notices soon that the
	// server is back.
	BackoffMin, BackoffMax time.Duration
	// RetryAfterMax bounds what Retry-After may ask for. Default 5 minutes.
	RetryAfterMax time.Duration

	// HTTPClient sends the requests. Default: one of its own that follows no
	// redirects.
	HTTPClient *http.Client
	// OnError is told what the client cannot mend: *RejectedError (an event the
	// server will never take), *RefusedError (the configuration is wrong),
	// ErrSpoolDamaged, errors of the disk. Calls come one at a time, from the
	// goroutine that sends, so they should be short. It must not call Flush or
	// Close. Default: nothing, and Stats counts.
	OnError func(error)
}

// batchBytesMax bounds the JSON of a batch: the server's limit on a request, with
// room for brackets and commas.
const batchBytesMax = schemas.RequestBytesMax - 2*schemas.BatchEventsMax

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field     *time.Duration
		otherwise time.Duration
	}{
		{&c.FlushEvery, time.Second}, {&c.AttemptMax, 15 * time.Second}, {&c.BackoffMin, 200 * time.Millisecond},
		{&c.BackoffMax, 30 * time.Second}, {&c.RetryAfterMax, 5 * time.Minute},
	} {
		if *d.field == 0 {
			*d.field = d.otherwise
		}
	}
	if c.SpoolBytesMax == 0 {
		c.SpoolBytesMax = 64 << 20
	}
	if c.QueueEventsMax == 0 {
		c.QueueEventsMax = 10_000
	}
	if c.BatchEventsMax == 0 {
		c.BatchEventsMax = 500
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a key must not follow to another host
		}}
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	return c
}

// spoolBytesMin makes sure that any single event fits.
const spoolBytesMin = 2 * schemas.EventBytesMax

// check returns the address of the door for events.
func (c Config) check() (endpoint string, err error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return "", schemas.Invalid("/url", schemas.CodeMalformed, "URL must be like https://panda.example.com")
	case u.User != nil || u.RawQuery != "":
		return "", schemas.Invalid("/url", schemas.CodeNotAllowed, "the key belongs into APIKey, not into the URL")
	case c.APIKey == "" || strings.ContainsAny(c.APIKey, " \r\n\t"):
		return "", schemas.Invalid("/api_key", schemas.CodeMissing, "APIKey must be a key with the scope ingest")
	case c.BatchEventsMax < 1 || c.BatchEventsMax > schemas.BatchEventsMax:
		return "", schemas.Invalid("/batch_events_max", schemas.CodeOutOfRange,
			"BatchEventsMax is 1 to %d", schemas.BatchEventsMax)
	case c.SpoolBytesMax < spoolBytesMin:
		return "", schemas.Invalid("/spool_bytes_max", schemas.CodeOutOfRange, "SpoolBytesMax is %d at least", spoolBytesMin)
	case c.QueueEventsMax < 1 || c.FlushEvery < 0 || c.AttemptMax < 0 || c.BackoffMin < 0 || c.BackoffMax < c.BackoffMin:
		return "", schemas.Invalid("", schemas.CodeOutOfRange, "a limit is negative, or BackoffMax is below BackoffMin")
	case c.Sync > SyncNever:
		return "", fmt.Errorf("sync policy: %w", schemas.ErrInvalid)
	}
	return strings.TrimSuffix(u.String(), "/") + "/v1/events?verdicts=rejected", nil
}
