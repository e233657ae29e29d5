package rollup

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/agentik-os/panda/internal/placement"
	"github.com/agentik-os/panda/internal/warehouse"
)

// checkedTables are the tables whose files are read as a whole and held against
// their checksums, in the order of their worth. A tenant's own database has the
// contentTables of them.
var (
	checkedTables = []string{"ledger", "usage_raw", "usage_keys", "conflicts", "quarantine", "rollup"}
	contentTables = []string{"usage_raw", "rollup"}
)

// BrokenPart is a file set of a table that cannot be read as it was written.
type BrokenPart struct{ Database, Table, Name, Why string }

// partName is what the engine calls a part; nothing else is ever put into a
// statement.
var partName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// checkParts has the engine compare every file of the tables with the checksum it
// was written with. A flipped bit in an old part is found here and not when it is
// read by chance: a restart does not look at contents.
func (v *verification) checkParts(ctx context.Context) (Check, error) {
	check := Check{Name: "parts"}
	view, err := v.cfg.Places.View(ctx)
	if err != nil {
		return check, err
	}
	defer view.Close()
	var tables []tableName
	for _, database := range databasesOf(view) {
		names := contentTables
		if database == v.db.Database() {
			names = checkedTables
		}
		for _, name := range names {
			tables = append(tables, tableName{database, name})
		}
	}
	parts := 0
	for i, table := range tables {
		v.progress(check.Name, uint64(i), uint64(len(tables)))
		n, broken, err := brokenParts(ctx, v.db, table)
		if err != nil {
			return check, err
		}
		parts += n
		for _, b := range broken {
			check.find(Finding{Side: b.Table, Detail: fmt.Sprintf("part %s of %s is damaged: %s", b.Name, v.shown(table), b.Why)}, v.cfg.FindingsMax)
		}
		v.broken = append(v.broken, broken...)
	}
	check.number("parts", parts)
	check.number("tables", len(tables))
	err = v.query(ctx, "verify_detached", func(rows *warehouse.Rows) error {
		var t tableName
		var name, reason string
		if err := rows.Scan(&t.database, &t.table, &name, &reason); err != nil {
			return err
		}
		table := v.shown(t)
		check.Notes = append(check.Notes, fmt.Sprintf("part %s of %s was taken out as %s; what is missing for it is found below", name, table, reason))
		return nil
	}, warehouse.Param{Name: "databases", Value: databasesOf(view)})
	v.progress(check.Name, uint64(len(tables)), uint64(len(tables)))
	return check, err
}

type tableName struct{ database, table string }

func (t tableName) String() string { return t.database + "." + t.table }

// shown is how people call a table: the database is named if it is not the shared one.
func (v *verification) shown(t tableName) string {
	if t.database == v.db.Database() {
		return t.table
	}
	return t.String()
}

// databasesOf returns the databases that count.
func databasesOf(view *placement.View) []string {
	var names []string
	for _, place := range view.All() {
		names = append(names, place.Database)
	}
	return names
}

// brokenParts returns how many parts a table has and which of them are damaged.
func brokenParts(ctx context.Context, db DB, table tableName) (parts int, broken []BrokenPart, err error) {
	rows, err := db.Query(ctx, "CHECK TABLE "+table.String()+" SETTINGS check_query_single_value_result = 0")
	if err != nil {
		return 0, nil, fmt.Errorf("check files of %s: %w", table, err)
	}
	err = rows.Each(func() error {
		var name, why string
		var passed bool
		if err := rows.Scan(&name, &passed, &why); err != nil {
			return err
		}
		parts++
		if !passed {
			broken = append(broken, BrokenPart{table.database, table.table, name, shortened(why)})
		}
		return nil
	})
	if err != nil {
		return 0, nil, fmt.Errorf("check files of %s: %w", table, err)
	}
	return parts, broken, nil
}

// shortened cuts an engine's message before its stack or version.
func shortened(message string) string {
	message, _, _ = strings.Cut(message, "\n")
	message, _, _ = strings.Cut(message, " (version ")
	return strings.TrimPrefix(message, "DB::Exception: ")
}

// detach takes a damaged part out of its table. The files stay on the disk, in the
// table's folder "detached".
func detach(ctx context.Context, db DB, p BrokenPart) error {
	if !partName.MatchString(p.Name) {
		return fmt.Errorf("take part %q out of %s: that is no part's name", p.Name, p.Table)
	}
	if err := db.Exec(ctx, fmt.Sprintf("ALTER TABLE %s.%s DETACH PART '%s'", p.Database, p.Table, p.Name)); err != nil {
		return fmt.Errorf("take part %s out of %s: %w", p.Name, p.Table, err)
	}
	return nil
}
