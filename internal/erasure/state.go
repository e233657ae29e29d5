package erasure

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/sharding"
)

// The phases of an erasure.
const (
	phaseBegun   = "begun"
	phasePlanned = "planned"
	phaseErased  = "erased" // only the certificate and the registry's records are left
	phaseDone    = "done"
)

// state is how far an erasure came. It holds no name, so that it needs no erasure.
type state struct {
	Erasure string `json:"erasure"`
	// Round counts plans: what came in while one was carried out has the next.
	Round       int               `json:"round"`
	Tenant      string            `json:"tenant"`
	Whole       bool              `json:"whole"`
	Actor       string            `json:"actor"`
	IP          string            `json:"ip,omitempty"` // the actor's, for the audit log
	StartedAt   time.Time         `json:"started_at"`
	Phase       string            `json:"phase"`
	After       uint64            `json:"after"`
	Position    uint64            `json:"position"`
	Erased      map[string]uint64 `json:"erased"`
	Months      []Month           `json:"months,omitempty"`
	Control     []uint64          `json:"control,omitempty"`
	Certificate *Certificate      `json:"certificate,omitempty"`
}

// plan names the plan in the stores.
func (s *state) plan() string { return fmt.Sprintf("%s-%d", s.Erasure, s.Round) }

func (s *state) key() string {
	if s.Whole {
		return s.Tenant
	}
	return s.Erasure
}

func newID() string { return "era_" + strings.ToLower(rand.Text()[:12]) }

// Lease is what an erasure runs under. Who moves a tenant's rows holds it too.
const Lease = "erasure"

func (e *Eraser) bucket(ctx context.Context) (*eventlog.Bucket, error) {
	return e.log.Bucket(ctx, eventlog.BucketConfig{Name: bucketStates, Description: "What was erased for ever, and how far that is."})
}

func (e *Eraser) save(ctx context.Context, st *state) error {
	bucket, err := e.bucket(ctx)
	if err != nil {
		return err
	}
	text, err := json.Marshal(st)
	if err != nil {
		return err
	}
	_, err = bucket.Put(ctx, st.key(), text)
	return err
}

func (e *Eraser) load(ctx context.Context, key string) (*state, error) {
	bucket, err := e.bucket(ctx)
	if err != nil {
		return nil, err
	}
	found, err := bucket.Get(ctx, key)
	if errors.Is(err, eventlog.ErrNotFound) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	st := &state{}
	if err := json.Unmarshal(found.Value, st); err != nil {
		return nil, fmt.Errorf("read state of erasure %s: %w", key, err)
	}
	return st, nil
}

// all returns the states of every erasure in the shard, the oldest first.
func (e *Eraser) all(ctx context.Context) (states []*state, err error) {
	bucket, err := e.bucket(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := bucket.Keys(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		st, err := e.load(ctx, key)
		if err != nil {
			return nil, err
		}
		if st != nil && sharding.Of(st.Tenant, e.cfg.Shard.Of).ID == e.cfg.Shard.ID {
			states = append(states, st)
		}
	}
	slices.SortFunc(states, func(a, b *state) int { return a.StartedAt.Compare(b.StartedAt) })
	return states, nil
}

// count adds what goes to what the certificate says.
func (s *state) count(entries []entry) {
	for i := range entries {
		n := &entries[i]
		s.Erased["log_messages"] += n.Messages
		if s.Whole {
			s.Erased["usage_raw"] += n.Accepted
			s.Erased["conflicts"] += n.Conflicts
			s.Erased["quarantine"] += n.Quarantined
		}
	}
}

func (s *state) addMonths(months []Month) {
	for _, m := range months {
		i := slices.IndexFunc(s.Months, func(have Month) bool { return have.Month == m.Month })
		if i < 0 {
			s.Months = append(s.Months, m)
			continue
		}
		have := &s.Months[i]
		have.Calls, have.Tokens, have.Cost = have.Calls+m.Calls, have.Tokens+m.Tokens, have.Cost.Add(m.Cost)
	}
	slices.SortFunc(s.Months, func(a, b Month) int { return strings.Compare(a.Month, b.Month) })
}
