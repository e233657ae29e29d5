package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/bench"
	"github.com/agentik-os/panda/internal/warehouse/engine"
	"github.com/agentik-os/panda/schemas"
)

// benchFlags are the flags of `panda bench`.
type benchFlags struct {
	seconds     int
	rows        []string
	monthRows   int
	restartRows int64
	write       string
	quick       bool
	seed        uint64
	role        string
	cpuProfile  string
	dir         string
}

// benchSizes are how long and how large each row is measured.
type benchSizes struct {
	load, paced, insert, peer time.Duration
	tenants, tenantsMany      int
	workers                   int
	monthRows, monthTenants   int
	restartRows, diskRows     int64
	decisions, questions      int
	blockRows                 int // of the blocks that are inserted alone, at most in all
	settle                    time.Duration
}

// benchRun is one run of the bench.
type benchRun struct {
	*app
	flags  benchFlags
	sizes  benchSizes
	self   string
	dir    string
	report bench.Report
}

// The rows, by the name that --rows takes, in the order of the table.
const (
	rowThroughput = "throughput"
	rowShare      = "share"
	rowAck        = "ack"
	rowVisible    = "visible"
	rowDecision   = "decision"
	rowFresh      = "fresh"
	rowFair       = "fair"
	rowFairApart  = "fair-shards"
	rowAlerted    = "alerted"
	rowMonth      = "month"
	rowHour       = "hour"
	rowDisk       = "disk"
	rowRSS        = "rss"
	rowRestart    = "restart"
	rowPeer       = "peer"
	rowTenants    = "tenants"
)

func benchRows() []string {
	return []string{rowThroughput, rowShare, rowAck, rowVisible, rowDecision, rowFresh, rowFair, rowFairApart, rowAlerted, rowMonth, rowHour, rowDisk, rowRSS, rowRestart, rowPeer, rowTenants}
}

// The roles of the command: a person's, and the load generator's.
const (
	benchRoleAll  = ""
	benchRoleLoad = "load"
)

// newBench is `panda bench`.
func newBench(a *app) *cobra.Command {
	b := benchRun{app: a}
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure the pipeline against what its parts do alone", Args: cobra.NoArgs,
		Long: `Measures the pipeline on a directory of its own, and in the same run, on the same
engine and log, what its parts do alone. Nothing else should run on the machine.

Rows: ` + strings.Join(benchRows(), ", ") + `.

The exit code is 1 if a row misses what it must meet.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.flags.role == benchRoleLoad {
				return bench.Generate(cmd.Context(), a.stdin, a.stdout)
			}
			return b.run(cmd.Context(), cmd.Flags().Changed)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&b.flags.seconds, "seconds", 60, "how long the throughput is sustained")
	flags.StringSliceVar(&b.flags.rows, "rows", []string{"all"}, "rows to measure, by name")
	flags.IntVar(&b.flags.monthRows, "events-in-table", 20_000_000, "events in the table of the rows month and hour")
	flags.Int64Var(&b.flags.restartRows, "events", 10_000_000, "events before the restart")
	flags.StringVar(&b.flags.write, "write", "", "file for the report, such as BENCH.md")
	flags.BoolVar(&b.flags.quick, "quick", false, "seconds instead of minutes; says that everything works, not how fast")
	flags.Uint64Var(&b.flags.seed, "seed", 1, "seed of the events")
	flags.StringVar(&b.flags.dir, "dir", "", "directory for the run's data, on the disk to measure (empty: the cache directory)")
	flags.StringVar(&b.flags.role, "role", benchRoleAll, "")
	flags.StringVar(&b.flags.cpuProfile, "cpuprofile", "", "")
	for _, name := range []string{"role", "cpuprofile"} {
		if err := flags.MarkHidden(name); err != nil {
			panic("bench: " + err.Error()) // a flag that is not there: a broken build
		}
	}
	return cmd
}

// settle turns the flags into sizes.
func (b *benchRun) settle(changed func(flag string) bool) error {
	b.sizes = benchSizes{
		load: time.Duration(b.flags.seconds) * time.Second, paced: 20 * time.Second, insert: 10 * time.Second, peer: 10 * time.Second,
		tenants: 100, tenantsMany: 10_000, workers: 16,
		monthRows: b.flags.monthRows, monthTenants: 100, restartRows: b.flags.restartRows, diskRows: 1_000_000,
		decisions: 200_000, questions: 1000, blockRows: 256 << 10, settle: time.Minute,
	}
	if b.flags.quick {
		q := &b.sizes
		q.load, q.paced, q.insert, q.peer = time.Second, time.Second, time.Second/2, time.Second/2
		q.tenantsMany, q.workers, q.monthTenants, q.settle = 200, 8, 20, time.Second
		q.diskRows, q.decisions, q.questions = 20_000, 2000, 50
		if !changed("events-in-table") {
			q.monthRows = 200_000
		}
		if !changed("events") {
			q.restartRows = 20_000
		}
		if changed("seconds") {
			q.load = time.Duration(b.flags.seconds) * time.Second
		}
	}
	if len(b.flags.rows) == 1 && b.flags.rows[0] == "all" {
		b.flags.rows = benchRows()
	}
	for _, name := range b.flags.rows {
		if !slices.Contains(benchRows(), name) {
			return usagef("--rows %q: use all, or some of %s", name, strings.Join(benchRows(), ", "))
		}
	}
	const monthRowsMin = 100_000 // a tenth of them has to fill the hour that is recomputed
	if b.flags.seconds < 1 || b.sizes.monthRows < monthRowsMin || b.sizes.restartRows < 1 {
		return usagef("--seconds and --events must be positive, --events-in-table at least %d", monthRowsMin)
	}
	return nil
}

func (b *benchRun) wants(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(b.flags.rows, n) })
}

func (b *benchRun) run(ctx context.Context, changed func(flag string) bool) (err error) {
	if err := b.settle(changed); err != nil {
		return err
	}
	if _, err := engine.FindLib(b.getenv); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return fmt.Errorf("find own executable: %w", err)
	}
	if err := b.makeDir(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	b.report.Started = time.Now().UTC().Truncate(time.Second)
	b.describe()
	for _, group := range []struct {
		rows []string
		run  func(context.Context) error
	}{
		{[]string{rowAck, rowVisible, rowDecision, rowFresh, rowFair, rowThroughput, rowShare, rowPeer}, b.serving},
		{[]string{rowFairApart}, b.fairApart},
		{[]string{rowAlerted}, b.alerted},
		{[]string{rowDisk}, b.disk},
		{[]string{rowMonth, rowHour}, b.history},
		{[]string{rowRSS, rowRestart}, b.process},
		{[]string{rowTenants}, b.tenantsRow},
	} {
		if !b.wants(group.rows...) {
			continue
		}
		if err := group.run(ctx); err != nil {
			return fmt.Errorf("measure %s: %w", strings.Join(group.rows, ", "), err)
		}
	}
	return b.print()
}

func (b *benchRun) makeDir() error {
	base := b.flags.dir
	if base == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find a directory for the run's data, or name one with --dir: %w", err)
		}
		base = filepath.Join(cache, "panda")
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	var err error
	if b.dir, err = os.MkdirTemp(base, "bench-"); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return nil
}

// describe writes down what a reader needs to judge the figures.
func (b *benchRun) describe() {
	r := &b.report
	r.Fact("started", "%s", r.Started.Format(time.RFC3339))
	r.Machine(b.dir)
	version, commit := buildVersion()
	r.Fact("panda", "%s %s", version, commit)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if strings.HasPrefix(dep.Path, "github.com/nats-io/nats-server/") {
				r.Fact("nats-server", "%s, in the process, sync always", dep.Version)
			}
		}
	}
	s := &b.sizes
	r.Fact("seed", "%d", b.flags.seed)
	r.Fact("rows", "%s", strings.Join(b.flags.rows, ", "))
	r.Fact("throughput", "batches of %d events, %d on the way at a time, %d tenants, %s, then until all is committed",
		benchBatch, s.workers, s.tenants, s.load)
	r.Fact("fair", "a quiet tenant's %d batches/s of %d events, eight times %s alone and as long beside %d connections of another one that sends batches of %d events, each with an agent of its own, as fast as it is answered or refused; their plans are pro and starter; in fair-shards they are in two of four shards",
		benchQuietPace, benchPacedBatch, s.paced/2, benchFloodWorkers, benchBatch)
	r.Fact("ack, visible, decision, fresh", "%d batches/s of %d events, evenly spaced, for %s", benchPace, benchPacedBatch, s.paced)
	r.Fact("alerted", "%d tenants, each with a budget that its first event crosses and a webhook in another goroutine, one after the other, beside %d batches/s of %d events of others", alertTenants, benchPace, benchPacedBatch)
	r.Fact("month, hour", "%s events of %d tenants in one month", grouped(int64(s.monthRows)), s.monthTenants)
	r.Fact("rss, restart", "%s events of %s tenants", grouped(s.restartRows), grouped(int64(s.tenantsMany)))
	r.Fact("tenants", "%s tenants, each with an owner and a key, against %d", grouped(int64(s.tenantsMany)), benchFewTenants)
	if b.flags.quick {
		r.Fact("quick", "a short run: the figures say that everything works, not how fast")
	}
}

// print writes the report where it was asked for.
func (b *benchRun) print() error {
	r := &b.report
	r.Took = time.Since(r.Started).Round(time.Second).String()
	r.Fact("took", "%s", r.Took)
	order := benchRows()
	slices.SortStableFunc(r.Rows, func(x, y bench.Row) int {
		return slices.Index(order, x.Name) - slices.Index(order, y.Name)
	})
	if b.flags.write != "" {
		if err := os.WriteFile(b.flags.write, []byte(r.Markdown()), 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	if err := b.show(text, b.grid, b.draws); err != nil {
		return err
	}
	if r.Missed() && !b.flags.quick {
		return errFoundWrong
	}
	return nil
}

func (b *benchRun) grid() grid {
	g := grid{columns: []column{textColumn("row")}}
	for _, title := range bench.Header() {
		g.columns = append(g.columns, textColumn(title))
	}
	for i := range b.report.Rows {
		g.rows = append(g.rows, append([]string{b.report.Rows[i].Name}, b.report.Rows[i].Cells()...))
	}
	return g
}

func (b *benchRun) draws() {
	b.draw(b.grid())
	b.app.print("\n")
	for _, f := range b.report.Facts {
		b.app.print("%s\n", visible(f.What+": "+f.Value))
	}
	b.app.print("\n")
	for _, d := range b.report.Details {
		b.app.print("%s\n", visible(d.Name+": "+d.What+": "+d.Value))
	}
}

// progress says on standard error what is being measured.
func (b *benchRun) progress(format string, args ...any) {
	b.say("%s  "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

// config is the settings of a pipeline to measure: the defaults, and nothing of
// the user's, on a directory of its own.
func (b *benchRun) config(name string) Config {
	cfg := defaultConfig(b.getenv)
	cfg.Data, cfg.Listen, cfg.LogLevel = filepath.Join(b.dir, name), "127.0.0.1:0", "warn"
	return cfg
}

// start starts a pipeline and waits until it counts.
func (b *benchRun) start(ctx context.Context, name string, shards uint32) (*pipeline, error) {
	return b.startWith(ctx, name, func(cfg *Config) { cfg.Shards = shards })
}

// startWith is start with settings that differ.
func (b *benchRun) startWith(ctx context.Context, name string, change func(*Config)) (*pipeline, error) {
	cfg := b.config(name)
	change(&cfg)
	p, err := startPipeline(ctx, cfg, cfg.logger(b.stderr))
	if err != nil {
		return nil, err
	}
	if err := p.Counting(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// load starts the load generator as a process of its own.
func (b *benchRun) load(ctx context.Context, l bench.Load) (wait func() (bench.Loaded, error), err error) {
	l.Seed = b.flags.seed
	return l.Start(ctx, b.self, "bench", "--role", benchRoleLoad)
}

// currentMonth is the window that events of now count in.
func currentMonth() schemas.Window { return schemas.WindowOf(schemas.GrainMonth, time.Now()) }
