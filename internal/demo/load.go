package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/schemas"
)

// Access is what a tenant's runtimes need to send.
type Access struct {
	ID  string // the tenant's id, for the door of NATS
	Key string // an API key with scope ingest
}

// Setup registers the demo's tenants, each with a key of its own.
func Setup(ctx context.Context, api *API) ([]Access, error) {
	var all []Access
	for _, t := range Tenants() {
		body := map[string]any{"name": t.Name, "slug": t.Slug, "plan": t.Plan,
			"billing_email": t.Email}
		if t.TokensMax > 0 {
			body["quotas"] = map[string]any{"max_monthly_tokens": t.TokensMax}
		}
		if t.Budget > 0 {
			body["monthly_budget"] = schemas.Mul(schemas.PicoPerUSD, t.Budget)
		}
		var made struct {
			ID  string `json:"id"`
			Key string `json:"key"`
		}
		if err := api.call(ctx, http.MethodPost, "/v1/tenants", nil, body, &made); err != nil {
			return nil, fmt.Errorf("create tenant %s: %w", t.Slug, err)
		}
		a := Access{ID: made.ID}
		key := map[string]any{"name": "demo", "scopes": []string{"ingest", "read"}}
		if err := api.call(ctx, http.MethodPost, "/v1/tenants/"+a.ID+"/keys", nil, key, &made); err != nil {
			return nil, fmt.Errorf("create key of %s: %w", t.Slug, err)
		}
		a.Key = made.Key
		all = append(all, a)
	}
	return all, nil
}

// Loader sends batches through the doors.
type Loader struct {
	URL  string // without a slash at the end
	HTTP *http.Client
	// Access is by tenant, in the order of Tenants.
	Access []Access
	// Publish sends a message to NATS and returns when it is stored.
	Publish func(ctx context.Context, subject string, data []byte) error
	// Workers is how many batches are on their way at a time; 0 is
	// workersDefault.
	Workers int

	first atomic.Int64
	sums  struct{ requests, messages, duplicates, rejected, resent atomic.Int64 }
}

const (
	// workersDefault keeps the log's group commit busy: while one batch is being
	// synced, others are decoded. More only makes each of them wait.
	workersDefault = 8
	// sendFor is how long one batch is sent again before the load is given up.
	sendFor = 2 * time.Minute
)

// Loaded is what the doors answered.
type Loaded struct {
	Took time.Duration `json:"took"`
	// Requests went to HTTP, Messages to NATS.
	Requests int64 `json:"requests"`
	Messages int64 `json:"messages"`
	// Duplicates and Rejected never reached the log: the gateway answered so.
	Duplicates int64 `json:"duplicates"`
	Rejected   int64 `json:"rejected"`
	// Resent is how many events were in batches that were sent again without
	// knowing whether they had arrived.
	Resent int64 `json:"resent"`
}

// Sent returns how many calls were acknowledged so far. It may be called while
// Load runs.
func (l *Loader) Sent() int64 { return l.first.Load() }

// Load sends everything the generator makes. It returns when all of it is
// acknowledged, or with the first error.
func (l *Loader) Load(ctx context.Context, g *Generator) (Loaded, error) {
	began := time.Now()
	workers := l.Workers
	if workers == 0 {
		workers = workersDefault
	}
	batches := make(chan Batch, workers)
	var last []Batch // written by the producer, read after Wait
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(batches)
		for b, ok := g.Next(); ok; b, ok = g.Next() {
			if b.Last {
				last = append(last, b)
				continue
			}
			select {
			case batches <- b:
			case <-running.Done():
				return running.Err()
			}
		}
		return nil
	})
	for range workers {
		group.Go(func() error {
			for b := range batches {
				if err := l.send(running, &b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	for i := 0; err == nil && i < len(last); i++ {
		err = l.send(ctx, &last[i])
	}
	return Loaded{Took: time.Since(began), Requests: l.sums.requests.Load(), Messages: l.sums.messages.Load(),
		Duplicates: l.sums.duplicates.Load(), Rejected: l.sums.rejected.Load(), Resent: l.sums.resent.Load()}, err
}

// send sends a batch until it is acknowledged.
func (l *Loader) send(ctx context.Context, b *Batch) error {
	deadline := time.Now().Add(sendFor)
	for try := 0; ; try++ {
		answer, err := l.once(ctx, b)
		switch {
		case err == nil:
			l.first.Add(int64(b.First))
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case answer.status != 0 && !answer.again(), time.Now().After(deadline):
			return fmt.Errorf("send batch of %s: %w", Tenants()[b.Tenant].Name, err)
		}
		if answer.status != http.StatusTooManyRequests {
			l.sums.resent.Add(int64(b.Events))
		}
		if err := pause(ctx, try, answer.retryAfter); err != nil {
			return err
		}
	}
}

// once sends a batch once. A reply with status 0 means that there was none.
func (l *Loader) once(ctx context.Context, b *Batch) (reply, error) {
	if b.Door == DoorNATS {
		l.sums.messages.Add(1)
		return reply{}, l.Publish(ctx, schemas.DirectSubject(l.Access[b.Tenant].ID), b.Body)
	}
	l.sums.requests.Add(1)
	const verdictsBytesMax = 1 << 20
	r, err := post(ctx, l.HTTP, outgoing{method: http.MethodPost, address: l.URL + "/v1/events?verdicts=rejected",
		key: l.Access[b.Tenant].Key, media: "application/cloudevents-batch+json", body: b.Body, limit: verdictsBytesMax})
	if err != nil {
		return r, err
	}
	if r.status != http.StatusOK {
		return r, r.problem()
	}
	return r, l.judge(b, r.body)
}

// judge checks an acknowledgement: every event has a verdict, and exactly the bad
// ones were refused.
func (l *Loader) judge(b *Batch, body []byte) error {
	var answer struct {
		Accepted   int `json:"accepted"`
		Duplicates int `json:"duplicates"`
		Conflicts  int `json:"conflicts"`
		Rejected   int `json:"rejected"`
		Events     []struct {
			Verdict string `json:"verdict"`
			Pointer string `json:"pointer"`
			Detail  string `json:"detail"`
		} `json:"events"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("read verdicts: %w", err)
	}
	if sum := answer.Accepted + answer.Duplicates + answer.Conflicts + answer.Rejected; sum != b.Events {
		return fmt.Errorf("%d events have a verdict, %d were sent", sum, b.Events)
	}
	if answer.Rejected != b.Rejected {
		reason := ""
		for _, e := range answer.Events {
			if e.Verdict == "rejected" {
				reason = ", such as " + e.Pointer + ": " + e.Detail
			}
		}
		return fmt.Errorf("%d events were rejected, %d of them are bad%s", answer.Rejected, b.Rejected, reason)
	}
	l.sums.duplicates.Add(int64(answer.Duplicates))
	l.sums.rejected.Add(int64(answer.Rejected))
	return nil
}
