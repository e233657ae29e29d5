package warehouse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/agentik-os/panda/schemas"
)

// ErrMigrationChanged: a migration that was applied is not the file it was.
var ErrMigrationChanged = errors.New("an applied migration was edited")

// ErrMigrationMissing: the database has a migration that this program has not;
// it was made by a newer one.
var ErrMigrationMissing = errors.New("the database is newer than this program")

// migration is one numbered file.
type migration struct {
	version  uint32
	name     string
	checksum string // of the file, not of what the template made of it
	source   string
}

var migrationName = regexp.MustCompile(`^(\d{4})_([a-z0-9_]+)\.sql$`)

// Migrate brings the tables up to the newest of the files 0001_name.sql, 0002_…
// in fsys, in order, forward only. Files may have several statements, each ended
// by a semicolon at the end of a line. A file is a template:
//
//	{{engine "ReplacingMergeTree(ver)"}}  the engine, its replicated variant on a cluster
//	{{on_cluster}}                        ON CLUSTER name, or nothing
//	{{database}} {{cluster}}              the names
//
// There are no transactions, so every statement must be harmless to repeat
// (IF NOT EXISTS): after a crash between a statement and its note in
// schema_migrations the file runs again, and two nodes may run it at once.
//
// Afterwards every MergeTree table of the database must fsync on insert and not
// deduplicate blocks; one that does not is an error here and not a lost event later.
func (db *DB) Migrate(ctx context.Context, fsys fs.FS) error {
	files, err := readMigrations(fsys)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if err := db.execTemplate(ctx, migrationsTable); err != nil {
		return fmt.Errorf("create schema_migrations: %w", err)
	}
	applied, err := db.applied(ctx)
	if err != nil {
		return fmt.Errorf("read schema_migrations: %w", err)
	}
	if err := compareApplied(files, applied); err != nil {
		return err
	}
	for i, m := range files {
		if _, done := applied[m.version]; !done {
			if err := db.apply(ctx, m); err != nil {
				return fmt.Errorf("apply migration %04d_%s: %w", m.version, m.name, err)
			}
		}
		if db.cfg.Progress != nil {
			db.cfg.Progress(i+1, len(files), m.name)
		}
	}
	return db.checkTables(ctx)
}

// migrationsTable is written once per version and node that won the race; equal
// rows collapse.
const migrationsTable = `CREATE TABLE IF NOT EXISTS schema_migrations {{on_cluster}}
(version UInt32, name String, checksum String)
ENGINE = {{engine "ReplacingMergeTree"}} ORDER BY version
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1,
	min_compressed_bytes_to_fsync_after_merge = 1, non_replicated_deduplication_window = 0`

func readMigrations(fsys fs.FS) ([]migration, error) {
	names, err := fs.Glob(fsys, "*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []migration
	for _, name := range names {
		match := migrationName.FindStringSubmatch(name)
		if match == nil {
			return nil, fmt.Errorf("%w: %s is not named 0001_words.sql", schemas.ErrInvalid, name)
		}
		var version uint32
		if _, err := fmt.Sscanf(match[1], "%d", &version); err != nil {
			return nil, err
		}
		if int(version) != len(out)+1 {
			return nil, fmt.Errorf("%w: %s should have the number %04d", schemas.ErrInvalid, name, len(out)+1)
		}
		source, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(source)
		out = append(out, migration{version, match[2], hex.EncodeToString(sum[:]), string(source)})
	}
	return out, nil
}

func (db *DB) applied(ctx context.Context) (map[uint32]migration, error) {
	rows, err := db.Query(ctx, "SELECT version, name, checksum FROM schema_migrations ORDER BY version")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[uint32]migration{}
	for rows.Next() {
		var m migration
		if err := rows.Scan(&m.version, &m.name, &m.checksum); err != nil {
			return nil, err
		}
		if other, seen := out[m.version]; seen && other.checksum != m.checksum {
			return nil, fmt.Errorf("%w: two programs applied different files as version %d", ErrMigrationChanged, m.version)
		}
		out[m.version] = m
	}
	return out, rows.Err()
}

func compareApplied(files []migration, applied map[uint32]migration) error {
	for version, m := range applied {
		if int(version) > len(files) || version == 0 {
			return fmt.Errorf("%w: it has migration %04d_%s", ErrMigrationMissing, version, m.name)
		}
		if f := files[version-1]; f.checksum != m.checksum {
			return fmt.Errorf("%w: %04d_%s: applied with checksum %.12s, the file has %.12s: restore it and add a new migration",
				ErrMigrationChanged, version, m.name, m.checksum, f.checksum)
		}
	}
	return nil
}

func (db *DB) apply(ctx context.Context, m migration) error {
	for i, statement := range splitStatements(m.source) {
		if err := db.execTemplate(ctx, statement); err != nil {
			return fmt.Errorf("statement %d: %w", i+1, err)
		}
	}
	return db.Insert(ctx, "schema_migrations", Column{"version", []uint32{m.version}},
		Column{"name", []string{m.name}}, Column{"checksum", []string{m.checksum}})
}

// splitStatements cuts at a semicolon that ends a line. Pieces of comments and
// white space alone are left out.
func splitStatements(source string) []string {
	var out []string
	var piece strings.Builder
	flush := func() {
		if s := piece.String(); hasCode(s) {
			out = append(out, strings.TrimSpace(s))
		}
		piece.Reset()
	}
	for line := range strings.Lines(source) {
		trimmed := strings.TrimRight(line, " \t\r\n")
		if strings.HasSuffix(trimmed, ";") && !strings.HasPrefix(strings.TrimSpace(trimmed), "--") {
			piece.WriteString(strings.TrimSuffix(trimmed, ";"))
			flush()
			continue
		}
		piece.WriteString(line)
	}
	flush()
	return out
}

func hasCode(s string) bool {
	for line := range strings.Lines(s) {
		if t := strings.TrimSpace(line); t != "" && !strings.HasPrefix(t, "--") {
			return true
		}
	}
	return false
}

func (db *DB) execTemplate(ctx context.Context, statement string) error {
	sql, err := db.Render(statement)
	if err != nil {
		return err
	}
	return db.Exec(ctx, sql)
}

// Render is a statement with Migrate's template words replaced for this warehouse.
func (db *DB) Render(statement string) (string, error) {
	words := template.FuncMap{
		"database": func() string { return db.cfg.Database },
		"cluster":  func() string { return db.cfg.Cluster },
		"on_cluster": func() string {
			if db.cfg.Cluster == "" {
				return ""
			}
			return "ON CLUSTER " + db.cfg.Cluster
		},
		"engine": func(name string) string { return engineVariant(name, db.cfg.Cluster != "") },
	}
	t, err := template.New("statement").Funcs(words).Parse(statement)
	if err != nil {
		return "", fmt.Errorf("parse template: %w", err)
	}
	var out strings.Builder
	if err := t.Execute(&out, nil); err != nil {
		return "", fmt.Errorf("fill template: %w", err)
	}
	return out.String(), nil
}

// engineVariant is a MergeTree engine's clause, or its replicated variant with
// the path that every replica of a shard's table shares; {uuid} keeps a table
// that is dropped and made again apart from the old one.
func engineVariant(clause string, replicated bool) string {
	if !replicated {
		return clause
	}
	name, args, _ := strings.Cut(clause, "(")
	args = strings.TrimSuffix(strings.TrimSpace(args), ")")
	keeper := "'/clickhouse/tables/{uuid}/{shard}', '{replica}'"
	if strings.TrimSpace(args) != "" {
		keeper += ", " + args
	}
	return "Replicated" + strings.TrimSpace(name) + "(" + keeper + ")"
}

// tableWant must be in a MergeTree table's definition: an insert is on disk when
// it returns, and so is a merge before its sources go away.
var tableWant = []string{"fsync_after_insert = 1", "fsync_part_directory = 1",
	"min_rows_to_fsync_after_merge = 1", "min_compressed_bytes_to_fsync_after_merge = 1"}

func (db *DB) checkTables(ctx context.Context) error {
	rows, err := db.Query(ctx, "SELECT name, engine_full FROM system.tables WHERE database = {db:String} AND engine LIKE '%MergeTree' ORDER BY name",
		Param{"db", db.cfg.Database})
	if err != nil {
		return fmt.Errorf("read tables: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, definition string
		if err := rows.Scan(&name, &definition); err != nil {
			return fmt.Errorf("read tables: %w", err)
		}
		for _, want := range tableWant {
			if !strings.Contains(definition, want) {
				return fmt.Errorf("table %s is not durable: its SETTINGS lack %s", name, want)
			}
		}
	}
	return rows.Err()
}
