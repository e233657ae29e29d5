package eventlog

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// One request to the consumer asks for this much, and up to requestsMax of
	// them are open, so that the next is there when one is used up.
	requestRecords = 4096
	requestBytes   = 4 << 20
	requestsMax    = 2
	// A request ends by itself after requestAge, and while it is open the broker
	// says every heartbeat that it is still there.
	requestAge = 30 * time.Second
	heartbeat  = 2 * time.Second
	// silenceMax is how long a feed may be quiet while a request is open.
	silenceMax = 2*heartbeat + time.Second
	// The broker forgets a consumer that nobody asks for this long.
	consumerAge = 2 * time.Minute
)

// feed is one consumer on the broker and the subscription its records come to.
// A fault of any kind ends it; the Reader then makes another, after the last
// record it has. Fields are guarded by the Reader's mutex unless they say otherwise.
type feed struct {
	log  *Log
	name string // of the consumer
	ask  string // subject of requests
	to   string // prefix of the subject that answers come to
	sub  *nats.Subscription

	delivered uint64 // the consumer's own count, to notice a lost delivery
	open      int    // requests that the broker has not ended
	asked     uint64 // requests made, to tell their answers apart
	heard     atomic.Int64
	start     time.Time // what heard counts from, in nanoseconds
}

// startFeed makes a consumer that starts at r.next.
func (r *Reader) startFeed(ctx context.Context) (*feed, error) {
	l := r.log
	f := &feed{log: l, name: "reader_" + nuid.Next(), to: l.conn.NewInbox() + ".", start: time.Now()}
	f.ask = "$JS.API.CONSUMER.MSG.NEXT." + r.cfg.Stream + "." + f.name
	var err error
	f.sub, err = l.conn.Subscribe(f.to+"*", func(m *nats.Msg) { r.receive(f, m) })
	if err != nil {
		return nil, fmt.Errorf("subscribe to records: %w", classify(err))
	}
	// What is under way is bounded by the requests; these must never drop any.
	if err := f.sub.SetPendingLimits(-1, -1); err != nil {
		f.close()
		return nil, fmt.Errorf("lift pending limits: %w", classify(err))
	}
	r.mu.Lock()
	from := r.next
	r.mu.Unlock()
	_, err = l.js.CreateConsumer(ctx, r.cfg.Stream, jetstream.ConsumerConfig{
		Name:           f.name,
		Description:    "ordered reader",
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:    from,
		FilterSubjects: r.cfg.Subjects,
		// The position is the reader's; the broker remembers nothing for it.
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: consumerAge,
	})
	if err != nil {
		f.close()
		return nil, fmt.Errorf("make consumer: %w", classify(err))
	}
	return f, nil
}

// close gives up a feed without waiting: the broker forgets the consumer by
// itself if this request does not reach it. Safe on nil.
func (f *feed) close() {
	if f == nil {
		return
	}
	_ = f.sub.Unsubscribe()
	if i := strings.LastIndexByte(f.ask, '.'); i > 0 && f.log.conn.IsConnected() {
		stream := strings.TrimPrefix(f.ask[:i], "$JS.API.CONSUMER.MSG.NEXT.")
		_ = f.log.conn.Publish("$JS.API.CONSUMER.DELETE."+stream+"."+f.name, nil)
	}
}

// pull opens requests while there is room for what they may bring. The caller
// holds r.mu.
func (r *Reader) pull() {
	f := r.feed
	if f == nil {
		return
	}
	for f.open < requestsMax && (f.open == 0 && r.bytes == 0 || r.bytes+(f.open+1)*requestBytes <= r.limit) {
		f.asked++
		body := fmt.Sprintf(`{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`,
			requestRecords, requestBytes, requestAge, heartbeat)
		err := f.log.conn.PublishRequest(f.ask, f.to+strconv.FormatUint(f.asked, 10), []byte(body))
		if err != nil {
			// The connection is down; its return replaces the feed.
			return
		}
		f.open++
		f.touch()
	}
}

func (f *feed) touch() { f.heard.Store(int64(time.Since(f.start))) }

// listen drops a feed that has been silent for too long.
func (r *Reader) listen() {
	r.mu.Lock()
	f := r.feed
	silent := f != nil && f.open > 0 && time.Since(f.start)-time.Duration(f.heard.Load()) > silenceMax
	r.mu.Unlock()
	if silent {
		r.drop("silence")
	}
}

// receive takes what the consumer sends. It runs on the subscription's own
// goroutine, one message at a time.
func (r *Reader) receive(f *feed, m *nats.Msg) {
	r.mu.Lock()
	if r.feed != f {
		// connect has not handed the feed over yet, or it was given up. No request
		// is open before the former.
		r.mu.Unlock()
		return
	}
	f.touch()
	var why string
	if len(m.Reply) == 0 || !strings.HasPrefix(m.Reply, "$JS.ACK.") {
		why = r.status(f, m)
	} else {
		why = r.store(f, m)
	}
	r.mu.Unlock()
	if why != "" {
		r.drop(why)
	}
}

// store keeps a record. It returns why the feed must be dropped, or "".
func (r *Reader) store(f *feed, m *nats.Msg) string {
	d, ok := parseDelivery(m.Reply)
	if !ok {
		return "unreadable delivery " + m.Reply
	}
	if d.consumerSeq != f.delivered+1 {
		return "a delivery was lost"
	}
	f.delivered++
	if d.streamSeq < r.next {
		return ""
	}
	rec := Record{Subject: m.Subject, Seq: d.streamSeq, Time: time.Unix(0, d.time).UTC(), Data: m.Data}
	r.next = rec.Seq + 1
	r.bytes += weigh(rec)
	r.queue.push(rec)
	if len(r.queue.waiting()) == 1 {
		signal(r.ready)
	}
	return ""
}

// status handles what the broker says about requests. It returns why the feed
// must be dropped, or "".
func (r *Reader) status(f *feed, m *nats.Msg) string {
	code, text := m.Header.Get("Status"), m.Header.Get("Description")
	switch {
	case code == "100":
		return ""
	case code == "408", code == "404", code == "409" && (text == "Batch Completed" || strings.HasPrefix(text, "Message Size")):
		f.open--
		r.pull()
		return ""
	}
	return "broker says " + code + " " + text
}

// delivery is what the reply subject of a record says about it.
type delivery struct {
	streamSeq, consumerSeq uint64
	time                   int64 // nanoseconds since 1970, by the broker's clock
}

// parseDelivery reads $JS.ACK.<stream>.<consumer>.<tries>.<stream seq>.<consumer
// seq>.<time>.<pending>, or the form with domain and account hash after ACK and
// possibly a token at the end (NATS ADR-15).
func parseDelivery(reply string) (delivery, bool) {
	const short, long = 9, 11
	var tokens [13]string
	n := 0
	for rest, more := reply, true; more && n < len(tokens); n++ {
		tokens[n], rest, more = strings.Cut(rest, ".")
	}
	at := 5
	switch {
	case n >= long:
		at = 7
	case n != short:
		return delivery{}, false
	}
	var d delivery
	var err1, err2, err3 error
	d.streamSeq, err1 = strconv.ParseUint(tokens[at], 10, 64)
	d.consumerSeq, err2 = strconv.ParseUint(tokens[at+1], 10, 64)
	d.time, err3 = strconv.ParseInt(tokens[at+2], 10, 64)
	return d, err1 == nil && err2 == nil && err3 == nil
}
