package warehouse

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"github.com/agentik-os/panda/schemas"
)

// Column is one column of an insert: a slice with one value per row. The block
// says the type that belongs to the slice's element, and the server converts to
// the table's type where they differ:
//
//	[]string, [][]byte        String, LowCardinality(String), Enum8, FixedString(n)
//	[]bool                    Bool
//	[]uint8 … []int64         UInt8 … Int64
//	[][16]byte                FixedString(16), as they are
//	[]UInt128                 UInt128
//	[]time.Time               DateTime64(3), DateTime; cut to milliseconds, in UTC
//	[]schemas.Money           Decimal(38,12)
//	NullMoney                 Nullable(Decimal(38,12))
//	[]map[string]string       Map(LowCardinality(String), String); keys are written in order,
//	[]map[string]int64        Map(LowCardinality(String), Int64)   so equal maps are equal bytes
//	[][]string … []time.Time  Array of String, UInt64, Int64, DateTime
//
// A key of 128 bits is best kept as [16]byte in a FixedString(16): it is copied
// as it is, and sorts by its bytes.
type Column struct {
	Name   string
	Values any
}

// UInt128 is an unsigned integer of 128 bits.
type UInt128 struct{ Hi, Lo uint64 }

// UInt128FromBytes reads 16 big-endian bytes, so that integers sort as the bytes do.
func UInt128FromBytes(b [16]byte) UInt128 {
	return UInt128{Hi: binary.BigEndian.Uint64(b[:8]), Lo: binary.BigEndian.Uint64(b[8:])}
}

// Bytes is the inverse of UInt128FromBytes.
func (u UInt128) Bytes() (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], u.Hi)
	binary.BigEndian.PutUint64(b[8:], u.Lo)
	return b
}

// NullMoney is a column of amounts some of which are not known. Null has one
// entry per value; where it is true the value is ignored.
type NullMoney struct {
	Values []schemas.Money
	Null   []bool
}

// encodeBlock appends one native block (protocol revision 0) of the columns.
// Format: https://clickhouse.com/docs/interfaces/formats/Native
func encodeBlock(buf []byte, cols []Column) ([]byte, int, error) {
	rows, err := blockRows(cols)
	if err != nil {
		return nil, 0, err
	}
	buf = binary.AppendUvarint(buf, uint64(len(cols)))
	buf = binary.AppendUvarint(buf, uint64(rows))
	for _, c := range cols {
		buf = appendString(buf, c.Name)
		if buf, err = appendColumn(buf, c.Values); err != nil {
			return nil, 0, fmt.Errorf("column %s: %w", c.Name, err)
		}
	}
	return buf, rows, nil
}

func blockRows(cols []Column) (int, error) {
	rows := -1
	for _, c := range cols {
		n, err := columnLen(c.Values)
		if err != nil {
			return 0, fmt.Errorf("column %s: %w", c.Name, err)
		}
		if rows >= 0 && n != rows {
			return 0, usagef("column %s has %d values, the first column has %d", c.Name, n, rows)
		}
		rows = n
	}
	return max(rows, 0), nil
}

func appendString[T string | []byte](buf []byte, s T) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(s))), s...)
}

func appendColumn(buf []byte, values any) ([]byte, error) {
	switch v := values.(type) {
	case []string:
		return appendStrings(appendString(buf, "String"), v), nil
	case [][]byte:
		return appendStrings(appendString(buf, "String"), v), nil
	case []bool:
		return appendFixed(appendString(buf, "Bool"), v), nil
	case []uint8:
		return append(appendString(buf, "UInt8"), v...), nil
	case []uint16:
		return appendFixed(appendString(buf, "UInt16"), v), nil
	case []uint32:
		return appendFixed(appendString(buf, "UInt32"), v), nil
	case []uint64:
		return appendFixed(appendString(buf, "UInt64"), v), nil
	case []int8:
		return appendFixed(appendString(buf, "Int8"), v), nil
	case []int16:
		return appendFixed(appendString(buf, "Int16"), v), nil
	case []int32:
		return appendFixed(appendString(buf, "Int32"), v), nil
	case []int64:
		return appendFixed(appendString(buf, "Int64"), v), nil
	}
	return appendWide(buf, values)
}

func appendWide(buf []byte, values any) ([]byte, error) {
	switch v := values.(type) {
	case [][16]byte:
		buf = appendString(buf, "FixedString(16)")
		buf = slices.Grow(buf, 16*len(v))
		for i := range v {
			buf = append(buf, v[i][:]...)
		}
		return buf, nil
	case []UInt128:
		buf = slices.Grow(appendString(buf, "UInt128"), 16*len(v))
		for _, u := range v {
			buf = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(buf, u.Lo), u.Hi)
		}
		return buf, nil
	case []time.Time:
		buf = slices.Grow(appendString(buf, "DateTime64(3, 'UTC')"), 8*len(v))
		for _, t := range v {
			buf = binary.LittleEndian.AppendUint64(buf, uint64(t.UnixMilli()))
		}
		return buf, nil
	case []schemas.Money:
		return appendMoney(appendString(buf, "Decimal(38, 12)"), v), nil
	case NullMoney:
		buf = appendFixed(appendString(buf, "Nullable(Decimal(38, 12))"), v.Null)
		return appendMoney(buf, v.Values), nil
	}
	return appendNested(buf, values)
}

func appendNested(buf []byte, values any) ([]byte, error) {
	switch v := values.(type) {
	case []map[string]string:
		buf, keys := appendKeys(appendString(buf, "Map(String, String)"), v)
		buf = appendStrings(buf, keys)
		eachValue(v, keys, func(s string) { buf = appendString(buf, s) })
		return buf, nil
	case []map[string]int64:
		buf, keys := appendKeys(appendString(buf, "Map(String, Int64)"), v)
		buf = appendStrings(buf, keys)
		eachValue(v, keys, func(n int64) { buf = binary.LittleEndian.AppendUint64(buf, uint64(n)) })
		return buf, nil
	case [][]string:
		buf, all := appendOffsets(appendString(buf, "Array(String)"), v)
		return appendStrings(buf, all), nil
	case [][]uint64:
		buf, all := appendOffsets(appendString(buf, "Array(UInt64)"), v)
		return appendFixed(buf, all), nil
	case [][]int64:
		buf, all := appendOffsets(appendString(buf, "Array(Int64)"), v)
		return appendFixed(buf, all), nil
	case [][]time.Time:
		buf, all := appendOffsets(appendString(buf, "Array(DateTime64(3, 'UTC'))"), v)
		for _, t := range all {
			buf = binary.LittleEndian.AppendUint64(buf, uint64(t.UnixMilli()))
		}
		return buf, nil
	}
	return nil, usagef("a slice of type %T cannot be a column", values)
}

func appendStrings[T string | []byte](buf []byte, values []T) []byte {
	size := 0
	for _, s := range values {
		size += len(s) + 2
	}
	buf = slices.Grow(buf, size)
	for _, s := range values {
		if len(s) < 0x80 {
			buf = append(append(buf, byte(len(s))), s...)
		} else {
			buf = appendString(buf, s)
		}
	}
	return buf
}

// appendFixed appends numbers little-endian, as the format has them on every machine.
func appendFixed[T any](buf []byte, values []T) []byte {
	out, err := binary.Append(buf, binary.LittleEndian, values)
	if err != nil {
		panic("encode block: a slice of numbers without a fixed size") // only called with those
	}
	return out
}

func appendMoney(buf []byte, values []schemas.Money) []byte {
	buf = slices.Grow(buf, 16*len(values))
	for _, m := range values {
		hi, lo := m.Words()
		buf = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(buf, lo), uint64(hi))
	}
	return buf
}

func appendOffsets[T any](buf []byte, rows [][]T) ([]byte, []T) {
	var end uint64
	for _, r := range rows {
		end += uint64(len(r))
		buf = binary.LittleEndian.AppendUint64(buf, end)
	}
	return buf, slices.Concat(rows...)
}

// appendKeys appends a map column's offsets and returns its keys, sorted within
// each row: the same map must make the same bytes, or copies would not collapse.
func appendKeys[V any](buf []byte, rows []map[string]V) ([]byte, []string) {
	var end uint64
	var keys []string
	for _, m := range rows {
		end += uint64(len(m))
		buf = binary.LittleEndian.AppendUint64(buf, end)
		first := len(keys)
		keys = slices.AppendSeq(keys, maps.Keys(m))
		slices.Sort(keys[first:])
	}
	return buf, keys
}

func eachValue[V any](rows []map[string]V, keys []string, emit func(V)) {
	for _, m := range rows {
		for range len(m) {
			emit(m[keys[0]])
			keys = keys[1:]
		}
	}
}

func columnLen(values any) (int, error) {
	switch v := values.(type) {
	case []string:
		return len(v), nil
	case [][]byte:
		return len(v), nil
	case []bool:
		return len(v), nil
	case []uint8:
		return len(v), nil
	case []uint16:
		return len(v), nil
	case []uint32:
		return len(v), nil
	case []uint64:
		return len(v), nil
	case []int8:
		return len(v), nil
	case []int16:
		return len(v), nil
	case []int32:
		return len(v), nil
	case []int64:
		return len(v), nil
	case [][16]byte:
		return len(v), nil
	case []UInt128:
		return len(v), nil
	case []time.Time:
		return len(v), nil
	case []schemas.Money:
		return len(v), nil
	case NullMoney:
		if len(v.Values) != len(v.Null) {
			return 0, usagef("NullMoney has %d values and %d null marks", len(v.Values), len(v.Null))
		}
		return len(v.Values), nil
	}
	return nestedLen(values)
}

func nestedLen(values any) (int, error) {
	switch v := values.(type) {
	case []map[string]string:
		return len(v), nil
	case []map[string]int64:
		return len(v), nil
	case [][]string:
		return len(v), nil
	case [][]uint64:
		return len(v), nil
	case [][]int64:
		return len(v), nil
	case [][]time.Time:
		return len(v), nil
	}
	return 0, usagef("a slice of type %T cannot be a column", values)
}

// driverValues turns a column into what clickhouse-go's columns append, for the
// native protocol. It is the slow way: the driver's decimals are big integers.
func driverValues(values any) any {
	switch v := values.(type) {
	case [][16]byte:
		return mapped(v, func(k [16]byte) string { return string(k[:]) })
	case [][]byte:
		return mapped(v, func(b []byte) string { return string(b) })
	case []UInt128:
		return mapped(v, func(u UInt128) *big.Int { b := u.Bytes(); return new(big.Int).SetBytes(b[:]) })
	case []schemas.Money:
		return mapped(v, moneyDecimal)
	case NullMoney:
		out := make([]*decimal.Decimal, len(v.Values))
		for i, m := range v.Values {
			if !v.Null[i] {
				d := moneyDecimal(m)
				out[i] = &d
			}
		}
		return out
	case []time.Time:
		return mapped(v, func(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) })
	}
	return values
}

func moneyDecimal(m schemas.Money) decimal.Decimal {
	return decimal.NewFromBigInt(m.Big(), -schemas.MoneyScale)
}

func mapped[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}
