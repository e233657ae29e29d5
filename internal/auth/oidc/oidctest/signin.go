package oidctest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Tokens are what the provider gave to the application.
type Tokens struct {
	ID     string `json:"id_token"`
	Access string `json:"access_token"`
}

// SignIn has a user sign in: the application sends the browser to the provider, the
// user gives the password there, and the application exchanges the code that comes
// back (RFC 6749, 4.1, with RFC 7636).
func (p *Provider) SignIn(t testing.TB, subject string) Tokens {
	t.Helper()
	browser := &http.Client{Transport: p.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	verifier := rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	state := rand.Text()

	login := redirect(t, browser, http.MethodGet, p.URL+"/authorize?"+url.Values{
		"client_id": {ClientID}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "state": {state},
		"scope": {"openid email"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}.Encode(), nil)
	callback := redirect(t, browser, http.MethodPost, p.URL+login.Path, url.Values{
		"id": {login.Query().Get("authRequestID")}, "username": {subject}, "password": {password}})
	back := redirect(t, browser, http.MethodGet, callback.String(), nil)
	if got := back.Query().Get("state"); got != state || !strings.HasPrefix(back.String(), redirectURI) {
		t.Fatalf("the provider sends the browser to %s", back)
	}
	body := do(t, browser, http.MethodPost, p.URL+"/oauth/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {redirectURI},
		"client_id": {ClientID}, "code_verifier": {verifier}}, http.StatusOK, nil)
	var tokens Tokens
	if err := json.Unmarshal(body, &tokens); err != nil || tokens.ID == "" || tokens.Access == "" {
		t.Fatalf("the provider gives %s: %v", body, err)
	}
	return tokens
}

func redirect(t testing.TB, browser *http.Client, method, target string, form url.Values) *url.URL {
	t.Helper()
	var to *url.URL
	do(t, browser, method, target, form, http.StatusFound, func(r *http.Response) {
		var err error
		if to, err = r.Location(); err != nil {
			t.Fatal(err)
		}
	})
	return to
}

func do(t testing.TB, browser *http.Client, method, target string, form url.Values, status int, look func(*http.Response)) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("%s %s: %s, %v\n%s", method, target, resp.Status, err, body)
	}
	if look != nil {
		look(resp)
	}
	return body
}
