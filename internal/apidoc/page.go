package apidoc

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/agentik-os/panda/schemas"
)

//go:embed page.html.tmpl page.css page.js
var files embed.FS

// Server is what the routes are added to; *httpapi.Server has it.
type Server interface {
	HandlePublic(pattern string, h http.Handler)
}

// Register adds GET /v1/openapi.yaml and GET /docs to a server. Both are public: they
// say what the source says. The page is made when it is first asked for.
func Register(s Server) {
	s.HandlePublic("GET /v1/openapi.yaml", file{name: "openapi.yaml", media: "application/yaml", text: schemas.OpenAPI()})
	page := sync.OnceValues(func() (http.Handler, error) {
		document, err := Default()
		if err != nil {
			return nil, err
		}
		text, policy, err := document.Page()
		return file{name: "docs.html", media: "text/html; charset=utf-8", text: text, policy: policy}, err
	})
	s.HandlePublic("GET /docs", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, err := page()
		if err != nil {
			panic("apidoc: " + err.Error()) // a test has read this document
		}
		h.ServeHTTP(w, r)
	}))
}

// file is an answer that never changes.
type file struct {
	name, media, policy string
	text                []byte
}

func (f file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.media)
	h.Set("Cache-Control", "no-cache") // to be kept, and asked about
	sum := sha256.Sum256(f.text)
	h.Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:16])+`"`)
	if f.policy != "" {
		h.Set("Content-Security-Policy", f.policy)
		h.Set("Referrer-Policy", "no-referrer")
	}
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.text))
}

// Page makes the page for people and its Content-Security-Policy.
func (d *Document) Page() (page []byte, policy string, err error) {
	style, err := files.ReadFile("page.css")
	if err != nil {
		return nil, "", fmt.Errorf("make the page of the API: %w", err)
	}
	script, err := files.ReadFile("page.js")
	if err != nil {
		return nil, "", fmt.Errorf("make the page of the API: %w", err)
	}
	tmpl, err := template.New("page.html.tmpl").Funcs(template.FuncMap{
		"lower": strings.ToLower, "prose": prose, "body": d.bodyOf, "inputs": inputsOf, "curl": d.curl, "sample": d.answerSample,
		"path": pathOf, "kind": kindOf,
	}).ParseFS(files, "page.html.tmpl")
	if err != nil {
		return nil, "", fmt.Errorf("make the page of the API: %w", err)
	}
	var out bytes.Buffer
	err = tmpl.Execute(&out, struct {
		*Document
		Groups []group
		Style  template.CSS
		Script template.JS
	}{d, d.groups(), template.CSS(style), template.JS(script)}) //nolint:gosec // both are files of this package
	if err != nil {
		return nil, "", fmt.Errorf("make the page of the API: %w", err)
	}
	policy = "default-src 'none'; style-src " + sourceOf(style) + "; script-src " + sourceOf(script) +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return out.Bytes(), policy, nil
}

// sourceOf is a text's source expression in a Content-Security-Policy.
func sourceOf(text []byte) string {
	sum := sha256.Sum256(text)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// group is a tag with the operations that name it first.
type group struct {
	Tag
	Operations []Operation
}

func (d *Document) groups() []group {
	groups := make([]group, len(d.Tags))
	place := map[string]int{}
	for i, tag := range d.Tags {
		groups[i].Tag, place[tag.Name] = tag, i
	}
	for _, o := range d.Operations {
		if i, ok := place[o.Tags[0]]; ok {
			groups[i].Operations = append(groups[i].Operations, o)
		}
	}
	return groups
}

// pathOf marks the parameters of a path.
func pathOf(path string) template.HTML {
	text := template.HTMLEscapeString(path)
	return template.HTML(regexp.MustCompile(`\{\w+\}`).ReplaceAllString(text, "<i>$0</i>")) //nolint:gosec // escaped above
}

// kindOf says of a status whether it is good news.
func kindOf(status string) string {
	if strings.HasPrefix(status, "2") || status == "304" {
		return "good"
	}
	return "bad"
}

var (
	strong = regexp.MustCompile(`\*\*([^*]+)\*\*`)
	code   = regexp.MustCompile("`([^`]+)`")
)

// prose renders the little Markdown that the document uses: paragraphs, bold words
// and code.
func prose(text string) template.HTML {
	var b strings.Builder
	for _, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if paragraph == "" {
			continue
		}
		p := template.HTMLEscapeString(paragraph)
		p = strong.ReplaceAllString(p, "<strong>$1</strong>")
		p = code.ReplaceAllString(p, "<code>$1</code>")
		b.WriteString("<p>" + p + "</p>\n")
	}
	return template.HTML(b.String()) //nolint:gosec // escaped above
}
