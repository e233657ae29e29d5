package ingest

import (
	"testing"

	"github.com/agentik-os/panda/schemas"
)

// FuzzIdentity: two triples have one key only if they are the same triple, however
// the texts are cut; and a void's claim is never an event's key.
func FuzzIdentity(f *testing.F) {
	f.Add("ten_a", "/s", "1", "ten_a", "/s1", "")
	f.Add("a", "bc", "d", "ab", "c", "d")
	f.Add("", "", "", "", "", "\x00")
	f.Fuzz(func(t *testing.T, tenant, source, id, otherTenant, otherSource, otherID string) {
		same := tenant == otherTenant && source == otherSource && id == otherID
		a, b := KeyOf(tenant, source, id), KeyOf(otherTenant, otherSource, otherID)
		if (a == b) != same {
			t.Fatalf("%q %q %q and %q %q %q: keys equal %t", tenant, source, id, otherTenant, otherSource, otherID, a == b)
		}
		va := VoidKeyOf(tenant, schemas.EventRef{Source: source, ID: id})
		vb := VoidKeyOf(otherTenant, schemas.EventRef{Source: otherSource, ID: otherID})
		if (va == vb) != same || va == a || va == b || vb == a {
			t.Fatalf("the claim of a void is the key of an event: %q %q %q", tenant, source, id)
		}
		first := schemas.Event{Source: source, ID: id, Department: otherSource, Agent: otherID}
		second := schemas.Event{Source: "another", ID: "place", Department: otherSource, Agent: otherID}
		if ContentOf(&first) != ContentOf(&second) {
			t.Fatal("the content depends on the identity")
		}
		second.Department, second.Agent = otherSource+otherID, ""
		if otherID != "" && ContentOf(&first) == ContentOf(&second) {
			t.Fatalf("%q and %q run together to one content", otherSource, otherID)
		}
	})
}
