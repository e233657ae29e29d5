package ingest

import (
	"context"
	"fmt"
	"testing"

	"github.com/agentik-os/panda/internal/warehouse"
	"github.com/agentik-os/panda/schemas"
)

// discardDB takes inserts and keeps nothing: what is left is our own work.
type discardDB struct{}

func (discardDB) Database() string { return "panda" }
func (discardDB) Query(context.Context, string, ...warehouse.Param) (*warehouse.Rows, error) {
	panic("the benchmark asks nothing")
}
func (discardDB) Insert(context.Context, string, ...warehouse.Column) error { return nil }

// BenchmarkWriter is the writer's own share of an event's way, from the message
// to the columns: decode, identity, verdict, price, ledger row, columns. The
// engine is not part of it.
func BenchmarkWriter(b *testing.B) {
	const messages, perMessage = 128, 500
	log := &memoryLog{}
	for m := range messages {
		var events []schemas.Event
		for i := range perMessage {
			events = append(events, schemas.Event{
				ID: fmt.Sprintf("0192f0c1-7a5e-7%03x-8%03x-%012x", m, i, m*perMessage+i), Source: "/runtime/eu-1", Type: schemas.TypeLLMCall,
				Time: 1_770_000_000_000 + int64(m*perMessage+i), Provider: "p", Model: "m", Department: "support", CostCenter: "CC-1",
				Agent: fmt.Sprint("agent ", i%20), Session: fmt.Sprint("session ", i/10), Status: schemas.StatusOK,
				LatencyMS: int64(i), Completeness: schemas.CompletenessReported,
				Tokens: schemas.Tokens{schemas.Input: int64(i), schemas.Output: int64(i)},
			})
		}
		tenant := fmt.Sprintf("ten_%012d", m)
		log.append(schemas.Shard{}.EnvelopeSubject(tenant), EncodeEnvelope(nil, tenant, events, 0, []byte("k")))
	}
	prices := newMemoryPrices(b)
	w := NewWriter(WriterConfig{Key: []byte("k")}, log, NewTables(discardDB{}, nil), prices)
	w.filter, w.book = newFilter(1<<20), prices.books[1]
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		batch, _, err := w.collect(b.Context(), log.records, 0, messages*perMessage)
		if err != nil {
			b.Fatal(err)
		}
		out, book, err := w.judge(b.Context(), &batch)
		if err != nil {
			b.Fatal(err)
		}
		_ = ledgerRow(&batch, out, book.Number())
		if err := w.store.WriteRows(b.Context(), out.accepted); err != nil {
			b.Fatal(err)
		}
		if err := w.store.WriteKeys(b.Context(), out.keys); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*messages*perMessage/b.Elapsed().Seconds(), "events/s")
}
