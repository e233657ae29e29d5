package warehouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// noPartition is the id of a partition that no table has: none of the tables goes back
// to that month, and one that is not partitioned calls its own "all".
const noPartition = "190001"

// Forget takes from the disk what statements before it have taken out of tables: parts
// that a mutation or a merge has replaced, which the engine otherwise keeps for eight
// minutes, and parts that were detached, whatever they hold. It returns how many of each
// went. A part that a running query reads is waited for until ctx ends.
//
// The engine removes replaced parts at once when a partition is dropped, so one that
// does not exist is dropped, while the parts may have no lifetime. Tables with replicas
// have a thread of their own for that, which is waited for.
//
// Errors: schemas.ErrUnavailable; what is not gone then, a repeat takes.
func (db *DB) Forget(ctx context.Context, tables ...string) (replaced, detached int, err error) {
	for _, table := range tables {
		r, d, err := db.forget(ctx, table)
		replaced, detached = replaced+r, detached+d
		if err != nil {
			return replaced, detached, fmt.Errorf("forget the replaced parts of %s: %w", table, err)
		}
	}
	return replaced, detached, nil
}

func (db *DB) forget(ctx context.Context, table string) (replaced, detached int, err error) {
	onCluster := ""
	if db.cfg.Cluster != "" {
		onCluster = " ON CLUSTER " + db.cfg.Cluster
	}
	database, name, err := db.tableOf(table)
	if err != nil {
		return 0, 0, err
	}
	if err := db.Exec(ctx, "ALTER TABLE "+table+onCluster+" MODIFY SETTING old_parts_lifetime = 0"); err != nil {
		return 0, 0, err
	}
	defer func() {
		// A crash before this leaves a table that forgets at once; the next Forget mends it.
		err = errors.Join(err, db.Exec(context.WithoutCancel(ctx), "ALTER TABLE "+table+onCluster+" RESET SETTING old_parts_lifetime"))
	}()
	if detached, err = db.dropDetached(ctx, table); err != nil {
		return 0, detached, err
	}
	const lookEvery = 100 * time.Millisecond
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	most := uint64(0)
	for {
		var left uint64
		err := db.QueryRow(ctx, "SELECT count() FROM system.parts WHERE database = {database:String} AND table = {table:String} AND NOT active",
			Param{Name: "database", Value: database}, Param{Name: "table", Value: name}).Scan(&left)
		if err != nil {
			return 0, detached, err
		}
		if most = max(most, left); left == 0 {
			return int(most), detached, nil
		}
		if db.cfg.Cluster == "" {
			if err := db.Exec(ctx, "ALTER TABLE "+table+" DROP PARTITION ID '"+noPartition+"'"); err != nil {
				return 0, detached, err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, detached, fmt.Errorf("%d parts are still there: %w: %w", left, schemas.ErrUnavailable, ctx.Err())
		}
	}
}

// tableOf takes the name of a table apart, which may have that of a database before it.
func (db *DB) tableOf(table string) (database, name string, err error) {
	database, name, found := strings.Cut(table, ".")
	if !found {
		database, name = db.cfg.Database, table
	}
	if !isName(database) || !isName(name) {
		return "", "", usagef("%q is not a table name", table)
	}
	return database, name, nil
}

// dropDetached removes the parts that were taken out of a table.
func (db *DB) dropDetached(ctx context.Context, table string) (int, error) {
	database, name, err := db.tableOf(table)
	if err != nil {
		return 0, err
	}
	rows, err := db.Query(ctx, "SELECT name FROM system.detached_parts WHERE database = {database:String} AND table = {table:String}",
		Param{Name: "database", Value: database}, Param{Name: "table", Value: name})
	if err != nil {
		return 0, err
	}
	var names []string
	for rows.Next() {
		names = append(names, "")
		if err := rows.Scan(&names[len(names)-1]); err != nil {
			return 0, errors.Join(err, rows.Close())
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, err
	}
	for i, name := range names {
		err := db.Exec(ctx, "ALTER TABLE "+table+" DROP DETACHED PART {part:String} SETTINGS allow_drop_detached = 1", Param{Name: "part", Value: name})
		if err != nil {
			return i, err
		}
	}
	return len(names), nil
}
