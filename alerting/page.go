package alerting

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
)

// pages is the pure core of the Book: records in the order of the log in, alerts out.
// It is not safe for concurrent use.
type pages struct {
	owners map[string]*owner // tenants and Platform
	// order has all alerts by the position of their first record, oldest first.
	order      []*page
	ended      int // pages that do not fire
	passedOver int
	// forgotten are the erased: what comes of them later is passed over.
	forgotten map[string]bool
}

// owner has the alerts of a tenant, or of the platform.
type owner struct {
	newest map[string]*page // by alert id; of a rule the newest episode
	order  []*page          // as in pages
	// firing and byPeriod are threshold alerts, so that a standing costs what is
	// present and not what ever was.
	firing   map[*page]bool
	byPeriod map[string][]*page
	opaque   map[string]bool
	// revised is the page of the newest revision that fired, by period and by what the
	// alert is about without its revision.
	revised  map[string]map[Identity]*page
	episodes map[string]int // pages of a rule's alert
}

// page is one alert: all of a threshold's, or one episode of a rule's.
type page struct {
	owner    *owner
	id       string
	identity Identity
	severity Severity
	firstSeq uint64
	firedAt  time.Time
	// episode, open, cause, since and asOf are of the newest record that changed the
	// state: of two, the one of the later episode, and of one episode the resolution.
	episode   int
	open      bool
	cause     Cause
	since     time.Time
	asOf      uint64
	lastAt    time.Time // of any record
	ackedAt   time.Time
	ackedBy   string
	ackedFor  int
	resolved  time.Time
	raw       [][]byte // the records as they stand on the log; decoded when asked for
	revisedBy uint64   // position that the revision begins with
}

// rawMax bounds the records that one page keeps: a threshold has at most three a
// episode, and rules one page an episode.
const rawMax = 3 * episodesMax

// episodesKept bounds the pages of one rule's alert.
const episodesKept = 100

func newPages() pages {
	return pages{owners: map[string]*owner{}, forgotten: map[string]bool{}}
}

func (p *pages) owner(name string) *owner {
	o := p.owners[name]
	if o == nil {
		o = &owner{newest: map[string]*page{}, firing: map[*page]bool{}, byPeriod: map[string][]*page{},
			opaque: map[string]bool{}, revised: map[string]map[Identity]*page{}, episodes: map[string]int{}}
		p.owners[name] = o
	}
	return o
}

// apply folds one record. The error says why it was passed over; its alert counts as
// known then.
func (p *pages) apply(rec *eventlog.Record) error {
	at, ok := parseSubject(rec.Subject)
	if !ok {
		p.passedOver++
		return fmt.Errorf("%s is no subject of an alert", rec.Subject)
	}
	if p.forgotten[at.owner] {
		return nil
	}
	o := p.owner(at.owner)
	if o.opaque[at.alert] {
		return nil // there is no telling what it adds to what was not read
	}
	var r Record
	err := json.Unmarshal(rec.Data, &r)
	switch {
	case err == nil && r.Version != RecordVersion:
		err = fmt.Errorf("version %d is not known, this binary knows %d; run a newer one", r.Version, RecordVersion)
	case err == nil && (r.Alert != at.alert || r.Episode != at.episode || r.Kind != at.kind || ownerOf(r.Identity.Tenant) != at.owner || r.Identity.ID() != at.alert):
		err = fmt.Errorf("the record is not the one of its subject %s", rec.Subject)
	case err == nil && !known(r.Kind):
		err = fmt.Errorf("a record of kind %q is not known; run a newer binary", r.Kind)
	}
	if err != nil {
		o.opaque[at.alert] = true
		p.passedOver++
		return fmt.Errorf("alert %s: %w", at.alert, err)
	}
	page := p.pageOf(o, &r, rec.Seq)
	p.turn(page, &r)
	page.raw = append(page.raw, rec.Data)
	if len(page.raw) > rawMax {
		page.raw = slices.Delete(page.raw, 1, 2) // the first stays
	}
	return nil
}

func known(k Kind) bool { return k == Fired || k == Resolved || k == Reopened || k == Acked }

// pageOf finds or makes the page that a record belongs on.
func (p *pages) pageOf(o *owner, r *Record, seq uint64) *page {
	newest := o.newest[r.Alert]
	if newest != nil && (r.Identity.Rule == RuleThreshold || newest.episode == r.Episode) {
		return newest
	}
	if newest != nil && r.Episode < newest.episode {
		for i := len(o.order) - 1; i >= 0; i-- {
			if o.order[i].id == r.Alert && o.order[i].episode == r.Episode {
				return o.order[i]
			}
		}
	}
	made := &page{owner: o, id: r.Alert, identity: r.Identity, severity: r.Severity, firstSeq: seq, firedAt: r.At,
		episode: -1, ackedFor: -1, revisedBy: revisionSeq(r.Identity.Revision)}
	p.order = append(p.order, made)
	o.order = append(o.order, made)
	p.ended++
	if newest == nil || r.Episode > newest.episode {
		o.newest[r.Alert] = made
	}
	if r.Identity.Rule == RuleThreshold {
		o.byPeriod[r.Identity.Period] = append(o.byPeriod[r.Identity.Period], made)
		o.revise(made)
	} else if o.episodes[r.Alert]++; o.episodes[r.Alert] > episodesKept {
		p.dropEpisode(o, r.Alert)
	}
	return made
}

// revise notes the revision of a page; what it takes the place of fires no more.
func (o *owner) revise(of *page) {
	period, about := of.identity.Period, of.about()
	if o.revised[period] == nil {
		o.revised[period] = map[Identity]*page{}
	}
	if was := o.revised[period][about]; was != nil && !was.before(of) {
		return
	}
	o.revised[period][about] = of
	for other := range o.firing {
		if other.replaced() {
			delete(o.firing, other)
		}
	}
}

// before reports whether the revision of another page is a later one. Where the plans of a
// newer version give a limit another value, both begin with the same position, and the
// order of the log decides.
func (of *page) before(other *page) bool {
	return of.revisedBy < other.revisedBy || of.revisedBy == other.revisedBy && of.firstSeq < other.firstSeq
}

// about is the identity without its revision.
func (of *page) about() Identity {
	about := of.identity
	about.Revision = ""
	return about
}

// dropEpisode drops the oldest episode of a rule's alert that is over.
func (p *pages) dropEpisode(o *owner, id string) {
	for _, of := range o.order {
		if of.id == id && !of.open && of != o.newest[id] {
			p.remove(map[*page]bool{of: true})
			return
		}
	}
}

// turn changes the state of a page by a record.
func (p *pages) turn(of *page, r *Record) {
	of.lastAt = r.At
	if r.Kind == Acked {
		if r.Episode >= of.ackedFor {
			of.ackedFor, of.ackedAt, of.ackedBy = r.Episode, r.At, r.Actor
		}
		of.episode = max(of.episode, 0)
		return
	}
	opens := r.Kind != Resolved
	if r.Episode < of.episode || r.Episode == of.episode && opens && !of.since.IsZero() {
		return // a later one stands already
	}
	if of.open != opens {
		if of.open = opens; opens {
			p.ended--
		} else {
			p.ended++
		}
	}
	of.episode, of.since, of.asOf, of.cause = r.Episode, r.At, r.AsOf, r.Cause
	of.resolved = time.Time{}
	if !opens {
		of.resolved = r.At
	}
	if of.identity.Rule != RuleThreshold {
		return
	}
	if opens && !of.replaced() {
		of.owner.firing[of] = true
	} else {
		delete(of.owner.firing, of)
	}
}

// state is how things stand with a page.
func (of *page) state() State {
	switch {
	case of.open && of.identity.Rule == RuleThreshold && of.replaced():
		return Replaced
	case of.open:
		return Firing
	case of.cause == ByPeriod:
		return Over
	}
	return Ended
}

// replaced reports whether a later revision of the same limit fired the same threshold.
func (of *page) replaced() bool {
	newest := of.owner.revised[of.identity.Period][of.about()]
	return newest != nil && of.before(newest)
}

// standing returns what Judge needs: what fires, and what there is of some periods.
func (p *pages) standing(name string, periods []string) *Standing {
	s := &Standing{Alerts: map[string]Held{}}
	o := p.owners[name]
	if o == nil {
		return s
	}
	add := func(of *page) {
		s.Alerts[of.id] = Held{Identity: of.identity, State: of.state(), Episode: of.episode, Since: of.since, AsOf: of.asOf}
	}
	for of := range o.firing {
		add(of)
	}
	for i, period := range periods {
		if !slices.Contains(periods[:i], period) {
			for _, of := range o.byPeriod[period] {
				add(of)
			}
		}
	}
	if len(o.opaque) > 0 {
		s.Opaque = make(map[string]bool, len(o.opaque))
		for id := range o.opaque {
			s.Opaque[id] = true
		}
	}
	return s
}

// prune forgets pages that ended: those whose newest record is from before a moment, and
// then the oldest until at most endedMax are left.
func (p *pages) prune(before time.Time, endedMax int) {
	surplus := p.ended - endedMax
	gone := map[*page]bool{}
	for _, of := range p.order {
		if of.state() == Firing {
			continue
		}
		if of.lastAt.Before(before) || surplus > 0 && !of.open {
			gone[of] = true
			if !of.open {
				surplus--
			}
		}
	}
	if len(gone) > 0 {
		p.remove(gone)
	}
}

func (p *pages) remove(gone map[*page]bool) {
	is := func(of *page) bool { return gone[of] }
	p.order = slices.DeleteFunc(p.order, is)
	owners, periods := map[*owner]bool{}, map[*owner]map[string]bool{}
	for of := range gone {
		o := of.owner
		owners[o] = true
		if !of.open {
			p.ended--
		}
		if o.newest[of.id] == of {
			delete(o.newest, of.id)
		}
		if of.identity.Rule != RuleThreshold {
			o.episodes[of.id]--
			continue
		}
		if periods[o] == nil {
			periods[o] = map[string]bool{}
		}
		periods[o][of.identity.Period] = true
	}
	for o := range owners {
		o.order = slices.DeleteFunc(o.order, is)
		for period := range periods[o] {
			if o.byPeriod[period] = slices.DeleteFunc(o.byPeriod[period], is); len(o.byPeriod[period]) == 0 {
				delete(o.byPeriod, period)
				delete(o.revised, period)
			}
		}
	}
}

// forget drops an owner for good.
func (p *pages) forget(name string) {
	p.forgotten[name] = true
	o := p.owners[name]
	if o == nil {
		return
	}
	for _, of := range o.order {
		if !of.open {
			p.ended--
		}
	}
	p.order = slices.DeleteFunc(p.order, func(of *page) bool { return of.owner == o })
	delete(p.owners, name)
}
