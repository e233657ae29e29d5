package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// auditEntry is a line of the audit log as the API shows it.
type auditEntry struct {
	Seq      uint64    `json:"seq"`
	At       time.Time `json:"at"`
	Actor    string    `json:"actor"`
	IP       string    `json:"ip"`
	Action   string    `json:"action"`
	TenantID string    `json:"tenant_id"`
	Changes  map[string]struct {
		From json.RawMessage `json:"from"`
		To   json.RawMessage `json:"to"`
	} `json:"changes"`
	Outcome string `json:"outcome"`
	Detail  string `json:"detail"`
	Times   int64  `json:"times"`
}

func newAuditLog(a *app) *cobra.Command {
	var tenant, action, actor, outcome, from, to string
	var limit int
	cmd := &cobra.Command{
		Use: "log", Short: "Show the audit log, the newest first", Args: cobra.NoArgs,
		Long: "Shows every change of tenants, limits, budgets, people and keys, with who made it, from where, and what\n" +
			"was before and after; and every attempt that was refused. --action takes one such as quota.updated, or\n" +
			"quota. for all that begin so.",
		Example: "  panda audit log --tenant acme-corp --action quota.updated\n  panda audit log --outcome refused --from 2026-02-01 -o csv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit %d: a count is not negative", limit)
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				body, entries, err := allPages(cmd.Context(), c, "/v1/audit", params("tenant", tenant, "action", action, "actor", actor,
					"outcome", outcome, "from", from, "to", to), "items", limit, listPage[auditEntry].read)
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return auditCSV(entries) }, func() {
					if len(entries) == 0 {
						a.print("Nothing is recorded that is like that.\n")
						return
					}
					a.draw(auditGrid(entries))
				})
			})
		},
	}
	f := cmd.Flags()
	a.tenantFlag(cmd, &tenant)
	f.StringVar(&action, "action", "", "only this action, such as quota.updated, or quota. for all of them")
	f.StringVar(&actor, "actor", "", "only what this actor did, such as key:abc or user:mem_abc")
	f.StringVar(&outcome, "outcome", "", "only this outcome: ok or refused")
	f.StringVar(&from, "from", "", "from this day or time on, such as 2026-02-14 or 2026-02-14T09:00:00Z")
	f.StringVar(&to, "to", "", "before this day or time")
	f.IntVarP(&limit, "limit", "n", 50, "how many at most (0: all)")
	_ = cmd.RegisterFlagCompletionFunc("outcome", cobra.FixedCompletions([]string{"ok", "refused"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func auditGrid(entries []auditEntry) grid {
	g := grid{columns: []column{textColumn("at"), textColumn("actor"), textColumn("ip"), textColumn("action"), textColumn("tenant"),
		textColumn("outcome"), textColumn("what")}}
	for i := range entries {
		e := &entries[i]
		g.rows = append(g.rows, []string{stamp(e.At), e.Actor, e.IP, e.Action, e.TenantID, e.Outcome, e.what("\n")})
	}
	return g
}

func auditCSV(entries []auditEntry) grid {
	g := grid{columns: []column{numberColumn("seq"), textColumn("at"), textColumn("actor"), textColumn("ip"), textColumn("action"),
		textColumn("tenant_id"), textColumn("outcome"), textColumn("what")}}
	for i := range entries {
		e := &entries[i]
		g.rows = append(g.rows, []string{strconv.FormatUint(e.Seq, 10), instant(e.At), e.Actor, e.IP, e.Action, e.TenantID, e.Outcome, e.what("; ")})
	}
	return g
}

// what says what was changed: "max_agents: 100 → 200".
func (e *auditEntry) what(between string) string {
	var parts []string
	names := make([]string, 0, len(e.Changes))
	for name := range e.Changes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c := e.Changes[name]
		switch {
		case len(c.From) == 0:
			parts = append(parts, name+": "+auditValue(c.To))
		default:
			parts = append(parts, name+": "+auditValue(c.From)+" -> "+auditValue(c.To))
		}
	}
	if e.Detail != "" {
		parts = append(parts, e.Detail)
	}
	if e.Times > 1 {
		parts = append(parts, fmt.Sprintf("%d times", e.Times))
	}
	return strings.Join(parts, between)
}

// auditValue is a value before or after: text without its quotes.
func auditValue(raw json.RawMessage) string {
	var text string
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "none"
	case json.Unmarshal(raw, &text) == nil:
		return text
	}
	return string(raw)
}
