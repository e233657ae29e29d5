package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/agentik-os/panda/internal/api"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/rollup/bill"
	"github.com/agentik-os/panda/schemas"
)

// billingJob is the name of the job that closes months.
const billingJob = "billing"

func (s *shard) newBilling() (*rollup.Billing, error) {
	card, err := bill.DefaultRates()
	if err != nil {
		return nil, err
	}
	return rollup.NewBilling(rollup.BillingConfig{
		PlanVersion: card.Version, Places: s.placement,
		Spans: func(tenant string, month schemas.Window) ([]bill.Span, error) {
			return api.SpansOf(s.p.registry.Terms(tenant), card, month)
		},
	}, s.db, s.p.log), nil
}

// closeMonths seals the months whose grace has passed, of every tenant. One whose month
// cannot be closed holds nobody else up.
func (p *pipeline) closeMonths(ctx context.Context) (string, error) {
	closed := 0
	var errs []error
	for _, t := range p.registry.List() {
		if t.Status == tenancy.StatusErased {
			continue
		}
		n, err := p.of(t.ID).billing.CloseDue(ctx, t.ID)
		closed += n
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.Slug, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Sprintf("%d months closed", closed), errors.Join(errs...)
}
