package apidoc

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/agentik-os/panda/schemas"
)

func serve(t *testing.T, method, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	mux := http.NewServeMux()
	Register(handlers{mux})
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

type handlers struct{ *http.ServeMux }

func (h handlers) HandlePublic(pattern string, handler http.Handler) { h.Handle(pattern, handler) }

func TestTheDocumentIsServedAsItIs(t *testing.T) {
	w := serve(t, "GET", "/v1/openapi.yaml")
	if w.Code != 200 || w.Body.String() != string(schemas.OpenAPI()) || w.Header().Get("Content-Type") != "application/yaml" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	tag := w.Header().Get("ETag")
	if again := serve(t, "GET", "/v1/openapi.yaml", "If-None-Match", tag); tag == "" || again.Code != 304 || again.Body.Len() != 0 {
		t.Errorf("asked about %s: %d with %d bytes", tag, again.Code, again.Body.Len())
	}
}

// The page holds every operation and loads nothing: the policy forbids it, and there is
// nothing that would try.
func TestThePageStandsAlone(t *testing.T) {
	w := serve(t, "GET", "/docs")
	page := w.Body.String()
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
		t.Errorf("the policy is %s", policy)
	}
	if found := regexp.MustCompile(`(?i)<(link|img|iframe|object|embed|base)\b|\ssrc=|@import|url\(|\son\w+=|\sstyle=`).FindString(page); found != "" {
		t.Errorf("the page has %q", found)
	}
	for _, part := range []string{"style", "script"} {
		text := regexp.MustCompile(`(?s)<` + part + `>(.*?)</` + part + `>`).FindStringSubmatch(page)
		if len(text) != 2 || !strings.Contains(policy, part+"-src "+sourceOf([]byte(text[1]))) {
			t.Errorf("the policy does not allow the page's own %s", part)
		}
	}
	d, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range d.Operations {
		if !strings.Contains(page, `<article id="`+o.ID+`">`) || !strings.Contains(page, `href="#`+o.ID+`"`) {
			t.Errorf("%s is not on the page", o.ID)
		}
	}
	if strings.Contains(page, "ZgotmplZ") {
		t.Error("the template refused something")
	}
}

// What the page shows as an answer can be read as one.
func TestSamplesAreJSON(t *testing.T) {
	d, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, o := range d.Operations {
		if text := d.answerSample(o); text != "" {
			n++
			if !json.Valid([]byte(text)) {
				t.Errorf("%s: %s", o.ID, text)
			}
		}
	}
	if n < 50 {
		t.Errorf("%d operations have a sample", n)
	}
}

func TestProseIsEscaped(t *testing.T) {
	const want = "<p>&lt;b&gt; &amp; <strong>bold</strong> <code>a&lt;b</code></p>\n<p>next</p>\n"
	if got := string(prose("<b> & **bold** `a<b`\n\nnext\n")); got != want {
		t.Errorf("%s", got)
	}
}

func TestABrokenDocumentIsAnError(t *testing.T) {
	for _, text := range []string{"", "{", "a: {$ref: '#/components/nothing'}", "a: {$ref: 'other.yaml#/x'}"} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}
