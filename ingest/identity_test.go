package ingest

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/agentik-os/panda/schemas"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// anyText draws short texts from few letters, so that collisions of careless
// joins ("a-b"+"c" and "a"+"b-c") are found.
var anyText = rapid.StringOfN(rapid.RuneFrom([]rune("ab-.\x00é")), 0, 6, -1)

func anyEvent(t *rapid.T) schemas.Event {
	e := schemas.Event{
		ID: rapid.StringN(1, 12, -1).Draw(t, "id"), Source: rapid.StringN(1, 8, -1).Draw(t, "source"),
		Type: rapid.SampledFrom(schemas.EventTypes()).Draw(t, "type"),
		Time: rapid.Int64Range(0, 4_000_000_000_000).Draw(t, "time"),
	}
	for _, f := range names(&e) {
		*f.value = anyText.Draw(t, "name")
	}
	e.LatencyMS = rapid.Int64Range(0, 1e6).Draw(t, "latency")
	for i := range e.Tokens {
		if rapid.Bool().Draw(t, "has tokens") {
			e.Tokens[i] = rapid.Int64Range(-schemas.TokensPerBucketMax, schemas.TokensPerBucketMax).Draw(t, "tokens")
		}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "units") {
		e.Units = append(e.Units, schemas.Unit{Name: fmt.Sprint("u", i), Count: rapid.Int64().Draw(t, "count")})
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "tags") {
		e.Tags = append(e.Tags, schemas.Tag{Key: fmt.Sprint("k", i), Value: anyText.Draw(t, "tag")})
	}
	if rapid.Bool().Draw(t, "corrects") {
		e.Corrects = schemas.EventRef{Source: "s", ID: anyText.Draw(t, "ref")}
	}
	if rapid.Bool().Draw(t, "amount") {
		e.HasAmount, e.Amount = true, schemas.Pico(rapid.Int64().Draw(t, "pico"))
	}
	return e
}

func TestTwoIdentitiesNeverShareAKey(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := [3]string{anyText.Draw(t, "a0"), anyText.Draw(t, "a1"), anyText.Draw(t, "a2")}
		b := [3]string{anyText.Draw(t, "b0"), anyText.Draw(t, "b1"), anyText.Draw(t, "b2")}
		same := KeyOf(a[0], a[1], a[2]) == KeyOf(b[0], b[1], b[2])
		if same != (a == b) {
			t.Fatalf("%q and %q: keys equal %v", a, b, same)
		}
		if KeyOf(a[0], a[1], a[2]) == VoidKeyOf(a[0], schemas.EventRef{Source: a[1], ID: a[2]}) {
			t.Fatal("an event's key is the key that its void claims")
		}
	})
}

func TestContentIsEverythingButIdentity(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := anyEvent(t)
		b := a
		b.ID, b.Source, b.Flag = "other", "other", "derived"
		if ContentOf(&a) != ContentOf(&b) {
			t.Fatal("the content depends on identity or on a derived flag")
		}
		c := anyEvent(t)
		c.ID, c.Source, c.Flag = a.ID, a.Source, a.Flag
		equal := cmp.Equal(a, c, cmp.AllowUnexported(schemas.Money{}))
		if !c.HasAmount && !a.HasAmount {
			c.Amount, a.Amount = schemas.Money{}, schemas.Money{}
		}
		if (ContentOf(&a) == ContentOf(&c)) != equal {
			t.Fatalf("content equal %v for\n%+v\n%+v", !equal, a, c)
		}
	})
}

// TestIdentityIsPinned fails when the hashed bytes change: every key in every
// warehouse would then be unknown, and every resend counted again.
func TestIdentityIsPinned(t *testing.T) {
	t.Parallel()
	e := schemas.Event{Type: schemas.TypeLLMCall, Time: 1_700_000_000_000, Model: "gpt-4", Tokens: schemas.Tokens{12, 0, 0, 0, 34}}
	got := fmt.Sprintf("%x %x %016x", KeyOf("ten_a", "/s", "1"), VoidKeyOf("ten_a", schemas.EventRef{Source: "/s", ID: "1"}), ContentOf(&e))
	const want = "b0ccd372c67132df3e85a79f74c2d5bd 31ed1bcdc11601d5928a640865a036b7 6676a803c6369383"
	if got != want {
		t.Errorf("identity changed:\n got %s\nwant %s", got, want)
	}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	t.Parallel()
	key := []byte("k")
	rapid.Check(t, func(t *rapid.T) {
		var events []schemas.Event
		for range rapid.IntRange(0, 5).Draw(t, "events") {
			e := anyEvent(t)
			if !e.HasAmount {
				e.Amount = schemas.Money{}
			}
			events = append(events, e)
		}
		data := EncodeEnvelope(nil, "ten_a", events, FlagImport, key)
		if again := EncodeEnvelope(nil, "ten_a", events, FlagImport, key); string(again) != string(data) {
			t.Fatal("the same events gave other bytes")
		}
		got, flags, err := DecodeEnvelope(data, "ten_a", key)
		if err != nil || flags != FlagImport || len(got) != len(events) {
			t.Fatalf("decode: %d events, flags %d, %v", len(got), flags, err)
		}
		for i := range events {
			if diff := cmp.Diff(events[i], got[i], cmp.AllowUnexported(schemas.Money{})); diff != "" {
				t.Fatal(diff)
			}
		}
		at := rapid.IntRange(0, len(data)-1).Draw(t, "flip")
		data[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, _, err := DecodeEnvelope(data, "ten_a", key); err == nil {
			t.Fatalf("a flipped bit in byte %d went unnoticed", at)
		}
	})
}

func TestEnvelopeIsBoundToItsTenantAndKey(t *testing.T) {
	t.Parallel()
	data := EncodeEnvelope(nil, "ten_a", []schemas.Event{{ID: "1", Source: "/s", Type: schemas.TypeLLMCall}}, 0, []byte("k"))
	for _, c := range []struct{ tenant, key string }{{"ten_b", "k"}, {"ten_a", "other"}} {
		if _, _, err := DecodeEnvelope(data, c.tenant, []byte(c.key)); err == nil {
			t.Errorf("tenant %s, key %s: accepted", c.tenant, c.key)
		}
	}
}

// FuzzEnvelope signs arbitrary bodies, so that the decoder behind the signature
// is reached: it must refuse or read them, and what it reads must be stable.
func FuzzEnvelope(f *testing.F) {
	key := []byte("k")
	f.Add(EncodeEnvelope(nil, "t", []schemas.Event{{ID: "1", Source: "/s", Type: schemas.TypeVoid, Corrects: schemas.EventRef{Source: "/s", ID: "0"}}}, 0, key)[:20])
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append([]byte(envelopeMagic), envelopeVersion)
		data = append(data, body...)
		if len(data) < envelopeOverhead-envelopeMACSize {
			return
		}
		mac := envelopeMAC("t", data, key)
		events, flags, err := DecodeEnvelope(append(data, mac[:]...), "t", key)
		if err != nil {
			return
		}
		again, _, err := DecodeEnvelope(EncodeEnvelope(nil, "t", events, flags, key), "t", key)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if diff := cmp.Diff(events, again, cmp.AllowUnexported(schemas.Money{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestFilterHasNoFalseNegatives(t *testing.T) {
	t.Parallel()
	const keys = 400_000 // four stages
	f := newFilter(0)
	var k Key
	for i := range uint64(keys) {
		k = KeyOf("t", "s", string(binary.BigEndian.AppendUint64(nil, i)))
		f.add(&k)
	}
	wrong := 0
	for i := range uint64(2 * keys) {
		k = KeyOf("t", "s", string(binary.BigEndian.AppendUint64(nil, i)))
		may := f.mayHave(&k)
		if i < keys && !may {
			t.Fatalf("key %d was added and is called new", i)
		}
		if i >= keys && may {
			wrong++
		}
	}
	// Four stages at about one in four hundred each.
	if wrong > keys/50 {
		t.Errorf("%d of %d new keys are called possibly seen", wrong, keys)
	}
	t.Logf("%d of %d new keys need a lookup; %d bytes for %d keys", wrong, keys, f.bytes(), f.count)
}
