package main

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
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
}

type keyList struct {
	Items      []keyView `json:"items"`
	NextCursor string    `json:"next_cursor"`
}

// newKey is `panda key`.
func newKey(a *app) *cobra.Command {
	return group("key", "Create, list and revoke API keys", newKeyCreate(a), newKeyList(a), newKeyRevoke(a))
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
					func(l keyList) ([]keyView, string) { return l.Items, l.NextCursor })
				if err != nil {
					return err
				}
				return a.show(body, func() grid { return keyGrid(keys) }, func() {
					if len(keys) == 0 {
						a.print("No keys yet. Create one with: panda key create --tenant %s --scope ingest\n", tenant)
						return
					}
					a.draw(keyGrid(keys))
				})
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	return cmd
}

func keyGrid(keys []keyView) grid {
	g := grid{columns: []column{textColumn("id"), textColumn("name"), textColumn("scopes"), textColumn("created"), textColumn("revoked")}}
	for _, k := range keys {
		g.rows = append(g.rows, []string{k.ID, k.Name, strings.Join(k.Scopes, " "), stamp(k.CreatedAt), stamp(k.RevokedAt)})
	}
	return g
}

func newKeyRevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "revoke KEY-ID", Short: "Revoke an API key; it stops working at once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				_, err := c.raw(cmd.Context(), request{method: http.MethodDelete, path: "/v1/keys/" + url.PathEscape(args[0]), retry: true})
				if err == nil {
					a.print("Key %s is revoked.\n", args[0])
				}
				return err
			})
		},
	}
}
