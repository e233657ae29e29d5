package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// The adapters between what the stages ask for and what internal packages give.
// They hold no decision.

// usageLog is the log as the gateway sees it, which appends to every shard, and as the
// writer sees it, which reads one.
type usageLog struct {
	log   *eventlog.Log
	shard schemas.Shard
	// appended is told the tenant and the position of every append, for the lag.
	appended func(tenant string, seq uint64)
	// erased knows where messages were erased for ever.
	erased *erasure.Places
}

// recordBytesMax bounds what one read hands over: as many bytes as a batch of
// rows is worth.
const recordBytesMax = 32 << 20

func (l usageLog) Append(ctx context.Context, subject, id string, data []byte) (uint64, bool, error) {
	ack, err := l.log.Append(ctx, eventlog.Message{Subject: subject, ID: id, Data: data})
	if err == nil {
		_, tenant := schemas.ParseUsageSubject(subject)
		l.appended(tenant, ack.Seq)
	}
	return ack.Seq, ack.Duplicate, err
}

func (l usageLog) End(ctx context.Context) (last, epoch uint64, err error) {
	state, err := l.log.State(ctx, l.shard.Stream())
	return state.Last, state.Epoch, err
}

func (l usageLog) Read(ctx context.Context, from uint64) (ingest.LogReader, error) {
	reader, err := l.log.Read(ctx, eventlog.ReadConfig{Stream: l.shard.Stream(), From: from})
	if errors.Is(err, eventlog.ErrTruncated) && l.erased != nil {
		// The oldest records may have been erased and not trimmed: then the next one is
		// the one to begin with.
		state, stateErr := l.log.State(ctx, l.shard.Stream())
		if stateErr == nil && from < state.First {
			if gone, coverErr := l.erased.Cover(ctx, from, state.First-1); coverErr == nil && gone {
				reader, err = l.log.Read(ctx, eventlog.ReadConfig{Stream: l.shard.Stream(), From: state.First})
			}
		}
	}
	if errors.Is(err, eventlog.ErrTruncated) {
		return nil, errors.Join(ingest.ErrLogGap, err)
	}
	if err != nil {
		return nil, err
	}
	return usageReader{reader}, nil
}

type usageReader struct{ reader *eventlog.Reader }

func (r usageReader) Next(ctx context.Context, limit int, wait time.Duration) ([]ingest.Record, error) {
	records, err := r.reader.Next(ctx, limit, recordBytesMax, wait)
	if errors.Is(err, eventlog.ErrTruncated) {
		return nil, errors.Join(ingest.ErrLogGap, err)
	}
	out := make([]ingest.Record, len(records))
	for i := range records {
		out[i] = ingest.Record(records[i])
	}
	return out, err
}

func (r usageReader) Close() { r.reader.Close() }

// writerLease is a lease of the log as the writer sees it.
type writerLease struct{ *eventlog.Lease }

func (l writerLease) Release() {
	// The lease ends by itself when this fails; a successor only waits longer.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.Lease.Release(ctx)
}

// countedLog is a shard's stream as verify sees it.
type countedLog struct {
	log   *eventlog.Log
	shard schemas.Shard
	key   []byte
}

func (l countedLog) Bounds(ctx context.Context) (first, last uint64, err error) {
	state, err := l.log.State(ctx, l.shard.Stream())
	return state.First, state.Last, err
}

func (l countedLog) Counts(ctx context.Context, from, to uint64, each func(seq uint64, events int) error) error {
	const recordsMax = 4096
	reader, err := usageLog{log: l.log, shard: l.shard}.Read(ctx, from)
	if err != nil {
		return err
	}
	defer reader.Close()
	for next := from; next <= to; {
		records, err := reader.Next(ctx, recordsMax, time.Second)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			// The last ones may have been erased, and then nothing comes.
			newest, err := l.log.LastOf(ctx, l.shard.Stream(), l.shard.Subjects()...)
			if err != nil || newest < next {
				return err
			}
		}
		for i := range records {
			if records[i].Seq > to {
				return nil
			}
			if err := each(records[i].Seq, ingest.EventsIn(&records[i], l.key)); err != nil {
				return err
			}
			next = records[i].Seq + 1
		}
	}
	return nil
}

// writerClaims keeps the claim of a shard in a bucket of the log, whose updates
// are compare-and-set. It belongs to one writer.
type writerClaims struct {
	log      *eventlog.Log
	shard    uint32
	bucket   *eventlog.Bucket
	revision uint64 // of the claim as this writer took or put it
}

func (c *writerClaims) key() string { return fmt.Sprintf("shard-%d", c.shard) }

// Take writes the claim that stands once more: whoever knows the revision before
// can put no other.
func (c *writerClaims) Take(ctx context.Context) (ingest.Claim, error) {
	var err error
	if c.bucket == nil {
		c.bucket, err = c.log.Bucket(ctx, eventlog.BucketConfig{Name: "claims", Description: "Which range of the log is being written."})
		if err != nil {
			return ingest.Claim{}, err
		}
	}
	for {
		claim, taken, err := c.take(ctx)
		if taken || !errors.Is(err, schemas.ErrConflict) {
			return claim, err
		}
		// Somebody put one in between, or a replica that is behind was asked.
		if ctx.Err() != nil {
			return claim, ctx.Err()
		}
	}
}

func (c *writerClaims) take(ctx context.Context) (claim ingest.Claim, taken bool, err error) {
	entry, err := c.bucket.Get(ctx, c.key())
	switch {
	case errors.Is(err, eventlog.ErrNotFound):
		c.revision, err = c.bucket.Create(ctx, c.key(), []byte("{}"))
		return claim, err == nil, err
	case err != nil:
		return claim, false, err
	}
	if err := json.Unmarshal(entry.Value, &claim); err != nil {
		return claim, false, fmt.Errorf("read claim %q: %w", entry.Value, err)
	}
	c.revision, err = c.bucket.Update(ctx, c.key(), entry.Value, entry.Revision)
	return claim, err == nil, err
}

func (c *writerClaims) Put(ctx context.Context, claim ingest.Claim) error {
	text, err := json.Marshal(claim)
	if err != nil {
		return fmt.Errorf("write claim: %w", err)
	}
	revision, err := c.bucket.Update(ctx, c.key(), text, c.revision)
	if err == nil {
		c.revision = revision
	}
	return err
}
