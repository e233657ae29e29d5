package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// mapping says how rows become events. It is for one goroutine at a time.
type mapping struct {
	columns    map[string]string // target to column, from --map
	constants  map[string]string // target to canonical value, from --set
	source     string
	timeFormat string

	names  []string     // of the rows that fields are bound to
	fields []boundField // sorted by target
	unused []string     // columns that no target takes

	met map[string]bool // targets of --map whose column was there

	// seen counts rows of equal content, by the first 64 bits of its hash. Two
	// contents that meet there only share a counter; their ids still differ.
	seen map[uint64]uint64
}

// A boundField is a target and the position of its cell.
type boundField struct {
	target, column string
	index          int
}

// A columnError says what is wrong with a row, and in which column.
type columnError struct {
	column string // "" is the row as a whole
	detail string
}

func (e *columnError) Error() string {
	if e.column == "" {
		return e.detail
	}
	return "column " + e.column + ": " + e.detail
}

// newMapping checks --map and --set.
func newMapping(maps, sets []string, source, timeFormat string) (*mapping, error) {
	m := &mapping{columns: map[string]string{}, constants: map[string]string{}, source: source, timeFormat: timeFormat,
		met: map[string]bool{}, seen: map[uint64]uint64{}}
	for _, pair := range maps {
		target, column, ok := strings.Cut(pair, "=")
		switch {
		case !ok || column == "":
			return nil, usagef("--map %q: write TARGET=COLUMN, such as input_tokens=prompt_tokens", pair)
		case !isTarget(target):
			return nil, usagef("--map %q: %q is not a target; use one of %s", pair, target, targetNames())
		case m.columns[target] != "":
			return nil, usagef("--map: %s is mapped twice", target)
		}
		m.columns[target] = column
	}
	for _, pair := range sets {
		target, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok || value == "":
			return nil, usagef("--set %q: write TARGET=VALUE, such as model=gpt-4o", pair)
		case !isTarget(target) || target == "id":
			return nil, usagef("--set %q: %q cannot be set; use one of %s", pair, target, strings.TrimPrefix(targetNames(), "id, "))
		case m.columns[target] != "":
			return nil, usagef("%s is both mapped (--map) and set (--set)", target)
		case target == "source":
			return nil, usagef("--set %q: use --source", pair)
		}
		canonical, err := m.canonical(target, value)
		if err != nil {
			return nil, usagef("--set %s: %v", target, err)
		}
		m.constants[target] = canonical
	}
	return m, nil
}

// bind finds the columns of the targets. A column that is called like a target
// needs no --map; --set goes before it. A table has all its columns in every row;
// an object may leave some out.
func (m *mapping) bind(names []string, table bool) error {
	if m.fields != nil && slices.Equal(m.names, names) {
		return nil
	}
	position := make(map[string]int, len(names))
	for i, n := range names {
		if _, twice := position[n]; twice && n != "" {
			return &columnError{n, "there are two columns of this name"}
		}
		position[n] = i
	}
	fields := make([]boundField, 0, len(names))
	used := map[string]bool{}
	for target, column := range m.columns {
		i, ok := position[column]
		if !ok && !table {
			continue
		}
		if !ok {
			return &columnError{"", fmt.Sprintf("there is no column %q (for %s); the columns are %s",
				column, target, shortened(strings.Join(names, ", ")))}
		}
		fields, used[column] = append(fields, boundField{target, column, i}), true
		m.met[target] = true
	}
	m.unused = nil
	for i, n := range names {
		_, mapped := m.columns[n]
		_, set := m.constants[n]
		switch {
		case used[n]:
		case isTarget(n) && !mapped && !set:
			fields = append(fields, boundField{n, n, i})
		default:
			m.unused = append(m.unused, n)
		}
	}
	slices.SortFunc(fields, func(a, b boundField) int { return strings.Compare(a.target, b.target) })
	m.names, m.fields = slices.Clone(names), fields
	return nil
}

// complete refuses a mapping that cannot make a usage event of any row, before
// the first is read.
func (m *mapping) complete() error {
	has := func(is func(string) bool) bool {
		for _, f := range m.fields {
			if is(f.target) {
				return true
			}
		}
		for t := range m.constants {
			if is(t) {
				return true
			}
		}
		return false
	}
	columns := shortened(strings.Join(m.names, ", "))
	if !has(func(t string) bool { return t == targetTime }) {
		return usagef("no column is the time; give --map time=COLUMN. The columns are %s", columns)
	}
	counts := func(t string) bool { return isCount(t) || t == targetAmount || strings.HasPrefix(t, unitPrefix) }
	typed := func(t string) bool { return t == "type" }
	if !has(counts) && !has(typed) {
		return usagef("no column is a count; give --map input_tokens=COLUMN,output_tokens=COLUMN. The columns are %s", columns)
	}
	if !has(func(t string) bool { return t == "model" }) && !has(typed) {
		return usagef("no column is the model; give --map model=COLUMN or --set model=NAME. The columns are %s", columns)
	}
	return nil
}

// absent lists the columns of --map that no row had.
func (m *mapping) absent() []string {
	var columns []string
	for _, target := range sortedNames(m.columns) {
		if !m.met[target] {
			columns = append(columns, m.columns[target])
		}
	}
	return columns
}

// event makes the event of a row whose names are bound. An empty cell is as
// good as none.
func (m *mapping) event(cells []string) (wireEvent, error) {
	e := wireEvent{SpecVersion: "1.0", Source: m.source, Type: string(schemas.TypeLLMCall)}
	for target, value := range m.constants {
		e.set(target, value)
	}
	content := sha256.New()
	var space [binary.MaxVarintLen64]byte
	write := func(s string) {
		content.Write(binary.AppendUvarint(space[:0], uint64(len(s))))
		content.Write([]byte(s))
	}
	for _, f := range m.fields {
		cell := strings.TrimSpace(cells[f.index])
		if cell == "" {
			continue
		}
		value, err := m.canonical(f.target, cell)
		if err != nil {
			return e, &columnError{f.column, err.Error()}
		}
		e.set(f.target, value)
		write(f.target)
		write(value)
	}
	if e.Time == "" {
		return e, &columnError{columnOf(m.fields, targetTime), "the time is missing"}
	}
	if e.ID == "" {
		e.ID = m.rowID([32]byte(content.Sum(nil)))
	}
	return e, nil
}

// rowID is the id of a row that brings none: a hash of what its cells say, and
// which one of the rows that say the same it is. So rows that are alike are
// several calls, a file that is imported again gives the ids it gave before, and
// lines added to a file leave those of the others alone. Constants from --set
// are no part of it: the same rows with another constant are the same calls, and
// come out as conflicts instead of being counted twice.
func (m *mapping) rowID(content [32]byte) string {
	counter := binary.BigEndian.Uint64(content[:8])
	m.seen[counter]++
	sum := sha256.Sum256(binary.AppendUvarint(content[:], m.seen[counter]))
	return "row-" + hex.EncodeToString(sum[:16])
}

// columnOf is the column a target comes from, or the target's own name.
func columnOf(fields []boundField, target string) string {
	for _, f := range fields {
		if f.target == target {
			return f.column
		}
	}
	return target
}

// columnAt translates the JSON pointer of a refusal into the column at fault.
func columnAt(fields []boundField, pointer string) string {
	path := strings.TrimPrefix(strings.TrimPrefix(pointer, "/"), "data/")
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	if bucket, ok := strings.CutPrefix(path, "tokens/"); ok {
		return columnOf(fields, bucket+tokensSuffix)
	}
	if key, ok := strings.CutPrefix(path, "tags/"); ok {
		return columnOf(fields, tagPrefix+unescape.Replace(key))
	}
	if name, ok := strings.CutPrefix(path, "units/"); ok {
		return columnOf(fields, unitPrefix+unescape.Replace(name))
	}
	return columnOf(fields, path)
}

// encode writes an event as the API takes it.
func (e *wireEvent) encode() ([]byte, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return text, nil
}
