package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/tenancy"
)

// keyView is an API key as the API shows it. Its secret is in the answer that
// created it and nowhere else.
type keyView struct {
	ID        string    `json:"id"`
	TenantID  string    `json:"tenant_id"`
	Name      string    `json:"name"`
	Scopes    []string  `json:"scopes"`
	Key       string    `json:"key"`
	CreatedAt time.Time `json:"created_at"`
	RevokedAt time.Time `json:"revoked_at"`
	// ExpiresAt is when a key that was rotated ends; RotatedTo is the one after it.
	ExpiresAt time.Time `json:"expires_at"`
	RotatedTo string    `json:"rotated_to"`
}

// newKey is `panda key`.
func newKey(a *app) *cobra.Command {
	return group("key", "Create, list, rotate and revoke API keys", newKeyCreate(a), newKeyList(a), newKeyRotate(a), newKeyRevoke(a))
}

// keysPath is where a tenant's keys are.
func keysPath(tenant string) (string, error) {
	if tenant == "" {
		return "", usagef("--tenant says whose key")
	}
	return "/v1/tenants/" + url.PathEscape(tenant) + "/keys", nil
}

func newKeyCreate(a *app) *cobra.Command {
	var tenant, name string
	var scopes []string
	cmd := &cobra.Command{
		Use: "create", Short: "Create an API key; its secret is shown once", Args: cobra.NoArgs,
		Example: "  panda key create --tenant acme-corp --scope ingest --name \"runtime eu-1\"",
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := keysPath(tenant)
			if err != nil {
				return err
			}
			r, err := post(path, nil, map[string]any{"name": name, "scopes": scopes})
			if err != nil {
				return err
			}
			r.header, r.retry = http.Header{"Idempotency-Key": {uuid.NewString()}}, true
			return a.with(cmd.Context(), func(c *apiClient) error {
				k, raw, err := call[keyView](cmd.Context(), c, r)
				if err != nil {
					return err
				}
				return a.show(raw, func() grid { return newKeyGrid(k) }, func() {
					a.print("%s Key created. This is the only time it is shown:\n\n%s\n\n", a.sign("✅", "*"), visible(k.Key))
					a.fields([][2]string{{"Key ID", k.ID}, {"Name", k.Name}, {"Scopes", strings.Join(k.Scopes, ", ")}})
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&name, "name", "command line", "what the key is for")
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "what it may do: ingest, import, read, admin; separated by commas")
	_ = cmd.MarkFlagRequired("scope")
	_ = cmd.RegisterFlagCompletionFunc("scope", cobra.FixedCompletions(
		[]string{"ingest", "import", "read", "admin"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func newKeyGrid(k keyView) grid {
	return grid{
		columns: []column{textColumn("id"), textColumn("name"), textColumn("scopes"), textColumn("key")},
		rows:    [][]string{{k.ID, k.Name, strings.Join(k.Scopes, " "), k.Key}},
	}
}

func newKeyList(a *app) *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use: "list", Short: "List a tenant's keys", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, err := keysPath(tenant)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				body, keys, err := allPages(cmd.Context(), c, path, nil, "items", 0,
					listPage[keyView].read)
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return keyGrid(keys, instant) }, func() {
					if len(keys) == 0 {
						a.print("No keys yet. Create one with: panda key create --tenant %s --scope ingest\n", tenant)
						return
					}
					a.draw(keyGrid(keys, stamp))
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	return cmd
}

func keyGrid(keys []keyView, when func(time.Time) string) grid {
	g := grid{columns: []column{textColumn("id"), textColumn("name"), textColumn("scopes"), textColumn("created"),
		textColumn("revoked"), textColumn("expires"), textColumn("rotated to")}}
	for _, k := range keys {
		g.rows = append(g.rows, []string{k.ID, k.Name, strings.Join(k.Scopes, " "), when(k.CreatedAt), when(k.RevokedAt), when(k.ExpiresAt), k.RotatedTo})
	}
	return g
}

func newKeyRotate(a *app) *cobra.Command {
	var overlap time.Duration
	var yes bool
	cmd := &cobra.Command{
		Use: "rotate KEY-ID", Short: "Replace an API key by a new one with the same scopes; the old one works on for a while", Args: cobra.ExactArgs(1),
		Long: "Makes a new key with the same name and scopes. The old one works beside it for --overlap, so that nothing\n" +
			"stops while the new one is rolled out. With --overlap 0 it ends at once.",
		Example:           "  panda key rotate abc123 --overlap 48h",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 || overlap > tenancy.RotateOverlapMax || overlap%time.Second != 0 {
				return usagef("--overlap %s: use 0 to %s, in whole seconds", overlap, tenancy.RotateOverlapMax)
			}
			if overlap == 0 {
				if err := a.confirm(cmd.Context(), yes, fmt.Sprintf("Key %s stops working at once.", args[0])); err != nil {
					return err
				}
			}
			r, err := post("/v1/keys/"+url.PathEscape(args[0])+"/rotate", nil, map[string]int64{"overlap_seconds": int64(overlap / time.Second)})
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				k, raw, err := call[struct {
					keyView
					Old keyView `json:"old"`
				}](cmd.Context(), c, r)
				if err != nil {
					return err
				}
				return a.show(raw, func() grid { return newKeyGrid(k.keyView) }, func() {
					a.print("%s Key rotated. This is the only time the new one is shown:\n\n%s\n\n", a.sign("✅", "*"), visible(k.Key))
					a.fields([][2]string{{"Key ID", k.ID}, {"Name", k.Name}, {"Scopes", strings.Join(k.Scopes, ", ")},
						{"Old key", k.Old.ID}, {"Works until", stampUTC(k.Old.ExpiresAt)}})
				})
			})
		},
	}
	const overlapDefault = 24 * time.Hour // a working day to roll the new one out
	cmd.Flags().DurationVar(&overlap, "overlap", overlapDefault, "how long the old key works on")
	yesFlag(cmd, &yes)
	return cmd
}

func newKeyRevoke(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "revoke KEY-ID", Short: "Revoke an API key; it stops working at once", Args: cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.confirm(cmd.Context(), yes, fmt.Sprintf("Key %s stops working at once.", args[0])); err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				_, err := c.raw(cmd.Context(), request{method: http.MethodDelete, path: "/v1/keys/" + url.PathEscape(args[0]), retry: true})
				if err == nil {
					a.print("Key %s is revoked.\n", visible(args[0]))
				}
				return err
			})
		},
	}
	yesFlag(cmd, &yes)
	return cmd
}
