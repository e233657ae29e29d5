package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

func TestCursors(t *testing.T) {
	c := Cursors{Key: bytes.Repeat([]byte{1}, 32)}
	a, b, platform := tenancy.ScopeOf("ten_a", ""), tenancy.ScopeOf("ten_b", ""), tenancy.ScopeOf("", "")
	cursor := c.Encode(a, "events", "2026-02-14/7")
	if got, err := c.Decode(a, "events", cursor); err != nil || got != "2026-02-14/7" {
		t.Errorf("decoded %q: %v", got, err)
	}
	if got, err := c.Decode(a, "events", ""); err != nil || got != "" {
		t.Errorf("no cursor is %q: %v", got, err)
	}
	reject := func(name string, c Cursors, s tenancy.Scope, list, cursor string) {
		t.Helper()
		if got, err := c.Decode(s, list, cursor); !errors.Is(err, schemas.ErrInvalid) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	reject("another tenant", c, b, "events", cursor)
	reject("the platform", c, platform, "events", cursor)
	reject("another list", c, a, "alerts", cursor)
	reject("another key", Cursors{Key: bytes.Repeat([]byte{2}, 32)}, a, "events", cursor)
	reject("cut off", c, a, "events", cursor[:10])
	reject("too long", c, a, "events", strings.Repeat("A", 2000))
	for i := range cursor {
		changed := []byte(cursor)
		if changed[i]++; changed[i] == '{' {
			changed[i] = 'A'
		}
		reject(fmt.Sprint("changed at ", i), c, a, "events", string(changed))
	}
}

type inner struct {
	N int            `json:"n"`
	M *schemas.Money `json:"m"`
}

type outer struct {
	Name string           `json:"name"`
	Some []inner          `json:"some"`
	Map  map[string]inner `json:"map"`
	Any  any              `json:"any"`
	At   time.Time        `json:"at"`
}

func TestUnmarshalStrict(t *testing.T) {
	for body, want := range map[string]string{
		`{"name":"x","some":[{"n":1,"m":"2.5"}],"map":{"k":{"n":2}},"any":{"free":[1,{}]},"at":"2026-02-14T09:00:00Z"}`: "",
		`{"role":"admin"}`:                     "/role unknown",
		`{"Name":"x"}`:                         "/Name unknown",
		`{"name":"x","name":"y"}`:              "/name repeated",
		`{"some":[{"n":1},{"tenant_id":"x"}]}`: "/some/1/tenant_id unknown",
		`{"map":{"a/b":{"x":1}}}`:              "/map/a~1b/x unknown",
		`{"some":[{"m":"1.5x"}]}`:              "/some/0/m malformed",
		`{"name":7}`:                           "/name wrong_type",
		`{"some":[{"n":"7"}]}`:                 "/some/0/n wrong_type",
		`{"some":[{"n":1.5}]}`:                 "/some/0/n wrong_type",
		`{"at":"yesterday"}`:                   "/at malformed",
		`[]`:                                   " wrong_type",
		`{"name":"x"} {}`:                      " malformed",
		`{"name":"x"`:                          " malformed",
		``:                                     " malformed",
		`{"some":{"n":1}}`:                     "/some wrong_type",
		`{"name":[1]}`:                         "/name wrong_type",
		`{"some":[[1]]}`:                       "/some/0 wrong_type",
		`{"name":}`:                            " malformed",
		`{"any":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`: "/any" + strings.Repeat("/0", 32) + " too_many",
	} {
		var v outer
		err := UnmarshalStrict([]byte(body), &v)
		got := ""
		var f *schemas.FieldError
		if errors.As(err, &f) {
			got = f.Pointer + " " + f.Code
		} else if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s\n got %q\nwant %q", body, got, want)
		}
	}
}

func FuzzUnmarshalStrict(f *testing.F) {
	f.Add([]byte(`{"name":"x","some":[{"n":1,"m":"2.5"}],"map":{"k":{"n":2}},"at":"2026-02-14T09:00:00Z"}`))
	f.Add([]byte(`{"any":[[[[]]]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var v outer
		if err := UnmarshalStrict(body, &v); err != nil {
			if !errors.Is(err, schemas.ErrInvalid) {
				t.Fatalf("%q gives %v", body, err)
			}
			return
		}
		// What passed the strict reading means the same to package json.
		var plain outer
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&plain); err != nil {
			t.Fatalf("%q: only the strict reader takes it: %v", body, err)
		}
		if diff := cmp.Diff(plain, v, cmp.Comparer(func(a, b schemas.Money) bool { return a == b })); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestDecodeJSONLimits(t *testing.T) {
	post := func(contentType, body string) error {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		var v outer
		return DecodeJSON(httptest.NewRecorder(), r, 20, &v)
	}
	for _, row := range []struct {
		contentType, body string
		status            int
	}{
		{"application/json", `{"name":"x"}`, 0}, {"application/json; charset=utf-8", `{}`, 0},
		{"application/json", "", 400}, {"application/json", " \n", 400}, {"application/json", "null", 400}, {"application/json", " null\n", 400},
		{"text/plain", `{}`, 415}, {"", `{}`, 415}, {"application/json", `{"name":"` + strings.Repeat("x", 30) + `"}`, 413},
	} {
		err := post(row.contentType, row.body)
		if row.status == 0 && err != nil || row.status != 0 && (err == nil || ProblemOf(err).Status != row.status) {
			t.Errorf("%q %s: %v, want %d", row.contentType, row.body, err, row.status)
		}
	}
}
