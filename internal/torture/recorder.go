package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/agentik-os/panda/ingest/client"
	"github.com/agentik-os/panda/internal/failpoint"
	"github.com/agentik-os/panda/schemas"
)

// recorderSpec tells a recorder's process where to send. It travels as the first
// line of its input; events follow, one a line.
type recorderSpec struct{ URL, Key, Spool string }

// Record is the process of a Recorder: it records the events of its input with
// ingest/client and a spool on disk, and writes a line "recorded <id>" for each
// that Record took, "rejected <id>" for each that the server will not take, and
// "flushed" once everything is confirmed after the input ended.
func Record(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read where to send: %w", err)
	}
	var spec recorderSpec
	if err := json.Unmarshal(first, &spec); err != nil {
		return fmt.Errorf("read where to send: %w", err)
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(out, format+"\n", args...) // nobody listens any more
	}
	c, err := client.New(client.Config{
		URL: spec.URL, APIKey: spec.Key, Source: source, SpoolDir: spec.Spool, Sync: client.SyncEach,
		FlushEvery: 20 * time.Millisecond, BatchEventsMax: 50, BackoffMin: 10 * time.Millisecond, BackoffMax: 200 * time.Millisecond,
		RetryAfterMax: time.Second, AttemptMax: attemptMax,
		OnError: func(err error) {
			if rejected := (*client.RejectedError)(nil); errors.As(err, &rejected) {
				say("rejected %s %s", rejected.ID, strings.ReplaceAll(err.Error(), "\n", " "))
			}
		},
	})
	if err != nil {
		return err
	}
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		var e client.Event
		if err == nil {
			err = json.Unmarshal(line, &e)
		}
		if err == nil {
			e.Usage = nil // of which JSON has made null
			err = c.Record(e)
		}
		if err != nil {
			return fmt.Errorf("record: %w", err)
		}
		say("recorded %s", e.ID)
	}
	if err := c.Close(ctx); err != nil {
		return err
	}
	say("flushed")
	return nil
}

// A Recorder feeds processes that record events with ingest/client. They are
// killed again and again, between an event and their spool and after it; the spool
// outlives them.
type Recorder struct {
	round  *Round
	panda  *Panda
	tenant *Tenant
	events *Loader // makes them
	rng    *rand.Rand
	spool  string

	recorded Batch // whose Record returned without an error
}

func newRecorder(r *Round, p *Panda, t *Tenant, name string, now time.Time) (*Recorder, error) {
	if r.Self == "" {
		return nil, errors.New("a recorder needs the program that runs as its process")
	}
	rng := rand.New(rand.NewPCG(r.Seed, r.Rng.Uint64()))
	rec := &Recorder{round: r, panda: p, tenant: t, rng: rng, spool: filepath.Join(r.Dir, name),
		events: &Loader{Name: name, Tenant: t, Rng: rng, Now: now, Honest: true}}
	r.HitLog(rec.hitLog())
	return rec, nil
}

func (rec *Recorder) hitLog() string { return rec.spool + ".points" }

// Run feeds processes until ctx ends.
func (rec *Recorder) Run(ctx context.Context) error {
	for turn := 0; ctx.Err() == nil; turn++ {
		point := ""
		if n := 1 + rec.rng.IntN(40); turn%3 == 0 {
			point = fmt.Sprintf("%s:kill:%d", failpoint.ClientBeforeSpool, n)
		} else if turn%3 == 1 {
			point = fmt.Sprintf("%s:kill:%d", failpoint.ClientAfterSpool, n)
		}
		const eventsMax = 60
		if err := rec.process(ctx, point, eventsMax); err != nil {
			return err
		}
		if turn%2 == 0 {
			if err := rec.tear(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Finish runs a last process that sends what the spool holds. What was recorded is
// acknowledged then: the client's promise.
func (rec *Recorder) Finish(ctx context.Context) error {
	if err := rec.process(ctx, "", 0); err != nil {
		return err
	}
	rec.tenant.Book.OK(rec.recorded, 0)
	return nil
}

// process runs one process, gives it events, and returns when it has ended: by
// itself after it has sent all, at a failpoint, or killed.
func (rec *Recorder) process(ctx context.Context, point string, events int) error {
	cmd := exec.Command(rec.round.Self, "record")
	cmd.Env = append(os.Environ(), "PANDA_FAILPOINT="+point, "PANDA_FAILPOINT_LOG="+rec.hitLog())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start recorder: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start recorder: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start recorder: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		defer in.Close()
		rec.feed(ctx, in, events)
	}()
	flushed, wrong := rec.listen(out)
	<-fed
	err = cmd.Wait()
	died := cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
	switch {
	case wrong != nil:
		return wrong
	case died && point != "":
		rec.round.Killed("client killed at a failpoint")
	case ctx.Err() != nil && events > 0:
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil || !flushed:
		return fmt.Errorf("recorder ended: %w: %s", err, complaint.String())
	}
	return nil
}

// feed writes events to a process until it dies. Each is noted before: from then
// on it may count.
func (rec *Recorder) feed(ctx context.Context, in io.Writer, events int) {
	enc := json.NewEncoder(in)
	if enc.Encode(recorderSpec{rec.panda.URL(), rec.tenant.Key, rec.spool}) != nil {
		return
	}
	for range events {
		e := rec.events.event()
		rec.tenant.Book.Sending(Batch{e})
		const pace = 2 * time.Millisecond
		if enc.Encode(clientEvent(&e)) != nil || !rest(ctx, pace) {
			return
		}
	}
}

// listen reads what a process says until it ends.
func (rec *Recorder) listen(out io.Reader) (flushed bool, wrong error) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "recorded":
			rec.tenant.Book.mu.Lock()
			if e := rec.tenant.Book.events[key(source, rest)]; e != nil {
				rec.recorded = append(rec.recorded, e.Event)
			}
			rec.tenant.Book.mu.Unlock()
		case "flushed":
			flushed = true
		default:
			wrong = fmt.Errorf("%w: the client said: %s", ErrFound, lines.Text())
		}
	}
	return flushed, wrong
}

// tear appends half a record to the newest segment, as a power cut in the middle of
// a write leaves it.
func (rec *Recorder) tear() error {
	names, err := filepath.Glob(filepath.Join(rec.spool, "*.segment"))
	if err != nil || len(names) == 0 {
		return err
	}
	f, err := os.OpenFile(names[len(names)-1], os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("tear spool: %w", err)
	}
	_, err = f.Write([]byte{200, 0, 0, 0, 1, 2, 3, 4, '{', '"'}) // 200 bytes were to follow
	rec.round.Fault("spool torn")
	return errors.Join(err, f.Close())
}

func clientEvent(e *Event) client.Event {
	c := client.Event{ID: e.ID, Source: e.Source, Type: e.Type, Time: e.At, Model: e.Model, Department: e.Department,
		Tokens: e.Adds.Tokens}
	if e.Type == schemas.TypeLLMCall {
		c.Provider = "house"
		for _, p := range prices() {
			if p.model == e.Model {
				c.Provider = "anthropic"
			}
		}
	}
	return c
}
