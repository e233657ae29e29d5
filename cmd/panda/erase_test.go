package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

// erasing is a pipeline on a directory that tenants are erased from.
type erasing struct {
	*pipeline
	t   *testing.T
	dir string
	// secrets are words that only the tenant's data has, and users' those of one user.
	secrets, userSecrets map[string]string
	acme, globex         tenancy.Tenant
	isolated             bool   // acme has a database of its own
	split                uint32 // how many shards there are; the two tenants are in two of them
	proxies              string
}

func startErasing(t *testing.T) *erasing { return startErasingIn(t, false, 1) }

// startErasingIn gives the first tenant a database of its own, or not, in one shard of
// some.
func startErasingIn(t *testing.T, isolated bool, split uint32) *erasing {
	t.Helper()

	e := &erasing{t: t, dir: filepath.Join(t.TempDir(), "data"), isolated: isolated, split: split, secrets: map[string]string{}, userSecrets: map[string]string{}}
	e.start()
	t.Cleanup(func() { e.stop() })
	return e
}

func (e *erasing) start() {
	e.t.Helper()
	cfg := defaultConfig(os.Getenv)
	cfg.Data, cfg.Listen, cfg.LogLevel, cfg.EngineMemory = e.dir, "127.0.0.1:0", "warn", 1<<30
	cfg.TrustedProxies = e.proxies
	var err error
	if cfg.program, err = exec.LookPath("panda"); err != nil { // this binary, under the name that makes it the program
		e.t.Fatal(err)
	}
	cfg.Shards = e.split
	if e.isolated {
		cfg.Isolation = isolationHybrid
	}
	p, err := startPipeline(e.t.Context(), cfg, cfg.logger(e.t.Output()))
	if err != nil {
		e.t.Fatal(err)
	}
	e.pipeline = p
	if err := p.Counting(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
}

func (e *erasing) stop() {
	if e.pipeline == nil {
		return
	}
	if err := e.Close(); err != nil {
		e.t.Errorf("close: %v", err)
	}
	e.pipeline = nil
}

func (e *erasing) secret(kind string) string {
	if e.secrets[kind] == "" {
		e.secrets[kind] = kind + "-" + strings.ToLower(rand.Text()[:16])
	}
	return e.secrets[kind]
}

// event is one of a tenant as JSON.
func event(id string, at time.Time, data map[string]any) []byte {
	data["provider"], data["model"] = "openai", "gpt-4"
	text, err := json.Marshal(map[string]any{"specversion": "1.0", "id": id, "source": "/test", "type": "llm.call",
		"time": at.UTC().Format(time.RFC3339Nano), "data": data})
	if err != nil {
		panic(err)
	}
	return text
}

// fill makes two tenants and sends for both: events, repeats, conflicts, what cannot
// be read, and a correction.
func (e *erasing) fill() {
	e.t.Helper()
	ctx, by := e.t.Context(), tenancy.Actor{ID: "system:test"}
	var err error
	plan := tenancy.PlanPro
	if e.isolated {
		plan = tenancy.PlanEnterprise
	}
	if e.acme, _, err = e.registry.CreateTenant(ctx, by, tenancy.NewTenant{Name: e.secret("name"), Slug: e.secret("slug"), Plan: plan,
		BillingEmail: e.secret("billing") + "@acme.example"}); err != nil {
		e.t.Fatal(err)
	}
	for n := 0; e.globex.ID == "" || e.split > 1 && e.of(e.globex.ID) == e.of(e.acme.ID); n++ {
		if e.globex, _, err = e.registry.CreateTenant(ctx, by, tenancy.NewTenant{Name: "Globex", Slug: fmt.Sprintf("globex-%d", n)}); err != nil {
			e.t.Fatal(err)
		}
	}
	if _, _, err := e.registry.AddMembers(ctx, by, e.acme.ID, []tenancy.NewMember{{Email: e.secret("member") + "@acme.example", Role: tenancy.RoleOwner}}); err != nil {
		e.t.Fatal(err)
	}
	now := time.Now()
	for i := range 60 {
		at := now.Add(-time.Duration(i) * 7 * time.Hour) // some arrive late
		tokens := map[string]any{"input": 100 + i, "output": 10 * i}
		e.send(e.acme.ID, event(fmt.Sprintf("%s-%d", e.secret("id"), i), at, map[string]any{"tokens": tokens, "agent": e.secret("agent"),
			"user": fmt.Sprintf("%s-%d", e.secret("user"), i%3), "session": e.secret("session"), "run": e.secret("run"),
			"department": e.secret("department"), "tags": map[string]string{"case": e.secret("tag")}}))
		e.send(e.globex.ID, event(fmt.Sprintf("g-%d", i), at, map[string]any{"tokens": tokens, "agent": "writer", "user": "homer"}))
	}
	for _, id := range []string{e.acme.ID, e.globex.ID} {
		first := "g-1"
		if id == e.acme.ID {
			first = e.secret("id") + "-1"
		}
		e.send(id, event(first, now.Add(-7*time.Hour), map[string]any{"tokens": map[string]any{"input": 9}, "agent": e.who(id)})) // a conflict
		e.send(id, []byte(`{"who": "`+e.who(id)+`" `))                                                                            // unreadable
		repeat := event(first+"-again", now, map[string]any{"tokens": map[string]any{"input": 9}})
		e.send(id, repeat)
		e.send(id, repeat)
		void, _ := json.Marshal(map[string]any{"specversion": "1.0", "id": first + "-void", "source": "/test", "type": "void",
			"time": now.UTC().Format(time.RFC3339Nano), "data": map[string]any{"corrects": map[string]string{"source": "/test", "id": first}}})
		e.send(id, void)
	}
	e.await()
}

func (e *erasing) who(id string) string {
	if id == e.acme.ID {
		return e.secret("agent")
	}
	return "writer"
}

func (e *erasing) send(tenant string, data []byte) {
	e.t.Helper()
	if err := e.Publish(e.t.Context(), schemas.DirectSubject(tenant), data); err != nil {
		e.t.Fatal(err)
	}
}

// await waits until everything on the log is counted and rolled up.
func (e *erasing) await() {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), time.Minute)
	defer cancel()
	for _, s := range e.shards {
		newest, err := e.log.LastOf(ctx, s.Stream(), s.Subjects()...)
		if err != nil {
			e.t.Fatal(err)
		}
		if err := errors.Join(s.live.WaitFor(ctx, newest), s.worker.WaitFor(ctx, newest)); err != nil {
			e.t.Fatalf("shard %s is counted up to %d, rolled up to %d, want %d: %v", s, s.live.Position().Seq, s.worker.Position(), newest, err)
		}
	}
}

// figures are what is known of a tenant, from rows, windows and identities.
func (e *erasing) figures(tenant string) string {
	e.t.Helper()
	view, err := e.of(tenant).placement.View(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	defer view.Close()
	database := view.Database(tenant)
	var rows, calls, tokens, windows, windowTokens, conflicts, quarantined string
	err = e.of(tenant).db.QueryRow(e.t.Context(), `SELECT toString(count()), toString(sum(calls)), toString(sum(input_tokens + output_tokens)) || ' ' || toString(ifNull(sum(cost), 0)),
		(SELECT toString(count()) FROM {database:Identifier}.rollup FINAL WHERE tenant = {t:String}),
		(SELECT toString(sum(tokens)) || ' ' || toString(sum(cost)) FROM {database:Identifier}.rollup FINAL WHERE tenant = {t:String} AND grain = 'month'),
		(SELECT toString(count()) FROM conflicts FINAL WHERE tenant = {t:String}),
		(SELECT toString(count()) FROM quarantine FINAL WHERE tenant = {t:String})
		FROM {database:Identifier}.usage_raw FINAL WHERE tenant = {t:String}`, param("t", tenant), param("database", database)).Scan(&rows, &calls, &tokens, &windows, &windowTokens, &conflicts, &quarantined)
	if err != nil {
		e.t.Fatal(err)
	}
	return fmt.Sprintf("rows %s calls %s tokens %s windows %s %s conflicts %s quarantined %s", rows, calls, tokens, windows, windowTokens, conflicts, quarantined)
}

// agrees verifies everything, every range that is on the log, and mends nothing.
func (e *erasing) agrees(when string) rollup.Report {
	e.t.Helper()
	var all []rollup.Repair
	for _, s := range e.shards {
		all = append(all, rollup.Repair{Report: e.shardAgrees(s, when)})
	}
	return together(all).Report
}

func (e *erasing) shardAgrees(s *shard, when string) rollup.Report {
	e.t.Helper()
	if err := e.monitor.Halted(); err != nil {
		e.t.Errorf("%s: counting is halted: %v", when, err)
	}
	done, err := s.repairer.Repair(e.t.Context(), rollup.VerifyOptions{ReplayMax: math.MaxUint32}, true, nil)
	if err != nil {
		e.t.Fatalf("%s: %v", when, err)
	}
	for _, text := range done.Done {
		e.t.Errorf("%s: a repair had something to do: %s", when, text)
	}
	for i := range done.Report.Checks {
		if c := &done.Report.Checks[i]; !c.OK() || c.Skipped != "" {
			e.t.Errorf("%s: %s: %s %s, %d differences, first %v", when, c.Name, c.Verdict(), c.Skipped, c.Differences, slices.Clip(c.Findings))
		}
	}
	return done.Report
}

// found returns which secrets are in which files of the data directory.
func (e *erasing) found(secrets map[string]string) map[string][]string {
	e.t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(e.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for kind, secret := range secrets {
			if bytes.Contains(content, []byte(secret)) {
				rel, _ := filepath.Rel(e.dir, path)
				found[kind] = append(found[kind], rel)
			}
		}
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return found
}

func (e *erasing) gone(when string, secrets map[string]string) {
	e.t.Helper()
	for kind, files := range e.found(secrets) {
		e.t.Errorf("%s: the tenant's %s is in %q", when, kind, files)
	}
}

// erase deletes and erases the tenant.
func (e *erasing) erase() erasure.Certificate {
	e.t.Helper()
	if _, err := e.registry.Delete(e.t.Context(), tenancy.Actor{ID: "system:test"}, e.acme.ID, 0); err != nil {
		e.t.Fatal(err)
	}
	c, err := e.of(e.acme.ID).eraser.EraseTenant(e.t.Context(), e.acme.ID, tenancy.Actor{ID: "key:test"}, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

// An erased tenant is gone from every store and every file, nothing brings it back, and
// everybody else's numbers are what they were, and provable as they were.
func TestEraseTenant(t *testing.T) {
	t.Run("shared database", func(t *testing.T) { eraseTenant(t, false, 1) })
	t.Run("database of its own", func(t *testing.T) { eraseTenant(t, true, 1) })
	t.Run("one shard of several", func(t *testing.T) { eraseTenant(t, true, 3) })
}

func eraseTenant(t *testing.T, isolated bool, split uint32) {
	t.Parallel()
	e := startErasingIn(t, isolated, split)
	e.fill()
	if (e.acme.Database != "") != isolated {
		t.Fatalf("the tenant's database is %q", e.acme.Database)
	}
	e.agrees("before")
	want, months := e.figures(e.globex.ID), e.figures(e.acme.ID)
	before := e.found(e.secrets)
	// Compression hides words in some files, so each is looked for where it is plain.
	if len(before) != len(e.secrets) {
		t.Fatalf("of %q, found before the erasure: %q", slices.Collect(maps.Keys(e.secrets)), before)
	}
	if !strings.HasPrefix(months, "rows 62 ") {
		t.Fatalf("the tenant has %s", months)
	}
	backup := filepath.Join(t.TempDir(), "warehouse")
	e.stop()
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(e.dir, "warehouse"))); err != nil {
		t.Fatal(err)
	}
	e.start()
	c := e.erase()
	if err := c.Check(); err != nil || c.Scope != "tenant" || c.TenantID != e.acme.ID || c.Actor != "key:test" || len(c.Months) == 0 {
		t.Errorf("certificate %+v: %v", c, err)
	}
	if diff := cmp.Diff(map[string]uint64{"usage_raw": 62, "log_messages": 65, "usage_keys": 63, "conflicts": 1, "quarantine": 1},
		map[string]uint64{"usage_raw": c.Erased["usage_raw"], "log_messages": c.Erased["log_messages"], "usage_keys": c.Erased["usage_keys"],
			"conflicts": c.Erased["conflicts"], "quarantine": c.Erased["quarantine"]}); diff != "" {
		t.Error(diff)
	}
	check := func(when string) {
		t.Helper()
		e.gone(when, e.secrets)
		e.agrees(when)
		if got := e.figures(e.globex.ID); got != want {
			t.Errorf("%s: another tenant has\n%s, and had\n%s", when, got, want)
		}
		if got := e.figures(e.acme.ID); !strings.HasPrefix(got, "rows 0 ") || !strings.Contains(got, "windows 0 ") {
			t.Errorf("%s: the erased tenant has %s", when, got)
		}
		if tenant, ok := e.registry.ByID(e.acme.ID); !ok || tenant.Status != tenancy.StatusErased || len(tenant.Certificate) == 0 || tenant.Name != "" {
			t.Errorf("%s: the registry has %+v", when, tenant)
		}
	}
	check("after")
	if again, err := e.of(e.acme.ID).eraser.EraseTenant(t.Context(), e.acme.ID, tenancy.Actor{ID: "key:other"}, nil); err != nil || again.SHA256 != c.SHA256 {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	if n, err := e.of(e.acme.ID).eraser.Sweep(t.Context()); err != nil || n != 0 {
		t.Errorf("a sweep had %d to do, %v", n, err)
	}
	e.stop()
	e.start()
	check("after a restart")

	// The warehouse is made anew from the log.
	e.stop()
	if err := os.RemoveAll(filepath.Join(e.dir, "warehouse")); err != nil {
		t.Fatal(err)
	}
	e.start()
	e.await()
	check("made anew from the log")

	// A backup of the warehouse from before brings the tenant back until the next sweep.
	e.stop()
	if err := os.RemoveAll(filepath.Join(e.dir, "warehouse")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(e.dir, "warehouse"), os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	e.start()
	// Until then what it lacks is no breach.
	if err := e.of(e.acme.ID).auditor.Tail(t.Context()); err != nil {
		t.Errorf("audited before the sweep: %v", err)
	}
	if detail, err := e.eraseDue(t.Context()); err != nil || !strings.Contains(detail, "1 erasure carried out again") {
		t.Fatalf("%s, %v", detail, err)
	}
	check("after a backup from before")
	e.send(e.globex.ID, event("g-later", time.Now(), map[string]any{"tokens": map[string]any{"input": 1}}))
	e.await()
	e.agrees("counting goes on")
}

// An erased user's names are gone from every store and every file, the sums are what
// they were, and what cannot be judged again any more is said and is no fault.
func TestEraseUser(t *testing.T) {
	t.Parallel()
	e := startErasingIn(t, true, 1)
	e.fill()
	user := e.secret("user") + "-1"
	own := map[string]string{"user": user, "session": "sess-" + rand.Text(), "run": "run-" + rand.Text(), "tag": "tag-" + rand.Text()}
	for i := range 3 {
		e.send(e.acme.ID, event(fmt.Sprintf("own-%d", i), time.Now(), map[string]any{"tokens": map[string]any{"input": 5}, "user": user,
			"session": own["session"], "run": own["run"], "parent_run": own["run"], "status": "error", "error": "for " + own["tag"], "tags": map[string]string{"case": own["tag"]}}))
	}
	e.send(e.acme.ID, event("own-1", time.Now(), map[string]any{"tokens": map[string]any{"input": 6}, "user": user, "session": own["session"]})) // a conflict
	e.send(e.acme.ID, []byte(`{"user": "`+user+`", "session": "`+own["session"]+`" `))                                                           // unreadable
	e.await()
	e.agrees("before")
	if before := e.found(own); len(before) != len(own) {
		t.Fatalf("of %q, found before the erasure: %q", own, before)
	}
	acme, globex := e.figures(e.acme.ID), e.figures(e.globex.ID)
	c, err := e.of(e.acme.ID).eraser.EraseUser(t.Context(), e.acme.ID, user, "key:test", nil)
	if err != nil {
		t.Fatal(err)
	}
	// One in three of the tenant's events is this user's, and all of the later ones; a
	// void is as much a user's as what it takes back.
	if c.Check() != nil || c.Scope != "user" || c.Erased["usage_raw"] != 24 || c.Erased["rejects"] != 2 || c.Erased["log_messages"] != 25 {
		t.Errorf("certificate %+v", c)
	}
	check := func(when string) {
		t.Helper()
		e.gone(when, own)
		report := e.agrees(when)
		if got := e.figures(e.acme.ID); got != acme {
			t.Errorf("%s: the tenant has\n%s, and had\n%s", when, got, acme)
		}
		if got := e.figures(e.globex.ID); got != globex {
			t.Errorf("%s: another tenant has\n%s, and had\n%s", when, got, globex)
		}
		if notes := fmt.Sprint(report.Checks); !strings.Contains(notes, "events of a user of tenant "+e.acme.ID+" were erased") {
			t.Errorf("%s: nothing says which ranges cannot be judged again: %s", when, notes)
		}
	}
	check("after")
	certificates, err := erasureRegistry{e.registry, e.log}.certificates(t.Context(), e.acme.ID)
	if err != nil || len(certificates) != 1 || certificates[0].SHA256 != c.SHA256 {
		t.Errorf("the log has the certificates %+v, %v", certificates, err)
	}
	e.stop()
	e.start()
	check("after a restart")

	// Then the tenant as a whole: the ranges can be judged again without it.
	e.erase()
	e.gone("after the tenant too", e.secrets)
	report := e.agrees("after the tenant too")
	if notes := fmt.Sprint(report.Checks); strings.Contains(notes, "were erased") {
		t.Errorf("ranges cannot be judged again: %s", notes)
	}
	if got := e.figures(e.globex.ID); got != globex {
		t.Errorf("another tenant has\n%s, and had\n%s", got, globex)
	}
}

// A server that is killed at any moment of an erasure completes it after its restart,
// by itself, and at no moment finds anything wrong.
func TestEraseOutlivesKills(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "panda")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "failpoint", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e := startErasing(t)
	e.fill()
	want := e.figures(e.globex.ID)
	// It was deleted long ago, so the job that erases finds it due.
	e.deletedLongAgo()
	e.stop()
	serve := func(point string) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, "serve", "--listen", "127.0.0.1:0", "--log-level", "warn")
		var said bytes.Buffer
		cmd.Stderr = &said
		cmd.Env = append(os.Environ(), "PANDA_DATA="+e.dir, "PANDA_FAILPOINT_SCHEDULE=@every 1s", "PANDA_FAILPOINT="+point)
		err := cmd.Run()
		if exit := (*exec.ExitError)(nil); ctx.Err() != nil || !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("at %s: %v, %s", point, err, said.String())
		}
		if strings.Contains(said.String(), "halted") || strings.Contains(said.String(), "restored") {
			t.Errorf("at %s: %s", point, said.String())
		}
	}
	for _, i := range failpoint.Points() {
		if i.In != failpoint.InErasure {
			continue
		}
		passes := 1
		if i.Point == failpoint.ErasureTable {
			passes = 5
		}
		for pass := 1; pass <= passes; pass += 2 {
			serve(fmt.Sprintf("%s:kill:%d", i.Point, pass))
		}
		if i.Point == failpoint.ErasureMarked || i.Point == failpoint.ErasureForgotten {
			e.start()
			e.agrees("killed at " + string(i.Point))
			e.stop()
		}
	}
	e.start()
	if detail, err := e.eraseDue(t.Context()); err != nil {
		t.Fatalf("%s, %v", detail, err)
	}
	e.gone("after all", e.secrets)
	e.agrees("after all")
	if got := e.figures(e.globex.ID); got != want {
		t.Errorf("another tenant has\n%s, and had\n%s", got, want)
	}
	if tenant, ok := e.registry.ByID(e.acme.ID); !ok || tenant.Status != tenancy.StatusErased {
		t.Errorf("the registry has %+v", tenant)
	}
}
