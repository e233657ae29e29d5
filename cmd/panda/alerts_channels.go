package main

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/contact"
)

// channelView is a channel as the API shows it.
type channelView struct {
	ID         string              `json:"id"`
	Name       string              `json:"name"`
	Type       string              `json:"type"`
	To         []string            `json:"to"`
	Roles      []string            `json:"roles"`
	URL        string              `json:"url"`
	Severity   string              `json:"severity"`
	Rules      []string            `json:"rules"`
	Limits     []string            `json:"limits"`
	QuietHours *contact.QuietHours `json:"quiet_hours"`
	Digest     string              `json:"digest"`
	Disabled   bool                `json:"disabled"`
	Secret     string              `json:"secret"`
}

// newAlertsChannels is `panda alerts channels`.
func newAlertsChannels(a *app) *cobra.Command {
	return group("channels", "Say who is told of alerts, and how", newChannelsList(a), newChannelsAdd(a), newChannelsRemove(a))
}

func newChannelsList(a *app) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "list", Short: "List who is told of alerts", Args: cobra.NoArgs,
		Long: "Without --tenant, and with a key of the platform, they are the platform's own. A tenant that has set up none is told\n" +
			"by e-mail at its billing address, and so are its owners and admins.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				answer, body, err := call[struct {
					Channels []channelView `json:"channels"`
				}](cmd.Context(), c, get("/v1/alerting/channels", params("tenant", tenant)))
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return channelGrid(answer.Channels) }, func() {
					if len(answer.Channels) == 0 {
						a.print("No channels. Add one with: panda alerts channels add --type webhook --url https://…\n")
						return
					}
					a.draw(channelGrid(answer.Channels))
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	return cmd
}

func channelGrid(list []channelView) grid {
	g := grid{columns: []column{textColumn("id"), textColumn("name"), textColumn("type"), textColumn("to"), textColumn("from severity"),
		textColumn("only"), textColumn("quiet"), textColumn("digest")}}
	for i := range list {
		c := &list[i]
		quiet := ""
		if c.QuietHours != nil {
			quiet = c.QuietHours.From + "-" + c.QuietHours.To + " " + c.QuietHours.Zone
		}
		to := strings.Join(append(append([]string(nil), c.To...), c.Roles...), " ") + c.URL
		name := c.Name
		if c.Disabled {
			name += " (disabled)"
		}
		g.rows = append(g.rows, []string{c.ID, name, c.Type, to, c.Severity, strings.Join(append(append([]string(nil), c.Rules...), c.Limits...), " "), quiet, c.Digest})
	}
	return g
}

func newChannelsAdd(a *app) *cobra.Command {
	var tenant, name, kind, address, secret, severity, quiet, digest string
	var to, roles, rules, limits []string
	cmd := &cobra.Command{
		Use: "add", Short: "Tell somebody else of alerts", Args: cobra.NoArgs,
		Example: "  panda alerts channels add --tenant acme-corp --type email --to finance@acme.com\n" +
			"  panda alerts channels add --type pagerduty --secret \"$ROUTING_KEY\" --severity critical\n" +
			"  panda alerts channels add --tenant acme-corp --type webhook --url https://acme.com/hooks/panda\n" +
			"  panda alerts channels add --type slack --url https://hooks.slack.com/… --quiet-hours '22:00-07:00 Europe/Berlin'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			body := map[string]any{"name": name, "type": kind}
			if name == "" {
				body["name"] = kind
			}
			for field, text := range map[string]string{"url": address, "secret": secret, "severity": severity, "digest": digest} {
				if text != "" {
					body[field] = text
				}
			}
			for field, list := range map[string][]string{"to": to, "roles": roles, "rules": rules, "limits": limits} {
				if len(list) > 0 {
					body[field] = list
				}
			}
			if quiet != "" {
				q, err := parseQuietHours(quiet)
				if err != nil {
					return err
				}
				body["quiet_hours"] = q
			}
			r, err := post("/v1/alerting/channels", params("tenant", tenant), body)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				made, raw, err := call[channelView](cmd.Context(), c, r)
				if err != nil {
					return err
				}
				return a.show(raw, func() grid { return channelGrid([]channelView{made}) }, func() {
					a.print("%s Channel %s is told of alerts.\n", a.sign("✓", "ok"), made.ID)
					if made.Secret != "" && secret == "" {
						a.print("\nIts secret, by which the receiver knows our messages (Standard Webhooks), is shown this once:\n\n%s\n", visible(made.Secret))
					}
					a.print("\nTry it with: panda alerts test %s\n", made.ID+tenantArgument(tenant))
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	flags := cmd.Flags()
	flags.StringVar(&kind, "type", "", "email, webhook, slack, pagerduty or alertmanager")
	flags.StringVar(&name, "name", "", "what people call it (default: its type)")
	flags.StringSliceVar(&to, "to", nil, "addresses, of e-mail")
	flags.StringSliceVar(&roles, "role", nil, "whose addresses, of e-mail: owner, admin, member, viewer, billing")
	flags.StringVar(&address, "url", "", "where to call")
	flags.StringVar(&secret, "secret", "", "signs webhooks (whsec_…; default: one is made), or PagerDuty's routing key")
	flags.StringVar(&severity, "severity", "", "the least that is told here: info, warning or critical")
	flags.StringSliceVar(&rules, "rule", nil, "only alerts of these rules; threshold is budgets and quotas")
	flags.StringSliceVar(&limits, "limit", nil, "only alerts of these limits, such as monthly_budget")
	flags.StringVar(&quiet, "quiet-hours", "", "when only what is critical is sent, such as '22:00-07:00 Europe/Berlin'")
	flags.StringVar(&digest, "digest", "", "put together what is not critical: hourly or daily")
	_ = cmd.MarkFlagRequired("type")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(contact.Types(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// tenantArgument is the flag that a command about a tenant needs.
func tenantArgument(tenant string) string {
	if tenant == "" {
		return ""
	}
	return " --tenant " + tenant
}

// parseQuietHours reads "22:00-07:00 Europe/Berlin"; without a zone it is UTC.
func parseQuietHours(text string) (*contact.QuietHours, error) {
	hours, zone, _ := strings.Cut(text, " ")
	from, to, ok := strings.Cut(hours, "-")
	if !ok {
		return nil, usagef("--quiet-hours %q: write them as '22:00-07:00 Europe/Berlin'", text)
	}
	if zone == "" {
		zone = "UTC"
	}
	return &contact.QuietHours{From: from, To: to, Zone: zone}, nil
}

func newChannelsRemove(a *app) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "remove CHANNEL", Short: "Tell somebody no more", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				_, err := c.raw(cmd.Context(), request{method: http.MethodDelete, path: "/v1/alerting/channels/" + url.PathEscape(args[0]), query: params("tenant", tenant), retry: true})
				if err == nil {
					a.print("%s Channel %s is gone.\n", a.sign("✓", "ok"), visible(args[0]))
				}
				return err
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	return cmd
}

// newAlertsTest is `panda alerts test`.
func newAlertsTest(a *app) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "test CHANNEL", Short: "Send a test to a channel, now", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := post("/v1/alerting/channels/"+url.PathEscape(args[0])+"/test", params("tenant", tenant), nil)
			if err != nil {
				return err
			}
			r.body = nil
			return a.with(cmd.Context(), func(c *apiClient) error {
				answer, body, err := call[struct {
					Sent   bool   `json:"sent"`
					Reason string `json:"reason"`
				}](cmd.Context(), c, r)
				if err != nil {
					return err
				}
				err = a.show(body, func() grid {
					return grid{columns: []column{textColumn("sent"), textColumn("reason")}, rows: [][]string{{strconv.FormatBool(answer.Sent), answer.Reason}}}
				}, func() {
					if answer.Sent {
						a.print("%s The receiver has taken the test.\n", a.sign("✓", "ok"))
						return
					}
					a.print("%s The test was not taken: %s\n", a.sign("✗", "not ok"), visible(answer.Reason))
				})
				if err == nil && !answer.Sent {
					return errFoundWrong
				}
				return err
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	return cmd
}

// newAlertsMute is `panda alerts mute`.
func newAlertsMute(a *app) *cobra.Command {
	var tenant, rule, limit, name, reason string
	var lasting time.Duration
	cmd := &cobra.Command{
		Use: "mute [ALERT]", Short: "Keep an alert, or all of a rule or a limit, from being sent for a while", Args: cobra.MaximumNArgs(1),
		Long: "What is muted is in the lists all the same.",
		Example: "  panda alerts mute alr_45aa1f54b5052bbe3f1967cb --tenant acme-corp --for 4h\n" +
			"  panda alerts mute --tenant acme-corp --limit storage_gb --for 24h --reason 'migration'",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{"until": time.Now().Add(lasting).UTC().Format(time.RFC3339)}
			for field, text := range map[string]string{"rule": rule, "limit": limit, "name": name, "reason": reason} {
				if text != "" {
					body[field] = text
				}
			}
			if len(args) > 0 {
				body["alert"] = args[0]
			}
			r, err := post("/v1/alerting/mutes", params("tenant", tenant), body)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				made, raw, err := call[muteView](cmd.Context(), c, r)
				if err != nil {
					return err
				}
				return a.show(raw, func() grid { return muteGrid([]muteView{made}) }, func() {
					a.print("%s Muted until %s. Take it back with: panda alerts unmute %s\n", a.sign("✓", "ok"), stamp(made.Until), made.ID+tenantArgument(tenant))
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	flags := cmd.Flags()
	const lastingDefault = 4 * time.Hour
	flags.DurationVar(&lasting, "for", lastingDefault, "how long")
	flags.StringVar(&rule, "rule", "", "all alerts of this rule")
	flags.StringVar(&limit, "limit", "", "all alerts of this limit, such as monthly_budget")
	flags.StringVar(&name, "name", "", "only of this department, cost center, agent or group")
	flags.StringVar(&reason, "reason", "", "why, for others")
	return cmd
}

type muteView struct {
	ID     string    `json:"id"`
	Alert  string    `json:"alert"`
	Rule   string    `json:"rule"`
	Limit  string    `json:"limit"`
	Name   string    `json:"name"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
	By     string    `json:"by"`
}

func muteGrid(list []muteView) grid {
	g := grid{columns: []column{textColumn("id"), textColumn("what"), textColumn("until"), textColumn("by"), proseColumn("reason")}}
	for _, m := range list {
		g.rows = append(g.rows, []string{m.ID, strings.Join(strings.Fields(m.Alert+" "+m.Rule+" "+m.Limit+" "+m.Name), " "), stamp(m.Until), m.By, m.Reason})
	}
	return g
}

// newAlertsMutes is `panda alerts mutes`.
func newAlertsMutes(a *app) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "mutes", Short: "List what is not sent for now", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				answer, body, err := call[struct {
					Mutes []muteView `json:"mutes"`
				}](cmd.Context(), c, get("/v1/alerting/mutes", params("tenant", tenant)))
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return muteGrid(answer.Mutes) }, func() {
					if len(answer.Mutes) == 0 {
						a.print("Nothing is muted.\n")
						return
					}
					a.draw(muteGrid(answer.Mutes))
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	return cmd
}

// newAlertsUnmute is `panda alerts unmute`.
func newAlertsUnmute(a *app) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "unmute MUTE", Short: "Take a mute back, by its id or by that of its alert", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				_, err := c.raw(cmd.Context(), request{method: http.MethodDelete, path: "/v1/alerting/mutes/" + url.PathEscape(args[0]), query: params("tenant", tenant), retry: true})
				if err == nil {
					a.print("%s %s is sent again.\n", a.sign("✓", "ok"), visible(args[0]))
				}
				return err
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	return cmd
}

type deliveryView struct {
	ID        string    `json:"id"`
	Tenant    string    `json:"tenant"`
	Alert     string    `json:"alert"`
	Kind      string    `json:"kind"`
	Severity  string    `json:"severity"`
	Channel   string    `json:"channel"`
	Type      string    `json:"type"`
	To        string    `json:"to"`
	State     string    `json:"state"`
	Reason    string    `json:"reason"`
	Attempts  int       `json:"attempts"`
	CreatedAt time.Time `json:"created_at"`
}

type deliveryPage struct {
	Deliveries []deliveryView `json:"deliveries"`
	NextCursor string         `json:"next_cursor"`
}

func (p deliveryPage) read() ([]deliveryView, string) { return p.Deliveries, p.NextCursor }

func deliveryGrid(list []deliveryView) grid {
	g := grid{columns: []column{textColumn("id"), textColumn("made"), textColumn("alert"), textColumn("kind"), textColumn("channel"), textColumn("to"),
		textColumn("state"), numberColumn("failed"), proseColumn("reason")}}
	for i := range list {
		d := &list[i]
		g.rows = append(g.rows, []string{d.ID, stamp(d.CreatedAt), d.Alert, d.Kind, d.Type + " " + d.Channel, d.To, d.State, strconv.Itoa(d.Attempts), d.Reason})
	}
	return g
}

// newAlertsDeliveries is `panda alerts deliveries`.
func newAlertsDeliveries(a *app) *cobra.Command {
	var tenant, state, replay string
	var limit int
	cmd := &cobra.Command{
		Use: "deliveries", Short: "See what was sent to whom, and send again what was given up", Args: cobra.NoArgs,
		Example: "  panda alerts deliveries --state dead\n  panda alerts deliveries --replay dlv_45aa1f54b5052bbe3f1967cb",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit %d: a count is not negative", limit)
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				if replay != "" {
					d, raw, err := call[deliveryView](cmd.Context(), c, request{method: http.MethodPost,
						path: "/v1/alerting/deliveries/" + url.PathEscape(replay) + "/replay", query: params("tenant", tenant)})
					if err != nil {
						return err
					}
					return a.show(raw, func() grid { return deliveryGrid([]deliveryView{d}) }, func() {
						a.print("%s %s is sent again, with the id that it had.\n", a.sign("✓", "ok"), d.ID)
					})
				}
				body, list, err := allPages(cmd.Context(), c, "/v1/alerting/deliveries", params("tenant", tenant, "state", state), "deliveries", limit, deliveryPage.read)
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return deliveryGrid(list) }, func() {
					if len(list) == 0 {
						a.print("No deliveries.\n")
						return
					}
					a.draw(deliveryGrid(list))
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&state, "state", "", "only deliveries in this state: pending, waiting, joined, sent, dead or muted")
	cmd.Flags().StringVar(&replay, "replay", "", "send this one again, which was given up")
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "how many at most (0: all)")
	return cmd
}
