package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
)

// verifyLine is a line of the answer of POST /v1/verify. The last has no check.
type verifyLine struct {
	Repaired string `json:"repaired"`

	Check    string   `json:"check"`
	OK       bool     `json:"ok"`
	Skipped  string   `json:"skipped"`
	Detail   string   `json:"detail"`
	Findings []string `json:"findings"`

	Checks int64 `json:"checks"`
	TookMS int64 `json:"took_ms"`
}

// newVerify is `panda verify`.
func newVerify(a *app) *cobra.Command {
	var repair bool
	var replay string
	cmd := &cobra.Command{
		Use: "verify", Short: "Prove that log, ledger, raw rows and rollups agree", Args: cobra.NoArgs,
		Long: `Verify recomputes the numbers of every stage and compares them, reads every file of
the warehouse against its checksum, and judges some ranges of the log again. It changes
nothing, unless --repair is given. The exit code is 1 if a check does not hold.

With --repair, what is found is mended from what it was made of: damaged files are taken
out, rows and keys are written again from the log as far as it reaches back, windows are
made again from rows. The log and the ledger are never changed, and no row is taken away.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				res, err := c.send(cmd.Context(), request{method: http.MethodPost, path: "/v1/verify",
					query: params("repair", map[bool]string{true: "1"}[repair], "replay", replay), header: http.Header{"Accept": {"application/x-ndjson"}}})
				if err != nil {
					return err
				}
				defer res.Body.Close()
				return a.drawVerify(res.Body)
			})
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what is found, from the log and from the rows")
	cmd.Flags().StringVar(&replay, "replay", "", "how many ranges of the log are judged again: a number, or all (default 8, chosen at random)")
	return cmd
}

// drawVerify writes each check as it comes. An answer without its last line
// proves nothing.
func (a *app) drawVerify(answer io.Reader) error {
	lines := bufio.NewScanner(answer)
	lines.Buffer(nil, problemBytesMax)
	g := grid{columns: []column{textColumn("check"), textColumn("ok"), textColumn("skipped"),
		textColumn("detail"), textColumn("findings")}}
	failed := 0
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var v verifyLine
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return fmt.Errorf("read the answer of verify: %w", err)
		}
		if a.output == outputJSON {
			a.print("%s\n", lines.Bytes())
		}
		if v.Repaired != "" {
			if a.output == outputTable {
				a.print("%s %s\n", a.paint(a.sign("↻", "mended:"), text.FgYellow), visible(v.Repaired))
			}
			continue
		}
		if v.Check == "" {
			return a.endVerify(g, v, failed)
		}
		if !v.OK {
			failed++
		}
		g.rows = append(g.rows, []string{v.Check, fmt.Sprint(v.OK), v.Skipped, v.Detail, strings.Join(v.Findings, "; ")})
		if a.output == outputTable {
			a.drawCheck(v)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the answer of verify: %w", err)
	}
	return fmt.Errorf("read the answer of verify: it ended before the last line, so nothing is proved: %w", io.ErrUnexpectedEOF)
}

func (a *app) drawCheck(v verifyLine) {
	mark := a.paint(a.sign("✓", "ok  "), text.FgGreen)
	if v.Skipped != "" {
		mark = a.sign("–", "-   ")
	}
	if !v.OK {
		mark = a.paint(a.sign("✗", "FAIL"), text.FgRed, text.Bold)
	}
	a.print("%s %s", mark, visible(v.Check))
	if v.Detail != "" {
		a.print(": %s", visible(v.Detail))
	}
	if v.Skipped != "" {
		a.print(" (not checked: %s)", visible(v.Skipped))
	}
	a.print("\n")
	const findingsShown = 20
	for i, f := range v.Findings {
		if i == findingsShown {
			a.print("    and %d more; all of them: -o json\n", len(v.Findings)-i)
			break
		}
		a.print("    %s\n", visible(f))
	}
}

// endVerify writes the verdict.
func (a *app) endVerify(g grid, v verifyLine, failed int) error {
	switch a.output {
	case outputCSV:
		if err := a.writeCSV(g); err != nil {
			return err
		}
	case outputTable:
		took := time.Duration(v.TookMS) * time.Millisecond
		if v.OK && failed == 0 {
			a.print("\n%s in %s.\n", a.paint("Everything agrees: "+plural(v.Checks, "check", "checks"), text.FgGreen), took)
		} else {
			a.print("\n%s in %s.\n", a.paint(fmt.Sprintf("NOT everything agrees: %d of %s failed", failed,
				plural(v.Checks, "check", "checks")), text.FgRed, text.Bold), took)
		}
	}
	if !v.OK || failed > 0 {
		return errFoundWrong
	}
	return nil
}
