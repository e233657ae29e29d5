package stripefake

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"time"
)

// Fault is one way in which a request goes wrong.
type Fault int

// The faults. Those that say "stored" leave their answer under the idempotency key.
const (
	None        Fault = iota
	RateLimit         // 429 rate_limit, nothing stored
	LockTimeout       // 429 lock_timeout, nothing written, stored
	ErrorBefore       // 500, nothing written, stored
	ErrorAfter        // 500, written all the same, stored
	RequestLost       // the connection is cut before anything happens
	AnswerLost        // written, and the connection is cut
	BadGateway        // 502 with an HTML body from something in between, nothing happened
	AnswerTorn        // written, 200 with half a body
	DelayBefore       // the request waits, then happens; the sender may have given up
	DelayAfter        // the request happens, and the answer waits
	HoldKey           // the execution takes long: others of its key get 409 meanwhile
	faults            // how many there are
)

// Faults decides what goes wrong. Every decision is a hash of the seed and of what it is
// about, so it does not depend on the order in which goroutines come.
type Faults struct {
	Seed uint64
	// PerMille is how many of a thousand writes meet a fault; reads meet half of that.
	PerMille int
	// Only, if not nil, names the faults that happen.
	Only []Fault
	// DelayMax bounds the waits. Default 3 minutes, longer than a client waits.
	DelayMax time.Duration
	// Away says whether the account is out of reach at a moment: every connection is cut.
	Away func(time.Time) bool
	// Deliveries: per mille that are lost for good, that come twice, and that are late.
	EventLost, EventTwice, EventLate int
}

// every fault that a read can meet: nothing of it is stored.
func readFaults() []Fault { return []Fault{RateLimit, RequestLost, AnswerLost, BadGateway, DelayAfter} }

func (f *Faults) roll(parts ...any) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %q", f.Seed, parts))
	return binary.BigEndian.Uint64(sum[:8])
}

func (f *Faults) delay(parts ...any) time.Duration {
	most := f.DelayMax
	if most <= 0 {
		most = 3 * time.Minute
	}
	return time.Duration(f.roll(append(parts, "delay")...) % uint64(most))
}

// mishap is what happens to one request.
type mishap struct {
	fault Fault
	delay time.Duration
}

// faultless marks a request that meets no fault.
type faultless struct{}

func withoutFaults(ctx context.Context) context.Context {
	return context.WithValue(ctx, faultless{}, true)
}

// fault decides about a request.
func (s *Server) fault(r *http.Request, key string) mishap {
	f := s.cfg.Faults
	if f == nil || r.Context().Value(faultless{}) != nil {
		return mishap{}
	}
	s.mu.Lock()
	name := r.Method + " " + r.URL.RequestURI() + " " + key
	s.arrivals[name]++
	nth := s.arrivals[name]
	s.mu.Unlock()
	if f.Away != nil && f.Away(s.cfg.Now()) {
		return mishap{fault: RequestLost}
	}
	rate, choice := f.PerMille, f.Only
	if r.Method == http.MethodGet {
		rate, choice = f.PerMille/2, readFaults()
	}
	n := f.roll(name, nth)
	if int(n%1000) >= rate {
		return mishap{}
	}
	m := mishap{fault: Fault(1 + n/1000%uint64(faults-1)), delay: f.delay(name, nth)}
	if choice != nil {
		m.fault = choice[n/1000%uint64(len(choice))]
	}
	return m
}

// moment is a place on the way of a request.
type moment int

const (
	arriving  moment = iota // before the limiter
	executing               // its key is in use
	answering               // it is executed and stored
)

// obey does what a mishap does at a moment, and says whether that was the answer. It ends
// the handler if it cuts the connection.
func (m mishap) obey(w http.ResponseWriter, when moment) (answered bool) {
	switch {
	case when == arriving && m.fault == RequestLost, when == answering && m.fault == AnswerLost:
		panic(http.ErrAbortHandler)
	case when == arriving && m.fault == BadGateway:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		w.Write([]byte("<html><body>502 Bad Gateway</body></html>")) //nolint:errcheck // the answer is rubbish anyway
		return true
	case when == answering && m.fault == AnswerTorn:
		w.WriteHeader(http.StatusOK)
		w.Write([]byte(`{"id": "ii_`)) //nolint:errcheck // the answer is rubbish anyway
		return true
	case when == arriving && m.fault == DelayBefore,
		when == executing && m.fault == HoldKey,
		when == answering && m.fault == DelayAfter:
		time.Sleep(m.delay)
	}
	return false
}
