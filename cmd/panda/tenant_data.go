package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// writeWhole writes a file that is there whole or not at all: until write has ended well
// it has another name. "" and "-" are standard output.
func (a *app) writeWhole(name string, write func(w io.Writer) error) (err error) {
	if name == "" || name == "-" {
		return write(a.stdout)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // for the user's eyes alone
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return usagef("write %s: %v", name, err)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		_ = f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(f.Name(), name)
}

// exportFormats are one JSON document, a line of JSON per record, and an archive with a
// file per section.
var exportFormats = []string{outputJSON, "ndjson", "zip"}

func newTenantExport(a *app) *cobra.Command {
	var format, file string
	cmd := &cobra.Command{
		Use: "export TENANT", Short: "Write everything of a tenant to a file: settings, people, events, costs", Args: cobra.ExactArgs(1),
		Long: "Writes everything that is kept about a tenant, for the tenant to take along. The file is there when all\n" +
			"of it is, and not before; without --output it goes to standard output.",
		Example:           "  panda tenant export acme-corp --format json --output ./acme-data.json",
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(exportFormats, format) {
				return usagef("--format %q: use %s", format, strings.Join(exportFormats, ", "))
			}
			return a.with(cmd.Context(), func(c *apiClient) error { return a.export(cmd.Context(), c, args[0], format, file) })
		},
	}
	cmd.Flags().StringVar(&format, "format", outputJSON, strings.Join(exportFormats, ", "))
	cmd.Flags().StringVarP(&file, "output", "o", "", "the file (empty: standard output)")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(exportFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) export(ctx context.Context, c *apiClient, tenant, format, file string) error {
	read := &countingReader{}
	err := a.writeWhole(file, func(w io.Writer) error {
		res, err := c.send(ctx, get(tenantPath(tenant, "export"), params("format", format)))
		if err != nil {
			return err
		}
		defer res.Body.Close()
		read.r = res.Body
		stop := a.startBytes("export of "+tenant, res.ContentLength, read)
		defer stop()
		_, err = io.Copy(w, read)
		var ours *fs.PathError // of the file; anything else is the server's
		if err == nil || errors.As(err, &ours) || ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("the export broke off after %s bytes and is not written; ask again: %w: %w", grouped(read.n.Load()), schemas.ErrUnavailable, err)
	})
	if err == nil && file != "" && file != "-" {
		a.say("%s: %s of tenant %s\n", file, plural(read.n.Load(), "byte", "bytes"), visible(tenant))
	}
	return err
}

// startBytes shows on standard error how much was read.
func (a *app) startBytes(name string, size int64, read *countingReader) (stop func()) {
	show, end, every := func() { a.say("%s: %s bytes\n", name, grouped(read.n.Load())) }, func() {}, linesEvery
	if isTerminal(a.stderr) {
		bar := progressbar.NewOptions64(size, progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription(name),
			progressbar.OptionShowBytes(true), progressbar.OptionSetWidth(30), progressbar.OptionUseANSICodes(true),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetTheme(a.barTheme()))
		every = barEvery
		show, end = func() { _ = bar.Set64(min(read.n.Load(), barLimit(size))) }, func() { _ = bar.Clear() }
	}
	return ticking(every, show, end)
}

func newTenantMigrate(a *app) *cobra.Command {
	var to string
	models := []string{string(tenancy.SharedDatabase), string(tenancy.IsolatedDatabase)}
	cmd := &cobra.Command{
		Use: "migrate TENANT", Short: "Move a tenant to a database of its own, or back", Args: cobra.ExactArgs(1),
		Long: "Moves a tenant's rows while it is served. A move that broke off goes on where it was when the command\n" +
			"is given again.",
		Example:           "  panda tenant migrate acme-corp --to isolated-database",
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			if to != models[0] && to != models[1] {
				return usagef("--to %q: use %s or %s", to, models[1], models[0])
			}
			r, err := post(tenantPath(args[0], "migrate"), nil, map[string]string{"to": to})
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *apiClient) error {
				raw, err := a.finished(cmd.Context(), c, r, "migrating "+args[0])
				if err != nil {
					return err
				}
				if a.output != outputTable {
					return a.writeJSON(raw)
				}
				var moved moved
				if err := json.Unmarshal(raw, &moved); err != nil {
					return fmt.Errorf("read the answer of the move: %w", err)
				}
				a.print("%s\n", visible(moved.sentence(a.sign("✅", "*"), args[0], to)))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "isolated-database or shared-database")
	_ = cmd.MarkFlagRequired("to")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions(models, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// moved is the answer to a move between databases.
type moved struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Rows     int64  `json:"rows"`
	PausedMS int64  `json:"paused_ms"`
}

func (m *moved) sentence(mark, tenant, to string) string {
	if m.From == m.To {
		return fmt.Sprintf("Tenant %s was in the %s model already, in database %s.", tenant, to, m.To)
	}
	return fmt.Sprintf("%s Tenant %s is in the %s model now.\n\nDatabase: %s\nRows: %s\nCounting paused for: %s",
		mark, tenant, to, m.To, grouped(m.Rows), time.Duration(m.PausedMS)*time.Millisecond)
}

func newTenantEraseUser(a *app) *cobra.Command {
	var user string
	var yes bool
	cmd := &cobra.Command{
		Use: "erase-user TENANT", Short: "Erase a person from a tenant's events; usage and costs stay", Args: cobra.ExactArgs(1),
		Example:           "  panda tenant erase-user acme-corp --user user_xyz789",
		ValidArgsFunction: a.completeTenant,
		RunE: func(cmd *cobra.Command, args []string) error {
			if user == "" {
				return usagef("--user says who is erased")
			}
			if err := a.confirm(cmd.Context(), yes, fmt.Sprintf("This erases the user %q from every event of tenant %s.", user, args[0])); err != nil {
				return err
			}
			r, err := post(tenantPath(args[0], "erase-user"), nil, map[string]string{"user": user})
			if err != nil {
				return err
			}
			r.retry = true // erased twice is erased
			return a.with(cmd.Context(), func(c *apiClient) error {
				raw, err := a.finished(cmd.Context(), c, r, "erasing a user of "+args[0])
				if err != nil {
					return err
				}
				if a.output == outputTable {
					a.print("The user is erased from %s. Keep the certificate:\n\n", visible(args[0]))
				}
				return a.writeJSON(raw)
			})
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "the user's id, as it is in the events")
	yesFlag(cmd, &yes)
	_ = cmd.MarkFlagRequired("user")
	return cmd
}
