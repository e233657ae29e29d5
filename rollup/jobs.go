package rollup

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/schemas"
)

// A Job is something that runs on a schedule. Run must be idempotent: a node
// that dies in the middle is followed by another that starts over.
type Job struct {
	// Name is in job_runs, logs and the lease; unique.
	Name string
	// Schedule is a cron expression of five fields in UTC, or a descriptor such
	// as "@hourly" or "@every 10m".
	Schedule string
	// Run does the work and says in a few words what it did. Its context ends
	// when the lease is lost, when the process stops, or after Timeout.
	Run func(ctx context.Context) (detail string, err error)
	// Timeout bounds a run; zero takes an hour.
	Timeout time.Duration
}

// Lease lets one node at a time run a job.
type Lease interface {
	// Hold takes the lease of that name, or returns an error that matches
	// schemas.ErrConflict while another holds it. held ends when the lease is
	// lost; release gives it back.
	Hold(ctx context.Context, name string) (held context.Context, release func(), err error)
}

// JobStatus is what people see of a job.
type JobStatus struct {
	Name     string
	Schedule string
	Running  bool
	// LastRun is when the newest run began, on any node; zero if none is known.
	LastRun  time.Time
	Duration time.Duration
	// Outcome is one of the Outcome constants; empty if there was no run.
	Outcome string
	// Detail is the job's word on its last run, or its error.
	Detail string
	// NextRun is zero while the scheduler does not run.
	NextRun time.Time
}

// JobsConfig is what Jobs needs to know.
type JobsConfig struct {
	Lease Lease
	// Now is the clock of what is shown and recorded; time.Now.
	Now func() time.Time
	Log zerolog.Logger
}

// Jobs runs jobs on their schedules, in UTC, one run of a job at a time across
// nodes. A run whose turn comes while the one before is still at it is skipped;
// a job that panics has failed, and no other is harmed.
type Jobs struct {
	cfg  JobsConfig
	db   DB
	cron *cron.Cron

	mu   sync.Mutex
	jobs map[string]*scheduled
	base context.Context // of scheduled runs; set by Run
}

type scheduled struct {
	job     Job
	entry   cron.EntryID
	running bool
	last    JobStatus
}

// NewJobs returns Jobs without any job.
func NewJobs(cfg JobsConfig, db DB) *Jobs {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Jobs{
		cfg: cfg, db: db, jobs: map[string]*scheduled{},
		cron: cron.New(cron.WithLocation(time.UTC)),
	}
}

// jobTimeout bounds a run whose job does not say: longer than any recurring
// work, and short enough that a stuck run is over before people ask.
const jobTimeout = time.Hour

// Add schedules a job. It returns an error that matches schemas.ErrInvalid for a
// schedule that cannot be read, schemas.ErrConflict for a name that is taken.
func (j *Jobs) Add(job Job) error {
	schedule, err := cron.ParseStandard(job.Schedule)
	if err != nil {
		return schemas.Invalid("/schedule", schemas.CodeMalformed, "job %s: %q is not a schedule: %v", job.Name, job.Schedule, err)
	}
	if job.Timeout == 0 {
		job.Timeout = jobTimeout
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, ok := j.jobs[job.Name]; ok {
		return fmt.Errorf("add job %s: the name is taken: %w", job.Name, schemas.ErrConflict)
	}
	s := &scheduled{job: job, last: JobStatus{Name: job.Name, Schedule: job.Schedule}}
	s.entry = j.cron.Schedule(schedule, cron.FuncJob(func() { j.onSchedule(job.Name) }))
	j.jobs[job.Name] = s
	return nil
}

// Run keeps the schedules until ctx ends, and then waits for the runs under way,
// whose contexts have ended with it.
func (j *Jobs) Run(ctx context.Context) error {
	if err := j.loadLastRuns(ctx); err != nil && ctx.Err() == nil {
		// Only the display of earlier runs depends on it.
		j.cfg.Log.Warn().Err(err).Msg("earlier job runs unknown")
	}
	j.mu.Lock()
	j.base = ctx
	j.mu.Unlock()
	j.cron.Start()
	<-ctx.Done()
	<-j.cron.Stop().Done()
	return nil
}

func (j *Jobs) onSchedule(name string) {
	j.mu.Lock()
	ctx := j.base
	j.mu.Unlock()
	err := j.Trigger(ctx, name)
	switch {
	case errors.Is(err, schemas.ErrConflict):
		j.cfg.Log.Debug().Str("job", name).Msg("job runs elsewhere")
	case err != nil && ctx.Err() == nil:
		j.cfg.Log.Error().Str("job", name).Err(err).Msg("job failed")
	}
}

// Trigger runs a job now and returns its error. An error that matches
// schemas.ErrConflict means that a run is under way, here or on another node;
// schemas.ErrInvalid, that there is no such job.
func (j *Jobs) Trigger(ctx context.Context, name string) error {
	s, err := j.begin(name)
	if err != nil {
		return err
	}
	started := j.cfg.Now()
	detail, outcome := "", OutcomeSkipped
	defer func() { j.end(s, started, outcome, detail) }()

	held, release, err := j.cfg.Lease.Hold(ctx, "job-"+name)
	if err != nil {
		detail = err.Error()
		if !errors.Is(err, schemas.ErrConflict) {
			outcome = OutcomeError
		}
		return fmt.Errorf("take lease of job %s: %w", name, err)
	}
	defer release()
	held, cancel := context.WithTimeout(held, s.job.Timeout)
	defer cancel()
	detail, err = runRecovered(held, s.job)
	outcome = OutcomeOK
	if err != nil {
		outcome, detail = OutcomeError, err.Error()
	}
	// The job is over: its record is written even if the process is stopping.
	record, cancelRecord := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancelRecord()
	finished := j.cfg.Now()
	failpoint.Hit(failpoint.JobBeforeRecord)
	recordErr := recordRun(record, j.db, Run{
		Job: name, Started: started, Finished: finished, Outcome: outcome, Detail: clipDetail(detail),
	})
	if err != nil {
		err = fmt.Errorf("run job %s: %w", name, err)
	}
	return errors.Join(err, recordErr)
}

// recordTimeout bounds how long a stop waits for the record of a run.
const recordTimeout = 5 * time.Second

// detailBytesMax bounds a detail in job_runs; errors can quote much.
const detailBytesMax = 2_000

func clipDetail(s string) string {
	if len(s) > detailBytesMax {
		return strings.ToValidUTF8(s[:detailBytesMax], "") + "…"
	}
	return s
}

func runRecovered(ctx context.Context, job Job) (detail string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return job.Run(ctx)
}

// begin marks a job as running, unless it is.
func (j *Jobs) begin(name string) (*scheduled, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s, ok := j.jobs[name]
	if !ok {
		return nil, schemas.Invalid("/job", schemas.CodeUnknown, "there is no job %q", name)
	}
	if s.running {
		return nil, fmt.Errorf("run job %s: it is running: %w", name, schemas.ErrConflict)
	}
	s.running = true
	return s, nil
}

// end marks a job as not running. A skipped run does not hide the one that was
// done, which is more to the point.
func (j *Jobs) end(s *scheduled, started time.Time, outcome, detail string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.running = false
	if outcome == OutcomeSkipped && s.last.Outcome != "" {
		return
	}
	s.last.LastRun, s.last.Duration = started, j.cfg.Now().Sub(started)
	s.last.Outcome, s.last.Detail = outcome, clipDetail(detail)
}

// Status returns all jobs in order of name.
func (j *Jobs) Status() []JobStatus {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]JobStatus, 0, len(j.jobs))
	for _, s := range j.jobs {
		status := s.last
		status.Running = s.running
		status.NextRun = j.cron.Entry(s.entry).Next
		list = append(list, status)
	}
	slices.SortFunc(list, func(a, b JobStatus) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (j *Jobs) loadLastRuns(ctx context.Context) error {
	rows, err := j.db.Query(ctx, statement("last_runs"))
	if err != nil {
		return fmt.Errorf("read last runs: %w", err)
	}
	err = rows.Each(func() error {
		var name, outcome, detail string
		var startedMS, finishedMS int64
		if err := rows.Scan(&name, &startedMS, &finishedMS, &outcome, &detail); err != nil {
			return err
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		if s, ok := j.jobs[name]; ok && s.last.Outcome == "" {
			s.last.LastRun = time.UnixMilli(startedMS).UTC()
			s.last.Duration = time.Duration(finishedMS-startedMS) * time.Millisecond
			s.last.Outcome, s.last.Detail = outcome, detail
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read last runs: %w", err)
	}
	return nil
}
