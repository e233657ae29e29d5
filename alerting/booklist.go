package alerting

import (
	"encoding/json"
	"slices"
	"sort"
	"strconv"
	"time"
)

// An Alert is what people see of one: all of a threshold's, or one episode of a rule's.
type Alert struct {
	ID string
	Identity
	State    State
	Severity Severity
	Episode  int
	FiredAt  time.Time
	// ResolvedAt and Cause are zero while it fires.
	ResolvedAt time.Time
	Cause      Cause
	// AckedAt is zero if nobody acked it since it fired or was reopened.
	AckedAt time.Time
	AckedBy string
	// Facts are those of the newest record that has any.
	Facts Facts
	// History has its records in the order in which they were decided, at most 150: then
	// the first and the newest. List leaves it out.
	History []Record
	// Muted is for who knows of mutes to fill in; the book does not.
	Muted bool
	// Seq is the position on DECISIONS of its first record. It orders lists.
	Seq uint64
}

// Everyone is the Query.Tenant that asks for the alerts of all tenants and of the
// platform.
const Everyone = "*"

// AlertsMax is the most alerts that one List returns.
const AlertsMax = 200

// A Query says which alerts are looked for. Zero fields match everything, but for Tenant.
type Query struct {
	// Tenant is a tenant's id, Platform, or Everyone. "" finds nothing: who forgets to
	// say whose alerts, sees none.
	Tenant   string
	State    State
	Severity Severity
	Rule     string
	Limit    string // the limit's word, such as monthly_budget
	// Unacked: nobody has taken note since it fired or was reopened. With State firing
	// they are what a dashboard has to tell.
	Unacked bool
	// Since: fired at that moment or later.
	Since time.Time
	// After is a cursor: what List returned as next.
	After string
	// Max is how many at most; 0 is AlertsMax, more is AlertsMax.
	Max int
}

// List returns alerts, those that fired last first, and where the list goes on, "" at its
// end. Alerts that fire meanwhile are before the beginning of a list, so that its pages
// hold each alert once. A cursor that is none finds nothing.
func (b *Book) List(q Query) (alerts []Alert, next string) {
	limit := q.Max
	if limit <= 0 || limit > AlertsMax {
		limit = AlertsMax
	}
	before := ^uint64(0)
	if q.After != "" {
		var err error
		if before, err = strconv.ParseUint(q.After, 10, 64); err != nil {
			return nil, ""
		}
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	order := b.pages.of(q.Tenant)
	end := sort.Search(len(order), func(i int) bool { return order[i].firstSeq >= before })
	for i := end - 1; i >= 0; i-- {
		of := order[i]
		if !q.matches(of) {
			continue
		}
		if len(alerts) == limit {
			return alerts, strconv.FormatUint(alerts[limit-1].Seq, 10)
		}
		alerts = append(alerts, of.view(false))
	}
	return alerts, ""
}

func (q *Query) matches(of *page) bool {
	i := &of.identity
	return (q.State == "" || q.State == of.state()) && (q.Severity == "" || q.Severity == of.severity) &&
		(q.Rule == "" || q.Rule == i.Rule) && (q.Limit == "" || q.Limit == i.Limit) && (!q.Unacked || of.ackedFor < of.episode) && !of.firedAt.Before(q.Since)
}

// of returns the pages of a tenant, of the platform, or of everyone, oldest first.
func (p *pages) of(tenant string) []*page {
	if tenant == Everyone {
		return p.order
	}
	if o := p.owners[tenant]; o != nil {
		return o.order
	}
	return nil
}

// Get returns an alert of a tenant, of Platform, or of Everyone, with its history; of a
// rule's alert, the newest episode.
func (b *Book) Get(tenant, id string) (Alert, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if tenant != Everyone {
		return b.pages.owners[tenant].get(id)
	}
	for _, o := range b.pages.owners {
		if a, ok := o.get(id); ok {
			return a, true
		}
	}
	return Alert{}, false
}

func (o *owner) get(id string) (Alert, bool) {
	if o == nil || o.newest[id] == nil {
		return Alert{}, false
	}
	return o.newest[id].view(true), true
}

// Counts are how many alerts there are.
type Counts struct {
	States map[State]int
	// Firing are those that fire, by severity.
	Firing map[Severity]int
}

// Counts counts the alerts of a tenant, of Platform, or of Everyone.
func (b *Book) Counts(tenant string) Counts {
	c := Counts{States: map[State]int{}, Firing: map[Severity]int{}}
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, of := range b.pages.of(tenant) {
		state := of.state()
		c.States[state]++
		if state == Firing {
			c.Firing[of.severity]++
		}
	}
	return c
}

// Standing returns what Judge has to know of a tenant: the alerts that fire, and all of
// some periods.
func (b *Book) Standing(tenant string, periods []string) *Standing {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.pages.standing(ownerOf(tenant), periods)
}

// view is a page for people.
func (of *page) view(history bool) Alert {
	a := Alert{ID: of.id, Identity: of.identity, State: of.state(), Severity: of.severity, Episode: max(of.episode, 0),
		FiredAt: of.firedAt, ResolvedAt: of.resolved, Cause: of.cause, Seq: of.firstSeq}
	if of.ackedFor >= of.episode {
		a.AckedAt, a.AckedBy = of.ackedAt, of.ackedBy
	}
	for i, raw := range slices.Backward(of.raw) {
		var r Record
		if err := json.Unmarshal(raw, &r); err != nil {
			panic("alerting: a record of the book does not decode: " + err.Error())
		}
		if a.Facts.isZero() && !r.Facts.isZero() {
			a.Facts = r.Facts
		}
		if history {
			a.History = append(a.History, r)
		} else if !a.Facts.isZero() || i == 0 {
			break
		}
	}
	slices.Reverse(a.History)
	return a
}

// isZero reports whether a record says nothing, as one of a person's ack.
func (f *Facts) isZero() bool {
	return f.Used.IsZero() && f.Max.IsZero() && f.Condition == "" && len(f.Values) == 0 && f.TenantName == "" && f.Next == ""
}
