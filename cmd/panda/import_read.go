package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/agentik-os/panda/schemas"
)

const (
	byteOrderMark = "\ufeff"
	// lineBytesMax bounds a line of JSONL: several times the largest event, for
	// objects of which few members are mapped.
	lineBytesMax = 4 * schemas.EventBytesMax
	// peekBytes is how much of a file its form is told by.
	peekBytes = 4096
	// zstdWindowMax bounds what a compressed file may make us hold.
	zstdWindowMax = 128 << 20
)

// The forms of an import file.
const (
	formatAuto  = "auto"
	formatCSV   = "csv"
	formatJSONL = "jsonl"
)

// A fileRow is a row of a file: either cells under names, or a whole event.
type fileRow struct {
	line  int64
	names []string
	cells []string
	// event is a CloudEvent as it stands in the file; then there are no cells.
	event      []byte
	id, source string // of event
}

// rowReader reads a file row by row. A *columnError is about one row; the next
// call goes on after it. io.EOF is the end; any other error ends the file. What
// a row holds is valid until the next call.
type rowReader interface {
	next() (fileRow, error)
}

// openRows unpacks a file, tells its form by its content and returns its reader.
// close frees the decompressor.
func openRows(r io.Reader, format string) (rows rowReader, closeRows func(), err error) {
	plain, closePlain, err := unpack(bufio.NewReaderSize(r, peekBytes))
	if err != nil {
		return nil, nil, err
	}
	text := bufio.NewReaderSize(plain, 64<<10)
	head, short := text.Peek(peekBytes)
	if short != nil && !errors.Is(short, io.EOF) {
		closePlain()
		return nil, nil, fmt.Errorf("read: %w", short)
	}
	if bytes.HasPrefix(head, []byte(byteOrderMark)) {
		_, _ = text.Discard(len(byteOrderMark)) // it is in the buffer
		head = head[len(byteOrderMark):]
	}
	first := bytes.TrimLeftFunc(head, unicode.IsSpace)
	if format == formatAuto && agentsHead.Match(head) {
		return &agentsRows{in: json.NewDecoder(text)}, closePlain, nil
	}
	if format == formatAuto {
		format = formatCSV
		if len(first) > 0 && (first[0] == '{' || first[0] == '[') {
			format = formatJSONL
		}
	}
	switch {
	case len(first) == 0:
		err = usagef("the file is empty")
	case bytes.IndexByte(head, 0) >= 0:
		err = usagef("the file is not text; CSV and JSONL in UTF-8, plain or packed with gzip or zstd, can be read")
	case format == formatCSV:
		rows, err = newCSVRows(text)
	case first[0] == '[':
		err = usagef("the file is a JSON array; write one object per line (jq -c '.[]' does it)")
	default:
		rows = &jsonRows{in: text}
	}
	if err != nil {
		closePlain()
		return nil, nil, err
	}
	return rows, closePlain, nil
}

// unpack returns the plain bytes of a file, told by its first bytes, not its name.
func unpack(r *bufio.Reader) (io.Reader, func(), error) {
	magic, _ := r.Peek(4) // shorter files are neither
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, usagef("unpack gzip: %v", err)
		}
		return z, func() { _ = z.Close() }, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(zstdWindowMax), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, usagef("unpack zstd: %v", err)
		}
		return z, z.Close, nil
	}
	return r, func() {}, nil
}

// csvRows reads RFC 4180 with a header row.
type csvRows struct {
	in    *csv.Reader
	names []string
}

func newCSVRows(r io.Reader) (*csvRows, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = -1 // checked by next, which can name the line and go on
	in.ReuseRecord = true
	header, err := in.Read()
	if err != nil {
		return nil, usagef("read the header row: %v", err)
	}
	names := make([]string, len(header))
	for i, n := range header {
		names[i] = strings.TrimSpace(n)
	}
	if len(names) == 1 && strings.ContainsAny(names[0], ";\t|") {
		return nil, usagef("the header row %q is not separated by commas", shortened(names[0]))
	}
	return &csvRows{in: in, names: names}, nil
}

func (c *csvRows) next() (fileRow, error) {
	cells, err := c.in.Read()
	var parse *csv.ParseError
	switch {
	case errors.As(err, &parse):
		return fileRow{line: int64(parse.StartLine)}, &columnError{"", "this is not CSV: " + parse.Err.Error()}
	case errors.Is(err, io.EOF):
		return fileRow{}, io.EOF
	case err != nil:
		return fileRow{}, fmt.Errorf("read: %w", err)
	}
	line, _ := c.in.FieldPos(0)
	row := fileRow{line: int64(line), names: c.names, cells: cells}
	if len(cells) != len(c.names) {
		return row, &columnError{"", fmt.Sprintf("%d cells; the header has %d columns", len(cells), len(c.names))}
	}
	return row, nil
}

// jsonRows reads one JSON object per line.
type jsonRows struct {
	in   *bufio.Reader
	line int64
	buf  []byte
}

func (j *jsonRows) next() (fileRow, error) {
	for {
		text, err := j.readLine()
		if err != nil {
			return fileRow{line: j.line}, err
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			row, err := parseObject(text)
			row.line = j.line
			return row, err
		}
	}
}

// readLine returns the next line. A line that is too long is read past.
func (j *jsonRows) readLine() ([]byte, error) {
	j.buf = j.buf[:0]
	long := false
	for {
		part, err := j.in.ReadSlice('\n')
		long = long || len(j.buf)+len(part) > lineBytesMax
		if !long {
			j.buf = append(j.buf, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(part) == 0 && len(j.buf) == 0 && !long:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read: %w", err)
		}
		j.line++
		if long {
			return nil, &columnError{"", fmt.Sprintf("the line is longer than %d bytes", lineBytesMax)}
		}
		return j.buf, nil
	}
}

// parseObject reads a line: a CloudEvent, told by its specversion, or an object
// whose members are cells.
func parseObject(text []byte) (fileRow, error) {
	var event struct {
		SpecVersion *string `json:"specversion"`
		ID          string  `json:"id"`
		Source      string  `json:"source"`
	}
	if err := json.Unmarshal(text, &event); err == nil && event.SpecVersion != nil {
		return fileRow{event: text, id: event.ID, source: event.Source}, nil
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber()
	if open, err := in.Token(); err != nil || open != json.Delim('{') {
		return fileRow{}, &columnError{"", "this is not a JSON object"}
	}
	var row fileRow
	for in.More() {
		name, err := in.Token()
		if err != nil {
			return row, notJSON(err)
		}
		var raw json.RawMessage
		if err := in.Decode(&raw); err != nil {
			return row, notJSON(err)
		}
		row.names = append(row.names, fmt.Sprint(name))
		row.cells = append(row.cells, cellOf(raw))
	}
	if _, err := in.Token(); err != nil {
		return row, notJSON(err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return row, &columnError{"", "more follows the JSON object; write one object per line"}
	}
	return row, nil
}

func notJSON(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &columnError{"", "this is not JSON: the line ends within the object"}
	}
	return &columnError{"", "this is not JSON: " + err.Error()}
}

// cellOf is a member's text: that of a string, a number or a boolean, nothing
// for null. Objects and arrays stay JSON, which no count or time takes.
func cellOf(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text // null leaves it empty
	}
	return string(raw)
}

// baseName is a file's name for people.
func baseName(path string) string {
	if path == "-" {
		return "standard input"
	}
	return filepath.Base(path)
}
