package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
)

// An answer without limits outlives them all, and ends with its client.
func TestUnboundedAnswer(t *testing.T) {
	s := newServer(t, func(c *Config) {
		c.RequestMax, c.ReadMax, c.WriteMax = 200*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	})
	goOn, ended := make(chan struct{}), make(chan error, 1)
	s.Handle("POST /long", tenancy.PermissionRead, func(w http.ResponseWriter, r *http.Request, _ tenancy.Scope) error {
		ctx, err := Unbounded(w, r)
		if err != nil {
			return err
		}
		<-r.Context().Done() // the limits of a usual request are over
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := io.WriteString(w, "begun\n"); err != nil {
			return err
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		<-goOn
		select {
		case <-ctx.Done():
			ended <- context.Cause(ctx)
		case <-time.After(30 * time.Second):
			ended <- nil
		}
		return nil
	})
	stop := run(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "POST", "http://"+s.Addr()+"/long", nil)
	req.Header.Set("Authorization", "ten_a/read")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	begun := make([]byte, len("begun\n"))
	if _, err := io.ReadFull(resp.Body, begun); err != nil || string(begun) != "begun\n" {
		t.Errorf("%q, %v", begun, err)
	}
	cancel() // the client goes away
	close(goOn)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("without its client it ended with %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// Names are answered as they were sent, not as they would be written in a script.
func TestJSONIsNotEscapedForHTML(t *testing.T) {
	w := httptest.NewRecorder()
	WriteJSON(w, 200, "R&D <x>")
	if got := w.Body.String(); got != "\"R&D <x>\"\n" || w.Header().Get("Content-Length") != "10" {
		t.Errorf("%q, %v", got, w.Header())
	}
}
