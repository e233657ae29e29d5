package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/schemas"
)

// streamConfigs are the streams as they must be.
func streamConfigs(cfg Config) []jetstream.StreamConfig {
	common := jetstream.StreamConfig{
		Retention: jetstream.LimitsPolicy,
		Storage:   jetstream.FileStorage,
		// The default throws the oldest messages away to make room, read or not.
		Discard:    jetstream.DiscardNew,
		Replicas:   cfg.Replicas,
		Duplicates: cfg.DuplicateWindow,
		MaxBytes:   -1,
		MaxMsgs:    -1,
		// Headers count, so the stream refuses what MessageBytesMax refuses.
		MaxMsgSize:        MessageBytesMax,
		MaxMsgsPerSubject: -1,
		MaxConsumers:      -1,
		// A direct read may be answered by a replica that is behind.
		AllowDirect: false,
		// Erasing a tenant purges its subject.
		DenyDelete: false,
		DenyPurge:  false,
	}
	var streams []jetstream.StreamConfig
	for _, shard := range schemas.Shards(cfg.Shards) {
		usage := common
		usage.Name = shard.Stream()
		usage.Description = "Every usage event, in the order that decides verdicts."
		usage.Subjects = shard.Subjects()
		// No age limit: the broker would go by the clock alone, and one that jumps ahead
		// would take away what nobody has counted yet. See Trim.
		usage.MaxBytes = cfg.UsageMaxBytes / int64(max(cfg.Shards, 1))
		if shard.Split() {
			usage.Metadata = map[string]string{metadataShards: strconv.FormatUint(uint64(cfg.Shards), 10)}
		}
		streams = append(streams, usage)
	}

	control := common
	control.Name = schemas.StreamControl
	control.Description = "What people decided about tenants, keys and prices. Kept for ever."
	control.Subjects = []string{schemas.SubjectsControl}

	decisions := common
	decisions.Name = schemas.StreamDecisions
	decisions.Description = "Facts that may exist once: one message per subject, the first stands."
	decisions.Subjects = []string{schemas.SubjectsDecisions}
	decisions.MaxMsgsPerSubject = 1
	decisions.DiscardNewPerSubject = true
	return append(streams, control, decisions)
}

// metadataShards is, in the metadata of a shard's stream, how many shards there are.
const metadataShards = "panda.shards"

// decideShards finds out how many shards the log has, and holds what was asked for
// against it. Tenants would be looked for where they are not, if it could change.
func (l *Log) decideShards(ctx context.Context) error {
	var found uint32
	err := l.retry(ctx, func(ctx context.Context) error {
		var err error
		found, err = l.shardsMade(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("find out how many shards there are: %w", err)
	}
	switch {
	case found == 0: // a new log
		l.cfg.Shards = max(l.cfg.Shards, 1)
	case l.cfg.Shards != 0 && l.cfg.Shards != found:
		return fmt.Errorf("%w: shards are %d for ever, which was decided when the log was made, and %d are asked for; start with --shards %d, or without it",
			ErrSetting, found, l.cfg.Shards, found)
	default:
		l.cfg.Shards = found
	}
	return nil
}

// shardsMade returns how many shards the streams that exist are of, 0 if there are none.
func (l *Log) shardsMade(ctx context.Context) (uint32, error) {
	if _, err := l.js.Stream(ctx, schemas.StreamUsage); err == nil {
		return 1, nil
	} else if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, classify(err)
	}
	first := schemas.Shard{Of: 2}.Stream()
	stream, err := l.js.Stream(ctx, first)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, classify(err)
	}
	text := stream.CachedInfo().Config.Metadata[metadataShards]
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n < 2 || n > schemas.ShardsMax {
		return 0, fmt.Errorf("%w: stream %s says in its metadata that there are %q shards", ErrSetting, first, text)
	}
	return uint32(n), nil
}

// Shards returns how many shards the log has.
func (l *Log) Shards() uint32 { return l.cfg.Shards }

func (l *Log) ensureStreams(ctx context.Context) error {
	if err := l.decideShards(ctx); err != nil {
		return err
	}
	for _, want := range streamConfigs(l.cfg) {
		if err := l.ensureStream(ctx, want); err != nil {
			return err
		}
	}
	return nil
}

// ensureStream makes a stream or changes it to what it must be, then reads back
// what the broker runs with. A cluster that is still electing is tried again
// until ctx ends.
func (l *Log) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	var got jetstream.StreamConfig
	err := l.retry(ctx, func(ctx context.Context) error {
		stream, err := l.js.CreateOrUpdateStream(ctx, want)
		if err != nil {
			return classify(err)
		}
		got = stream.CachedInfo().Config
		return nil
	})
	if err != nil {
		return l.explainStream(ctx, want, err)
	}
	if diff := differences(want, got); diff != "" {
		return fmt.Errorf("%w: stream %s: %s", ErrSetting, want.Name, diff)
	}
	return nil
}

// CheckSettings asks the broker whether it still runs with the settings that the
// package's promises hang on: an operator can change a stream that is in use. The
// error matches ErrSetting and names the setting, or schemas.ErrUnavailable.
func (l *Log) CheckSettings(ctx context.Context) error {
	if l.broker != nil {
		if err := l.broker.assertSync(); err != nil {
			return err
		}
	}
	for _, want := range streamConfigs(l.cfg) {
		stream, err := l.js.Stream(ctx, want.Name)
		if err != nil {
			return fmt.Errorf("look up stream %s: %w", want.Name, classify(err))
		}
		if diff := differences(want, stream.CachedInfo().Config); diff != "" {
			return fmt.Errorf("%w: stream %s: %s", ErrSetting, want.Name, diff)
		}
	}
	return nil
}

// explainStream names the settings that stood in the way of an update.
func (l *Log) explainStream(ctx context.Context, want jetstream.StreamConfig, cause error) error {
	if stream, err := l.js.Stream(ctx, want.Name); err == nil {
		if diff := differences(want, stream.CachedInfo().Config); diff != "" {
			return fmt.Errorf("%w: stream %s exists with other settings that cannot be changed: %s: %w",
				ErrSetting, want.Name, diff, cause)
		}
	}
	return fmt.Errorf("make stream %s with %d replicas: %w", want.Name, want.Replicas, cause)
}

// differences lists the settings that promises hang on and that are not as
// wanted, "" if there are none.
func differences(want, got jetstream.StreamConfig) string {
	var out []string
	compare := func(setting string, want, got any) {
		if want != got {
			out = append(out, fmt.Sprintf("%s is %v, want %v", setting, got, want))
		}
	}
	slices.Sort(want.Subjects)
	slices.Sort(got.Subjects)
	compare("subjects", strings.Join(want.Subjects, " "), strings.Join(got.Subjects, " "))
	compare("retention", want.Retention, got.Retention)
	compare("storage", want.Storage, got.Storage)
	compare("discard", want.Discard, got.Discard)
	compare("discard_new_per_subject", want.DiscardNewPerSubject, got.DiscardNewPerSubject)
	compare("num_replicas", want.Replicas, got.Replicas)
	compare("max_age", want.MaxAge, got.MaxAge)
	compare("max_bytes", want.MaxBytes, got.MaxBytes)
	compare("max_msgs", want.MaxMsgs, got.MaxMsgs)
	compare("max_msg_size", want.MaxMsgSize, got.MaxMsgSize)
	compare("max_msgs_per_subject", want.MaxMsgsPerSubject, got.MaxMsgsPerSubject)
	compare("duplicate_window", want.Duplicates, got.Duplicates)
	compare("allow_direct", want.AllowDirect, got.AllowDirect)
	compare("deny_delete", want.DenyDelete, got.DenyDelete)
	compare("deny_purge", want.DenyPurge, got.DenyPurge)
	compare("no_ack", want.NoAck, got.NoAck)
	compare("sealed", want.Sealed, got.Sealed)
	compare("mirrored", want.Mirror != nil, got.Mirror != nil)
	compare("allow_rollup_hdrs", want.AllowRollup, got.AllowRollup)
	compare("allow_msg_ttl", want.AllowMsgTTL, got.AllowMsgTTL)
	compare("persist_mode", want.PersistMode, got.PersistMode)
	return strings.Join(out, ", ")
}

// retry is the package's retry with each try bounded by AckTimeout: a cluster
// without a leader does not answer at all.
func (l *Log) retry(ctx context.Context, f func(context.Context) error) error {
	return retry(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, l.cfg.AckTimeout)
		defer cancel()
		return f(ctx)
	})
}

// retry calls f until it succeeds, fails for another reason than
// unavailability, or ctx ends. It returns the last error that says more than
// that time ran out.
func retry(ctx context.Context, f func() error) error {
	const pauseMax = 2 * time.Second
	var telling error
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, pauseMax) {
		err := f()
		if !errors.Is(err, schemas.ErrUnavailable) || errors.Is(err, ErrFull) || errors.Is(err, ErrClosed) {
			return err
		}
		if telling == nil || !errors.Is(err, context.DeadlineExceeded) {
			telling = err
		}
		if wait(ctx, pause) != nil {
			return telling
		}
	}
}

// wait pauses for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// defaultUsageBytes is 60 % of what the disk could give the log: what is free
// and what the log has already.
func defaultUsageBytes(dir string) (int64, error) {
	free, err := diskOf(dir)
	if err != nil {
		return 0, err
	}
	var used int64
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			used += info.Size()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("measure data directory: %w", err)
	}
	const step = 1 << 28
	return max((free+used)/10*6/step*step, step), nil
}

// redact takes passwords out of addresses.
func redact(addresses string) string {
	parts := strings.Split(addresses, ",")
	for i, part := range parts {
		if u, err := url.Parse(strings.TrimSpace(part)); err == nil {
			parts[i] = u.Redacted()
		}
	}
	return strings.Join(parts, ",")
}
