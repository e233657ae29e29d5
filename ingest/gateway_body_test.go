package ingest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/agentik-os/panda/schemas"
)

func TestGatewayRefusesBodies(t *testing.T) {
	many := make([]string, schemas.BatchEventsMax+1)
	for i := range many {
		many[i] = call(fmt.Sprint(i))
	}
	for _, c := range []struct {
		name, body string
		header     []string
		status     int
		code       string
	}{
		{"empty", "", nil, 400, "invalid"},
		{"not JSON", "hello", nil, 400, "invalid"},
		{"a broken array", "[" + call("a"), nil, 400, "invalid"},
		{"a batch over the limit", batchOf(many...), nil, 413, "too_large"},
		{"2 MiB", strings.Repeat(" ", 2<<20), nil, 413, "too_large"},
		{"one byte too many", strings.Repeat(" ", 1<<20+1), nil, 413, "too_large"},
		{"as much as fits, but nothing", strings.Repeat(" ", 1<<20), nil, 400, "invalid"},
		{"a form", call("a"), []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"},
		{"latin-1", call("a"), []string{"Content-Type", "application/json; charset=latin1"}, 415, "unsupported_media_type"},
		{"brotli", call("a"), []string{"Content-Encoding", "br"}, 415, "unsupported_media_type"},
		{"two encodings", call("a"), []string{"Content-Encoding", "gzip, zstd"}, 415, "unsupported_media_type"},
		{"not gzip", call("a"), []string{"Content-Encoding", "gzip"}, 400, "invalid"},
		{"half a gzip", gzipped(t, call("a"))[:40], []string{"Content-Encoding", "gzip"}, 400, "invalid"},
		{"not zstd", call("a"), []string{"Content-Encoding", "zstd"}, 400, "invalid"},
		{"half a zstd", zstded(t, call("a"))[:40], []string{"Content-Encoding", "zstd"}, 400, "invalid"},
		{"one byte too many in gzip", gzipped(t, strings.Repeat(" ", 1<<20+1)), []string{"Content-Encoding", "gzip"}, 413, "too_large"},
		{"one byte too many in zstd", zstded(t, strings.Repeat(" ", 1<<20+1)), []string{"Content-Encoding", "zstd"}, 413, "too_large"},
		{"a gzip bomb", gzipped(t, strings.Repeat(" ", 64<<20)), []string{"Content-Encoding", "gzip"}, 413, "too_large"},
		{"a zstd bomb", zstded(t, strings.Repeat(" ", 64<<20)), []string{"Content-Encoding", "zstd"}, 413, "too_large"},
		{"a zstd bomb that names its size", zstdAll(t, strings.Repeat(" ", 64<<20)), []string{"Content-Encoding", "zstd"}, 413, "too_large"},
		{"a zstd bomb of many frames", strings.Repeat(zstdAll(t, strings.Repeat(" ", 1<<20)), 64),
			[]string{"Content-Encoding", "zstd"}, 413, "too_large"},
		{"a zstd window without end", "\x28\xb5\x2f\xfd\x00\xa0" + "\x01\x00\x00", []string{"Content-Encoding", "zstd"}, 413, "too_large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &envelopeLog{t: t}
			got := post(t, testGateway(t, log, nil), "/v1/events", c.body, c.header...)
			if got.Status != c.status || got.Code != c.code || got.Detail == "" {
				t.Errorf("have %+v, want %d %s", got, c.status, c.code)
			}
			if len(log.subjects) > 0 {
				t.Error("something was stored")
			}
		})
	}
}

// A body whose length is announced is refused before a byte of it is read, and
// one without a length when the limit is passed, not at its end.
func TestGatewayStopsReading(t *testing.T) {
	h := testGateway(t, &envelopeLog{t: t}, nil)
	for announced, readMax := range map[int64]int{2 << 20: 0, -1: 1<<20 + 1} {
		body := &countingReader{}
		r := httptest.NewRequest(http.MethodPost, "/v1/events", body)
		r.ContentLength = announced
		r.Header.Set("Authorization", "Bearer acme:ingest")
		if got := send(t, h, r); got.Status != 413 || body.n > readMax {
			t.Errorf("length %d: %d after %d bytes, at most %d", announced, got.Status, body.n, readMax)
		}
	}
}

// countingReader gives spaces without end.
type countingReader struct{ n int }

func (r *countingReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	r.n += len(p)
	return len(p), nil
}

// A bomb costs what a body of the limit costs, not what it would unpack to.
func TestGatewayBombsStaySmall(t *testing.T) {
	const unpacked, spentMax = 256 << 20, 8 << 20
	h := testGateway(t, &envelopeLog{t: t}, nil)
	for encoding, bomb := range map[string]string{
		"gzip": gzipped(t, strings.Repeat(" ", unpacked)), "zstd": zstded(t, strings.Repeat(" ", unpacked)),
	} {
		post(t, h, "/v1/events", call("a")) // what is made once is made now
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := post(t, h, "/v1/events", bomb, "Content-Encoding", encoding)
		runtime.ReadMemStats(&after)
		if spent := after.TotalAlloc - before.TotalAlloc; got.Status != 413 || spent > spentMax {
			t.Errorf("%s: %d, %d bytes were allocated, at most %d", encoding, got.Status, spent, spentMax)
		}
	}
}

func TestGatewayTakesEveryForm(t *testing.T) {
	for _, c := range []struct {
		name, body string
		header     []string
		events     int
	}{
		{"one event", call("a"), []string{"Content-Type", "application/cloudevents+json"}, 1},
		{"a batch", batchOf(call("a"), call("b")), []string{"Content-Type", "application/cloudevents-batch+json; charset=UTF-8"}, 2},
		{"plain JSON", "\n\t" + batchOf(call("a"), call("b")), nil, 2},
		{"without a type", call("a"), []string{"Content-Type", ""}, 1},
		{"gzip", gzipped(t, batchOf(call("a"), call("b"))), []string{"Content-Encoding", "gzip"}, 2},
		{"zstd as a stream", zstded(t, batchOf(call("a"), call("b"))), []string{"Content-Encoding", "ZSTD"}, 2},
		{"zstd at once", zstdAll(t, batchOf(call("a"), call("b"))), []string{"Content-Encoding", "zstd"}, 2},
		{"zstd of just the limit", zstded(t, batchOf(call("a"))+strings.Repeat(" ", 1<<20-len(call("a"))-2)), []string{"Content-Encoding", "zstd"}, 1},
		{"gzip of just the limit", gzipped(t, batchOf(call("a"))+strings.Repeat(" ", 1<<20-len(call("a"))-2)), []string{"Content-Encoding", "gzip"}, 1},
		{"zstd of many blocks", zstded(t, string(benchBatch(500))), []string{"Content-Encoding", "zstd"}, 500},
		{"binary", `{"model":"m"}`, []string{"ce-id", "a", "ce-source", "/s", "ce-type", "llm.call",
			"ce-time", "2026-01-15T11:59:00Z", "ce-specversion", "1.0"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &envelopeLog{t: t}
			h := testGateway(t, log, nil)
			for range 2 { // the second time with used buffers
				log.events, log.ids = nil, nil
				if got := post(t, h, "/v1/events", c.body, c.header...); got.Status != 200 || got.Accepted != c.events || len(log.events) != c.events {
					t.Errorf("have %d %s %s with %d stored", got.Status, got.Code, got.Detail, len(log.events))
				}
			}
		})
	}
}

func gzipped(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	return written(t, w, &b, s)
}

// zstded compresses as a stream, so the frame says nothing of its size.
func zstded(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	return written(t, w, &b, s)
}

func written(t testing.TB, w io.WriteCloser, b *bytes.Buffer, s string) string {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zstdAll(t testing.TB, s string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(s), nil))
}
