package rollup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// nodes is a lease that several Jobs share, as nodes of a cluster do.
type nodes struct {
	mu   sync.Mutex
	held map[string]bool
}

func (n *nodes) Hold(ctx context.Context, name string) (context.Context, func(), error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.held[name] {
		return nil, nil, fmt.Errorf("lease %s is held: %w", name, schemas.ErrConflict)
	}
	n.held[name] = true
	ctx, cancel := context.WithCancel(ctx)
	return ctx, func() {
		cancel()
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.held, name)
	}, nil
}

func newJobs(t *testing.T, p *project, lease rollup.Lease, jobs ...rollup.Job) *rollup.Jobs {
	t.Helper()
	j := rollup.NewJobs(rollup.JobsConfig{Lease: lease, Log: zerolog.Nop()}, p.db)
	for _, job := range jobs {
		if err := j.Add(job); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

func TestJobsRunOneAtATime(t *testing.T) {
	p := newProject(t)
	lease := &nodes{held: map[string]bool{}}
	began, finish := make(chan struct{}), make(chan struct{})
	slow := rollup.Job{Name: "slow", Schedule: "@daily", Run: func(context.Context) (string, error) {
		close(began)
		<-finish
		return "did it", nil
	}}
	one := newJobs(t, p, lease, slow)
	other := newJobs(t, p, lease, rollup.Job{Name: "slow", Schedule: "@daily", Run: func(context.Context) (string, error) {
		return "", errors.New("ran beside the other node")
	}})
	ended := make(chan error, 1)
	go func() { ended <- one.Trigger(context.Background(), "slow") }()
	<-began
	if !one.Status()[0].Running {
		t.Error("the job is not shown as running")
	}
	for name, jobs := range map[string]*rollup.Jobs{"same node": one, "other node": other} {
		if err := jobs.Trigger(t.Context(), "slow"); !errors.Is(err, schemas.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := other.Status()[0]; got.Outcome != rollup.OutcomeSkipped || got.Running {
		t.Errorf("the other node shows %+v", got)
	}
	close(finish)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := one.Status()[0]; got.Outcome != rollup.OutcomeOK || got.Detail != "did it" || got.LastRun.IsZero() || got.Running {
		t.Errorf("afterwards: %+v", got)
	}
}

func TestJobsFail(t *testing.T) {
	p := newProject(t)
	jobs := newJobs(t, p, &nodes{held: map[string]bool{}},
		rollup.Job{Name: "error", Schedule: "0 3 * * *", Run: func(context.Context) (string, error) { return "", errors.New("no luck") }},
		rollup.Job{Name: "panic", Schedule: "@every 1h", Run: func(context.Context) (string, error) { panic("oh no") }},
		rollup.Job{Name: "stuck", Schedule: "@hourly", Timeout: time.Millisecond, Run: func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}})
	for name, want := range map[string]string{"error": "no luck", "panic": "panic: oh no", "stuck": "deadline"} {
		if err := jobs.Trigger(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s returned %v", name, err)
		}
		// It can run again: nothing is left behind.
		if err := jobs.Trigger(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s returned %v the second time", name, err)
		}
	}
	for _, status := range jobs.Status() {
		if status.Outcome != rollup.OutcomeError || status.Running {
			t.Errorf("%+v", status)
		}
	}
	if err := jobs.Trigger(t.Context(), "nosuch"); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("a job that is not there: %v", err)
	}
	for _, bad := range []struct {
		job  rollup.Job
		want error
	}{{rollup.Job{Name: "x", Schedule: "every day"}, schemas.ErrInvalid}, {rollup.Job{Name: "error", Schedule: "@daily"}, schemas.ErrConflict}} {
		if err := jobs.Add(bad.job); !errors.Is(err, bad.want) {
			t.Errorf("add %+v: %v", bad.job, err)
		}
	}
}

func TestJobsKeepTheirSchedule(t *testing.T) {
	p := newProject(t)
	lease := &nodes{held: map[string]bool{}}
	ran := make(chan struct{}, 100)
	job := rollup.Job{Name: "often", Schedule: "@every 1s", Run: func(context.Context) (string, error) {
		ran <- struct{}{}
		return "fine", nil
	}}
	jobs := newJobs(t, p, lease, job)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- jobs.Run(ctx) }()
	<-ran
	if next := jobs.Status()[0].NextRun; next.IsZero() || next.Location() != time.UTC {
		t.Errorf("next run %v", next)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	// A node that starts now knows of the run.
	later := newJobs(t, p, lease, rollup.Job{Name: "often", Schedule: "@yearly", Run: job.Run})
	ctx, cancel = context.WithCancel(t.Context())
	go func() { ended <- later.Run(ctx) }()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for later.Status()[0].Outcome == "" {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the run before is not known")
		}
	}
	if got := later.Status()[0]; got.Outcome != rollup.OutcomeOK || got.Detail != "fine" || got.LastRun.IsZero() {
		t.Errorf("the run before: %+v", got)
	}
	cancel()
	<-ended
}
