package oidc

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// algorithms are the signatures that count. All are asymmetric: with an HMAC the
// issuer's public key would be a secret that everybody has.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}

// types are the values of typ, in lower case, of tokens that say who somebody is.
// Others are signed with the same keys and mean something else, such as a
// logout+jwt (RFC 8725, 3.11).
var types = []string{"", "jwt", "at+jwt", "application/at+jwt"}

// forbidden are header members that would let a token choose its key (RFC 7515,
// 4.1.2 to 4.1.6) or the way it is read.
var forbidden = []string{"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"}

// keyIDCharsMax bounds a key id; the longest in use are SHA-256 thumbprints.
const keyIDCharsMax = 256

// token is a JWT of the right form whose signature was not looked at yet.
type token struct {
	jws       *jose.JSONWebSignature
	algorithm jose.SignatureAlgorithm
	keyID     string
	// issuer is what the token says of itself: good for choosing the keys and for
	// nothing else.
	issuer string
}

// parse reads a token without believing it.
func parse(text string, bytesMax int) (token, error) {
	if len(text) > bytesMax {
		return token{}, malformed("the token is too long")
	}
	header, err := parts(text)
	if err != nil {
		return token{}, err
	}
	// The members are read before the library does, because it takes their values
	// apart (certificates, keys) before anybody can refuse them.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(header, &members); err != nil {
		return token{}, malformed("the token's header is no JSON object, or names a member twice")
	}
	for _, name := range forbidden {
		if _, ok := members[name]; ok {
			return token{}, malformed("the token's header holds " + name + "; a token does not choose its key or how it is read")
		}
	}
	var kind string
	if raw, ok := members["typ"]; ok && json.Unmarshal(raw, &kind) != nil || !slices.Contains(types, strings.ToLower(kind)) {
		return token{}, malformed("the token's type is not one that says who somebody is; send an ID token or an access token")
	}
	jws, err := jose.ParseSignedCompact(text, algorithms)
	var other *jose.ErrUnexpectedSignatureAlgorithm
	if errors.As(err, &other) {
		return token{}, &Error{CodeAlgorithm, "the token is not signed with RS256, ES256 or EdDSA; configure one of them at the issuer"}
	}
	if err != nil || len(jws.Signatures) != 1 {
		return token{}, malformed("this is not a token in the compact form of a JWT")
	}
	protected := jws.Signatures[0].Protected
	if protected.KeyID == "" || len(protected.KeyID) > keyIDCharsMax {
		return token{}, malformed("the token does not name its key (kid)")
	}
	var claimed struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claimed); err != nil {
		return token{}, malformed("the token's claims are no JSON object, or name a claim twice")
	}
	return token{jws: jws, algorithm: jose.SignatureAlgorithm(protected.Algorithm), keyID: protected.KeyID,
		issuer: claimed.Issuer}, nil
}

// parts checks that a text is three parts of base64url, each in its one correct
// spelling, and returns the first. That leaves no room for the JSON form of a JWS,
// which may carry several signatures, nor for encrypted tokens.
func parts(text string) (header []byte, err error) {
	list := strings.Split(text, ".")
	if len(list) != 3 {
		return nil, malformed("this is not a token in the compact form of a JWT: three parts with dots between")
	}
	for i, part := range list {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(raw) == 0 || strings.ContainsAny(part, "\r\n") {
			return nil, malformed("a part of the token is empty or no base64url; it may have been cut off")
		}
		if i == 0 {
			header = raw
		}
	}
	return header, nil
}
