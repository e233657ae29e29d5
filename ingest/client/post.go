package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// poster makes requests of batches and outcomes of answers. It keeps no state.
type poster struct {
	cfg      Config
	endpoint string
}

type outcomeKind uint8

const (
	// tryAgain: nothing is known, or the server asks for patience.
	tryAgain outcomeKind = iota
	// settledAll: every event has its verdict.
	settledAll
	// tooMuch: the batch was refused and halves might not be.
	tooMuch
	// refused: the server does not listen to this client.
	refused
)

// outcome is what an answer means for a batch.
type outcome struct {
	kind                 outcomeKind
	accepted, duplicates uint64
	rejected             []*RejectedError
	retryAfter           time.Duration
	err                  error
}

// encode makes the compressed body of a batch. The same events give the same
// bytes.
func (p *poster) encode(batch [][]byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	// A write to a buffer does not fail.
	_, _ = io.WriteString(w, "[")
	for i, event := range batch {
		if i > 0 {
			_, _ = io.WriteString(w, ",")
		}
		_, _ = w.Write(event)
	}
	_, _ = io.WriteString(w, "]")
	_ = w.Close()
	return out.Bytes()
}

// answerBytesMax bounds what is read of an answer: a thousand rejections with
// their reasons.
const answerBytesMax = 4 << 20

// send makes one attempt.
func (p *poster) send(ctx context.Context, body []byte, batch [][]byte) outcome {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.AttemptMax)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.endpoint, bytes.NewReader(body))
	if err != nil {
		return outcome{kind: refused, err: fmt.Errorf("make request: %w", err)}
	}
	req.Header.Set("Authorization", "Bearer "+p.cfg.APIKey)
	req.Header.Set("Content-Type", "application/cloudevents-batch+json")
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("Accept", "application/json, application/problem+json")
	req.Header.Set("User-Agent", "panda-client-go/1")
	resp, err := p.cfg.HTTPClient.Do(req)
	if err != nil {
		return outcome{kind: tryAgain, err: err}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax))
	if err != nil {
		return outcome{kind: tryAgain, err: err}
	}
	return judge(resp, answer, batch)
}

// judge says what an answer means.
func judge(resp *http.Response, answer []byte, batch [][]byte) outcome {
	switch status := resp.StatusCode; {
	case status == http.StatusOK || status == http.StatusAccepted || status == http.StatusCreated:
		return verdicts(answer, batch)
	case status == http.StatusRequestEntityTooLarge && len(batch) > 1:
		return outcome{kind: tooMuch}
	case status == http.StatusBadRequest, status == http.StatusUnprocessableEntity,
		status == http.StatusRequestEntityTooLarge:
		return rejection(resp, answer, batch)
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly,
		status == http.StatusTooManyRequests, status >= 500:
		return outcome{kind: tryAgain, retryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	default:
		return refusal(resp, answer)
	}
}

// refusal is an answer that is no verdict on events.
func refusal(resp *http.Response, answer []byte) outcome {
	var p problem
	_ = json.Unmarshal(answer, &p) // it may not be Panda that answers
	return outcome{kind: refused, err: &RefusedError{Status: resp.StatusCode, Code: p.Code, Detail: p.Detail}}
}

// receipt is the server's answer to a batch.
type receipt struct {
	Accepted   uint64 `json:"accepted"`
	Duplicates uint64 `json:"duplicates"`
	Rejected   uint64 `json:"rejected"`
	Events     []struct {
		Index   int    `json:"index"`
		Verdict string `json:"verdict"`
		Code    string `json:"code"`
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"events"`
}

// verdicts reads a receipt. One that does not account for every event is no
// receipt, whoever sent it; the events are sent again.
func verdicts(answer []byte, batch [][]byte) outcome {
	var r receipt
	if err := json.Unmarshal(answer, &r); err != nil {
		return outcome{kind: tryAgain, err: fmt.Errorf("read receipt: %w", err)}
	}
	o := outcome{kind: settledAll, accepted: r.Accepted, duplicates: r.Duplicates}
	seen := make(map[int]bool, len(r.Events))
	for _, e := range r.Events {
		if e.Verdict == "accepted" || e.Verdict == "duplicate" {
			continue
		}
		if e.Index < 0 || e.Index >= len(batch) || seen[e.Index] {
			return outcome{kind: tryAgain, err: fmt.Errorf("read receipt: event %d is none of ours", e.Index)}
		}
		seen[e.Index] = true
		o.rejected = append(o.rejected, &RejectedError{ID: idOf(batch[e.Index]), Event: batch[e.Index],
			Verdict: e.Verdict, Code: e.Code, Pointer: e.Pointer, Detail: e.Detail})
	}
	if r.Accepted+r.Duplicates+uint64(len(o.rejected)) < uint64(len(batch)) {
		return outcome{kind: tryAgain, err: fmt.Errorf("read receipt: it accounts for %d of %d events",
			r.Accepted+r.Duplicates+uint64(len(o.rejected)), len(batch))}
	}
	return o
}

// problem is RFC 9457 as Panda writes it.
type problem struct {
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Errors []struct {
		Pointer string `json:"pointer"`
		Code    string `json:"code"`
		Detail  string `json:"detail"`
	} `json:"errors"`
}

// rejection reads a problem about the batch. If it names every event, all are
// rejected; otherwise halves tell which ones are meant. An answer without a code is
// not Panda's but some proxy's, and no event is given up for that.
func rejection(resp *http.Response, answer []byte, batch [][]byte) outcome {
	var p problem
	if json.Unmarshal(answer, &p) != nil || p.Code == "" {
		return refusal(resp, answer)
	}
	named := make([]*RejectedError, len(batch))
	count := 0
	for _, e := range p.Errors {
		first, rest, _ := strings.Cut(strings.TrimPrefix(e.Pointer, "/"), "/")
		i, err := strconv.Atoi(first)
		if err != nil || i < 0 || i >= len(batch) || named[i] != nil {
			continue
		}
		if rest != "" {
			rest = "/" + rest
		}
		named[i] = &RejectedError{Verdict: "rejected", Code: e.Code, Pointer: rest, Detail: e.Detail}
		count++
	}
	if count < len(batch) && len(batch) > 1 {
		return outcome{kind: tooMuch}
	}
	if count < len(batch) {
		named[0] = &RejectedError{Verdict: "rejected", Code: p.Code, Detail: p.Detail}
	}
	for i, r := range named {
		r.ID, r.Event = idOf(batch[i]), batch[i]
	}
	return outcome{kind: settledAll, rejected: named}
}

// retryAfter reads the header: seconds or a date (RFC 9110, 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), 1<<30)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
