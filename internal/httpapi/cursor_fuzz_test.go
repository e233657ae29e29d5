package httpapi

import (
	"errors"
	"strings"
	"testing"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// FuzzCursor: what was not made here, for this tenant and list, opens nothing; what
// was, comes back as it went.
func FuzzCursor(f *testing.F) {
	cursors := Cursors{Key: []byte(strings.Repeat("k", 32))}
	scope, other := tenancy.ScopeOf("ten_a", ""), tenancy.ScopeOf("ten_b", "")
	f.Add("", "position")
	f.Add(cursors.Encode(scope, "events", "7"), "7")
	f.Add(cursors.Encode(other, "events", "7"), "\x00\xff")
	f.Add("AAAAAAAAAAAAAAAAAAAAAA", "")
	f.Fuzz(func(t *testing.T, text, position string) {
		got, err := cursors.Decode(scope, "events", text)
		field := (*schemas.FieldError)(nil)
		switch {
		case err != nil && (!errors.As(err, &field) || field.Pointer != "/cursor" || got != ""):
			t.Fatalf("%q: %q, %v", text, got, err)
		case err == nil && text != "" && cursors.Encode(scope, "events", got) != text:
			t.Fatalf("%q was not made here and is read as %q", text, got)
		}
		made := cursors.Encode(scope, "events", position)
		if len(made) > cursorCharsMax {
			return
		}
		if got, err := cursors.Decode(scope, "events", made); err != nil || got != position {
			t.Fatalf("%q comes back as %q, %v", position, got, err)
		}
		for _, elsewhere := range []struct {
			scope tenancy.Scope
			list  string
		}{{other, "events"}, {scope, "tenants"}, {tenancy.ScopeOf("ten_aevents", ""), ""}} {
			if got, err := cursors.Decode(elsewhere.scope, elsewhere.list, made); err == nil {
				t.Fatalf("%q opens %q elsewhere", made, got)
			}
		}
	})
}
