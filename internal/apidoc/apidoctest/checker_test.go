package apidoctest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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
		w := &recorder{ResponseWriter: httptest.NewRecorder()}
		w.Header().Set("Content-Type", x.contentType)
		w.Header().Set("X-Request-Id", "1")
		w.WriteHeader(x.status)
		_, _ = io.WriteString(w, x.body)
		got := strings.Join(c.check(r, []byte(x.sent), w), "; ")
		if (x.want == "") != (got == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
}
