package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentik-os/panda/schemas"
)

// keys are the usable keys of an issuer at one moment. An id is nearly always
// unique; where it is not, each key of the id is tried.
type keys struct {
	byID map[string][]key
	at   time.Time
}

// key is a public key with the one algorithm it is for, so that a token cannot
// choose how its key is used.
type key struct {
	algorithm jose.SignatureAlgorithm
	public    any
}

// keySet keeps the keys of one issuer. It is safe for concurrent use.
type keySet struct {
	cfg    *Config
	issuer *Issuer
	client *http.Client
	ends   context.Context // cuts off readings when Run ends

	known atomic.Pointer[keys] // nil before the first good answer

	mu      sync.Mutex // guards what follows
	reading *reading   // nil if nobody reads
	began   time.Time  // of the newest reading, for RetryEvery
	failing bool       // the newest reading failed, and the log says so
}

// reading is one attempt to read the keys, shared by all who wait for it.
type reading struct {
	done chan struct{} // closed when err is set
	err  error
}

// errTooSoon: the last reading is younger than RetryEvery.
var errTooSoon = errors.New("the keys were read a moment ago")

// find returns the keys that may have signed a token.
//
// Errors: *Error if the issuer has no such key, schemas.ErrUnavailable if nothing
// can be said about that.
func (s *keySet) find(ctx context.Context, t *token) ([]any, error) {
	if found := s.usable().with(t); len(found) > 0 {
		return found, nil
	}
	err := s.refresh(ctx)
	now := s.usable()
	if found := now.with(t); len(found) > 0 {
		return found, nil
	}
	if now == nil {
		return nil, fmt.Errorf("verify token: %w: the keys of %s are not known: %w", schemas.ErrUnavailable, s.issuer.URL, err)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("verify token: %w: wait for the keys of %s: %w", schemas.ErrUnavailable, s.issuer.URL, ctx.Err())
	}
	return nil, &Error{CodeKey, "the token's key is not one of its issuer's; get a new token"}
}

// usable returns the keys unless there are none or they are too old.
func (s *keySet) usable() *keys {
	k := s.known.Load()
	if k == nil || s.cfg.Now().Sub(k.at) > s.cfg.KeysAgeMax {
		return nil
	}
	return k
}

func (k *keys) with(t *token) (found []any) {
	if k == nil {
		return nil
	}
	for _, one := range k.byID[t.keyID] {
		if one.algorithm == t.algorithm {
			found = append(found, one.public)
		}
	}
	return found
}

// refresh reads the keys, or waits for whoever is reading them already.
func (s *keySet) refresh(ctx context.Context) error {
	s.mu.Lock()
	r := s.reading
	if r == nil {
		now := s.cfg.Now()
		if !s.began.IsZero() && now.Sub(s.began) < s.cfg.RetryEvery {
			s.mu.Unlock()
			return errTooSoon
		}
		r = &reading{done: make(chan struct{})}
		s.reading, s.began = r, now
		// A reading of its own, so that a caller who gives up does not end it for
		// the others.
		go s.read(r)
	}
	s.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *keySet) read(r *reading) {
	ctx, cancel := context.WithTimeout(s.ends, s.cfg.FetchTimeout)
	defer cancel()
	byID, err := s.fetch(ctx)
	if err == nil {
		s.known.Store(&keys{byID: byID, at: s.cfg.Now()})
	}
	s.mu.Lock()
	s.reading = nil
	wasFailing := s.failing
	s.failing = err != nil
	s.mu.Unlock()
	switch log := s.cfg.Logger; {
	case err != nil && !wasFailing && s.ends.Err() == nil:
		log.Warn().Err(err).Str("issuer", s.issuer.URL).Dur("retry_ms", s.cfg.RetryEvery).
			Msg("keys of an issuer could not be read, those known go on working")
	case err == nil && wasFailing:
		log.Info().Str("issuer", s.issuer.URL).Int("key_ids", len(byID)).Msg("keys of an issuer can be read again")
	}
	r.err = err
	close(r.done)
}

// run reads the keys until the context ends.
func (s *keySet) run(ctx context.Context) {
	for {
		wait := s.cfg.RefreshEvery
		if err := s.refresh(ctx); err != nil {
			wait = s.cfg.RetryEvery
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// idle waits until nobody reads.
func (s *keySet) idle() {
	s.mu.Lock()
	r := s.reading
	s.mu.Unlock()
	if r != nil {
		<-r.done
	}
}
