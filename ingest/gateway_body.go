package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/agentik-os/panda/internal/httpapi"
)

// zstdWindowMax is the largest window a zstd frame may ask for: 8 MiB is what
// every decoder has to support (RFC 8878 §3.1.1.1.2). No window is ever
// allocated here: frames are decoded straight into the body's buffer.
const zstdWindowMax = 8 << 20

// A bodyReader reads bodies of a bounded size, compressed or not. It never holds
// more than twice the limit: what was sent, and what came out.
type bodyReader struct {
	limit int
	zstd  *zstd.Decoder // for DecodeAll, which any number may call at once
	gzip  sync.Pool     // of *gzip.Reader
}

func newBodyReader(limit int) *bodyReader {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(zstdWindowMax), zstd.WithDecoderMaxMemory(zstdWindowMax),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic("ingest: the options of the zstd decoder are wrong: " + err.Error())
	}
	return &bodyReader{limit: limit, zstd: dec}
}

// read fills x.body.
func (b *bodyReader) read(r *http.Request, x *exchange) error {
	if err := checkMediaType(r); err != nil {
		return err
	}
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ",")))
	switch encoding {
	case "", "identity", "gzip", "x-gzip", "zstd":
	default:
		return httpapi.Problem{Status: http.StatusUnsupportedMediaType, Code: httpapi.CodeMediaType,
			Detail: fmt.Sprintf("Content-Encoding %q is not known here; use gzip, zstd or none", clipped([]byte(encoding)))}
	}
	if r.ContentLength > int64(b.limit) {
		return b.tooLarge()
	}
	plain := encoding == "" || encoding == "identity"
	into := &x.wire
	if plain {
		into = &x.body
	}
	err := b.readAll(r.Body, into, int(r.ContentLength))
	x.wired = int64(len(*into))
	if err != nil || plain {
		return err
	}
	if encoding == "zstd" {
		return b.decodeZstd(x)
	}
	return b.decodeGzip(x)
}

// heldMax is how many bytes of body a request may come to hold, as its headers
// say before anything is read.
func (b *bodyReader) heldMax(r *http.Request) int64 {
	if r.ContentLength < 0 || r.Header.Get("Content-Encoding") != "" {
		return int64(b.limit)
	}
	return min(r.ContentLength, int64(b.limit))
}

// readAll reads until the end, at most limit bytes. hint is the expected size,
// or less than one.
func (b *bodyReader) readAll(from io.Reader, into *[]byte, hint int) error {
	buf := (*into)[:0]
	if want := max(hint, 512) + 1; cap(buf) < want { // one more, to see the end without growing
		buf = make([]byte, 0, want)
	}
	defer func() { *into = buf }()
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := from.Read(buf[len(buf):min(cap(buf), b.limit+1)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > b.limit:
			return b.tooLarge()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return unreadable("the body could not be read to its end", err)
		}
	}
}

func (b *bodyReader) decodeGzip(x *exchange) error {
	reader, _ := b.gzip.Get().(*gzip.Reader)
	var err error
	if reader == nil {
		reader, err = gzip.NewReader(bytes.NewReader(x.wire))
	} else {
		err = reader.Reset(bytes.NewReader(x.wire))
	}
	if err != nil {
		return unreadable("the body is not gzip", err)
	}
	defer b.gzip.Put(reader)
	return b.readAll(reader, &x.body, 0)
}

// decodeZstd decodes into a buffer that the decoder may not outgrow. It has room
// for two blocks beyond the limit, so that a body which is too large shows by
// its length, whatever error the decoder finds for it.
func (b *bodyReader) decodeZstd(x *exchange) error {
	const blockMax = 128 << 10 // RFC 8878 §3.1.1.2.4
	room := b.limit + 2*blockMax
	if cap(x.body) < room {
		x.body = make([]byte, 0, room)
	}
	body, err := b.zstd.DecodeAll(x.wire, x.body[:0:room])
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), len(body) > b.limit:
		return b.tooLarge()
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return httpapi.Problem{Status: http.StatusRequestEntityTooLarge, Code: httpapi.CodeTooLarge,
			Detail: fmt.Sprintf("the zstd window is larger than %d bytes; compress without a long-distance mode", zstdWindowMax)}
	case err != nil:
		return unreadable("the body is not zstd", err)
	}
	x.body = body
	return nil
}

func (b *bodyReader) tooLarge() error {
	return httpapi.ProblemOf(&http.MaxBytesError{Limit: int64(b.limit)})
}

// unreadable is the answer to a body that broke off or does not decompress. The
// cause is the client's or the connection's.
func unreadable(detail string, cause error) error {
	p := httpapi.Problem{Status: http.StatusBadRequest, Code: httpapi.CodeInvalid, Title: "Unreadable body",
		Detail: detail + "; send it again"}
	return fmt.Errorf("%w (%w)", p, cause)
}

const (
	mediaEvent = "application/cloudevents+json"
	mediaBatch = "application/cloudevents-batch+json"
	mediaJSON  = "application/json"
)

// checkMediaType refuses a body that is not JSON. Which of the three types it
// names does not matter: one event and a batch are told apart by themselves.
func checkMediaType(r *http.Request) error {
	value := r.Header.Get("Content-Type")
	if value == mediaBatch || value == mediaEvent || value == mediaJSON || value == "" {
		return nil
	}
	media, params, err := mime.ParseMediaType(value)
	charset := params["charset"]
	if err == nil && (media == mediaEvent || media == mediaBatch || media == mediaJSON) &&
		(charset == "" || strings.EqualFold(charset, "utf-8")) {
		return nil
	}
	return httpapi.Problem{Status: http.StatusUnsupportedMediaType, Code: httpapi.CodeMediaType,
		Detail: fmt.Sprintf("Content-Type %q is not taken here; use %s, %s or %s in UTF-8",
			clipped([]byte(value)), mediaBatch, mediaEvent, mediaJSON)}
}

// isBinaryRequest reports whether the event's attributes are in the headers.
func isBinaryRequest(r *http.Request) bool {
	return !strings.HasPrefix(r.Header.Get("Content-Type"), "application/cloudevents") && IsBinary(r.Header)
}
