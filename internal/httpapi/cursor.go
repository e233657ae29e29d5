package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strconv"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Cursors makes the cursors of keyset lists: opaque texts that say where the next
// page begins. A cursor is bound by HMAC to the tenant and the list it was made
// for, so it opens nothing elsewhere and cannot be written by hand. Nodes that
// serve the same clients share the key.
type Cursors struct {
	// Key is at least 32 random bytes.
	Key []byte
}

// cursorSumBytes is the length of the truncated HMAC: 128 bits are beyond guessing.
const cursorSumBytes = 16

// cursorCharsMax bounds what Decode looks at; positions are keys of rows.
const cursorCharsMax = 1024

// Encode returns the cursor for a position in a list, such as "tenants".
func (c Cursors) Encode(scope tenancy.Scope, list, position string) string {
	return base64.RawURLEncoding.EncodeToString(append(c.sum(scope, list, position), position...))
}

// Decode returns the position of a cursor; "" is "" and the beginning. Anything
// that was not made here for this tenant and list is a *schemas.FieldError.
func (c Cursors) Decode(scope tenancy.Scope, list, cursor string) (position string, err error) {
	if cursor == "" {
		return "", nil
	}
	foreign := schemas.Invalid("/cursor", schemas.CodeMalformed,
		"this cursor does not belong to this list; start again without one")
	if len(cursor) > cursorCharsMax {
		return "", foreign
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < cursorSumBytes {
		return "", foreign
	}
	position = string(raw[cursorSumBytes:])
	if !hmac.Equal(raw[:cursorSumBytes], c.sum(scope, list, position)) {
		return "", foreign
	}
	return position, nil
}

func (c Cursors) sum(scope tenancy.Scope, list, position string) []byte {
	if len(c.Key) < 32 {
		panic("httpapi: cursors need a key of 32 bytes or more")
	}
	mac := hmac.New(sha256.New, c.Key)
	// Length-prefixed, so that no two triples run together to the same bytes.
	for _, part := range []string{scope.TenantID(), list, position} {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)[:cursorSumBytes]
}

// The number of rows of a page.
const (
	pageDefault = 50
	pageMax     = 500 // a page stays well under a megabyte
)

// PageSize reads the query parameter limit: 1 to 500, 50 if it is not there.
func PageSize(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return pageDefault, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > pageMax {
		return 0, schemas.Invalid("/limit", schemas.CodeOutOfRange, "limit is a whole number from 1 to %d", pageMax)
	}
	return n, nil
}
