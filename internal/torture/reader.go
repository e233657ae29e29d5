package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A Reader looks at usage while a round runs. Every answer has to lie between what
// was surely counted and what could be counted, its parts have to add up to its
// total, positions must not go back within one process, and no word of another
// tenant may be in it. One goroutine runs it.
type Reader struct {
	Panda *Panda
	// Tenants are asked for by turns, each with its own key.
	Tenants []*Tenant
	Rng     *rand.Rand
	// Pause is waited between questions. Default 20 ms.
	Pause time.Duration

	answers atomic.Int64
	seen    map[string]readPosition // newest position by tenant and source
}

type readPosition struct {
	process int
	seq     uint64
}

// Answers returns how many good answers were looked at.
func (r *Reader) Answers() int64 { return r.answers.Load() }

// Run looks until ctx ends, and then returns nil. The error matches ErrFound and
// holds the answer.
func (r *Reader) Run(ctx context.Context) error {
	if r.Pause == 0 {
		r.Pause = 20 * time.Millisecond
	}
	r.seen = map[string]readPosition{}
	for ctx.Err() == nil {
		if err := r.look(ctx); err != nil {
			return err
		}
		rest(ctx, r.Pause)
	}
	return nil
}

// usageAnswer is the answer of GET /v1/usage.
type usageAnswer struct {
	Source string
	AsOf   struct{ Seq uint64 } `json:"as_of"`
	Rows   []usageRow
	Total  numbers
}

type usageRow struct {
	Model, Department string
	numbers
}

// questionMax is how long a reader waits: with fresh, the server waits for the
// writer, which may be a while coming back.
const questionMax = 3 * time.Second

// look asks one question.
func (r *Reader) look(ctx context.Context) error {
	t := r.Tenants[r.Rng.IntN(len(r.Tenants))]
	months := t.Book.Months()
	if len(months) == 0 {
		return nil
	}
	slices.Sort(months)
	month, fresh := months[len(months)-1], r.Rng.IntN(3) == 0 // mostly the present one: its totals are in memory
	if r.Rng.IntN(4) == 0 {
		month = months[r.Rng.IntN(len(months))]
	}
	path := "/v1/usage?month=" + month
	if r.Rng.IntN(2) == 0 {
		path += "&by=model,department"
	}
	if fresh {
		path += "&fresh=1"
	}
	before := t.Book.Look(month)
	asking, cancel := context.WithTimeout(ctx, questionMax)
	defer cancel()
	answer, err := r.Panda.API(t.Key).Do(asking, http.MethodGet, path, nil)
	if err != nil || answer.Status == http.StatusServiceUnavailable {
		return nil // away
	}
	low, high := before.Within(fresh)
	if found := r.judge(t, path, &answer, low, high); found != "" {
		return fmt.Errorf("%w: %s of %s: %s: %d: %s", ErrFound, path, t.Slug, found, answer.Status, answer.Body)
	}
	r.answers.Add(1)
	return nil
}

// judge says what is wrong with an answer, "" if nothing is.
func (r *Reader) judge(t *Tenant, path string, answer *Answer, low, high *Sum) string {
	if answer.Status != http.StatusOK {
		return "not an answer to a good question"
	}
	for _, other := range r.Tenants {
		if other != t && (strings.Contains(string(answer.Body), other.Secret) || strings.Contains(string(answer.Body), other.ID)) {
			return "it holds words of " + other.Slug
		}
	}
	var u usageAnswer
	if err := json.Unmarshal(answer.Body, &u); err != nil {
		return err.Error()
	}
	total, err := u.Total.sum()
	if err != nil {
		return err.Error()
	}
	if strings.Contains(path, "&by=") {
		rows := &Sum{}
		for i := range u.Rows {
			s, err := u.Rows[i].sum()
			if err != nil {
				return err.Error()
			}
			rows.Plus(s)
		}
		if diff := rows.Diff(total); diff != "" {
			return "its rows do not add up to its total: " + diff
		}
	}
	if out := low.Outside(high, total); out != "" {
		return out
	}
	name := t.ID + u.Source
	last := r.seen[name]
	if last.process == answer.Process && u.AsOf.Seq < last.seq {
		return fmt.Sprintf("the position went back from %d", last.seq)
	}
	r.seen[name] = readPosition{answer.Process, u.AsOf.Seq}
	return ""
}
