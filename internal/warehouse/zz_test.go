package warehouse_test
import ("testing";"strings";"time";"fmt";"github.com/agentik-os/panda/internal/warehouse/warehousetest";"github.com/agentik-os/panda/internal/warehouse")
func TestZZ(t *testing.T) {
	db := warehousetest.Open(t)
	cols := wideColumns(0)
	run := func(name, ddl string, cols []warehouse.Column) {
		if err := db.Exec(t.Context(), ddl); err != nil { t.Fatal(err) }
		best := time.Hour
		for range 6 { t0 := time.Now(); if err := db.Insert(t.Context(), "wide", cols...); err != nil { t.Fatal(err) }; best = min(best, time.Since(t0)) }
		fmt.Println(name, best, int(50000/best.Seconds()))
		db.Exec(t.Context(), "DROP TABLE wide")
	}
	i := strings.Index(wideTable, "ENGINE"); j := strings.Index(wideTable, "SETTINGS")
	run("null", wideTable[:i]+" ENGINE=Null", cols)
	run("full", wideTable, cols)
	run("nofsync", wideTable[:j], cols)
	run("noLC", strings.ReplaceAll(wideTable, "LowCardinality(String)", "String"), cols)
	run("noLCnull", strings.ReplaceAll(wideTable[:i], "LowCardinality(String)", "String")+" ENGINE=Null", cols)
	run("noPart", strings.Replace(wideTable, "PARTITION BY toYYYYMM(time)", "", 1), cols)
}
