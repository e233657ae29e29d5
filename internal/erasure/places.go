package erasure

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// Buckets of the log.
const (
	bucketPlaces = "erased"
	bucketStates = "erasures"
)

// chunkEntries is how many ranges one value holds, and chunkPlaces how many positions at
// most; compressed, both stay well below the largest message.
const (
	chunkEntries = 2_000
	chunkPlaces  = 200_000
)

// Log is the log as this package uses it; *eventlog.Log is one.
type Log interface {
	Bucket(ctx context.Context, cfg eventlog.BucketConfig) (*eventlog.Bucket, error)
	LastOf(ctx context.Context, stream string, subjects ...string) (uint64, error)
	State(ctx context.Context, stream string) (eventlog.State, error)
	Find(ctx context.Context, stream string, subjects []string, upTo uint64, each func(*eventlog.Record) error) ([]uint64, error)
	Erase(ctx context.Context, stream string, seqs []uint64) error
}

// Places knows at which positions of the usage log messages were erased. It keeps them
// on the log, and in memory once somebody has asked.
type Places struct {
	log   Log
	shard schemas.Shard

	mu    sync.Mutex
	known map[string]bool // chunks
	spans []span          // in order, apart from each other
}

// span is from first to last, both included.
type span struct{ first, last uint64 }

// NewPlaces returns the places of a shard of a log.
func NewPlaces(log Log, shard schemas.Shard) *Places {
	return &Places{log: log, shard: shard, known: map[string]bool{}}
}

func (p *Places) bucket(ctx context.Context) (*eventlog.Bucket, error) {
	name := bucketPlaces
	if p.shard.Split() {
		name += "-" + p.shard.String()
	}
	return p.log.Bucket(ctx, eventlog.BucketConfig{Name: name,
		Description: "At which positions of " + p.shard.Stream() + " messages were erased for ever."})
}

// Cover reports whether all positions from one to another, both included, were erased.
// It is asked when a record is missing, so it looks at the log only if it does not know.
func (p *Places) Cover(ctx context.Context, from, to uint64) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if from > to || covers(p.spans, from, to) {
		return true, nil
	}
	if err := p.load(ctx); err != nil {
		return false, err
	}
	return covers(p.spans, from, to), nil
}

// covers reports whether one span holds all of from to to.
func covers(spans []span, from, to uint64) bool {
	i, _ := slices.BinarySearchFunc(spans, from, func(s span, seq uint64) int {
		if s.last < seq {
			return -1
		}
		return 1
	})
	return i < len(spans) && spans[i].first <= from && to <= spans[i].last
}

// load takes in the chunks that came since.
func (p *Places) load(ctx context.Context) error {
	bucket, err := p.bucket(ctx)
	if err != nil {
		return err
	}
	keys, err := bucket.Keys(ctx)
	if err != nil {
		return err
	}
	added := false
	for _, key := range keys {
		if p.known[key] {
			continue
		}
		entry, err := bucket.Get(ctx, key)
		if err != nil {
			return err
		}
		entries, err := decodeEntries(entry.Value)
		if err != nil {
			return fmt.Errorf("read %s in bucket %s: %w", key, bucketPlaces, err)
		}
		for i := range entries {
			for _, seq := range entries[i].Seqs {
				p.spans = append(p.spans, span{seq, seq})
			}
		}
		p.known[key], added = true, true
	}
	if added {
		p.spans = joined(p.spans)
	}
	return nil
}

// joined sorts spans and joins those that touch.
func joined(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, s.last)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// put keeps what is erased per range, in order. It can be repeated.
func (p *Places) put(ctx context.Context, plan string, entries []entry) error {
	bucket, err := p.bucket(ctx)
	if err != nil {
		return err
	}
	for n := 0; len(entries) > 0; n++ {
		take, places := 0, 0
		for take < len(entries) && take < chunkEntries && (take == 0 || places+len(entries[take].Seqs) <= chunkPlaces) {
			places += len(entries[take].Seqs) + len(entries[take].Keys) + len(entries[take].Rows)
			take++
		}
		text, err := encodeEntries(entries[:take])
		if err != nil {
			return err
		}
		if _, err := bucket.Put(ctx, fmt.Sprintf("%s.%d", plan, n), text); err != nil {
			return err
		}
		entries = entries[take:]
	}
	return nil
}

// of returns what a plan has put.
func (p *Places) of(ctx context.Context, plan string) (entries []entry, err error) {
	bucket, err := p.bucket(ctx)
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		value, err := bucket.Get(ctx, fmt.Sprintf("%s.%d", plan, n))
		if errors.Is(err, eventlog.ErrNotFound) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		chunk, err := decodeEntries(value.Value)
		if err != nil {
			return nil, fmt.Errorf("read plan %s: %w", plan, err)
		}
		entries = append(entries, chunk...)
	}
}

// prune forgets plans of which there is no state: somebody died before it was saved,
// and nothing of them was erased.
func (p *Places) prune(ctx context.Context, states []*state) error {
	bucket, err := p.bucket(ctx)
	if err != nil {
		return err
	}
	keys, err := bucket.Keys(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		erasure, _, _ := strings.Cut(key, "-")
		if slices.ContainsFunc(states, func(st *state) bool { return st.Erasure == erasure }) {
			continue
		}
		if err := bucket.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// encodeEntries writes entries as compressed JSON, with the differences between rising
// positions in place of them.
func encodeEntries(entries []entry) ([]byte, error) {
	steps := slices.Clone(entries)
	for i := range steps {
		e := &steps[i]
		e.Seqs, e.Keys, e.Rows = differences(e.Seqs), differences(e.Keys), differences(e.Rows)
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	err := errors.Join(json.NewEncoder(w).Encode(steps), w.Close())
	return out.Bytes(), err
}

func decodeEntries(text []byte) (entries []entry, err error) {
	r, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if err := json.NewDecoder(r).Decode(&entries); err != nil {
		return nil, err
	}
	for i := range entries {
		for _, list := range [][]uint64{entries[i].Seqs, entries[i].Keys, entries[i].Rows} {
			for k := 1; k < len(list); k++ {
				list[k] += list[k-1]
			}
		}
	}
	return entries, r.Close()
}

func differences(seqs []uint64) []uint64 {
	out := slices.Clone(seqs)
	for i := len(out) - 1; i > 0; i-- {
		out[i] -= out[i-1]
	}
	return out
}
