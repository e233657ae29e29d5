package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
	"github.com/agentik-os/panda/schemas/apiclient"
)

// What a user reads when the server refuses, and with which exit code.
func TestProblemsForPeople(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		media  string
		body   string
		want   string
		code   int
	}{
		{"several fields", 422, "application/problem+json",
			`{"title":"Invalid","detail":"2 fields are wrong","errors":[{"pointer":"/slug","detail":"no"},{"pointer":"/plan","detail":"none"}]}`,
			"2 fields are wrong\nat /slug: no\nat /plan: none", exitUsage},
		{"one field", 422, "application/problem+json",
			`{"detail":"\"x\" is not a month","errors":[{"pointer":"/month","detail":"\"x\" is not a month"}]}`,
			"\"x\" is not a month\nat /month", exitUsage},
		{"no key", 401, "application/problem+json", `{"detail":"this needs a key"}`,
			"this needs a key\ngive a key with --api-key or PANDA_API_KEY", exitNotAllowed},
		{"scope", 403, "application/problem+json", `{"detail":"the key may not do this"}`, "the key may not do this", exitNotAllowed},
		{"not found", 404, "application/problem+json", `{"detail":"nothing here"}`, "nothing here", exitNotFound},
		{"conflict", 409, "application/problem+json", `{"detail":"taken"}`, "taken", exitConflict},
		{"unavailable", 503, "application/problem+json", `{"detail":"later"}`, "later", exitUnavailable},
		{"internal", 500, "application/problem+json", `{"detail":"oh","instance":"urn:uuid:1"}`, "oh\ninstance urn:uuid:1", exitInternal},
		{"a proxy", 502, "text/html", "<html>", "the server answered 502 Bad Gateway and not in the way panda does; is the address right?",
			exitUnavailable},
		{"control sequences", 400, "application/problem+json", `{"detail":"\u001b[31mred"}`, "\\x1b[31mred", exitUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.media)
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer server.Close()
			_, err := (&apiClient{base: server.URL + "/", http: server.Client()}).raw(t.Context(), request{method: "GET", path: "/v1/x"})
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Error(diff)
			}
			if got := exitCode(err); got != c.code {
				t.Errorf("exit code %d, not %d", got, c.code)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	_, refused := http.Get("http://127.0.0.1:1/")
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, exitOK}, {errFoundWrong, exitWrong}, {usagef("x"), exitUsage}, {schemas.Invalid("/a", "b", "c"), exitUsage},
		{tenancy.ErrNotFound, exitNotFound}, {schemas.ErrConflict, exitConflict}, {schemas.ErrUnavailable, exitUnavailable},
		{refused, exitUnavailable}, {errors.New("x"), exitInternal}, {eventlog.ErrInUse, exitInUse}, {eventlog.ErrFull, exitDiskFull},
		{syscall.ENOSPC, exitDiskFull}, {context.Canceled, exitInterrupted}, {context.DeadlineExceeded, exitUnavailable},
		{errTooManyErrors, exitWrong},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("do it: %w", err)
		}
		if got := exitCode(err); got != c.want {
			t.Errorf("%v: exit code %d, not %d", c.err, got, c.want)
		}
	}
}

// A request that may be repeated is, when the server says later; one that may
// not is sent once.
func TestRetries(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls < 3 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"ok":true}`))
	}))
	defer server.Close()
	c := &apiClient{base: server.URL, http: server.Client()}
	tries := 0
	if _, err := c.raw(t.Context(), request{method: "GET", path: "/", retry: true, tries: &tries}); err != nil || tries != 3 {
		t.Errorf("after %d tries: %v", tries, err)
	}
	calls = 0
	if _, err := c.raw(t.Context(), request{method: "POST", path: "/"}); exitCode(err) != exitUnavailable || calls != 1 {
		t.Errorf("sent %d times: %v", calls, err)
	}
}

// Every command that takes input says what is wrong with the command line before
// it connects.
func TestUsageErrorsBeforeConnecting(t *testing.T) {
	for _, line := range []string{
		"", "frobnicate", "cost --bogus", "cost x", "cost --month 2026-02 --day 2026-02-01", "cost -o xml", "tenant create",
		"key create --scope read", "key revoke", "import", "import x --workers 0", "import x --format xml", "import x --map time",
		"quarantine replay", "quarantine replay 1-0 --all", "quarantine replay 1-0 --reason x", "quarantine replay 1-0 2-0 --file x",
		"prices import x --format csv", "events tail -n -1", "tenant create --name x --slug y --monthly-budget ten",
		"tenant", "tenant update", "tenant update x", "tenant update x --max-agents many", "tenant update x --budget y", "tenant upgrade x",
		"tenant invite --tenant x --email y", "tenant invite --email y --role admin", "tenant members", "tenant members remove x",
		"tenant import-users x", "tenant import-users x --csv /none", "tenant delete x --permanent", "tenant delete x --permanent --confirm",
		"tenant delete x --confirm", "tenant export x --format csv", "tenant migrate x", "tenant migrate x --to y", "tenant erase-user x --user y",
		"tenant usage x --month 2026-02", "tenant usage x --output usage.csv", "tenant usage x --detailed --month 2026",
		"tenant usage x --detailed -o usage.xls", "tenant list -n -1", "key revoke x", "key rotate x --overlap 0", "key rotate x --overlap -1s",
		"audit log -n -1", "plans show",
	} {
		a, _, _ := testApp(nil)
		a.connect = func(context.Context) (*apiClient, func() error, error) {
			t.Errorf("%q connects", line)
			return nil, nil, errors.New("not here")
		}
		root := newRoot(a)
		root.SetArgs(strings.Fields(line))
		err := root.ExecuteContext(t.Context())
		if line == "" || line == "tenant" {
			if err != nil {
				t.Errorf("help: %v", err)
			}
			continue
		}
		if exitCode(err) != exitUsage {
			t.Errorf("%q: %v, exit code %d", line, err, exitCode(err))
		}
	}
}

// The generated client has the key, the repeats and the errors of the one below it.
func TestGeneratedClient(t *testing.T) {
	calls := 0
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, fmt.Sprintf("%s %s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), body))
		w.Header().Set("Content-Type", "application/json")
		switch {
		case calls == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Method == http.MethodPost:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"type":"urn:panda:problem:not_found","title":"Not Found","status":404,"code":"not_found","detail":"nothing here"}`))
		default:
			_, _ = w.Write([]byte(`{"jobs":[{"name":"trim","schedule":"@daily","running":false,"last_run":null,"next_run":null,"duration_ms":0,"outcome":"","detail":""}]}`))
		}
	}))
	defer server.Close()
	c, err := (&apiClient{base: server.URL + "/under/", key: "k", http: server.Client()}).generated()
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := c.ListJobsWithResponse(t.Context())
	if err != nil || jobs.JSON200 == nil || jobs.JSON200.Jobs[0].Name != "trim" {
		t.Errorf("%v, %v", jobs, err)
	}
	reason := "unpaid"
	_, err = c.SuspendTenantWithResponse(t.Context(), "a/b", nil, apiclient.SuspendRequest{Reason: &reason})
	if exitCode(err) != exitNotFound || !strings.HasPrefix(err.Error(), "nothing here\n") || !strings.Contains(err.Error(), `tenant "a/b"`) {
		t.Errorf("%v, exit code %d", err, exitCode(err))
	}
	want := []string{
		"GET /under/v1/jobs Bearer k  ", "GET /under/v1/jobs Bearer k  ",
		`POST /under/v1/tenants/a%2Fb/suspend Bearer k application/json {"reason":"unpaid"}`,
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}
