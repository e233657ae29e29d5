package tenancy

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/schemas"
)

// What is kept of refused attempts. A flood of them is up to 200 records a minute, and
// whoever reads the log from its beginning reads all of them.
const (
	// AttemptsAge is long enough to look into what somebody tried last quarter.
	AttemptsAge = 90 * 24 * time.Hour
	// AttemptsMax is how many of a tenant are kept, and of the platform: about a week of
	// somebody who tries something else every minute.
	AttemptsMax = 10_000
)

// TrimLog is what TrimAttempts needs of an event log; *eventlog.Log has it.
type TrimLog interface {
	Find(ctx context.Context, stream string, subjects []string, upTo uint64, each func(*eventlog.Record) error) ([]uint64, error)
	Delete(ctx context.Context, stream string, seqs []uint64) error
}

// TrimAttempts removes refused attempts that are older than AttemptsAge, and the oldest of
// a tenant of which there are more than AttemptsMax, and returns how many went. Nothing is
// folded of them, so no node's registry changes. What was done, and not refused, stays.
//
// Errors: schemas.ErrUnavailable; some may be gone then, and the next call goes on.
func TrimAttempts(ctx context.Context, log TrimLog, now time.Time) (gone int, err error) {
	return trimAttempts(ctx, log, now, AttemptsMax)
}

func trimAttempts(ctx context.Context, log TrimLog, now time.Time, most int) (gone int, err error) {
	var old []uint64
	kept := map[string][]uint64{} // by subject, oldest first
	_, err = log.Find(ctx, schemas.StreamControl, []string{subjectAttempt + "*"}, ^uint64(0), func(rec *eventlog.Record) error {
		var e struct {
			Type string    `json:"type"`
			At   time.Time `json:"at"`
		}
		if json.Unmarshal(rec.Data, &e) != nil || e.Type != typeAttempt {
			return nil // Record writes on these subjects too
		}
		if now.Sub(e.At) > AttemptsAge {
			old = append(old, rec.Seq)
			return nil
		}
		of := append(kept[rec.Subject], rec.Seq)
		if len(of) > most {
			old, of = append(old, of[0]), of[1:]
		}
		kept[rec.Subject] = of
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("trim refused attempts: %w", err)
	}
	if err := log.Delete(ctx, schemas.StreamControl, old); err != nil {
		return 0, fmt.Errorf("trim refused attempts: %w", err)
	}
	return len(old), nil
}
