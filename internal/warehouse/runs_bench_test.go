package warehouse

import (
	"strings"
	"testing"
)

// What recording adds to a statement, whose text is as long as the longest here.
func BenchmarkRuns(b *testing.B) {
	sql := strings.Repeat("SELECT something FROM somewhere\n", 128)
	names := map[string]string{sql: "test/long"}
	for i := range 50 {
		names[sql[i:]] = "test/other"
	}
	runs := NewRuns(RunsConfig{Names: names})
	args := []Param{{Name: "tenant", Value: "ten_abcdefghijkl"}}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, run := runs.begin(b.Context(), strings.Clone(sql), args)
			run.row()
			run.end(nil)
		}
	})
}
