package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/internal/bench"
)

const (
	// benchFewTenants is what the same questions are asked among before, so that the
	// ratio says what the many cost.
	benchFewTenants = 100
	// benchTenantAsks is how often each question is asked.
	benchTenantAsks = 500
	// benchTenantCreates is how many tenants are made one after the other.
	benchTenantCreates = 50
	benchTenantsPage   = 50
)

// tenantTimes are how long the work on the registry takes among some number of tenants.
type tenantTimes struct{ create, show, list, search bench.Samples }

// tenantsRow measures the registry of many tenants, each with an owner and a key, over
// HTTP: how long they take to be made, how long questions take among them, and their
// memory.
func (b *benchRun) tenantsRow(ctx context.Context) (err error) {
	p, err := b.start(ctx, "tenants", 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	c := benchClient(p.URL(), p.AdminKey())
	many := b.sizes.tenantsMany
	b.progress("tenants: %d of them", benchFewTenants)
	if err := manyTenants(ctx, c, benchFewTenants, 0); err != nil {
		return err
	}
	few, err := b.tenantTimes(ctx, c, "few")
	if err != nil {
		return err
	}
	heapBefore, rssBefore, err := memoryNow()
	if err != nil {
		return err
	}
	b.progress("tenants: %s of them, each with an owner and a key", grouped(int64(many)))
	began := time.Now()
	if err := manyTenants(ctx, c, many, benchFewTenants); err != nil {
		return err
	}
	took := time.Since(began)
	heapAfter, rssAfter, err := memoryNow()
	if err != nil {
		return err
	}
	all, err := b.tenantTimes(ctx, c, "many")
	if err != nil {
		return err
	}
	of, among := fmt.Sprintf("the same among %d", benchFewTenants), fmt.Sprintf(" among %s tenants", grouped(int64(many)))
	row := func(measure string, must, aim time.Duration, got, limit time.Duration) {
		b.report.Add(bench.Row{Name: rowTenants, Measure: measure + among, Unit: bench.UnitDuration,
			Must: float64(must), Aim: float64(aim), Got: float64(got), Limit: float64(limit), LimitOf: of})
	}
	row("create a tenant, p50", 50*time.Millisecond, 10*time.Millisecond, all.create.P50(), few.create.P50())
	row("show a tenant by slug, p99", 25*time.Millisecond, 5*time.Millisecond, all.show.P99(), few.show.P99())
	row(fmt.Sprintf("a page of %d, any page of the list, p99", benchTenantsPage), 100*time.Millisecond, 20*time.Millisecond, all.list.P99(), few.list.P99())
	row("search by q= for a name that nobody has, p99", 100*time.Millisecond, 20*time.Millisecond, all.search.P99(), few.search.P99())
	b.report.Add(bench.Row{Name: rowTenants, Measure: "heap of " + grouped(int64(many)) + " tenants, each with an owner and a key", Unit: bench.UnitBytes,
		Must: 200e6, Aim: 50e6, Got: float64(max(heapAfter-heapBefore, 1))})
	b.report.Note(rowTenants, "made", "%s tenants, owners and keys in %s, 16 at once: %s durable changes a second", grouped(int64(many)),
		bench.Format(bench.UnitDuration, float64(took)), grouped(int64(3*many)*int64(time.Second)/int64(took)))
	b.report.Note(rowTenants, "a tenant's share of the heap", "%d bytes", (heapAfter-heapBefore)/int64(many))
	b.report.Note(rowTenants, "resident memory of the process", "%s before, %s after", bench.Format(bench.UnitBytes, float64(rssBefore)), bench.Format(bench.UnitBytes, float64(rssAfter)))
	return nil
}

// memoryNow is the live heap and the resident memory of this process.
func memoryNow() (heap, rss int64, err error) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	rss, _, err = bench.Memory(os.Getpid())
	return int64(m.HeapAlloc), rss, err
}

// tenantTimes asks every question, of tenants in turn and of every page of the list.
func (b *benchRun) tenantTimes(ctx context.Context, c *apiClient, name string) (t tenantTimes, err error) {
	at := 0
	if t.create, err = bench.Times(benchTenantCreates, func() error {
		at++
		slug := "made-" + name + "-" + strconv.Itoa(at)
		r, err := post("/v1/tenants", nil, map[string]any{"name": slug, "slug": slug, "plan": "pro"})
		if err != nil {
			return err
		}
		_, err = c.raw(ctx, r)
		return err
	}); err != nil {
		return t, err
	}
	if t.show, err = bench.Times(benchTenantAsks, func() error {
		at++
		_, err := c.raw(ctx, get("/v1/tenants/bench-"+strconv.Itoa(at%benchFewTenants), nil))
		return err
	}); err != nil {
		return t, err
	}
	cursor := ""
	if t.list, err = bench.Times(benchTenantAsks, func() error {
		page, _, err := call[struct {
			NextCursor string `json:"next_cursor"`
		}](ctx, c, get("/v1/tenants", params("limit", strconv.Itoa(benchTenantsPage), "cursor", cursor)))
		cursor = page.NextCursor // "" after the last page: the first one again
		return err
	}); err != nil {
		return t, err
	}
	t.search, err = bench.Times(benchTenantAsks, func() error {
		found, body, err := call[struct {
			Items []struct{} `json:"items"`
		}](ctx, c, get("/v1/tenants", url.Values{"q": {"nobody-is-called-so"}}))
		if err == nil && len(found.Items) != 0 {
			return fmt.Errorf("search for nobody finds %s", strings.TrimSpace(string(body)))
		}
		return err
	})
	return t, err
}

// manyTenants makes n tenants, numbered from first on, each with an owner and a key, 16
// at once.
func manyTenants(ctx context.Context, c *apiClient, n, first int) error {
	const atOnce = 16
	group, running := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error {
			name := "bench-" + strconv.Itoa(first+i)
			for _, step := range []struct {
				path string
				body map[string]any
			}{
				{"/v1/tenants", map[string]any{"name": name, "slug": name, "plan": "pro"}},
				{"/v1/tenants/" + name + "/members", map[string]any{"email": "owner@" + name + ".example", "name": "Owner", "role": "owner"}},
				{"/v1/tenants/" + name + "/keys", map[string]any{"name": "runtime", "scopes": []string{"ingest", "read"}}},
			} {
				r, err := post(step.path, nil, step.body)
				if err != nil {
					return err
				}
				if _, err := c.raw(running, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("make tenants: %w", err)
	}
	return nil
}
