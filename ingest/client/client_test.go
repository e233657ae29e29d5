package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentik-os/panda/schemas"
	"github.com/google/go-cmp/cmp"
)

func newReader(b []byte) io.Reader { return bytes.NewReader(b) }

// open makes a client that talks to the oracle without a network.
func open(t *testing.T, o *oracle, change func(*Config)) *Client {
	t.Helper()
	cfg := Config{URL: "http://panda.test", APIKey: "panda_test", Source: "/test",
		HTTPClient: &http.Client{Transport: o},
		OnError:    func(err error) { t.Errorf("OnError: %v", err) }}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func record(t *testing.T, c *Client, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := c.Record(event(id)); err != nil {
			t.Fatal(err)
		}
	}
}

func event(id string) Event {
	return Event{ID: id, Model: "m", Tokens: schemas.Tokens{schemas.Input: 5, schemas.Output: 7}}
}

func names(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return out
}

func closed(t *testing.T, c *Client) {
	t.Helper()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Every fault, before and after the server has applied the batch: each event
// counts once, and retries carry the same bytes.
func TestEveryFaultCountsEachEventOnce(t *testing.T) {
	for name, f := range map[string]fault{
		"500": status500, "429": status429, "drop before": dropBefore, "drop after": dropAfter,
		"hang before": hangBefore, "hang after": hangAfter, "short receipt": shortReceipt, "proxy page": proxyPage,
	} {
		for _, spool := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/spool=%t", name, spool), func(t *testing.T) {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					o := newOracle(t, f, f, f)
					c := open(t, o, func(cfg *Config) {
						if spool {
							cfg.SpoolDir = dir
						}
					})
					ids := names("e", 7)
					record(t, c, ids...)
					closed(t, c)
					o.wantExactly(ids...)
					for _, body := range o.bodies {
						if !bytes.Equal(body, o.bodies[0]) {
							t.Error("a retry has other bytes")
						}
					}
					if s := c.Stats(); s.Retries != 3 || s.Pending != 0 || s.Accepted+s.Duplicates != 7 {
						t.Errorf("stats are %+v", s)
					}
				})
			})
		}
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(t, status429)
		c := open(t, o, func(cfg *Config) { cfg.BackoffMin, cfg.BackoffMax = time.Millisecond, time.Millisecond })
		began := time.Now()
		record(t, c, "a")
		closed(t, c)
		if took := time.Since(began); took < 7*time.Second || took > 8*time.Second {
			t.Errorf("came back after %s, want the 7 seconds of Retry-After", took)
		}
	})
}

func TestBackoffGrowsToItsCeiling(t *testing.T) {
	c := &Client{cfg: Config{BackoffMin: time.Second, BackoffMax: 20 * time.Second, RetryAfterMax: time.Minute}}
	for attempt, ceiling := range []time.Duration{1, 2, 4, 8, 16, 20, 20} {
		var longest time.Duration
		for range 2000 {
			d := c.backoff(attempt, 0)
			if d < 0 || d > ceiling*time.Second {
				t.Fatalf("attempt %d pauses %s, want 0 to %ds", attempt, d, ceiling)
			}
			longest = max(longest, d)
		}
		if longest < ceiling*time.Second*9/10 {
			t.Errorf("attempt %d: longest of 2000 pauses is %s; the jitter does not use the range", attempt, longest)
		}
	}
	if d := c.backoff(1000, time.Hour); d < time.Minute || d > 80*time.Second {
		t.Errorf("Retry-After of an hour pauses %s, want it bounded by RetryAfterMax", d)
	}
}

func TestBatchesBySizeAndByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(t)
		c := open(t, o, func(cfg *Config) { cfg.BatchEventsMax, cfg.FlushEvery = 3, time.Second })
		record(t, c, names("a", 3)...)
		synctest.Wait()
		if len(o.seen()) != 1 {
			t.Fatalf("a full batch did not leave at once: %v", o.seen())
		}
		record(t, c, "late")
		time.Sleep(999 * time.Millisecond) // of the bubble's clock
		synctest.Wait()
		if len(o.seen()) != 1 {
			t.Fatal("a batch that is not full left early")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if diff := cmp.Diff([][]string{{"a0", "a1", "a2"}, {"late"}}, o.seen()); diff != "" {
			t.Error(diff)
		}
		closed(t, c)
	})
}

func TestRejectedEventsAreHandedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(t)
		o.verdict = func(id string) string {
			return map[string]string{"bad": "rejected", "other": "conflict"}[id]
		}
		var got []*RejectedError
		c := open(t, o, func(cfg *Config) {
			cfg.OnError = func(err error) {
				var r *RejectedError
				if !errors.As(err, &r) {
					t.Errorf("OnError: %v", err)
				}
				got = append(got, r)
			}
		})
		record(t, c, "good", "bad", "fine", "other")
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		record(t, c, "bad", "other") // all bad: a 4xx with a pointer per event
		closed(t, c)
		o.wantExactly("good", "fine")
		var seen []string
		for _, r := range got {
			seen = append(seen, r.ID+" "+r.Verdict+" "+r.Code+" "+r.Pointer)
			if idOf(r.Event) != r.ID {
				t.Errorf("%s came back as %s", r.ID, r.Event)
			}
		}
		want := []string{
			"bad rejected out_of_range /data/tokens/input", "other conflict out_of_range /data/tokens/input",
			"bad rejected out_of_range /data/tokens/input", "other rejected out_of_range /data/tokens/input"}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Error(diff)
		}
		if o.requests != 2 {
			t.Errorf("%d requests; a rejected event must not be sent again", o.requests)
		}
	})
}

func TestOnePoisonedEventCostsItsNeighboursNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(t)
		o.poison = func(e wireEvent) bool { return e.ID == "e13" }
		var rejected []string
		c := open(t, o, func(cfg *Config) {
			cfg.OnError = func(err error) {
				var r *RejectedError
				if errors.As(err, &r) {
					rejected = append(rejected, r.ID)
				}
			}
		})
		ids := names("e", 32)
		record(t, c, ids...)
		closed(t, c)
		o.wantExactly(append(append([]string{}, ids[:13]...), ids[14:]...)...)
		if diff := cmp.Diff([]string{"e13"}, rejected); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTooLargeIsHalved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(t, tooLarge, tooLarge)
		c := open(t, o, nil)
		ids := names("e", 8)
		record(t, c, ids...)
		closed(t, c)
		o.wantExactly(ids...)
		var sizes []int
		for _, b := range o.seen() {
			sizes = append(sizes, len(b))
		}
		if diff := cmp.Diff([]int{8, 4, 2, 2, 4}, sizes); diff != "" {
			t.Error(diff)
		}
	})
}

// A wrong key or a proxy in the way is not the events' fault: they stay.
func TestRefusalKeepsEvents(t *testing.T) {
	for name, f := range map[string]fault{"key": refusedKey, "proxy": proxyRejected} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOracle(t, f, f)
				var refusals []*RefusedError
				c := open(t, o, func(cfg *Config) {
					cfg.BackoffMax = time.Minute
					cfg.OnError = func(err error) {
						var r *RefusedError
						if errors.As(err, &r) {
							refusals = append(refusals, r)
						}
					}
				})
				began := time.Now()
				record(t, c, "a")
				closed(t, c)
				o.wantExactly("a")
				if len(refusals) != 2 || time.Since(began) < 2*time.Minute {
					t.Errorf("%d refusals reported in %s", len(refusals), time.Since(began))
				}
			})
		})
	}
}

// The process dies with events in the spool, some of them applied by a server
// whose answer was lost. The next one sends the same ids.
func TestRestartSendsTheSameIDs(t *testing.T) {
	dir := t.TempDir()
	withSpool := func(cfg *Config) { cfg.SpoolDir, cfg.BatchEventsMax = dir, 4 }
	ids := names("e", 10)
	o := newOracle(t, none, dropAfter)
	synctest.Test(t, func(t *testing.T) {
		o.t = t
		c := open(t, o, withSpool)
		record(t, c, ids...)
		// Batch one is confirmed, batch two applied without an answer, then the
		// process "dies": a context that has ended gives Close no time.
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Close(ctx); !errors.Is(err, ErrPending) {
			t.Fatalf("close says %v, want ErrPending", err)
		}
		if s := c.Stats(); s.Accepted != 4 || s.Pending != 6 {
			t.Fatalf("stats are %+v", s)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		o.t = t
		c := open(t, o, withSpool)
		if s := c.Stats(); s.Pending != 6 {
			t.Errorf("%d events came back from the spool, want 6", s.Pending)
		}
		closed(t, c)
		if s := c.Stats(); s.Duplicates != 4 || s.Accepted != 2 {
			t.Errorf("stats are %+v", s)
		}
		o.wantExactly(ids...)
	})
	if left, _ := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix)); len(left) > 1 {
		t.Errorf("segments are left behind: %v", left)
	}
}

func TestTornTailIsCutOff(t *testing.T) {
	dir := t.TempDir()
	ids := names("e", 5)
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(t)
		o.faults = []fault{status500, status500, status500, status500}
		c := open(t, o, func(cfg *Config) { cfg.SpoolDir, cfg.FlushEvery = dir, time.Hour })
		record(t, c, ids...)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Close(ctx); !errors.Is(err, ErrPending) {
			t.Fatal(err)
		}
	})
	segments, _ := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if len(segments) != 1 {
		t.Fatalf("segments are %v", segments)
	}
	whole, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	// Cut in the middle of the last record.
	if err := os.WriteFile(segments[0], whole[:len(whole)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		o := newOracle(t)
		var told []error
		c := open(t, o, func(cfg *Config) {
			cfg.SpoolDir = dir
			cfg.OnError = func(err error) { told = append(told, err) }
		})
		record(t, c, "after")
		closed(t, c)
		o.wantExactly(append(ids[:4:4], "after")...)
		if len(told) != 1 || !errors.Is(told[0], ErrSpoolDamaged) {
			t.Errorf("told of %v, want the damage", told)
		}
	})
}

func TestFullSpoolRefusesAtOnceAndRecovers(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		synctest.Test(t, func(t *testing.T) {
			o := newOracle(t, refusedKey)
			c := open(t, o, func(cfg *Config) {
				cfg.SpoolDir, cfg.SpoolBytesMax, cfg.QueueEventsMax = dir, spoolBytesMin, 300
				cfg.OnError = func(error) {}
			})
			var taken []string
			began := time.Now()
			for i := 0; ; i++ {
				id := fmt.Sprint("e", i)
				err := c.Record(event(id))
				if errors.Is(err, ErrSpoolFull) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				taken = append(taken, id)
			}
			if time.Since(began) != 0 {
				t.Error("Record waited")
			}
			if s := c.Stats(); s.Refused != 1 || s.Pending != len(taken) || s.SpoolBytes > spoolBytesMin {
				t.Errorf("stats are %+v after %d events", s, len(taken))
			}
			if err := c.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			record(t, c, "again")
			closed(t, c)
			o.wantExactly(append(taken, "again")...)
		})
	}
}

func TestOneProcessPerSpool(t *testing.T) {
	dir := t.TempDir()
	o := newOracle(t)
	c := open(t, o, func(cfg *Config) { cfg.SpoolDir = dir })
	defer closed(t, c)
	_, err := New(Config{URL: "http://panda.test", APIKey: "k", SpoolDir: dir})
	if !errors.Is(err, ErrSpoolInUse) {
		t.Errorf("a second client on the spool: %v", err)
	}
}

// Over a real connection that breaks at random, with many goroutines recording
// and a process that restarts in between.
func TestManyRecordersOverBreakingConnections(t *testing.T) {
	dir := t.TempDir()
	o := newOracle(t, dropAfter, status500, none, dropBefore, dropAfter, none, status500, dropAfter)
	srv := httptest.NewServer(o)
	defer srv.Close()
	start := func() *Client {
		c, err := New(Config{URL: srv.URL, APIKey: "panda_test", Source: "/test", SpoolDir: dir, BatchEventsMax: 16,
			FlushEvery: time.Millisecond, BackoffMin: time.Millisecond, BackoffMax: 2 * time.Millisecond,
			OnError: func(err error) { t.Errorf("OnError: %v", err) }})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var all []string
	for round := range 3 {
		c := start()
		var work sync.WaitGroup
		for g := range 8 {
			ids := names(fmt.Sprintf("r%dg%d-", round, g), 50)
			all = append(all, ids...)
			work.Go(func() { record(t, c, ids...) })
		}
		work.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		if round < 2 {
			cancel() // no time to flush
		}
		if err := c.Close(ctx); err != nil && !errors.Is(err, ErrPending) {
			t.Fatal(err)
		}
		cancel()
	}
	o.wantExactly(all...)
}
