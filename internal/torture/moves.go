package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/tenancy"
)

// movePoints are the crash points that only a tenant's move passes.
func movePoints() []failpoint.Point {
	return []failpoint.Point{
		failpoint.MoveBegun, failpoint.MoveCopied, failpoint.MovePaused, failpoint.MoveVerified, failpoint.MovePlaced, failpoint.MoveCleaned,
	}
}

// dieAtMove moves the last tenant to the place that it is not in, under load. The server
// dies on the way; whoever asks again finds the tenant moved, once.
func (a *Arena) dieAtMove(ctx context.Context, i *failpoint.Info) error {
	t := a.Tenants[len(a.Tenants)-1]
	ctx, cancel := context.WithTimeout(ctx, 2*reachMax)
	defer cancel()
	var is struct{ Isolation tenancy.Isolation }
	if err := a.Panda.API("").Ask(ctx, http.MethodGet, "/v1/tenants/"+t.ID, nil, &is); err != nil {
		return err
	}
	to, place := tenancy.IsolatedDatabase, a.Panda.own(t)
	if is.Isolation == to {
		to, place = tenancy.SharedDatabase, a.Panda.shared(t)
	}
	moved := make(chan error, 1)
	go func() { moved <- a.Panda.Move(ctx, t, to) }()
	if err := a.awaitDeath(ctx, i); err != nil {
		return err
	}
	if err := a.Panda.Start(ctx); err != nil {
		return err
	}
	if err := <-moved; err != nil {
		return err
	}
	stored, err := a.Panda.storedIn(ctx, t)
	if err != nil {
		return err
	}
	if len(stored) != 1 || stored[0] != place {
		err := fmt.Errorf("%w: %s was moved to %s and is stored in %v", ErrFound, t.Slug, place, stored)
		a.Round.Found(err)
		return err
	}
	return a.Panda.Kill()
}

// Move moves a tenant and returns when nothing of it is left where it was. It survives a
// server that dies on the way: it asks again until the answer is that it is done.
func (p *Panda) Move(ctx context.Context, t *Tenant, to tenancy.Isolation) error {
	const again = 200 * time.Millisecond
	body, err := json.Marshal(map[string]tenancy.Isolation{"to": to})
	if err != nil {
		return err
	}
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		answer, err := p.API("").Do(ctx, http.MethodPost, "/v1/tenants/"+t.ID+"/migrate", body)
		switch {
		case err != nil: // it died, or is not there yet
		case answer.Status == http.StatusOK:
			return nil
		case answer.Status == http.StatusAccepted, answer.Status == http.StatusConflict, answer.Status == http.StatusServiceUnavailable:
			// It goes on, or the server ends by itself what it has found begun.
		default:
			return fmt.Errorf("move %s: %w: %d: %s", t.Slug, ErrAnswer, answer.Status, answer.Body)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("move %s: %w", t.Slug, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}
