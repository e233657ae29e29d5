package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
)

// Somebody else's operation is as one that there never was.
func TestOperationsOfOthersAreNotThere(t *testing.T) {
	scopes := map[string]tenancy.Scope{"a": tenancy.ScopeOf("ten_a", "key:a", tenancy.PermissionRead),
		"b": tenancy.ScopeOf("ten_b", "key:b", tenancy.PermissionRead)}
	s := newServer(t, func(c *Config) {
		c.Authenticate = func(r *http.Request) (tenancy.Scope, error) { return scopes[r.Header.Get("Authorization")], nil }
	})
	operations := &Operations{Base: t.Context(), WaitMax: time.Millisecond}
	operations.Register(s)
	release := make(chan struct{})
	defer close(release)
	begun := httptest.NewRecorder()
	err := operations.Do(begun, httptest.NewRequest(http.MethodPost, "/", nil), "migrate", "ten_a", "", func(context.Context, Step) (any, error) {
		<-release
		return struct{}{}, nil
	})
	if err != nil || begun.Code != http.StatusAccepted {
		t.Fatalf("%d, %v", begun.Code, err)
	}
	ask := func(who, path string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", who)
		s.Handler().ServeHTTP(w, r)
		return w
	}
	at := begun.Header().Get("Location")
	if w := ask("a", at); w.Code != http.StatusOK {
		t.Errorf("one's own at %s: %d %s", at, w.Code, w.Body)
	}
	theirs, nobodys := ask("b", at), ask("b", "/v1/operations/op_aaaaaaaaaaaa")
	if theirs.Code != http.StatusNotFound || theirs.Code != nobodys.Code || theirs.Body.String() != nobodys.Body.String() {
		t.Errorf("somebody else's: %d %s, nobody's: %d %s", theirs.Code, theirs.Body, nobodys.Code, nobodys.Body)
	}
}
