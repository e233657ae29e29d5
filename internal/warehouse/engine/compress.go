package engine

import (
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// decoder returns a reader of what an HTTP body with this Content-Encoding says.
func decoder(encoding string, body io.Reader) (io.Reader, func(), error) {
	nothing := func() {}
	bad := func(err error) (io.Reader, func(), error) {
		return nil, nothing, exceptionf(codeCannotParse, "CANNOT_READ_ALL_DATA", "decompress %s body: %v", encoding, err)
	}
	switch strings.ToLower(encoding) {
	case "", "identity", "none":
		return body, nothing, nil
	case "gzip":
		r, err := gzip.NewReader(body)
		if err != nil {
			return bad(err)
		}
		return r, nothing, nil
	case "deflate":
		r, err := zlib.NewReader(body)
		if err != nil {
			return bad(err)
		}
		return r, nothing, nil
	case "br":
		return brotli.NewReader(body), nothing, nil
	case "zstd":
		r, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20))
		if err != nil {
			return bad(err)
		}
		return r, r.Close, nil
	case "lz4":
		return lz4.NewReader(body), nothing, nil
	}
	return nil, nothing, exceptionf(codeNotImplemented, "UNKNOWN_COMPRESSION_METHOD",
		"Content-Encoding %q is not supported: use gzip, deflate, br, zstd or lz4", encoding)
}

// nativeDecoder reads ClickHouse's own compressed blocks (decompress=1).
func nativeDecoder(r io.Reader) io.Reader {
	cr := chproto.NewReader(r)
	cr.EnableCompression()
	return blockEnd{cr}
}

// blockEnd turns the end of the input at a block's border, which the reader
// reports inside another error, into a plain io.EOF. An end within a block stays
// an error.
type blockEnd struct{ r io.Reader }

func (b blockEnd) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// encoder is a response body's compression. Flush ends a frame so that a client
// can read what was written so far.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// chooseEncoding picks what the client accepts, in the order of cost.
func chooseEncoding(accept string) string {
	for _, name := range []string{"zstd", "gzip", "br", "deflate"} {
		for _, part := range strings.Split(accept, ",") {
			if offer, weight, _ := strings.Cut(strings.TrimSpace(part), ";"); strings.EqualFold(offer, name) &&
				!strings.HasSuffix(strings.ReplaceAll(weight, " ", ""), "q=0") {
				return name
			}
		}
	}
	return ""
}

func newEncoder(name string, w io.Writer) (encoder, error) {
	switch name {
	case "zstd":
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	case "gzip":
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case "br":
		return brotli.NewWriterLevel(w, brotli.BestSpeed), nil
	case "deflate":
		return zlib.NewWriterLevel(w, flate.BestSpeed)
	}
	return nil, nil
}

// blockEncoder writes ClickHouse's own compressed blocks (compress=1), each of
// at most a mebibyte as a server does.
type blockEncoder struct {
	w io.Writer
	c *compress.Writer
}

func newBlockEncoder(w io.Writer, method string) encoder {
	m := compress.LZ4
	if strings.EqualFold(method, "ZSTD") {
		m = compress.ZSTD
	}
	return &blockEncoder{w: w, c: compress.NewWriter(0, m)}
}

func (b *blockEncoder) Write(p []byte) (int, error) {
	const blockMax = 1 << 20
	n := 0
	for len(p) > 0 {
		part := p[:min(len(p), blockMax)]
		if err := b.c.Compress(part); err != nil {
			return n, err
		}
		if _, err := b.w.Write(b.c.Data); err != nil {
			return n, err
		}
		n += len(part)
		p = p[len(part):]
	}
	return n, nil
}

func (b *blockEncoder) Flush() error { return nil }
func (b *blockEncoder) Close() error { return nil }
