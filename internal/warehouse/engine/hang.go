package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What is written down of an engine that hangs before it is ended: nobody can ask
// it any more then.

// hangBytesMax bounds what of it goes into the log.
const hangBytesMax = 16 << 10

// statements returns what the engine says it runs: for each statement how long, what
// it waited for, and how it begins.
func (p *pinger) statements() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	res, err := p.conn.exec(runningSQL, "TabSeparated", nil, hangBytesMax)
	if err != nil {
		return err.Error()
	}
	return string(res.data)
}

// runningSQL asks for what runs: statements and merges.
const runningSQL = `SELECT elapsed, is_cancelled, read_rows, written_rows, mapFilter((k, v) -> k LIKE '%Microseconds', ProfileEvents),
	thread_ids, substring(query, 1, 200) FROM system.processes UNION ALL
	SELECT elapsed, 0, rows_read, rows_written, map(), [thread_id], 'merge into ' || table || ' of ' || result_part_name FROM system.merges`

// threads returns where the kernel has the threads of this process, those of a kind
// together: "12 × QueryPipelineEx futex_wait_queue".
func threads(tasks string) string {
	dirs, err := filepath.Glob(filepath.Join(tasks, "*"))
	if err != nil {
		return err.Error()
	}
	count := map[string]int{}
	for _, dir := range dirs {
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue // it ended
		}
		where, _ := os.ReadFile(filepath.Join(dir, "wchan"))  // "0" or nothing: it runs, or the kernel does not say
		call, _ := os.ReadFile(filepath.Join(dir, "syscall")) // the number of a system call and its arguments
		number, _, _ := strings.Cut(string(call), " ")
		count[fmt.Sprintf("%s %s syscall %s", strings.TrimSpace(string(name)), strings.TrimSpace(string(where)), strings.TrimSpace(number))]++
	}
	lines := make([]string, 0, len(count))
	for what, n := range count {
		lines = append(lines, fmt.Sprintf("%d × %s", n, what))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
