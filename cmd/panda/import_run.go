package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/ingest"
	"github.com/agentik-os/panda/schemas"
)

const (
	// batchEvents and batchBytes bound a request: as many events as the API
	// takes, and half of its bytes, which leaves room for what the server adds.
	batchEvents = schemas.BatchEventsMax
	batchBytes  = schemas.RequestBytesMax / 2
	// lookupsAhead is how many acknowledged batches may wait for the writer to
	// say what is new in them. It bounds memory; a writer that falls behind slows
	// the import down.
	lookupsAhead = 64
	// rowErrorsKept bounds how many rejected rows are named.
	rowErrorsKept = 100
)

// errTooManyErrors ends an import that rejects row after row: usually the
// mapping is wrong.
var errTooManyErrors = errors.New("too many rejected rows")

// importRun is the import of one file. A reader makes batches, workers send
// them, and lookups ask the server which of their events are new: the gateway
// acknowledges before anyone knows whether an event is a duplicate.
type importRun struct {
	client  *apiClient // nil is a dry run
	flags   importFlags
	mapping *mapping // of the reader
	rows    rowReader
	state   *importState // nil for standard input and dry runs
	skip    int64        // rows an earlier run sent

	rowsRead atomic.Int64 // for the progress line

	mu     sync.Mutex
	result *importResult
	acked  map[int64]bool // log positions of this run's batches
	newest int64          // the last of them
}

// importBatch is a request under way.
type importBatch struct {
	number  int64
	lastRow int64 // of the file, counted from 1
	body    []byte
	rows    []batchRow
	fields  []boundField // of the mapping, to name columns; nil for CloudEvents
}

// batchRow is what is remembered of a row that is under way.
type batchRow struct {
	line       int64
	id, source string
	duplicate  bool // says the gateway
}

// do imports the file. errFoundWrong: it was read to the end, with rows that
// are not counted.
func (r *importRun) do(ctx context.Context) error {
	r.acked = map[int64]bool{}
	group, running := errgroup.WithContext(ctx)
	batches := make(chan *importBatch, r.flags.workers)
	lookups := make(chan ackedBatch, lookupsAhead)
	group.Go(func() error {
		defer close(batches)
		return r.read(running, batches)
	})
	senders, sendCtx := errgroup.WithContext(running)
	for range r.flags.workers {
		senders.Go(func() error { return r.send(sendCtx, batches, lookups) })
	}
	group.Go(func() error {
		defer close(lookups)
		return senders.Wait()
	})
	for range r.flags.workers {
		group.Go(func() error { return r.lookUp(running, lookups) })
	}
	err := group.Wait()
	if r.state != nil {
		r.state.end(err == nil)
	}
	if err == nil {
		err = r.settleConflicts(ctx)
	}
	if err != nil {
		return err
	}
	r.result.complete = true
	if r.result.Rejected+r.result.Conflicts+r.result.Uncounted > 0 {
		return errFoundWrong
	}
	return nil
}

// finish completes the result.
func (r *importRun) finish() *importResult {
	r.result.Read, r.result.Skipped = r.rowsRead.Load(), min(r.skip, r.rowsRead.Load())
	r.result.unused = r.mapping.unused
	if r.result.complete {
		r.result.absent = r.mapping.absent()
	}
	slices.SortFunc(r.result.Errors, func(a, b rowError) int { return cmp.Compare(a.Line, b.Line) })
	return r.result
}

// bindHeader binds the mapping to the header of a table, before its first row.
func (r *importRun) bindHeader() error {
	table, ok := r.rows.(*csvRows)
	if !ok {
		return nil
	}
	if err := r.mapping.bind(table.names, true); err != nil {
		return usagef("%v", err) // it would be said of every row
	}
	return r.mapping.complete()
}

// read makes batches of the file's rows.
func (r *importRun) read(ctx context.Context, batches chan<- *importBatch) error {
	b := &importBatch{}
	flush := func() error {
		if len(b.rows) == 0 {
			return nil
		}
		b.body = append(b.body, ']')
		b.lastRow, b.fields = r.rowsRead.Load(), r.mapping.fields
		select {
		case batches <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
		b = &importBatch{number: b.number + 1}
		return nil
	}
	for {
		row, err := r.rows.next()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		var bad *columnError
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		var event []byte
		if bad == nil {
			if event, err = r.eventOf(&row); err != nil && !errors.As(err, &bad) {
				return err
			}
		}
		if event != nil && len(b.body)+len(event)+2 > batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		r.rowsRead.Add(1)
		if bad != nil {
			if err := r.reject(row.line, bad.column, bad.detail); err != nil {
				return err
			}
			continue
		}
		if r.rowsRead.Load() <= r.skip {
			continue
		}
		b.add(event, row)
		if len(b.rows) == batchEvents {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

func (b *importBatch) add(event []byte, row fileRow) {
	separator := byte(',')
	if len(b.rows) == 0 {
		separator = '['
	}
	b.body = append(append(b.body, separator), event...)
	b.rows = append(b.rows, batchRow{line: row.line, id: row.id, source: row.source})
}

// eventOf makes the event of a row and notes its identity. A *columnError is
// about the row; any other error is about the command.
func (r *importRun) eventOf(row *fileRow) ([]byte, error) {
	if row.event != nil {
		if len(r.flags.maps)+len(r.flags.sets) > 0 {
			return nil, &columnError{"", "this is a CloudEvent, which is taken as it is; --map and --set are for other objects"}
		}
		if len(row.event) > schemas.EventBytesMax {
			return nil, &columnError{"", fmt.Sprintf("%d bytes; an event has at most %d", len(row.event), schemas.EventBytesMax)}
		}
		return bytes.Clone(row.event), nil
	}
	first := r.mapping.fields == nil
	_, table := r.rows.(*csvRows)
	if err := r.mapping.bind(row.names, table); err != nil {
		return nil, err
	}
	if first {
		if err := r.mapping.complete(); err != nil {
			return nil, err
		}
	}
	e, err := r.mapping.event(row.cells)
	if err != nil {
		return nil, err
	}
	row.id, row.source = e.ID, e.Source
	r.noteTime(e.Time)
	return e.encode()
}

func (r *importRun) noteTime(text string) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.result.First == nil || t.Before(*r.result.First) {
		r.result.First = &t
	}
	if r.result.Last == nil || t.After(*r.result.Last) {
		r.result.Last = &t
	}
}

// reject notes a row that is not imported.
func (r *importRun) reject(line int64, column, detail string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Rejected++
	if len(r.result.Errors) < rowErrorsKept {
		r.result.Errors = append(r.result.Errors, rowError{line, column, detail})
	}
	if r.flags.errorsMax > 0 && r.result.Rejected >= int64(r.flags.errorsMax) {
		return fmt.Errorf("gave up after %d: %w; is the mapping right? --max-errors 0 goes on", r.result.Rejected, errTooManyErrors)
	}
	return nil
}

// rejectAt notes a row that the server, or in a dry run its decoder, refused.
func (r *importRun) rejectAt(b *importBatch, i int, pointer, detail string) error {
	column := pointer
	if b.fields != nil && pointer != "" {
		column = columnAt(b.fields, pointer)
	}
	return r.reject(b.rows[i].line, column, detail)
}

// check is the dry run of send: the decoder that the server uses, here.
func (r *importRun) check(b *importBatch) error {
	decoded, err := ingest.DecodeBatch(b.body, batchEvents)
	if err != nil {
		return fmt.Errorf("decode batch: %w", err)
	}
	for i := range decoded {
		err := decoded[i].Err
		if err == nil {
			err = decoded[i].Event.ValidateTime(time.Now(), 0)
		}
		if err == nil {
			r.count(func(res *importResult) { res.Accepted++ })
			continue
		}
		field := &schemas.FieldError{Detail: err.Error()}
		errors.As(err, &field)
		if err := r.rejectAt(b, i, field.Pointer, field.Detail); err != nil {
			return err
		}
	}
	return nil
}

func (r *importRun) count(f func(*importResult)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.result)
}
