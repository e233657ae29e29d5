package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// The jobs and ports of the registry of tenants.

// trialsJob is the name of the job that ends trials.
const trialsJob = "trials"

// endTrials ends the trials that are over: who has a customer at Stripe goes on as an
// active tenant, the others are suspended until somebody decides.
func (p *pipeline) endTrials(ctx context.Context) (string, error) {
	by := tenancy.Actor{ID: "system:" + trialsJob}
	activated, suspended := 0, 0
	for _, t := range p.registry.TrialsOver(time.Now()) {
		var err error
		if t.StripeCustomerID != "" {
			_, err = p.registry.Activate(ctx, by, t.ID, t.Revision)
			activated++
		} else {
			_, err = p.registry.Suspend(ctx, by, t.ID, t.Revision, fmt.Sprintf("the trial of %d days is over", tenancy.TrialDays))
			suspended++
		}
		// Somebody who decided at the same moment has decided.
		if err != nil && !errors.Is(err, schemas.ErrConflict) {
			return "", err
		}
	}
	return fmt.Sprintf("%d activated, %d suspended", activated, suspended), nil
}

// spent is what a tenant's current month has cost so far, false while that is not
// known.
func (p *pipeline) spent(tenantID string) (schemas.Money, bool) {
	if p.ready() != nil {
		return schemas.Money{}, false
	}
	totals, _, ok := p.of(tenantID).live.Totals(tenantID, schemas.WindowOf(schemas.GrainMonth, time.Now()))
	return totals.Cost, ok
}
