package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/agentik-os/panda/internal/durable"
)

// What the engine says of an INSERT is not all there is to know. Measured with a disk
// that fails: it passes over a write of a part's file that ended with EIO or ENOSPC,
// and over a failed fsync of the part's directory, and answers that all is well; and
// it does not fsync the table's directory after it has renamed the part into it, as
// POSIX asks for (ext4 and XFS write the rename to their journal with the part's own
// fsync). So before an INSERT is answered, the sizes of the files of its parts are
// held against what the engine noted of them, and both directories are fsynced.

// clockSlack is how far a file's time may lie before the clock: the kernel stamps
// files with the time of its last tick.
const clockSlack = 100 * time.Millisecond

// settledKinds are the statements that make or rename files that have to stay.
var settledKinds = words("INSERT CREATE ALTER RENAME EXCHANGE ATTACH DETACH DROP TRUNCATE OPTIMIZE")

// settle makes sure that what a statement wrote is whole and durable. since is when
// it began.
func (h *handler) settle(c *conn, st *statement, since time.Time) error {
	if st.kind != "INSERT" {
		return syncTree(h.cfg.DataDir)
	}
	database, table := st.database, st.table
	if table == "" {
		return nil // a function, such as a file: nothing of ours
	}
	dir := filepath.Join(h.cfg.DataDir, "data", database, table)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a table without files
	}
	if err != nil {
		return diskError("look at the parts of "+table, err)
	}
	for _, entry := range entries {
		if !isInsertedPart(entry.Name()) {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && changed(info).Before(since.Add(-clockSlack)) {
			continue // merged away meanwhile, or older
		}
		part := filepath.Join(dir, entry.Name())
		switch err = wholePart(part); {
		case errors.Is(err, errShort):
			drop := "ALTER TABLE " + quoteName(database) + "." + quoteName(table) + " DETACH PART " + quoteString(entry.Name())
			if _, dropErr := c.exec(drop, "Null", nil, 0); dropErr != nil {
				err = errors.Join(err, fmt.Errorf("set it aside: %w", dropErr))
			}
			return diskError("write part "+entry.Name()+" of "+table, err)
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil:
			err = durable.SyncDir(part)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return diskError("settle part "+entry.Name()+" of "+table, err)
		}
	}
	if err := durable.SyncDir(dir); err != nil {
		return diskError("fsync the directory of "+table, err)
	}
	return nil
}

// changed is when a file or its name was last changed. The engine sets the time of
// modification itself, in whole seconds.
func changed(info fs.FileInfo) time.Time {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(stat.Ctim.Unix())
	}
	return time.Now() // of no known age: it is looked at
}

// diskError is an error of the engine that the caller may repeat the statement at.
func diskError(what string, err error) error {
	return exceptionf(codeCannotWrite, "CANNOT_WRITE_TO_FILE_DESCRIPTOR", "%s: %v", what, err)
}

// isInsertedPart reports whether a name is that of a part that no merge has made:
// partition_min_max_level, of level 0.
func isInsertedPart(name string) bool {
	return strings.HasSuffix(name, "_0") && strings.Count(name, "_") == 3 && !strings.HasPrefix(name, "tmp")
}

// insertTarget returns the table of an INSERT, "" for a function. Either name may be a
// parameter: {database:Identifier}.
func insertTarget(sql string, params []param) (database, table string) {
	tokens := lex(sql, 24)
	if len(tokens) > 2 && tokens[2].is("TABLE") {
		tokens = append(tokens[:2:2], tokens[3:]...)
	}
	if len(tokens) < 3 || !tokens[1].is("INTO") || tokens[2].is("FUNCTION") {
		return "", ""
	}
	first, rest := takeName(tokens[2:], params)
	if first != "" && len(rest) > 1 && rest[0].isPunct(".") {
		if second, _ := takeName(rest[1:], params); second != "" {
			return first, second
		}
	}
	return "", first
}

// takeName returns the name that tokens begin with, "" if there is none, and what
// follows it.
func takeName(tokens []token, params []param) (name string, rest []token) {
	switch {
	case len(tokens) > 0 && (tokens[0].kind == tokenWord || tokens[0].kind == tokenQuoted):
		return tokens[0].text, tokens[1:]
	case len(tokens) > 4 && tokens[0].isPunct("{") && tokens[2].isPunct(":") && tokens[3].is("Identifier") && tokens[4].isPunct("}"):
		for _, p := range params {
			if p.name == tokens[1].text {
				return p.value, tokens[5:]
			}
		}
	}
	return "", tokens
}

var errShort = errors.New("its files are not what was written")

// wholePart compares the sizes of a part's files with its checksums.txt. A failed
// write leaves a file shorter than that; whether the bytes are right is for whoever
// reads them to see, who has the checksums.
func wholePart(part string) error {
	text, err := os.ReadFile(filepath.Join(part, "checksums.txt"))
	if err != nil {
		return err
	}
	sizes, err := checksumSizes(text)
	if err != nil {
		return fmt.Errorf("%w: checksums.txt: %w", errShort, err)
	}
	for name, want := range sizes {
		info, err := os.Stat(filepath.Join(part, name))
		if errors.Is(err, fs.ErrNotExist) {
			if _, gone := os.Stat(part); errors.Is(gone, fs.ErrNotExist) {
				return gone // the part was merged away meanwhile
			}
			return fmt.Errorf("%w: %s is missing", errShort, name)
		}
		if err != nil {
			return err
		}
		if info.Size() != want {
			return fmt.Errorf("%w: %s has %d bytes, want %d", errShort, name, info.Size(), want)
		}
	}
	return nil
}

// checksumSizes reads the sizes out of a checksums.txt: a line with the version, 4,
// then compressed blocks with a count and, per file, its name, size, hash, and, of a
// compressed file, the size and hash of its content.
func checksumSizes(text []byte) (map[string]int64, error) {
	const head = "checksums format version: 4\n"
	body, ok := bytes.CutPrefix(text, []byte(head))
	if !ok {
		return nil, fmt.Errorf("begins with %.40q", text)
	}
	const hashBytes, filesMax = 16, 1 << 16
	raw, err := io.ReadAll(nativeDecoder(bytes.NewReader(body)))
	if err != nil {
		return nil, err
	}
	r := bytes.NewReader(raw)
	n, err := binary.ReadUvarint(r)
	if err != nil || n == 0 || n > filesMax {
		return nil, fmt.Errorf("%d files: %w", n, errors.Join(err, io.ErrUnexpectedEOF))
	}
	sizes := make(map[string]int64, n)
	for range n {
		length, err := binary.ReadUvarint(r)
		if err != nil || length > uint64(r.Len()) {
			return nil, io.ErrUnexpectedEOF
		}
		name := make([]byte, length)
		_, err = io.ReadFull(r, name)
		size, err2 := binary.ReadUvarint(r)
		_, err3 := r.Seek(hashBytes, io.SeekCurrent)
		compressed, err4 := r.ReadByte()
		if err := errors.Join(err, err2, err3, err4); err != nil {
			return nil, err
		}
		if compressed != 0 {
			_, err = binary.ReadUvarint(r)
			_, err2 = r.Seek(hashBytes, io.SeekCurrent)
			if err := errors.Join(err, err2); err != nil {
				return nil, err
			}
		}
		sizes[string(name)] = int64(size)
	}
	return sizes, nil
}

// syncTree fsyncs every directory above the parts: what a statement that makes or
// changes tables has renamed into place. Such statements are rare.
func syncTree(root string) error {
	const tableDepth = 3 // store/xyz/uuid
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.IsDir() {
			return err
		}
		below, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if err := durable.SyncDir(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if strings.Count(below, string(filepath.Separator)) >= tableDepth-1 {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		return diskError("fsync the directories of tables", err)
	}
	return nil
}
