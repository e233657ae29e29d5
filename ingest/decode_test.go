package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentik-os/panda/schemas"
)

// base expands the abbreviations of testdata/decode/bad.txt.
func base(s string) string {
	const head = `"specversion":"1.0","id":"a","source":"/s","time":"2026-01-02T03:04:05Z","type":`
	return strings.NewReplacer("BASE", head+`"llm.call"`, "SAMPLE", head+`"resource.sample"`,
		"ADJUST", head+`"adjustment"`).Replace(s)
}

// paragraphs reads a text table: paragraphs of lines; those that begin with #
// are comments.
func paragraphs(t testing.TB, path string) [][]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for p := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		if lines := strings.Split(strings.TrimSpace(p), "\n"); !strings.HasPrefix(lines[0], "#") {
			out = append(out, lines)
		}
	}
	return out
}

type badEvent struct{ name, code, pointer, event string }

func badEvents(t testing.TB) []badEvent {
	t.Helper()
	var out []badEvent
	for _, p := range paragraphs(t, "testdata/decode/bad.txt") {
		if len(p) != 3 {
			t.Fatalf("a paragraph of %d lines: %q", len(p), p)
		}
		code, pointer, _ := strings.Cut(p[1], " ")
		if pointer == "-" {
			pointer = ""
		}
		out = append(out, badEvent{p[0], code, pointer, base(p[2])})
	}
	return out
}

func fieldOf(t testing.TB, err error) schemas.FieldError {
	t.Helper()
	field := (*schemas.FieldError)(nil)
	if !errors.As(err, &field) {
		t.Fatalf("want a FieldError, have %v", err)
	}
	if field.Detail == "" || !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("an error without a detail or a class: %+v", field)
	}
	return *field
}

func TestBadEvents(t *testing.T) {
	for _, bad := range badEvents(t) {
		t.Run(bad.name, func(t *testing.T) {
			e, err := DecodeEvent([]byte(bad.event))
			field := fieldOf(t, err)
			if field.Code != bad.code || field.Pointer != bad.pointer {
				t.Errorf("have %s at %q (%s), want %s at %q", field.Code, field.Pointer, field.Detail, bad.code, bad.pointer)
			}
			if diff := cmp.Diff(schemas.Event{}, e, cmp.AllowUnexported(schemas.Money{})); diff != "" {
				t.Errorf("a refused event is not empty: %s", diff)
			}
		})
	}
}

// A bad event costs itself and not its neighbours, as long as its end can be
// told.
func TestBadEventsLeaveNeighboursAlone(t *testing.T) {
	good := base(`{BASE,"data":{"model":"m","tokens":{"input":7}}}`)
	endless := map[string]bool{"an event that ends in the middle": true, "a second event behind the first": true}
	for _, bad := range badEvents(t) {
		if endless[bad.name] {
			continue // in an array these two break the array: see TestBadBatches
		}
		t.Run(bad.name, func(t *testing.T) {
			got, err := DecodeBatch([]byte("["+good+" , "+bad.event+","+good+"]"), 3)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 3 || got[0].Err != nil || got[2].Err != nil {
				t.Fatalf("the neighbours were touched: %+v", got)
			}
			if field := fieldOf(t, got[1].Err); field.Code != bad.code || field.Pointer != bad.pointer {
				t.Errorf("have %s at %q (%s), want %s at %q", field.Code, field.Pointer, field.Detail, bad.code, bad.pointer)
			}
			if string(got[1].Raw) != bad.event || string(got[0].Raw) != good {
				t.Errorf("raw is %q and %q", got[0].Raw, got[1].Raw)
			}
			if got[2].Event.Tokens[schemas.Input] != 7 {
				t.Errorf("the event after the bad one: %+v", got[2].Event)
			}
		})
	}
}

func TestBadBatches(t *testing.T) {
	good := base(`{BASE,"data":{"model":"m"}}`)
	for _, c := range []struct{ name, body, code string }{
		{"empty text", "", schemas.CodeMalformed},
		{"an object", "{}", schemas.CodeWrongType},
		{"not closed", "[" + good, schemas.CodeMalformed},
		{"an element not closed", "[" + good + `,{"id":"x`, schemas.CodeMalformed},
		{"brackets that do not match", "[{]," + good + "]", schemas.CodeMalformed},
		{"no comma", "[" + good + good + "]", schemas.CodeMalformed},
		{"a comma at the end", "[" + good + ",]", schemas.CodeMalformed},
		{"a comma at the start", "[," + good + "]", schemas.CodeMalformed},
		{"text behind", "[" + good + "] x", schemas.CodeMalformed},
		{"too many", "[" + good + "," + good + "," + good + "]", schemas.CodeTooMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := DecodeBatch([]byte(c.body), 2)
			if field := fieldOf(t, err); field.Code != c.code || field.Pointer != "" || got != nil {
				t.Errorf("have %+v and %d events, want %s", field, len(got), c.code)
			}
		})
	}
	if got, err := DecodeBatch([]byte(" [ ] "), 2); err != nil || len(got) != 0 {
		t.Errorf("an empty batch: %v, %v", got, err)
	}
}

func TestHugeEventIsRefusedAlone(t *testing.T) {
	good := base(`{BASE,"data":{"model":"m"}}`)
	huge := base(`{BASE,"subject":"` + strings.Repeat("x", schemas.EventBytesMax) + `","data":{"model":"m"}}`)
	got, err := DecodeBatch([]byte("["+good+","+huge+","+good+"]"), 3)
	if err != nil || got[0].Err != nil || got[2].Err != nil {
		t.Fatalf("the neighbours were touched: %v", err)
	}
	if field := fieldOf(t, got[1].Err); field.Code != schemas.CodeTooLong || field.Pointer != "" {
		t.Errorf("have %+v", field)
	}
	_, err = DecodeEvent([]byte(huge))
	if field := fieldOf(t, err); field.Code != schemas.CodeTooLong {
		t.Errorf("have %+v", field)
	}
}

func TestNotUTF8(t *testing.T) {
	good := base(`{BASE,"data":{"model":"m"}}`)
	bad := base("{BASE,\"data\":{\"model\":\"m\xff\"}}")
	got, err := DecodeBatch([]byte("["+bad+","+good+"]"), 2)
	if err != nil || got[1].Err != nil {
		t.Fatalf("the neighbour was touched: %v", err)
	}
	if field := fieldOf(t, got[0].Err); field.Code != schemas.CodeMalformed {
		t.Errorf("have %+v", field)
	}
}

const fullEvent = `{"specversion":"1.0","id":"01JG4","source":"/runtime/eu-1","type":"llm.call","subject":"x",
 "time":"2026-01-31T23:59:59.2509+01:00","datacontenttype":"application/json; charset=utf-8","dataschema":null,
 "traceparent":"00-4bf9-00","tracestate":"a=b","data":{"provider":"anthropic","model":"claude-sonnet-4-5","department":"R\u0026D",
 "cost_center":"cc-7","agent":"coder","user":"u-1","session":"s-1","run":"r-2","parent_run":"r-1","status":"error",
 "error":"overloaded \ud83d\ude00","latency_ms":1840,"completeness":"partial","service_tier":"batch",
 "tokens":{"output":1022,"input":2034,"cache_read":15000,"cache_write_5m":1200},"total_tokens":19256,
 "units":{"web_search":2,"request":1},"tags":{"z":"1","env":"prod"}}}`

func fullEventDecoded() schemas.Event {
	return schemas.Event{
		ID: "01JG4", Source: "/runtime/eu-1", Type: schemas.TypeLLMCall, Time: 1769900399250,
		Provider: "anthropic", Model: "claude-sonnet-4-5", Department: "R&D", CostCenter: "cc-7", Agent: "coder",
		User: "u-1", Session: "s-1", Run: "r-2", ParentRun: "r-1", Status: "error", Error: "overloaded 😀",
		LatencyMS: 1840, Completeness: "partial", ServiceTier: "batch",
		Tokens: schemas.Tokens{schemas.Input: 2034, schemas.CacheRead: 15000, schemas.CacheWrite5m: 1200, schemas.Output: 1022},
		Units:  []schemas.Unit{{Name: "request", Count: 1}, {Name: "web_search", Count: 2}},
		Tags:   []schemas.Tag{{Key: "env", Value: "prod"}, {Key: "z", Value: "1"}},
	}
}

var compareMoney = cmp.AllowUnexported(schemas.Money{})

func TestFullEvent(t *testing.T) {
	got, err := DecodeEvent([]byte(fullEvent))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullEventDecoded(), got, compareMoney); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultsAndFlag(t *testing.T) {
	for _, c := range []struct{ event, tier, flag string }{
		{`{BASE,"data":{"model":"m"}}`, "", ""},
		{`{BASE,"data":{"model":"m","status":"","completeness":"","service_tier":"standard"}}`, "", ""},
		{`{BASE,"data":{"model":"m","service_tier":"default"}}`, "", ""},
		{`{BASE,"data":{"model":"m","service_tier":"flex","tokens":{"input":3,"output":4},"total_tokens":7}}`, "flex", ""},
		{`{BASE,"data":{"model":"m","tokens":{"input":3,"output":4},"total_tokens":8}}`, "", schemas.FlagTotalMismatch},
		{`{BASE,"data":{"model":"m","total_tokens":8}}`, "", schemas.FlagTotalMismatch},
	} {
		e, err := DecodeEvent([]byte(base(c.event)))
		if err != nil {
			t.Errorf("%s: %v", c.event, err)
		}
		if e.Status != schemas.StatusOK || e.Completeness != schemas.CompletenessReported ||
			e.ServiceTier != c.tier || e.Flag != c.flag || e.Tags != nil || e.Units != nil {
			t.Errorf("%s: %+v", c.event, e)
		}
	}
}

func TestLevelsAndAmountsAreExact(t *testing.T) {
	for wire, want := range map[string]int64{
		`12`: 12e9, `"0.1"`: 1e8, `0.1`: 1e8, `"0.000000001"`: 1, `123456789.123456789`: 123456789123456789,
		`0`: 0, `1000000000`: 1e18, `"1.500000000000"`: 1.5e9,
	} {
		e, err := DecodeEvent([]byte(base(`{SAMPLE,"data":{"levels":{"storage_gb":` + wire + `,"agents":3}}}`)))
		want := []schemas.Unit{{Name: schemas.LevelAgents, Count: 3}, {Name: schemas.LevelStorageBytes, Count: want}}
		if diff := cmp.Diff(want, e.Units); err != nil || diff != "" {
			t.Errorf("%s: %v %s", wire, err, diff)
		}
	}
	for wire, want := range map[string]string{
		`"12.50"`: "12.500000", `-0.000001`: "-0.000001", `0.1`: "0.100000", `"8999999.999999999999"`: "8999999.999999999999",
	} {
		e, err := DecodeEvent([]byte(base(`{ADJUST,"data":{"amount":` + wire + `,"tokens":{"input":-5},"corrects":{"id":"x","source":"/s"}}}`)))
		if err != nil || e.Amount.String() != want || !e.HasAmount || e.Tokens[schemas.Input] != -5 {
			t.Errorf("%s: %v %s, want %s", wire, err, e.Amount, want)
		}
	}
}

func TestBinaryMode(t *testing.T) {
	header := func(pairs ...string) map[string][]string {
		h := map[string][]string{
			"Ce-Specversion": {"1.0"}, "Ce-Id": {"caf%C3%A9%20100%25"}, "Ce-Source": {`"/s\"q"`}, "Ce-Type": {"llm.call"},
			"Ce-Time": {"2026-01-02T03:04:05Z"}, "Content-Type": {"application/json"}, "Accept": {"*/*"},
		}
		for i := 0; i < len(pairs); i += 2 {
			if delete(h, pairs[i]); pairs[i+1] != "" {
				h[pairs[i]] = strings.Split(pairs[i+1], "|")
			}
		}
		return h
	}
	e, err := DecodeBinary(header(), []byte(` {"model":"m","tokens":{"input":1}} `))
	if err != nil || e.ID != "café 100%" || e.Source != `/s"q` || e.Model != "m" || e.Tokens[schemas.Input] != 1 {
		t.Errorf("%v %+v", err, e)
	}
	for _, c := range []struct {
		name          string
		header        map[string][]string
		data          string
		code, pointer string
	}{
		{"no id", header("Ce-Id", ""), `{"model":"m"}`, schemas.CodeMissing, "/id"},
		{"two ids", header("Ce-Id", "a|b"), `{"model":"m"}`, schemas.CodeRepeated, "/id"},
		{"bad escape", header("Ce-Id", "100%"), `{"model":"m"}`, schemas.CodeMalformed, "/id"},
		{"not UTF-8", header("Ce-Id", "%ff"), `{"model":"m"}`, schemas.CodeMalformed, "/id"},
		{"unknown attribute", header("Ce-Tenant", "t"), `{"model":"m"}`, schemas.CodeUnknown, "/tenant"},
		{"data in a header", header("Ce-Data", "{}"), `{"model":"m"}`, schemas.CodeNotAllowed, "/data"},
		{"not JSON", header("Content-Type", "text/plain"), `{"model":"m"}`, schemas.CodeUnsupported, "/datacontenttype"},
		{"no data", header(), ``, schemas.CodeMissing, "/data/model"},
		{"bad data", header(), `{"model":"m"}}`, schemas.CodeMalformed, "/data"},
		{"bad field", header(), `{"model":"m","x":1}`, schemas.CodeUnknown, "/data/x"},
	} {
		_, err := DecodeBinary(c.header, []byte(c.data))
		if field := fieldOf(t, err); field.Code != c.code || field.Pointer != c.pointer {
			t.Errorf("%s: have %+v, want %s at %s", c.name, field, c.code, c.pointer)
		}
	}
	if !IsBinary(header()) || IsBinary(map[string][]string{"Content-Type": {"application/json"}}) {
		t.Error("binary mode is not told by its headers")
	}
}

func TestDirectTakesOneOrMany(t *testing.T) {
	good := base(`{BASE,"data":{"model":"m"}}`)
	for body, want := range map[string]int{good: 1, "[" + good + "," + good + "]": 2, `{"id":"x"}`: 1, `nonsense`: 1} {
		got, err := DecodeDirect([]byte(body))
		if err != nil || len(got) != want {
			t.Errorf("%s: %v, %v", body, got, err)
		}
		if bad := !strings.Contains(body, "llm.call"); bad != (got[0].Err != nil) || (bad && string(got[0].Raw) != body) {
			t.Errorf("%s: %+v", body, got[0])
		}
	}
}

// What a decoder returned is its own until the next call, and no longer: the
// strings of the batch before must not change with it.
func TestDecoderIsReusable(t *testing.T) {
	d := NewEventDecoder()
	var ids []string
	for round := range 50 {
		var b bytes.Buffer
		b.WriteByte('[')
		for i := range 100 {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"specversion":"1.0","id":"id-%d-%d","source":"/s","type":"llm.call","time":"2026-01-02T03:04:05Z",`+
				`"data":{"model":"m-%d","tags":{"n":"%d"}}}`, round, i, i%7, i)
		}
		b.WriteByte(']')
		got, err := d.Batch(b.Bytes(), 100)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			e := &got[i].Event
			if got[i].Err != nil || e.Model != fmt.Sprintf("m-%d", i%7) || e.Tags[0].Value != fmt.Sprint(i) {
				t.Fatalf("round %d: %+v", round, got[i])
			}
			ids = append(ids, e.ID)
		}
	}
	for i, id := range ids {
		if want := fmt.Sprintf("id-%d-%d", i/100, i%100); id != want {
			t.Fatalf("id %d became %q, was %q", i, id, want)
		}
	}
}

// validEvent draws an event as decoding leaves it.
func validEvent(t *rapid.T) schemas.Event {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("aZ9 /\\\"<>&é😀\u2028~.-")), 0, 20, 60)
	full := rapid.StringOfN(rapid.RuneFrom([]rune("aZ9 /\\\"é😀~.-")), 1, 20, 60)
	count := rapid.Int64Range(0, schemas.TokensPerBucketMax)
	e := schemas.Event{
		ID: full.Draw(t, "id"), Source: full.Draw(t, "source"),
		Type: rapid.SampledFrom(schemas.EventTypes()).Draw(t, "type"),
		Time: rapid.Int64Range(0, 4_102_444_799_999).Draw(t, "time"), Provider: text.Draw(t, "provider"),
		Model: full.Draw(t, "model"), Department: text.Draw(t, "department"), CostCenter: text.Draw(t, "cost_center"),
		Agent: text.Draw(t, "agent"), User: text.Draw(t, "user"), Session: text.Draw(t, "session"),
		Run: text.Draw(t, "run"), ParentRun: text.Draw(t, "parent_run"), Error: text.Draw(t, "error"),
		Status:       rapid.SampledFrom([]string{schemas.StatusOK, schemas.StatusError, schemas.StatusCancelled}).Draw(t, "status"),
		LatencyMS:    rapid.Int64Range(0, schemas.LatencyMax.Milliseconds()).Draw(t, "latency"),
		Completeness: rapid.SampledFrom([]string{"reported", "estimated", "partial"}).Draw(t, "completeness"),
		ServiceTier:  rapid.SampledFrom([]string{"", "batch", "flex"}).Draw(t, "tier"),
	}
	keys := rapid.SliceOfNDistinct(full, 0, 4, rapid.ID[string]).Draw(t, "tags")
	for _, k := range sorted(keys) {
		e.Tags = append(e.Tags, schemas.Tag{Key: k, Value: text.Draw(t, "tag")})
	}
	switch e.Type {
	case schemas.TypeResourceSample:
		for _, name := range sorted(rapid.SliceOfNDistinct(rapid.SampledFrom(
			[]string{"agents", "concurrent_sessions", "storage_bytes"}), 1, 3, rapid.ID[string]).Draw(t, "levels")) {
			e.Units = append(e.Units, schemas.Unit{Name: name, Count: count.Draw(t, name)})
		}
		return e
	case schemas.TypeVoid:
		e.Corrects = schemas.EventRef{Source: full.Draw(t, "ref source"), ID: full.Draw(t, "ref id")}
		return e
	case schemas.TypeAdjustment:
		e.HasAmount = true
		e.Amount = schemas.Mul(rapid.Int64Range(-9_000_000, 9_000_000).Draw(t, "amount"), schemas.PicoPerUSD)
		count = rapid.Int64Range(-schemas.TokensPerBucketMax, schemas.TokensPerBucketMax)
	}
	for i := range e.Tokens {
		e.Tokens[i] = count.Draw(t, schemas.Bucket(i).String())
	}
	for _, name := range sorted(rapid.SliceOfNDistinct(full, 0, 4, rapid.ID[string]).Draw(t, "units")) {
		e.Units = append(e.Units, schemas.Unit{Name: name, Count: count.Draw(t, "unit")})
	}
	return e
}

func TestEncodeDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := validEvent(t)
		if err := e.Validate(); err != nil {
			t.Fatalf("the generator draws invalid events: %v", err)
		}
		b := EncodeEvent(nil, &e)
		if !json.Valid(b) {
			t.Fatalf("not JSON: %s", b)
		}
		got, err := DecodeEvent(b)
		if err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if diff := cmp.Diff(e, got, compareMoney); diff != "" {
			t.Fatalf("%s\n%s", diff, b)
		}
		if again := EncodeEvent([]byte("x"), &got); string(again[1:]) != string(b) {
			t.Fatalf("encoded differently:\n%s\n%s", b, again)
		}
	})
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}
