package torture

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/agentik-os/panda/internal/eventlog/runtime"
)

// A Reply is what came back for one attempt to send a batch.
type Reply struct {
	// Clear says that every event has its outcome; else nothing is known.
	Clear bool
	// Refused are indexes of events that are not stored; of a clear reply all
	// others are.
	Refused []int
	// Seq is a position on the log at or after every event of the batch.
	Seq uint64
}

// A Sender tries once to send a batch. The error is an answer that no sender
// should ever get.
type Sender interface {
	Send(ctx context.Context, batch Batch) (Reply, error)
}

func bodyOf(batch Batch) []byte {
	parts := make([][]byte, len(batch))
	for i := range batch {
		parts[i] = batch[i].JSON
	}
	return slices.Concat([]byte("["), bytes.Join(parts, []byte(",")), []byte("]"))
}

// HTTPSender posts to wherever the server is now: a batch of one as a single
// event, every other batch compressed if Gzip is set.
type HTTPSender struct {
	Panda *Panda
	Key   string
	Gzip  bool
	// URL, if set, is asked instead of the panda's.
	URL    string
	client http.Client
}

// attemptMax is how long an attempt waits for its answer.
const attemptMax = 10 * time.Second

// Send implements Sender.
func (s *HTTPSender) Send(ctx context.Context, batch Batch) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptMax)
	defer cancel()
	body, kind := bodyOf(batch), "application/cloudevents-batch+json"
	if len(batch) == 1 {
		body, kind = batch[0].JSON, "application/cloudevents+json"
	}
	if s.Gzip {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(body) // a buffer does not fail
		_ = w.Close()
		body = out.Bytes()
	}
	url := s.URL
	if url == "" {
		url = s.Panda.URL()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/events?verdicts=rejected", bytes.NewReader(body))
	if err != nil {
		return Reply{}, fmt.Errorf("send batch: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Key)
	req.Header.Set("Content-Type", kind)
	if s.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	res, err := s.client.Do(req)
	if err != nil {
		return Reply{}, nil // dead, dying or stopped
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return Reply{}, nil
	}
	return readReply(res.StatusCode, text, batch)
}

// readReply reads an answer of POST /v1/events. Only a batch with poison may be
// refused.
func readReply(status int, text []byte, batch Batch) (Reply, error) {
	wrong := func() (Reply, error) {
		return Reply{}, fmt.Errorf("send %d events: %w: %d: %s", len(batch), ErrAnswer, status, text)
	}
	var answer struct {
		Accepted, Duplicates, Conflicts, Rejected int
		Seq                                       uint64
		Events                                    []struct {
			Index   int
			Verdict string
		}
	}
	switch status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusGatewayTimeout:
		// Refused before it was stored, or after: the sender cannot tell.
		return Reply{}, nil
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		reply := Reply{Clear: true}
		for i := range batch {
			if !batch[i].Poison {
				return wrong()
			}
			reply.Refused = append(reply.Refused, i)
		}
		return reply, nil
	case http.StatusOK:
	default:
		return wrong()
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return wrong()
	}
	reply := Reply{Clear: true, Seq: answer.Seq}
	for _, e := range answer.Events {
		if e.Verdict != "rejected" {
			continue
		}
		if e.Index < 0 || e.Index >= len(batch) || !batch[e.Index].Poison {
			return wrong()
		}
		reply.Refused = append(reply.Refused, e.Index)
	}
	if answer.Accepted+answer.Duplicates+answer.Conflicts+answer.Rejected != len(batch) || answer.Rejected != len(reply.Refused) || answer.Seq == 0 {
		return wrong()
	}
	for i := range batch {
		if batch[i].Poison && !slices.Contains(reply.Refused, i) {
			return wrong()
		}
	}
	return reply, nil
}

// NATSSender publishes as a runtime with nothing but a NATS client. A message with
// poison is acknowledged whole: the writer judges it.
type NATSSender struct {
	Publisher *runtime.Publisher
	// IDs gives messages an id, so that the broker can know them again.
	IDs bool
	n   int
}

// Send implements Sender.
func (s *NATSSender) Send(ctx context.Context, batch Batch) (Reply, error) {
	const ackMax = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, ackMax)
	defer cancel()
	id := ""
	if s.IDs {
		id = strconv.FormatUint(contentID(batch), 16)
	}
	// Now and then an id that another message has: the broker must not take the one
	// for the other.
	const takenEvery = 10
	if s.n++; s.IDs && s.n%takenEvery == 0 {
		id = "taken"
	}
	seq, err := s.Publisher.Publish(ctx, id, bodyOf(batch))
	switch {
	case errors.Is(err, runtime.ErrClosed):
		return Reply{}, fmt.Errorf("send %d events: %w", len(batch), err)
	case err != nil:
		return Reply{}, nil
	}
	return Reply{Clear: true, Seq: seq}, nil
}
