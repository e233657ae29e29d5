package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const importLong = `Bring usage history in from files: CSV with a header row, or JSONL with one
CloudEvent or one flat object per line, or a file of panda export; plain, gzip or
zstd; - is standard input.

Columns that are called like a target are taken as they are; --map TARGET=COLUMN
takes others, --set TARGET=VALUE gives every row the same. Targets:
  %s
Counts are whole numbers; 1,234 and 12.0 are refused. Times are RFC 3339,
"2006-01-02 15:04:05.999" in UTC, or Unix time in whole seconds, milliseconds or
microseconds; --time-format says so otherwise.

Importing a file twice counts it once. Every row has an id that is the same on
every run: the mapped id, else a hash of what the mapped cells of the row say and,
among rows that say the same, the how-manieth it is. The name and place of the file
and --set are no part of it, nor are lines before or after it. So:
  - rows that are alike in one file are counted as so many calls;
  - a file that has grown is imported again, and the new lines are counted;
  - another --map takes other cells, which makes other ids: the rows count again;
  - the same rows with another --set are conflicts: the first stays;
  - rows that are alike in two files are the same calls. If they are not, because
    the files come from two machines, give each its --source.

An interrupted import goes on where it stopped when the command is run again.
The exit code is 1 if rows were rejected or are in conflict.`

// importFlags are the flags of import.
type importFlags struct {
	tenant, format, source, timeFormat string
	maps, sets                         []string
	dryRun, restart                    bool
	workers, errorsMax                 int
}

// newImport is `panda import`.
func newImport(a *app) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use: "import FILE…", Short: "Bring usage history in from CSV or JSONL", Args: cobra.MinimumNArgs(1),
		Long: fmt.Sprintf(importLong, wrapped(targetNames(), 78, "  ")),
		Example: "  panda import events.jsonl.gz --tenant acme-corp\n" +
			"  panda import trace.csv --tenant acme-corp --set model=gpt-4 \\\n" +
			"    --map time=TIMESTAMP,input_tokens=ContextTokens,output_tokens=GeneratedTokens",
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if f.dryRun {
				return a.importFiles(cmd.Context(), nil, f, files)
			}
			return a.with(cmd.Context(), func(c *apiClient) error { return a.importFiles(cmd.Context(), c, f, files) })
		},
	}
	a.tenantFlag(cmd, &f.tenant)
	fs := cmd.Flags()
	fs.StringVar(&f.format, "format", formatAuto, "csv, jsonl or auto: told by the content")
	fs.StringSliceVar(&f.maps, "map", nil, "TARGET=COLUMN, separated by commas")
	fs.StringArrayVar(&f.sets, "set", nil, "TARGET=VALUE for every row; give it again for more")
	fs.StringVar(&f.source, "source", "import", "source of rows that bring none")
	fs.StringVar(&f.timeFormat, "time-format", timeAuto, "auto, unix, unix_ms, unix_us or a layout such as \"02.01.2006 15:04\"")
	fs.BoolVar(&f.dryRun, "dry-run", false, "read and check everything, send nothing")
	fs.BoolVar(&f.restart, "restart", false, "send all rows, even if an interrupted run sent some")
	fs.IntVar(&f.workers, "workers", 2, "how many batches are under way at once")
	fs.IntVar(&f.errorsMax, "max-errors", 100, "give up after so many rejected rows (0: never)")
	return cmd
}

func (f *importFlags) check() error {
	const workersMax = 32 // more only queue up at the log
	switch {
	case f.format != formatAuto && f.format != formatCSV && f.format != formatJSONL:
		return usagef("--format %q: use csv, jsonl or auto", f.format)
	case f.workers < 1 || f.workers > workersMax:
		return usagef("--workers %d: use 1 to %d", f.workers, workersMax)
	case f.errorsMax < 0:
		return usagef("--max-errors %d is negative", f.errorsMax)
	case f.source == "":
		return usagef("--source is empty")
	}
	_, err := newMapping(f.maps, f.sets, f.source, f.timeFormat)
	return err
}

// importFiles imports files one after the other; a nil client is a dry run.
func (a *app) importFiles(ctx context.Context, c *apiClient, f importFlags, files []string) error {
	var results []importResult
	var failed error
	for _, path := range files {
		r, err := a.importFile(ctx, c, f, path)
		var usage usageError
		if r != nil && !errors.As(err, &usage) {
			results = append(results, *r)
			if a.output == outputTable {
				a.drawImport(r, f)
			}
		}
		if err != nil {
			failed = err
			if !errors.Is(err, errFoundWrong) {
				break // another file would meet the same
			}
		}
	}
	if err := a.showImports(results); err != nil {
		return err
	}
	return failed
}

// importFile imports a file. The result is what was done, even with an error.
func (a *app) importFile(ctx context.Context, c *apiClient, f importFlags, path string) (*importResult, error) {
	in, size, closeFile, err := a.openImport(path)
	if err != nil {
		return nil, err
	}
	defer closeFile()
	m, err := newMapping(f.maps, f.sets, f.source, f.timeFormat)
	if err != nil {
		return nil, err
	}
	counted := &countingReader{r: in}
	rows, closeRows, err := openRows(counted, f.format)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", baseName(path), err)
	}
	defer closeRows()
	if _, agents := rows.(*agentsRows); agents {
		f.workers = 1 // in the order of the log: a void finds what it takes back
	}
	run := &importRun{
		client: c, flags: f, mapping: m, rows: rows,
		result: &importResult{File: baseName(path), DryRun: c == nil},
	}
	if err := run.bindHeader(); err != nil {
		return nil, fmt.Errorf("%s: %w", baseName(path), err)
	}
	if c != nil && path != "-" {
		run.state = a.openImportState(path, f)
		run.skip = run.state.resume(ctx, c, f)
		if run.skip > 0 {
			a.say("%s: going on after row %s, where an earlier run stopped; --restart sends all rows.\n", baseName(path), grouped(run.skip))
		}
	}
	stop := a.startProgress(baseName(path), size, counted, run)
	err = run.do(ctx)
	stop()
	if err != nil && !errors.Is(err, errFoundWrong) {
		err = fmt.Errorf("%s: %w", baseName(path), err)
	}
	return run.finish(), err
}

// openImport opens a file or standard input; the size of the latter is -1.
func (a *app) openImport(path string) (io.Reader, int64, func(), error) {
	if path == "-" {
		return a.stdin, -1, func() {}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, nil, usageError{err}
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		_ = file.Close()
		return nil, 0, nil, usageError{err}
	}
	size := info.Size()
	if !info.Mode().IsRegular() {
		size = -1
	}
	return file, size, func() { _ = file.Close() }, nil
}

// importResult is what an import did. It is what -o json prints.
type importResult struct {
	File    string `json:"file"`
	DryRun  bool   `json:"dry_run,omitempty"`
	Read    int64  `json:"rows"`
	Skipped int64  `json:"skipped"`
	// Accepted rows are counted now and were not before.
	Accepted   int64 `json:"accepted"`
	Duplicates int64 `json:"duplicates"`
	Conflicts  int64 `json:"conflicts"`
	// Uncounted rows were acknowledged and then quarantined.
	Uncounted int64      `json:"quarantined"`
	Rejected  int64      `json:"rejected"`
	Errors    []rowError `json:"errors"`
	// First and Last are the span of the rows' times.
	First *time.Time `json:"first,omitempty"`
	Last  *time.Time `json:"last,omitempty"`

	unused, absent []string
	complete       bool
}

// A rowError is why a row was rejected.
type rowError struct {
	Line   int64  `json:"line"`
	Column string `json:"column,omitempty"`
	Detail string `json:"detail"`
}

// drawImport writes the result for people.
func (a *app) drawImport(r *importResult, f importFlags) {
	for _, e := range r.Errors {
		if e.Column != "" {
			a.say("%s: line %d, column %s: %s\n", r.File, e.Line, visible(e.Column), visible(e.Detail))
		} else {
			a.say("%s: line %d: %s\n", r.File, e.Line, visible(e.Detail))
		}
	}
	if more := r.Rejected - int64(len(r.Errors)); more > 0 {
		a.say("%s: and %s more\n", r.File, plural(more, "rejected row", "rejected rows"))
	}
	if len(r.absent) > 0 {
		a.say("%s: columns of --map that no row has: %s\n", r.File, visible(strings.Join(r.absent, ", ")))
	}
	if len(r.unused) > 0 {
		a.say("%s: columns not used: %s\n", r.File, visible(strings.Join(r.unused, ", ")))
	}
	stopped := ""
	if !r.complete {
		stopped = "stopped; so far "
	}
	a.print("%s: %s%s read: ", visible(r.File), stopped, plural(r.Read, "row", "rows"))
	if r.DryRun {
		a.print("%s good, %s rejected; a dry run, nothing was sent", grouped(r.Accepted), grouped(r.Rejected))
	} else {
		a.print("%s accepted, %s, %s rejected", grouped(r.Accepted), plural(r.Duplicates, "duplicate", "duplicates"), grouped(r.Rejected))
	}
	for _, extra := range []struct {
		count int64
		text  string
	}{{r.Conflicts, "in conflict"}, {r.Uncounted, "quarantined"}, {r.Skipped, "sent by an earlier run"}} {
		if extra.count > 0 {
			a.print(", %s %s", grouped(extra.count), extra.text)
		}
	}
	a.print("\n")
	if !r.complete {
		return
	}
	if r.Conflicts > 0 {
		a.print("Rows in conflict have the id of an event with other content, which stays. See: panda conflicts list%s\n", tenantHint(f))
	}
	if r.Uncounted > 0 {
		a.print("See: panda quarantine list%s\n", tenantHint(f))
	}
	if r.Accepted > 0 && r.First != nil && !r.DryRun {
		a.print("Times from %s to %s UTC. See: panda cost%s --month %s\n", stamp(*r.First), stamp(*r.Last), tenantHint(f),
			r.Last.UTC().Format("2006-01"))
	}
}

func tenantHint(f importFlags) string {
	if f.tenant == "" {
		return ""
	}
	return " --tenant " + f.tenant
}

// showImports writes the results as JSON or CSV.
func (a *app) showImports(results []importResult) error {
	if len(results) == 0 || a.output == outputTable {
		return nil
	}
	body, err := json.Marshal(map[string]any{"files": results})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return a.show(body, func() grid {
		g := grid{columns: []column{textColumn("file"), numberColumn("rows"), numberColumn("accepted"), numberColumn("duplicates"),
			numberColumn("conflicts"), numberColumn("quarantined"), numberColumn("rejected"), numberColumn("skipped")}}
		for _, r := range results {
			cells := []string{r.File}
			for _, n := range []int64{r.Read, r.Accepted, r.Duplicates, r.Conflicts, r.Uncounted, r.Rejected, r.Skipped} {
				cells = append(cells, strconv.FormatInt(n, 10))
			}
			g.rows = append(g.rows, cells)
		}
		return g
	}, nil)
}

// wrapped breaks a list into lines.
func wrapped(list string, width int, indent string) string {
	var b strings.Builder
	at := 0
	for i, word := range strings.Split(list, " ") {
		if at+len(word)+1 > width {
			b.WriteString("\n" + indent)
			at = 0
		} else if i > 0 {
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}
