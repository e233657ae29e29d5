package warehouse

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// settingWant is a setting that every connection gets and Open asserts.
var settingWant = map[string]string{
	// An insert is done when it returns, as one block, and is never dropped as
	// "seen before": what is new is decided by the log.
	"async_insert":          "0",
	"wait_for_async_insert": "1",
	"insert_deduplicate":    "0",
	"deduplicate_insert":    "disable",
	"deduplicate_blocks_in_dependent_materialized_views": "0",
	// Collapsing on insert hides rows from the audit of the log against the table.
	"optimize_on_insert": "0",
	// One parser, one block: a kill leaves all of an insert or nothing.
	"input_format_parallel_parsing": "0",
	"max_insert_block_size":         "1048576",
	"min_insert_block_size_rows":    "1048576",
	"min_insert_block_size_bytes":   "1073741824",
	"max_insert_threads":            "1",
	// A wrong event time must fail, not spread over a hundred partitions or wrap.
	"throw_on_max_partitions_per_insert_block": "1",
	"date_time_overflow_behavior":              "throw",
	"decimal_check_overflow":                   "1",
	// FINAL merges over everything there is, and nothing is answered from a cache.
	"do_not_merge_across_partitions_select_final": "0",
	"use_query_cache": "0",
	"mutations_sync":  "2",
}

// settingEqual are other ways the server spells a value.
var settingEqual = map[string]string{"false": "0", "true": "1"}

// clusterWant is added on a cluster: an insert is acknowledged by a quorum, and
// a read sees every insert that was acknowledged.
var clusterWant = map[string]string{
	"insert_quorum": "auto", "insert_quorum_parallel": "0", "select_sequential_consistency": "1",
	"distributed_ddl_task_timeout": "180",
}

func (c *Config) wanted() map[string]string {
	want := maps.Clone(settingWant)
	if c.Cluster != "" {
		maps.Copy(want, clusterWant)
	}
	return want
}

// writeSettings is for Exec and Insert, readSettings for Query. A query cannot
// write: readonly=2 leaves it its own SETTINGS clause and nothing else.
func (c *Config) writeSettings() clickhouse.Settings {
	s := clickhouse.Settings{}
	for name, value := range c.wanted() {
		s[name] = value
	}
	return s
}

func (c *Config) readSettings() clickhouse.Settings {
	s := clickhouse.Settings{"readonly": "2", "max_execution_time": strconv.Itoa(int(c.QueryMax.Seconds()))}
	if c.QueryMemoryMaxBytes > 0 {
		s["max_memory_usage"] = strconv.FormatInt(c.QueryMemoryMaxBytes, 10)
	}
	return s
}

// CheckSettings asserts that the engine runs with every setting: a server with
// constraints, or a release that renamed one, must fail here and not lose a row.
// Open calls it; a long-lived process may call it again.
func (db *DB) CheckSettings(ctx context.Context) error {
	want := db.cfg.wanted()
	rows, err := db.Query(ctx, "SELECT name, value FROM system.settings WHERE has({names:Array(String)}, name)",
		Param{"names", slices.Sorted(maps.Keys(want))})
	if err != nil {
		return fmt.Errorf("read effective settings: %w", err)
	}
	defer rows.Close()
	have := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return fmt.Errorf("read effective settings: %w", err)
		}
		have[name] = value
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read effective settings: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got, ok := have[name]
		if same, other := settingEqual[got]; other {
			got = same
		}
		if !ok || got != want[name] {
			return fmt.Errorf("setting %s is %q on the warehouse and must be %q", name, got, want[name])
		}
	}
	return nil
}
