package ingest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/agentik-os/panda/schemas"
)

// benchBatch is a batch as runtimes send it: events of about 600 bytes.
func benchBatch(events int) []byte {
	models := []string{"claude-sonnet-4-5-20250929", "gpt-5.1-2026-02-01", "gemini-3-pro", "claude-opus-4-6"}
	var b bytes.Buffer
	b.WriteByte('[')
	for i := range events {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"specversion":"1.0","id":"01JG4X5Z8QY6W7V9-%08d","source":"/runtime/eu-central-1/pool-%d","type":"llm.call",`+
			`"time":"2026-01-15T10:%02d:%02d.%03dZ","datacontenttype":"application/json","data":{"provider":"anthropic","model":"%s",`+
			`"department":"engineering","cost_center":"cc-4711","agent":"agent-%d","user":"user-%d","session":"sess-%016x","run":"run-%016x",`+
			`"status":"ok","latency_ms":%d,"completeness":"reported","service_tier":"standard","tokens":{"input":%d,"cache_read":15000,`+
			`"cache_write_5m":1200,"output":%d},"tags":{"env":"production","team":"platform"}}}`,
			i, i%4, i/60%60, i%60, i%1000, models[i%len(models)], i%50, i%200, i*7919, i*104729, 200+i%3000, 1000+i, 300+i%900)
	}
	b.WriteByte(']')
	return b.Bytes()
}

func BenchmarkDecodeBatch(b *testing.B) {
	const events = 500
	body := benchBatch(events)
	d := NewEventDecoder()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		out, err := d.Batch(body, schemas.BatchEventsMax)
		if err != nil || len(out) != events || out[0].Err != nil {
			b.Fatal(err, out[0].Err)
		}
	}
	b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkEncodeEvent(b *testing.B) {
	e := fullEventDecoded()
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = EncodeEvent(dst[:0], &e)
	}
}
