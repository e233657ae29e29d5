package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentik-os/panda/schemas"
)

// A Load says what to send. It travels to the load generator as JSON.
type Load struct {
	URL string `json:"url"` // http://host:port
	Key string `json:"key"` // of the platform
	// Tenants are ids; batches go to them in turn.
	Tenants []string `json:"tenants"`
	// Events is the number of events of a batch, at most schemas.BatchEventsMax.
	Events int `json:"events"`
	// Workers is how many batches are on the way at a time.
	Workers int `json:"workers"`
	// Rate is batches per second, evenly spaced; 0 sends as fast as they are
	// acknowledged.
	Rate int `json:"rate"`
	// For is how long to send; Total, if not 0, ends earlier after that many events.
	For   time.Duration `json:"for"`
	Total int64         `json:"total"`
	Seed  uint64        `json:"seed"`
	// Fresh makes every event anew. Otherwise batches are made before the load
	// and only ids and times are new, which costs a tenth.
	Fresh bool `json:"fresh"`
	// Strangers gives every event an agent of its own.
	Strangers bool `json:"strangers"`
}

// Loaded is what became of a Load.
type Loaded struct {
	Requests int64 `json:"requests"`
	Accepted int64 `json:"accepted"` // events with an acknowledgement
	// Refused counts answers 429 and 503; their batches were sent again.
	Refused int64 `json:"refused"`
	Bytes   int64 `json:"bytes"` // of bodies
	// LastSeq is the highest position an acknowledgement named.
	LastSeq uint64 `json:"last_seq"`
	// Took is from the first send to the last acknowledgement.
	Took time.Duration `json:"took"`
	// CPU is the processor time of the generator during Took.
	CPU time.Duration `json:"cpu"`
	// Acks are how long each batch waited for its acknowledgement; with Rate,
	// from the moment at which it was due, so that a stall counts for all that it
	// delayed.
	Acks Samples `json:"acks"`
}

// Add adds what became of another load, but for the time of both, which are the caller's
// to say.
func (l *Loaded) Add(o *Loaded) {
	l.Requests += o.Requests
	l.Accepted += o.Accepted
	l.Refused += o.Refused
	l.Bytes += o.Bytes
	l.LastSeq = max(l.LastSeq, o.LastSeq)
	l.Acks = append(l.Acks, o.Acks...)
}

// Share is the generator's processor time in cores per 100,000 events/s.
func (l *Loaded) Share() float64 {
	if l.Accepted == 0 {
		return 0
	}
	return l.CPU.Seconds() / float64(l.Accepted) * 100_000
}

// templatesPerWorker bounds the memory of made batches: 8 of 200 KB each.
const templatesPerWorker = 8

// Run sends until the load is over or ctx ends, and returns when every batch is
// acknowledged. An answer other than 200, 429 and 503 ends it.
func (l *Load) Run(ctx context.Context) (Loaded, error) {
	if l.Events < 1 || l.Events > schemas.BatchEventsMax || l.Workers < 1 || len(l.Tenants) == 0 {
		return Loaded{}, schemas.Invalid("", schemas.CodeOutOfRange, "load of %d events in %d workers for %d tenants", l.Events, l.Workers, len(l.Tenants))
	}
	address, err := url.Parse(l.URL)
	if err != nil {
		return Loaded{}, fmt.Errorf("read address of the server: %w", err)
	}
	senders := make([]*sender, l.Workers)
	var batches atomic.Int64
	for i := range senders {
		senders[i] = &sender{load: l, host: address.Host, batches: &batches}
		senders[i].prepare(l.Seed + uint64(i)<<32)
	}
	var sum Loaded
	before, began := own(), time.Now()
	group, running := errgroup.WithContext(ctx)
	for _, s := range senders {
		group.Go(func() error { return s.run(running, began) })
	}
	err = group.Wait()
	sum.Took, sum.CPU = time.Since(began), own()-before
	for _, s := range senders {
		sum.Add(&s.sum)
	}
	return sum, err
}

// A sender is one connection. It writes HTTP/1.1 by hand: a general client costs
// more than the batch.
type sender struct {
	load    *Load
	host    string
	batches *atomic.Int64 // taken by all senders
	bodies  []*Body
	conn    net.Conn
	answers *bufio.Reader
	head    []byte
	sum     Loaded
}

func (s *sender) prepare(seed uint64) {
	n := templatesPerWorker
	if s.load.Fresh {
		n = 1
	}
	for i := range n {
		b := NewBody(seed+uint64(i), s.load.Events, time.Now())
		if b.Strangers = s.load.Strangers; b.Strangers {
			b.Fill(s.load.Events, time.Now())
		}
		s.bodies = append(s.bodies, b)
	}
}

func (s *sender) run(ctx context.Context, began time.Time) error {
	var dialer net.Dialer
	var err error
	if s.conn, err = dialer.DialContext(ctx, "tcp", s.host); err != nil {
		return fmt.Errorf("connect to the server: %w", err)
	}
	defer s.conn.Close()
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	s.answers = bufio.NewReader(s.conn)
	l := s.load
	for {
		i := s.batches.Add(1) - 1
		if time.Since(began) >= l.For || (l.Total > 0 && i*int64(l.Events) >= l.Total) {
			return nil
		}
		due := time.Now()
		if l.Rate > 0 {
			due = began.Add(time.Duration(i) * time.Second / time.Duration(l.Rate))
			if due.Sub(began) >= l.For {
				return nil
			}
			if err := until(ctx, due); err != nil {
				return err
			}
		}
		if err := s.batch(ctx, i); err != nil {
			return err
		}
		s.sum.Acks = append(s.sum.Acks, time.Since(due))
	}
}

// until waits for a moment.
func until(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// batch sends one batch until it is acknowledged.
func (s *sender) batch(ctx context.Context, i int64) error {
	b := s.bodies[int(i)%len(s.bodies)]
	if s.load.Fresh {
		b.Fill(s.load.Events, time.Now())
	} else {
		b.Renew(time.Now())
	}
	tenant := s.load.Tenants[int(i)%len(s.load.Tenants)]
	for {
		again, err := s.once(tenant, b.Text)
		if err != nil || !again {
			return err
		}
		s.sum.Refused++
		// The server asks for whole seconds; a generator that measures looks again
		// sooner, so that it does not idle.
		const refusedWait = 20 * time.Millisecond
		if err := until(ctx, time.Now().Add(refusedWait)); err != nil {
			return err
		}
	}
}

// acknowledgement is the answer of POST /v1/events.
type acknowledgement struct {
	Accepted   int64  `json:"accepted"`
	Duplicates int64  `json:"duplicates"`
	Rejected   int64  `json:"rejected"`
	Seq        uint64 `json:"seq"`
}

func (s *sender) once(tenant string, body []byte) (again bool, err error) {
	s.head = append(s.head[:0], "POST /v1/events?verdicts=rejected&tenant="...)
	s.head = append(append(s.head, tenant...), " HTTP/1.1\r\nHost: "...)
	s.head = append(append(s.head, s.host...), "\r\nAuthorization: Bearer "...)
	s.head = append(append(s.head, s.load.Key...), "\r\nContent-Type: application/cloudevents-batch+json\r\nContent-Length: "...)
	s.head = append(strconv.AppendInt(s.head, int64(len(body)), 10), "\r\n\r\n"...)
	buffers := net.Buffers{s.head, body}
	if _, err := buffers.WriteTo(s.conn); err != nil {
		return false, fmt.Errorf("send batch: %w", err)
	}
	s.sum.Requests++
	s.sum.Bytes += int64(len(body))
	res, err := http.ReadResponse(s.answers, nil)
	if err != nil {
		return false, fmt.Errorf("read acknowledgement: %w", err)
	}
	text, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return false, fmt.Errorf("read acknowledgement: %w", err)
	}
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true, nil
	default:
		return false, fmt.Errorf("send batch: %s: %s", res.Status, text)
	}
	var ack acknowledgement
	if err := json.Unmarshal(text, &ack); err != nil {
		return false, fmt.Errorf("read acknowledgement: %w", err)
	}
	if ack.Rejected > 0 || ack.Accepted+ack.Duplicates != int64(s.load.Events) {
		return false, fmt.Errorf("batch of %d events: %s", s.load.Events, text)
	}
	s.sum.Accepted += ack.Accepted
	s.sum.LastSeq = max(s.sum.LastSeq, ack.Seq)
	return false, nil
}

// Generate is the load generator as a process: it reads a Load from in, runs it,
// and writes a Loaded to out.
func Generate(ctx context.Context, in io.Reader, out io.Writer) error {
	text := bufio.NewReader(in)
	line, err := text.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read load: %w", err)
	}
	var l Load
	if err := json.Unmarshal(line, &l); err != nil {
		return fmt.Errorf("read load: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // the end of the input is the end of the parent
		_, _ = io.Copy(io.Discard, text)
		cancel()
	}()
	loaded, err := l.Run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(loaded)
}

// Start runs the load generator, the given command, as a process of its own.
// wait returns what it did.
func (l *Load) Start(ctx context.Context, command ...string) (wait func() (Loaded, error), err error) {
	spec, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encode load: %w", err)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start load generator: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start load generator: %w", err)
	}
	_, err = in.Write(append(spec, '\n')) // in stays open as long as this process lives
	return func() (Loaded, error) {
		var loaded Loaded
		if waitErr := cmd.Wait(); err != nil || waitErr != nil {
			return loaded, fmt.Errorf("load generator: %w: %s", errors.Join(err, waitErr), bytes.TrimSpace(complaint.Bytes()))
		}
		if err := json.Unmarshal(out.Bytes(), &loaded); err != nil {
			return loaded, fmt.Errorf("read what the load generator did: %w", err)
		}
		return loaded, nil
	}, nil
}
