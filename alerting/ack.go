package alerting

import (
	"context"
	"fmt"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// Ack notes that a person has taken note of an alert that fires, and returns the position
// of that note on DECISIONS. The first one who does stands for the episode, for ever;
// fired again, it is nobody's until somebody acks that.
//
// Errors: schemas.ErrConflict for an alert that does not fire, schemas.ErrUnavailable
// (it may be noted or not; ack again).
func (d *Decider) Ack(ctx context.Context, a *Alert, actor string, at time.Time) (seq uint64, err error) {
	if a.State != Firing {
		return 0, fmt.Errorf("ack alert %s: %w: it is %s, and there is nothing to take note of", a.ID, schemas.ErrConflict, a.State)
	}
	r := Record{Alert: a.ID, Episode: a.Episode, Kind: Acked, Identity: a.Identity, Severity: a.Severity, At: at.UTC(), Actor: actor}
	_, seq, err = d.decide(ctx, &r)
	return seq, err
}
