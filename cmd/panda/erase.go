package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/internal/erasure"
	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/export"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// newEraser returns who erases tenants and users of the shard for ever.
func (s *shard) newEraser() *erasure.Eraser {
	return erasure.New(s.erasureConfig(), s.p.log, s.db, s.places)
}

func (s *shard) erasureConfig() erasure.Config {
	p := s.p
	record := func(r *eventlog.Record) *ingest.Record { return (*ingest.Record)(r) }
	return erasure.Config{
		Shard:    s.Shard,
		Registry: erasureRegistry{p.registry, p.log},
		Events:   func(r *eventlog.Record) int { return ingest.EventsIn(record(r), p.signing) },
		Carries:  func(r *eventlog.Record, user string) bool { return ingest.CarriesUser(record(r), p.signing, user) },
		Names:    ingest.NamesUser,
		Hold:     jobLease{p.log}.Hold, Placement: s.placement,
		Halted:  p.monitor.Halted,
		Rebuild: s.live.Rebuild,
		Drop:    s.dropDatabase,
		Stores:  []erasure.Store{{Name: "alert_deliveries", Erase: p.alerts.outbox.Erase}},
		Logger:  p.logger.With().Str("part", "erasure").Logger(),
	}
}

// eraseDue erases the tenants whose time after their deletion is over, completes what
// was interrupted, and erases again what a backup brought back.
func (p *pipeline) eraseDue(ctx context.Context) (string, error) {
	again := 0
	for _, s := range p.shards {
		n, err := s.eraser.Sweep(ctx)
		if err != nil {
			return "", err
		}
		again += n
	}
	due := p.registry.EraseDue(time.Now())
	erased, failed := int64(0), []error{}
	for i := range due { // one that fails does not keep the others
		if _, err := p.of(due[i].ID).eraser.EraseTenant(ctx, due[i].ID, tenancy.Actor{ID: "system:erase"}, nil); err != nil {
			failed = append(failed, err)
			continue
		}
		erased++
	}
	return fmt.Sprintf("%s erased, %s carried out again", plural(erased, "tenant", "tenants"), plural(int64(again), "erasure", "erasures")), errors.Join(failed...)
}

// eraseTenant and eraseUser erase for who asks over HTTP, and export writes.
func (p *pipeline) eraseTenant(ctx context.Context, by tenancy.Actor, tenantID string, step httpapi.Step) error {
	if err := p.ready(); err != nil {
		return err
	}
	_, err := p.of(tenantID).eraser.EraseTenant(ctx, tenantID, by, erasure.Progress(step))
	return err
}

func (p *pipeline) eraseUser(ctx context.Context, by tenancy.Actor, tenantID, user string, step httpapi.Step) (any, error) {
	if err := p.ready(); err != nil {
		return nil, err
	}
	return p.of(tenantID).eraser.EraseUser(ctx, tenantID, user, by.ID, erasure.Progress(step))
}

func (p *pipeline) export(ctx context.Context, scope tenancy.Scope, tenantID string, w io.Writer, format string) error {
	if err := p.ready(); err != nil {
		return err
	}
	return p.exporter.Write(ctx, scope, tenantID, w, export.Format(format))
}

// erasureRegistry is the registry as an Eraser sees it.
type erasureRegistry struct {
	registry *tenancy.Registry
	log      *eventlog.Log
}

// Closed decides that a deleted tenant is erased: from there on it cannot be restored.
func (r erasureRegistry) Closed(ctx context.Context, tenant string) error {
	_, err := r.registry.BeginErasure(ctx, tenancy.Actor{ID: "system:erase"}, tenant)
	return err
}

func (r erasureRegistry) Subjects(tenant string) []string {
	t, ok := r.registry.ByID(tenant)
	if !ok {
		return nil
	}
	subjects := tenancy.SubjectsOf(&t)
	if t.Slug == "" { // the slug went with the record of the erasure
		subjects = subjects[1:]
	}
	return subjects
}

func (r erasureRegistry) Erased(ctx context.Context, by tenancy.Actor, tenant string, certificate json.RawMessage) (uint64, error) {
	t, err := r.registry.Erased(ctx, by, tenant, certificate)
	return t.Revision, err
}

// UserErased keeps the certificate on a subject of its own, because it changes nothing
// about the tenant. The id of the erasure makes a repeat harmless.
func (r erasureRegistry) UserErased(ctx context.Context, _, tenant string, certificate json.RawMessage) error {
	var c erasure.Certificate
	if err := json.Unmarshal(certificate, &c); err != nil {
		return err
	}
	none := uint64(0)
	subject := tenancy.UserErasureSubject(tenant, c.Erasure)
	_, err := r.log.Append(ctx, eventlog.Message{Subject: subject, ID: c.Erasure, Data: certificate, ExpectLastSubjectSeq: &none})
	if errors.Is(err, schemas.ErrConflict) {
		return nil // it is there
	}
	return err
}

// dropDatabase removes the database of a tenant that is erased, once nobody reads it.
func (s *shard) dropDatabase(ctx context.Context, name string) error {
	if err := s.placement.Drain(ctx); err != nil {
		return err
	}
	s.placement.Forget(name)
	return s.db.DropDatabase(ctx, name)
}

// certificates returns the certificates of a tenant's erased users.
func (r erasureRegistry) certificates(ctx context.Context, tenant string) (found []erasure.Certificate, err error) {
	_, err = r.log.Find(ctx, schemas.StreamControl, []string{tenancy.UserErasureSubject(tenant, "*")}, ^uint64(0), func(rec *eventlog.Record) error {
		if !strings.HasPrefix(rec.Subject, tenancy.UserErasureSubject(tenant, "")) {
			return nil
		}
		found = append(found, erasure.Certificate{})
		return json.Unmarshal(rec.Data, &found[len(found)-1])
	})
	return found, err
}

// newExporter returns who writes all that is held about a tenant.
func (p *pipeline) newExporter() *export.Exporter {
	return export.New(export.Config{
		Registry: p.registry, Warehouse: p.exported,
	})
}

func (p *pipeline) exported(tenantID string) (schemas.Shard, export.DB, *placement.Map, error) {
	if err := p.ready(); err != nil {
		return schemas.Shard{}, nil, nil, err
	}
	s := p.of(tenantID)
	return s.Shard, s.db, s.placement, nil
}
