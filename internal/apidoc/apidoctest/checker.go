package apidoctest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/agentik-os/panda/internal/apidoc"
	"github.com/agentik-os/panda/schemas"
)

// documentURL names the document in the schema compiler.
const documentURL = "urn:agentik-os:panda:openapi"

// bodyBytesMax bounds a body that is looked at; those of tests are far smaller.
const bodyBytesMax = 8 << 20

// Checker holds exchanges against the document. It is safe for concurrent use.
type Checker struct {
	document *apidoc.Document
	raw      map[string]any // the document as a value, schemas closed
	mux      *http.ServeMux // finds the operation of a request

	mu       sync.Mutex // guards what follows
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
	answered map[string]bool // by operation id: answered with success
}

// operation is an entry of the checker's mux.
type operation struct {
	*apidoc.Operation
	pointer string // of the operation in the document
}

func (operation) ServeHTTP(http.ResponseWriter, *http.Request) {}

// New reads the document of this server.
func New() (*Checker, error) {
	document, err := apidoc.Default()
	if err != nil {
		return nil, err
	}
	var value any
	if err := yaml.Unmarshal(schemas.OpenAPI(), &value); err != nil {
		return nil, fmt.Errorf("read openapi document: %w", err)
	}
	// By way of JSON, so that numbers are what a validator expects.
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("read openapi document: %w", err)
	}
	raw, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read openapi document: %w", err)
	}
	c := &Checker{
		document: document, raw: raw.(map[string]any), mux: http.NewServeMux(),
		compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}, answered: map[string]bool{},
	}
	closeSchemas(at(c.raw, "components", "schemas"))
	c.compiler.DefaultDraft(jsonschema.Draft2020)
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource(documentURL, c.raw); err != nil {
		return nil, fmt.Errorf("read openapi document: %w", err)
	}
	for i := range document.Operations {
		o := &document.Operations[i]
		c.mux.Handle(o.Pattern(), operation{o, "/paths/" + escape(o.Path) + "/" + strings.ToLower(o.Method)})
	}
	return c, nil
}

// closeSchemas forbids members that a schema of an object does not name: a client may
// meet new ones, but the tests of this server may not.
func closeSchemas(v any) {
	switch v := v.(type) {
	case map[string]any:
		_, object := v["properties"].(map[string]any)
		if _, open := v["additionalProperties"]; object && !open {
			v["additionalProperties"] = false
		}
		for _, child := range v {
			closeSchemas(child)
		}
	case []any:
		for _, child := range v {
			closeSchemas(child)
		}
	}
}

// Document returns the description.
func (c *Checker) Document() *apidoc.Document { return c.document }

// Missing returns the ids of operations that no exchange answered with success, of
// those that served says are there.
func (c *Checker) Missing(served func(o *apidoc.Operation) bool) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var missing []string
	for i := range c.document.Operations {
		if o := &c.document.Operations[i]; served(o) && !c.answered[o.ID] {
			missing = append(missing, o.ID)
		}
	}
	return missing
}

// Wrap returns a handler that serves as h does and checks what it serves.
func (c *Checker) Wrap(t testing.TB, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := &tee{ReadCloser: r.Body}
		if r.Body != nil {
			r.Body = sent
		}
		seen := &recorder{ResponseWriter: w}
		h.ServeHTTP(seen, r)
		x := exchange{r, sent.seen.Bytes(), seen.status, seen.Header(), seen.body.Bytes()}
		for _, complaint := range c.check(&x) {
			t.Errorf("%s %s answered %d, and the API's description says otherwise: %s", r.Method, r.URL, seen.status, complaint)
		}
	})
}

// Transport returns a client's transport that checks what goes through it, for tests of
// whole programs. What differs is an error of the request.
func (c *Checker) Transport(next http.RoundTripper) http.RoundTripper { return transport{c, next} }

// exchange is a request and its answer.
type exchange struct {
	*http.Request
	sent   []byte
	status int
	header http.Header
	body   []byte
}

// check returns what is wrong with an exchange.
func (c *Checker) check(got *exchange) []string {
	r, sent := got.Request, got.sent
	handler, pattern := c.mux.Handler(r)
	o, known := handler.(operation)
	if pattern == "" || !known {
		if got.status == http.StatusNotFound || got.status == http.StatusMethodNotAllowed {
			return nil
		}
		return []string{"there is no such path in the document"}
	}
	var wrong []string
	status := strconv.Itoa(got.status)
	answer, at := c.follow(o.pointer + "/responses/" + status)
	if answer == nil {
		return []string{"the operation " + o.ID + " does not list this status"}
	}
	if r.Method != http.MethodHead {
		wrong = append(wrong, c.body(answer, at, got.header.Get("Content-Type"), got.body)...)
	}
	if _, listed := answer["headers"].(map[string]any)["X-Request-Id"]; listed && got.header.Get("X-Request-Id") == "" {
		wrong = append(wrong, "X-Request-Id is missing")
	}
	if got.status/100 != 2 {
		return wrong
	}
	c.mu.Lock()
	c.answered[o.ID] = true
	c.mu.Unlock()
	wrong = append(wrong, c.query(o, r)...)
	if len(sent) > 0 && r.Header.Get("Content-Encoding") == "" {
		if body, at := c.follow(o.pointer + "/requestBody"); body != nil {
			wrong = append(wrong, c.body(body, at, r.Header.Get("Content-Type"), sent)...)
		} else {
			wrong = append(wrong, "a body was taken, and none is described")
		}
	}
	return wrong
}

// query checks that the parameters of an accepted request are those of the document.
func (c *Checker) query(o operation, r *http.Request) (wrong []string) {
	// Tests send a tenant to every route, to see that some do not look at it.
	described := map[string]bool{"tenant": true}
	for _, p := range o.Parameters {
		if p.In == "query" {
			described[p.Name] = true
		}
	}
	for name := range r.URL.Query() {
		if !described[name] {
			wrong = append(wrong, "the query parameter "+name+" was taken, and is not described")
		}
	}
	return wrong
}

// body checks a body against the content of a response or a request body.
func (c *Checker) body(described map[string]any, pointer, contentType string, body []byte) []string {
	content, _ := described["content"].(map[string]any)
	if len(content) == 0 {
		if len(body) > 0 {
			return []string{"there is a body, and none is described"}
		}
		return nil
	}
	media, _, _ := mime.ParseMediaType(contentType)
	if media == "" {
		media = "application/json" // what the server takes it for
	}
	if _, ok := content[media]; !ok {
		if _, any := content["*/*"]; any {
			return nil
		}
		return []string{fmt.Sprintf("the content type is %q, described are %v", contentType, slices.Sorted(maps.Keys(content)))}
	}
	if len(body) > bodyBytesMax {
		return nil
	}
	pointer += "/content/" + escape(media) + "/schema"
	switch {
	case strings.HasSuffix(media, "json") && media != "application/x-ndjson":
		return c.validate(pointer, body)
	case media == "application/x-ndjson":
		for line := range bytes.Lines(body) {
			if wrong := c.validate(pointer, line); wrong != nil {
				return wrong
			}
		}
	}
	return nil
}

// validate checks a JSON text against the schema at a pointer of the document.
func (c *Checker) validate(pointer string, text []byte) []string {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return []string{fmt.Sprintf("the body is not JSON: %v: %.200s", err, text)}
	}
	schema, err := c.schema(pointer)
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		return []string{fmt.Sprintf("%v\nbody: %.2000s", err, text)}
	}
	return nil
}

// schema compiles the schema at a pointer of the document.
func (c *Checker) schema(pointer string) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.compiled[pointer]; ok {
		return s, nil
	}
	s, err := c.compiler.Compile(documentURL + "#" + pointer)
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", pointer, err)
	}
	c.compiled[pointer] = s
	return s, nil
}

// follow returns the object at a pointer and where it is, through references.
func (c *Checker) follow(pointer string) (map[string]any, string) {
	for range 8 {
		object, _ := at(c.raw, split(pointer)...).(map[string]any)
		ref, refers := object["$ref"].(string)
		if !refers {
			return object, pointer
		}
		pointer = strings.TrimPrefix(ref, "#")
	}
	return nil, pointer
}

// at walks a value by member names, nil if there is nothing.
func at(v any, names ...string) any {
	for _, name := range names {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

func escape(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }

func split(pointer string) []string {
	words := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, w := range words {
		words[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(w)
	}
	return words
}
