package apidoc

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A field is a member of a body, or a parameter, as the page shows it.
type field struct {
	Name, Type, Description string
	Required, Deprecated    bool
	Words                   []string // the values of an enumeration
	Fields                  []field
}

// depthMax bounds how deep a body is shown, and so any loop of references.
const depthMax = 5

// bodyOf returns the members of a body in its first content type, and what it is.
func (d *Document) bodyOf(media []Media) *field {
	if len(media) == 0 || media[0].schema == nil {
		return nil
	}
	f := d.field("", media[0].schema, depthMax)
	return &f
}

func (d *Document) field(name string, n *yaml.Node, depth int) field {
	schema := d.resolve(n)
	f := field{Name: name, Type: d.typeOf(n), Description: scalar(n, "description"), Deprecated: scalar(n, "deprecated") == "true"}
	if f.Description == "" {
		f.Description = scalar(schema, "description")
	}
	for _, word := range items(at(schema, "enum")) {
		f.Words = append(f.Words, word.Value)
	}
	if depth == 0 {
		return f
	}
	inner := d.members(schema)
	required := map[string]bool{}
	for _, word := range items(at(inner, "required")) {
		required[word.Value] = true
	}
	for _, m := range members(at(inner, "properties")) {
		child := d.field(m.name, m.value, depth-1)
		child.Required = required[m.name]
		f.Fields = append(f.Fields, child)
	}
	return f
}

// members finds the object in a schema: itself, the items of a list, or the first of
// several forms that has any.
func (d *Document) members(schema *yaml.Node) *yaml.Node {
	for range depthMax {
		if schema == nil || at(schema, "properties") != nil {
			return schema
		}
		next := d.resolve(at(schema, "items"))
		if forms := items(at(schema, "oneOf")); len(forms) > 0 {
			next = d.resolve(forms[0])
		}
		schema = next
	}
	return nil
}

// typeOf is a schema's type in words.
func (d *Document) typeOf(n *yaml.Node) string {
	if ref := scalar(n, "$ref"); ref != "" {
		name := ref[strings.LastIndexByte(ref, '/')+1:]
		schema := d.resolve(n)
		switch scalar(schema, "type") {
		case "object", "":
			return name
		}
		return name + " (" + d.typeOf(schema) + ")"
	}
	if forms := items(at(n, "oneOf")); len(forms) > 0 {
		words := make([]string, len(forms))
		for i, form := range forms {
			words[i] = d.typeOf(form)
		}
		return strings.Join(words, " or ")
	}
	if word := scalar(n, "const"); word != "" {
		return `"` + word + `"`
	}
	word := scalar(n, "type")
	if list := items(at(n, "type")); len(list) > 0 {
		words := make([]string, len(list))
		for i, t := range list {
			words[i] = t.Value
		}
		word = strings.Join(words, " or ")
	}
	switch {
	case word == "array":
		return "list of " + d.typeOf(at(n, "items"))
	case word == "object" && at(n, "properties") == nil && at(at(n, "additionalProperties"), "type") != nil:
		return "map to " + d.typeOf(at(n, "additionalProperties"))
	case scalar(n, "format") == "date-time":
		return strings.Replace(word, "string", "time", 1)
	case word == "":
		return "anything"
	}
	return word
}

// inputsOf are the parameters as fields.
func inputsOf(o Operation) []field {
	var list []field
	for _, p := range o.Parameters {
		f := field{Name: p.Name, Description: p.Description, Required: p.Required, Type: p.In}
		for _, word := range items(at(p.schema, "enum")) {
			f.Words = append(f.Words, word.Value)
		}
		list = append(list, f)
	}
	return list
}

// curl is the operation as a command line.
func (d *Document) curl(o Operation) string {
	path := o.Path
	query := url.Values{}
	for _, p := range o.Parameters {
		example := p.Example
		switch {
		case p.In == "path":
			if example == "" {
				example = "<" + p.Name + ">"
			}
			path = strings.Replace(path, "{"+p.Name+"}", example, 1)
		case p.In == "query" && p.Required:
			if words := items(at(p.schema, "enum")); example == "" && len(words) > 0 {
				example = words[0].Value
			}
			query.Set(p.Name, example)
		}
	}
	var b strings.Builder
	b.WriteString("curl ")
	if o.Method != "GET" && (o.Method != "POST" || o.Body == nil) {
		b.WriteString("-X " + o.Method + " ")
	}
	b.WriteString("$PANDA_URL" + path)
	if len(query) > 0 {
		b.WriteString("?" + query.Encode())
	}
	if o.Permission != "" {
		b.WriteString(" \\\n  -H \"Authorization: Bearer $PANDA_API_KEY\"")
	}
	for _, p := range o.Parameters {
		if p.Name == "Idempotency-Key" {
			b.WriteString(" \\\n  -H \"Idempotency-Key: $(uuidgen)\"")
		}
	}
	if o.Body == nil || len(o.Body.Media) == 0 {
		return b.String()
	}
	media := o.Body.Media[0]
	if media.Type == "*/*" {
		return b.String() + " \\\n  --data-binary @file"
	}
	fmt.Fprintf(&b, " \\\n  -H \"Content-Type: %s\" \\\n  --data-binary '%s'", media.Type, strings.ReplaceAll(d.sampleOf(media), "'", `'\''`))
	return b.String()
}

// answerSample is an example of the answer of success.
func (d *Document) answerSample(o Operation) string {
	for _, r := range o.Responses {
		if len(r.Media) > 0 && kindOf(r.Status) == "good" && strings.Contains(r.Media[0].Type, "json") {
			return d.sampleOf(r.Media[0])
		}
	}
	return ""
}

// sampleOf is the example of a body, or one that is made of its schema.
func (d *Document) sampleOf(media Media) string {
	var n *yaml.Node
	if len(media.examples) > 0 {
		n = media.examples[0]
	} else {
		n = d.made(media.schema, depthMax)
	}
	if n.Kind == yaml.ScalarNode && !strings.Contains(media.Type, "json") {
		return n.Value
	}
	var b strings.Builder
	writeJSON(&b, n, "")
	return b.String()
}

// made builds a value that a schema describes, from its examples where it has some.
func (d *Document) made(schema *yaml.Node, depth int) *yaml.Node {
	schema = d.resolve(schema)
	word := func(tag, value string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value} }
	for _, name := range []string{"examples", "enum"} {
		if list := items(at(schema, name)); len(list) > 0 {
			return list[0]
		}
	}
	if n := at(schema, "const"); n != nil {
		return n
	}
	if forms := items(at(schema, "oneOf")); len(forms) > 0 {
		return d.made(forms[0], depth)
	}
	kind := scalar(schema, "type")
	if list := items(at(schema, "type")); len(list) > 0 {
		kind = list[0].Value
	}
	switch kind {
	case "object":
		n := &yaml.Node{Kind: yaml.MappingNode}
		if depth > 0 {
			for _, m := range members(at(schema, "properties")) {
				n.Content = append(n.Content, word("!!str", m.name), d.made(m.value, depth-1))
			}
		}
		return n
	case "array":
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if depth > 0 {
			n.Content = []*yaml.Node{d.made(at(schema, "items"), depth-1)}
		}
		return n
	case "integer", "number":
		return word("!!int", "1")
	case "boolean":
		return word("!!bool", "true")
	case "null", "":
		return word("!!null", "null")
	}
	switch pattern := scalar(schema, "pattern"); {
	case scalar(schema, "format") == "date-time":
		return word("!!str", "2026-02-14T09:30:00Z")
	case scalar(schema, "format") == "email":
		return word("!!str", "user@acme.com")
	case strings.HasPrefix(pattern, "^ten_"), strings.HasPrefix(pattern, "^mem_"), strings.HasPrefix(pattern, "^inv_"):
		return word("!!str", pattern[1:5]+"abcdefgh2345")
	case strings.HasPrefix(pattern, "^[a-z2-7]{8}"):
		return word("!!str", "abcd2345")
	case strings.HasPrefix(pattern, "^[a-z0-9]"):
		return word("!!str", "acme-corp")
	}
	return word("!!str", "…")
}

// writeJSON writes a node as JSON, in the order of the document; what is short stands
// on one line.
func writeJSON(b *strings.Builder, n *yaml.Node, indent string) {
	const lineMax = 54
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		if line := oneLine(n); len(indent)+len(line) <= lineMax {
			b.WriteString(line)
			return
		}
		opened, closed := "{", "}"
		if n.Kind == yaml.SequenceNode {
			opened, closed = "[", "]"
		}
		b.WriteString(opened)
		step := 1
		if n.Kind == yaml.MappingNode {
			step = 2
		}
		for i := 0; i+step <= len(n.Content); i += step {
			if i > 0 {
				b.WriteString(",")
			}
			b.WriteString("\n" + indent + "  ")
			if step == 2 {
				b.WriteString(quoted(n.Content[i].Value) + ": ")
			}
			writeJSON(b, n.Content[i+step-1], indent+"  ")
		}
		b.WriteString("\n" + indent + closed)
	default:
		b.WriteString(oneLine(n))
	}
}

func oneLine(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		var parts []string
		for _, m := range members(n) {
			parts = append(parts, quoted(m.name)+": "+oneLine(m.value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case yaml.SequenceNode:
		var parts []string
		for _, item := range n.Content {
			parts = append(parts, oneLine(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	if slices.Contains([]string{"!!int", "!!bool", "!!null", "!!float"}, n.ShortTag()) {
		return n.Value
	}
	return quoted(n.Value)
}

func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic("apidoc: a string is not JSON: " + err.Error())
	}
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(text))
}
