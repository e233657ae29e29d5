package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
)

// counted is a server with a route that says how often it was served. hold, if set,
// runs in the middle of it.
func counted(t *testing.T, cfg IdempotencyConfig, hold func(r *http.Request) error) (send func(path, caller, key, body string) *httptest.ResponseRecorder, served *atomic.Int64) {
	t.Helper()
	served = new(atomic.Int64)
	s := newServer(t, func(c *Config) { c.Idempotency = cfg })
	s.Handle("POST /v1/things/{id}/copy", tenancy.PermissionAdmin, func(w http.ResponseWriter, r *http.Request, _ tenancy.Scope) error {
		n := served.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		if hold != nil {
			if err := hold(r); err != nil {
				return err
			}
		}
		w.Header().Set("Location", fmt.Sprint("/v1/things/", n))
		WriteJSON(w, http.StatusCreated, fmt.Sprintf("%s %d %s", r.PathValue("id"), n, body))
		return nil
	})
	h := s.Handler()
	return func(path, caller, key, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Authorization", caller)
		r.Header.Set("Content-Type", "application/json")
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}, served
}

const (
	copyA = "/v1/things/a/copy"
	alice = "ten_a/admin"
)

func TestARepeatIsAnsweredAsBefore(t *testing.T) {
	send, served := counted(t, IdempotencyConfig{}, nil)
	first := send(copyA, alice, "k", `{"x":1,"y":[2,3]}`)
	for _, body := range []string{`{"x":1,"y":[2,3]}`, ` {"y":[2, 3],"x":1}`} {
		again := send(copyA, alice, "k", body)
		if first.Code != 201 || again.Code != 201 || again.Body.String() != first.Body.String() ||
			again.Header().Get("Location") != "/v1/things/1" || again.Header().Get("Content-Type") != "application/json" {
			t.Errorf("again: %d %v %s", again.Code, again.Header(), again.Body)
		}
		if again.Header().Get("Idempotent-Replayed") != "true" || first.Header().Get("Idempotent-Replayed") != "" {
			t.Error("it is not said which answer is the repeated one")
		}
		if again.Header().Get("X-Request-Id") == first.Header().Get("X-Request-Id") {
			t.Error("two requests have one id")
		}
	}
	if served.Load() != 1 {
		t.Errorf("served %d times", served.Load())
	}
	// Another body, another thing, another query: not the same request.
	for _, other := range [][2]string{{copyA, `{"x":2}`}, {"/v1/things/b/copy", `{"x":1,"y":[2,3]}`}, {copyA + "?deep=1", `{"x":1,"y":[2,3]}`}} {
		w := send(other[0], alice, "k", other[1])
		if w.Code != 422 || problemIn(t, w).Code != CodeIdempotency {
			t.Errorf("%v: %d %s", other, w.Code, w.Body)
		}
	}
	// Another caller's key of the same name is another key, and so is none.
	for i, row := range [][2]string{{"ten_b/admin", "k"}, {alice, "l"}, {alice, ""}, {alice, ""}} {
		if w := send(copyA, row[0], row[1], `{"x":1,"y":[2,3]}`); w.Code != 201 || w.Header().Get("Idempotent-Replayed") != "" {
			t.Errorf("row %d: %d %v", i, w.Code, w.Header())
		}
	}
	if served.Load() != 5 {
		t.Errorf("served %d times, want 5", served.Load())
	}
}

func TestARepeatNeedsThePermissionToo(t *testing.T) {
	send, served := counted(t, IdempotencyConfig{}, nil)
	send(copyA, alice, "k", `{}`)
	if w := send(copyA, "ten_a/read", "k", `{}`); w.Code != 403 {
		t.Errorf("without the permission: %d %s", w.Code, w.Body)
	}
	if w := send(copyA, "nobody", "k", `{}`); w.Code != 401 || served.Load() != 1 {
		t.Errorf("without a credential: %d %s, served %d", w.Code, w.Body, served.Load())
	}
}

func TestWrongKeysAreRefused(t *testing.T) {
	send, served := counted(t, IdempotencyConfig{}, nil)
	for _, key := range []string{strings.Repeat("x", 256), "a\x01b", "naïve"} {
		w := send(copyA, alice, key, `{}`)
		if w.Code != 422 || problemIn(t, w).Errors[0].Pointer != "/Idempotency-Key" {
			t.Errorf("%.10q: %d %s", key, w.Code, w.Body)
		}
	}
	if w := send(copyA, alice, "k", strings.Repeat(" ", BodyBytesMax+1)); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", w.Code)
	}
	if served.Load() != 0 {
		t.Errorf("served %d times", served.Load())
	}
}

// A refusal has changed nothing, and leaves the key for the request put right; so does
// a panic.
func TestARefusalIsNotKept(t *testing.T) {
	fail := func() error { return errors.New("broken") }
	send, served := counted(t, IdempotencyConfig{}, func(*http.Request) error { return fail() })
	if w := send(copyA, alice, "k", `{"x":1}`); w.Code != 500 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	fail = func() error { panic("worse") }
	if w := send(copyA, alice, "k", `{"x":1}`); w.Code != 500 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	fail = func() error { return nil }
	if w := send(copyA, alice, "k", `{"x":2}`); w.Code != 201 || served.Load() != 3 {
		t.Errorf("after refusals: %d %s", w.Code, w.Body)
	}
	if w := send(copyA, alice, "k", `{"x":2}`); w.Header().Get("Idempotent-Replayed") != "true" || served.Load() != 3 {
		t.Errorf("and again: %d %v", w.Code, w.Header())
	}
}

// Two of the same at once: one is served, the other waits for its answer. When the
// first is refused the second is served. One that waits too long is told so.
func TestTwoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan error)
		send, served := counted(t, IdempotencyConfig{WaitMax: 5 * time.Second}, func(*http.Request) error { return <-release })
		answers := make(chan *httptest.ResponseRecorder, 2)
		both := func() {
			for range 2 {
				go func() { answers <- send(copyA, alice, "k", `{}`) }()
			}
			synctest.Wait()
		}
		both()
		if served.Load() != 1 {
			t.Fatalf("%d are served at once", served.Load())
		}
		if w := send(copyA, alice, "k", `{"x":1}`); w.Code != 422 {
			t.Errorf("another body meanwhile: %d", w.Code)
		}
		release <- errors.New("broken")
		synctest.Wait()
		if w := <-answers; w.Code != 500 || served.Load() != 2 {
			t.Errorf("the first: %d, served %d", w.Code, served.Load())
		}
		release <- nil
		if w := <-answers; w.Code != 201 {
			t.Errorf("the second: %d", w.Code)
		}
		if w := send(copyA, alice, "k", `{}`); w.Code != 201 || served.Load() != 2 {
			t.Errorf("the third: %d, served %d", w.Code, served.Load())
		}

		go func() { answers <- send(copyA, alice, "slow", `{}`) }()
		synctest.Wait()
		w := send(copyA, alice, "slow", `{}`) // after five seconds of the bubble's time
		if w.Code != 409 || problemIn(t, w).Code != CodeIdempotencyInUse || w.Header().Get("Retry-After") != "1" {
			t.Errorf("who waits too long: %d %s", w.Code, w.Body)
		}
		release <- nil
		<-answers
	})
}

// Who goes away comes back for the answer: the work is finished without them.
func TestTheClientGoesAway(t *testing.T) {
	ctx, leave := context.WithCancel(context.Background())
	s := newServer(t, nil)
	s.Handle("POST /v1/copy", tenancy.PermissionAdmin, func(w http.ResponseWriter, r *http.Request, _ tenancy.Scope) error {
		leave()
		if _, bounded := r.Context().Deadline(); !bounded || r.Context().Err() != nil {
			t.Errorf("the work ends with its client, or never: %v", r.Context().Err())
		}
		WriteJSON(w, 201, "done")
		return nil
	})
	for i, want := range []string{"", "true"} {
		r := httptest.NewRequest("POST", "/v1/copy", nil).WithContext(ctx)
		if i == 1 {
			r = r.WithContext(t.Context())
		}
		r.Header.Set("Authorization", alice)
		r.Header.Set("Idempotency-Key", "k")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != 201 || w.Header().Get("Idempotent-Replayed") != want {
			t.Errorf("request %d: %d %v", i, w.Code, w.Header())
		}
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	clock := func() time.Time { return now }
	replayed := func(w *httptest.ResponseRecorder) bool { return w.Header().Get("Idempotent-Replayed") == "true" }
	for name, c := range map[string]struct {
		cfg    IdempotencyConfig
		others func(send func(path, caller, key, body string) *httptest.ResponseRecorder)
		kept   bool
	}{
		"a day less a second": {IdempotencyConfig{}, func(func(path, caller, key, body string) *httptest.ResponseRecorder) {
			now = now.Add(24*time.Hour - time.Second)
		}, true},
		"a day": {IdempotencyConfig{}, func(func(path, caller, key, body string) *httptest.ResponseRecorder) {
			now = now.Add(24 * time.Hour)
		}, false},
		"as many keys as fit": {IdempotencyConfig{KeysMax: 3}, func(send func(path, caller, key, body string) *httptest.ResponseRecorder) {
			send(copyA, "ten_b/admin", "1", "")
			send(copyA, "ten_c/admin", "2", "")
		}, true},
		"more keys": {IdempotencyConfig{KeysMax: 3}, func(send func(path, caller, key, body string) *httptest.ResponseRecorder) {
			for i := range 3 {
				send(copyA, "ten_b/admin", fmt.Sprint(i), "")
			}
		}, false},
		"more of another caller": {IdempotencyConfig{KeysMax: 10, CallerKeysMax: 2}, func(send func(path, caller, key, body string) *httptest.ResponseRecorder) {
			for i := range 100 {
				send(copyA, "ten_b/admin", fmt.Sprint(i), "")
			}
		}, true},
		"more of the same caller": {IdempotencyConfig{KeysMax: 10, CallerKeysMax: 2}, func(send func(path, caller, key, body string) *httptest.ResponseRecorder) {
			for i := range 2 {
				send(copyA, alice, fmt.Sprint(i), "")
			}
		}, false},
		"more bytes": {IdempotencyConfig{BytesMax: 8 << 10}, func(send func(path, caller, key, body string) *httptest.ResponseRecorder) {
			send(copyA, "ten_b/admin", "1", strings.Repeat("x", 7<<10))
		}, false},
	} {
		c.cfg.Now = clock
		send, _ := counted(t, c.cfg, nil)
		send(copyA, alice, "first", `{}`)
		c.others(send)
		if got := replayed(send(copyA, alice, "first", `{}`)); got != c.kept {
			t.Errorf("%s: kept %t, want %t", name, got, c.kept)
		}
	}
}

func TestMemoryIsGivenBack(t *testing.T) {
	now := time.Unix(0, 0)
	s := newServer(t, func(c *Config) {
		c.Idempotency = IdempotencyConfig{Now: func() time.Time { return now }, KeysMax: 50, CallerKeysMax: 7, BytesMax: 100 << 10}
	})
	s.Handle("POST /v1/copy", tenancy.PermissionAdmin, func(w http.ResponseWriter, _ *http.Request, _ tenancy.Scope) error {
		WriteJSON(w, 200, strings.Repeat("x", 3000))
		return nil
	})
	send := func(n int) {
		do(s.Handler(), "POST", "/v1/copy", fmt.Sprintf("Authorization: ten_%d/admin", n%20), fmt.Sprintf("Idempotency-Key: %d", n))
	}
	for n := range 500 {
		send(n)
		if m := s.answers; m.bytes > 100<<10 || m.oldest.Len() > 50 || len(m.byID) != m.oldest.Len() || len(m.callers) > 20 {
			t.Fatalf("after %d: %d bytes, %d answers, %d ids, %d callers", n, m.bytes, m.oldest.Len(), len(m.byID), len(m.callers))
		}
	}
	now = now.Add(25 * time.Hour)
	send(0)
	if m := s.answers; m.oldest.Len() != 1 || len(m.byID) != 1 || len(m.callers) != 1 || m.bytes != m.oldest.Front().Value.(*keptAnswer).size() {
		t.Errorf("a day later: %d answers, %d ids, %d callers, %d bytes", m.oldest.Len(), len(m.byID), len(m.callers), m.bytes)
	}
}

// An answer that is too large to keep is not given twice, and the work is not done twice.
func TestALargeAnswer(t *testing.T) {
	send, served := counted(t, IdempotencyConfig{AnswerBytesMax: 100}, nil)
	if w := send(copyA, alice, "k", strings.Repeat("x", 100)); w.Code != 201 || w.Body.Len() < 100 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := send(copyA, alice, "k", strings.Repeat("x", 100)); w.Code != 409 || problemIn(t, w).Code != CodeConflict || served.Load() != 1 {
		t.Errorf("again: %d %s, served %d", w.Code, w.Body, served.Load())
	}
}

// The answer to the creation of a key holds a secret: it is repeated to who asked, and
// there is one key.
func TestASecretIsRepeatedToItsOwner(t *testing.T) {
	a := newAPI(t)
	a.tenant("mine")
	admin, _ := a.key("mine", `"ingest","admin"`)
	other, _ := a.key("mine", `"ingest","admin"`)
	const body, key = `{"name":"runtime","scopes":["ingest"]}`, "Idempotency-Key: 6f1c"
	first := a.call(admin, "POST", "/v1/tenants/mine/keys", body, key)
	again := a.call(admin, "POST", "/v1/tenants/mine/keys", body, key)
	if first.Code != 201 || again.Code != 201 || again.Body.String() != first.Body.String() || again.Header().Get("Idempotent-Replayed") != "true" {
		t.Errorf("again: %d %s", again.Code, again.Body)
	}
	if w := a.call(other, "POST", "/v1/tenants/mine/keys", body, key); w.Body.String() == first.Body.String() || w.Code != 201 {
		t.Errorf("another credential of the tenant is told the secret: %s", w.Body)
	}
	owner, _ := a.registry.BySlug("mine")
	if n := len(a.registry.KeysOf(owner.ID)); n != 4 {
		t.Errorf("%d keys, want 4", n)
	}
}
