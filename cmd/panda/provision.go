package main

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/schemas"
)

// provisioned is the answer of POST /v1/tenants/{tenant}/provision.
type provisioned struct {
	Tenant struct {
		Slug string `json:"slug"`
	} `json:"tenant"`
	Template struct {
		Name   string `json:"name"`
		Title  string `json:"title"`
		Agents []struct {
			Name       string `json:"name"`
			Department string `json:"department"`
			Model      string `json:"model"`
			Purpose    string `json:"purpose"`
		} `json:"agents"`
		Widgets []struct {
			Title string `json:"title"`
		} `json:"widgets"`
	} `json:"template"`
	Skills []string `json:"skills"`
	Agents struct {
		Level    int64  `json:"level"`
		Recorded bool   `json:"recorded"`
		Detail   string `json:"detail"`
	} `json:"agents"`
	Sample *struct {
		Conversations int64         `json:"conversations"`
		Messages      int64         `json:"messages"`
		Added         int64         `json:"messages_added"`
		From          time.Time     `json:"from"`
		To            time.Time     `json:"to"`
		Cost          schemas.Money `json:"cost"`
	} `json:"sample_data"`
}

const provisionLong = `Starts a tenant from a template: agents, skills and dashboard widgets as configuration for the runtime
and the dashboard that carry them out (-o json prints it whole), and the number of agents as the
tenant's level until its runtime reports its own.

--include-sample-data adds 50 conversations from the week before the tenant was created. They are
messages without tokens and without money, tagged sample=true: no price list, plan or overage can bill
them. --remove-sample-data takes them back. Asked again, the command adds nothing twice.`

func newTenantProvision(a *app) *cobra.Command {
	var template string
	var include, remove bool
	cmd := &cobra.Command{
		Use: "provision TENANT", Short: "Start a tenant from a template, with sample data if wanted", Long: provisionLong, Args: cobra.ExactArgs(1),
		Example: "  panda tenant provision acme-corp --template customer-support --include-sample-data\n" +
			"  panda tenant provision acme-corp --remove-sample-data",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				if remove {
					return a.removeSample(cmd.Context(), c, args[0])
				}
				return a.provision(cmd.Context(), c, args[0], template, include)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&template, "template", "", "customer-support, code-review or data-analysis")
	f.BoolVar(&include, "include-sample-data", false, "add 50 sample conversations, which cost nothing")
	f.BoolVar(&remove, "remove-sample-data", false, "take the sample conversations back")
	cmd.MarkFlagsOneRequired("template", "remove-sample-data")
	cmd.MarkFlagsMutuallyExclusive("template", "remove-sample-data")
	cmd.MarkFlagsMutuallyExclusive("include-sample-data", "remove-sample-data")
	return cmd
}

func (a *app) provision(ctx context.Context, c *apiClient, tenant, template string, include bool) error {
	r, err := post("/v1/tenants/"+url.PathEscape(tenant)+"/provision", nil, map[string]any{"template": template, "include_sample_data": include})
	if err != nil {
		return err
	}
	r.retry = true // it adds nothing twice
	made, body, err := call[provisioned](ctx, c, r)
	if err != nil {
		return err
	}
	return a.show(body, func() grid { return agentGrid(&made) }, func() { a.drawProvisioned(&made) })
}

// drawProvisioned writes what was created, a line each.
func (a *app) drawProvisioned(p *provisioned) {
	t := &p.Template
	a.print("%s %s is provisioned from the template %s (%s)\n\n", a.sign("✅", "*"), visible(p.Tenant.Slug), visible(t.Name), visible(t.Title))
	a.print("%s:\n", plural(int64(len(t.Agents)), "pre-configured agent", "pre-configured agents"))
	for _, agent := range t.Agents {
		a.print("  %s (%s, %s): %s\n", visible(agent.Name), visible(agent.Department), visible(agent.Model), visible(agent.Purpose))
	}
	switch {
	case p.Agents.Recorded:
		a.print("Agents of the tenant: %s, until its runtime reports its own number\n", grouped(p.Agents.Level))
	default:
		a.print("Agents of the tenant: %s; %s\n", grouped(p.Agents.Level), visible(p.Agents.Detail))
	}
	if s := p.Sample; s != nil {
		added := "all were there before"
		if s.Added > 0 {
			added = plural(s.Added, "message", "messages") + " added"
		}
		a.print("%s: %s; %s to %s, no tokens, cost %s, not billed\n", plural(s.Conversations, "sample conversation", "sample conversations"), added,
			s.From.UTC().Format(time.DateOnly), s.To.UTC().Format(time.DateOnly), s.Cost.Display())
	}
	a.print("Skills for the runtime to turn on: %s\n", visible(strings.Join(p.Skills, ", ")))
	var titles []string
	for _, w := range t.Widgets {
		titles = append(titles, w.Title)
	}
	a.print("Dashboard widgets: %s\n", visible(strings.Join(titles, ", ")))
	a.print("\nThe configuration is for your runtime and your dashboard: add -o json to print it.\n")
	if p.Sample != nil {
		a.print("Remove the sample data with: panda tenant provision %s --remove-sample-data\n", visible(p.Tenant.Slug))
	}
}

func agentGrid(p *provisioned) grid {
	g := grid{columns: []column{textColumn("agent"), textColumn("department"), textColumn("model"), textColumn("purpose")}}
	for _, agent := range p.Template.Agents {
		g.rows = append(g.rows, []string{agent.Name, agent.Department, agent.Model, agent.Purpose})
	}
	return g
}

func (a *app) removeSample(ctx context.Context, c *apiClient, tenant string) error {
	removed, body, err := call[struct {
		Conversations int64    `json:"conversations"`
		Messages      int64    `json:"messages"`
		Templates     []string `json:"templates"`
	}](ctx, c, request{method: http.MethodDelete, path: "/v1/tenants/" + url.PathEscape(tenant) + "/sample-data", retry: true})
	if err != nil {
		return err
	}
	return a.show(body, func() grid {
		return grid{columns: []column{numberColumn("conversations"), numberColumn("messages"), textColumn("templates")},
			rows: [][]string{{strconv.FormatInt(removed.Conversations, 10), strconv.FormatInt(removed.Messages, 10), strings.Join(removed.Templates, " ")}}}
	}, func() {
		if removed.Messages == 0 {
			a.print("There is no sample data.\n")
			return
		}
		a.print("%s (%s) taken back: %s\n", plural(removed.Conversations, "sample conversation", "sample conversations"),
			plural(removed.Messages, "message", "messages"), visible(strings.Join(removed.Templates, ", ")))
	})
}
