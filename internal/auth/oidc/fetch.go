package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// fetch reads the keys of the issuer.
func (s *keySet) fetch(ctx context.Context) (map[string][]key, error) {
	from := s.issuer.JWKSURL
	if from == "" {
		var err error
		if from, err = s.discover(ctx); err != nil {
			return nil, fmt.Errorf("read discovery document: %w", err)
		}
	}
	body, err := s.get(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	byID, err := parseKeys(body, s.cfg.KeysMax)
	if err != nil {
		return nil, fmt.Errorf("read keys from %s: %w", from, err)
	}
	return byID, nil
}

// discover returns the address of the keys (OpenID Connect Discovery, 4).
func (s *keySet) discover(ctx context.Context) (string, error) {
	body, err := s.get(ctx, strings.TrimSuffix(s.issuer.URL, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return "", fmt.Errorf("it is no JSON object: %w", err)
	}
	if document.Issuer != s.issuer.URL {
		return "", fmt.Errorf("it is of the issuer %q; configure the issuer with exactly this text if it is the right one", document.Issuer)
	}
	at, err := url.Parse(document.JWKSURI)
	if err != nil || !fetchable(at, strings.HasPrefix(s.issuer.URL, "http:")) {
		return "", fmt.Errorf("jwks_uri %q is not an https address", document.JWKSURI)
	}
	return document.JWKSURI, nil
}

// get reads one document. Redirects are answers like others, and not good ones.
func (s *keySet) get(ctx context.Context, from string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", from, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, s.cfg.AnswerBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	if int64(len(body)) > s.cfg.AnswerBytesMax {
		return nil, fmt.Errorf("%s answered with more than %d bytes", from, s.cfg.AnswerBytesMax)
	}
	return body, nil
}

// parseKeys returns the keys of a set (RFC 7517, 5) that can be used here. Others
// are passed over, as the RFC asks for; a set without any is an error, so that a
// broken answer does not replace good keys.
func parseKeys(body []byte, keysMax int) (map[string][]key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("this is no set of keys: %w", err)
	}
	if len(set.Keys) > keysMax {
		return nil, fmt.Errorf("%d keys; at most %d", len(set.Keys), keysMax)
	}
	byID := map[string][]key{}
	for _, raw := range set.Keys {
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(raw) != nil || jwk.KeyID == "" || len(jwk.KeyID) > keyIDCharsMax || jwk.Use != "" && jwk.Use != "sig" {
			continue
		}
		if alg := algorithmOf(jwk.Key); alg != "" && fits(alg, jwk.Algorithm) {
			byID[jwk.KeyID] = append(byID[jwk.KeyID], key{alg, jwk.Key})
		}
	}
	if len(byID) == 0 {
		return nil, errors.New("it holds no key for RS256, ES256 or EdDSA that has an id")
	}
	return byID, nil
}

// The sizes of RSA keys, in bits: shorter ones are not safe (RFC 7518, 3.3), and
// verifying with longer ones takes time that a stranger could spend for us.
const (
	rsaBitsMin = 2048
	rsaBitsMax = 8192
)

// algorithmOf returns the one algorithm that a key is used with here, "" if none.
// Private and symmetric keys have none: in a set that everybody reads they are no
// secret, and so no proof.
func algorithmOf(public any) jose.SignatureAlgorithm {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits >= rsaBitsMin && bits <= rsaBitsMax && k.E >= 3 {
			return jose.RS256
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jose.ES256
		}
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return jose.EdDSA
		}
	}
	return ""
}

// fits reports whether what a key says of its algorithm allows the one we use.
// RFC 9864 gave EdDSA with this curve a name of its own.
func fits(alg jose.SignatureAlgorithm, said string) bool {
	return said == "" || said == string(alg) || alg == jose.EdDSA && said == "Ed25519"
}
