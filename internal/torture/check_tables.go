package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// Check waits until everything on the log is counted, and holds every event of
// every book against the engine's own tables, and every way to read against the
// books. Nothing may be sent meanwhile, and the tenants must be all that the panda
// has. An error means that the check could not be made, which is a failure too.
func Check(ctx context.Context, p *Panda, tenants ...*Tenant) (*Verdict, error) {
	return check(ctx, p, func(string) {}, tenants)
}

// check is Check that says what it is at.
func check(ctx context.Context, p *Panda, at func(string), tenants []*Tenant) (*Verdict, error) {
	v := &Verdict{}
	at("waits until everything is counted")
	if _, err := p.API("").Settle(ctx); err != nil {
		return v, err
	}
	at("reads the tables and asks in every way")
	c := &checker{panda: p, tenants: tenants, verdict: v}
	if err := c.strangers(ctx); err != nil {
		return v, err
	}
	for _, t := range tenants {
		if err := c.tenant(ctx, t); err != nil {
			return v, fmt.Errorf("check tenant %s: %w", t.Slug, err)
		}
	}
	if err := c.copies(ctx); err != nil {
		return v, err
	}
	at("lets the server prove itself")
	return v, c.proofs(ctx)
}

type checker struct {
	panda   *Panda
	tenants []*Tenant
	verdict *Verdict
	at      string // the database of the tenant that is looked at
}

// strangers looks for rows of tenants that do not exist.
func (c *checker) strangers(ctx context.Context) error {
	c.verdict.Checks++
	places, err := c.panda.places(ctx)
	if err != nil {
		return err
	}
	for _, place := range places {
		err := c.panda.SQL(ctx, "SELECT DISTINCT tenant FROM "+place+".usage_raw", func(line []byte) error {
			var row struct{ Tenant string }
			if err := json.Unmarshal(line, &row); err != nil {
				return err
			}
			for _, t := range c.tenants {
				if t.ID == row.Tenant && (place == c.panda.shared(t) || place == c.panda.own(t)) {
					return nil
				}
			}
			c.verdict.wrong("there are rows of a tenant %q in %s, where none should be", row.Tenant, place)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// copies counts rows that are in the table twice because a range was repeated. They
// are no fault: FINAL collapses them, and a merge removes them.
func (c *checker) copies(ctx context.Context) error {
	places, err := c.panda.places(ctx)
	if err != nil {
		return err
	}
	for _, place := range places {
		n, err := c.panda.number(ctx, "SELECT toString(count() - uniqExact(tenant, source, event_id)) AS n FROM "+place+".usage_raw")
		if err != nil {
			return err
		}
		c.verdict.Copies += n
	}
	return nil
}

// A storedRow is a row of usage_raw.
type storedRow struct {
	Source, ID, Type, Model, Department string
	Millis                              string
	Calls, Cost                         string
	Tokens                              []string
}

func (s *storedRow) amount() (Amount, error) {
	var a Amount
	var err error
	if a.Calls, err = strconv.ParseInt(s.Calls, 10, 64); err != nil {
		return a, err
	}
	if len(s.Tokens) != schemas.BucketCount {
		return a, fmt.Errorf("%d buckets of tokens", len(s.Tokens))
	}
	for b, text := range s.Tokens {
		if a.Tokens[b], err = strconv.ParseInt(text, 10, 64); err != nil {
			return a, err
		}
	}
	var pico Sum
	if err := picoOf(&pico.fields[0], s.Cost); err != nil {
		return a, err
	}
	if !pico.fields[0].IsInt64() {
		return a, fmt.Errorf("a cost of %s pico-USD in one event", &pico.fields[0])
	}
	a.Pico = pico.fields[0].Int64()
	return a, nil
}

func bucketColumns(format string) string {
	columns := make([]string, schemas.BucketCount)
	for b := range columns {
		columns[b] = fmt.Sprintf(format, schemas.Bucket(b).Column())
	}
	return strings.Join(columns, ", ")
}

// found is what the tables have of a tenant.
type found struct {
	rows        map[string][]storedRow // by source and id
	quarantined map[string]int
	conflicts   map[string]int
}

// read reads a tenant's tables. Numbers travel as text: JSON's are not exact.
func (c *checker) read(ctx context.Context, t *Tenant) (*found, error) {
	f := &found{rows: map[string][]storedRow{}, quarantined: map[string]int{}, conflicts: map[string]int{}}
	if err := c.place(ctx, t); err != nil {
		return nil, err
	}
	err := c.panda.SQL(ctx, "SELECT source, event_id AS id, type, model, department, toString(toUnixTimestamp64Milli(time)) AS millis, "+
		"toString(calls) AS calls, toString(ifNull(cost, toDecimal128(0, 12))) AS cost, ["+bucketColumns("toString(%s)")+"] AS tokens "+
		"FROM "+c.at+".usage_raw FINAL WHERE tenant = '"+t.ID+"'", func(line []byte) error {
		var row storedRow
		if err := json.Unmarshal(line, &row); err != nil {
			return err
		}
		k := key(row.Source, row.ID)
		f.rows[k] = append(f.rows[k], row)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.panda.SQL(ctx, "SELECT body FROM "+c.panda.shared(t)+".quarantine FINAL WHERE tenant = '"+t.ID+"'", func(line []byte) error {
		var row struct{ Body string }
		var e struct{ Source, ID string }
		if err := json.Unmarshal(line, &row); err != nil {
			return err
		}
		if json.Unmarshal([]byte(row.Body), &e) != nil {
			c.verdict.wrong("the quarantine of %s holds what nobody sent: %.200s", t.Slug, row.Body)
			return nil
		}
		f.quarantined[key(e.Source, e.ID)]++
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.panda.SQL(ctx, "SELECT source, event_id AS id FROM "+c.panda.shared(t)+".conflicts FINAL WHERE tenant = '"+t.ID+"'", func(line []byte) error {
		var row struct{ Source, ID string }
		if err := json.Unmarshal(line, &row); err != nil {
			return err
		}
		f.conflicts[key(row.Source, row.ID)]++
		return nil
	})
	return f, err
}

// tenant holds a book against the tables and the ways to read.
func (c *checker) tenant(ctx context.Context, t *Tenant) error {
	f, err := c.read(ctx, t)
	if err != nil {
		return err
	}
	t.Book.mu.Lock()
	entries := append([]*entry(nil), t.Book.order...)
	t.Book.mu.Unlock()
	oracle := newOracle()
	for _, e := range entries {
		c.verdict.Events++
		c.verdict.Checks++
		c.entry(t, f, e, oracle)
	}
	for k := range f.rows {
		if t.Book.events[k] == nil {
			c.verdict.wrong("%s has a row of an event that nobody sent: %s", t.Slug, strings.ReplaceAll(k, "\x00", " "))
		}
	}
	c.rejects(t, f)
	if err := c.twice(ctx, t); err != nil {
		return err
	}
	return c.paths(ctx, t, oracle)
}

// entry judges one event.
func (c *checker) entry(t *Tenant, f *found, e *entry, oracle *oracle) {
	v, k := c.verdict, key(e.Source, e.ID)
	rows := f.rows[k]
	name := fmt.Sprintf("%s %s %s of %s", e.Type, e.ID, e.At.Format(time.RFC3339Nano), t.Slug)
	if len(rows) > 1 {
		v.doubled("%s has %d rows", name, len(rows))
		return
	}
	counted := len(rows) == 1
	stray := e.Type == schemas.TypeVoid && t.Book.events[key(e.Source, e.Corrects)] == nil
	switch {
	case e.Poison || stray:
		if counted {
			v.wrong("%s must never count, and does", name)
		}
		if e.state == ok && f.quarantined[k] == 0 {
			v.lost("%s was acknowledged, and is neither counted nor in quarantine", name)
		}
		return
	case e.Type == schemas.TypeVoid:
		// Its target judges how many of its voids count.
		if e.state == ok && !counted && f.quarantined[k] == 0 {
			v.lost("%s was acknowledged, and is neither counted nor in quarantine", name)
		}
	case e.state == ok && !counted:
		v.lost("%s was acknowledged at %d and does not count", name, e.seq)
	}
	if e.state == failed && counted {
		v.wrong("%s was refused by every answer, and counts", name)
	}
	c.voids(f, e, name)
	if !counted {
		return
	}
	v.Present++
	oracle.add(&e.Event)
	if diff := differs(&rows[0], e); diff != "" {
		v.wrong("%s is stored with other content: %s", name, diff)
	}
}

// voids judges those that take an event back: one of them counts, if one was
// acknowledged, and never two.
func (c *checker) voids(f *found, target *entry, name string) {
	counted, acked := 0, 0
	for _, e := range target.voids {
		if len(f.rows[key(e.Source, e.ID)]) > 0 {
			counted++
		}
		if e.state == ok {
			acked++
		}
	}
	if counted > 1 {
		c.verdict.doubled("%s is taken back %d times", name, counted)
	}
	if acked > 0 && counted == 0 {
		c.verdict.lost("%s was taken back by %d acknowledged voids, and none counts", name, acked)
	}
}

// differs says how a row differs from what was sent.
func differs(row *storedRow, e *entry) string {
	got, err := row.amount()
	switch {
	case err != nil:
		return err.Error()
	case row.Type != string(e.Type):
		return fmt.Sprintf("type %s", row.Type)
	case row.Millis != strconv.FormatInt(e.At.UnixMilli(), 10):
		return fmt.Sprintf("time %s instead of %d", row.Millis, e.At.UnixMilli())
	case row.Model != e.Model || row.Department != e.Department:
		return fmt.Sprintf("model %q instead of %q, department %q instead of %q", row.Model, e.Model, row.Department, e.Department)
	case got != e.Adds:
		return fmt.Sprintf("%+v instead of %+v", got, e.Adds)
	}
	return ""
}

// rejects holds conflicts and quarantine against the book: nothing more, nothing
// less than what was sent.
func (c *checker) rejects(t *Tenant, f *found) {
	v, book := c.verdict, t.Book
	for k, n := range f.quarantined {
		e := book.events[k]
		name := strings.ReplaceAll(k, "\x00", " ")
		switch {
		case e == nil:
			v.wrong("the quarantine of %s holds an event that nobody sent: %s", t.Slug, name)
		case !e.Poison && e.Type != schemas.TypeVoid:
			v.wrong("the quarantine of %s holds a good event: %s", t.Slug, name)
		case n > e.sends:
			v.wrong("the quarantine of %s holds %s %d times; it was sent %d times", t.Slug, name, n, e.sends)
		case e.state == failed:
			v.wrong("the quarantine of %s holds an event that was refused by every answer: %s", t.Slug, name)
		}
	}
	for k, n := range f.conflicts {
		if l := book.lies[k]; l == nil || n > l.sent {
			v.wrong("the conflicts of %s hold %s %d times; other content was sent %+v times", t.Slug, strings.ReplaceAll(k, "\x00", " "), n, l)
		}
	}
	for k, l := range book.lies {
		v.Checks++
		if l.acked > 0 && f.conflicts[k] == 0 {
			v.lost("other content under %s of %s was acknowledged, and is not among the conflicts", strings.ReplaceAll(k, "\x00", " "), t.Slug)
		}
	}
}

// twice looks, without FINAL, for events that were accepted at two places of the
// log: FINAL would hide one of them, the ledger has counted both.
func (c *checker) twice(ctx context.Context, t *Tenant) error {
	c.verdict.Checks++
	return c.panda.SQL(ctx, "SELECT event_id AS id, toString(uniqExact(rank, idx)) AS n FROM "+c.at+".usage_raw WHERE tenant = '"+t.ID+
		"' GROUP BY source, event_id HAVING uniqExact(rank, idx) > 1", func(line []byte) error {
		var row struct{ ID, N string }
		if err := json.Unmarshal(line, &row); err != nil {
			return err
		}
		c.verdict.doubled("%s of %s was accepted at %s places of the log", row.ID, t.Slug, row.N)
		return nil
	})
}
