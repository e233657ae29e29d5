package client

// queue holds encoded events from Record until the server has confirmed them, in
// order. Its owner serialises all calls.
type queue interface {
	// push adds an event, or returns ErrSpoolFull and adds nothing.
	push(event []byte) error
	// peek returns the oldest events, at least one if there is any, and no more
	// than fit. It may return fewer. An error is damage that was stepped over;
	// call again.
	peek(eventsMax, bytesMax int) ([][]byte, error)
	// drop removes the first n events that the last peek returned.
	drop(n int) error
	// pending is the number of events in the queue, and what they take up.
	pending() (events int, bytes int64)
	// unsynced returns what makes the events pushed so far safe against a power
	// cut, nil if they are. It may be called without serialising.
	unsynced() func() error
	close() error
}

// memoryQueue is a queue that dies with the process.
type memoryQueue struct {
	events    [][]byte
	bytes     int64
	eventsMax int
}

func (q *memoryQueue) push(event []byte) error {
	if len(q.events) >= q.eventsMax {
		return ErrSpoolFull
	}
	q.events = append(q.events, event)
	q.bytes += int64(len(event))
	return nil
}

func (q *memoryQueue) peek(eventsMax, bytesMax int) ([][]byte, error) {
	n, size := 0, 0
	for n < len(q.events) && n < eventsMax && (n == 0 || size+len(q.events[n]) <= bytesMax) {
		size += len(q.events[n])
		n++
	}
	return q.events[:n:n], nil
}

func (q *memoryQueue) drop(n int) error {
	for i := range n {
		q.bytes -= int64(len(q.events[i]))
	}
	q.events = q.events[n:]
	return nil
}

func (q *memoryQueue) pending() (int, int64)  { return len(q.events), q.bytes }
func (q *memoryQueue) unsynced() func() error { return nil }
func (q *memoryQueue) close() error           { return nil }
