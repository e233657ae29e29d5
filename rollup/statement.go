package rollup

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/rollup/bill"
	"github.com/agentik-os/panda/schemas"
)

// StatementLog is where months are sealed; *eventlog.Log has it.
type StatementLog interface {
	Decide(ctx context.Context, subject string, data []byte) (decided bool, rec eventlog.Record, err error)
	Find(ctx context.Context, stream string, subjects []string, upTo uint64, each func(*eventlog.Record) error) (seqs []uint64, err error)
}

// BillingConfig is what Billing needs to know.
type BillingConfig struct {
	// PlanVersion is that of the rates in Spans; drafts name it.
	PlanVersion int
	// Spans returns the plans of a tenant in a month with their rates, cut to the month.
	Spans func(tenant string, month schemas.Window) ([]bill.Span, error)
	// Grace is how long after its end a month stays open for what comes late, 72 h.
	Grace time.Duration
	// Now is the clock; time.Now.
	Now func() time.Time
	// Places says in which database a tenant's rows lie; nil is one database for all.
	Places *placement.Map
}

// Billing makes statements of usage, and seals them.
//
// A sealed statement is one record on stream DECISIONS, whole, under a subject that may
// hold one message: decision.<tenant>.seal.<month>. So a month is sealed once, wherever
// and however often that is tried, and nothing can be sealed and not be there. What comes
// to a sealed month afterwards is charged or given back by the next one that is sealed.
type Billing struct {
	cfg BillingConfig
	db  DB
	log StatementLog
}

// NewBilling returns Billing that reads from db and seals on log.
func NewBilling(cfg BillingConfig, db DB, log StatementLog) *Billing {
	if cfg.Grace == 0 {
		cfg.Grace = 72 * time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Places = placesOf(db, cfg.Places)
	return &Billing{cfg: cfg, db: db, log: log}
}

func sealSubject(tenant, month string) string { return "decision." + tenant + ".seal." + month }

// sealBytesMax bounds a statement that is read back: what a message of the log holds is
// at most a fiftieth of it.
const sealBytesMax = 64 << 20

func pack(s bill.Statement) ([]byte, error) {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	if _, err := zip.Write(s.Encode()); err != nil {
		return nil, fmt.Errorf("pack statement: %w", err)
	}
	if err := zip.Close(); err != nil {
		return nil, fmt.Errorf("pack statement: %w", err)
	}
	return b.Bytes(), nil
}

func unpack(data []byte) (bill.Statement, error) {
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return bill.Statement{}, fmt.Errorf("unpack statement: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(zip, sealBytesMax))
	if err != nil {
		return bill.Statement{}, fmt.Errorf("unpack statement: %w", err)
	}
	return bill.Decode(text)
}

// Sealed returns a tenant's sealed statements in order of months.
//
// Errors: schemas.ErrUnavailable; schemas.ErrInvalid for a record that is not as it was
// sealed, which somebody has to look at.
func (b *Billing) Sealed(ctx context.Context, tenant string) (list []bill.Statement, err error) {
	_, err = b.log.Find(ctx, schemas.StreamDecisions, []string{sealSubject(tenant, "*")}, ^uint64(0), func(rec *eventlog.Record) error {
		st, err := unpack(rec.Data)
		if err != nil {
			return fmt.Errorf("%s at %d: %w", rec.Subject, rec.Seq, err)
		}
		list = append(list, st)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read statements of %s: %w", tenant, err)
	}
	slices.SortFunc(list, func(a, b bill.Statement) int { return strings.Compare(a.Month, b.Month) })
	return list, nil
}

// Get returns the sealed statement of a month, or its draft as of now.
func (b *Billing) Get(ctx context.Context, tenant, month string) (bill.Statement, error) {
	sealed, err := b.Sealed(ctx, tenant)
	if err != nil {
		return bill.Statement{}, err
	}
	for i := range sealed {
		if sealed[i].Month == month {
			return sealed[i], nil
		}
	}
	reached, err := readPosition(ctx, b.db, JobName)
	if err != nil {
		return bill.Statement{}, err
	}
	return b.draft(ctx, tenant, month, reached.Position, sealed)
}

// AsOf returns the draft of a month as it was at a ledger position, sealed or not: the
// same position always gives the same bytes.
func (b *Billing) AsOf(ctx context.Context, tenant, month string, position uint64) (bill.Statement, error) {
	sealed, err := b.Sealed(ctx, tenant)
	if err != nil {
		return bill.Statement{}, err
	}
	return b.draft(ctx, tenant, month, position, sealed)
}

// draft makes the statement of a month. What was sealed before it gives the credit and
// what is to be corrected. A month that is sealed keeps the plans that it was sealed with.
func (b *Billing) draft(ctx context.Context, tenant, month string, position uint64, sealed []bill.Statement) (bill.Statement, error) {
	in, err := b.input(ctx, tenant, month, position, sealed)
	if err != nil {
		return bill.Statement{}, err
	}
	return bill.Calculate(in)
}

// Forecast returns what a month comes to if usage goes on as it was so far, in each of
// its plans. A month that is over is as it is.
func (b *Billing) Forecast(ctx context.Context, tenant, month string) (bill.Statement, error) {
	sealed, err := b.Sealed(ctx, tenant)
	if err != nil {
		return bill.Statement{}, err
	}
	reached, err := readPosition(ctx, b.db, JobName)
	if err != nil {
		return bill.Statement{}, err
	}
	in, err := b.input(ctx, tenant, month, reached.Position, sealed)
	if err != nil {
		return bill.Statement{}, err
	}
	in.Used = bill.GoOn(in.Spans, in.Used, b.cfg.Now())
	return bill.Calculate(in)
}

func (b *Billing) input(ctx context.Context, tenant, month string, position uint64, sealed []bill.Statement) (bill.Input, error) {
	window, err := schemas.ParseMonth(month)
	if err != nil {
		return bill.Input{}, err
	}
	in := bill.Input{Tenant: tenant, Month: month, AsOf: position, PlanVersion: b.cfg.PlanVersion}
	var before []bill.Statement
	for i := range sealed {
		switch c := strings.Compare(sealed[i].Month, month); {
		case c < 0:
			before = append(before, sealed[i])
			in.Credit = sealed[i].CreditOut
		case c == 0:
			in.Spans, in.PlanVersion = sealed[i].Spans, sealed[i].PlanVersion
		}
	}
	if in.Spans == nil {
		if in.Spans, err = b.cfg.Spans(tenant, window); err != nil {
			return bill.Input{}, err
		}
	}
	if in.Used, err = b.used(ctx, tenant, in.Spans, position); err != nil {
		return bill.Input{}, err
	}
	if in.Adjustments, err = b.adjustments(ctx, tenant, position, before); err != nil {
		return bill.Input{}, err
	}
	return in, nil
}

// adjustments are what came to sealed months after the newest of them was sealed: each
// seal takes along what came before it.
func (b *Billing) adjustments(ctx context.Context, tenant string, position uint64, sealed []bill.Statement) (lines []bill.Line, err error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	from, err := schemas.ParseMonth(sealed[0].Month)
	if err != nil {
		return nil, err
	}
	last := &sealed[len(sealed)-1]
	to, err := schemas.ParseMonth(last.Month)
	if err != nil {
		return nil, err
	}
	causes, err := b.changes(ctx, tenant, from.Start, to.End(), last.AsOf, position)
	if err != nil {
		return nil, err
	}
	for i := range sealed {
		cause, changed := causes[sealed[i].Month]
		if !changed {
			continue
		}
		closed := sealed[i]
		used, err := b.used(ctx, tenant, closed.Spans, position)
		if err != nil {
			return nil, err
		}
		now, err := bill.Calculate(bill.Input{Tenant: tenant, Month: closed.Month, AsOf: position, Currency: closed.Currency, Rate: closed.Rate,
			PlanVersion: closed.PlanVersion, Spans: closed.Spans, Used: used})
		if err != nil {
			return nil, fmt.Errorf("charge %s again: %w", closed.Month, err)
		}
		var since []bill.Line
		for j := i + 1; j < len(sealed); j++ {
			since = append(since, sealed[j].Lines...)
		}
		lines = append(lines, bill.Adjust(closed, since, now, cause)...)
	}
	return lines, nil
}

// Close seals a month, as of what the rollups cover now. Sealed before, it returns what
// stands and false.
//
// Errors match schemas.ErrConflict for a month that is open until its grace has passed,
// or comes after one that is not sealed: months are sealed in order, because each takes
// along what came to the ones before.
func (b *Billing) Close(ctx context.Context, tenant, month string) (st bill.Statement, sealed bool, err error) {
	window, err := schemas.ParseMonth(month)
	if err != nil {
		return bill.Statement{}, false, err
	}
	all, err := b.Sealed(ctx, tenant)
	if err != nil {
		return bill.Statement{}, false, err
	}
	for i := range all {
		if all[i].Month == month {
			return all[i], false, nil
		}
	}
	now := b.cfg.Now()
	if until := window.End().Add(b.cfg.Grace); now.Before(until) {
		return bill.Statement{}, false, notYet(fmt.Sprintf("%s cannot be closed: it is open until %s, for what comes late", month, until.Format(time.RFC3339)))
	}
	if next, err := b.nextOpen(tenant, all, window); err != nil || next != month {
		return bill.Statement{}, false, cmpErr(err, notYet(fmt.Sprintf("%s cannot be closed: %s comes first", month, next)))
	}
	reached, err := readPosition(ctx, b.db, JobName)
	if err != nil {
		return bill.Statement{}, false, err
	}
	draft, err := b.draft(ctx, tenant, month, reached.Position, all)
	if err != nil {
		return bill.Statement{}, false, err
	}
	if len(all) == 0 && len(draft.Spans) == 0 {
		return bill.Statement{}, false, schemas.Invalid("/month", schemas.CodeTooEarly, "the tenant had no plan in %s, so there is nothing to close", month)
	}
	st = bill.Seal(draft, now)
	data, err := pack(st)
	if err != nil {
		return bill.Statement{}, false, err
	}
	sealed, rec, err := b.log.Decide(ctx, sealSubject(tenant, month), data)
	if err != nil {
		return bill.Statement{}, false, fmt.Errorf("close %s of %s: %w", month, tenant, err)
	}
	if !sealed {
		st, err = unpack(rec.Data) // another node was first
	}
	return st, sealed, err
}

// notYet is a schemas.ErrConflict with a sentence for the client.
type notYet string

func (n notYet) Error() string        { return string(n) }
func (n notYet) Public() string       { return string(n) }
func (n notYet) Is(target error) bool { return target == schemas.ErrConflict }

func cmpErr(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// nextOpen returns the month to seal next, at most the given one: the one after the
// newest that is sealed, or the first in which the tenant had a plan. The search for that
// goes back lookBackMonths.
func (b *Billing) nextOpen(tenant string, sealed []bill.Statement, upTo schemas.Window) (string, error) {
	if n := len(sealed); n > 0 {
		last, err := schemas.ParseMonth(sealed[n-1].Month)
		if err != nil {
			return "", err
		}
		if upTo.Start.Before(last.Start) {
			return "", schemas.Invalid("/month", schemas.CodeTooEarly, "%s is before the months that were sealed and cannot be sealed any more", upTo)
		}
		return schemas.WindowOf(schemas.GrainMonth, last.End()).String(), nil
	}
	first := upTo
	for range lookBackMonths {
		before := schemas.WindowOf(schemas.GrainMonth, first.Start.AddDate(0, -1, 0))
		spans, err := b.cfg.Spans(tenant, before)
		if err != nil {
			return "", err
		}
		if len(spans) == 0 {
			break
		}
		first = before
	}
	return first.String(), nil
}

// lookBackMonths is how many months that were never sealed are sealed one by one when
// billing begins.
const lookBackMonths = 24

// CloseDue seals every month of a tenant whose grace has passed, the oldest first, and
// returns how many.
func (b *Billing) CloseDue(ctx context.Context, tenant string) (count int, err error) {
	newest := schemas.WindowOf(schemas.GrainMonth, b.cfg.Now().Add(-b.cfg.Grace).AddDate(0, 0, -1))
	if newest.End().Add(b.cfg.Grace).After(b.cfg.Now()) {
		newest = schemas.WindowOf(schemas.GrainMonth, newest.Start.AddDate(0, 0, -1))
	}
	for {
		all, err := b.Sealed(ctx, tenant)
		if err != nil || len(all) > 0 && all[len(all)-1].Month >= newest.String() {
			return count, err
		}
		next, err := b.nextOpen(tenant, all, newest)
		if err != nil {
			return count, err
		}
		if len(all) == 0 {
			window, err := schemas.ParseMonth(next)
			if err != nil {
				return count, err
			}
			if spans, err := b.cfg.Spans(tenant, window); err != nil || len(spans) == 0 {
				return count, err // it came after that month
			}
		}
		if _, sealed, err := b.Close(ctx, tenant, next); err != nil {
			return count, err
		} else if sealed {
			count++
		}
	}
}
