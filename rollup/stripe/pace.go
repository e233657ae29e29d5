package stripe

import (
	"context"
	"sync"

	"golang.org/x/time/rate"
)

// pace is how fast requests may go, for everything that uses one client. It halves when
// Stripe's limiter says no and comes back a little with each success.
type pace struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	most    rate.Limit
}

// perSecondDefault keeps below the 25 a second that an endpoint takes
// (docs.stripe.com/rate-limits).
const perSecondDefault = 20

func newPace(perSecond int) *pace {
	if perSecond <= 0 {
		perSecond = perSecondDefault
	}
	return &pace{limiter: rate.NewLimiter(rate.Limit(perSecond), 1), most: rate.Limit(perSecond)}
}

func (p *pace) wait(ctx context.Context) error { return p.limiter.Wait(ctx) }

// slower halves the pace, to one request in two seconds at the least.
func (p *pace) slower() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limiter.SetLimit(max(p.limiter.Limit()/2, 0.5))
}

// faster gives back a hundredth of the most.
func (p *pace) faster() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.limiter.Limit(); l < p.most {
		p.limiter.SetLimit(min(l+p.most/100, p.most))
	}
}
