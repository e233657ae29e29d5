package ingest

import (
	"strconv"

	"github.com/agentik-os/panda/schemas"
	"github.com/zeebo/xxh3"
)

// RowHash returns xxh3 over what makes an accepted row: whose it is, which event,
// where in the log, its cost and its tokens, as text with a NUL byte between.
// The ledger keeps the wrapping sum of a range; ClickHouse's xxh3 over the same
// text, summed, must give the same number. A sum, not an exclusive or: a row
// that is there twice must not cancel itself.
func RowHash(a *schemas.Accepted) uint64 {
	var space [512]byte
	b := append(space[:0], a.Tenant...)
	b = append(append(b, 0), a.Event.Source...)
	b = append(append(b, 0), a.Event.ID...)
	b = strconv.AppendUint(append(b, 0), a.Seq, 10)
	b = strconv.AppendUint(append(b, 0), uint64(a.Idx), 10)
	b = append(b, 0)
	if cost, ok := a.Cost.Int64(); !a.Priced {
		b = append(b, "null"...)
	} else if ok {
		b = strconv.AppendInt(b, cost, 10)
	} else {
		b = a.Cost.Big().Append(b, 10)
	}
	b = strconv.AppendInt(append(b, 0), a.Event.Tokens.Total(), 10)
	return xxh3.Hash(b)
}
