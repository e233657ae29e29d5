package outbox

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/alerting/channel"
	"github.com/agentik-os/panda/alerting/channel/channeltest"
	"github.com/agentik-os/panda/internal/contact"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/schemas"
)

// dying is a bucket that lets its node die at the nth time that something is done.
type dying struct {
	bucket
	at   string // such as "create before"
	left *int
	mu   *sync.Mutex
	kill func()
}

func (d dying) dies(at string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at != at {
		return false
	}
	if *d.left--; *d.left == 0 {
		d.kill()
	}
	return *d.left <= 0
}

func (d dying) write(what string, f func() (uint64, error)) (uint64, error) {
	if d.dies(what + " before") {
		return 0, fmt.Errorf("%s: the node died: %w", what, schemas.ErrUnavailable)
	}
	revision, err := f()
	if d.dies(what + " after") {
		return 0, fmt.Errorf("%s: the node died: %w", what, schemas.ErrUnavailable)
	}
	return revision, err
}

func (d dying) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	what := "create"
	if key == cursorKey {
		what = "cursor"
	}
	return d.write(what, func() (uint64, error) { return d.bucket.Create(ctx, key, value) })
}

func (d dying) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	what := "mark"
	if key == cursorKey {
		what = "cursor"
	}
	return d.write(what, func() (uint64, error) { return d.bucket.Update(ctx, key, value, revision) })
}

// TestADeathAnywhereLosesNothing kills a node at every step, before and after it, at the
// first and at a later time; the next node tells everything that was not told, and
// whatever is told again has the id that it had.
func TestADeathAnywhereLosesNothing(t *testing.T) {
	for _, step := range []string{"create before", "create after", "cursor before", "cursor after", "send before", "send after", "mark before", "mark after"} {
		for _, nth := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s %d", step, nth), func(t *testing.T) {
				log, w := eventlogtest.Open(t), newWorld()
				digest := hook("chn_digest")
				digest.Digest = contact.Hourly
				w.tell("ten_a", hook("chn_1"), hook("chn_2"), digest)
				killed := make(chan struct{})
				kill := sync.OnceFunc(func() { close(killed) })
				left := nth
				d := dying{at: step, left: &left, mu: &sync.Mutex{}, kill: kill}
				w.before = func(*alerting.Message) error {
					if d.dies("send before") {
						return errAway
					}
					return nil
				}
				w.after = func(*alerting.Message) error {
					if d.dies("send after") {
						return errAway
					}
					return nil
				}
				_, stop := w.run(t, log, func(o *Outbox) { o.wrap = func(b bucket) bucket { d.bucket = b; return d } })
				for _, n := range []int{80, 90, 100} {
					fire(t, log, percent(n))
				}
				select {
				case <-killed:
				case <-time.After(patience):
					t.Fatalf("nothing died at %s", step)
				}
				stop()
				w.mu.Lock()
				w.before, w.after = nil, nil
				w.mu.Unlock()
				w.advance(2 * time.Hour) // past the digest, and past the pauses after a failure
				o, _ := w.run(t, log, nil)
				w.await(t, "everything is told", func() bool {
					by := states(o)
					if by[Waiting] > 0 {
						w.advance(time.Minute) // those that were made just now wait for the next hour
					}
					w.mu.Lock()
					defer w.mu.Unlock()
					return by[Pending]+by[Waiting] == 0 && len(w.ids) == 9 // three records at three places
				})
				w.mu.Lock()
				defer w.mu.Unlock()
				for what, ids := range w.ids {
					if len(ids) != 1 {
						t.Errorf("%s with ids %v", what, ids)
					}
				}
			})
		}
	}
}

// TestTwoOutboxes: two nodes that both believe to be the one may tell twice, and then
// with one id.
func TestTwoOutboxes(t *testing.T) {
	log, w := eventlogtest.Open(t), newWorld()
	w.tell("ten_a", hook("chn_1"), hook("chn_2"))
	a, _ := w.run(t, log, nil)
	b, _ := w.run(t, log, nil)
	for n := range 20 {
		fire(t, log, percent(n+1))
	}
	for _, o := range []*Outbox{a, b} {
		w.await(t, "all are sent", func() bool { return states(o)[Sent] == 40 })
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ids) != 40 {
		t.Errorf("%d were told, not 40", len(w.ids))
	}
	for what, ids := range w.ids {
		if len(ids) != 1 {
			t.Errorf("%s with ids %v", what, ids)
		}
	}
}

// TestMailServerIsDownForAnHour: a mail server that is a process of its own goes, and
// comes back after an hour.
func TestMailServerIsDownForAnHour(t *testing.T) {
	log, w := eventlogtest.Open(t), newWorld()
	server := channeltest.StartMail(t, true)
	mailer, err := channel.NewMailer(channel.MailConfig{URL: server.URL, From: "Panda <panda@panda.dev>", Roots: server.Roots})
	if err != nil {
		t.Fatal(err)
	}
	w.tell("ten_a", contact.Channel{ID: "chn_mail", Name: "Mail", Type: contact.Email, To: []string{"ops@acme.com", "boss@acme.com", "nobody@acme.com"}})
	w.senders["chn_mail"] = mailer
	o, _ := w.run(t, log, nil)
	server.Stop()
	fire(t, log, nil)
	tries := func() (n int) {
		list, _ := o.Deliveries(Query{Tenant: "ten_a"})
		for i := range list {
			n += list[i].Attempts
		}
		return n
	}
	for passed := time.Duration(0); passed < time.Hour; passed += 10 * time.Minute {
		before := tries()
		w.advance(10 * time.Minute)
		w.await(t, "it is tried", func() bool { return tries() > before || passed > 40*time.Minute })
	}
	if by := states(o); by[Pending] != 3 {
		t.Fatalf("after an hour: %v", by)
	}
	server.Again(t)
	w.advance(2 * time.Hour)
	w.await(t, "the mails are sent", func() bool { return states(o)[Sent] == 2 && states(o)[Dead] == 1 })
	mails := server.Mails(t)
	list, _ := o.Deliveries(Query{Tenant: "ten_a", State: Sent})
	var want, got []string
	for i := range list {
		want = append(want, list[i].To+" <"+list[i].ID+"@panda.dev>")
	}
	for _, m := range mails {
		got = append(got, m.Header.Get("X-Envelope-To")+" "+m.Header.Get("Message-Id"))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("mails %q, want %q", got, want)
	}
}

// TestAChannelThatFailsForEver: it is tried for two days, is dead then, and is sent again
// under the same id when somebody asks for it.
func TestAChannelThatFailsForEver(t *testing.T) {
	log, w := eventlogtest.Open(t), newWorld()
	receiver := channeltest.NewHTTP(t, false)
	receiver.Fail(500)
	guard := channel.NewGuard(channel.GuardConfig{Insecure: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	c, err := channel.New(channel.TypeWebhook, channel.Settings{URL: receiver.URL, Secret: contact.NewWebhookSecret()}, channel.Config{Guard: guard})
	if err != nil {
		t.Fatal(err)
	}
	w.tell("ten_a", hook("chn_down"), hook("chn_up"))
	w.senders["chn_down"] = c
	o, _ := w.run(t, log, nil)
	fire(t, log, nil)
	// The other one is told at once, whatever becomes of this one.
	w.await(t, "the channel that works is told", func() bool { return len(w.arrived()) == 1 })
	var d Delivery
	w.await(t, "it is dead", func() bool {
		list, _ := o.Deliveries(Query{Tenant: "ten_a", Channel: "chn_down"})
		if len(list) != 1 {
			return false
		}
		if d = list[0]; d.State == Pending && d.Attempts > 0 && d.NotBefore.After(w.clock()) {
			w.advance(d.NotBefore.Sub(w.clock()))
		}
		return d.State == Dead
	})
	if days := w.clock().Sub(valentine); days < giveUpAfter || days > giveUpAfter+2*time.Hour || d.Attempts < triesMin {
		t.Errorf("given up after %s and %d tries: %s", days, d.Attempts, d.Reason)
	}
	if _, err := o.Replay(t.Context(), "ten_b", d.ID); err != ErrNotFound {
		t.Errorf("another tenant replays it: %v", err)
	}
	receiver.Fail(0)
	if _, err := o.Replay(t.Context(), "ten_a", d.ID); err != nil {
		t.Fatal(err)
	}
	w.await(t, "it is sent", func() bool { now, _ := o.Get("ten_a", d.ID); return now.State == Sent })
	if _, err := o.Replay(t.Context(), "ten_a", d.ID); err != ErrNotDead {
		t.Errorf("it is sent and can be replayed: %v", err)
	}
	for _, call := range receiver.Calls() {
		if id := call.Header.Get("webhook-id"); id != d.ID {
			t.Fatalf("a call had the id %s, not %s", id, d.ID)
		}
	}
	if n := len(receiver.Taken()); n != 1 {
		t.Errorf("%d calls were taken", n)
	}
}

// TestASlowChannelHoldsUpNobody: one that never answers has two of its own on the way, and
// the others are told.
func TestASlowChannelHoldsUpNobody(t *testing.T) {
	log, w := eventlogtest.Open(t), newWorld()
	w.tell("ten_a", hook("chn_slow"), hook("chn_fast"))
	slow := &hanging{}
	w.senders["chn_slow"] = slow
	o, stop := w.run(t, log, nil)
	for n := range 10 {
		fire(t, log, percent(n+1))
	}
	w.await(t, "the fast one is told", func() bool { return len(w.arrived()) == 10 && states(o)[Sent] == 10 })
	stop()
	if n := slow.most(); n != 2 {
		t.Errorf("%d were on the way to the slow one", n)
	}
}

type hanging struct {
	mu   sync.Mutex
	n, m int
}

func (h *hanging) Send(ctx context.Context, _ *alerting.Message) error {
	h.mu.Lock()
	h.n++
	h.m = max(h.m, h.n)
	h.mu.Unlock()
	<-ctx.Done()
	h.mu.Lock()
	h.n--
	h.mu.Unlock()
	return ctx.Err()
}

func (h *hanging) most() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.m
}

// TestWhatIsResolvedDoesNotOvertake: an incident that could not be opened yet is not
// closed before it is.
func TestWhatIsResolvedDoesNotOvertake(t *testing.T) {
	log, w := eventlogtest.Open(t), newWorld()
	pager := hook("chn_pager")
	pager.Type = contact.PagerDuty
	w.tell("ten_a", pager)
	w.before = func(m *alerting.Message) error {
		if w.clock().Before(valentine.Add(time.Hour)) {
			return errAway
		}
		return nil
	}
	o, _ := w.run(t, log, nil)
	fired := fire(t, log, nil)
	fire(t, log, func(r *alerting.Record) { r.Kind, r.Cause = alerting.Resolved, alerting.ByCorrection })
	w.await(t, "the first is tried", func() bool {
		list, _ := o.Deliveries(Query{Tenant: "ten_a", Alert: fired.Alert})
		return len(list) == 2 && list[1].Attempts == 1 && list[0].Attempts == 0
	})
	w.advance(2 * time.Hour)
	w.await(t, "both are told", func() bool { return states(o)[Sent] == 2 })
	if got := w.arrived(); got[0].Resolve || !got[1].Resolve || got[0].DedupKey != got[1].DedupKey {
		t.Errorf("told in the wrong order: %+v", got)
	}
}

// TestQuietHoursAndDigests: what is not critical comes in the morning, or with the hour,
// together.
func TestQuietHoursAndDigests(t *testing.T) {
	log, w := eventlogtest.Open(t), newWorld()
	w.now = time.Date(2026, 3, 28, 22, 30, 0, 0, time.UTC) // half past eleven in Berlin; clocks go forward
	night, digest := hook("chn_night"), hook("chn_digest")
	night.Quiet = &contact.QuietHours{From: "22:00", To: "07:00", Zone: "Europe/Berlin"}
	digest.Digest = contact.Hourly
	w.tell("ten_a", night, digest)
	o, _ := w.run(t, log, nil)
	for _, n := range []int{80, 90, 100} {
		fire(t, log, func(r *alerting.Record) {
			r.Identity.Threshold, r.At = n, w.clock() // an old one would not be told by an outbox that is new
			if n == 100 {
				r.Severity = alerting.SeverityCritical
			}
		})
	}
	w.await(t, "the critical one is told", func() bool { return states(o)[Sent] == 2 && states(o)[Waiting] == 4 })
	w.advance(30 * time.Minute)
	w.await(t, "the digest is told", func() bool { return len(w.arrived()) == 3 && states(o)[Joined] == 2 })
	if m := w.arrived()[2]; len(m.Records) != 2 || m.Records[0].Identity.Threshold != 80 {
		t.Errorf("the digest is %+v", m)
	}
	w.advance(6*time.Hour - time.Second) // a second before seven: that night has an hour less
	if by := states(o); by[Waiting] != 2 {
		t.Errorf("at night: %v", by)
	}
	w.advance(time.Second)
	w.await(t, "the night is over", func() bool { return states(o)[Waiting] == 0 && states(o)[Pending] == 0 })
	if got := w.arrived(); len(got) != 5 {
		t.Errorf("%d messages", len(got))
	}
}

// TestNothingIsLeftOfAnErasedTenant, here and on a node that begins later.
func TestNothingIsLeftOfAnErasedTenant(t *testing.T) {
	log, w := eventlogtest.Open(t), newWorld()
	const address = "somebody@acme-of-the-test.com"
	w.tell("ten_a", contact.Channel{ID: "chn_mail", Name: "Mail", Type: contact.Email, To: []string{address}})
	w.tell("ten_b", hook("chn_b"))
	w.before = func(m *alerting.Message) error {
		if m.To != "" {
			return fatal("no such user")
		}
		return nil
	}
	o, _ := w.run(t, log, nil)
	fire(t, log, nil)
	fire(t, log, func(r *alerting.Record) { r.Identity.Tenant = "ten_b" })
	w.await(t, "both are done", func() bool { return states(o)[Sent] == 1 && states(o)[Dead] == 1 })
	if n, err := o.Erase(t.Context(), "ten_a"); err != nil || n != 1 {
		t.Fatalf("%d deliveries went: %v", n, err)
	}
	if list, _ := o.Deliveries(Query{Tenant: alerting.Everyone}); len(list) != 1 || list[0].Owner != "ten_b" {
		t.Errorf("left: %+v", list)
	}
	if n, err := o.Erase(t.Context(), "ten_a"); err != nil || n != 0 {
		t.Errorf("again, %d deliveries went: %v", n, err)
	}
	// Another node that begins now finds nothing either.
	later, _ := w.run(t, log, nil)
	if list, _ := later.Deliveries(Query{Tenant: alerting.Everyone}); len(list) != 1 || list[0].Owner != "ten_b" {
		t.Errorf("found later: %+v", list)
	}
	// Nothing is made of what comes late.
	w.mu.Lock()
	w.gone["ten_a"] = true
	w.mu.Unlock()
	fire(t, log, percent(91))
	fire(t, log, func(r *alerting.Record) { r.Identity.Tenant, r.Identity.Threshold = "ten_b", 91 })
	w.await(t, "the other tenant is told", func() bool { return states(o)[Sent] == 2 })
	if list, _ := o.Deliveries(Query{Tenant: "ten_a"}); len(list) != 0 {
		t.Errorf("made after the erasure: %+v", list)
	}
}

// TestATestGoesToEveryAddress, and says what a receiver answered.
func TestATestGoesToEveryAddress(t *testing.T) {
	log, w := eventlogtest.Open(t), newWorld()
	w.tell("ten_a", contact.Channel{ID: "chn_mail", Name: "Mail", Type: contact.Email, To: []string{"a@acme.com", "b@acme.com"}}, hook("chn_hook"))
	w.before = func(m *alerting.Message) error {
		if m.To == "" {
			return errAway
		}
		return nil
	}
	o, _ := w.run(t, log, nil)
	if d, err := o.Test(t.Context(), "ten_a", "chn_mail"); err != nil || d.State != Sent || len(w.arrived()) != 2 || !w.arrived()[1].Test {
		t.Errorf("mail: %+v, %v", d, err)
	}
	if d, err := o.Test(t.Context(), "ten_a", "chn_hook"); err != nil || d.State != Dead || d.Reason != errAway.Error() {
		t.Errorf("hook: %+v, %v", d, err)
	}
	if _, err := o.Test(t.Context(), "ten_b", "chn_hook"); err == nil {
		t.Error("another tenant tries the channel out")
	}
}

// TestWhatEndedLongAgoGoes after a month, and what is dead after three.
func TestWhatEndedLongAgoGoes(t *testing.T) {
	log, w := eventlogtest.Open(t), newWorld()
	w.tell("ten_a", hook("chn_1"), hook("chn_2"))
	w.senders["chn_2"] = refusing{}
	o, _ := w.run(t, log, nil)
	fire(t, log, nil)
	w.await(t, "both ended", func() bool { return states(o)[Sent] == 1 && states(o)[Dead] == 1 })
	w.advance(31 * 24 * time.Hour)
	w.await(t, "what was sent is gone", func() bool { return states(o)[Sent] == 0 })
	if states(o)[Dead] != 1 {
		t.Error("what was given up is gone too")
	}
	w.advance(60 * 24 * time.Hour)
	w.await(t, "all is gone", func() bool { return len(states(o)) == 0 })
}

type refusing struct{}

func (refusing) Send(context.Context, *alerting.Message) error { return fatal("never") }
