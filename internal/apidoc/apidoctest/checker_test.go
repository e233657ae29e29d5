package apidoctest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/agentik-os/panda/internal/apidoc"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

func newChecker(t *testing.T) *Checker {
	t.Helper()
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every schema compiles, every operation is whole, and every example is what its
// schema says.
func TestTheDocumentIsSound(t *testing.T) {
	c := newChecker(t)
	components := at(c.raw, "components", "schemas").(map[string]any)
	for name, schema := range components {
		s, err := c.schema("/components/schemas/" + name)
		if err != nil {
			t.Error(err)
			continue
		}
		for i, example := range examplesOf(schema) {
			if err := s.Validate(example); err != nil {
				t.Errorf("example %d of schema %s: %v", i, name, err)
			}
		}
	}
	walk(c.raw["paths"], "/paths", func(object map[string]any, pointer string) {
		content, _ := object["content"].(map[string]any)
		for media, v := range content {
			s, err := c.schema(pointer + "/content/" + escape(media) + "/schema")
			if err != nil {
				t.Error(err)
				continue
			}
			named, _ := v.(map[string]any)["examples"].(map[string]any)
			for name := range named {
				example, _ := c.follow(pointer + "/content/" + escape(media) + "/examples/" + name)
				if err := s.Validate(example["value"]); err != nil {
					t.Errorf("example %s at %s: %v", name, pointer, err)
				}
			}
		}
	})
}

func examplesOf(schema any) []any {
	list, _ := schema.(map[string]any)["examples"].([]any)
	return list
}

// walk visits every object below v.
func walk(v any, pointer string, visit func(object map[string]any, pointer string)) {
	object, ok := v.(map[string]any)
	if !ok {
		return
	}
	visit(object, pointer)
	for name, child := range object {
		walk(child, pointer+"/"+escape(name), visit)
	}
}

// The document's own rules: names, permissions, refusals, and what every mutation takes.
func TestEveryOperationSaysWhatItNeeds(t *testing.T) {
	c := newChecker(t)
	ids := map[string]bool{}
	least := map[string]string{"read": "viewer", "ingest": "member", "import": "admin", "admin": "admin", "owner": "owner"}
	for _, o := range c.Document().Operations {
		if o.ID == "" || ids[o.ID] || o.Summary == "" || len(o.Tags) == 0 {
			t.Errorf("%s %s has no id of its own, no summary or no tag", o.Method, o.Path)
		}
		ids[o.ID] = true
		public := o.Permission == "" && o.Role == "" && len(o.Security) == 0
		guarded := least[o.Permission] != "" && len(o.Security) == 2 && (o.PlatformOnly || o.Role == least[o.Permission])
		if !public && !guarded {
			t.Errorf("%s: permission %q, role %q, platform only %t, security %v", o.ID, o.Permission, o.Role, o.PlatformOnly, o.Security)
		}
		statuses := map[string]bool{}
		for _, r := range o.Responses {
			statuses[r.Status] = true
		}
		if guarded {
			for _, status := range []string{"401", "403", "429", "500", "503"} {
				if !statuses[status] {
					t.Errorf("%s does not list %s", o.ID, status)
				}
			}
		}
		header := map[string]bool{}
		inPath := 0
		for _, p := range o.Parameters {
			switch p.In {
			case "header":
				header[p.Name] = true
			case "path":
				inPath++
				if !strings.Contains(o.Path, "{"+p.Name+"}") || !p.Required {
					t.Errorf("%s: parameter %s is not in %s, or not required", o.ID, p.Name, o.Path)
				}
			}
		}
		if inPath != strings.Count(o.Path, "{") {
			t.Errorf("%s: %d parameters for %s", o.ID, inPath, o.Path)
		}
		if header["Idempotency-Key"] && (o.Method != http.MethodPost || !statuses["409"] || !statuses["422"]) {
			t.Errorf("%s takes an Idempotency-Key and cannot refuse it", o.ID)
		}
		if header["If-Match"] && !statuses["412"] {
			t.Errorf("%s takes If-Match and cannot refuse it", o.ID)
		}
	}
}

// What the checker must find, or nothing that passes it means anything.
func TestDifferencesAreFound(t *testing.T) {
	c := newChecker(t)
	const good = `{"status":"ok","checks":[{"name":"log","status":"ok"}]}`
	for name, x := range map[string]struct {
		method, target, sent string
		status               int
		contentType, body    string
		want                 string
	}{
		"nothing":              {"GET", "/readyz", "", 200, "application/json", good, ""},
		"head":                 {"HEAD", "/readyz", "", 200, "application/json", "", ""},
		"unknown, refused":     {"GET", "/v1/nothing", "", 404, "application/problem+json", `{}`, ""},
		"unknown, answered":    {"GET", "/v1/nothing", "", 200, "application/json", `{}`, "no such path"},
		"a status":             {"GET", "/readyz", "", 201, "application/json", good, "does not list this status"},
		"a content type":       {"GET", "/readyz", "", 200, "text/plain", good, `the content type is "text/plain"`},
		"a member more":        {"GET", "/readyz", "", 200, "application/json", `{"status":"ok","more":1}`, "more"},
		"a member less":        {"GET", "/readyz", "", 200, "application/json", `{}`, "missing property 'status'"},
		"a wrong word":         {"GET", "/readyz", "", 200, "application/json", `{"status":"fine"}`, "value must be one of"},
		"no JSON":              {"GET", "/readyz", "", 200, "application/json", `oh`, "not JSON"},
		"a problem":            {"GET", "/v1/usage", "", 404, "application/problem+json", `{"title":"x"}`, "missing properties"},
		"a parameter":          {"GET", "/readyz?loud=1", "", 200, "application/json", good, "loud was taken"},
		"a body":               {"GET", "/readyz", "x", 200, "application/json", good, "none is described"},
		"a line":               {"POST", "/v1/verify", "", 200, "application/x-ndjson", "{\"ok\":true}\n{}\n", "missing property 'ok'"},
		"a body's member":      {"POST", "/v1/tenants/a/suspend", `{"why":"x","reason":"y"}`, 200, "application/json", `{}`, "why"},
		"a part with a slash":  {"GET", "/v1/prices/a/b/c", "", 404, "text/plain", "", "the content type"},
		"a number for a money": {"GET", "/v1/entitlements", "", 200, "application/json", `{"decision":"allow","as_of":{"seq":"1","time":"2026-02-14T00:00:00Z"}}`, "/as_of/seq"},
	} {
		r := httptest.NewRequest(x.method, x.target, nil)
		header := http.Header{"Content-Type": {x.contentType}, "X-Request-Id": {"1"}}
		got := strings.Join(c.check(&exchange{r, []byte(x.sent), x.status, header, []byte(x.body)}), "; ")
		if (x.want == "") != (got == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
}

// Around a server and in front of a client the same is found.
func TestBothSidesAreChecked(t *testing.T) {
	c := newChecker(t)
	answer := `{"revision":null}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", "1")
		_, _ = w.Write([]byte(answer))
	}))
	defer server.Close()
	client := &http.Client{Transport: c.Transport(http.DefaultTransport)}
	ask := func(body string) error {
		res, err := client.Post(server.URL+"/v1/events/lookup", "application/json", strings.NewReader(body))
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	if err := ask(`{"source":"/r","ids":[]}`); err == nil || !strings.Contains(err.Error(), "description says otherwise") {
		t.Errorf("a wrong answer: %v", err)
	}
	answer = `{"found":[],"missing":[]}`
	if err := ask(`{"source":"/r","ids":[]}`); err != nil {
		t.Error(err)
	}
	if err := ask(`{"source":"/r","ids":[],"more":1}`); err == nil || !strings.Contains(err.Error(), "more") {
		t.Errorf("a wrong request that was taken: %v", err)
	}
	isOther := func(o *apidoc.Operation) bool { return o.ID == "lookupEvents" || o.ID == "getUsage" }
	if missing := c.Missing(isOther); len(missing) != 1 || missing[0] != "getUsage" {
		t.Errorf("missing: %v", missing)
	}
}

// The members of an event are those of its JSON Schema, and the words of the document
// are Go's.
func TestTheDocumentSpeaksAsTheSourceDoes(t *testing.T) {
	c := newChecker(t)
	text, err := os.ReadFile("../../../schemas/event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	event, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	names := func(v any) (list []string) {
		for name := range v.(map[string]any) {
			list = append(list, name)
		}
		slices.Sort(list)
		return list
	}
	words := func(v any) (list []string) {
		for _, word := range v.([]any) {
			list = append(list, fmt.Sprint(word))
		}
		slices.Sort(list)
		return list
	}
	named := func(list any) (words []string) {
		v := reflect.ValueOf(list)
		for i := range v.Len() {
			words = append(words, fmt.Sprint(v.Index(i)))
		}
		slices.Sort(words)
		return words
	}
	schema := func(path ...string) any { return at(c.raw, append([]string{"components", "schemas"}, path...)...) }
	var buckets []string
	for b := range schemas.BucketCount {
		buckets = append(buckets, schemas.Bucket(b).String())
	}
	for name, pair := range map[string][2][]string{
		"event":            {names(at(event, "properties")), names(schema("Event", "properties"))},
		"data":             {names(at(event, "$defs", "data", "properties")), names(schema("EventData", "properties"))},
		"levels":           {names(at(event, "$defs", "data", "properties", "levels", "properties")), names(schema("EventLevels", "properties"))},
		"types":            {named(schemas.EventTypes()), words(schema("Event", "properties", "type", "enum"))},
		"buckets":          {named(buckets), names(schema("Tokens", "properties"))},
		"roles":            {named(tenancy.Roles()), words(schema("Role", "enum"))},
		"permissions":      {named(tenancy.Permissions()), words(schema("Permission", "enum"))},
		"statuses":         {named(tenancy.Statuses()), words(schema("TenantStatus", "enum"))},
		"quotas":           {named(tenancy.QuotaNames()), names(schema("Quotas", "properties"))},
		"overrides":        {named(tenancy.QuotaNames()), names(schema("QuotaOverrides", "properties"))},
		"updates":          {named(tenancy.QuotaNames()), names(schema("QuotaUpdate", "properties"))},
		"levels of quotas": {named(tenancy.QuotaNames()), words(schema("UsageLevel", "properties", "quota", "enum"))},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-source +document):\n%s", name, diff)
		}
	}
}
