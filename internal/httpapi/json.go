package httpapi

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// jsonDepthMax bounds how deep a body may nest: ours nest three levels.
const jsonDepthMax = 32

// DecodeJSON reads a request's JSON body into the struct that v points to. It is
// strict: a field that v does not have, one that is there twice, another spelling
// of a name, data after the value, a body above bytesMax (0: BodyBytesMax), one that is
// empty and one that is null are refused. Mass assignment ends here: what the struct does not name cannot be set.
// The content type is application/json, or application/merge-patch+json (RFC 7396)
// of a PATCH.
//
// Errors: a Problem (415, 400), *http.MaxBytesError (413), or *schemas.FieldError
// with the pointer of the field.
func DecodeJSON(w http.ResponseWriter, r *http.Request, bytesMax int64, v any) error {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mergePatch := r.Method == http.MethodPatch && media == "application/merge-patch+json"; err != nil || media != "application/json" && !mergePatch {
		return Problem{Status: http.StatusUnsupportedMediaType, Code: CodeMediaType,
			Detail: "send the body with Content-Type: application/json"}
	}
	if bytesMax == 0 {
		bytesMax = BodyBytesMax
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bytesMax))
	if err != nil {
		return unreadBody(err)
	}
	switch string(bytes.TrimSpace(body)) {
	case "":
		return schemas.Invalid("", schemas.CodeMissing, "the body is empty; send a JSON object, {} for one without fields")
	case "null":
		return schemas.Invalid("", schemas.CodeWrongType, "null does not belong here; send a JSON object, {} for one without fields")
	}
	return UnmarshalStrict(body, v)
}

// unreadBody is the error of a body that could not be read to its end.
func unreadBody(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return Problem{Status: http.StatusBadRequest, Code: CodeInvalid, Detail: "the body ended before it was complete"}
}

// UnmarshalStrict is DecodeJSON for a body that was read already.
func UnmarshalStrict(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	c := checker{dec: dec}
	if err := c.value(reflect.TypeOf(v).Elem(), "", 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return schemas.Invalid("", schemas.CodeMalformed, "there is something after the JSON value")
	}
	if err := json.Unmarshal(body, v); err != nil {
		return explain(err)
	}
	return nil
}

// explain turns an error of package json into one of a field.
func explain(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		pointer := ""
		if wrong.Field != "" {
			pointer = "/" + strings.ReplaceAll(wrong.Field, ".", "/")
		}
		return schemas.Invalid(pointer, schemas.CodeWrongType, "a %s does not belong here", wrong.Value)
	}
	if errors.Is(err, schemas.ErrInvalid) {
		return err
	}
	return schemas.Invalid("", schemas.CodeMalformed, "the body is not valid JSON: %s", err)
}

// checker walks a document along the type it is meant for and refuses what
// package json would let pass in silence.
type checker struct {
	dec *json.Decoder
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
var jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()

// value checks the next value of the document. A nil type is anything.
func (c *checker) value(t reflect.Type, pointer string, depth int) error {
	if depth > jsonDepthMax {
		return schemas.Invalid(pointer, schemas.CodeTooMany, "more than %d levels of nesting", jsonDepthMax)
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil && custom(t) {
		return c.custom(t, pointer, depth)
	}
	token, err := c.dec.Token()
	if err != nil {
		return unread(err)
	}
	switch token {
	case json.Delim('{'):
		return c.object(t, pointer, depth)
	case json.Delim('['):
		return c.array(t, pointer, depth)
	}
	return c.scalar(t, token, pointer)
}

// unread is the error of a value that could not be read as JSON.
func unread(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return schemas.Invalid("", schemas.CodeMalformed, "the JSON ends too early")
	}
	return explain(err)
}

// custom has a type read its own JSON. Such a type knows where in its value something is
// wrong, and not where the value is.
func (c *checker) custom(t reflect.Type, pointer string, depth int) error {
	var raw json.RawMessage
	if err := c.dec.Decode(&raw); err != nil {
		return unread(err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := (&checker{dec: dec}).value(nil, pointer, depth); err != nil {
		return err
	}
	return misread(pointer, json.Unmarshal(raw, reflect.New(t).Interface()))
}

// misread says where a value is that does not go into its type.
func misread(pointer string, err error) error {
	var field *schemas.FieldError
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &field):
		return schemas.Invalid(pointer+field.Pointer, field.Code, "%s", field.Detail)
	case errors.As(err, &wrong):
		return schemas.Invalid(pointer, schemas.CodeWrongType, "a %s does not belong here", wrong.Value)
	}
	return schemas.Invalid(pointer, schemas.CodeMalformed, "%s", err)
}

func (c *checker) object(t reflect.Type, pointer string, depth int) error {
	var fields map[string]reflect.Type
	var elem reflect.Type
	if t != nil {
		switch t.Kind() {
		case reflect.Struct:
			fields = fieldsOf(t)
		case reflect.Map:
			elem = t.Elem()
		case reflect.Interface:
		default:
			return schemas.Invalid(pointer, schemas.CodeWrongType, "an object does not belong here")
		}
	}
	seen := map[string]bool{}
	for c.dec.More() {
		token, err := c.dec.Token()
		if err != nil {
			return explain(err)
		}
		name := token.(string) // the decoder allows nothing else in this place
		at := pointer + "/" + escapePointer(name)
		if seen[name] {
			return schemas.Invalid(at, schemas.CodeRepeated, "the field is there twice")
		}
		seen[name] = true
		next := elem
		if fields != nil {
			var known bool
			if next, known = fields[name]; !known {
				return schemas.Invalid(at, schemas.CodeUnknown, "there is no such field here")
			}
		}
		if err := c.value(next, at, depth+1); err != nil {
			return err
		}
	}
	return c.closing()
}

func (c *checker) array(t reflect.Type, pointer string, depth int) error {
	var elem reflect.Type
	if t != nil {
		switch t.Kind() {
		case reflect.Slice, reflect.Array:
			elem = t.Elem()
		case reflect.Interface:
		default:
			return schemas.Invalid(pointer, schemas.CodeWrongType, "a list does not belong here")
		}
	}
	for i := 0; c.dec.More(); i++ {
		if err := c.value(elem, pointer+"/"+strconv.Itoa(i), depth+1); err != nil {
			return err
		}
	}
	return c.closing()
}

// closing reads the end of an object or array.
func (c *checker) closing() error {
	if _, err := c.dec.Token(); err != nil {
		return schemas.Invalid("", schemas.CodeMalformed, "the JSON ends too early")
	}
	return nil
}

// scalar reads a value into the type that it is meant for, because package json
// loses its place in lists and maps.
func (c *checker) scalar(t reflect.Type, token json.Token, pointer string) error {
	if t == nil {
		return nil
	}
	text, err := json.Marshal(token)
	if err != nil {
		return schemas.Invalid(pointer, schemas.CodeMalformed, "%s", err)
	}
	return misread(pointer, json.Unmarshal(text, reflect.New(t).Interface()))
}

// custom reports whether a type reads its JSON itself.
func custom(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(jsonUnmarshaler) || p.Implements(textUnmarshaler)
}

// fieldsOf returns the names a struct has in JSON. Bodies are plain structs with
// a tag on every field; embedding is not used, and would be a mistake here.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := make(map[string]reflect.Type, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || (f.IsExported() && name == "") {
			panic(fmt.Sprintf("httpapi: field %s of %s has no json name", f.Name, t))
		}
		if f.IsExported() && name != "-" {
			fields[name] = f.Type
		}
	}
	return fields
}

func escapePointer(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }
