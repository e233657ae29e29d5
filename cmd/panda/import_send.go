package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// The gateway's words for an event that it did not take, and for one that came
// before in the same request or in a request that is on the log already.
const (
	verdictRejected  = "rejected"
	verdictDuplicate = "duplicate"
)

// gatewayAnswer is the answer of POST /v1/import. Events are those with another
// verdict than accepted.
type gatewayAnswer struct {
	Accepted   int64 `json:"accepted"`
	Duplicates int64 `json:"duplicates"`
	Rejected   int64 `json:"rejected"`
	Seq        int64 `json:"seq"`
	Events     []struct {
		Index   int    `json:"index"`
		Verdict string `json:"verdict"`
		Code    string `json:"code"`
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"events"`
}

// ackedBatch is a batch that is on the log.
type ackedBatch struct {
	seq  int64
	rows []batchRow // those that were not rejected
	// sentAgain: the answer to an earlier try was lost or said "later", so the
	// batch may be on the log twice; its first copy lies after position floor.
	sentAgain bool
	floor     int64
}

// send sends batches until there are no more.
func (r *importRun) send(ctx context.Context, batches <-chan *importBatch, acked chan<- ackedBatch) error {
	for {
		var b *importBatch
		select {
		case <-ctx.Done():
			return ctx.Err()
		case next, ok := <-batches:
			if !ok {
				return nil
			}
			b = next
		}
		if r.client == nil {
			if err := r.check(b); err != nil {
				return err
			}
			continue
		}
		ack, err := r.sendBatch(ctx, b)
		if err != nil {
			return err
		}
		if r.state != nil {
			r.state.acked(b)
		}
		select {
		case acked <- ack:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendBatch sends a batch until the server has it. Sending it again is harmless:
// the events keep their ids.
func (r *importRun) sendBatch(ctx context.Context, b *importBatch) (ackedBatch, error) {
	r.mu.Lock()
	ack := ackedBatch{floor: r.newest}
	r.mu.Unlock()
	tries := 0
	answer, _, err := call[gatewayAnswer](ctx, r.client, request{
		method: http.MethodPost, path: "/v1/import", query: params("tenant", r.flags.tenant, "verdicts", verdictRejected),
		body: b.body, media: "application/cloudevents-batch+json", retry: true, tries: &tries,
	})
	if err != nil {
		return ack, fmt.Errorf("send rows: %w", err)
	}
	ack.seq, ack.sentAgain = answer.Seq, tries > 1
	rejected := map[int]bool{}
	for _, e := range answer.Events {
		switch {
		case e.Index < 0 || e.Index >= len(b.rows):
		case e.Verdict == verdictDuplicate:
			b.rows[e.Index].duplicate = true
		case e.Verdict == verdictRejected:
			rejected[e.Index] = true
			if err := r.rejectAt(b, e.Index, strings.TrimPrefix(e.Pointer, "/"+strconv.Itoa(e.Index)), e.Detail); err != nil {
				return ack, err
			}
		}
	}
	if int64(len(rejected)) != answer.Rejected {
		return ack, fmt.Errorf("send rows: the server rejected %d of a batch and named %d", answer.Rejected, len(rejected))
	}
	ack.rows = make([]batchRow, 0, len(b.rows)-len(rejected))
	for i, row := range b.rows {
		if !rejected[i] {
			ack.rows = append(ack.rows, row)
		}
	}
	if len(ack.rows) > 0 {
		r.mu.Lock()
		r.acked[ack.seq] = true
		r.newest = max(r.newest, ack.seq)
		r.mu.Unlock()
	}
	return ack, nil
}

// lookupRequest asks at which position of the log each id was accepted, once
// everything up to wait_seq is written.
type lookupRequest struct {
	Source  string   `json:"source"`
	IDs     []string `json:"ids"`
	WaitSeq int64    `json:"wait_seq"`
}

type lookupAnswer struct {
	Found []struct {
		ID  string `json:"id"`
		Seq int64  `json:"seq"`
	} `json:"found"`
	Missing []string `json:"missing"`
}

// lookUp tells new events from duplicates: an event is new if and only if it was
// accepted at the position its own batch was acknowledged with.
func (r *importRun) lookUp(ctx context.Context, acked <-chan ackedBatch) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b, ok := <-acked:
			if !ok {
				return nil
			}
			bySource := map[string][]string{}
			for _, row := range b.rows {
				// After a lost answer a duplicate may be this run's own first try.
				if row.duplicate && !b.sentAgain {
					r.count(func(res *importResult) { res.Duplicates++ })
					continue
				}
				bySource[row.source] = append(bySource[row.source], row.id)
			}
			for source, ids := range bySource {
				if err := r.lookUpSource(ctx, b, source, ids); err != nil {
					return err
				}
			}
		}
	}
}

func (r *importRun) lookUpSource(ctx context.Context, b ackedBatch, source string, ids []string) error {
	answer, err := r.client.lookUp(ctx, r.flags.tenant, lookupRequest{Source: source, IDs: ids, WaitSeq: b.seq})
	if err != nil {
		return fmt.Errorf("all rows so far are imported; ask which are new: %w", err)
	}
	found := make(map[string]int64, len(answer.Found))
	for _, f := range answer.Found {
		found[f.ID] = f.Seq
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	counted := make(map[string]bool, len(ids))
	for _, id := range ids {
		seq, ok := found[id]
		switch {
		case !ok:
			r.result.Uncounted++
		case counted[id]: // the second of its id in this very batch
			r.result.Duplicates++
		case seq == b.seq, b.sentAgain && seq > b.floor:
			r.result.Accepted++
		default:
			r.result.Duplicates++
		}
		counted[id] = true
	}
	return nil
}

func (c *apiClient) lookUp(ctx context.Context, tenant string, ask lookupRequest) (lookupAnswer, error) {
	req, err := post("/v1/events/lookup", params("tenant", tenant), ask)
	if err != nil {
		return lookupAnswer{}, err
	}
	req.retry = true
	answer, _, err := call[lookupAnswer](ctx, c, req)
	return answer, err
}

// settleConflicts takes the conflicts of this run out of the duplicates: an id
// that is found may have been accepted with other content. Conflicts are listed
// the newest first, so those before this run are never read.
func (r *importRun) settleConflicts(ctx context.Context) error {
	if r.client == nil || r.result.Duplicates == 0 {
		return nil
	}
	oldest := r.newest
	for seq := range r.acked {
		oldest = min(oldest, seq)
	}
	cursor := ""
	for {
		page, _, err := call[conflictPage](ctx, r.client, get("/v1/conflicts",
			params("tenant", r.flags.tenant, "limit", strconv.Itoa(pageMax), "cursor", cursor)))
		if err != nil {
			return fmt.Errorf("all rows are imported; ask which are in conflict: %w", err)
		}
		for _, c := range page.Conflicts {
			if c.Seq < oldest {
				return nil
			}
			if r.acked[c.Seq] {
				r.result.Conflicts++
				r.result.Duplicates--
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			return nil
		}
	}
}
