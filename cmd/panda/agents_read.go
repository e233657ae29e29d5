package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"

	"github.com/agentik-os/panda/schemas"
)

func tenantLevelsPath(tenant string) string {
	return "/v1/tenants/" + url.PathEscape(tenant) + "/usage-levels"
}

// agentsHead finds the mark of a file of `panda export` at its beginning.
var agentsHead = regexp.MustCompile(`^\s*\{\s*"format"\s*:\s*"` + regexp.QuoteMeta(agentsFormat) + `"`)

// agentsRows reads the events of a file of `panda export`, one after the other; the
// rest of the document is for people. Its line is the event's, as export writes one a
// line.
type agentsRows struct {
	in     *json.Decoder
	begun  bool
	ended  bool
	events int64
}

// next implements rowReader. A document that ends too early is an error: it was cut
// off, and so may be what it holds.
func (r *agentsRows) next() (fileRow, error) {
	if r.ended {
		return fileRow{}, io.EOF
	}
	if !r.begun {
		if err := r.begin(); err != nil {
			return fileRow{}, err
		}
		r.begun = true
	}
	if !r.in.More() {
		return fileRow{}, r.end()
	}
	var raw json.RawMessage
	if err := r.in.Decode(&raw); err != nil {
		return fileRow{}, r.broken(err)
	}
	r.events++
	line := r.events + 1
	if len(raw) > schemas.EventBytesMax {
		return fileRow{line: line}, &columnError{"", fmt.Sprintf("%d bytes; an event has at most %d", len(raw), schemas.EventBytesMax)}
	}
	row, err := parseObject(raw)
	row.line = line
	if err == nil && row.event == nil {
		err = &columnError{"", "this is not a CloudEvent"}
	}
	return row, err
}

// begin reads up to the first event.
func (r *agentsRows) begin() error {
	if _, err := r.in.Token(); err != nil {
		return r.broken(err)
	}
	for r.in.More() {
		name, err := r.in.Token()
		if err != nil {
			return r.broken(err)
		}
		if name == "events" {
			if open, err := r.in.Token(); err != nil || open != json.Delim('[') {
				return usagef("events is not a list; this is no file of panda export")
			}
			return nil
		}
		var value json.RawMessage
		if err := r.in.Decode(&value); err != nil {
			return r.broken(err)
		}
		if name == "version" && string(value) != fmt.Sprint(agentsVersion) {
			return usagef("the file is of version %s of %s; this panda knows %d, use a newer one", value, agentsFormat, agentsVersion)
		}
	}
	return usagef("the file has no events; it is no file of panda export")
}

// end reads what follows the events, and whether all of them were there.
func (r *agentsRows) end() error {
	if _, err := r.in.Token(); err != nil {
		return r.broken(err)
	}
	counted := false
	for r.in.More() {
		name, err := r.in.Token()
		if err != nil {
			return r.broken(err)
		}
		var value json.RawMessage
		if err := r.in.Decode(&value); err != nil {
			return r.broken(err)
		}
		if name == "count" {
			if counted = true; string(value) != fmt.Sprint(r.events) {
				return usagef("the file says that it has %s events, and has %d; export it again", value, r.events)
			}
		}
	}
	if _, err := r.in.Token(); err != nil {
		return r.broken(err)
	}
	if !counted {
		return usagef("the file does not say how many events it has; it is no file of panda export")
	}
	r.ended = true
	return io.EOF
}

func (r *agentsRows) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return usagef("the file ends after %d events, before its end; export it again, what was imported is recognised", r.events)
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return usagef("the file is not JSON after %d events: %v", r.events, err)
	}
	return fmt.Errorf("read: %w", err)
}
