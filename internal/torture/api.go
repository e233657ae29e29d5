package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
)

// API asks a Panda with one key, of whatever process is the newest.
type API struct {
	panda *Panda
	key   string
	http  *http.Client
}

// API returns a client with a key; "" is the platform's first key, which the
// server made in its data directory.
func (p *Panda) API(key string) *API {
	const answerMax = 30 * time.Second
	return &API{panda: p, key: key, http: &http.Client{Timeout: answerMax}}
}

// An Answer is what came back for a question.
type Answer struct {
	Status int
	Body   []byte
	// Process counts the starts of the server when the question was sent; answers
	// of one process do not go back in time.
	Process int
}

// Do asks once. An error means that nothing is known about the answer.
func (a *API) Do(ctx context.Context, method, path string, body []byte) (Answer, error) {
	answer := Answer{Process: a.panda.Starts()}
	key := a.key
	if key == "" {
		text, err := os.ReadFile(filepath.Join(a.panda.Data(), "admin.key"))
		if err != nil {
			return answer, fmt.Errorf("read the admin key: %w", err)
		}
		key = strings.TrimSpace(string(text))
	}
	req, err := http.NewRequestWithContext(ctx, method, a.panda.URL()+path, bytes.NewReader(body))
	if err != nil {
		return answer, fmt.Errorf("ask %s: %w", path, err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := a.http.Do(req)
	if err != nil {
		return answer, fmt.Errorf("ask %s: %w", path, err)
	}
	defer res.Body.Close()
	answer.Status = res.StatusCode
	if answer.Body, err = io.ReadAll(res.Body); err != nil {
		return answer, fmt.Errorf("ask %s: %w", path, err)
	}
	return answer, nil
}

// Ready reports whether questions are answered now.
func (a *API) Ready(ctx context.Context) bool {
	answer, err := a.Do(ctx, http.MethodGet, "/readyz", nil)
	return err == nil && answer.Status == http.StatusOK
}

// Halted returns why the server has stopped counting, "" while it counts or does not
// answer.
func (a *API) Halted(ctx context.Context) string {
	answer, err := a.Do(ctx, http.MethodGet, "/readyz", nil)
	if err != nil {
		return ""
	}
	_, why, found := strings.Cut(string(answer.Body), "counting is halted")
	if !found {
		return ""
	}
	why, _, _ = strings.Cut(why, ";")
	return "counting is halted" + why
}

// ErrAnswer says that an answer is one that nobody should get.
var ErrAnswer = errors.New("wrong answer")

// Ask asks until the answer is a good one, and decodes it. A server that is away
// or answers 503 is asked again; another answer is an error that matches
// ErrAnswer.
func (a *API) Ask(ctx context.Context, method, path string, body, into any) error {
	var sent []byte
	var err error
	if body != nil {
		if sent, err = json.Marshal(body); err != nil {
			return fmt.Errorf("ask %s: %w", path, err)
		}
	}
	text, err := a.text(ctx, method, path, sent)
	if err != nil || into == nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("ask %s: %w: %w: %s", path, ErrAnswer, err, text)
	}
	return nil
}

// text is Ask without the decoding.
func (a *API) text(ctx context.Context, method, path string, sent []byte) ([]byte, error) {
	const again = 20 * time.Millisecond
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		answer, err := a.Do(ctx, method, path, sent)
		switch {
		case err == nil && answer.Status/100 == 2:
			return answer.Body, nil
		case err == nil && answer.Status != http.StatusServiceUnavailable:
			return nil, fmt.Errorf("ask %s: %w: %d: %s", path, ErrAnswer, answer.Status, answer.Body)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("ask %s: %w; the last answer was %d %s %w", path, ctx.Err(), answer.Status, answer.Body, err)
		case <-tick.C:
		}
	}
}

// verifyMax bounds a verify at the end of a usual round.
const verifyMax = 2 * time.Minute

// textWithin is text for a question that takes long.
func (a *API) textWithin(ctx context.Context, method, path string, limit time.Duration) ([]byte, error) {
	patient := &API{panda: a.panda, key: a.key, http: &http.Client{Timeout: limit}}
	return patient.text(ctx, method, path, nil)
}

// Positions are how far the parts of a server are.
type Positions struct{ Log, Ledger, Rollup uint64 }

// Positions asks for them.
func (a *API) Positions(ctx context.Context) (Positions, error) {
	var summary struct{ Position Positions }
	err := a.Ask(ctx, http.MethodGet, "/v1/summary?fresh=1", nil, &summary)
	return summary.Position, err
}

// Settle waits until everything on the log is counted on every read path. Nothing
// may be sent meanwhile.
func (a *API) Settle(ctx context.Context) (Positions, error) {
	tick := time.NewTicker(pollEvery * 4)
	defer tick.Stop()
	for {
		at, err := a.Positions(ctx)
		if err != nil || (at.Ledger >= at.Log && at.Rollup >= at.Log) {
			return at, err
		}
		select {
		case <-ctx.Done():
			return at, fmt.Errorf("wait for windows: the log is at %d, the ledger at %d, windows at %d: %w",
				at.Log, at.Ledger, at.Rollup, ctx.Err())
		case <-tick.C:
		}
	}
}

// A Tenant is a tenant of a run, with its key and what was done to it.
type Tenant struct {
	ID, Slug, Key string
	// Secret is a word that is in every name this tenant sends. It must never be
	// in an answer to another tenant.
	Secret string
	Book   *Book
}

// MakeTenant makes a tenant with a key that may send and read. It survives a
// server that dies in between: what exists already is used.
func (p *Panda) MakeTenant(ctx context.Context, slug, secret string) (*Tenant, error) {
	admin := p.API("")
	t := &Tenant{Slug: slug, Secret: secret}
	if err := admin.makeOnce(ctx, t); err != nil {
		return nil, fmt.Errorf("make tenant %s: %w", slug, err)
	}
	var key struct{ Key string }
	err := admin.Ask(ctx, http.MethodPost, "/v1/tenants/"+t.ID+"/keys", map[string]any{"name": "torture",
		"scopes": []tenancy.Permission{tenancy.PermissionIngest, tenancy.PermissionRead}}, &key)
	if err != nil {
		return nil, fmt.Errorf("make key of tenant %s: %w", slug, err)
	}
	t.Key, t.Book = key.Key, NewBook(t.ID, secret)
	return t, nil
}

// makeOnce makes the tenant, or finds that an attempt before did.
func (a *API) makeOnce(ctx context.Context, t *Tenant) error {
	const attemptMax = 5 * time.Second
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptMax)
		var made struct{ ID string }
		err := a.Ask(attempt, http.MethodPost, "/v1/tenants",
			map[string]any{"name": t.Slug, "slug": t.Slug, "plan": "enterprise"}, &made)
		if errors.Is(err, ErrAnswer) && strings.Contains(err.Error(), "409") {
			err = a.Ask(attempt, http.MethodGet, "/v1/tenants/"+url.PathEscape(t.Slug), nil, &made)
		}
		cancel()
		if err == nil {
			t.ID = made.ID
			return nil
		}
		if errors.Is(err, ErrAnswer) || ctx.Err() != nil {
			return err
		}
	}
}

// SQL asks the engine itself over its reading door, past everything that panda's
// own readers do, and gives each row's JSON to row. An engine that is away is
// asked again until ctx ends; rows of a broken answer are not given.
func (p *Panda) SQL(ctx context.Context, query string, row func([]byte) error) error {
	const again = 50 * time.Millisecond
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		text, err := p.sqlOnce(ctx, query)
		if err == nil {
			for line := range bytes.Lines(text) {
				if err := row(bytes.TrimSpace(line)); err != nil {
					return fmt.Errorf("read answer of the engine: %w", err)
				}
			}
			return nil
		}
		if errors.Is(err, ErrAnswer) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ask the engine: %w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func (p *Panda) sqlOnce(ctx context.Context, query string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Engine+"/", strings.NewReader(query+" FORMAT JSONEachRow"))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-ClickHouse-User", "reader")
	req.Header.Set("X-ClickHouse-Key", p.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		err := fmt.Errorf("%w: %d: %s", ErrAnswer, res.StatusCode, text)
		if res.StatusCode == http.StatusServiceUnavailable {
			return nil, fmt.Errorf("%d: %s", res.StatusCode, text)
		}
		return nil, err
	}
	return text, nil
}
