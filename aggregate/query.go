package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// Source says which of the two an answer came from.
type Source string

// The sources of answers.
const (
	SourceLive   Source = "live"
	SourceRollup Source = "rollup"
)

// A Query asks for the usage of one tenant in one window.
type Query struct {
	Tenant string
	Window schemas.Window
	// By breaks the total down; without it there is only the total.
	By []schemas.Dimension
	// MinSeq is the stream sequence the answer must cover, such as the position
	// that came with the acknowledgement of an event; 0 asks for no wait.
	MinSeq uint64
	// Fresh: the answer must cover everything that is committed now.
	Fresh bool
}

// A Result is the answer to a Query.
type Result struct {
	AsOf   Position
	Source Source
	// Groups is sorted: the most expensive first, then by names.
	Groups []Group
	Total  Totals
}

// RollupWaiter lets a reader wait for rollups without asking the warehouse again
// and again. The rollup worker is one.
type RollupWaiter interface {
	WaitFor(ctx context.Context, seq uint64) error
	// Reached returns the position of the newest pass and when it was; a zero time
	// if none is known.
	Reached() (seq uint64, at time.Time)
}

// ReaderConfig is what a Reader needs to know.
type ReaderConfig struct {
	// Shard is the ledger's shard; the embedded system has shard 0 alone.
	Shard uint32
	// Live is asked first; without it all answers come from the rollups.
	Live *Live
	// Rollups is waited for if the worker is in this process. Otherwise the
	// warehouse is asked every PollInterval, 200 ms.
	Rollups      RollupWaiter
	PollInterval time.Duration
	// Places says in which database a tenant's rows lie; nil is one database for all.
	Places *placement.Map
	// Now is where a look at the newest events begins; time.Now.
	Now func() time.Time
}

// A Reader answers questions about usage. Every method reads one tenant, except
// where it says otherwise; who may ask for whom is decided before.
//
// Errors match schemas.ErrInvalid for a question that cannot be answered, and
// schemas.ErrUnavailable when the warehouse is away.
type Reader struct {
	cfg ReaderConfig
	db  DB

	mu sync.Mutex
	// rollups is the newest position of the rollups that an answer stated. Another
	// node's passes are seen in the tables before this node's worker knows of them.
	rollups Position
}

// newest returns the position, or a newer one that was stated before: an answer that
// is made later is never as of an earlier moment.
func (r *Reader) newest(p Position) Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.Seq > r.rollups.Seq || r.rollups.Time.IsZero() {
		r.rollups = p
	}
	return r.rollups
}

// NewReader returns a Reader.
func NewReader(cfg ReaderConfig, db DB) *Reader {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.PollInterval == 0 {
		cfg.PollInterval = 200 * time.Millisecond
	}
	cfg.Places = placesOf(db, cfg.Places)
	return &Reader{cfg: cfg, db: db}
}

// tenantRows runs a statement about one tenant where its rows lie and calls scan for
// each of them. A position that the answer is said to cover must have been read before.
func (r *Reader) tenantRows(ctx context.Context, tenant, name string, scan func(*warehouse.Rows) error, params ...warehouse.Param) error {
	view, err := r.cfg.Places.View(ctx)
	if err != nil {
		return err
	}
	defer view.Close()
	params = append(params, warehouse.Param{Name: "tenant", Value: tenant}, view.Of(tenant).Param())
	rows, err := r.db.Query(ctx, statement(name), params...)
	if err != nil {
		return err
	}
	return rows.Each(func() error { return scan(rows) })
}

// Usage answers q: from the live totals if they hold the window, else from the
// rollups.
func (r *Reader) Usage(ctx context.Context, q Query) (Result, error) {
	if err := checkQuery(&q); err != nil {
		return Result{}, err
	}
	minSeq := q.MinSeq
	if q.Fresh {
		committed, err := ledgerPosition(ctx, r.db, r.cfg.Shard)
		if err != nil {
			return Result{}, err
		}
		minSeq = max(minSeq, committed.Seq)
	}
	if live := r.cfg.Live; live != nil && live.Ready() {
		if minSeq > 0 {
			if err := live.WaitFor(ctx, minSeq); err != nil {
				return Result{}, err
			}
		}
		groups, total, asOf, ok := live.Groups(q.Tenant, q.Window, q.By)
		if ok {
			return Result{AsOf: asOf, Source: SourceLive, Groups: groups, Total: total}, nil
		}
	}
	return r.fromRollup(ctx, q, minSeq)
}

func checkQuery(q *Query) error {
	if q.Tenant == "" {
		return schemas.Invalid("/tenant", schemas.CodeMissing, "a query is about one tenant")
	}
	switch q.Window.Grain {
	case schemas.GrainHour, schemas.GrainDay, schemas.GrainMonth:
	default:
		return schemas.Invalid("/window", schemas.CodeUnknown, "%q is not a grain; use hour, day or month", string(q.Window.Grain))
	}
	if !schemas.WindowOf(q.Window.Grain, q.Window.Start).Start.Equal(q.Window.Start) {
		return schemas.Invalid("/window", schemas.CodeOutOfRange, "%s is not the start of a UTC %s",
			q.Window.Start.UTC().Format(time.RFC3339), q.Window.Grain)
	}
	_, err := checkDimensions(q.By)
	return err
}

func (r *Reader) fromRollup(ctx context.Context, q Query, minSeq uint64) (Result, error) {
	asOf, err := r.awaitRollups(ctx, minSeq)
	if err != nil {
		return Result{}, err
	}
	// The position was read before the window, so the window covers at least it.
	result := Result{AsOf: asOf, Source: SourceRollup}
	places, err := checkDimensions(q.By)
	if err != nil {
		return Result{}, err
	}
	params := []warehouse.Param{
		{Name: "grain", Value: string(q.Window.Grain)},
		{Name: "window_s", Value: q.Window.Start.Unix()},
	}
	for _, d := range schemas.Dimensions() {
		asked := uint8(0)
		if slices.Contains(q.By, d) {
			asked = 1
		}
		params = append(params, warehouse.Param{Name: "by_" + string(d), Value: asked})
	}
	err = r.tenantRows(ctx, q.Tenant, "window", func(rows *warehouse.Rows) error {
		var names [dimensionCount]string
		var t Totals
		if err := rows.Scan(append(nameDest(&names), totalsDest(&t)...)...); err != nil {
			return err
		}
		result.Total.Add(&t)
		if len(places) == 0 || t.IsZero() {
			return nil
		}
		group := Group{Names: make([]string, len(places)), Totals: t}
		for i, place := range places {
			group.Names[i] = names[place]
		}
		result.Groups = append(result.Groups, group)
		return nil
	}, params...)
	if err != nil {
		return Result{}, fmt.Errorf("read window %s: %w", q.Window, err)
	}
	sortGroups(result.Groups)
	return result, nil
}

// awaitRollups returns the position of the rollups once it covers seq.
func (r *Reader) awaitRollups(ctx context.Context, seq uint64) (Position, error) {
	if r.cfg.Rollups != nil && seq > 0 {
		if err := r.cfg.Rollups.WaitFor(ctx, seq); err != nil {
			return Position{}, err
		}
	}
	if r.cfg.Rollups != nil {
		if reached, at := r.cfg.Rollups.Reached(); !at.IsZero() && reached >= seq {
			return r.newest(Position{Seq: reached, Time: at}), nil
		}
	}
	var ticker *time.Ticker
	for {
		asOf, err := rollupPosition(ctx, r.db)
		if err != nil {
			return asOf, err
		}
		if asOf = r.newest(asOf); asOf.Seq >= seq {
			return asOf, nil
		}
		if ticker == nil {
			ticker = time.NewTicker(r.cfg.PollInterval)
			defer ticker.Stop()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return Position{}, fmt.Errorf("wait for rollups at %d, now %d: %w", seq, asOf.Seq, ctx.Err())
		}
	}
}

// Top returns the n most expensive values of a dimension in a window.
func (r *Reader) Top(ctx context.Context, tenant string, w schemas.Window, by schemas.Dimension, n int) (Result, error) {
	result, err := r.Usage(ctx, Query{Tenant: tenant, Window: w, By: []schemas.Dimension{by}})
	if len(result.Groups) > n {
		result.Groups = slices.Clip(result.Groups[:max(n, 0)])
	}
	return result, err
}

// A Point is one window of a Series.
type Point struct {
	Start    time.Time
	Calls    int64
	Unpriced int64
	Tokens   int64
	Cost     schemas.Money
}

// Series returns the days or hours of a tenant's month from the rollups, in
// order; windows without usage are left out.
func (r *Reader) Series(ctx context.Context, tenant string, month schemas.Window, grain schemas.Grain) ([]Point, Position, error) {
	if grain != schemas.GrainDay && grain != schemas.GrainHour {
		return nil, Position{}, schemas.Invalid("/grain", schemas.CodeUnknown, "a series is of days or hours, not %q", string(grain))
	}
	if err := checkQuery(&Query{Tenant: tenant, Window: month}); err != nil {
		return nil, Position{}, err
	}
	asOf, err := rollupPosition(ctx, r.db)
	if err != nil {
		return nil, Position{}, err
	}
	asOf = r.newest(asOf)
	points, err := r.points(ctx, tenant, grain, month.Start, month.End())
	if err != nil {
		return nil, Position{}, fmt.Errorf("read series of %s: %w", month, err)
	}
	return points, asOf, nil
}

// points returns the windows of a tenant that begin from (included) to (excluded).
func (r *Reader) points(ctx context.Context, tenant string, grain schemas.Grain, from, to time.Time) (points []Point, err error) {
	err = r.tenantRows(ctx, tenant, "series", func(rows *warehouse.Rows) error {
		var p Point
		var startS int64
		if err := rows.Scan(&startS, &p.Calls, &p.Unpriced, &p.Tokens, &p.Cost); err != nil {
			return err
		}
		p.Start = time.Unix(startS, 0).UTC()
		points = append(points, p)
		return nil
	}, warehouse.Param{Name: "grain", Value: string(grain)},
		warehouse.Param{Name: "from_s", Value: from.Unix()}, warehouse.Param{Name: "to_s", Value: to.Unix()})
	return points, err
}

// readLabels fills units and tags from the JSON objects of a row, sorted by
// name as an event has them.
func readLabels(e *schemas.Event, units, tags string) error {
	if units != "{}" {
		var counts map[string]int64
		if err := json.Unmarshal([]byte(units), &counts); err != nil {
			return fmt.Errorf("read units: %w", err)
		}
		for name, n := range counts {
			e.Units = append(e.Units, schemas.Unit{Name: name, Count: n})
		}
		slices.SortFunc(e.Units, func(a, b schemas.Unit) int { return strings.Compare(a.Name, b.Name) })
	}
	if tags != "{}" {
		var values map[string]string
		if err := json.Unmarshal([]byte(tags), &values); err != nil {
			return fmt.Errorf("read tags: %w", err)
		}
		for key, value := range values {
			e.Tags = append(e.Tags, schemas.Tag{Key: key, Value: value})
		}
		slices.SortFunc(e.Tags, func(a, b schemas.Tag) int { return strings.Compare(a.Key, b.Key) })
	}
	return nil
}
