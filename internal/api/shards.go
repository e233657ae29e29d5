package api

import (
	"context"
	"strings"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/sharding"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// A Shard answers for a part of the tenants.
type Shard struct {
	Reader *aggregate.Reader
	Live   *aggregate.Live
	Tables *ingest.Tables
	// Rollup makes the windows; here it says how far they are.
	Rollup *rollup.Worker
	// Billing makes statements of what tenants owe, and seals them.
	Billing *rollup.Billing
	// End returns the end of the shard's log.
	End func(ctx context.Context) (uint64, error)
}

// of returns the shard that a tenant is in.
func (s *Stages) of(tenant string) *Shard {
	return s.Shards[sharding.Of(tenant, uint32(len(s.Shards))).ID]
}

// about returns the shard of a tenant, or all of them for "".
func (s *Stages) about(tenant string) []*Shard {
	if tenant == "" {
		return s.Shards
	}
	return []*Shard{s.of(tenant)}
}

// settleMax is how long a list waits for the writer: it is a tenth of a second
// behind as a rule, and a list is worth having even when it is not complete.
const settleMax = 2 * time.Second

// settle waits until what was acknowledged before the request is written, so that
// who just sent an event of a tenant, or of anybody for "", finds it.
func (s *Stages) settle(ctx context.Context, tenant string) {
	ctx, cancel := context.WithTimeout(ctx, settleMax)
	defer cancel()
	for _, shard := range s.about(tenant) {
		if last, err := shard.End(ctx); err == nil {
			_ = shard.Live.WaitFor(ctx, last) // late is no reason to answer nothing
		}
	}
}

// newest reads a page of a list over shards, the newest rows first. before has a place
// for each shard, read returns at most limit rows of one before its place, and where
// says of a row where it is and when it was received. next has the places of the page
// after this one, nil if this is the last.
func newest[T any](shards []*Shard, before []ingest.Place, limit int,
	read func(*Shard, ingest.Place) ([]T, error), where func(*T) (at ingest.Place, receivedMS int64),
) (page []T, next []ingest.Place, err error) {
	lists := make([][]T, len(shards))
	next = append(next, before...)
	for i, shard := range shards {
		if lists[i], err = read(shard, before[i]); err != nil {
			return nil, nil, err
		}
	}
	received := func(row *T) int64 { _, ms := where(row); return ms }
	for len(page) < limit {
		from := -1
		for i, list := range lists {
			if len(list) > 0 && (from < 0 || received(&list[0]) > received(&lists[from][0])) {
				from = i
			}
		}
		if from < 0 {
			return page, nil, nil
		}
		page = append(page, lists[from][0])
		next[from], _ = where(&lists[from][0])
		lists[from] = lists[from][1:]
	}
	return page, next, nil
}

// placesText writes the places of a cursor, one for each shard, with commas between.
func placesText(places []ingest.Place) string {
	texts := make([]string, len(places))
	for i, p := range places {
		texts[i] = placeText(p.Seq, p.Idx)
	}
	return strings.Join(texts, ",")
}

// parsePlaces reads what placesText wrote, and "" as the beginning.
func parsePlaces(text string, shards int) ([]ingest.Place, error) {
	places := make([]ingest.Place, shards)
	if text == "" {
		return places, nil
	}
	texts := strings.Split(text, ",")
	if len(texts) != shards {
		return nil, schemas.Invalid("/cursor", schemas.CodeMalformed, "the cursor is of another list")
	}
	for i := range texts {
		var err error
		if places[i].Seq, places[i].Idx, err = parsePlace("cursor", texts[i]); err != nil {
			return nil, err
		}
	}
	return places, nil
}

// quarantined returns the event that was put into quarantine from a place. For "" all
// shards are looked through; each counts its places anew, so two may have it.
func (s *Stages) quarantined(ctx context.Context, tenant string, at ingest.Place) (row ingest.QuarantineRow, ok bool, err error) {
	for _, shard := range s.about(tenant) {
		found, is, err := shard.Tables.Quarantined(ctx, tenant, at)
		if err != nil {
			return row, false, err
		}
		if is && ok {
			return row, false, schemas.Invalid("/tenant", schemas.CodeMissing,
				"an event of %s and one of %s have this id; say which: ?tenant=<id or slug>", row.Tenant, found.Tenant)
		}
		if is {
			row, ok = found, true
		}
	}
	return row, ok, nil
}
