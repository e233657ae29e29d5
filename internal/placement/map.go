package placement

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/agentik-os/panda/internal/warehouse"
)

// Config is what a Map needs to know.
type Config struct {
	// Shared is the name of the database that tenants share.
	Shared string
	// Placed returns the database of every tenant that has one of its own, by the
	// tenant's id. The map must not change once it was returned. nil: there are none.
	Placed func() map[string]string
	// Prepare makes a database with its tables, or brings its tables up to date. It is
	// called once per database and process, before the first view that has it.
	Prepare func(ctx context.Context, database string) error
}

// Map knows the places in force and who reads them. It is safe for use by many
// goroutines.
type Map struct {
	cfg Config

	mu sync.Mutex
	// current is what is in force; older are generations that are still read.
	current *generation
	older   []*generation
	moved   chan struct{} // closed and replaced when a generation is read no more

	preparing sync.Mutex      // held while databases are made
	prepared  map[string]bool // guarded by mu
}

// A generation is what was in force from one change to the next.
type generation struct {
	placed    map[string]string
	tenants   []string // with a database of their own, in order
	databases []string // theirs, in order
	readers   int      // guarded by Map.mu
}

// New returns a Map.
func New(cfg Config) *Map {
	return &Map{cfg: cfg, current: newGeneration(nil), moved: make(chan struct{}), prepared: map[string]bool{}}
}

// DatabaseOf is the name of a tenant's own database, beside the shared one.
func DatabaseOf(shared, tenant string) string { return shared + "_" + tenant }

// Shared returns the Map of a warehouse in which all tenants share one database.
func Shared(database string) *Map { return New(Config{Shared: database}) }

func newGeneration(placed map[string]string) *generation {
	databases := slices.Sorted(maps.Values(placed))
	return &generation{placed: placed, tenants: slices.Sorted(maps.Keys(placed)), databases: slices.Compact(databases)}
}

// A View is what is in force at one moment. It must be closed when what was read
// with it has been read.
type View struct {
	shared string
	gen    *generation
	close  func()
}

// View returns what is in force now. An error is that of Config.Prepare.
func (m *Map) View(ctx context.Context) (*View, error) {
	for {
		view, missing := m.take()
		if len(missing) == 0 {
			return view, nil
		}
		if err := m.prepare(ctx, missing); err != nil {
			return nil, err
		}
	}
}

// take returns a view, or the databases that have to be made first.
func (m *Map) take() (*View, []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refresh()
	gen := m.current
	var missing []string
	for _, database := range gen.databases {
		if !m.prepared[database] && m.cfg.Prepare != nil {
			missing = append(missing, database)
		}
	}
	if len(missing) > 0 {
		return nil, missing
	}
	gen.readers++
	return &View{shared: m.cfg.Shared, gen: gen, close: sync.OnceFunc(func() { m.leave(gen) })}, nil
}

// refresh brings current up to what is in force, for who holds mu.
func (m *Map) refresh() {
	if m.cfg.Placed == nil {
		return
	}
	placed := m.cfg.Placed()
	if maps.Equal(placed, m.current.placed) {
		return
	}
	if m.current.readers > 0 {
		m.older = append(m.older, m.current)
	}
	m.current = newGeneration(placed)
}

func (m *Map) leave(gen *generation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gen.readers--
	if gen.readers > 0 || gen == m.current {
		return
	}
	m.older = slices.DeleteFunc(m.older, func(g *generation) bool { return g == gen })
	close(m.moved)
	m.moved = make(chan struct{})
}

func (m *Map) prepare(ctx context.Context, databases []string) error {
	m.preparing.Lock()
	defer m.preparing.Unlock()
	for _, database := range databases {
		m.mu.Lock()
		done := m.prepared[database]
		m.mu.Unlock()
		if done {
			continue
		}
		if err := m.cfg.Prepare(ctx, database); err != nil {
			return fmt.Errorf("prepare database %s: %w", database, err)
		}
		m.mu.Lock()
		m.prepared[database] = true
		m.mu.Unlock()
	}
	return nil
}

// Prepare makes a database that nobody is placed in yet, for a move.
func (m *Map) Prepare(ctx context.Context, database string) error {
	if m.cfg.Prepare == nil {
		return nil
	}
	return m.prepare(ctx, []string{database})
}

// Forget says that a database is gone: who needs it again makes it again.
func (m *Map) Forget(database string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.prepared, database)
}

// Drain returns when nobody in this process reads or writes by what was in force
// before now, or with the context's error.
func (m *Map) Drain(ctx context.Context) error {
	for {
		m.mu.Lock()
		m.refresh()
		left, moved := len(m.older), m.moved
		m.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d readers of the places before: %w", left, ctx.Err())
		}
	}
}

// Close ends the view. It may be called more than once.
func (v *View) Close() { v.close() }

// Database returns the database that a tenant's content is in.
func (v *View) Database(tenant string) string {
	if database, ok := v.gen.placed[tenant]; ok {
		return database
	}
	return v.shared
}

// A Place is one database and what of it counts.
type Place struct {
	Database string
	// Elsewhere are tenants whose rows in this database do not count, because they
	// have another place.
	Elsewhere []string
}

// Of returns the place of a tenant.
func (v *View) Of(tenant string) Place { return v.in(v.Database(tenant)) }

func (v *View) in(database string) Place {
	p := Place{Database: database, Elsewhere: []string{}}
	if database == v.shared {
		p.Elsewhere = append(p.Elsewhere, v.gen.tenants...)
	}
	return p
}

// All returns every place, the shared one first. What they hold together is what
// there is, each tenant in one of them.
func (v *View) All() []Place {
	all := []Place{v.in(v.shared)}
	for _, database := range v.gen.databases {
		all = append(all, v.in(database))
	}
	return all
}

// Among returns the places of some tenants, each once.
func (v *View) Among(tenants []string) []Place {
	if len(v.gen.placed) == 0 {
		return []Place{v.in(v.shared)}
	}
	var names []string
	for _, tenant := range tenants {
		names = append(names, v.Database(tenant))
	}
	slices.Sort(names)
	var places []Place
	for _, name := range slices.Compact(names) {
		places = append(places, v.in(name))
	}
	return places
}

// Isolated returns the tenants that have a database of their own, in order.
func (v *View) Isolated() []string { return v.gen.tenants }

// Param names the database to a statement that is about one tenant:
// {database:Identifier}.
func (p Place) Param() warehouse.Param {
	return warehouse.Param{Name: "database", Value: p.Database}
}

// Params are for a statement about all tenants: besides the database, the tenants
// that do not count in it, {elsewhere:Array(String)}.
func (p Place) Params() []warehouse.Param {
	return []warehouse.Param{p.Param(), {Name: "elsewhere", Value: p.Elsewhere}}
}
