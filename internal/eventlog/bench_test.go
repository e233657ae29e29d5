package eventlog_test

import (
	"slices"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// BenchmarkAppend is one envelope of 64 KiB at a time, fsynced.
func BenchmarkAppend(b *testing.B) {
	log := eventlogtest.OpenConfig(b, eventlog.Config{UsageMaxBytes: 32 << 30})
	data := make([]byte, 64<<10)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := log.Append(b.Context(), eventlog.Message{Subject: "envelope.0.acme", Data: data}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.SetBytes(int64(len(data)))
}

// BenchmarkAppendAsync is envelopes of 64 KiB, as many on the way as may be.
func BenchmarkAppendAsync(b *testing.B) {
	log := eventlogtest.OpenConfig(b, eventlog.Config{UsageMaxBytes: 32 << 30})
	data := make([]byte, 64<<10)
	var futures []*eventlog.Future
	for b.Loop() {
		f, err := log.AppendAsync(b.Context(), eventlog.Message{Subject: "envelope.0.acme", Data: data})
		if err != nil {
			b.Fatal(err)
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		if _, err := f.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(data)))
}

// BenchmarkRead is messages of 350 bytes, read from the start in batches.
func BenchmarkRead(b *testing.B) {
	log := eventlogtest.OpenConfig(b, eventlog.Config{UsageMaxBytes: 32 << 30})
	const n = 20000
	data := make([]byte, 350)
	for range n {
		if _, err := log.AppendAsync(b.Context(), eventlog.Message{Subject: "envelope.0.acme", Data: data}); err != nil {
			b.Fatal(err)
		}
	}
	await(b, "last record", func() bool {
		state, err := log.State(b.Context(), schemas.StreamUsage)
		return err == nil && state.Last == n
	})
	for b.Loop() {
		r, err := log.Read(b.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage, From: 1})
		if err != nil {
			b.Fatal(err)
		}
		for got := 0; got < n; {
			recs, err := r.Next(b.Context(), 1000, 1<<20, patience)
			if err != nil || len(recs) == 0 {
				b.Fatal(err)
			}
			got += len(recs)
		}
		r.Close()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}
