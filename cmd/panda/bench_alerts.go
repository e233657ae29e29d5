package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/agentik-os/panda/alerting"
	"github.com/agentik-os/panda/internal/bench"
)

// alertTenants is how many tenants cross their budgets, one after the other.
const alertTenants = 100

// receiver is a webhook's other end that says who was told of what.
type receiver struct {
	*httptest.Server

	mu   sync.Mutex
	told map[string]chan time.Time // by tenant: when it was told
}

func newReceiver() *receiver {
	r := &receiver{told: map[string]chan time.Time{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		at := time.Now()
		var body struct {
			Data struct {
				Alert alerting.Record `json:"alert"`
			} `json:"data"`
		}
		if json.NewDecoder(q.Body).Decode(&body) == nil {
			select {
			case r.of(body.Data.Alert.Identity.Tenant) <- at:
			default: // it was told already
			}
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	return r
}

func (r *receiver) of(tenant string) chan time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[tenant] == nil {
		r.told[tenant] = make(chan time.Time, 1)
	}
	return r.told[tenant]
}

// alerted measures how long it takes from the acknowledgement of the event that crosses a
// budget until a webhook has the alert, while others send.
func (b *benchRun) alerted(ctx context.Context) (err error) {
	r := newReceiver()
	defer r.Close()
	p, err := b.startWith(ctx, rowAlerted, func(cfg *Config) { cfg.AlertAllow = "127.0.0.0/8" })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	c := benchClient(p.URL(), p.AdminKey())
	crossing, err := alertedTenants(ctx, c, r.URL)
	if err != nil {
		return err
	}
	others, err := benchTenants(ctx, c, b.sizes.tenants)
	if err != nil {
		return err
	}
	b.progress("alerted: %d tenants cross their budgets while %d batches/s of others come in", len(crossing), benchPace)
	load := b.paced(bench.Load{URL: p.URL(), Key: p.AdminKey(), Tenants: others})
	load.For = time.Hour // ended when all have crossed
	loading, stop := context.WithCancel(ctx)
	defer stop()
	wait, err := b.load(loading, load)
	if err != nil {
		return err
	}
	var samples bench.Samples
	event := bench.NewBody(b.flags.seed^1<<41, 1, time.Now())
	for _, tenant := range crossing {
		event.Renew(time.Now())
		if _, err := c.raw(ctx, request{method: http.MethodPost, path: "/v1/events", query: params("tenant", tenant),
			body: event.Text, media: "application/cloudevents-batch+json"}); err != nil {
			return fmt.Errorf("send an event: %w", err)
		}
		acked := time.Now()
		waiting, cancel := context.WithTimeout(ctx, b.sizes.settle)
		select {
		case at := <-r.of(tenant):
			samples = append(samples, at.Sub(acked))
		case <-waiting.Done():
			err = fmt.Errorf("tenant %s crossed its budget and nobody was told: %w", tenant, waiting.Err())
		}
		cancel()
		if err != nil {
			return err
		}
	}
	stop()
	_, _ = wait() // it was stopped; what it sent is not measured here
	b.report.Note(rowAlerted, "p50", "%s of %d alerts", bench.Format(bench.UnitDuration, float64(samples.P50())), len(samples))
	b.report.Add(bench.Row{Name: rowAlerted, Measure: "ack → a webhook has the alert, p99", Unit: bench.UnitDuration,
		Must: float64(5 * time.Second), Aim: float64(time.Second), Got: float64(samples.P99())})
	return nil
}

// alertedTenants registers tenants that cross their budgets with the first event, and of
// whose 100 % an address is told.
func alertedTenants(ctx context.Context, c *apiClient, address string) (ids []string, err error) {
	for i := range alertTenants {
		name := fmt.Sprintf("alerted-%d", i)
		r, err := post("/v1/tenants", nil, map[string]any{"name": name, "slug": name, "plan": "pro", "monthly_budget": "0.000001"})
		if err != nil {
			return nil, err
		}
		made, _, err := call[struct {
			ID string `json:"id"`
		}](ctx, c, r)
		if err != nil {
			return nil, fmt.Errorf("register tenant %s: %w", name, err)
		}
		if r, err = post("/v1/alerting/channels", params("tenant", made.ID),
			map[string]any{"name": "bench", "type": "webhook", "url": address, "severity": "critical"}); err != nil {
			return nil, err
		}
		if _, err := c.raw(ctx, r); err != nil {
			return nil, fmt.Errorf("add a channel of %s: %w", name, err)
		}
		ids = append(ids, made.ID)
	}
	return ids, nil
}
