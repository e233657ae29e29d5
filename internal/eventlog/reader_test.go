package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// patience bounds waits for real servers; nothing waits for it to pass.
const patience = time.Minute

// fill appends n records that hold their own number, from start on.
func fill(t *testing.T, log *eventlog.Log, start, n int) {
	t.Helper()
	futures := make([]*eventlog.Future, n)
	for i := range futures {
		var err error
		futures[i], err = log.AppendAsync(t.Context(), eventlog.Message{
			Subject: "envelope.0.acme", Data: []byte(strconv.Itoa(start + i)),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range futures {
		if _, err := f.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// expect reads n records and checks that they are numbered from start on.
func expect(t *testing.T, r *eventlog.Reader, start, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for got := 0; got < n; {
		recs, err := r.Next(ctx, min(n-got, 7), 1<<20, patience)
		if err != nil && !errors.Is(err, schemas.ErrUnavailable) {
			t.Fatalf("next after %d: %v", start+got, err)
		}
		for _, rec := range recs {
			if string(rec.Data) != strconv.Itoa(start+got) {
				t.Fatalf("record %q at position %d, want %d", rec.Data, rec.Seq, start+got)
			}
			got++
		}
	}
}

func TestReaderSurvivesTheLossOfItsConsumer(t *testing.T) {
	forms := map[string]func(t *testing.T) *eventlog.Log{
		"embedded": func(t *testing.T) *eventlog.Log { return eventlogtest.Open(t) },
		"cluster":  func(t *testing.T) *eventlog.Log { return eventlogtest.Cluster(t).Open(t, eventlog.Config{}) },
	}
	for name, open := range forms {
		t.Run(name, func(t *testing.T) {
			log := open(t)
			r, err := log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage, From: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			const step = 100
			for round := range 6 {
				fill(t, log, round*step, step)
				expect(t, r, round*step, step/2) // the other half is fetched, not handed out
				switch round % 2 {
				case 0:
					err = log.DropConsumers(t.Context(), schemas.StreamUsage)
				case 1:
					err = log.Reconnect()
				}
				if err != nil {
					t.Fatal(err)
				}
				expect(t, r, round*step+step/2, step/2)
				await(t, "connection", func() bool { return log.Healthy(t.Context()) == nil })
			}
		})
	}
}

func TestClosedReaderLeavesNoConsumer(t *testing.T) {
	log := eventlogtest.Open(t)
	r, err := log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage})
	if err != nil {
		t.Fatal(err)
	}
	if names, err := log.Consumers(t.Context(), schemas.StreamUsage); err != nil || len(names) != 1 {
		t.Fatalf("consumers = %v, %v; want one", names, err)
	}
	r.Close()
	await(t, "end of the consumer", func() bool {
		names, err := log.Consumers(t.Context(), schemas.StreamUsage)
		return err == nil && len(names) == 0
	})
}

// A reader that is far behind holds no more than its limit, and loses nothing.
func TestReadAheadIsBounded(t *testing.T) {
	log := eventlogtest.OpenConfig(t, eventlog.Config{ReadAheadBytes: 8 << 20})
	const n, size = 100, 512 << 10
	for i := range n {
		data := make([]byte, size)
		copy(data, strconv.Itoa(i))
		if _, err := log.Append(t.Context(), eventlog.Message{Subject: "envelope.0.acme", Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for got := 0; got < n; {
		recs, err := r.Next(t.Context(), 1, 1, patience)
		if err != nil || len(recs) != 1 {
			t.Fatalf("next = %d records, %v", len(recs), err)
		}
		if held := r.Held(); held > 8<<20 {
			t.Fatalf("the reader holds %d bytes, want at most 8 MiB", held)
		}
		if want := strconv.Itoa(got); string(recs[0].Data[:len(want)]) != want {
			t.Fatalf("record %d starts with %q", got, recs[0].Data[:4])
		}
		got++
	}
}

func TestLogCloseEndsReaders(t *testing.T) {
	log := eventlogtest.Open(t)
	r, err := log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context(), 1, 1, patience); !errors.Is(err, eventlog.ErrClosed) {
		t.Fatalf("next: %v, want %v", err, eventlog.ErrClosed)
	}
	r.Close()
	if _, err := log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage}); err == nil {
		t.Fatal("a closed log reads")
	}
	if _, err := log.Append(t.Context(), eventlog.Message{Subject: "envelope.0.a"}); !errors.Is(err, schemas.ErrUnavailable) {
		t.Fatalf("append to a closed log: %v, want %v", err, schemas.ErrUnavailable)
	}
}

func TestParseDelivery(t *testing.T) {
	for _, c := range []struct {
		reply string
		want  string
	}{
		{"$JS.ACK.USAGE.c.1.7.8.9.10", "7 8 9 true"},
		{"$JS.ACK.dom.hash.USAGE.c.1.7.8.9.10", "7 8 9 true"},
		{"$JS.ACK.dom.hash.USAGE.c.1.7.8.9.10.random", "7 8 9 true"},
		{"$JS.ACK.USAGE.c.1.7.8.9", "0 0 0 false"},
		{"$JS.ACK.USAGE.c.1.7.8.9.10.x", "0 0 0 false"},
		{"$JS.ACK.USAGE.c.1.x.8.9.10", "0 8 9 false"},
		{"", "0 0 0 false"},
	} {
		seq, consumer, at, ok := eventlog.ParseDelivery(c.reply)
		if got := fmt.Sprint(seq, consumer, at, ok); got != c.want {
			t.Errorf("%s: %s, want %s", c.reply, got, c.want)
		}
	}
}

func FuzzParseDelivery(f *testing.F) {
	f.Add("$JS.ACK.USAGE.c.1.7.8.9.10")
	f.Add("$JS.ACK.dom.hash.USAGE.c.1.7.8.9.10.random")
	f.Fuzz(func(t *testing.T, reply string) {
		seq, consumer, at, ok := eventlog.ParseDelivery(reply)
		if !ok {
			return
		}
		// What was read is what a reply made of it reads back.
		again := fmt.Sprintf("$JS.ACK.S.c.1.%d.%d.%d.0", seq, consumer, at)
		if s, c, a, ok := eventlog.ParseDelivery(again); !ok || s != seq || c != consumer || a != at {
			t.Fatalf("%q reads as %d %d %d, and %q does not", reply, seq, consumer, at, again)
		}
	})
}

func await(t testing.TB, what string, there func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !there(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %s", what, patience)
		}
	}
}
