package alerting

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// decideRecord puts a record on a log.
func decideRecord(t *testing.T, log *eventlog.Log, r Record) {
	t.Helper()
	if decided, err := NewDecider(log).Decide(t.Context(), r); err != nil || !decided {
		t.Fatalf("decide %s: %t, %v", r.Kind, decided, err)
	}
}

func threshold(tenant string, percent int) Record {
	return Record{Kind: Fired, Severity: SeverityOf(percent), At: valentine,
		Identity: Identity{Tenant: tenant, Rule: RuleThreshold, Limit: "monthly_budget", Period: "2026-02", Revision: "5-100", Threshold: percent},
		Facts:    Facts{Used: usd(int64(percent)), Max: usd(100), Percent: percent}}
}

func spike(episode int, kind Kind) Record {
	r := Record{Kind: kind, Episode: episode, Severity: SeverityWarning, At: valentine.Add(time.Duration(episode) * time.Hour),
		Identity: Identity{Tenant: "ten_a", Rule: "spike", RuleHash: "h", Name: "bot"}}
	if kind == Resolved {
		r.Cause = ByCondition
	}
	return r
}

// caughtUp starts a book that has read the log.
func caughtUp(t *testing.T, log *eventlog.Log) *Book {
	t.Helper()
	return start(t, &faultyLog{Log: log}, newMeter(valentine), nil, false).book
}

func TestBookShowsAlerts(t *testing.T) {
	log := eventlogtest.Open(t)
	decideRecord(t, log, threshold("ten_a", 80))
	ack := threshold("ten_a", 80)
	ack.Kind, ack.Actor, ack.At, ack.Facts = Acked, "user:mem_1", valentine.Add(time.Minute), Facts{}
	decideRecord(t, log, ack)
	for episode := range 3 {
		decideRecord(t, log, spike(episode, Fired))
		if episode < 2 {
			decideRecord(t, log, spike(episode, Resolved))
		}
	}
	lag := Record{Kind: Fired, Severity: SeverityCritical, At: valentine, Identity: Identity{Rule: "ingest-lag"}}
	decideRecord(t, log, lag)
	book := caughtUp(t, log)
	id := ack.Identity.ID()
	a, ok := book.Get("ten_a", id)
	if !ok || a.State != Firing || a.AckedBy != "user:mem_1" || !a.AckedAt.Equal(ack.At) || len(a.History) != 2 || a.Facts.Percent != 80 {
		t.Errorf("the threshold is %+v", a)
	}
	// Each episode of a rule is an entry of its own; the newest is the alert.
	if s, ok := book.Get("ten_a", spike(0, Fired).Identity.withID()); !ok || s.Episode != 2 || s.State != Firing {
		t.Errorf("the spike is %+v", s)
	}
	for _, row := range []struct {
		q    Query
		want string
	}{
		{Query{Tenant: "ten_a"}, "spike/2 spike/1 spike/0 threshold/0"},
		{Query{Tenant: "ten_a", State: Firing}, "spike/2 threshold/0"},
		{Query{Tenant: "ten_a", State: Ended, Rule: "spike"}, "spike/1 spike/0"},
		{Query{Tenant: "ten_a", Severity: SeverityInfo}, "threshold/0"},
		{Query{Tenant: "ten_a", Limit: "monthly_budget"}, "threshold/0"},
		{Query{Tenant: "ten_a", Since: valentine.Add(time.Hour)}, "spike/2 spike/1"},
		{Query{Tenant: Platform}, "ingest-lag/0"},
		{Query{Tenant: Everyone, Max: 2}, "ingest-lag/0 spike/2"},
		{Query{}, ""},
		{Query{Tenant: "ten_b"}, ""},
		{Query{Tenant: "ten_a", After: "yesterday"}, ""},
	} {
		alerts, _ := book.List(row.q)
		var got []string
		for _, a := range alerts {
			got = append(got, fmt.Sprintf("%s/%d", a.Rule, a.Episode))
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%+v: %v, want %s", row.q, got, row.want)
		}
	}
	want := Counts{States: map[State]int{Firing: 2, Ended: 2}, Firing: map[Severity]int{SeverityInfo: 1, SeverityWarning: 1}}
	if diff := cmp.Diff(want, book.Counts("ten_a")); diff != "" {
		t.Error(diff)
	}
	// Somebody else's is not found, and a reopened alert has nobody's ack.
	if _, ok := book.Get("ten_b", id); ok {
		t.Error("an alert is found in another tenant")
	}
	again := threshold("ten_a", 80)
	again.Kind, again.Cause = Resolved, ByCorrection
	decideRecord(t, log, again)
	again.Kind, again.Cause, again.Episode = Reopened, "", 1
	_, seq, err := NewDecider(log).decide(t.Context(), &again)
	if err != nil {
		t.Fatal(err)
	}
	if err := book.WaitFor(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
	if a, _ := book.Get("ten_a", id); a.State != Firing || a.Episode != 1 || !a.AckedAt.IsZero() || len(a.History) != 4 {
		t.Errorf("reopened it is %+v", a)
	}
}

// withID is ID of a value.
func (i Identity) withID() string { return i.ID() }

// Pages of a list hold each alert once, whatever fires meanwhile.
func TestPagesAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBook(BookConfig{}, nil)
		var seq uint64
		fire := func() {
			seq += 1 + rapid.Uint64Range(0, 3).Draw(t, "gap")
			r := threshold("ten_a", 80)
			r.Version, r.Identity.Name = RecordVersion, strconv.FormatUint(seq, 10)
			r.Alert = r.Identity.ID()
			data, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			b.apply([]eventlog.Record{{Subject: r.Subject(), Seq: seq, Data: data}})
		}
		n := rapid.IntRange(0, 30).Draw(t, "alerts")
		for range n {
			fire()
		}
		want, cursor := seq, ""
		var got []string
		for {
			page, next := b.List(Query{Tenant: "ten_a", After: cursor, Max: rapid.IntRange(1, 7).Draw(t, "page")})
			for _, a := range page {
				if a.Seq > want && len(got) > 0 {
					t.Fatalf("%d is after %v", a.Seq, got)
				}
				got = append(got, a.Name)
			}
			if next == "" {
				break
			}
			cursor = next
			for range rapid.IntRange(0, 3).Draw(t, "meanwhile") {
				fire()
			}
		}
		if len(got) != n {
			t.Fatalf("%d alerts on the pages, want %d", len(got), n)
		}
		for i := 1; i < len(got); i++ {
			a, _ := strconv.ParseUint(got[i-1], 10, 64)
			if b, _ := strconv.ParseUint(got[i], 10, 64); a <= b {
				t.Fatalf("%d before %d", a, b)
			}
		}
	})
}

// What cannot be read is counted, its alert is known, and what follows is read. What an
// erasure takes from the log, also from its beginning while nobody reads, is forgotten.
func TestBookGoesOn(t *testing.T) {
	log := eventlogtest.Open(t)
	decideRecord(t, log, threshold("ten_gone", 80))
	decideRecord(t, log, threshold("ten_gone", 90))
	for subject, data := range map[string]string{
		"decision.ten_a.alert.alr_later.0.fired":                                     `{"v":2}`,
		"decision.ten_a.alert.alr_broken.0.fired":                                    `{`,
		"decision.ten_a.alert.alr_moved.0.fired":                                     `{"v":1,"alert":"alr_other","kind":"fired"}`,
		"decision.ten_a.alert." + threshold("", 1).Identity.withID() + ".zero.fired": `{}`,
	} {
		if _, _, err := log.Decide(t.Context(), subject, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	decideRecord(t, log, threshold("ten_a", 80))
	book := caughtUp(t, log)
	if n := book.PassedOver(); n != 4 {
		t.Errorf("%d passed over", n)
	}
	if s := book.Standing("ten_a", nil); !s.Opaque["alr_later"] || !s.Opaque["alr_broken"] || !s.Opaque["alr_moved"] || len(s.Alerts) != 1 {
		t.Errorf("standing %+v", s)
	}
	book.Forget("ten_gone")
	seqs, err := log.Find(t.Context(), schemas.StreamDecisions, []string{"decision.ten_gone.>"}, ^uint64(0), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Erase(t.Context(), schemas.StreamDecisions, seqs); err != nil {
		t.Fatal(err)
	}
	late := threshold("ten_gone", 100) // decided by a node that had not heard
	decideRecord(t, log, late)
	decideRecord(t, log, threshold("ten_a", 90))
	last, _, err := log.LastForSubject(t.Context(), schemas.StreamDecisions, SubjectsAlerts)
	if err != nil {
		t.Fatal(err)
	}
	if err := book.WaitFor(t.Context(), last.Seq); err != nil {
		t.Fatal(err)
	}
	if alerts, _ := book.List(Query{Tenant: Everyone}); len(alerts) != 2 {
		t.Errorf("the book has %+v", alerts)
	}
	if alerts, _ := caughtUp(t, log).List(Query{Tenant: Everyone}); len(alerts) != 3 { // with the late one
		t.Errorf("a new book has %+v", alerts)
	}
}

// A book that comes back to a stream whose next records were erased reads on behind them.
func TestBookReadsOnBehindAnErasure(t *testing.T) {
	log := eventlogtest.Open(t)
	decideRecord(t, log, threshold("ten_gone", 80))
	faulty := &faultyLog{Log: log}
	book := NewBook(BookConfig{RetryEvery: time.Millisecond}, faulty)
	state, err := log.State(t.Context(), schemas.StreamDecisions)
	if err != nil {
		t.Fatal(err)
	}
	book.epoch, book.applied = state.Epoch, 1 // it has read the first record, and was cut off
	decideRecord(t, log, threshold("ten_gone", 90))
	decideRecord(t, log, threshold("ten_gone", 100))
	if err := log.Erase(t.Context(), schemas.StreamDecisions, []uint64{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	decideRecord(t, log, threshold("ten_a", 80))
	n := &node{book: book}
	runBook(t, n)
	if err := book.WaitFor(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
}

// The memory of what ended is bounded by age and by number; what fires stays.
func TestBookForgetsWhatEndedLongAgo(t *testing.T) {
	now := valentine
	b := NewBook(BookConfig{Now: func() time.Time { return now }, EndedMax: 80}, nil)
	var seq uint64
	add := func(r Record) {
		seq++
		r.Version, r.Alert = RecordVersion, r.Identity.ID()
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		b.apply([]eventlog.Record{{Subject: r.Subject(), Seq: seq, Data: data}})
	}
	life := func(name string, at time.Time, ends bool) {
		r := threshold("ten_a", 80)
		r.Identity.Name, r.At = name, at
		add(r)
		if ends {
			r.Kind, r.Cause = Resolved, ByPeriod
			add(r)
		}
	}
	life("old", now, true)
	life("open", now, false)
	now = now.AddDate(2, 0, 0)
	life("new", now, true)
	names := func() string {
		alerts, _ := b.List(Query{Tenant: "ten_a", Max: 3})
		var words []string
		for _, a := range alerts {
			words = append(words, a.Name)
		}
		return strings.Join(words, " ")
	}
	if got := names(); got != "new open" {
		t.Errorf("after two years there are %s", got)
	}
	for i := range 200 {
		life(fmt.Sprint("many ", i), now, true)
	}
	if c := b.Counts("ten_a"); c.States[Over] > 90 || c.States[Over] < 70 || c.States[Firing] != 1 {
		t.Errorf("there are %v", c.States)
	}
	if got := names(); got != "many 199 many 198 many 197" {
		t.Errorf("the newest are %s", got)
	}
	if b.pages.ended != b.Counts("ten_a").States[Over] {
		t.Errorf("%d ended by the count, %d in the list", b.pages.ended, b.Counts("ten_a").States[Over])
	}
	// A rule that swings keeps its newest episodes.
	for episode := range 300 {
		add(spike(episode, Fired))
		add(spike(episode, Resolved))
	}
	if alerts, _ := b.List(Query{Tenant: "ten_a", Rule: "spike", Max: 200}); len(alerts) > episodesKept || alerts[0].Episode != 299 {
		t.Errorf("%d episodes, the newest %d", len(alerts), alerts[0].Episode)
	}
	b.Forget("ten_a")
	if len(b.pages.order) != 0 || b.pages.ended != 0 || b.pages.owners["ten_a"] != nil {
		t.Errorf("left are %d pages, %d ended", len(b.pages.order), b.pages.ended)
	}
}

// The state of an alert is that of its latest episode, in whatever order its records come.
func TestStateIsThatOfTheLatestEpisode(t *testing.T) {
	record := func(episode int, kind Kind) Record {
		r := threshold("ten_a", 80)
		r.Version, r.Alert, r.Episode, r.Kind, r.AsOf = RecordVersion, r.Identity.ID(), episode, kind, uint64(10*episode)
		if kind == Resolved {
			r.Cause = ByCorrection
		}
		return r
	}
	life := []Record{record(0, Fired), record(0, Resolved), record(1, Reopened), record(1, Resolved), record(2, Reopened)}
	rapid.Check(t, func(t *rapid.T) {
		kept := rapid.IntRange(1, len(life)).Draw(t, "records")
		p := newPages()
		for i, r := range rapid.Permutation(life[:kept]).Draw(t, "order") {
			data, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.apply(&eventlog.Record{Subject: r.Subject(), Seq: uint64(i + 1), Data: data}); err != nil {
				t.Fatal(err)
			}
		}
		want, open := Ended, kept%2 == 1
		if open {
			want = Firing
		}
		of := p.order[0]
		if of.state() != want || of.episode != (kept-1)/2 || len(p.owners["ten_a"].firing) != kept%2 || p.ended != 1-kept%2 {
			t.Fatalf("%d records: %s, episode %d, %d firing, %d ended", kept, of.state(), of.episode, len(p.owners["ten_a"].firing), p.ended)
		}
	})
}
