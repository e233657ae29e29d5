package rollup

import (
	"context"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/warehouse"
)

// The outcomes of a run.
const (
	OutcomeOK = "ok"
	// OutcomeError: the job returned an error or panicked.
	OutcomeError = "error"
	// OutcomeSkipped: another node, or the run before, was still at it.
	OutcomeSkipped = "skipped"
)

// A Run is one row of job_runs.
type Run struct {
	Job               string
	Started, Finished time.Time
	// Outcome is one of the Outcome constants.
	Outcome  string
	Position uint64
	Rows     uint64
	Detail   string
}

// Reached is how far a job has come.
type Reached struct {
	Position uint64
	Finished time.Time // zero when the job has never ended well
}

func readPosition(ctx context.Context, db DB, job string) (Reached, error) {
	rows, err := db.Query(ctx, statement("position"), warehouse.Param{Name: "job", Value: job})
	if err != nil {
		return Reached{}, fmt.Errorf("read position of %s: %w", job, err)
	}
	var r Reached
	err = rows.Each(func() error {
		var finishedMS int64
		err := rows.Scan(&r.Position, &finishedMS)
		r.Finished = time.UnixMilli(finishedMS)
		return err
	})
	if err != nil {
		return Reached{}, fmt.Errorf("read position of %s: %w", job, err)
	}
	return r, nil
}

func recordRun(ctx context.Context, db DB, r Run) error {
	err := db.Exec(ctx, statement("run"),
		warehouse.Param{Name: "job", Value: r.Job},
		warehouse.Param{Name: "started_ms", Value: r.Started.UnixMilli()},
		warehouse.Param{Name: "finished_ms", Value: r.Finished.UnixMilli()},
		warehouse.Param{Name: "outcome", Value: r.Outcome},
		warehouse.Param{Name: "position", Value: r.Position},
		warehouse.Param{Name: "rows", Value: r.Rows},
		warehouse.Param{Name: "detail", Value: r.Detail})
	if err != nil {
		return fmt.Errorf("record run of %s: %w", r.Job, err)
	}
	return nil
}
