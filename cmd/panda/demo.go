package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/demo"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/schemas"
)

// demoFlags are the flags of `panda demo`.
type demoFlags struct {
	events int
	seed   uint64
	month  string
	keep   bool
	exit   bool
}

// demoRun is one run of the demo.
type demoRun struct {
	*app
	flags  demoFlags
	dir    string
	month  schemas.Window
	record demo.Record
	gen    *demo.Generator

	pipeline *pipeline
	api      *demo.API
	access   []demo.Access // of this run; nil with --keep
	setUp    time.Duration
	// How long each step took; windows wait for what is counted.
	counted, settled time.Duration
}

// newDemo is `panda demo`.
func newDemo(a *app) *cobra.Command {
	d := demoRun{app: a}
	cmd := &cobra.Command{
		Use: "demo", Short: "Load a month of made-up usage and show what it cost", Args: cobra.NoArgs,
		Long: `Starts a pipeline on a directory of its own, sends a month of made-up usage of four
tenants through HTTP and NATS, shows the cost attribution of one of them, compares
every number with what was sent, and verifies the books.

Retries, duplicates, late events, conflicts, bad events, corrections and a model
without a price are among it. The same seed makes the same month. At a million events
the tenants cost what the product's guide shows; with fewer, less.

On a terminal it then serves until it is interrupted. The exit code is 1 if a number
differs from what was sent or a check does not hold.`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if d.dir, err = d.directory(cmd.Flags().Changed("data")); err != nil {
				return err
			}
			return d.run(cmd.Context(), cmd.Flags().Changed("log-level"))
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&d.flags.events, "events", demo.ReferenceEvents, "number of calls")
	flags.Uint64Var(&d.flags.seed, "seed", 1, "seed of the month")
	flags.StringVar(&d.flags.month, "month", "", "month to fill, such as 2026-02 (empty: the last one that is over)")
	flags.BoolVar(&d.flags.keep, "keep", false, "show the demo that is in the directory instead of loading a new one")
	flags.BoolVar(&d.flags.exit, "exit", false, "do not serve afterwards, even on a terminal")
	return cmd
}

// directory returns where the demo keeps its data: never where the user's own
// data is, unless --data says so.
func (d *demoRun) directory(named bool) (string, error) {
	if named {
		return d.cfg.Data, nil
	}
	cache := d.getenv("XDG_CACHE_HOME")
	if cache == "" {
		home := d.getenv("HOME")
		if home == "" {
			return "", schemas.Invalid("/data", schemas.CodeMissing,
				"there is no cache directory; name one for the demo with --data")
		}
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, "panda", "demo"), nil
}

func (d *demoRun) run(ctx context.Context, logLevelSet bool) (err error) {
	if _, err := engine.FindLib(d.getenv); err != nil {
		return err
	}
	if err := d.prepare(ctx, time.Now()); err != nil {
		return err
	}
	// Nothing of the user's settings: a demo must not reach a cluster.
	cfg := defaultConfig(d.getenv)
	cfg.Data, cfg.Listen, cfg.LogLevel = d.dir, "127.0.0.1:0", "warn"
	if logLevelSet {
		cfg.LogLevel = d.cfg.LogLevel
	}
	began := time.Now()
	if d.pipeline, err = startPipeline(ctx, cfg, cfg.logger(d.stderr)); err != nil {
		return err
	}
	defer func() {
		if closeErr := d.pipeline.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("stop the demo's pipeline: %w", closeErr)
		}
	}()
	if err := d.pipeline.Counting(ctx); err != nil {
		return err
	}
	d.setUp = time.Since(began)
	d.api = &demo.API{URL: d.pipeline.URL(), Key: d.pipeline.AdminKey(), HTTP: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: demoConnections},
	}}
	return d.show(ctx)
}

// demoConnections keeps a connection for each of the loader's workers.
const demoConnections = 16

// prepare settles which month is shown and whether it has to be loaded.
func (d *demoRun) prepare(ctx context.Context, now time.Time) (err error) {
	if address, ok := runningServer(ctx, d.dir); ok {
		return fmt.Errorf("%w: %s is served at %s; stop that demo first", eventlog.ErrInUse, d.dir, address)
	}
	if d.flags.keep {
		d.record, err = demo.ReadRecord(d.dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err != nil || d.record.Loaded == nil {
			return schemas.Invalid("/keep", schemas.CodeNotAllowed,
				"there is no finished demo in %s; run panda demo without --keep", d.dir)
		}
	} else {
		d.month = demo.LastMonth(now)
		if d.flags.month != "" {
			if d.month, err = schemas.ParseMonth(d.flags.month); err != nil {
				return err
			}
			if err := demo.CheckMonth(d.month, now); err != nil {
				return err
			}
		}
		d.record = demo.Record{Seed: d.flags.seed, Events: d.flags.events, Month: d.month.String()}
	}
	if d.month, err = schemas.ParseMonth(d.record.Month); err != nil {
		return err
	}
	d.gen, err = demo.NewGenerator(demo.Config{Seed: d.record.Seed, Events: d.record.Events, Month: d.month})
	if err != nil || d.flags.keep {
		return err
	}
	return d.record.Renew(d.dir)
}

// show loads the month, and says what became of it.
func (d *demoRun) show(ctx context.Context) error {
	d.say("seed %d, %s calls in %s, data in %s\n", d.record.Seed, grouped(int64(d.record.Events)), d.record.Month, d.dir)
	if err := d.fill(ctx); err != nil {
		return err
	}
	want, began := d.gen.Expected(), time.Now()
	got, err := demo.Collect(ctx, d.api, d.month)
	if err != nil {
		return err
	}
	d.counted = time.Since(began)
	d.print("\n%s\n", demo.Screen(d.screen(&got)))
	d.draw(d.tenants(&got))
	d.counts(want.Counts, &got)
	different := d.compare(demo.Compare(want, *d.record.Loaded, got), demo.Numbers(want))
	began = time.Now()
	if settled, err := demo.Settle(ctx, d.api); err != nil {
		return err
	} else if !settled {
		d.say("some windows are still being computed; verify leaves them out\n")
	}
	d.settled = time.Since(began)
	verified := d.verify(ctx)
	if verified != nil && !errors.Is(verified, errFoundWrong) {
		return verified
	}
	if err := d.alerts(ctx); err != nil {
		return err
	}
	d.timings(want.Counts.Sent)
	if err := d.serveOn(ctx); err != nil {
		return err
	}
	return errors.Join(different, verified)
}

// fill sends the month, or with --keep makes it once more without sending.
func (d *demoRun) fill(ctx context.Context) error {
	if d.flags.keep {
		for _, ok := d.gen.Next(); ok; _, ok = d.gen.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if d.access, err = demo.Setup(ctx, d.api); err != nil {
		return err
	}
	loader := &demo.Loader{URL: d.api.URL, HTTP: d.api.HTTP, Access: d.access, Publish: d.pipeline.Publish}
	progress := demo.Progress{W: d.stderr, Terminal: isTerminal(d.stderr),
		Total: int64(d.record.Events), Sent: loader.Sent}
	drawing, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		progress.Run(drawing)
	}()
	loaded, err := loader.Load(ctx, d.gen)
	stop()
	<-done
	if err != nil {
		return err
	}
	d.record.Loaded = &loaded
	return d.record.Write(d.dir)
}

// screen is the first tenant's cost attribution.
func (d *demoRun) screen(got *demo.Got) demo.ScreenData {
	t := demo.Tenants()[0]
	total, _ := schemas.MoneyFromBig(got.Usage[0].Total.Cost) // it was a Money in the answer
	return demo.ScreenData{
		Tenant: t.Name, Month: d.month, Current: d.month.Contains(time.Now()), Total: total,
		Budget: schemas.Mul(schemas.PicoPerUSD, t.Budget), HasBudget: t.Budget > 0,
		Models: got.Models, Agents: got.Agents,
	}
}

// tenants is the table of all tenants.
func (d *demoRun) tenants(got *demo.Got) grid {
	g := grid{columns: []column{textColumn("name"), textColumn("plan"), numberColumn("agents"),
		numberColumn("calls"), numberColumn("errors"), numberColumn("unpriced"), numberColumn("tokens"),
		numberColumn("cost/mo"), textColumn("status")}}
	var sum schemas.Money
	for i, t := range demo.Tenants() {
		u := &got.Usage[i].Total
		cost, _ := schemas.MoneyFromBig(u.Cost)
		sum = sum.Add(cost)
		g.rows = append(g.rows, []string{t.Name, t.Plan, grouped(int64(len(got.Usage[i].ByAgent))),
			grouped(u.Calls), grouped(u.Errors), grouped(u.Unpriced), grouped(u.Tokens.Total()),
			cost.Display(), got.Status[i]})
	}
	g.footer = []string{"Total", "", "", grouped(got.Summary.Calls), "", grouped(got.Summary.Unpriced),
		grouped(got.Summary.TokensTotal), sum.Display(), ""}
	return g
}

// counts says what became of everything that was sent. The numbers are panda's;
// only the order of sending is known to the sender alone.
func (d *demoRun) counts(sent demo.Counts, got *demo.Got) {
	doors, counted := d.record.Loaded, &got.Summary
	d.print("\n%s events sent, %s requests and %s NATS messages:\n",
		grouped(sent.Sent), grouped(doors.Requests), grouped(doors.Messages))
	for _, line := range []struct {
		n    int64
		text string
	}{
		{counted.Accepted, "accepted, each counted once"},
		{doors.Duplicates + counted.Duplicates, "duplicates: the same event again, not counted again"},
		{counted.Conflicts, "conflicts: the same id with other content, kept aside; the first counts"},
		{doors.Rejected, "rejected by the gateway, with a reason each"},
		{counted.Quarantined, "quarantined: bad messages that came past the gateway, and voids of nothing"},
		{sent.OutOfOrder, "of the accepted came late: more than an hour behind what was sent before"},
		{counted.Unpriced, "of the accepted have no known price, and so no cost"},
	} {
		d.print("%11s  %s\n", grouped(line.n), line.text)
	}
	if doors.Resent > 0 {
		d.print("%11s  were sent again because their answer was lost; some may have arrived twice\n", grouped(doors.Resent))
	}
}

// compare says whether the numbers are those that were sent.
func (d *demoRun) compare(found []demo.Mismatch, compared int) error {
	const shownMax = 20
	if len(found) == 0 {
		d.print("\n%s the sums equal what was sent, to the pico-dollar (%s numbers compared)\n",
			d.paint(d.sign("✓", "ok"), text.FgGreen), grouped(int64(compared)))
		return nil
	}
	d.print("\n%s %s of %s differ from what was sent:\n", d.paint(d.sign("✗", "FAIL"), text.FgRed, text.Bold),
		grouped(int64(len(found))), plural(int64(compared), "number", "numbers"))
	for _, m := range found[:min(len(found), shownMax)] {
		d.print("    %s\n", m)
	}
	if len(found) > shownMax {
		d.print("    and %s more\n", grouped(int64(len(found)-shownMax)))
	}
	return errFoundWrong
}

// verify runs panda's own checks and prints them.
func (d *demoRun) verify(ctx context.Context) error {
	d.print("\n")
	c := &apiClient{base: d.api.URL, key: d.api.Key, http: d.api.HTTP}
	res, err := c.send(ctx, request{method: http.MethodPost, path: "/v1/verify",
		header: http.Header{"Accept": {"application/x-ndjson"}}})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer res.Body.Close()
	return d.drawVerify(res.Body)
}

// alerts says which budgets and quotas are nearly used up.
func (d *demoRun) alerts(ctx context.Context) error {
	c := &apiClient{base: d.api.URL, key: d.api.Key, http: d.api.HTTP}
	page, _, err := call[alertPage](ctx, c, get("/v1/alerts", params("state", "firing", "limit", "20")))
	if err != nil {
		return fmt.Errorf("list alerts: %w", err)
	}
	if len(page.Alerts) == 0 {
		return nil
	}
	names := map[string]string{}
	tenants, _, err := call[listPage[tenantView]](ctx, c, get("/v1/tenants", nil))
	if err != nil {
		return fmt.Errorf("list tenants: %w", err)
	}
	for i := range tenants.Items {
		names[tenants.Items[i].ID] = tenants.Items[i].Name
	}
	d.print("\n%s:\n", plural(int64(len(page.Alerts)), "alert fires", "alerts fire"))
	for i := range page.Alerts {
		l := &page.Alerts[i]
		d.print("  %3d%%  %s: %s\n", l.Threshold, visible(names[l.Tenant]), visible(l.Title))
	}
	return nil
}

func (d *demoRun) timings(sent int64) {
	doors := d.record.Loaded
	rate := int64(0)
	if ms := doors.Took.Milliseconds(); ms > 0 {
		rate = sent * 1000 / ms
	}
	const digits = 10 * time.Millisecond
	d.print("\nset up in %s, loaded in %s (%s events/s, every one on disk before its answer)\n",
		d.setUp.Round(digits), doors.Took.Round(digits), grouped(rate))
	d.print("counted %s after the last answer, windows ready %s after that\n", d.counted.Round(digits), d.settled.Round(digits))
}

// serveOn says how to go on and, on a terminal, waits to be interrupted.
func (d *demoRun) serveOn(ctx context.Context) error {
	serves := isTerminal(d.stdout) && !d.flags.exit
	slug, at := demo.Tenants()[0].Slug, "--data "+quoted(d.dir)
	d.print("\nWhat to try next:\n"+
		"  panda %s usage --tenant %s --month %s --by department,model\n"+
		"  panda %s cost --month %s\n"+
		"  panda %s quarantine list\n"+
		"  panda %s conflicts list\n"+
		"  panda %s prices show claude-opus-4-6\n", at, slug, d.month, at, d.month, at, at, at)
	if !serves {
		d.print("  panda demo --keep %s\n", at)
		return nil
	}
	d.print("\nServing at %s until Ctrl-C. The platform's key is in %s.\n",
		d.api.URL, filepath.Join(d.dir, "admin.key"))
	if d.access != nil {
		d.print("A key of %s, for sending and reading:\n  %s\n", demo.Tenants()[0].Name, d.access[0].Key)
	}
	return d.pipeline.Wait(ctx)
}

// quoted returns a path as a shell reads it.
func quoted(path string) string {
	for _, r := range path {
		if !strings.ContainsRune("/.-_", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
		}
	}
	return path
}
