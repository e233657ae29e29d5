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

// run is one row of job_runs.
type run struct {
	job               string
	started, finished time.Time
	outcome           string
	position          uint64
	rows              uint64
	detail            string
}

// reached is how far a job has come.
type reached struct {
	position uint64
	finished time.Time // zero when the job has never ended well
}

func readPosition(ctx context.Context, db DB, job string) (reached, error) {
	rows, err := db.Query(ctx, statement("position"), warehouse.Param{Name: "job", Value: job})
	if err != nil {
		return reached{}, fmt.Errorf("read position of %s: %w", job, err)
	}
	var r reached
	err = each(rows, func() error {
		var finishedMS int64
		err := rows.Scan(&r.position, &finishedMS)
		r.finished = time.UnixMilli(finishedMS)
		return err
	})
	if err != nil {
		return reached{}, fmt.Errorf("read position of %s: %w", job, err)
	}
	return r, nil
}

func recordRun(ctx context.Context, db DB, r run) error {
	err := db.Exec(ctx, statement("run"),
		warehouse.Param{Name: "job", Value: r.job},
		warehouse.Param{Name: "started_ms", Value: r.started.UnixMilli()},
		warehouse.Param{Name: "finished_ms", Value: r.finished.UnixMilli()},
		warehouse.Param{Name: "outcome", Value: r.outcome},
		warehouse.Param{Name: "position", Value: r.position},
		warehouse.Param{Name: "rows", Value: r.rows},
		warehouse.Param{Name: "detail", Value: r.detail})
	if err != nil {
		return fmt.Errorf("record run of %s: %w", r.job, err)
	}
	return nil
}
