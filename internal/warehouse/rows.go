package warehouse

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/agentik-os/panda/schemas"
)

// Rows is a result. Use it as sql.Rows: Next until false, then Err, and Close.
type Rows struct {
	rows driver.Rows
	dest []any
	run  *running // nil when nothing is recorded
}

// Columns are the result's column names; empty for a result without rows.
func (r *Rows) Columns() []string { return r.rows.Columns() }

// Next moves to the next row.
func (r *Rows) Next() bool {
	if !r.rows.Next() {
		return false
	}
	r.run.row()
	return true
}

// Each calls scan for every row and closes the rows. It ends at the first error of scan.
func (r *Rows) Each(scan func() error) error {
	for r.Next() {
		if err := scan(); err != nil {
			return errors.Join(err, r.Close())
		}
	}
	return errors.Join(r.Err(), r.Close())
}

// Err is why Next returned false, or nil at the end of the result. A result whose
// Err was not looked at may be cut short.
func (r *Rows) Err() error { return classify(r.rows.Err()) }

// Close frees the connection. It may be called more than once.
func (r *Rows) Close() error {
	err := classify(r.rows.Close())
	if r.run != nil {
		r.run.end(cmp.Or(r.Err(), err))
	}
	return err
}

// Scan copies the row into dest. The types are those of Insert's columns and
// pointers to them for Nullable; *schemas.Money for a Decimal(38,12),
// **schemas.Money for a nullable one, *[16]byte for a FixedString(16), *UInt128.
func (r *Rows) Scan(dest ...any) error {
	r.dest = append(r.dest[:0], dest...)
	for i, d := range dest {
		switch d := d.(type) {
		case *schemas.Money:
			r.dest[i] = &moneyScanner{value: d}
		case **schemas.Money:
			r.dest[i] = &moneyScanner{nullable: d}
		case *UInt128:
			r.dest[i] = new(big.Int)
		}
	}
	if err := r.rows.Scan(r.dest...); err != nil {
		return fmt.Errorf("%w: scan row: %w", errUsage, err)
	}
	for i, d := range dest {
		if wide, ok := d.(*UInt128); ok {
			var b [16]byte
			r.dest[i].(*big.Int).FillBytes(b[:])
			*wide = UInt128FromBytes(b)
		}
	}
	return nil
}

// Row is a result of one row.
type Row struct {
	rows *Rows
	err  error
}

// Scan copies the row, or returns ErrNoRows.
func (r *Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	for r.rows.Next() { // the end of the result may still be an error
	}
	return r.rows.Err()
}

type moneyScanner struct {
	value    *schemas.Money
	nullable **schemas.Money
}

// Scan implements sql.Scanner for a decimal of scale 12 or less.
func (m *moneyScanner) Scan(src any) error {
	if src == nil {
		if m.nullable == nil {
			return fmt.Errorf("NULL into a schemas.Money: scan into a **schemas.Money")
		}
		*m.nullable = nil
		return nil
	}
	d, ok := src.(decimal.Decimal)
	if !ok {
		return fmt.Errorf("%T into a schemas.Money: the column must be a Decimal(38,12)", src)
	}
	if d.Exponent() < -schemas.MoneyScale {
		return fmt.Errorf("a decimal of scale %d into a schemas.Money of scale %d", -d.Exponent(), schemas.MoneyScale)
	}
	money, ok := schemas.MoneyFromBig(d.Shift(schemas.MoneyScale).BigInt())
	if !ok {
		return fmt.Errorf("the decimal %s does not fit schemas.Money", d)
	}
	if m.nullable != nil {
		*m.nullable = &money
	} else {
		*m.value = money
	}
	return nil
}
