package oidc

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// Verifier checks bearer tokens. It is safe for concurrent use.
type Verifier struct {
	cfg  Config
	sets map[string]*keySet // by issuer
	end  context.CancelFunc
}

// New returns a Verifier. It reads nothing yet: the keys come with Run, or with the
// first token that needs them.
//
// Errors: schemas.ErrInvalid with everything that is wrong with the configuration.
func New(cfg Config) (*Verifier, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configure sign-in: %w", err)
	}
	cfg.Issuers = slices.Clone(cfg.Issuers)
	ctx, cancel := context.WithCancel(context.Background())
	v := &Verifier{cfg: cfg, sets: map[string]*keySet{}, end: cancel}
	client := &http.Client{Transport: cfg.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for i := range cfg.Issuers {
		issuer := &v.cfg.Issuers[i]
		v.sets[issuer.URL] = &keySet{cfg: &v.cfg, issuer: issuer, client: client, ends: ctx}
	}
	return v, nil
}

// Run keeps the keys of every issuer fresh until the context ends. It returns nil
// and leaves nothing running. A Verifier is not run twice.
func (v *Verifier) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, s := range v.sets {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Wait()
	v.end()
	for _, s := range v.sets {
		s.idle()
	}
	return nil
}

// Verify returns who a token speaks for.
//
// Errors: *Error if the token is not good; schemas.ErrUnavailable if that cannot be
// said at the moment, because the keys of its issuer are not known.
func (v *Verifier) Verify(ctx context.Context, text string) (Identity, error) {
	t, err := parse(text, v.cfg.TokenBytesMax)
	if err != nil {
		return Identity{}, err
	}
	set, ok := v.sets[t.issuer]
	if !ok {
		return Identity{}, errIssuer()
	}
	candidates, err := set.find(ctx, &t)
	if err != nil {
		return Identity{}, err
	}
	for _, public := range candidates {
		if payload, err := t.jws.Verify(public); err == nil {
			return v.cfg.identity(set.issuer, payload)
		}
	}
	return Identity{}, &Error{CodeSignature, "the token's signature is not its issuer's; it was changed or made by somebody else"}
}
