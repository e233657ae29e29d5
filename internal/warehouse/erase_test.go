package warehouse_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agentik-os/panda/internal/warehouse/warehousetest"
	"github.com/agentik-os/panda/schemas"
)

// What a mutation took out of a table is on no disk after Forget: neither in replaced
// parts nor in detached ones. The rest of the table is what it was.
func TestForgetLeavesNoBytes(t *testing.T) {
	dir := t.TempDir()
	db := warehousetest.OpenDir(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := db.Migrate(ctx, schemas.Migrations()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		err := db.Exec(ctx, `INSERT INTO conflicts (tenant, seq, idx, body)
			SELECT 'tnt_a', number, 0, 'whatgoes' FROM numbers(10) UNION ALL SELECT 'tnt_b', number, 0, 'whatstays' FROM numbers(10)`)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Exec(ctx, "ALTER TABLE conflicts DETACH PART 'all_1_1_0'"); err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(ctx, "ALTER TABLE conflicts DELETE WHERE tenant = 'tnt_a'"); err != nil {
		t.Fatal(err)
	}
	holds := func(text string) (found []string) {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if bytes.Contains(content, []byte(text)) {
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if len(holds("whatgoes")) < 2 {
		t.Fatalf("the engine keeps the bytes in %q; the test expects them in parts that are replaced and detached", holds("whatgoes"))
	}
	replaced, detached, err := db.Forget(ctx, "conflicts", "quarantine")
	if err != nil || replaced < 2 || detached != 1 {
		t.Errorf("forgot %d replaced and %d detached parts, %v", replaced, detached, err)
	}
	if files := holds("whatgoes"); len(files) > 0 {
		t.Errorf("the bytes are still in %q", files)
	}
	if len(holds("whatstays")) == 0 {
		t.Error("what stays is gone")
	}
	var rows, own uint64
	var definition string
	err = db.QueryRow(ctx, `SELECT count(), countIf(tenant = 'tnt_a'),
		(SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'conflicts') FROM conflicts`).Scan(&rows, &own, &definition)
	if err != nil || rows != 20 || own != 0 || bytes.Contains([]byte(definition), []byte("old_parts_lifetime")) {
		t.Errorf("%d rows, %d of them erased, %v; the table is %s", rows, own, err, definition)
	}
}
