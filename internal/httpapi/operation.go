package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/agentik-os/panda/internal/tenancy"
)

// Operations runs what may take longer than a request: a migration, an erasure. Who
// asks waits a while for the result; what takes longer goes on, and is asked about by
// its id. The same work asked for again while it runs is the same operation. It is in
// memory: after a restart, work that was cut off is asked for again, which every such
// work allows.
type Operations struct {
	// Base is the context of the work; it ends with the process. Required.
	Base context.Context
	// WaitMax is how long a request waits for the result. Default 20 s, below
	// Config.RequestMax.
	WaitMax time.Duration

	mu    sync.Mutex // guards what follows
	byKey map[string]*operation
	list  []*operation // the oldest first
}

// operationsMax bounds the operations that are remembered. The oldest that has ended
// is forgotten first.
const operationsMax = 1000

type operation struct {
	id, key, kind, tenantID string
	began                   time.Time
	done                    chan struct{} // closed when result and err are set
	result                  any
	err                     error

	mu          sync.Mutex // guards how far it is
	step        string
	part, whole uint64
}

// Step says how far an operation is: part of whole, 0 of 0 if nobody knows.
type Step func(step string, part, whole uint64)

// operationView is an operation on the wire.
type operationView struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	TenantID string    `json:"tenant_id"`
	Status   string    `json:"status"` // running, done or failed
	Step     string    `json:"step,omitempty"`
	Part     uint64    `json:"part,omitempty"`
	Whole    uint64    `json:"whole,omitempty"`
	BeganAt  time.Time `json:"began_at"`
	Result   any       `json:"result,omitempty"`
	Problem  *Problem  `json:"problem,omitempty"`
}

func (o *operation) view() operationView {
	v := operationView{ID: o.id, Kind: o.kind, TenantID: o.tenantID, Status: "running", BeganAt: o.began}
	o.mu.Lock()
	v.Step, v.Part, v.Whole = o.step, o.part, o.whole
	o.mu.Unlock()
	select {
	case <-o.done:
	default:
		return v
	}
	v.Status, v.Result = "done", o.result
	if o.err != nil {
		p := ProblemOf(o.err)
		v.Status, v.Problem = "failed", &p
	}
	return v
}

// Do runs work about a tenant and answers with its result, or with 202 and the
// operation when it takes longer. Its error is that of the work. what tells works of
// one kind apart, such as that about one user from that about another.
func (o *Operations) Do(w http.ResponseWriter, r *http.Request, kind, tenantID, what string,
	work func(ctx context.Context, step Step) (any, error)) error {
	op := o.start(kind, tenantID, what, work)
	wait := o.WaitMax
	if wait == 0 {
		const waitDefault = 20 * time.Second
		wait = waitDefault
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-op.done:
		if op.err != nil {
			return op.err
		}
		WriteJSON(w, http.StatusOK, op.result)
	case <-timer.C:
		w.Header().Set("Location", "/v1/operations/"+op.id)
		WriteJSON(w, http.StatusAccepted, struct {
			Operation operationView `json:"operation"`
		}{op.view()})
	case <-r.Context().Done():
		return r.Context().Err()
	}
	return nil
}

func (o *Operations) start(kind, tenantID, what string, work func(ctx context.Context, step Step) (any, error)) *operation {
	key := kind + " " + tenantID + " " + what
	o.mu.Lock()
	defer o.mu.Unlock()
	if op := o.byKey[key]; op != nil {
		return op
	}
	op := &operation{id: "op_" + tenancy.NewID(operationIDChars), key: key, kind: kind, tenantID: tenantID, began: time.Now().UTC(), done: make(chan struct{})}
	if o.byKey == nil {
		o.byKey = map[string]*operation{}
	}
	o.byKey[key] = op
	if len(o.list) >= operationsMax {
		if at := slices.IndexFunc(o.list, func(old *operation) bool { return o.byKey[old.key] != old }); at >= 0 {
			o.list = slices.Delete(o.list, at, at+1)
		}
	}
	o.list = append(o.list, op)
	go func() {
		defer close(op.done)
		defer func() {
			if cause := recover(); cause != nil {
				op.err = fmt.Errorf("%s: panic: %v\n%s", kind, cause, debug.Stack())
			}
			o.mu.Lock()
			delete(o.byKey, key)
			o.mu.Unlock()
		}()
		op.result, op.err = work(o.Base, func(step string, part, whole uint64) {
			op.mu.Lock()
			defer op.mu.Unlock()
			op.step, op.part, op.whole = step, part, whole
		})
	}()
	return op
}

const operationIDChars = 12

// Register adds the route that says how far an operation is.
func (o *Operations) Register(s *Server) {
	s.Handle("GET /v1/operations/{operation}", tenancy.PermissionRead, o.get)
}

func (o *Operations) get(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	o.mu.Lock()
	at := slices.IndexFunc(o.list, func(op *operation) bool { return op.id == r.PathValue("operation") })
	var op *operation
	if at >= 0 {
		op = o.list[at]
	}
	o.mu.Unlock()
	if op == nil {
		return tenancy.ErrNotFound
	}
	if _, err := scope.For(op.tenantID); err != nil {
		return err
	}
	WriteJSON(w, http.StatusOK, op.view())
	return nil
}
