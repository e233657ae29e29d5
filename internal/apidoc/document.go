package apidoc

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/agentik-os/panda/schemas"
)

// Document is an OpenAPI description as far as the page and the tests look at it.
type Document struct {
	Title, Version, Summary, Description string
	Tags                                 []Tag
	Operations                           []Operation // in the order of the document

	root *yaml.Node
}

// Tag is a group of operations.
type Tag struct{ Name, Description string }

// Operation is one method of one path.
type Operation struct {
	ID, Method, Path     string
	Summary, Description string
	Tags                 []string
	// Permission is what the route needs, "" for a public one.
	Permission string
	// Role is the least role of a member with the permission, "" where PlatformOnly.
	Role string
	// PlatformOnly: a credential of a tenant is refused.
	PlatformOnly bool
	Parameters   []Parameter
	Body         *Body
	Responses    []Response
	Security     []string // names of schemes; none for a public route
}

// Pattern is the operation's path as http.ServeMux spells it.
func (o *Operation) Pattern() string {
	path := o.Path
	for _, p := range o.Parameters {
		if p.In == "path" && p.MultiSegment {
			path = strings.Replace(path, "{"+p.Name+"}", "{"+p.Name+"...}", 1)
		}
	}
	return o.Method + " " + path
}

// Parameter is a part of a path, a query or the headers.
type Parameter struct {
	Name, In, Description, Example string
	Required                       bool
	// MultiSegment: a part of the path that may hold slashes.
	MultiSegment bool
	schema       *yaml.Node
}

// Body is what a request carries.
type Body struct {
	Description string
	Required    bool
	Media       []Media
}

// Media is a body in one content type.
type Media struct {
	Type     string
	schema   *yaml.Node
	examples []*yaml.Node
}

// Response is one status that an operation answers with.
type Response struct {
	Status, Description string
	Headers             []string
	Media               []Media
}

// Default returns the description of this server.
func Default() (*Document, error) { return Parse(schemas.OpenAPI()) }

// Parse reads an OpenAPI document. It reports what it cannot follow and does not
// judge the rest.
func Parse(text []byte) (*Document, error) {
	var file yaml.Node
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("read openapi document: %w", err)
	}
	if len(file.Content) != 1 {
		return nil, fmt.Errorf("read openapi document: %w: it is empty", schemas.ErrInvalid)
	}
	d := &Document{root: file.Content[0]}
	info := at(d.root, "info")
	d.Title, d.Version = scalar(info, "title"), scalar(info, "version")
	d.Summary, d.Description = scalar(info, "summary"), scalar(info, "description")
	for _, tag := range items(at(d.root, "tags")) {
		d.Tags = append(d.Tags, Tag{scalar(tag, "name"), scalar(tag, "description")})
	}
	if err := d.references(d.root); err != nil {
		return nil, err
	}
	for _, path := range members(at(d.root, "paths")) {
		shared := d.parameters(at(path.value, "parameters"))
		for _, m := range members(path.value) {
			switch m.name {
			case "get", "post", "put", "patch", "delete":
				d.Operations = append(d.Operations, d.operation(strings.ToUpper(m.name), path.name, m.value, shared))
			}
		}
	}
	return d, nil
}

// references checks that every $ref leads somewhere.
func (d *Document) references(n *yaml.Node) error {
	if ref := scalar(n, "$ref"); ref != "" && d.target(ref) == nil {
		return fmt.Errorf("read openapi document: %w: line %d: there is no %s", schemas.ErrInvalid, n.Line, ref)
	}
	for _, child := range n.Content {
		if err := d.references(child); err != nil {
			return err
		}
	}
	return nil
}

func (d *Document) operation(method, path string, n *yaml.Node, shared []Parameter) Operation {
	o := Operation{
		ID: scalar(n, "operationId"), Method: method, Path: path,
		Summary: scalar(n, "summary"), Description: scalar(n, "description"),
		Permission: scalar(n, "x-permission"), Role: scalar(n, "x-role"), PlatformOnly: scalar(n, "x-platform-only") == "true",
		Parameters: append(shared[:len(shared):len(shared)], d.parameters(at(n, "parameters"))...),
	}
	for _, tag := range items(at(n, "tags")) {
		o.Tags = append(o.Tags, tag.Value)
	}
	security := at(n, "security")
	if security == nil {
		security = at(d.root, "security")
	}
	for _, scheme := range items(security) {
		for _, m := range members(scheme) {
			o.Security = append(o.Security, m.name)
		}
	}
	if o.Permission == "none" {
		o.Permission = ""
	}
	if body := d.resolve(at(n, "requestBody")); body != nil {
		o.Body = &Body{Description: scalar(body, "description"), Required: scalar(body, "required") == "true", Media: d.media(body)}
	}
	for _, m := range members(at(n, "responses")) {
		answer := d.resolve(m.value)
		r := Response{Status: m.name, Description: scalar(answer, "description"), Media: d.media(answer)}
		for _, h := range members(at(answer, "headers")) {
			r.Headers = append(r.Headers, h.name)
		}
		o.Responses = append(o.Responses, r)
	}
	return o
}

func (d *Document) parameters(list *yaml.Node) []Parameter {
	var found []Parameter
	for _, n := range items(list) {
		n = d.resolve(n)
		p := Parameter{
			Name: scalar(n, "name"), In: scalar(n, "in"), Description: scalar(n, "description"), Example: scalar(n, "example"),
			Required: scalar(n, "required") == "true", MultiSegment: scalar(n, "x-multi-segment") == "true", schema: at(n, "schema"),
		}
		if list := at(n, "example"); p.Example == "" && len(items(list)) > 0 {
			p.Example = items(list)[0].Value
		}
		found = append(found, p)
	}
	return found
}

func (d *Document) media(n *yaml.Node) []Media {
	var found []Media
	for _, m := range members(at(n, "content")) {
		media := Media{Type: m.name, schema: at(m.value, "schema")}
		for _, example := range members(at(m.value, "examples")) {
			media.examples = append(media.examples, at(d.resolve(example.value), "value"))
		}
		found = append(found, media)
	}
	return found
}

// resolve follows references.
func (d *Document) resolve(n *yaml.Node) *yaml.Node {
	for range 8 { // a chain is one or two long
		ref := scalar(n, "$ref")
		if ref == "" {
			break
		}
		n = d.target(ref)
	}
	return n
}

// target finds what a reference into this document names, nil if nothing.
func (d *Document) target(ref string) *yaml.Node {
	rest, ok := strings.CutPrefix(ref, "#/")
	n := d.root
	for _, word := range strings.Split(rest, "/") {
		n = at(n, strings.NewReplacer("~1", "/", "~0", "~").Replace(word))
	}
	if !ok {
		return nil
	}
	return n
}

// member is a name and a value of a mapping, in the order of the text.
type member struct {
	name  string
	value *yaml.Node
}

func members(n *yaml.Node) []member {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	list := make([]member, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		list = append(list, member{n.Content[i].Value, n.Content[i+1]})
	}
	return list
}

func items(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// at returns a member of a mapping, nil if there is none.
func at(n *yaml.Node, name string) *yaml.Node {
	for _, m := range members(n) {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// scalar returns a scalar member of a mapping, "" if there is none.
func scalar(n *yaml.Node, name string) string {
	if v := at(n, name); v != nil && v.Kind == yaml.ScalarNode {
		return strings.TrimSpace(v.Value)
	}
	return ""
}
