package oidc

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentik-os/panda/internal/auth/oidc/oidctest"
)

// valid are claims that are let in.
func valid(p *oidctest.Provider, now time.Time) map[string]any {
	return map[string]any{"iss": p.URL, "sub": "user_ada", "aud": oidctest.ClientID, "azp": oidctest.ClientID,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"o": map[string]any{"id": "org_acme", "rol": "admin"}}
}

// with returns a copy with one entry changed; a nil value leaves it out.
func with(m map[string]any, name string, value any) map[string]any {
	m = maps.Clone(m)
	m[name] = value
	if value == nil {
		delete(m, name)
	}
	return m
}

// arena is a provider and somebody who attacks it, with keys of both.
type arena struct {
	*oidctest.Provider
	key      *oidctest.Key // signs for the provider
	attacker *oidctest.Key
	now      time.Time
}

func newArena(t testing.TB) arena {
	p := oidctest.Start(t)
	return arena{p, p.Signing(), oidctest.NewKey(t, jose.RS256), time.Now()}
}

type attempt struct {
	token string
	code  string // "" is let in
}

// attemptsOnHeader are tokens whose header is the matter; where the provider's key
// signs, it signs for real.
func attemptsOnHeader(t testing.TB, a arena) map[string]attempt {
	claims, header := valid(a.Provider, a.now), a.key.Header()
	signed := func(header any) string { return a.key.Sign(t, header, claims) }
	der, err := x509.MarshalPKIXPublicKey(a.key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	none := func(alg string) string {
		raw, _ := json.Marshal(with(header, "alg", alg))
		body, _ := json.Marshal(claims)
		return base64.RawURLEncoding.EncodeToString(raw) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
	}
	signature := func(token string) string { return token[strings.LastIndex(token, ".")+1:] }
	own := a.attacker.Header()
	own["kid"] = a.key.ID
	elliptic := oidctest.NewKey(t, jose.ES256)
	elliptic.ID = a.key.ID
	jwk := map[string]any{"kty": "RSA", "alg": "RS256", "kid": a.key.ID, "e": "AQAB",
		"n": base64.RawURLEncoding.EncodeToString(a.attacker.Private.Public().(*rsa.PublicKey).N.Bytes())}
	return map[string]attempt{
		"as it should be":   {signed(header), ""},
		"typ of RFC 9068":   {signed(with(header, "typ", "at+JWT")), ""},
		"no typ":            {signed(with(header, "typ", nil)), ""},
		"unknown member":    {signed(with(header, "cat", "cl_B7d4PD111AAA")), ""},
		"alg none":          {none("none"), CodeMalformed},
		"alg None":          {none("None"), CodeMalformed},
		"alg none, signed":  {none("none") + signature(signed(header)), CodeAlgorithm},
		"alg missing":       {signed(with(header, "alg", nil)), CodeAlgorithm},
		"HS256, key as PEM": {oidctest.SignHMAC(t, block, with(header, "alg", "HS256"), claims), CodeAlgorithm},
		"HS256, key as DER": {oidctest.SignHMAC(t, der, with(header, "alg", "HS256"), claims), CodeAlgorithm},
		"HS256 as RS256":    {oidctest.SignHMAC(t, block, header, claims), CodeSignature},
		"HS512":             {oidctest.SignHMAC(t, block, with(header, "alg", "HS512"), claims), CodeAlgorithm},
		"RS512":             {signed(with(header, "alg", "RS512")), CodeAlgorithm},
		"PS256":             {signed(with(header, "alg", "PS256")), CodeAlgorithm},
		"alg in lower case": {signed(with(header, "alg", "rs256")), CodeAlgorithm},
		// The key with this id is for RS256, so there is none for ES256.
		"another algorithm than the key's": {signed(with(header, "alg", "ES256")), CodeKey},

		"unknown kid":           {signed(with(header, "kid", "somebody")), CodeKey},
		"no kid":                {signed(with(header, "kid", nil)), CodeMalformed},
		"empty kid":             {signed(with(header, "kid", "")), CodeMalformed},
		"kid is a number":       {signed(with(header, "kid", 7)), CodeMalformed},
		"kid is a path":         {oidctest.SignHMAC(t, nil, with(with(header, "kid", "../../../../dev/null"), "alg", "HS256"), claims), CodeAlgorithm},
		"kid is a path, signed": {a.attacker.Sign(t, with(own, "kid", "../../../../etc/ssl/certs/ca.pem"), claims), CodeKey},
		"kid is an address":     {a.attacker.Sign(t, with(own, "kid", a.URL+"/attacker/keys"), claims), CodeKey},
		"kid is SQL":            {a.attacker.Sign(t, with(own, "kid", "' UNION SELECT 'key"), claims), CodeKey},
		"kid is huge":           {signed(with(header, "kid", strings.Repeat("k", 300))), CodeMalformed},
		"key of a stranger":     {a.attacker.Sign(t, own, claims), CodeSignature},

		"jku":                    {a.attacker.Sign(t, with(own, "jku", a.URL+"/attacker/keys"), claims), CodeMalformed},
		"jku by the issuer":      {signed(with(header, "jku", a.JWKSURL())), CodeMalformed},
		"x5u":                    {a.attacker.Sign(t, with(own, "x5u", a.URL+"/attacker/cert"), claims), CodeMalformed},
		"jwk":                    {a.attacker.Sign(t, with(own, "jwk", jwk), claims), CodeMalformed},
		"jwk without kid":        {a.attacker.Sign(t, with(with(own, "jwk", jwk), "kid", nil), claims), CodeMalformed},
		"x5c":                    {a.attacker.Sign(t, with(own, "x5c", []string{base64.StdEncoding.EncodeToString(der)}), claims), CodeMalformed},
		"crit":                   {signed(with(with(header, "crit", []string{"exp"}), "exp", 1)), CodeMalformed},
		"payload not encoded":    {signed(with(with(header, "crit", []string{"b64"}), "b64", false)), CodeMalformed},
		"compressed":             {signed(with(header, "zip", "DEF")), CodeMalformed},
		"logout token":           {signed(with(header, "typ", "logout+jwt")), CodeMalformed},
		"proof of possession":    {signed(with(header, "typ", "dpop+jwt")), CodeMalformed},
		"typ is a number":        {signed(with(header, "typ", 1)), CodeMalformed},
		"kid twice":              {signed(`{"alg":"RS256","kid":"` + a.key.ID + `","kid":"other"}`), CodeMalformed},
		"alg twice":              {signed(`{"alg":"none","alg":"RS256","kid":"` + a.key.ID + `"}`), CodeMalformed},
		"header is no object":    {signed(`["RS256"]`), CodeMalformed},
		"header with a tail":     {signed(`{"alg":"RS256","kid":"` + a.key.ID + `"}{}`), CodeMalformed},
		"key id of another kind": {elliptic.Sign(t, elliptic.Header(), claims), CodeKey},
		"header of another sort": {signed(""), CodeMalformed},
	}
}

// attemptsOnClaims are tokens that the provider's key has signed.
func attemptsOnClaims(t testing.TB, a arena) map[string]attempt {
	base := valid(a.Provider, a.now)
	signed := func(claims any) string { return a.key.Sign(t, a.key.Header(), claims) }
	change := func(name string, value any) string { return signed(with(base, name, value)) }
	at := func(d time.Duration) int64 { return a.now.Add(d).Unix() }
	noOrg := with(base, "o", nil)
	v1 := func(id any, role any) map[string]any { return with(with(noOrg, "org_id", id), "org_role", role) }
	both := func(id string, role any) map[string]any { return with(with(base, "org_id", id), "org_role", role) }
	raw, _ := json.Marshal(base)
	text := string(raw)
	return map[string]attempt{
		"wrong iss":            {change("iss", "https://attacker.example"), CodeIssuer},
		"iss with a slash":     {change("iss", a.URL+"/"), CodeIssuer},
		"iss in upper case":    {change("iss", strings.ToUpper(a.URL)), CodeIssuer},
		"no iss":               {change("iss", nil), CodeIssuer},
		"iss is a list":        {change("iss", []string{a.URL}), CodeMalformed},
		"iss under other case": {signed(strings.Replace(text, `"iss"`, `"ISS"`, 1)), CodeIssuer},
		"iss twice":            {signed(`{"iss":"https://attacker.example",` + text[1:]), CodeMalformed},

		"wrong aud":         {change("aud", "another-application"), CodeAudience},
		"aud of others":     {change("aud", []string{"a", "b"}), CodeAudience},
		"aud among others":  {change("aud", []string{"a", oidctest.ClientID}), ""},
		"second audience":   {change("aud", "https://api.panda.example"), ""},
		"aud is a part":     {change("aud", oidctest.ClientID[:5]), CodeAudience},
		"no aud":            {change("aud", nil), CodeAudience},
		"empty aud":         {change("aud", []string{}), CodeAudience},
		"aud is an object":  {change("aud", map[string]any{"a": 1}), CodeMalformed},
		"aud is null":       {signed(strings.Replace(text, `"aud":"`+oidctest.ClientID+`"`, `"aud":null`, 1)), CodeMalformed},
		"wrong azp":         {change("azp", "https://attacker.example"), CodeParty},
		"no azp":            {change("azp", nil), CodeParty},
		"azp is a list":     {change("azp", []string{oidctest.ClientID}), CodeMalformed},
		"azp for aud":       {signed(with(with(base, "aud", "x"), "azp", oidctest.ClientID)), CodeAudience},
		"payload is a list": {signed("[1]"), CodeMalformed},
		"payload is null":   {signed("null"), CodeIssuer},
		"payload has tail":  {signed(text + "{}"), CodeMalformed},
		"payload not UTF-8": {signed(strings.Replace(text, "user_ada", "user_\xff", 1)), CodeMalformed},
		"very deep":         {signed(`{"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "," + text[1:]), ""},

		"expired":               {change("exp", at(-time.Minute)), CodeExpired},
		"expired within leeway": {change("exp", at(-20*time.Second)), ""},
		"expired at leeway":     {change("exp", at(-31*time.Second)), CodeExpired},
		"no exp":                {change("exp", nil), CodeMalformed},
		"exp is text":           {change("exp", "4102444800"), CodeMalformed},
		"exp is null":           {signed(strings.Replace(text, `"exp":`, `"exp":null,"e":`, 1)), CodeMalformed},
		"exp out of range":      {signed(strings.Replace(text, `"exp":`, `"exp":1e300,"e":`, 1)), CodeMalformed},
		"exp in far future":     {change("exp", at(25*time.Hour)), CodeLifetime},
		"exp at end of time":    {change("exp", int64(1)<<61), CodeLifetime},
		"exp before the epoch":  {change("exp", -1), CodeExpired},
		"iat in milliseconds":   {change("iat", a.now.UnixMilli()), CodeNotYetValid},
		"issued in the future":  {change("iat", at(time.Minute)), CodeNotYetValid},
		"issued within leeway":  {change("iat", at(20*time.Second)), ""},
		"issued long ago":       {change("iat", at(-48*time.Hour)), CodeLifetime},
		"issued before time":    {change("iat", -(int64(1) << 61)), CodeLifetime},
		"no iat":                {change("iat", nil), CodeMalformed},
		"not before":            {change("nbf", at(time.Minute)), CodeNotYetValid},
		"not before, leeway":    {change("nbf", at(20*time.Second)), ""},
		"not before is text":    {change("nbf", "x"), CodeMalformed},
		"no nbf":                {change("nbf", nil), ""},

		"no sub":                {change("sub", nil), CodeMalformed},
		"empty sub":             {change("sub", ""), CodeMalformed},
		"sub is a number":       {change("sub", 7), CodeMalformed},
		"long sub":              {change("sub", strings.Repeat("s", 256)), CodeMalformed},
		"sub with a line break": {change("sub", "user_ada\nuser_eve"), CodeMalformed},
		"sub with a zero":       {change("sub", "user_ada\x00"), CodeMalformed},
		"sub with half a rune":  {signed(strings.Replace(text, "user_ada", `user_\ud800`, 1)), CodeMalformed},
		"sub twice":             {signed(`{"sub":"user_eve",` + text[1:]), CodeMalformed},
		"pending session":       {change("sts", "pending"), CodeSession},
		"active session":        {change("sts", "active"), ""},
		"acts for somebody":     {change("act", map[string]any{"sub": "support"}), CodeSession},
		"email is a list":       {change("email", []string{"a@b.example"}), CodeMalformed},

		"no organisation":              {signed(noOrg), ""},
		"organisation, version 1":      {signed(v1("org_acme", "org:admin")), ""},
		"both, alike":                  {signed(both("org_acme", "org:admin")), ""},
		"both, no role in version 1":   {signed(both("org_acme", nil)), ""},
		"both, another organisation":   {signed(both("org_evil", "org:admin")), CodeOrganisation},
		"both, another role":           {signed(both("org_acme", "org:member")), CodeOrganisation},
		"both, version 1 empty":        {signed(both("", nil)), CodeOrganisation},
		"organisation as text":         {change("o", "org_acme"), CodeMalformed},
		"organisation without id":      {change("o", map[string]any{"rol": "admin"}), CodeMalformed},
		"organisation, id is a number": {change("o", map[string]any{"id": 7}), CodeMalformed},
		"organisation, id in capitals": {change("o", map[string]any{"ID": "org_acme"}), CodeMalformed},
		"organisation twice":           {signed(`{"o":{"id":"org_evil"},` + text[1:]), CodeMalformed},
		"organisation's id twice":      {signed(strings.Replace(text, `"o":{`, `"o":{"id":"org_evil",`, 1)), CodeMalformed},
		"organisation is a list":       {signed(v1([]string{"org_acme"}, nil)), CodeMalformed},
		"organisation's name is long":  {signed(v1(strings.Repeat("o", 256), nil)), CodeMalformed},
	}
}

// attemptsOnForm are texts that are no token, or one that was changed afterwards.
func attemptsOnForm(t testing.TB, a arena) map[string]attempt {
	claims, header := valid(a.Provider, a.now), a.key.Header()
	good := a.key.Sign(t, header, claims)
	own := a.attacker.Header()
	own["kid"] = a.key.ID
	evil := a.attacker.Sign(t, own, with(claims, "sub", "user_root"))
	part := func(token string, i int) string { return strings.Split(token, ".")[i] }
	signature := func(token string) map[string]any {
		return map[string]any{"protected": part(token, 0), "signature": part(token, 2)}
	}
	jsonForm := func(v map[string]any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	last := len(good) - 1
	return map[string]attempt{
		"two signatures":           {jsonForm(map[string]any{"payload": part(evil, 1), "signatures": []any{signature(evil), signature(good)}}), CodeMalformed},
		"two signatures, encoded":  {base64.RawURLEncoding.EncodeToString([]byte(jsonForm(map[string]any{"payload": part(good, 1), "signatures": []any{signature(good), signature(evil)}}))), CodeMalformed},
		"one signature, JSON form": {jsonForm(map[string]any{"payload": part(good, 1), "protected": part(good, 0), "signature": part(good, 2)}), CodeMalformed},
		"JSON form, spaced":        {"  " + jsonForm(map[string]any{"payload": part(good, 1), "signatures": []any{signature(good)}}), CodeMalformed},
		"payload of another":       {part(good, 0) + "." + part(evil, 1) + "." + part(good, 2), CodeSignature},
		"header of another":        {part(a.key.Sign(t, with(header, "typ", nil), claims), 0) + "." + part(good, 1) + "." + part(good, 2), CodeSignature},
		"signature of another":     {part(good, 0) + "." + part(good, 1) + "." + part(evil, 2), CodeSignature},
		"no signature":             {part(good, 0) + "." + part(good, 1) + ".", CodeMalformed},
		"no signature, no dot":     {part(good, 0) + "." + part(good, 1), CodeMalformed},
		"no payload":               {part(good, 0) + ".." + part(good, 2), CodeMalformed},
		"cut off":                  {good[:last], CodeMalformed},
		"one byte of signature":    {part(good, 0) + "." + part(good, 1) + ".AA", CodeSignature},
		"four parts":               {good + "." + part(good, 2), CodeMalformed},
		"five parts, as encrypted": {good + "." + part(good, 1) + "." + part(good, 2), CodeMalformed},
		"padded":                   {good + "==", CodeMalformed},
		"other spelling":           {good[:last] + next(good[last]), CodeMalformed},
		"line break":               {good[:20] + "\n" + good[20:], CodeMalformed},
		"space in front":           {" " + good, CodeMalformed},
		"standard base64":          {"+/" + good, CodeMalformed},
		"empty":                    {"", CodeMalformed},
		"dots":                     {"..", CodeMalformed},
		"huge":                     {a.key.Sign(t, header, with(claims, "x", strings.Repeat("x", 8<<10))), CodeMalformed},
		"megabytes of dots":        {strings.Repeat(".", 4<<20), CodeMalformed},
		"random":                   {rand.Text(), CodeMalformed},
	}
}

// next is the character after c in the base64 alphabet: the same bytes with other
// bits behind their end, if c ends a text whose last bits are not used.
func next(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)+1])
}

func TestAttacks(t *testing.T) {
	a := newArena(t)
	cfg := configOf(a.Provider)
	cfg.Now = func() time.Time { return a.now }
	v := newVerifier(t, cfg)
	for kind, attempts := range map[string]map[string]attempt{
		"header": attemptsOnHeader(t, a), "claims": attemptsOnClaims(t, a), "form": attemptsOnForm(t, a)} {
		for name, try := range attempts {
			t.Run(kind+"/"+name, func(t *testing.T) {
				got, err := v.Verify(t.Context(), try.token)
				if code := codeOf(t, err); code != try.code {
					t.Fatalf("%q, want %q: %+v, %v", code, try.code, got, err)
				}
				switch {
				case err == nil && (got.Subject != "user_ada" || got.OrgID != "org_acme" && name != "no organisation"):
					t.Errorf("identity %+v", got)
				case err != nil && got != Identity{}:
					t.Errorf("refused, and yet %+v", got)
				case err != nil && len(try.token) > 10 && strings.Contains(err.Error(), try.token[:10]):
					t.Errorf("the refusal repeats the token: %v", err)
				}
			})
		}
	}
	// However many key ids were not known, the keys were read once in this time.
	if n := a.KeysRead(); n != 1 {
		t.Errorf("the keys were read %d times within RetryEvery", n)
	}
}

// Clerk's session tokens have no aud, and say with azp whom they are for.
func TestWithoutAudiences(t *testing.T) {
	a := newArena(t)
	cfg := configOf(a.Provider)
	cfg.Issuers[0].Audiences = nil
	v := newVerifier(t, cfg)
	base := with(valid(a.Provider, a.now), "aud", nil)
	for name, row := range map[string]struct {
		claims map[string]any
		code   string
	}{
		"no audience":      {base, ""},
		"for somebody":     {with(base, "aud", "another-application"), CodeAudience},
		"no party":         {with(base, "azp", nil), CodeParty},
		"party of another": {with(base, "azp", "https://evil.example"), CodeParty},
	} {
		if _, err := v.Verify(t.Context(), a.key.Sign(t, a.key.Header(), row.claims)); codeOf(t, err) != row.code {
			t.Errorf("%s: %v, want %q", name, err, row.code)
		}
	}
}

func TestEmail(t *testing.T) {
	a := newArena(t)
	v := newVerifier(t, configOf(a.Provider))
	base := with(valid(a.Provider, a.now), "email", "ada@acme.example")
	for _, row := range []struct {
		email, verified any
		want            bool
		code            string
	}{
		{"ada@acme.example", true, true, ""},
		{"ada@acme.example", "true", true, ""},
		{"ada@acme.example", false, false, ""},
		{"ada@acme.example", "false", false, ""},
		{"ada@acme.example", nil, false, ""},
		{nil, true, false, ""},
		{"ada@acme.example", 1, false, CodeMalformed},
		{"ada@acme.example", "yes", false, CodeMalformed},
		{"ada@acme.example\r\nBcc: eve", true, false, CodeMalformed},
	} {
		claims := with(with(base, "email_verified", row.verified), "email", row.email)
		got, err := v.Verify(t.Context(), a.key.Sign(t, a.key.Header(), claims))
		if codeOf(t, err) != row.code || got.EmailVerified != row.want {
			t.Errorf("%v, verified %v: %+v, %v", row.email, row.verified, got, err)
		}
	}
}
