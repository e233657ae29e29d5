package api

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/pricelist"
	"github.com/agentik-os/panda/schemas"
	"github.com/agentik-os/panda/schemas/prices"
)

// models are the ids of rows, in order.
func (s *stack) models(path string) (revision uint32, models []string) {
	s.t.Helper()
	got := into[pricesAnswer](s.t, s.get(s.acme.key, path))
	for i := range got.Rows {
		models = append(models, got.Rows[i].Provider+" "+got.Rows[i].Model)
	}
	return got.Revision.Number, models
}

func TestPricesAreShown(t *testing.T) {
	s := newStack(t)
	all := []string{"house alpha", "house team/beta"}
	for path, want := range map[string][]string{
		"/v1/prices": all, "/v1/prices?provider=house": all, "/v1/prices?provider=away": nil,
		"/v1/prices?q=ALPH": {"house alpha"}, "/v1/prices?q=zzz": nil,
		"/v1/prices?at=2026-02-01": all, "/v1/prices?at=2026-02-01T10:00:00Z": all,
		"/v1/prices/house/alpha": {"house alpha"}, "/v1/prices/house/team/beta": {"house team/beta"},
	} {
		number, got := s.models(path)
		if diff := cmp.Diff(want, got); diff != "" || number != 1 {
			t.Errorf("%s at revision %d (-want +got):\n%s", path, number, diff)
		}
	}
	row := into[pricesAnswer](t, s.get(s.acme.key, "/v1/prices/house/alpha")).Rows[0]
	if diff := cmp.Diff(firstPrices().Rows[0].Tokens, row.Tokens); diff != "" {
		t.Errorf("prices (-want +got):\n%s", diff)
	}
	for _, path := range []string{"/v1/prices/house/nothing", "/v1/prices/nobody/alpha"} {
		wantProblem(t, s.get(s.acme.key, path), 404, "not_found", "")
	}
}

const newModel = `{"gamma": {"litellm_provider": "house", "mode": "chat", "input_cost_per_token": 3e-06, "output_cost_per_token": 6e-06}}`

func TestPricesAreImported(t *testing.T) {
	s := newStack(t)
	path := "/v1/prices/import?format=litellm&from=" + s.now.AddDate(0, 0, -7).Format("2006-01-02")
	gamma := call("before", s.now, `"provider":"house","model":"gamma","tokens":{"input":1000000}`)
	s.send(s.acme.key, gamma)

	type result struct {
		Revision                           *uint32
		Added, Changed, Removed, Unchanged int
	}
	two := uint32(2)
	for _, row := range []struct {
		name, path string
		want       result
		now        uint32
	}{
		{"a dry run changes nothing", path + "&dry_run=1", result{Added: 1, Unchanged: 2}, 1},
		{"an import is the next revision", path + "&note=the%20new%20model", result{Revision: &two, Added: 1, Unchanged: 2}, 2},
		{"the same once more is no change", path, result{Unchanged: 3}, 2},
	} {
		got := into[result](t, s.ask(s.platform, "POST", row.path, newModel))
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.name, diff)
		}
		if number, _ := s.models("/v1/prices"); number != row.now {
			t.Errorf("%s: revision %d, want %d", row.name, number, row.now)
		}
	}
	rev := into[pricesAnswer](t, s.get(s.acme.key, "/v1/prices")).Revision
	if rev.Note != "the new model" || rev.Source != "litellm file" || rev.Actor == "" || !rev.Created.Equal(s.now) {
		t.Errorf("revision: %+v", rev)
	}
	// From its place on the log on it prices; what came before stays as it was.
	s.send(s.acme.key, call("after", s.now, `"provider":"house","model":"gamma","tokens":{"input":1000000}`))
	before, after := s.one("before"), s.one("after")
	if before.Events[0].Cost != nil || before.Events[0].PriceRevision != 1 {
		t.Errorf("before: %+v", before.Events[0])
	}
	if cost := after.Events[0].Cost; cost == nil || *cost != "3.000000" || after.Events[0].PriceRevision != 2 {
		t.Errorf("after: %+v", after.Events[0])
	}
	wantProblem(t, s.ask(s.acme.key, "POST", path, newModel), 403, "platform_only", "")
}

func (s *stack) one(id string) gotEvents {
	s.t.Helper()
	return into[gotEvents](s.t, s.get(s.acme.key, "/v1/events?id="+id))
}

// Somebody publishes between the look at the newest revision and the append: the
// import is refused, and done again it builds on the other's prices.
func TestPricesImportedTogether(t *testing.T) {
	s := newStack(t)
	other := firstPrices()
	other.Note = "the other's"
	var once sync.Once
	s.priceLog.before = func(string) {
		once.Do(func() {
			if _, err := pricelist.New(s.log, schemas.Shards(1)).Publish(t.Context(), 1, other); err != nil {
				t.Error(err)
			}
		})
	}
	p := wantProblem(t, s.ask(s.platform, "POST", "/v1/prices/import?format=litellm", newModel), 409, "conflict", "")
	if p.Detail == "" {
		t.Error("nothing about what to do")
	}
	got := into[importAnswer](t, s.ask(s.platform, "POST", "/v1/prices/import?format=litellm", newModel))
	if got.Revision == nil || *got.Revision != 3 {
		t.Errorf("again: %+v", got)
	}
}

func TestBadPriceFiles(t *testing.T) {
	s := newStack(t)
	for body, format := range map[string]string{
		"not JSON": "litellm", "[1]": "litellm", "{": "genai-prices", `{"rows":1}`: "panda", `{"rowz":[]}`: "panda",
	} {
		wantProblem(t, s.ask(s.platform, "POST", "/v1/prices/import?format="+format, body), 400, "invalid", "")
	}
	// A price that no model has is left out, and the answer says so.
	revision := firstPrices()
	revision.Rows[0].Tokens.Set(schemas.Input, schemas.TokenPriceMax+1)
	body, err := json.Marshal(revision)
	if err != nil {
		t.Fatal(err)
	}
	got := into[importAnswer](t, s.ask(s.platform, "POST", "/v1/prices/import?format=panda", string(body)))
	if got.Revision != nil || len(got.Skipped) != 1 || got.Skipped[0].Model != "alpha" || got.Skipped[0].Reason == "" {
		t.Errorf("a price beyond the limit: %+v", got)
	}
	large, err := s.try(s.platform, "POST", "/v1/prices/import?format=litellm",
		io.LimitReader(endless{}, prices.FileBytesMax+1))
	if err != nil {
		t.Fatal(err)
	}
	wantProblem(t, large, 413, "too_large", "")
	if number, _ := s.models("/v1/prices"); number != 1 {
		t.Errorf("revision %d after bad files", number)
	}
}

// endless is spaces without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte{' '}, len(p))), nil }
