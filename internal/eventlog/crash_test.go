package eventlog_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/internal/eventlog"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/eventlog/servers"
	"github.com/agentik-os/panda/schemas"
)

// childEnv makes the test binary another program: one that dies in the middle.
const childEnv = "PANDA_EVENTLOG_TEST_CHILD"

// child is what that program does. The other role of this binary is a server of a
// cluster, see servers.ConfigFromEnv.
type child struct {
	Role string // "append" or "lazy"
	Dir  string
	From int // the first number that they append
	Pad  int // a number is padded with spaces to so many bytes
}

func TestMain(m *testing.M) {
	if cfg, asked, err := servers.ConfigFromEnv(os.Getenv); asked {
		if err == nil {
			err = servers.Serve(context.Background(), cfg, os.Stdin, os.Stdout)
		}
		fmt.Fprintln(os.Stderr, "log server:", err)
		os.Exit(1)
	}
	if text := os.Getenv(childEnv); text != "" {
		var c child
		err := json.Unmarshal([]byte(text), &c)
		if err == nil {
			err = c.run()
		}
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func (c child) run() error {
	cfg := eventlog.Config{DataDir: c.Dir, UsageMaxBytes: 1 << 30}
	log, err := eventlog.Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	if c.Role == "lazy" {
		return errors.Join(log.Close(), c.lazy())
	}
	// 32 on the way at any time; each acknowledged position goes out at once.
	futures := make(chan *eventlog.Future, 32)
	go func() {
		defer close(futures)
		for i := c.From; ; i++ {
			f, err := log.AppendAsync(context.Background(), eventlog.Message{
				Subject: "envelope.0.acme", ID: strconv.Itoa(i), Data: fmt.Appendf(nil, "%-*d", c.Pad, i),
			})
			if err != nil {
				return
			}
			futures <- f
		}
	}()
	for f := range futures {
		ack, err := f.Wait(context.Background())
		if err != nil {
			return err
		}
		fmt.Println(ack.Seq)
	}
	return errors.New("no more messages")
}

// lazy appends as "append" does, to the same stream, through a server with the
// settings that a server has if nobody asks for others: a write is fsynced within
// two minutes.
func (c child) lazy() error {
	srv, err := server.NewServer(&server.Options{
		ServerName: "panda", DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: filepath.Join(c.Dir, "store"), SyncInterval: 2 * time.Minute, JetStreamMaxStore: 8 << 30,
	})
	if err != nil {
		return err
	}
	srv.Start()
	conn, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	for i := c.From; ; i++ {
		ack, err := js.Publish(context.Background(), "envelope.0.acme", []byte(strconv.Itoa(i)), jetstream.WithMsgID(strconv.Itoa(i)))
		if err != nil {
			return err
		}
		fmt.Println(ack.Sequence)
	}
}

// start runs the child. It dies with the test at the latest.
func (c child) start(t *testing.T) (*exec.Cmd, io.Reader) {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	return cmd, out
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// What was acknowledged is there after the process was killed between any two
// instructions. That the disk itself loses power is TestPowerCut.
func TestKilledLogKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	acked := 0
	for range 3 {
		cmd, out := child{Dir: dir}.start(t)
		var seqs []uint64
		for lines := bufio.NewScanner(out); lines.Scan(); {
			seq, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if seqs = append(seqs, seq); len(seqs) == 300 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		if len(seqs) < 300 {
			t.Fatalf("the child ended after %d messages", len(seqs))
		}
		acked = max(acked, int(seqs[len(seqs)-1]))
	}
	log := eventlogtest.OpenConfig(t, eventlog.Config{DataDir: dir})
	state, err := log.State(t.Context(), schemas.StreamUsage)
	if err != nil {
		t.Fatal(err)
	}
	if state.First != 1 || state.Last < uint64(acked) || state.Messages != state.Last {
		t.Fatalf("state = %+v, want 1 to at least %d without holes", state, acked)
	}
	r, err := log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage, From: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// The children of later rounds sent what the first had sent, with the same
	// ids, so every number is there once, in order.
	expect(t, r, 0, int(state.Last))
}

// publisher appends numbers, each again with the same id until it is
// acknowledged, and reports the longest it waited for one.
func publisher(ctx context.Context, log *eventlog.Log, acked chan<- int) (longest time.Duration, err error) {
	defer close(acked)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		m := eventlog.Message{Subject: "envelope.0.acme", ID: "n" + strconv.Itoa(i), Data: []byte(strconv.Itoa(i))}
		start := time.Now()
		for {
			_, err := log.Append(context.WithoutCancel(ctx), m)
			if err == nil {
				break
			}
			if !errors.Is(err, schemas.ErrUnavailable) {
				return longest, err
			}
			<-again.C
		}
		longest = max(longest, time.Since(start))
		acked <- i
	}
	return longest, nil
}

// A leader that is killed, and one that is stopped and wakes up again believing
// that it still leads, lose nothing, store nothing twice, and leave no gap in
// what a reader sees.
func TestClusterSurvivesItsLeader(t *testing.T) {
	cluster, err := servers.Start(t.Context(), servers.ClusterConfig{Command: []string{os.Args[0]}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	log := eventlogtest.OpenConfig(t, eventlog.Config{URL: cluster.URL()})
	r, err := log.Read(t.Context(), eventlog.ReadConfig{Stream: schemas.StreamUsage, From: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	acked := make(chan int)
	ended := make(chan error, 1)
	go func() {
		longest, err := publisher(ctx, log, acked)
		t.Logf("longest wait for an acknowledgement: %s", longest)
		ended <- err
	}()
	last := 0
	more := func(n int) {
		t.Helper()
		deadline := time.After(2 * patience)
		for range n {
			select {
			case i, open := <-acked:
				if !open {
					t.Fatalf("the publisher ended: %v", <-ended)
				}
				last = i
			case <-deadline:
				t.Fatal("no acknowledgement")
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	more(50)
	leader, err := cluster.Leader(t.Context(), schemas.StreamUsage)
	must(err)
	cluster.Kill(leader)
	more(50)
	next, err := cluster.Leader(t.Context(), schemas.StreamUsage)
	must(err)
	must(cluster.Start(leader))
	more(50)
	must(cluster.Pause(next))
	more(50)
	_, err = cluster.Leader(t.Context(), schemas.StreamUsage)
	must(err)
	must(cluster.Resume(next))
	more(50)
	stop()
	for i := range acked {
		last = i
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	expect(t, r, 0, last+1)
	// Nothing was stored twice either, and the replicas agree.
	state, err := log.State(t.Context(), schemas.StreamUsage)
	if err != nil || state.Messages != uint64(last+1) {
		t.Fatalf("the stream holds %d messages, %v; want %d", state.Messages, err, last+1)
	}
	copied, err := cluster.SameCopies(t.Context(), schemas.StreamUsage)
	if err != nil || copied.Messages != uint64(last+1) {
		t.Fatalf("each server holds %s, %v; want %d messages", copied, err, last+1)
	}
}
