package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/schollz/progressbar/v3"
)

// operation is work that a server does after it has answered, as GET
// /v1/operations/{id} shows it.
type operation struct {
	ID     string          `json:"id"`
	Status string          `json:"status"` // running, done or failed
	Step   string          `json:"step"`
	Part   int64           `json:"part"`
	Whole  int64           `json:"whole"` // 0 while it is not known
	Result json.RawMessage `json:"result"`
	// Problem is why it failed, as the request itself would have been answered.
	Problem *apiError `json:"problem"`
}

// operationEvery is how often an operation is asked for: often enough to look alive,
// and nothing to a server.
const operationEvery = time.Second

// finished makes a request and returns its answer. If the server answers that it has
// begun, finished waits for the end and shows on standard error how far it is; what the
// user then ends is the waiting, not the work.
func (a *app) finished(ctx context.Context, c *apiClient, r request, what string) (json.RawMessage, error) {
	res, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	body, err := readAnswer(res, r.path)
	if err != nil || res.StatusCode != http.StatusAccepted {
		return body, err
	}
	var begun struct {
		Operation operation `json:"operation"`
	}
	if err := json.Unmarshal(body, &begun); err != nil || begun.Operation.ID == "" {
		return nil, fmt.Errorf("read the answer of %s: it was accepted and names no operation", r.path)
	}
	return a.awaitOperation(ctx, c, begun.Operation.ID, what)
}

func (a *app) awaitOperation(ctx context.Context, c *apiClient, id, what string) (json.RawMessage, error) {
	show, end := a.operationProgress(what)
	defer end()
	tick := time.NewTicker(operationEvery)
	defer tick.Stop()
	for {
		op, _, err := call[operation](ctx, c, get("/v1/operations/"+url.PathEscape(id), nil))
		if err != nil {
			return nil, fmt.Errorf("%s goes on without us; ask again with the same command: %w", what, err)
		}
		switch op.Status {
		case "done":
			return op.Result, nil
		case "failed":
			if op.Problem == nil {
				op.Problem = &apiError{Status: http.StatusInternalServerError, Detail: "it failed, and the server does not say why"}
			}
			return nil, fmt.Errorf("%s: %w", what, op.Problem)
		}
		show(&op)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// operationProgress shows how far an operation is: a bar on a terminal, else a line
// when the step changes or some seconds have passed.
func (a *app) operationProgress(what string) (show func(*operation), end func()) {
	if isTerminal(a.stderr) {
		bar := progressbar.NewOptions64(-1, progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription(what),
			progressbar.OptionSetWidth(30), progressbar.OptionUseANSICodes(true), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetTheme(a.barTheme()))
		return func(op *operation) {
			bar.Describe(what + " " + visible(op.Step))
			if op.Whole > 0 && bar.GetMax64() != op.Whole {
				bar.ChangeMax64(op.Whole)
			}
			_ = bar.Set64(min(op.Part, barLimit(op.Whole))) // a terminal that cannot be written to is no reason to stop
		}, func() { _ = bar.Clear() }
	}
	var said time.Time
	var step string
	return func(op *operation) {
		if op.Step == step && time.Since(said) < linesEvery {
			return
		}
		said, step = time.Now(), op.Step
		share := ""
		if op.Whole > 0 {
			share = fmt.Sprintf(" %s of %s", grouped(op.Part), grouped(op.Whole))
		}
		a.say("%s: %s%s\n", what, visible(orDash(op.Step)), share)
	}, func() {}
}
