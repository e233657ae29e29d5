package api

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

type gotEvents struct {
	Events []struct {
		Seq           uint64
		Idx           uint16
		Event         struct{ ID, Type string }
		ReportedModel string `json:"reported_model"`
		Calls         int
		Cost          *string
		Reason        string     `json:"unpriced_reason"`
		PriceRevision int        `json:"price_revision"`
		Lines         []lineView `json:"lines"`
	}
	Next string `json:"next_cursor"`
}

func (g *gotEvents) ids() (ids []string) {
	for i := range g.Events {
		ids = append(ids, g.Events[i].Event.ID)
	}
	return ids
}

func TestEventsPageByPage(t *testing.T) {
	s := newStack(t)
	var events []string
	for i := range 5 {
		events = append(events, call(fmt.Sprint("e", i), s.now.Add(time.Duration(i)*time.Second), `"model":"alpha","tokens":{"input":1}`))
	}
	s.send(s.acme.key, events...)
	var pages [][]string
	for cursor := ""; ; {
		got := into[gotEvents](t, s.get(s.acme.key, "/v1/events?limit=2&cursor="+cursor))
		pages = append(pages, got.ids())
		if cursor = got.Next; cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([][]string{{"e4", "e3"}, {"e2", "e1"}, {"e0"}}, pages); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	if a := s.get(s.beta.key, "/v1/events"); a.status != 200 || a.body != "{\"events\":[]}\n" {
		t.Errorf("a tenant without events: %d %s", a.status, a.body)
	}
}

// One event is shown with what counts for it and how its cost came about.
func TestEventIsExplained(t *testing.T) {
	s := newStack(t)
	s.send(s.acme.key, call("e", s.now, `"model":"alpha","tokens":{"input":1000000,"output":500000}`),
		call("odd", s.now, `"model":"mystery","tokens":{"input":1}`))
	seq := s.send(s.acme.key, fmt.Sprintf(`{"specversion":"1.0","id":"v","source":"/r","type":"void","time":%q,
		"data":{"corrects":{"source":"/r","id":"e"}}}`, s.now.Format(time.RFC3339)))
	for _, path := range []string{"/v1/events?id=e", "/v1/events?id=e&source=/r"} {
		got := into[gotEvents](t, s.get(s.acme.key, path))
		if len(got.Events) != 2 || got.Events[0].Event.ID != "e" || got.Events[1].Event.ID != "v" || got.Events[1].Seq != seq {
			t.Fatalf("%s: %+v", path, got)
		}
		e, void := got.Events[0], got.Events[1]
		if *e.Cost != "2.000000" || *void.Cost != "-2.000000" || e.Calls != 1 || void.Calls != -1 || e.PriceRevision != 1 {
			t.Errorf("%s: %+v", path, got)
		}
		want := []lineView{
			{Item: "input", Quantity: 1_000_000, UnitPrice: schemas.Pico(1_000_000), Amount: schemas.Pico(schemas.PicoPerUSD)},
			{Item: "output", Quantity: 500_000, UnitPrice: schemas.Pico(2_000_000), Amount: schemas.Pico(schemas.PicoPerUSD)},
		}
		if diff := cmp.Diff(want, e.Lines, cmpopts.EquateComparable(schemas.Money{})); diff != "" || void.Lines != nil {
			t.Errorf("lines (-want +got):\n%s\nof the void: %+v", diff, void.Lines)
		}
	}
	odd := into[gotEvents](t, s.get(s.acme.key, "/v1/events?id=odd")).Events[0]
	if odd.Cost != nil || odd.Reason == "" || odd.Lines != nil {
		t.Errorf("an event without a price: %+v", odd)
	}
	wantProblem(t, s.get(s.acme.key, "/v1/events?id=e&source=/other"), 404, "not_found", "")
}

// A tail gives what is there, and waits for what is not yet.
func TestTailWaits(t *testing.T) {
	s := newStack(t)
	seq := s.send(s.acme.key, call("e1", s.now, `"model":"alpha"`), call("e2", s.now, `"model":"alpha"`))
	tail := func(after, wait string) gotEvents {
		return into[gotEvents](t, s.get(s.acme.key, "/v1/events?after="+after+"&wait="+wait))
	}
	for after, want := range map[string][]string{
		"0-0": {"e1", "e2"}, placeText(seq, 0): {"e2"}, placeText(seq, 1): nil,
	} {
		for _, wait := range []string{"", "0s", "1ms"} {
			got := tail(after, wait)
			if diff := cmp.Diff(want, got.ids()); diff != "" || got.Next != "" {
				t.Errorf("after %s (-want +got):\n%s", after, diff)
			}
		}
	}
	// The handler has taken the request when it asks for the stages; the event is
	// published after that, by another door.
	entered := make(chan struct{})
	enter := sync.OnceFunc(func() { close(entered) })
	s.onStages.Store(&enter)
	published := make(chan error, 1)
	go func() {
		<-entered
		_, err := s.log.Append(t.Context(), eventlog.Message{
			Subject: schemas.DirectSubject(s.acme.ID), Data: []byte(call("late", s.now, `"model":"alpha"`))})
		published <- err
	}()
	got := tail(placeText(seq, 1), "20s")
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"late"}, got.ids()); diff != "" {
		t.Errorf("the tail (-want +got):\n%s", diff)
	}
	if got := into[gotEvents](t, s.get(s.acme.key, "/v1/events?after=0-0&limit=1")); len(got.Events) != 1 || got.Events[0].Event.ID != "e1" {
		t.Errorf("the first after the beginning: %+v", got)
	}
}

func TestLookup(t *testing.T) {
	s := newStack(t)
	seq := s.send(s.acme.key, call("e1", s.now, `"model":"alpha"`), call("e2", s.now, `"model":"alpha"`))
	s.send(s.beta.key, call("e3", s.now, `"model":"alpha"`))
	body := `{"source":"/r","ids":["e2","e3","e1"],"wait_seq":` + strconv.FormatUint(seq, 10) + `}`
	want := fmt.Sprintf(`{"found":[{"id":"e2","seq":%d},{"id":"e1","seq":%d}],"missing":["e3"]}`+"\n", seq, seq)
	if a := s.ask(s.acme.key, "POST", "/v1/events/lookup", body); a.status != 200 || a.body != want {
		t.Errorf("%d %s, want %s", a.status, a.body, want)
	}
	if a := s.ask(s.acme.key, "POST", "/v1/events/lookup", `{"source":"/other","ids":["e1"]}`); a.body != `{"found":[],"missing":["e1"]}`+"\n" {
		t.Errorf("another source: %s", a.body)
	}
	many, err := json.Marshal(map[string]any{"source": "/r", "ids": make([]string, ingest.LookupIDsMax+1)})
	if err != nil {
		t.Fatal(err)
	}
	wantProblem(t, s.ask(s.acme.key, "POST", "/v1/events/lookup", string(many)), 422, "invalid", "/ids")
	wantProblem(t, s.ask(s.acme.key, "POST", "/v1/events/lookup", `{"sauce":"/r"}`), 422, "invalid", "/sauce")
	wantProblem(t, s.ask(s.acme.key, "POST", "/v1/events/lookup", `{"ids":"e1"}`), 422, "invalid", "/ids")
	wantProblem(t, s.ask(s.acme.key, "POST", "/v1/events/lookup", `{"ids":`), 400, "invalid", "")
}

// Lists of what was not counted are read page by page; a cursor opens the list of
// the tenant it was made for and no other.
func TestRejectsPageByPage(t *testing.T) {
	s := newStack(t)
	const rows = 5
	var first, second []string
	for i := range rows {
		s.publish(s.acme.ID, fmt.Sprintf(`{"poison":%d}`, i))
		first = append(first, call(fmt.Sprint("e", i), s.now, `"model":"alpha","tokens":{"input":1}`))
		second = append(second, call(fmt.Sprint("e", i), s.now, `"model":"alpha","tokens":{"input":2}`))
	}
	seq := s.send(s.acme.key, first...)
	s.send(s.acme.key, second...)

	type list struct {
		Quarantine []quarantineView
		Conflicts  []conflictView
		Next       string `json:"next_cursor"`
	}
	cursors := map[string]string{}
	for name, key := range map[string]string{"quarantine": s.acme.key, "conflicts": s.acme.key, "quarantine ": s.platform} {
		path := "/v1/" + strings.TrimSpace(name)
		var sizes []int
		var seen []string
		for cursor, page := "", 0; page < 10; page++ {
			got := into[list](t, s.get(key, path+"?limit=2&cursor="+url.QueryEscape(cursor)))
			sizes = append(sizes, len(got.Quarantine)+len(got.Conflicts))
			for _, q := range got.Quarantine {
				seen = append(seen, q.Body)
			}
			for _, c := range got.Conflicts {
				seen = append(seen, c.ID)
				if c.Tenant != s.acme.ID || c.FirstSeq != seq || !strings.Contains(string(c.Event), `"input":2`) {
					t.Errorf("conflict %+v", c)
				}
			}
			if cursor = got.Next; cursor == "" {
				break
			}
			cursors[name] = cursor
		}
		if diff := cmp.Diff([]int{2, 2, 1}, sizes); diff != "" {
			t.Errorf("%s, sizes of pages (-want +got):\n%s", path, diff)
		}
		slices.Sort(seen)
		if seen = slices.Compact(seen); len(seen) != rows {
			t.Errorf("%s: saw %q", path, seen)
		}
	}
	for _, row := range []struct{ key, path, cursor string }{
		{s.beta.key, "/v1/quarantine", cursors["quarantine"]},
		{s.beta.key, "/v1/conflicts", cursors["conflicts"]},
		{s.acme.key, "/v1/conflicts", cursors["quarantine"]},   // another list
		{s.acme.key, "/v1/quarantine", cursors["quarantine "]}, // the platform's
		{s.acme.key, "/v1/quarantine", "MTAtMA"},               // written by hand
		{s.acme.key, "/v1/quarantine", strings.Repeat("A", 5000)},
		{s.acme.key, "/v1/events", "!"},
	} {
		wantProblem(t, s.get(row.key, row.path+"?cursor="+url.QueryEscape(row.cursor)), 422, "invalid", "/cursor")
	}
}

// held returns what is in a tenant's quarantine, newest first.
func (s *stack) held(key, state string) []quarantineView {
	s.t.Helper()
	return into[struct{ Quarantine []quarantineView }](s.t, s.get(key, "/v1/quarantine?state="+state)).Quarantine
}

func (s *stack) replay(key, id, body string) answer {
	s.t.Helper()
	a := s.ask(key, "POST", "/v1/quarantine/"+id+"/replay", body)
	if a.status == 200 {
		s.judged(into[replayAnswer](s.t, a).Seq)
	}
	return a
}

// A poison message that came over NATS is kept, corrected by hand, and counts.
func TestPoisonIsCorrected(t *testing.T) {
	s := newStack(t)
	good := call("good", s.now, `"model":"alpha","tokens":{"input":1}`)
	s.publish(s.acme.ID, "["+call("bad", s.now, `"model":"alpha","tokens":{"input":-5}`)+","+good+"]")
	rows := s.held(s.acme.key, "open")
	if len(rows) != 1 || rows[0].Reason != schemas.CodeOutOfRange || rows[0].Pointer != "/data/tokens/input" ||
		rows[0].Detail == "" || !strings.Contains(rows[0].Body, `"bad"`) || strings.Contains(rows[0].Body, "good") ||
		rows[0].Tenant != s.acme.ID || rows[0].Subject != schemas.DirectSubject(s.acme.ID) {
		t.Fatalf("quarantine: %+v", rows)
	}
	id := rows[0].ID
	calls := func() int64 { return into[gotUsage](t, s.get(s.acme.key, "/v1/usage?fresh=1")).Total.Calls }
	if calls() != 1 {
		t.Error("its neighbour was not counted")
	}
	// As it is, it stays wrong; it is refused here and stays where it is.
	wantProblem(t, s.replay(s.acme.key, id, ""), 422, "invalid", "/data/tokens/input")
	wantProblem(t, s.replay(s.acme.key, id, "nonsense"), 400, "invalid", "")
	wantProblem(t, s.replay(s.acme.key, id, strings.Repeat(" ", schemas.RequestBytesMax+1)), 413, "too_large", "")
	wantProblem(t, s.replay(s.acme.key, "x", ""), 422, "invalid", "/id")
	wantProblem(t, s.replay(s.acme.key, "1-99999", ""), 422, "invalid", "/id")
	wantProblem(t, s.replay(s.beta.key, id, good), 404, "not_found", "")
	if open := s.held(s.acme.key, "open"); len(open) != 1 || calls() != 1 {
		t.Errorf("after refused replays: %+v", open)
	}
	// The platform corrects it for the tenant; a second time is a duplicate.
	corrected := call("bad", s.now, `"model":"alpha","tokens":{"input":5}`)
	for range 2 {
		got := into[replayAnswer](t, s.replay(s.platform, id, corrected))
		if got.ID != id || got.Events != 1 || got.Stream != schemas.StreamUsage || calls() != 2 {
			t.Errorf("replay: %+v, then %d calls", got, calls())
		}
	}
	if open, done := s.held(s.acme.key, "open"), s.held(s.acme.key, "replayed"); len(open) != 0 || len(done) != 1 || done[0].ID != id {
		t.Errorf("open %+v, replayed %+v", open, done)
	}
	// What is no text at all is shown escaped, and stays wrong.
	held := s.publish(s.beta.ID, "\xff\x00poison")
	if rows := s.held(s.beta.key, ""); len(rows) != 1 || rows[0].Body != `\xff\x00poison` {
		t.Errorf("bytes: %+v", rows)
	}
	if a := s.replay(s.beta.key, placeText(held, 0), ""); a.status != 400 {
		t.Errorf("bytes replayed: %d %s", a.status, a.body)
	}
}

// A void that comes before the event it names waits in quarantine. Replayed too
// early it is there again, at its new place; replayed after the event it takes it
// back.
func TestVoidBeforeItsEvent(t *testing.T) {
	s := newStack(t)
	void := fmt.Sprintf(`{"specversion":"1.0","id":"v","source":"/r","type":"void","time":%q,
		"data":{"corrects":{"source":"/r","id":"target"}}}`, s.now.Format(time.RFC3339))
	seq := s.send(s.acme.key, void)
	first := s.held(s.acme.key, "open")
	if len(first) != 1 || first[0].Reason != ingest.ReasonVoidUnknown || first[0].ID != placeText(seq, 0) || first[0].Pointer != "/data/corrects" {
		t.Fatalf("quarantine: %+v", first)
	}
	early := into[replayAnswer](t, s.replay(s.acme.key, first[0].ID, ""))
	second := s.held(s.acme.key, "open")
	if len(second) != 1 || second[0].ID != placeText(early.Seq, 0) || second[0].Reason != ingest.ReasonVoidUnknown {
		t.Fatalf("after an early replay: %+v", second)
	}
	if done := s.held(s.acme.key, "replayed"); len(done) != 1 || done[0].ID != first[0].ID {
		t.Errorf("replayed: %+v", done)
	}
	s.send(s.acme.key, call("target", s.now, `"model":"alpha","tokens":{"input":1000000}`))
	usage := func() gotTotals { return into[gotUsage](t, s.get(s.acme.key, "/v1/usage?fresh=1")).Total }
	if got := usage(); got.Calls != 1 || got.Cost != "1.000000" {
		t.Errorf("before the void counts: %+v", got)
	}
	into[replayAnswer](t, s.replay(s.acme.key, second[0].ID, ""))
	if got := usage(); got.Calls != 0 || got.Cost != "0.000000" || got.All != 0 {
		t.Errorf("after the void: %+v", got)
	}
	if open := s.held(s.acme.key, "open"); len(open) != 0 {
		t.Errorf("still open: %+v", open)
	}
	if got := into[gotEvents](t, s.get(s.acme.key, "/v1/events?id=target")); len(got.Events) != 2 {
		t.Errorf("the event and its void: %+v", got)
	}
}

// The door for history takes what the regular one is too young for.
func TestHistoryHasADoorOfItsOwn(t *testing.T) {
	s := newStack(t)
	old := "[" + call("old", s.now.AddDate(-2, 0, 0), `"model":"alpha","tokens":{"input":1000000}`) + "]"
	wantProblem(t, s.ask(s.acme.key, "POST", "/v1/events", old), 422, "invalid", "/0/time")
	got := into[struct {
		Accepted int
		Seq      uint64
	}](t, s.ask(s.acme.key, "POST", "/v1/import?verdicts=rejected", old))
	s.judged(got.Seq)
	if page := into[struct{ Events []struct{ Cost string } }](t, s.get(s.acme.key, "/v1/events?id=old")); got.Accepted != 1 || page.Events[0].Cost != "1.000000" {
		t.Errorf("%+v, %+v", got, page)
	}
}
