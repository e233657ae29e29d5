package eventlog

import (
	"sync"

	"github.com/nats-io/nats.go"
)

const (
	// doorMessagesMax and doorBytesMax bound what one tenant has on the way through
	// the door: what a client publishes ahead of its acknowledgements, and 16
	// messages of the largest size.
	doorMessagesMax = 4096
	doorBytesMax    = 16 << 20
	// doorLanes is how many messages of one tenant are stored at once. Each is synced
	// by itself, and who comes after it waits; four keep the disk busy.
	doorLanes = 4
	// codeRefused is the error code of what was not stored and may be sent again: the
	// broker's own for a store that is not available.
	codeRefused = 10008
)

// A Refusal is an error of Config.Admit that a runtime is told of as it is.
type Refusal struct {
	// Code is in the sense of HTTP: 403 do not send again, 429 later.
	Code        int
	Description string
}

func (r *Refusal) Error() string { return r.Description }

// doorQueues are the messages of tenants that wait to be stored, so that one
// tenant's flood takes turns with others and cannot fill what all share. A crash
// loses them: none of them was acknowledged.
type doorQueues struct {
	mu      sync.Mutex // guards what follows
	tenants map[string]*doorQueue
}

type doorQueue struct {
	waiting []*nats.Msg // oldest first
	bytes   int         // of waiting
	active  int         // messages that are being stored
	// pumping: somebody is handing one over; one at a time, so that they stay in
	// order.
	pumping bool
}

// add queues a message; false: the tenant has too much on the way.
func (d *doorQueues) add(tenant string, m *nats.Msg) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tenants == nil {
		d.tenants = map[string]*doorQueue{}
	}
	q := d.tenants[tenant]
	if q == nil {
		q = &doorQueue{}
		d.tenants[tenant] = q
	}
	if len(q.waiting)+q.active >= doorMessagesMax || q.bytes > 0 && q.bytes+len(m.Data) > doorBytesMax {
		return false
	}
	q.waiting = append(q.waiting, m)
	q.bytes += len(m.Data)
	return true
}

// next returns the message to store now, nil if there is none or it is not the
// caller's to store. After one comes stored, and done when it is answered.
func (d *doorQueues) next(tenant string) *nats.Msg {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.tenants[tenant]
	if q == nil || q.pumping || q.active >= doorLanes || len(q.waiting) == 0 {
		return nil
	}
	m := q.waiting[0]
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	q.bytes -= len(m.Data)
	q.active++
	q.pumping = true
	return m
}

// stored says that the message of next is on its way.
func (d *doorQueues) stored(tenant string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.tenants[tenant]; q != nil {
		q.pumping = false
		d.forget(tenant, q)
	}
}

// done says that a message was answered.
func (d *doorQueues) done(tenant string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.tenants[tenant]
	q.active--
	d.forget(tenant, q)
}

func (d *doorQueues) forget(tenant string, q *doorQueue) {
	if q.active == 0 && !q.pumping && len(q.waiting) == 0 {
		delete(d.tenants, tenant)
	}
}
