package ingest

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/schemas"
)

// FuzzScanner compares the scanner with the standard library on any text: both
// take it as JSON, or both refuse it, and a string means the same to both.
// Where the scanner is stricter on purpose (nesting, half surrogate pairs), that
// must be the reason.
func FuzzScanner(f *testing.F) {
	for _, bad := range badEvents(f) {
		f.Add([]byte(bad.event))
	}
	for _, s := range []string{`-0.0e+10`, `"\ud83d\ude00\b\u00e9"`, `[1,,2]`, `{"a":[true,false,null]}`, `01`, `"`, `-`, `1.`, `[]]`, "\"\x7f\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := &scanner{}
		s.reset(text)
		err := s.skip()
		if err == nil {
			if s.peek(); s.i < len(text) {
				err = s.malformed("the end")
			}
		}
		if valid := json.Valid(text); valid != (err == nil) {
			stricter := bytes.Contains(text, []byte(`\u`)) || bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > depthMax
			if !valid || !stricter {
				t.Fatalf("json.Valid says %v, the scanner says %v", valid, err)
			}
		}
		if err == nil {
			var ours scanner
			ours.reset(text)
			if !ours.extent() && ours.peek() != 0 {
				switch bytes.TrimLeft(text, " \t\r\n")[0] {
				case '{', '[', '"':
					t.Fatal("extent does not find the end of valid JSON")
				}
			}
		}
		s.reset(text)
		var want string
		if got, err := s.str(); err == nil && s.i == len(text) && json.Unmarshal(text, &want) == nil &&
			want != string(bytes.ToValidUTF8(got, []byte("\uFFFD"))) && bytes.Equal(got, bytes.ToValidUTF8(got, nil)) {
			t.Fatalf("the string is %q, was read as %q", want, got)
		}
	})
}

// FuzzDecodeBatch holds the decoder to what must be true of any body: it does
// not panic, an accepted event is valid and survives being written, neighbours
// are independent, and a decoder that is used again answers the same.
func FuzzDecodeBatch(f *testing.F) {
	for _, bad := range badEvents(f) {
		f.Add([]byte("[" + bad.event + "," + call("a") + "]"))
	}
	f.Add([]byte(fullEvent))
	f.Add(benchBatch(2))
	used := NewEventDecoder()
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := DecodeDirect(body)
		again, errAgain := used.Any(body, schemas.BatchEventsMax)
		if (err == nil) != (errAgain == nil) || len(got) != len(again) {
			t.Fatalf("a used decoder answers differently: %v, %v", err, errAgain)
		}
		if err != nil {
			fieldOf(t, err)
			return
		}
		for i := range got {
			d := &got[i]
			if diff := cmp.Diff(d.Event, again[i].Event, compareMoney); diff != "" || (d.Err == nil) != (again[i].Err == nil) {
				t.Fatalf("a used decoder decodes differently: %s", diff)
			}
			if !bytes.Contains(body, d.Raw) {
				t.Fatalf("raw is no part of the body: %q", d.Raw)
			}
			alone, errAlone := DecodeEvent(d.Raw)
			if (errAlone == nil) != (d.Err == nil) {
				t.Fatalf("alone it is %v, in the batch %v: %q", errAlone, d.Err, d.Raw)
			}
			if d.Err != nil {
				fieldOf(t, d.Err)
				continue
			}
			if diff := cmp.Diff(d.Event, alone, compareMoney); diff != "" {
				t.Fatal(diff)
			}
			if err := alone.Validate(); err != nil {
				t.Fatalf("accepted and not valid: %v", err)
			}
			written := EncodeEvent(nil, &alone)
			if !json.Valid(written) {
				t.Fatalf("not JSON: %s", written)
			}
			read, err := DecodeEvent(written)
			alone.Flag = ""
			if diff := cmp.Diff(alone, read, compareMoney); err != nil || diff != "" {
				t.Fatalf("%v %s\n%s", err, diff, written)
			}
		}
	})
}

// FuzzTime compares the parser with the standard library, which takes more than
// RFC 3339 but never reads the same text as another time.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-01-31T23:59:59.2509+01:00", "2024-02-29T00:00:00Z", "1969-12-31T23:59:59.999Z", "0000-01-01T00:00:00-23:59", "2026-01-31T23:59:60Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseTime([]byte(s))
		want, err := time.Parse(time.RFC3339, s)
		if ok && (err != nil || want.UnixMilli() != got) {
			t.Fatalf("%q: have %d, want %d %v", s, got, want.UnixMilli(), err)
		}
	})
}
