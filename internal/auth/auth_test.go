package auth

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var someone = tenancy.Actor{ID: "test"}

func startRegistry(t *testing.T, log tenancy.Log) *tenancy.Registry {
	t.Helper()
	r := tenancy.New(tenancy.Config{}, log)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-r.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the registry did not catch up")
	}
	return r
}

func tenant(t *testing.T, r *tenancy.Registry, slug string) tenancy.Tenant {
	t.Helper()
	made, _, err := r.CreateTenant(t.Context(), someone, tenancy.NewTenant{Name: slug, Slug: slug})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func issue(t *testing.T, r *tenancy.Registry, tenantID string, scopes ...tenancy.Permission) (Secret, tenancy.Key) {
	t.Helper()
	secret, key, err := Issue(t.Context(), r, someone, tenantID, "test", scopes...)
	if err != nil {
		t.Fatal(err)
	}
	return secret, key
}

func request(target string, headers ...string) *http.Request {
	r := httptest.NewRequest("GET", target, nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func bearer(s Secret) string { return "Authorization: Bearer " + s.Reveal() }

func TestAuthenticate(t *testing.T) {
	r := startRegistry(t, eventlogtest.Open(t))
	acme := tenant(t, r, "acme")
	good, key := issue(t, r, acme.ID, tenancy.PermissionRead)
	platform, _ := issue(t, r, "", tenancy.PermissionAdmin)
	revoked, revokedKey := issue(t, r, acme.ID, tenancy.PermissionRead)
	if _, err := r.RevokeKey(t.Context(), ForProcess("test"), "", revokedKey.ID); err != nil {
		t.Fatal(err)
	}
	stranger, _ := NewSecret()
	// The right id with another secret, and a checksum that fits.
	forged := good.Reveal()[:secretStart] + stranger.Reveal()[secretStart:sumStart]
	forged += checksum(forged)

	a := New(Config{Registry: r, FailuresMax: 1000})
	for name, row := range map[string]struct {
		request *http.Request
		code    string // "" is let in
		status  error
	}{
		"good":               {request("/", bearer(good)), "", nil},
		"scheme in lower":    {request("/", "Authorization: bearer "+good.Reveal()), "", nil},
		"other query":        {request("/?by=model&key=input", bearer(good)), "", nil},
		"none":               {request("/"), CodeKeyMissing, ErrUnauthenticated},
		"x-api-key":          {request("/", "X-Api-Key: "+good.Reveal()), CodeKeyMissing, ErrUnauthenticated},
		"two headers":        {request("/", bearer(good), bearer(good)), CodeKeyMalformed, ErrUnauthenticated},
		"basic":              {request("/", "Authorization: Basic "+good.Reveal()), CodeKeyMalformed, ErrUnauthenticated},
		"empty":              {request("/", "Authorization: Bearer "), CodeKeyMalformed, ErrUnauthenticated},
		"cut off":            {request("/", "Authorization: Bearer "+good.Reveal()[:60]), CodeKeyMalformed, ErrUnauthenticated},
		"unknown":            {request("/", bearer(stranger)), CodeKeyUnknown, ErrUnauthenticated},
		"forged":             {request("/", bearer(Secret(forged))), CodeKeyUnknown, ErrUnauthenticated},
		"revoked":            {request("/", bearer(revoked)), CodeKeyRevoked, ErrUnauthenticated},
		"in query":           {request("/?x=" + url.QueryEscape(good.Reveal())), CodeKeyInURL, ErrUnauthenticated},
		"in query and right": {request("/?api_key=x", bearer(good)), CodeKeyInURL, ErrUnauthenticated},
	} {
		scope, err := a.Authenticate(row.request)
		if row.code == "" {
			if err != nil || scope.TenantID() != acme.ID || !scope.Allows(tenancy.PermissionRead) ||
				scope.Allows(tenancy.PermissionAdmin) || scope.Actor() != "key:"+key.ID {
				t.Errorf("%s: %+v, %v", name, scope, err)
			}
			continue
		}
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Code != row.code || !errors.Is(err, row.status) || scope != (tenancy.Scope{}) {
			t.Errorf("%s: %+v, %v, want %s", name, scope, err, row.code)
			continue
		}
		if !strings.HasPrefix(refusal.Challenge(), "Bearer ") || strings.Contains(err.Error(), good.Reveal()[secretStart:sumStart]) {
			t.Errorf("%s: challenge %q, text %q", name, refusal.Challenge(), err)
		}
	}
	if scope, err := a.Authenticate(request("/", bearer(platform))); err != nil || !scope.IsPlatform() {
		t.Errorf("platform key: %+v, %v", scope, err)
	}
}

// What is decided about a tenant or key counts from the next request on, on a
// node that did not decide it.
func TestSuspendedAndRevokedOnAnotherNode(t *testing.T) {
	log := eventlogtest.Open(t)
	here, there := startRegistry(t, log), startRegistry(t, log)
	acme := tenant(t, here, "acme")
	secret, key := issue(t, here, acme.ID, tenancy.PermissionIngest)
	a := New(Config{Registry: there})
	settle := func() {
		t.Helper()
		if err := there.WaitFor(t.Context(), here.Position()); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		status tenancy.Status
		code   string
	}{{tenancy.StatusSuspended, CodeTenantSuspended}, {tenancy.StatusActive, ""}, {tenancy.StatusDeleted, CodeTenantSuspended}, {tenancy.StatusTrial, ""}} {
		_, err := here.UpdateTenant(t.Context(), someone, acme.ID, 0, func(t *tenancy.Tenant) error { t.Status = row.status; return nil })
		if err != nil {
			t.Fatal(err)
		}
		settle()
		_, err = a.Authenticate(request("/", bearer(secret)))
		var refusal *Error
		if row.code == "" && err != nil || row.code != "" && (!errors.As(err, &refusal) || refusal.Code != row.code || !errors.Is(err, ErrForbidden)) {
			t.Errorf("%s: %v", row.status, err)
		}
		if id, ok := a.CheckPassword("anyone", secret.Reveal()); ok != (row.code == "") || ok && id != acme.ID {
			t.Errorf("%s: password gives %q, %t", row.status, id, ok)
		}
	}
	if _, err := here.RevokeKey(t.Context(), ForProcess("test"), "", key.ID); err != nil {
		t.Fatal(err)
	}
	settle()
	if _, err := a.Authenticate(request("/", bearer(secret))); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("a revoked key: %v", err)
	}
}

func TestCheckPasswordNeedsATenantsIngestKey(t *testing.T) {
	r := startRegistry(t, eventlogtest.Open(t))
	acme := tenant(t, r, "acme")
	a := New(Config{Registry: r})
	reader, _ := issue(t, r, acme.ID, tenancy.PermissionRead)
	platform, _ := issue(t, r, "", tenancy.Permissions()...)
	for name, password := range map[string]string{"read key": reader.Reveal(), "platform key": platform.Reveal(), "nothing": "", "guess": "password"} {
		if id, ok := a.CheckPassword(acme.ID, password); ok || id != "" {
			t.Errorf("%s may publish for %q", name, id)
		}
	}
}

func TestLoadingIsNotUnknown(t *testing.T) {
	a := New(Config{Registry: tenancy.New(tenancy.Config{}, eventlogtest.Open(t))})
	secret, _ := NewSecret()
	if _, err := a.Authenticate(request("/", bearer(secret))); !errors.Is(err, schemas.ErrUnavailable) || errors.Is(err, ErrUnauthenticated) {
		t.Errorf("while loading: %v", err)
	}
}

func TestTooManyFailures(t *testing.T) {
	r := startRegistry(t, eventlogtest.Open(t))
	acme := tenant(t, r, "acme")
	good, _ := issue(t, r, acme.ID, tenancy.PermissionRead)
	now := time.Unix(0, 0)
	var lines bytes.Buffer
	a := New(Config{Registry: r, FailuresMax: 3, FailureLife: time.Second, Now: func() time.Time { return now },
		Logger: zerolog.New(&lines).Level(zerolog.WarnLevel)})
	bad, _ := NewSecret()
	try := func(peer string, s Secret) error {
		req := request("/", bearer(s))
		req.RemoteAddr = peer
		_, err := a.Authenticate(req)
		return err
	}
	for i, want := range []error{ErrUnauthenticated, ErrUnauthenticated, ErrUnauthenticated, ErrTooManyFailures, ErrTooManyFailures} {
		if err := try("192.0.2.1:1000", bad); !errors.Is(err, want) {
			t.Errorf("failure %d: %v, want %v", i, err, want)
		}
	}
	var refusal *Error
	if err := try("192.0.2.1:1001", bad); !errors.As(err, &refusal) || refusal.RetryAfter != time.Second || refusal.Challenge() != "" {
		t.Errorf("refusal is %+v", refusal)
	}
	if n := strings.Count(lines.String(), "\n"); n != 1 {
		t.Errorf("%d log lines for one flood:\n%s", n, lines.String())
	}
	if err := try("192.0.2.1:1002", good); err != nil {
		t.Errorf("a good key behind the same address: %v", err)
	}
	if err := try("192.0.2.2:1000", bad); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("another address: %v", err)
	}
	now = now.Add(time.Second)
	if err := try("192.0.2.1:1003", bad); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("after one failure was forgotten: %v", err)
	}
	if err := try("192.0.2.1:1003", bad); !errors.Is(err, ErrTooManyFailures) {
		t.Errorf("and again: %v", err)
	}
}

func TestFailuresAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	f := newFailures(1, 100, time.Second, func() time.Time { return now })
	for i := range 10_000 {
		f.add(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if len(f.byAddr) != 100 || f.order.Len() != 100 {
		t.Errorf("%d and %d addresses are remembered", len(f.byAddr), f.order.Len())
	}
	// A customer of an IPv6 provider has a whole /64.
	a, b, c := netip.MustParseAddr("2001:db8:1:1::1"), netip.MustParseAddr("2001:db8:1:1:ffff::2"), netip.MustParseAddr("2001:db8:1:2::1")
	f.add(a)
	if wait, _ := f.add(b); wait == 0 {
		t.Error("another address of the /64 is not held to its failures")
	}
	if wait, _ := f.add(c); wait != 0 {
		t.Error("another /64 is held to failures that are not its own")
	}
}

// The line about a key in a URL names the key, so that it can be revoked, and
// does not repeat the leak.
func TestKeyInURLIsReportedWithoutTheKey(t *testing.T) {
	r := startRegistry(t, eventlogtest.Open(t))
	secret, key := issue(t, r, tenant(t, r, "acme").ID, tenancy.PermissionRead)
	var lines bytes.Buffer
	a := New(Config{Registry: r, Logger: zerolog.New(&lines)})
	_, err := a.Authenticate(request("/v1/usage?token=" + secret.Reveal()))
	if err == nil || !strings.Contains(lines.String(), key.ID) || strings.Contains(lines.String(), secret.Reveal()[secretStart:]) {
		t.Errorf("error %v, log %s", err, lines.String())
	}
}
