package servers

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Copy is what one server has on disk of a stream.
type Copy struct {
	First, Last, Messages uint64
	// Hash is the SHA-256 over position, subject and payload of every message.
	Hash string
}

// String is for reports.
func (c Copy) String() string {
	return fmt.Sprintf("%d to %d, %d messages, hash %.12s", c.First, c.Last, c.Messages, c.Hash)
}

// ReadStore reads a stream from the store of a server that does not run, through
// a server of its own that has neither peers nor clients. A server that runs
// cannot be asked: reads are answered by the leader, wherever they are sent. The
// store is read from a duplicate, because opening one writes to it.
func ReadStore(ctx context.Context, dir, stream string) (_ Copy, err error) {
	duplicate, err := os.MkdirTemp("", "log-copy-*")
	if err != nil {
		return Copy{}, fmt.Errorf("read store %s: %w", dir, err)
	}
	defer func() { _ = os.RemoveAll(duplicate) }() // a temporary directory
	if err := os.CopyFS(duplicate, os.DirFS(dir)); err != nil {
		return Copy{}, fmt.Errorf("read store %s: %w", dir, err)
	}
	if err := makeOnly(filepath.Join(duplicate, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams", stream)); err != nil {
		return Copy{}, fmt.Errorf("read store %s: %w", dir, err)
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "reader", DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: duplicate, JetStreamMaxStore: 1 << 40, MaxPayload: 2 << 20,
	})
	if err != nil {
		return Copy{}, fmt.Errorf("read store %s: %w", dir, err)
	}
	defer func() { srv.Shutdown(); srv.WaitForShutdown() }()
	srv.Start()
	conn, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return Copy{}, fmt.Errorf("read store %s: %w", dir, err)
	}
	defer conn.Close()
	c, err := readStream(ctx, conn, stream)
	if err != nil {
		return Copy{}, fmt.Errorf("read store %s: %w", dir, err)
	}
	return c, nil
}

// makeOnly tells a stream's copy that there are no others, because a server that
// has no peers opens none that has. The checksum beside the settings is the
// library's: HighwayHash with the SHA-256 of the stream's name as key.
func makeOnly(dir string) error {
	settings := filepath.Join(dir, server.JetStreamMetaFile)
	text, err := os.ReadFile(settings)
	if err != nil {
		return err
	}
	var info server.FileStreamInfo
	if err := json.Unmarshal(text, &info); err != nil {
		return fmt.Errorf("read %s: %w", settings, err)
	}
	info.Replicas = 1
	if text, err = json.Marshal(info); err != nil {
		return err
	}
	key := sha256.Sum256([]byte(filepath.Base(dir)))
	hash, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return err
	}
	_, _ = hash.Write(text) // a hash takes everything
	if err := os.WriteFile(settings, text, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, server.JetStreamMetaFileSum), []byte(hex.EncodeToString(hash.Sum(nil))), 0o600)
}

func readStream(ctx context.Context, conn *nats.Conn, name string) (Copy, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return Copy{}, err
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return Copy{}, fmt.Errorf("open stream %s: %w", name, err)
	}
	state := stream.CachedInfo().State
	c := Copy{First: state.FirstSeq, Last: state.LastSeq, Messages: state.Msgs}
	hash := sha256.New()
	number := func(n uint64) { _ = binary.Write(hash, binary.BigEndian, n) } // a hash takes everything
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return Copy{}, fmt.Errorf("read stream %s: %w", name, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return Copy{}, fmt.Errorf("read stream %s: %w", name, err)
	}
	defer messages.Stop()
	for range c.Messages {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return Copy{}, fmt.Errorf("read stream %s: %w", name, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return Copy{}, fmt.Errorf("read stream %s: %w", name, err)
		}
		number(meta.Sequence.Stream)
		number(uint64(len(m.Subject())))
		hash.Write([]byte(m.Subject()))
		number(uint64(len(m.Data())))
		hash.Write(m.Data())
	}
	c.Hash = hex.EncodeToString(hash.Sum(nil))
	return c, nil
}
