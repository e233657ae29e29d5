package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/http"
	"strings"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/auth/oidc"
	"github.com/agentik-os/panda/internal/httpapi"
)

// How people sign in, from the settings.

// tokens returns what verifies the tokens of people, nil where nobody signs in.
func (p *pipeline) tokens() (*oidc.Verifier, error) {
	if p.cfg.OIDCIssuer == "" {
		return nil, nil
	}
	return oidc.New(oidc.Config{
		Issuers: []oidc.Issuer{{URL: p.cfg.OIDCIssuer, Audiences: commaList(p.cfg.OIDCAudiences), AuthorizedParties: commaList(p.cfg.OIDCParties)}},
		Logger:  p.logger.With().Str("part", "oidc").Logger(),
	})
}

// admins are the people who administer the platform.
func (p *pipeline) admins() (people []auth.Person) {
	for _, subject := range commaList(p.cfg.OIDCAdmins) {
		people = append(people, auth.Person{Issuer: p.cfg.OIDCIssuer, Subject: subject})
	}
	return people
}

// commaList takes a list apart that is written with commas between.
func commaList(text string) (list []string) {
	for _, word := range strings.Split(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			list = append(list, word)
		}
	}
	return list
}

// keyFor derives a key of its own for each use from the deployment's secret.
func (p *pipeline) keyFor(use string) []byte {
	mac := hmac.New(sha256.New, p.signing)
	mac.Write([]byte("panda key for " + use))
	return mac.Sum(nil)
}

// identify says who signed in, nil where nobody does.
func (p *pipeline) identify() func(*http.Request) (httpapi.Person, error) {
	if p.cfg.OIDCIssuer == "" {
		return nil
	}
	return func(r *http.Request) (httpapi.Person, error) {
		who, err := p.keys.Identify(r)
		return httpapi.Person{Issuer: who.Issuer, Subject: who.Subject, Email: who.Email}, err
	}
}
