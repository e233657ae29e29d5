package httpapi

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// A patch is a field of a JSON merge patch (RFC 7396): absent, null, or a value.
type patch[T any] struct {
	set   bool // the field is there
	null  bool // it is null: back to the default
	value T
}

// UnmarshalJSON reads a value strictly.
func (p *patch[T]) UnmarshalJSON(text []byte) error {
	p.set, p.null = true, bytes.Equal(text, []byte("null"))
	if p.null {
		return nil
	}
	return UnmarshalStrict(text, &p.value)
}

// to sets a field if the patch names it; null makes it empty.
func (p *patch[T]) to(field *T) {
	if p.set {
		*field = p.value // of null, the zero value
	}
}

// eTag is the ETag of a revision.
func eTag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// CodePreconditionFailed: If-Match names a revision that is not the newest.
const CodePreconditionFailed = "precondition_failed"

// ifMatch reads the revision that a change is made on the ground of, 0 for any: no
// If-Match, or If-Match: *.
func ifMatch(r *http.Request) (uint64, error) {
	text := r.Header.Get("If-Match")
	if text == "" || text == "*" {
		return 0, nil
	}
	inner, found := strings.CutPrefix(text, `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	revision, err := strconv.ParseUint(inner, 10, 64)
	if !found || !closed || err != nil || revision == 0 || eTag(revision) != text {
		return 0, schemas.Invalid("/If-Match", schemas.CodeMalformed,
			"If-Match takes one ETag as it came with the answer to GET, such as \"42\", or *")
	}
	return revision, nil
}
