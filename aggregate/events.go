package aggregate

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// RecentMax bounds a page of events: what a screen and a response hold.
const RecentMax = 1000

// place is where a page of events begins: everything before it.
type place struct {
	ms  int64
	seq uint64
	idx uint16
}

// cursor returns the opaque form of a place.
func (p place) cursor() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%d.%d", p.ms, p.seq, p.idx))
}

func parseCursor(cursor string) (place, error) {
	bad := schemas.Invalid("/cursor", schemas.CodeMalformed, "the cursor is not one that this endpoint gave out")
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return place{}, bad
	}
	parts := strings.Split(string(text), ".")
	if len(parts) != 3 {
		return place{}, bad
	}
	ms, errMS := strconv.ParseInt(parts[0], 10, 64)
	seq, errSeq := strconv.ParseUint(parts[1], 10, 64)
	idx, errIdx := strconv.ParseUint(parts[2], 10, 16)
	if errMS != nil || errSeq != nil || errIdx != nil || ms < 0 {
		return place{}, bad
	}
	return place{ms, seq, uint16(idx)}, nil
}

// recentSpans are how far back a look for a page of events goes, one after the
// other, until the page is full: most tenants fill it from the last hours, and
// then nothing older is read. The last reaches the first event there can be.
var recentSpans = [...]time.Duration{
	2 * time.Hour, 24 * time.Hour, 8 * 24 * time.Hour, 64 * 24 * time.Hour, math.MaxInt64,
}

// Recent returns a tenant's events, the newest by their own time first, at most
// limit of them. cursor is empty or what the page before returned; next is empty
// on the last page.
func (r *Reader) Recent(ctx context.Context, tenant string, limit int, cursor string) (events []schemas.Accepted, next string, err error) {
	if limit < 1 || limit > RecentMax {
		return nil, "", schemas.Invalid("/limit", schemas.CodeOutOfRange, "a page has 1 to %d events, not %d", RecentMax, limit)
	}
	at := place{r.cfg.Now().Add(schemas.FutureMax).UnixMilli(), math.MaxUint64, math.MaxUint16}
	if cursor != "" {
		if at, err = parseCursor(cursor); err != nil {
			return nil, "", err
		}
	}
	for _, span := range recentSpans {
		// One more than asked for tells whether there is a next page.
		events, err = r.recentWithin(ctx, tenant, limit+1, at, at.ms-span.Milliseconds())
		if err != nil {
			return nil, "", err
		}
		if len(events) > limit {
			last := &events[limit-1]
			next = place{last.Event.Time, last.Seq, last.Idx}.cursor()
			return events[:limit:limit], next, nil
		}
	}
	return events, "", nil
}

func (r *Reader) recentWithin(ctx context.Context, tenant string, limit int, at place, fromMS int64) ([]schemas.Accepted, error) {
	return r.tenantEvents(ctx, tenant, "recent", "read recent events",
		warehouse.Param{Name: "from_ms", Value: max(fromMS, 0)},
		warehouse.Param{Name: "at_ms", Value: at.ms},
		warehouse.Param{Name: "at_seq", Value: at.seq},
		warehouse.Param{Name: "at_idx", Value: at.idx},
		warehouse.Param{Name: "limit", Value: uint32(limit)})
}

// tenantEvents returns the events that a statement about one tenant finds.
func (r *Reader) tenantEvents(ctx context.Context, tenant, name, action string, params ...warehouse.Param) ([]schemas.Accepted, error) {
	var events []schemas.Accepted
	err := r.tenantRows(ctx, tenant, name, func(rows *warehouse.Rows) error {
		a, err := scanEvent(rows, tenant)
		events = append(events, a)
		return err
	}, params...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	return events, nil
}

// findMax bounds the corrections of one event that Find returns.
const findMax = 100

// Find returns everything that counts for one event of a tenant, in the order of
// the log: the event itself, its void, its adjustments. It is empty if there is
// no such event. It reads the tenant's identities, so it costs milliseconds per
// million events of the tenant.
func (r *Reader) Find(ctx context.Context, tenant, source, id string) ([]schemas.Accepted, error) {
	return r.tenantEvents(ctx, tenant, "find", "find event",
		warehouse.Param{Name: "source", Value: source},
		warehouse.Param{Name: "event_id", Value: id},
		warehouse.Param{Name: "limit", Value: uint32(findMax)})
}

// Intake counts what came in over a span of time, on the whole platform.
type Intake struct {
	Messages, Events                             int64
	Accepted, Duplicates, Conflicts, Quarantined int64
	// Late events lay in a window that was already rolled up or sealed.
	Late, Unpriced int64
}

// Add adds what came in elsewhere.
func (in *Intake) Add(o *Intake) {
	in.Messages += o.Messages
	in.Events += o.Events
	in.Accepted += o.Accepted
	in.Duplicates += o.Duplicates
	in.Conflicts += o.Conflicts
	in.Quarantined += o.Quarantined
	in.Late += o.Late
	in.Unpriced += o.Unpriced
}

// Intake returns the sums of the ledger for ranges committed from from (in) to
// to (out). It is about all tenants, for those who run the platform.
func (r *Reader) Intake(ctx context.Context, from, to time.Time) (Intake, error) {
	rows, err := r.db.Query(ctx, statement("intake"),
		warehouse.Param{Name: "from_ms", Value: from.UnixMilli()},
		warehouse.Param{Name: "to_ms", Value: to.UnixMilli()})
	if err != nil {
		return Intake{}, fmt.Errorf("read intake: %w", err)
	}
	var in Intake
	err = rows.Each(func() error {
		return rows.Scan(&in.Messages, &in.Events, &in.Accepted, &in.Duplicates, &in.Conflicts,
			&in.Quarantined, &in.Late, &in.Unpriced)
	})
	if err != nil {
		return Intake{}, fmt.Errorf("read intake: %w", err)
	}
	return in, nil
}

// Rejects counts a tenant's events that are not in its usage.
type Rejects struct {
	// Conflicts came with an id that was taken and other content.
	Conflicts int64
	// Quarantined could not be read or judged; Open of them were not replayed.
	Quarantined, Open int64
}

// Rejects returns what was received from from (in) to to (out) and not counted.
func (r *Reader) Rejects(ctx context.Context, tenant string, from, to time.Time) (Rejects, error) {
	rows, err := r.db.Query(ctx, statement("rejects"),
		warehouse.Param{Name: "tenant", Value: tenant},
		warehouse.Param{Name: "from_ms", Value: from.UnixMilli()},
		warehouse.Param{Name: "to_ms", Value: to.UnixMilli()})
	if err != nil {
		return Rejects{}, fmt.Errorf("read rejects: %w", err)
	}
	var out Rejects
	err = rows.Each(func() error { return rows.Scan(&out.Conflicts, &out.Quarantined, &out.Open) })
	if err != nil {
		return Rejects{}, fmt.Errorf("read rejects: %w", err)
	}
	return out, nil
}
