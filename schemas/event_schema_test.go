package schemas_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/agentik-os/panda/schemas"
)

const eventSchemaID = "urn:agentik-os:panda:event:1"

func eventSchema(t *testing.T, ref string) (*jsonschema.Schema, map[string]any) {
	t.Helper()
	f, err := os.Open("event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(eventSchemaID, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(eventSchemaID + ref)
	if err != nil {
		t.Fatal(err)
	}
	return schema, doc.(map[string]any)
}

// An eventCase is one line of testdata/events.json: an event, and for one that
// is refused the pointer and code of the error. BeyondSchema marks what a JSON
// Schema cannot say.
type eventCase struct {
	Name, Pointer, Code string
	BeyondSchema        bool `json:"beyond_schema"`
	Event               json.RawMessage
}

func eventCases(t *testing.T) []eventCase {
	t.Helper()
	text, err := os.ReadFile("testdata/events.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var cases []eventCase
	if err := dec.Decode(&cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestEventSchemaJudges(t *testing.T) {
	schema, _ := eventSchema(t, "")
	batch, _ := eventSchema(t, "#/$defs/batch")
	for _, c := range eventCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			event, err := jsonschema.UnmarshalJSON(bytes.NewReader(c.Event))
			if err != nil {
				t.Fatal(err)
			}
			err = schema.Validate(event)
			if accept := c.Code == "" || c.BeyondSchema; accept != (err == nil) {
				t.Fatalf("want accepted %v, got %v", accept, err)
			}
			if (batch.Validate([]any{event}) == nil) != (err == nil) {
				t.Error("judged otherwise in a batch")
			}
			if err != nil && !pointsAt(t, err, c.Pointer) {
				t.Errorf("nothing is wrong at %s: %v", c.Pointer, err)
			}
		})
	}
}

// pointsAt reports whether a schema's complaint is about the pointer or about
// the object around it, where a schema says that a member is missing, is too
// much, or has a bad name.
func pointsAt(t *testing.T, err error, pointer string) bool {
	t.Helper()
	var failed *jsonschema.ValidationError
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	parts := strings.Split(pointer, "/")[1:]
	around := parts[:max(len(parts)-1, 0)]
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var walk func(e *jsonschema.ValidationError) bool
	walk = func(e *jsonschema.ValidationError) bool {
		var at []string
		for _, part := range e.InstanceLocation {
			at = append(at, escape.Replace(part))
		}
		switch e.ErrorKind.(type) {
		case *kind.PropertyNames: // has no reliable place; units and tags alone have such names
			return parts[1] == "units" || parts[1] == "tags"
		case *kind.Required: // the object may be missing that the member is missing from
			return len(at) <= len(parts) && sameStrings(at, parts[:len(at)])
		case *kind.FalseSchema: // a member that must not be there is an error of the object
			if len(at) > 0 && sameStrings(at[:len(at)-1], parts) {
				return true
			}
		}
		if len(e.Causes) == 0 {
			return sameStrings(at, parts) || sameStrings(at, around)
		}
		for _, cause := range e.Causes {
			if walk(cause) {
				return true
			}
		}
		return false
	}
	return walk(failed)
}

func sameStrings(a, b []string) bool { return strings.Join(a, "/") == strings.Join(b, "/") }

func TestBatchSchemaIsBounded(t *testing.T) {
	schema, doc := eventSchema(t, "#/$defs/batch")
	equalNumber(t, doc, "$defs/batch/maxItems", schemas.BatchEventsMax)
	if schema.Validate(make([]any, schemas.BatchEventsMax+1)) == nil {
		t.Error("a batch beyond the limit passes")
	}
}

// member walks a document by a slash-separated path.
func member(t *testing.T, doc any, path string) any {
	t.Helper()
	for _, part := range strings.Split(path, "/") {
		object, ok := doc.(map[string]any)
		if !ok || object[part] == nil {
			t.Fatalf("event.schema.json has no %s", path)
		}
		doc = object[part]
	}
	return doc
}

func equalNumber(t *testing.T, doc any, path string, want int64) {
	t.Helper()
	n, ok := member(t, doc, path).(json.Number)
	if got, err := n.Int64(); !ok || err != nil || got != want {
		t.Errorf("%s is %v, in Go it is %d", path, member(t, doc, path), want)
	}
}

// TestEventSchemaLimits holds every number of the schema to its Go constant.
func TestEventSchemaLimits(t *testing.T) {
	_, doc := eventSchema(t, "")
	for path, want := range map[string]int64{
		"$defs/identity/maxLength":                                  schemas.IDBytesMax,
		"$defs/name/maxLength":                                      schemas.NameBytesMax,
		"$defs/count/maximum":                                       schemas.TokensPerBucketMax,
		"$defs/count/minimum":                                       -schemas.TokensPerBucketMax,
		"$defs/level/maximum":                                       schemas.TokensPerBucketMax,
		"$defs/data/properties/error/maxLength":                     schemas.ErrorBytesMax,
		"$defs/data/properties/latency_ms/maximum":                  schemas.LatencyMax.Milliseconds(),
		"$defs/data/properties/total_tokens/maximum":                schemas.TokensPerBucketMax * int64(schemas.BucketCount),
		"$defs/data/properties/total_tokens/minimum":                -schemas.TokensPerBucketMax * int64(schemas.BucketCount),
		"$defs/data/properties/units/maxProperties":                 schemas.UnitsMax,
		"$defs/data/properties/units/propertyNames/maxLength":       schemas.UnitNameMax,
		"$defs/data/properties/tags/maxProperties":                  schemas.TagsMax,
		"$defs/data/properties/tags/propertyNames/maxLength":        schemas.TagKeyMax,
		"$defs/data/properties/tags/additionalProperties/maxLength": schemas.TagValueMax,
	} {
		equalNumber(t, doc, path, want)
	}
}

// TestEventSchemaWords holds every enumeration of the schema to Go's words.
func TestEventSchemaWords(t *testing.T) {
	_, doc := eventSchema(t, "")
	var types, buckets []string
	for _, known := range schemas.EventTypes() {
		types = append(types, string(known))
	}
	for i := range schemas.BucketCount {
		buckets = append(buckets, schemas.Bucket(i).String())
	}
	sort.Strings(buckets)
	levels := []string{schemas.LevelAgents, schemas.LevelConcurrentSessions, "storage_gb"}
	for path, want := range map[string][]string{
		"properties/type/enum":                      types,
		"$defs/data/properties/status/enum":         {schemas.StatusOK, schemas.StatusError, schemas.StatusCancelled},
		"$defs/data/properties/completeness/enum":   {schemas.CompletenessReported, schemas.CompletenessEstimated, schemas.CompletenessPartial},
		"$defs/data/properties/tokens/properties":   buckets,
		"$defs/data/properties/levels/properties":   levels,
		"$defs/data/properties/corrects/properties": {"id", "source"},
		"$defs/data/properties/corrects/required":   {"source", "id"},
	} {
		if diff := cmp.Diff(want, names(t, member(t, doc, path))); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

// names returns an array of words, or the sorted member names of an object.
func names(t *testing.T, v any) []string {
	t.Helper()
	var words []string
	switch v := v.(type) {
	case []any:
		for _, word := range v {
			words = append(words, word.(string))
		}
	case map[string]any:
		for word := range v {
			words = append(words, word)
		}
		sort.Strings(words)
	default:
		t.Fatalf("%v is neither list nor object", v)
	}
	return words
}

// TestEventSchemaHasEveryField: a field of schemas.Event is on the wire under
// its name in snake_case, and what is on the wire is a field.
func TestEventSchemaHasEveryField(t *testing.T) {
	_, doc := eventSchema(t, "")
	derived := map[string]bool{"HasAmount": true, "Flag": true}
	envelope := map[string]bool{"ID": true, "Source": true, "Type": true, "Time": true}
	data := map[string]bool{
		"total_tokens": true, // becomes Flag
		"usage":        true, // becomes Tokens and Units
		"levels":       true, // become Units
	}
	fields := reflect.TypeOf(schemas.Event{})
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		switch {
		case derived[name]:
		case envelope[name]:
			member(t, doc, "properties/"+snake(name))
		default:
			data[snake(name)] = true
		}
	}
	var want []string
	for name := range data {
		want = append(want, name)
	}
	sort.Strings(want)
	if diff := cmp.Diff(want, names(t, member(t, doc, "$defs/data/properties"))); diff != "" {
		t.Error(diff)
	}
}

// snake writes CostCenter as cost_center and LatencyMS as latency_ms.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		upper := r >= 'A' && r <= 'Z'
		if upper && i > 0 && name[i-1] >= 'a' && name[i-1] <= 'z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// TestEventCasesCoverCodes: every code that Validate and the schema share is
// met by a case, so that a decoder tested with the cases is tested with all.
func TestEventCasesCoverCodes(t *testing.T) {
	met := map[string]bool{}
	seen := map[string]bool{}
	for _, c := range eventCases(t) {
		met[c.Code] = true
		if seen[c.Name] {
			t.Errorf("two cases are named %q", c.Name)
		}
		seen[c.Name] = true
	}
	for _, code := range []string{"", schemas.CodeMissing, schemas.CodeWrongType, schemas.CodeMalformed, schemas.CodeOutOfRange,
		schemas.CodeTooLong, schemas.CodeTooMany, schemas.CodeUnknown, schemas.CodeNotAllowed, schemas.CodeUnsupported} {
		if !met[code] {
			t.Errorf("no case for %q", code)
		}
	}
}
