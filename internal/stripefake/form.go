package stripefake

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Limits of metadata (/metadata).
const (
	metadataKeysMax  = 50
	metadataKeyMax   = 40
	metadataValueMax = 500
)

// form is the parameters of a request, from the body or the query.
type form struct{ url.Values }

// check holds the parameters to what a route allows. An entry is a name with its brackets,
// such as "period[start]"; "metadata[]" allows every name inside. A mark before it says
// more: ! it must be there, # it is an integer, ? it is true or false.
func (f form) check(allowed []string) *apiError {
	kinds := map[string]byte{}
	for _, a := range allowed {
		name := strings.TrimLeft(a, "!#?")
		marks := a[:len(a)-len(name)]
		if strings.Contains(marks, "!") && f.Get(name) == "" {
			return invalid("parameter_missing", name, "Missing required param: %s.", name)
		}
		kinds[name] = ' '
		if m := strings.Trim(marks, "!"); m != "" {
			kinds[name] = m[0]
		}
	}
	names := make([]string, 0, len(f.Values))
	for name := range f.Values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasPrefix(name, "expand[") {
			continue
		}
		kind, ok := kinds[name]
		if base, _, nested := strings.Cut(name, "["); !ok && nested {
			kind, ok = kinds[base+"[]"]
		}
		if !ok {
			return invalid("parameter_unknown", name, "Received unknown parameter: %s", name)
		}
		value := f.Get(name)
		if _, err := strconv.ParseInt(value, 10, 64); kind == '#' && value != "" && err != nil {
			return invalid("parameter_invalid_integer", name, "Invalid integer: %s", value)
		}
		if kind == '?' && value != "true" && value != "false" {
			return invalid("", name, "Invalid boolean: %s", value)
		}
	}
	return f.checkMetadata()
}

func (f form) checkMetadata() *apiError {
	keys := 0
	for name := range f.Values {
		key, ok := strings.CutPrefix(name, "metadata[")
		if !ok {
			continue
		}
		keys++
		if key = strings.TrimSuffix(key, "]"); len(key) > metadataKeyMax {
			return invalid("", name, "Metadata keys can be up to %d characters long.", metadataKeyMax)
		}
		if len(f.Get(name)) > metadataValueMax {
			return invalid("", name, "Metadata values can have up to %d characters.", metadataValueMax)
		}
	}
	if keys > metadataKeysMax {
		return invalid("", "metadata", "Metadata can have up to %d keys.", metadataKeysMax)
	}
	return nil
}

func (f form) int(name string) int64 {
	n, _ := strconv.ParseInt(f.Get(name), 10, 64) // check has seen it
	return n
}

func (f form) bool(name string) bool { return f.Get(name) == "true" }

// mergeMetadata sets the keys that were given and removes those that were given empty
// (/api/metadata).
func (f form) mergeMetadata(into map[string]string) map[string]string {
	if into == nil {
		into = map[string]string{}
	}
	for name := range f.Values {
		key, ok := strings.CutPrefix(name, "metadata[")
		if !ok {
			continue
		}
		key = strings.TrimSuffix(key, "]")
		if value := f.Get(name); value != "" {
			into[key] = value
		} else {
			delete(into, key)
		}
	}
	return into
}

// list returns the values of name[0], name[1], … or name[].
func (f form) list(name string) []string {
	var keys []string
	for k := range f.Values {
		if strings.HasPrefix(k, name+"[") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var values []string
	for _, k := range keys {
		values = append(values, f.Values[k]...)
	}
	return values
}
