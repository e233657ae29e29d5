package httpapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/tenancy"
)

// The limit on failed sign-ins goes by the address that the proxy saw: who writes another
// address into the header with each guess gains nothing, and who guesses behind the proxy
// does not use up what others have.
func TestFailuresAreCountedByTheProxysWord(t *testing.T) {
	r := tenancy.New(tenancy.Config{}, eventlogtest.Open(t))
	go func() { _ = r.Run(t.Context()) }()
	<-r.Ready()
	const failuresMax = 5
	guess := func(s *Server, forwarded string) int {
		ask := httptest.NewRequest(http.MethodGet, "/v1/thing", nil)
		ask.RemoteAddr = "10.0.0.1:4711"
		ask.Header.Set("Authorization", "Bearer panda_nonsense")
		ask.Header.Set("X-Forwarded-For", forwarded)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, ask)
		return w.Code
	}
	serve := func(trusted ...netip.Prefix) *Server {
		s := newServer(t, func(c *Config) {
			c.TrustedProxies = trusted
			c.Authenticate = auth.New(auth.Config{Registry: r, RemoteIP: RemoteIP, FailuresMax: failuresMax}).Authenticate
		})
		s.Handle("GET /v1/thing", tenancy.PermissionRead, func(http.ResponseWriter, *http.Request, tenancy.Scope) error { return nil })
		return s
	}
	for name, s := range map[string]*Server{"no proxy": serve(), "behind a proxy": serve(netip.MustParsePrefix("10.0.0.0/8"))} {
		refused := false
		for i := range 3 * failuresMax {
			refused = guess(s, fmt.Sprintf("198.51.100.%d, 203.0.113.9", i)) == http.StatusTooManyRequests || refused
		}
		if !refused {
			t.Errorf("%s: another address with each guess, and no guess is one too many", name)
		}
	}
	s := serve(netip.MustParsePrefix("10.0.0.0/8"))
	for range 3 * failuresMax {
		guess(s, "203.0.113.9")
	}
	if status := guess(s, "203.0.113.10"); status != http.StatusUnauthorized {
		t.Errorf("the neighbour of who guesses gets %d", status)
	}
}
