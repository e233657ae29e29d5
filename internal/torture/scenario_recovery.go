package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/bench"
)

// Recovery fills a panda, ends it as a power cut does while it is busy, and measures
// how long it takes until it is whole again.
func Recovery() Scenario {
	return Scenario{
		Name: "recovery", About: "many events on disk, kill -9; time to the first acknowledgement and to a clean verify (--set events=N)",
		Faults: []string{faultServerKilled}, Once: true, Run: recovery,
	}
}

func recovery(ctx context.Context, r *Round) error {
	const usual, short = "200000", "20000"
	otherwise := usual
	if r.Short {
		otherwise = short
	}
	total, err := strconv.ParseInt(r.Option("events", otherwise), 10, 64)
	if err != nil || total < 1 {
		return fmt.Errorf("events=%s is not a number of events", r.Option("events", otherwise))
	}
	p, err := r.Panda(PandaConfig{})
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	var tenants []*Tenant
	var ids []string
	for i := range 4 {
		t, err := p.MakeTenant(ctx, fmt.Sprint("tenant-", i), fmt.Sprint("secret-", i))
		if err != nil {
			return err
		}
		tenants, ids = append(tenants, t), append(ids, t.ID)
	}
	key, err := os.ReadFile(filepath.Join(p.Data(), "admin.key"))
	if err != nil {
		return err
	}
	r.At("loads %s events", digits(total))
	load := bench.Load{URL: p.URL(), Key: strings.TrimSpace(string(key)), Tenants: ids, Events: 1000, Workers: 4,
		For: time.Hour, Total: total, Seed: r.Seed}
	loaded, err := load.Run(ctx)
	if err != nil {
		return err
	}
	r.Figures(Figures{Sent: loaded.Accepted, Acked: loaded.Accepted})
	if err := p.Kill(); err != nil {
		return err
	}
	r.Killed(faultServerKilled)
	return recovered(ctx, r, p, tenants[0], loaded.Accepted)
}

// recovered starts the server and waits for each step of its recovery.
func recovered(ctx context.Context, r *Round, p *Panda, t *Tenant, events int64) error {
	r.At("recovers")
	began := time.Now()
	took := func(what string) { r.Measure(what, "%s", time.Since(began).Round(time.Millisecond)) }
	if err := p.Launch(); err != nil {
		return err
	}
	r.Measure("events on disk", "%s", digits(events))
	// The same bytes until they are acknowledged, as any sender does.
	l := &Loader{Name: "first", Tenant: t, Rng: r.Rng, Now: time.Now(), Honest: true, Send: &HTTPSender{Panda: p, Key: t.Key}}
	if err := l.until(ctx, l.batch(1)); err != nil {
		return err
	}
	took("first acknowledgement after the start")
	if err := p.WaitReady(ctx); err != nil {
		return err
	}
	took("questions are answered")
	if _, err := p.API("").Settle(ctx); err != nil {
		return err
	}
	took("log, ledger and windows are at the same place")
	v := &Verdict{}
	c := &checker{panda: p, tenants: nil, verdict: v}
	text, err := p.API("").textWithin(ctx, http.MethodPost, "/v1/verify", time.Hour)
	if err != nil {
		return err
	}
	took("verify is done")
	c.verified(text)
	err = p.SQL(ctx, "SELECT toString(count()) AS n FROM usage_raw FINAL", func(line []byte) error {
		var row struct{ N string }
		if err := json.Unmarshal(line, &row); err != nil {
			return err
		}
		n, err := strconv.ParseInt(row.N, 10, 64)
		switch want := events + 1; {
		case n < want:
			v.lost("%d of %d acknowledged events do not count", want-n, want)
		case n > want:
			v.doubled("%d rows for %d acknowledged events", n, want)
		}
		v.Checks++
		return err
	})
	if err != nil {
		return err
	}
	return r.Judge(v)
}
