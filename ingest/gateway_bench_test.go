package ingest

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/tenancy"
)

// noLog acknowledges at once: what is measured is the gateway.
type noLog struct{}

func (noLog) Append(context.Context, string, string, []byte) (uint64, bool, error) {
	return 1, false, nil
}

// discardAnswer is a ResponseWriter without a buffer.
type discardAnswer struct{ header http.Header }

func (w discardAnswer) Header() http.Header         { return w.header }
func (w discardAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (w discardAnswer) WriteHeader(int)             {}

func BenchmarkGateway(b *testing.B) {
	const events = 500
	for _, c := range []struct{ name, encoding, body string }{
		{"plain", "", string(benchBatch(events))},
		{"gzip", "gzip", gzipped(b, string(benchBatch(events)))},
		{"zstd", "zstd", zstdAll(b, string(benchBatch(events)))},
	} {
		b.Run(c.name, func(b *testing.B) {
			g := NewGateway(GatewayConfig{Key: gatewayKey, Now: func() time.Time { return gatewayNow }, Logger: zerolog.Nop()}, noLog{})
			scope := tenancy.ScopeOf("acme", "test", tenancy.PermissionIngest)
			sent := []byte(c.body)
			body := bytes.NewReader(sent)
			r := httptest.NewRequest(http.MethodPost, "/v1/events?verdicts=rejected", body)
			r.Header.Set("Content-Encoding", c.encoding)
			w := discardAnswer{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(sent)
				if err := g.Events(w, r, scope); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
