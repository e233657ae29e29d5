package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentik-os/panda/schemas"
)

const (
	// agentsFormat marks a file of `panda export`; agentsVersion is the newest form
	// that this program knows.
	agentsFormat  = "panda.agents"
	agentsVersion = 1
	// exportPage is how many events are asked for at once: as many as the API gives.
	exportPage = 1000
)

// exportedAgent is what the events of a tenant say about one of its agents. The empty
// name is usage without one.
type exportedAgent struct {
	Name        string        `json:"name"`
	Departments []string      `json:"departments"`
	Models      []string      `json:"models"`
	Calls       int64         `json:"calls"`
	Tokens      int64         `json:"tokens"`
	Cost        schemas.Money `json:"cost"`
	Unpriced    int64         `json:"unpriced"`
	LastUsed    time.Time     `json:"last_used"`
}

const exportLong = `Writes what is held of the agents of a tenant to a file that panda import reads: every event in the
order it was counted, the newest levels, and per agent its departments, models and figures. Without
--tenant it is the only tenant there is.

The file is one JSON document with an event a line, and is there when all of it is. Events go with their
ids, so importing it twice counts once. What an event cost is decided by the prices where it is
imported. A void is written as what it takes back; a model by the name that was sent.`

// newExport is `panda export`.
func newExport(a *app) *cobra.Command {
	var tenant, output string
	cmd := &cobra.Command{
		Use: "export", Short: "Write a tenant's agents and events to a file, to import elsewhere", Long: exportLong, Args: cobra.NoArgs,
		Example: "  panda export --output ./agents-backup.json\n" +
			"  panda tenant create --name \"My Company\" --slug my-company\n  panda import ./agents-backup.json --tenant my-company",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *apiClient) error {
				e := agentsExport{client: c, agents: map[string]*exportedAgent{}}
				if err := e.find(cmd.Context(), tenant); err != nil {
					return err
				}
				if output == "-" {
					return e.write(cmd.Context(), a.stdout)
				}
				if err := writeWhole(output, func(w io.Writer) error { return e.write(cmd.Context(), w) }); err != nil {
					return fmt.Errorf("write %s: %w", output, err)
				}
				a.print("%s: %s and %s of %s. Import them with: panda import %s --tenant SLUG\n", visible(output),
					plural(e.count, "event", "events"), plural(int64(len(e.named())), "agent", "agents"), visible(e.tenant.Slug), visible(output))
				return nil
			})
		},
	}
	a.tenantFlag(cmd, &tenant)
	cmd.Flags().StringVarP(&output, "output", "o", "-", "the file; - is standard output")
	return cmd
}

// writeWhole writes a file that is there when all of it is, readable by its owner.
func writeWhole(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return usageError{err}
	}
	w := bufio.NewWriter(f)
	err = write(w)
	err = errors.Join(err, w.Flush(), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// agentsExport is one export under way.
type agentsExport struct {
	client *apiClient
	tenant struct {
		ID   string `json:"id"`
		Slug string `json:"slug"`
		Name string `json:"name"`
	}
	levels json.RawMessage
	upto   int64 // log position that the export is as of
	agents map[string]*exportedAgent
	count  int64
}

// find settles the tenant, the only one if none is named, and the position.
func (e *agentsExport) find(ctx context.Context, tenant string) error {
	if tenant == "" {
		list, _, err := call[listPage[tenantView]](ctx, e.client, get("/v1/tenants", nil))
		if err != nil {
			return fmt.Errorf("say which tenant with --tenant: %w", err)
		}
		switch len(list.Items) {
		case 0:
			return usagef("there is no tenant; nothing can be exported")
		case 1:
			tenant = list.Items[0].ID
		default:
			return usagef("there is more than one tenant; say which with --tenant")
		}
	}
	levels, _, err := call[struct {
		Tenant json.RawMessage `json:"tenant"`
		AsOf   struct {
			Seq int64 `json:"seq"`
		} `json:"as_of"`
		Levels json.RawMessage `json:"levels"`
	}](ctx, e.client, get(tenantLevelsPath(tenant), nil))
	if err != nil {
		return err
	}
	e.levels, e.upto = levels.Levels, levels.AsOf.Seq
	return json.Unmarshal(levels.Tenant, &e.tenant)
}

// write writes the document: what is known before the events, the events, and what
// they add up to.
func (e *agentsExport) write(ctx context.Context, w io.Writer) error {
	head, err := json.Marshal(struct {
		Format     string          `json:"format"`
		Version    int             `json:"version"`
		ExportedAt time.Time       `json:"exported_at"`
		Tenant     any             `json:"tenant"`
		Levels     json.RawMessage `json:"levels"`
	}{agentsFormat, agentsVersion, time.Now().UTC().Truncate(time.Second), e.tenant, e.levels})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if _, err := fmt.Fprintf(w, "%s,\"events\":[", head[:len(head)-1]); err != nil {
		return err
	}
	if err := e.writeEvents(ctx, w); err != nil {
		return err
	}
	agents, err := json.Marshal(e.sorted())
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = fmt.Fprintf(w, "\n],\"agents\":%s,\"count\":%d}\n", agents, e.count)
	return err
}

// writeEvents writes the events in the order of the log, so that what a void takes
// back is there before it.
func (e *agentsExport) writeEvents(ctx context.Context, w io.Writer) error {
	after := "0-0"
	for {
		page, body, err := call[eventPage](ctx, e.client, get("/v1/events",
			params("tenant", e.tenant.ID, "after", after, "limit", fmt.Sprint(exportPage))))
		if err != nil {
			return err
		}
		var raws struct {
			Events []struct {
				Event json.RawMessage `json:"event"`
			} `json:"events"`
		}
		if err := json.Unmarshal(body, &raws); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		for i := range page.Events {
			stored := &page.Events[i]
			if stored.Seq > e.upto {
				return nil
			}
			text, err := importable(stored, raws.Events[i].Event)
			if err != nil {
				return err
			}
			separator := ",\n"
			if e.count == 0 {
				separator = "\n"
			}
			if _, err := fmt.Fprintf(w, "%s%s", separator, text); err != nil {
				return err
			}
			e.add(stored)
			after = stored.place()
		}
		if len(page.Events) == 0 {
			return nil
		}
	}
}

// importable is an event in the form it could be sent in. What is stored of a void is
// what it takes back, negated; what is sent says only which event that is. The model
// is the one that was sent, which another price book may know better.
func importable(stored *storedEvent, raw json.RawMessage) ([]byte, error) {
	void := stored.Event.Type == string(schemas.TypeVoid)
	if !void && stored.ReportedModel == "" {
		return raw, nil
	}
	var event, data map[string]json.RawMessage
	err := json.Unmarshal(raw, &event)
	if err == nil {
		err = json.Unmarshal(event["data"], &data)
	}
	if err == nil && void {
		data = map[string]json.RawMessage{"corrects": data["corrects"]}
	} else if err == nil {
		data["model"], err = json.Marshal(stored.ReportedModel)
	}
	if err == nil {
		event["data"], err = json.Marshal(data)
	}
	var text []byte
	if err == nil {
		text, err = json.Marshal(event)
	}
	if err != nil {
		return nil, fmt.Errorf("read event %s: %w", stored.Event.ID, err)
	}
	return text, nil
}

// add counts an event for its agent.
func (e *agentsExport) add(stored *storedEvent) {
	e.count++
	d := &stored.Event.Data
	if stored.Event.Type == string(schemas.TypeResourceSample) {
		return
	}
	a := e.agents[d.Agent]
	if a == nil {
		a = &exportedAgent{Name: d.Agent, Departments: []string{}, Models: []string{}}
		e.agents[d.Agent] = a
	}
	a.Departments, a.Models = withName(a.Departments, d.Department), withName(a.Models, d.Model)
	a.Calls += stored.Calls
	a.Tokens += stored.tokens()
	if stored.Cost != nil {
		a.Cost = a.Cost.Add(*stored.Cost)
	} else {
		a.Unpriced += stored.Calls
	}
	if stored.Event.Time.After(a.LastUsed) {
		a.LastUsed = stored.Event.Time
	}
}

// withName adds a name to a sorted list, once.
func withName(list []string, name string) []string {
	at, there := slices.BinarySearch(list, name)
	if name == "" || there {
		return list
	}
	return slices.Insert(list, at, name)
}

// sorted returns the agents in the order of their names.
func (e *agentsExport) sorted() []*exportedAgent {
	list := make([]*exportedAgent, 0, len(e.agents))
	for _, name := range sortedNames(e.agents) {
		list = append(list, e.agents[name])
	}
	return list
}

// named are the agents that have a name.
func (e *agentsExport) named() []string {
	return slices.DeleteFunc(sortedNames(e.agents), func(name string) bool { return name == "" })
}
