package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// app is what every command stands on. The program makes one per run; a test
// makes one with a connect of its own.
type app struct {
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	cfg            *Config
	// connect finds the server a command talks to: the one at url, else the one
	// that runs on the data directory, else one started for the command's duration.
	// The function it returns ends that.
	connect func(ctx context.Context) (*apiClient, func() error, error)

	// Flags of every command.
	url     string // address of a server; "" leaves it to connect
	apiKey  string // "" leaves it to connect
	output  string // one of the output constants
	noColor bool
}

const rootLong = `Panda meters what AI agents spend: model calls go in as events, costs per tenant,
model and department come out.

A command talks to the server at --url, else to the one that runs on the data
directory, else it starts one for as long as the command takes.

Every flag below has an environment variable: --api-key is PANDA_API_KEY, and so on.
--tenant of any command is PANDA_TENANT. NO_COLOR is honoured.

Exit codes:
   0  done
   1  the command worked and found something wrong: a check that does not hold,
      rows that were rejected or contradict what is there; or it asked and was
      not told to go on
   2  wrong usage, or input that is refused
   3  not found
   4  not allowed: no key, a wrong key, or a key without the scope
   5  conflict with what is already decided, such as a slug that is taken
  69  unavailable: server, log or engine cannot be reached; try again
  70  an error inside panda
  73  the data directory is in use by another process
  74  the disk is full
 130  interrupted`

// newRoot returns the tree of commands.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:               "panda",
		Short:             "Usage metering for AI agent platforms",
		Long:              rootLong,
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: a.begin,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)

	flags := root.PersistentFlags()
	flags.StringVar(&a.cfg.Data, "data", a.cfg.Data, "directory of all state")
	flags.StringVar(&a.cfg.LogLevel, "log-level", a.cfg.LogLevel, "trace, debug, info, warn or error")
	flags.StringVar(&a.url, "url", a.getenv("PANDA_URL"), "address of a server, such as http://127.0.0.1:8080 (empty: the one on --data)")
	// A key from the environment is no default of the flag: help would print it.
	flags.StringVar(&a.apiKey, "api-key", "", "API key (empty: PANDA_API_KEY, else admin.key in --data)")
	flags.StringVarP(&a.output, "output", "o", envOr(a.getenv, "PANDA_OUTPUT", outputTable), "table, json or csv")
	flags.BoolVar(&a.noColor, "no-color", envSet(a.getenv, "NO_COLOR") || envSet(a.getenv, "PANDA_NO_COLOR"), "no colours")

	for _, g := range []*cobra.Group{
		{ID: "run", Title: "Run:"}, {ID: "numbers", Title: "Numbers:"},
		{ID: "events", Title: "Events:"}, {ID: "admin", Title: "Administration:"},
	} {
		root.AddGroup(g)
	}
	addGroup(root, "run", newServe(a), newDemo(a), newBench(a), newStatus(a), newConfig(a))
	addGroup(root, "numbers", newUsage(a), newCost(a), newBilling(a), newPrices(a), newVerify(a), newJobs(a))
	addGroup(root, "events", newImport(a), newExport(a), newEvents(a), newQuarantine(a), newConflicts(a), newAlerts(a))
	addGroup(root, "admin", newTenant(a), newPlans(a), newKey(a), newAudit(a), newDebug(a))
	root.AddCommand(newEngine(a), newVersion(a))
	markUsage(root)
	return root
}

func addGroup(root *cobra.Command, id string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// group returns a command that only holds others and says so when it is called
// without one.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	return cmd
}

// begin runs before every command: it settles the flags that all share.
func (a *app) begin(cmd *cobra.Command, _ []string) error {
	if err := cmd.ValidateRequiredFlags(); err != nil {
		return usageError{err}
	}
	if err := cmd.ValidateFlagGroups(); err != nil {
		return usageError{err}
	}
	switch a.output {
	case outputTable, outputJSON, outputCSV:
	default:
		return usagef("--output %q: use table, json or csv", a.output)
	}
	if a.apiKey == "" {
		a.apiKey = a.getenv("PANDA_API_KEY")
	}
	return nil
}

// markUsage makes what cobra says about arguments and flags usageErrors.
func markUsage(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		markUsage(sub)
	}
}

// with connects, runs f and disconnects.
func (a *app) with(ctx context.Context, f func(c *apiClient) error) error {
	c, closeClient, err := a.connect(ctx)
	if err != nil {
		return err
	}
	err = f(c)
	if closeErr := closeClient(); err == nil && closeErr != nil {
		err = fmt.Errorf("stop the server of this command: %w", closeErr)
	}
	return err
}

// tenantFlag gives a command its --tenant.
func (a *app) tenantFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "tenant", a.getenv("PANDA_TENANT"), "slug or id of the tenant (not needed with a key of the tenant)")
	_ = cmd.RegisterFlagCompletionFunc("tenant", a.completeTenants)
}

func envOr(getenv func(string) string, name, otherwise string) string {
	if v := getenv(name); v != "" {
		return v
	}
	return otherwise
}

func envSet(getenv func(string) string, name string) bool {
	v := getenv(name)
	return v != "" && v != "false" && (v != "0" || name == "NO_COLOR")
}
