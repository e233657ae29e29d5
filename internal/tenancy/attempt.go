package tenancy

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/eventlog"
)

// An Attempt is something that was asked for and refused.
type Attempt struct {
	// By is who asked; ID is "" when nobody was authenticated.
	By Actor
	// TenantID is the tenant of the credential, "" for the platform or nobody. It is
	// never the tenant that was asked about: that would tell one tenant of another.
	TenantID string
	// Action is the route, such as "PATCH /v1/tenants/{tenant}".
	Action string
	// Code is that of the refusal. Detail says more, and holds nothing that the caller
	// sent but what the refusal told them.
	Code, Detail string
}

// attemptKey is what makes two attempts the same.
type attemptKey struct {
	by                Actor
	tenant, act, code string
}

// Attempts writes refused attempts into the audit log, the same ones at most once a
// minute with their number, so that who asks again and again cannot fill the log. What
// is not written when the process dies is lost: an attempt has changed nothing.
type Attempts struct {
	log    Log
	now    func() time.Time
	logger zerolog.Logger
	in     chan Attempt
}

// Limits of Attempts.
const (
	attemptEvery = time.Minute
	// attemptsMax bounds the different attempts of a minute; more are counted as one
	// of nobody's.
	attemptsMax = 200
	// attemptsQueue bounds those that wait; more are dropped.
	attemptsQueue = 1000
	// attemptFlush is how soon a first attempt is in the audit log.
	attemptFlush = time.Second
)

// NewAttempts returns Attempts that keep what they are told until Run.
func NewAttempts(log Log, logger zerolog.Logger) *Attempts {
	return &Attempts{log: log, now: time.Now, logger: logger, in: make(chan Attempt, attemptsQueue)}
}

// Note takes an attempt. It does not wait.
func (a *Attempts) Note(t Attempt) {
	select {
	case a.in <- t:
	default: // a flood; its beginning is in the log
	}
}

// pending is an attempt that is counted.
type pending struct {
	Attempt
	times   int
	written time.Time // of its last record, zero before the first
}

// Run writes until ctx ends, then returns nil.
func (a *Attempts) Run(ctx context.Context) error {
	tick := time.NewTicker(attemptFlush)
	defer tick.Stop()
	counts := map[attemptKey]*pending{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-a.in:
			if t.By.ID == "" {
				// Who is nobody cannot be told apart, and must not crowd out those who are
				// somebody: one record per code.
				t.By, t.Action = Actor{}, ""
			}
			key := attemptKey{t.By, t.TenantID, t.Action, t.Code}
			if counts[key] == nil && len(counts) >= attemptsMax {
				t.By, t.Action, t.Detail = Actor{}, "", "more attempts than are told apart"
				key = attemptKey{tenant: t.TenantID, code: t.Code}
			}
			p := counts[key]
			if p == nil {
				p = &pending{}
				counts[key] = p
			}
			p.Attempt = t
			p.times++
		case <-tick.C:
			a.flush(ctx, counts)
		}
	}
}

// flush writes what is new, and what was repeated for a minute.
func (a *Attempts) flush(ctx context.Context, counts map[attemptKey]*pending) {
	now := a.now()
	for key, p := range counts {
		old := now.Sub(p.written) >= attemptEvery
		switch {
		case p.times == 0 && old:
			delete(counts, key)
		case p.times > 0 && old:
			if err := a.write(ctx, p, now); err != nil {
				a.logger.Warn().Err(err).Str("action", p.Action).Str("code", p.Code).Msg("refused attempt is not in the audit log yet")
				return
			}
			p.times, p.written = 0, now
		}
	}
}

func (a *Attempts) write(ctx context.Context, p *pending, now time.Time) error {
	e := event{Version: eventVersion, Type: typeAttempt, ID: uuid.NewString(), At: clockOf(now), Actor: p.By.ID, IP: p.By.IP,
		TenantID: p.TenantID, Changes: map[string]change{"route": {To: p.Action}, "code": {To: p.Code}}, Detail: p.Detail, Times: p.times}
	data, err := json.Marshal(e)
	if err != nil {
		panic("tenancy: an event that does not encode: " + err.Error())
	}
	owner := p.TenantID
	if owner == "" {
		owner = ownerPlatform
	}
	_, err = a.log.Append(ctx, eventlog.Message{Subject: subjectAttempt + owner, ID: e.ID, Data: data})
	return err
}
