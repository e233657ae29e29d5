package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/internal/durable"
	"github.com/agentik-os/panda/internal/failpoint"
)

const (
	// mendWait is how long the server is left alone after its store failed before it
	// is started again, doubled up to mendWaitMax while that does not help.
	mendWait    = 250 * time.Millisecond
	mendWaitMax = 10 * time.Second
	// mendLook is how often it is asked whether its store still runs.
	mendLook = time.Second
	// mendBytesMin must be free on the disk before the server is started again: two
	// block files, and some for what it notes besides.
	mendBytesMin = 32 << 20
)

// mend starts the server inside this process again when its store has failed, until
// ctx ends. A server that met one failed write or fsync does not write to that
// stream any more, whatever the disk does afterwards.
func (l *Log) mend(ctx context.Context) {
	look := time.NewTicker(mendLook)
	defer look.Stop()
	pause := mendWait
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.outage.began:
		case <-look.C:
			if l.broker.server().JetStreamEnabled() {
				if l.outage.reason() == nil {
					pause = max(pause/2, mendWait) // it has been well
				}
				continue
			}
			l.outage.begin(fmt.Errorf("%w: the server has stopped its store", errStore))
		}
		erasing := errors.Is(l.outage.reason(), errErasing)
		if !erasing {
			l.log.Error().Err(l.outage.reason()).Msg("the log's store failed; its server is started again")
		}
		for {
			if wait(ctx, pause) != nil {
				return
			}
			pause = min(2*pause, mendWaitMax)
			err := l.restart(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			l.log.Error().Err(err).Dur("again_in", pause).Msg("the log's server could not be started again")
		}
		if erasing {
			continue
		}
		failpoint.Reached(failpoint.LogReopened)
		l.log.Warn().Msg("the log's server runs again")
	}
}

// restart starts the server again, on the same store, port and lock, and returns
// when it takes messages. The connections inside this process come back by
// themselves: readers go on after the last record they handed out, and leases keep
// their holder if they are renewed in time.
func (l *Log) restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.OpenTimeout)
	defer cancel()
	free, err := diskOf(l.cfg.DataDir)
	if err != nil {
		return err
	}
	if free < mendBytesMin {
		return fmt.Errorf("the disk of %s has %d bytes left, %d are needed", l.cfg.DataDir, free, mendBytesMin)
	}
	l.broker.shutdown()
	job := l.scrubbing.Load()
	if job != nil {
		if err := job.run(l.cfg.DataDir); err != nil {
			return err
		}
	}
	if err := settle(l.cfg.DataDir); err != nil {
		return err
	}
	// What was said so far is of the server that is gone.
	select {
	case <-l.outage.began:
	default:
	}
	l.outage.over()
	err = l.broker.start(ctx, l.cfg, l.outage)
	if err == nil {
		err = l.openHome()
	}
	if err == nil {
		// The client dials until it reaches the new server.
		err = l.retry(ctx, l.CheckSettings)
	}
	if err != nil {
		l.outage.begin(fmt.Errorf("%w: %w", errStore, err))
		return err
	}
	if job != nil && l.scrubbing.CompareAndSwap(job, nil) {
		close(job.done)
	}
	return l.outage.reason()
}

// settle makes all that the store's files say durable, before anybody reads it.
//
// A server that was killed, or whose fsync failed, has written messages that were
// not acknowledged. They are readable, because the kernel has them, but a loss of
// power may take them away, and after a failed fsync no later fsync would write them:
// the kernel counts them as clean. The server would acknowledge such a message when
// its sender repeats it, as a duplicate, without writing anything; and a reader could
// count what the log loses afterwards. So the newest block files of each stream are
// written over with what they hold, and fsynced. Older ones were fsynced when their
// successors were begun.
func settle(dataDir string) error {
	const newest = 2
	streams, err := filepath.Glob(filepath.Join(dataDir, "store", "jetstream", "*", "streams", "*", "msgs"))
	if err != nil {
		return fmt.Errorf("settle the store: %w", err)
	}
	for _, dir := range streams {
		blocks, err := filepath.Glob(filepath.Join(dir, "*.blk"))
		if err != nil {
			return fmt.Errorf("settle the store: %w", err)
		}
		slices.SortFunc(blocks, func(a, b string) int { return blockNumber(a) - blockNumber(b) })
		for _, path := range blocks[max(0, len(blocks)-newest):] {
			if err := rewrite(path); err != nil {
				return fmt.Errorf("settle the store: %w", err)
			}
		}
		if err := durable.SyncDir(dir); err != nil {
			return fmt.Errorf("settle the store: %w", err)
		}
	}
	return nil
}

// blockNumber is the number in the name of a block file, which counts from 1.
func blockNumber(path string) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), ".blk"))
	return n
}

// rewrite writes a block file's bytes over themselves and fsyncs it, unless it is
// damaged. It needs no room, and a crash in the middle changes nothing.
func rewrite(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	block, err := io.ReadAll(f)
	if err == nil {
		err = undamaged(path, block)
	}
	if err == nil {
		_, err = f.WriteAt(block, 0)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// InProcessConn is how the client reaches the server that runs now.
func (b *broker) InProcessConn() (net.Conn, error) { return b.server().InProcessConn() }
