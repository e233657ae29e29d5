package torture

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/agentik-os/panda/internal/sharding"
)

// sharedDatabase is what tenants share unless somebody says otherwise; each shard after
// the first has one whose name begins with it.
const sharedDatabase = "panda"

// shared is the database that a tenant shares with others of its shard.
func (p *Panda) shared(t *Tenant) string {
	if s := sharding.Of(t.ID, p.cfg.Shards); s.ID > 0 {
		return sharedDatabase + "_s" + s.String()
	}
	return sharedDatabase
}

// own is the database that a tenant may have to itself.
func (p *Panda) own(t *Tenant) string { return p.shared(t) + "_" + t.ID }

// places returns the databases that hold rows, by asking the engine and not the server.
func (p *Panda) places(ctx context.Context) (names []string, err error) {
	err = p.SQL(ctx, "SELECT database FROM system.tables WHERE name = 'usage_raw' AND startsWith(database, '"+sharedDatabase+"') ORDER BY database",
		func(line []byte) error {
			var row struct{ Database string }
			err := json.Unmarshal(line, &row)
			names = append(names, row.Database)
			return err
		})
	return names, err
}

// number asks for one number, which the statement gives as text with the name n.
func (p *Panda) number(ctx context.Context, query string) (n int64, err error) {
	err = p.SQL(ctx, query, func(line []byte) error {
		var row struct{ N string }
		err := json.Unmarshal(line, &row)
		if err == nil {
			n, err = strconv.ParseInt(row.N, 10, 64)
		}
		return err
	})
	return n, err
}

// storedIn returns the databases that hold rows or windows of a tenant.
func (p *Panda) storedIn(ctx context.Context, t *Tenant) (names []string, err error) {
	places, err := p.places(ctx)
	if err != nil {
		return nil, err
	}
	for _, place := range places {
		n, err := p.number(ctx, "SELECT toString((SELECT count() FROM "+place+".usage_raw WHERE tenant = '"+t.ID+
			"') + (SELECT count() FROM "+place+".rollup WHERE tenant = '"+t.ID+"')) AS n")
		if err != nil {
			return nil, err
		}
		if n > 0 {
			names = append(names, place)
		}
	}
	return names, nil
}

// place finds where a tenant is. When nothing moves any more that is one database.
func (c *checker) place(ctx context.Context, t *Tenant) error {
	c.at = c.panda.shared(t)
	stored, err := c.panda.storedIn(ctx, t)
	if err != nil || len(stored) == 0 {
		return err
	}
	c.verdict.Checks++
	c.at = stored[len(stored)-1]
	if len(stored) > 1 {
		c.verdict.wrong("%s has rows or windows in %v; a tenant has one place", t.Slug, stored)
	}
	return nil
}
