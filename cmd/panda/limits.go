package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/ratelimit"
	"github.com/agentik-os/panda/internal/tenancy"
)

// What a tenant may do at the doors: whether it is served, how often it may call,
// and the end of its connections when that changes.

// limitCalls counts an HTTP request. The platform is not limited.
func (p *pipeline) limitCalls(scope tenancy.Scope) ratelimit.State {
	if scope.IsPlatform() {
		return ratelimit.State{}
	}
	return p.takeCall(scope.TenantID())
}

// takeCall counts a call of a tenant, and tells alerts when it is near its limit.
func (p *pipeline) takeCall(tenant string) ratelimit.State {
	state := p.limiter.Take(tenant, p.callsPerMinute(tenant))
	p.alerts.source.peaks.note(tenant, &state, time.Now())
	return state
}

func (p *pipeline) callsPerMinute(tenant string) int64 {
	t, ok := p.registry.ByID(tenant)
	if !ok {
		return int64(tenancy.Unlimited) // it is not let in anywhere
	}
	return int64(p.registry.Quotas(&t).MaxAPICallsPerMinute)
}

// calls returns how many calls count against a tenant's present minute.
func (p *pipeline) calls(tenant string) int64 {
	state := p.limiter.Look(tenant, p.callsPerMinute(tenant))
	return state.Used
}

// served refuses the usage of a tenant whose access has ended. Whoever asks has
// proven to be its runtime, or is the platform.
func (p *pipeline) served(tenant string) error {
	if t, ok := p.registry.ByID(tenant); ok && !t.Served() {
		return httpapi.Problem{Status: http.StatusForbidden, Code: auth.CodeTenantSuspended,
			Detail: fmt.Sprintf("the tenant is %s; its usage is not taken in until that ends", t.Status)}
	}
	return nil
}

// mayStore asks once more, right before events go on the log, whether who sent
// them may still do so: reading them may have taken half a minute.
func (p *pipeline) mayStore(scope tenancy.Scope, tenant string) error {
	if err := p.served(tenant); err != nil {
		return err
	}
	ended := httpapi.Problem{Status: http.StatusUnauthorized, Code: auth.CodeKeyRevoked,
		Detail: "this credential was revoked while the events were read; nothing is stored"}
	if id, ok := strings.CutPrefix(scope.Actor(), "key:"); ok {
		if key, known := p.registry.KeyByID(id); !known || !key.Works(time.Now()) {
			return ended
		}
	}
	if id, ok := strings.CutPrefix(scope.Actor(), "user:mem_"); ok {
		if _, member := p.registry.MemberByID(scope.TenantID(), "mem_"+id); !member {
			return ended
		}
	}
	return nil
}

// servedDirect is served for a message of a runtime that speaks NATS.
func (p *pipeline) servedDirect(tenant string) error {
	if err := p.served(tenant); err != nil {
		problem := httpapi.ProblemOf(err)
		return &eventlog.Refusal{Code: problem.Status, Description: problem.Detail}
	}
	return nil
}

// admitDirect is admit for a message of a runtime that speaks NATS: it is a call
// like one over HTTP, and the refusal says what the runtime has to know.
func (p *pipeline) admitDirect(tenant string) error {
	if err := p.servedDirect(tenant); err != nil {
		return err
	}
	if state := p.takeCall(tenant); state.Refused {
		problem := httpapi.RateLimited(&state)
		return &eventlog.Refusal{Code: problem.Status,
			Description: fmt.Sprintf("%s Send again in %s.", problem.Detail, state.Next.Round(time.Millisecond))}
	}
	_, err := p.admit(tenant)
	return err
}

// directKeys are the keys that NATS connections were opened with. A connection
// outlives the check of its key, so it is ended when the key or its tenant's access
// is.
type directKeys struct {
	mu   sync.Mutex // guards used
	used map[string]map[string]*keyUse
}

type keyUse struct {
	opened time.Time // when it opened a connection last
	ended  int       // how often the tenant's connections were ended for it
}

const (
	// connectMax is the longest that a connection may take from the check of its key
	// until it is listed.
	connectMax = 30 * time.Second
	// endTimes is how often a tenant's connections are ended for a key: once, and once
	// more for one that was about to be opened. Those with other keys come back.
	endTimes = 2
)

// opened notes a key that opens a connection of a tenant.
func (d *directKeys) opened(tenant, key string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.used == nil {
		d.used = map[string]map[string]*keyUse{}
	}
	if d.used[tenant] == nil {
		d.used[tenant] = map[string]*keyUse{}
	}
	d.used[tenant][key] = &keyUse{opened: now}
}

// ended returns which of the connected tenants have a connection that must end, by
// what works says of a key, and forgets who is gone.
func (d *directKeys) ended(connected []string, now time.Time, works func(tenant, key string) bool) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ended []string
	for tenant, keys := range d.used {
		open, must := slices.Contains(connected, tenant), false
		for key, use := range keys {
			switch {
			case open && !works(tenant, key):
				must = true
				if use.ended++; use.ended == endTimes {
					delete(keys, key)
				}
			case !open && now.Sub(use.opened) > connectMax:
				delete(keys, key)
			}
		}
		if must {
			ended = append(ended, tenant)
		}
		if len(keys) == 0 {
			delete(d.used, tenant)
		}
	}
	return ended
}

// directEvery is how often connections are held against the registry: with the
// time that a decision takes to be known here, well within a second.
const directEvery = 250 * time.Millisecond

// watchDirect ends connections whose key was revoked or whose tenant is not served
// any more, until ctx ends.
func (p *pipeline) watchDirect(ctx context.Context) error {
	tick := time.NewTicker(directEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		for _, tenant := range p.direct.ended(p.log.Connected(), now, func(tenant, id string) bool {
			t, known := p.registry.ByID(tenant)
			key, found := p.registry.KeyByID(id)
			return known && t.Served() && found && key.Works(now)
		}) {
			if err := p.log.Disconnect(tenant); err != nil && !errors.Is(err, context.Canceled) {
				p.logger.Warn().Err(err).Str("tenant", tenant).Msg("connections of a tenant could not be ended, trying again")
			}
		}
	}
}
