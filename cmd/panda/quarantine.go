package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// quarantined is an event that could not be judged, as GET /v1/quarantine shows it.
type quarantined struct {
	ID         string    `json:"id"`
	Tenant     string    `json:"tenant"`
	ReceivedAt time.Time `json:"received_at"`
	Subject    string    `json:"subject"`
	Reason     string    `json:"reason"`
	Pointer    string    `json:"pointer"`
	Detail     string    `json:"detail"`
	Body       string    `json:"body"`
	State      string    `json:"state"`
}

type quarantinePage struct {
	Quarantine []quarantined `json:"quarantine"`
	NextCursor string        `json:"next_cursor"`
}

// newQuarantine is `panda quarantine`.
func newQuarantine(a *app) *cobra.Command {
	return group("quarantine", "See and replay events that could not be judged",
		newQuarantineList(a), newQuarantineShow(a), newQuarantineReplay(a))
}

// quarantine lists what is quarantined; state "" is everything, limit 0 is all.
func (c *apiClient) quarantine(ctx context.Context, tenant, state string, limit int) ([]byte, []quarantined, error) {
	return allPages(ctx, c, "/v1/quarantine", params("tenant", tenant, "state", state), "quarantine", limit,
		func(p quarantinePage) ([]quarantined, string) { return p.Quarantine, p.NextCursor })
}

func newQuarantineList(a *app) *cobra.Command {
	var tenant string
	var all bool
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List quarantined events, the newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state := "open"
			if all {
				state = ""
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				body, list, err := c.quarantine(cmd.Context(), tenant, state, limit)
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return quarantineGrid(list) }, func() {
					if len(list) == 0 {
						a.print("Nothing is quarantined.\n")
						return
					}
					a.draw(quarantineGrid(list))
					a.print("\nSee one whole with: panda quarantine show ID; after a fix: panda quarantine replay ID\n")
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	cmd.Flags().BoolVar(&all, "all", false, "those that were replayed, too")
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "how many at most (0: all)")
	return cmd
}

func quarantineGrid(list []quarantined) grid {
	g := grid{columns: []column{textColumn("id"), textColumn("received"), textColumn("tenant"), textColumn("reason"),
		textColumn("where"), proseColumn("detail"), textColumn("state")}}
	for _, q := range list {
		g.rows = append(g.rows, []string{q.ID, stamp(q.ReceivedAt), q.Tenant, q.Reason, q.Pointer, q.Detail, q.State})
	}
	return g
}

func newQuarantineShow(a *app) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show a quarantined event, its reason and its bytes", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				// There is no address for a single one; the list is short.
				_, list, err := c.quarantine(cmd.Context(), tenant, "", 0)
				if err != nil {
					return err
				}
				for _, q := range list {
					if q.ID != args[0] {
						continue
					}
					body, err := json.Marshal(q)
					if err != nil {
						return fmt.Errorf("encode: %w", err)
					}
					return a.show(body, func() grid { return quarantineGrid([]quarantined{q}) }, func() { a.drawQuarantined(q) })
				}
				return &apiError{Status: http.StatusNotFound, Detail: fmt.Sprintf("nothing is quarantined under %q", args[0])}
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	return cmd
}

func (a *app) drawQuarantined(q quarantined) {
	a.fields([][2]string{
		{"ID", q.ID}, {"State", q.State}, {"Tenant", q.Tenant}, {"Received", stamp(q.ReceivedAt)}, {"Subject", q.Subject},
		{"Reason", q.Reason}, {"Where", q.Pointer}, {"Detail", q.Detail},
	})
	var pretty strings.Builder
	encoder := json.NewEncoder(&pretty)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if !json.Valid([]byte(q.Body)) || encoder.Encode(json.RawMessage(q.Body)) != nil {
		pretty.Reset()
		pretty.WriteString(q.Body + "\n")
	}
	a.print("\n%s", visible(pretty.String()))
}

func newQuarantineReplay(a *app) *cobra.Command {
	var tenant, reason, file string
	var all bool
	cmd := &cobra.Command{
		Use: "replay ID…", Short: "Send quarantined events again, as they are or corrected",
		Example: "  panda quarantine replay 1042-3\n  panda quarantine replay 1042-3 --file corrected.json\n" +
			"  panda quarantine replay --all --reason unknown_tenant",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkReplay(args, all, reason, file); err != nil {
				return err
			}
			corrected, err := a.readSmall(file)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				if all {
					_, list, err := c.quarantine(cmd.Context(), tenant, "open", 0)
					if err != nil {
						return err
					}
					for _, q := range list {
						if reason == "" || q.Reason == reason {
							args = append(args, q.ID)
						}
					}
				}
				return a.replay(cmd.Context(), c, tenant, args, corrected)
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	cmd.Flags().BoolVar(&all, "all", false, "all that are open")
	cmd.Flags().StringVar(&reason, "reason", "", "with --all: only those with this reason")
	cmd.Flags().StringVar(&file, "file", "", "corrected event that replaces the stored one (- is standard input)")
	return cmd
}

func checkReplay(ids []string, all bool, reason, file string) error {
	switch {
	case all == (len(ids) > 0):
		return usagef("give ids, or --all")
	case reason != "" && !all:
		return usagef("--reason goes with --all")
	case file != "" && len(ids) != 1:
		return usagef("--file corrects one event; give its id")
	}
	return nil
}

// readSmall reads a file that goes into one request; "" is none.
func (a *app) readSmall(file string) ([]byte, error) {
	switch file {
	case "":
		return nil, nil
	case "-":
		return readWhole("standard input", a.stdin)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, usageError{err}
	}
	defer f.Close()
	return readWhole(file, f)
}

// replayAnswer is the answer of POST /v1/quarantine/{id}/replay.
type replayAnswer struct {
	ID     string `json:"id"`
	Seq    int64  `json:"seq"`
	Events int64  `json:"events"`
}

// replay sends each event again and says what became of it. One that is refused
// does not keep the next from being sent.
func (a *app) replay(ctx context.Context, c *apiClient, tenant string, ids []string, corrected []byte) error {
	g := grid{columns: []column{textColumn("id"), textColumn("outcome"), numberColumn("position"), proseColumn("detail")}}
	answers := []any{}
	refused := false
	for _, id := range ids {
		// Repeating is harmless: the event's own identity keeps it from counting twice.
		r := request{method: http.MethodPost, path: "/v1/quarantine/" + url.PathEscape(id) + "/replay",
			query: params("tenant", tenant), body: corrected, retry: true}
		if corrected != nil {
			r.media = "application/cloudevents+json"
		}
		answer, _, err := call[replayAnswer](ctx, c, r)
		var api *apiError
		switch {
		case err == nil:
			answers = append(answers, answer)
			g.rows = append(g.rows, []string{id, "sent", grouped(answer.Seq), ""})
		case errors.As(err, &api) && api.exitCode() == exitUsage:
			refused = true
			answers = append(answers, map[string]string{"id": id, "error": api.Error()})
			g.rows = append(g.rows, []string{id, "refused", "", strings.ReplaceAll(api.Error(), "\n", " ")})
		default:
			return fmt.Errorf("replay %s: %w", id, err)
		}
	}
	body, err := json.Marshal(map[string]any{"replayed": answers})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	err = a.show(body, func() grid { return g }, func() {
		if len(g.rows) == 0 {
			a.print("Nothing to replay.\n")
			return
		}
		a.draw(g)
	})
	if err == nil && refused {
		return errFoundWrong
	}
	return err
}
