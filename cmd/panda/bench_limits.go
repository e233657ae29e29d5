package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/agentik-os/panda/internal/bench"
)

const (
	// benchQuietPace is the batches a second of a tenant that floods nobody: enough
	// for a p99.
	benchQuietPace = 50
	// benchFloodWorkers are the connections of one that does.
	benchFloodWorkers = 32
)

// fresh measures from an acknowledgement to the first decision that counts the
// event.
func (b *benchRun) fresh(ctx context.Context, c *apiClient, tenant string) (bench.Row, error) {
	samples, err := b.seen(ctx, c, tenant, get("/v1/entitlements", params("tenant", tenant)), b.sizes.paced/2)
	if err != nil {
		return bench.Row{}, err
	}
	b.report.Note(rowFresh, "p50", "%s of %d events", bench.Format(bench.UnitDuration, float64(samples.P50())), len(samples))
	return bench.Row{Name: rowFresh, Measure: "ack → counted by GET /v1/entitlements, asked every 2 ms, p99", Unit: bench.UnitDuration,
		Must: float64(time.Second), Aim: float64(200 * time.Millisecond), Got: float64(samples.P99())}, nil
}

// fair measures what one tenant's flood costs another: how long the quiet one waits
// for an acknowledgement beside it, against alone, by turns, so that what the machine
// does besides meets both. The flood is let in as long as its plan allows, a minute's
// calls at once, and refused from then on; the row is about the second, and what the
// first costs stands beside the rows.
func (b *benchRun) fair(ctx context.Context, p *pipeline, c *apiClient, row string) error {
	const turns = 8
	quiet, err := b.runtime(ctx, c, "quiet", "pro")
	if err != nil {
		return err
	}
	quiet.URL, quiet.Events, quiet.Workers, quiet.Rate, quiet.For = p.URL(), benchPacedBatch, benchPacedWorkers, benchQuietPace, b.sizes.paced/2
	flood, err := b.runtime(ctx, c, "flood", "starter")
	if err != nil {
		return err
	}
	flood.URL, flood.Events, flood.Workers, flood.For, flood.Strangers = p.URL(), benchBatch, benchFloodWorkers, time.Hour, true
	for n := 1; len(p.shards) > 1 && p.of(quiet.Tenants[0]) == p.of(flood.Tenants[0]); n++ {
		again, err := b.runtime(ctx, c, "flood-"+strconv.Itoa(n), "starter")
		if err != nil {
			return err
		}
		flood.Key, flood.Tenants = again.Key, again.Tenants
	}
	var alone, let, beside bench.Loaded
	var stored, refused int64
	for turn := range turns {
		b.progress(row+", turn %d of %d: %d batches/s of a quiet tenant for %s, alone and beside a flood", turn+1, turns, benchQuietPace, quiet.For)
		if err := b.loadedInto(ctx, &alone, quiet); err != nil {
			return err
		}
		began, err := p.eventAnswers()
		if err != nil {
			return err
		}
		flooding, stop := context.WithCancel(ctx)
		defer stop()
		wait, err := b.load(flooding, flood)
		if err != nil {
			return err
		}
		if turn == 0 {
			first := quiet
			first.For = b.sizes.paced / 4
			if err := b.loadedInto(ctx, &let, first); err != nil {
				return err
			}
		}
		before, err := b.refused(ctx, p.of(flood.Tenants[0]), began["429"])
		if err != nil {
			return err
		}
		sent := beside.Requests
		if err := b.loadedInto(ctx, &beside, quiet); err != nil {
			return err
		}
		after, err := p.eventAnswers()
		if err != nil {
			return err
		}
		stored += after["200"] - before["200"] - (beside.Requests - sent)
		refused += after["429"] - before["429"]
		stop()
		_, _ = wait() // it was stopped; what it sent is not measured here
	}
	if refused := alone.Refused + let.Refused + beside.Refused; refused > 0 {
		return fmt.Errorf("the quiet tenant was refused %d times", refused)
	}
	b.fairRow(row, &alone, &let, &beside, stored, refused)
	return nil
}

// fairApart is fair with the two tenants in shards of their own.
func (b *benchRun) fairApart(ctx context.Context) (err error) {
	const split = 4
	p, err := b.start(ctx, rowFairApart, split)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	return b.fair(ctx, p, benchClient(p.URL(), p.AdminKey()), rowFairApart)
}

// fairRow adds the row, and beside it what it was made of.
func (b *benchRun) fairRow(row string, alone, let, beside *bench.Loaded, stored, refused int64) {
	for _, phase := range []struct {
		what string
		of   *bench.Loaded
	}{{"alone", alone}, {"beside a flood that is let in", let}, {"beside one that is refused", beside}} {
		b.report.Note(row, "ack p50, p99 of the quiet tenant "+phase.what, "%s, %s of %s batches",
			bench.Format(bench.UnitDuration, float64(phase.of.Acks.P50())), bench.Format(bench.UnitDuration, float64(phase.of.Acks.P99())), grouped(phase.of.Requests))
	}
	b.report.Note(row, "batches of the flood while it is refused", "%s stored, %s answered 429", grouped(stored), grouped(refused))
	const mostSlower, aimSlower = 1.1, 1.05
	b.report.Add(bench.Row{Name: row, Measure: "ack p99 of a quiet tenant beside another's flood, against alone", Unit: bench.UnitTimes,
		Must: mostSlower, Aim: aimSlower, Got: float64(beside.Acks.P99()) / float64(max(alone.Acks.P99(), 1))})
}

// loadedInto is loaded, added to what was loaded before.
func (b *benchRun) loadedInto(ctx context.Context, sum *bench.Loaded, l bench.Load) error {
	one, err := b.loaded(ctx, l)
	if err != nil {
		return err
	}
	sum.Add(&one)
	return nil
}

// refused waits until the flood is refused, more than some times, and what was let in
// is counted, and returns the answers so far. Its allowance fills up between two turns.
func (b *benchRun) refused(ctx context.Context, s *shard, times int64) (map[string]int64, error) {
	waiting, cancel := context.WithTimeout(ctx, b.sizes.settle)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		answers, err := s.p.eventAnswers()
		if err != nil {
			return nil, err
		}
		if answers["429"] > times {
			last, _, err := s.usageLog().End(ctx)
			if err == nil {
				err = s.live.WaitFor(waiting, last)
			}
			if err != nil && waiting.Err() == nil {
				return nil, err
			}
			return s.p.eventAnswers()
		}
		select {
		case <-poll.C:
		case <-waiting.Done():
			return answers, ctx.Err()
		}
	}
}

func (b *benchRun) loaded(ctx context.Context, l bench.Load) (bench.Loaded, error) {
	wait, err := b.load(ctx, l)
	if err != nil {
		return bench.Loaded{}, err
	}
	return wait()
}

// runtime registers a tenant with the limits of its plan and returns a load that is
// sent with a key of its own.
func (b *benchRun) runtime(ctx context.Context, c *apiClient, name, plan string) (bench.Load, error) {
	r, err := post("/v1/tenants", nil, map[string]any{"name": name, "slug": name, "plan": plan})
	if err != nil {
		return bench.Load{}, err
	}
	made, _, err := call[struct {
		ID string `json:"id"`
	}](ctx, c, r)
	if err != nil {
		return bench.Load{}, fmt.Errorf("register tenant %s: %w", name, err)
	}
	r, err = post("/v1/tenants/"+made.ID+"/keys", nil, map[string]any{"name": "bench", "scopes": []string{"ingest"}})
	if err != nil {
		return bench.Load{}, err
	}
	issued, _, err := call[struct {
		Key string `json:"key"`
	}](ctx, c, r)
	if err != nil {
		return bench.Load{}, fmt.Errorf("issue a key of tenant %s: %w", name, err)
	}
	return bench.Load{Key: issued.Key, Tenants: []string{made.ID}}, nil
}

// eventAnswers returns how many requests of POST /v1/events were answered, by
// status.
func (p *pipeline) eventAnswers() (map[string]int64, error) {
	families, err := p.metrics.Gather()
	if err != nil {
		return nil, fmt.Errorf("read the server's counters: %w", err)
	}
	answers := map[string]int64{}
	for _, f := range families {
		if f.GetName() != "panda_http_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["route"] == "POST /v1/events" {
				answers[labels["status"]] = int64(m.GetCounter().GetValue())
			}
		}
	}
	return answers, nil
}
