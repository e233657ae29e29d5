package warehouse

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/agentik-os/panda/internal/warehouse/engine"
)

// Insert writes one block: all columns have the same number of values, at most
// Config.InsertRowsMax. No rows is no insert.
//
// When it returns nil the rows are in the table and, with the table settings that
// Migrate asserts, fsynced. When it returns an error they may be there or not;
// writing the same rows again is the caller's way out. The block is atomic within
// one partition; a block over several partitions is atomic in each.
func (db *DB) Insert(ctx context.Context, table string, cols ...Column) error {
	if err := db.ready(); err != nil {
		return err
	}
	rows, err := blockRows(cols)
	if err != nil {
		return fmt.Errorf("insert into %s: %w", table, err)
	}
	if rows == 0 {
		return nil
	}
	if rows > db.cfg.InsertRowsMax {
		return fmt.Errorf("insert into %s: %w", table, usagef("%d rows, the limit is %d", rows, db.cfg.InsertRowsMax))
	}
	statement, err := insertStatement(table, cols)
	if err != nil {
		return err
	}
	// An insert that hangs may be applied yet; its repeat is the same rows.
	ctx, cancel := context.WithTimeout(ctx, db.cfg.InsertMax)
	defer cancel()
	if db.blocks != nil {
		err = db.blocks.send(ctx, statement, cols)
	} else {
		err = db.insertBatch(ctx, statement, cols)
	}
	if err != nil {
		return fmt.Errorf("insert into %s: %w", table, classify(err))
	}
	return nil
}

func insertStatement(table string, cols []Column) (string, error) {
	for _, part := range strings.Split(table, ".") {
		if !isName(part) {
			return "", usagef("%q is not a table name", table)
		}
	}
	names := make([]string, len(cols))
	for i, c := range cols {
		if !isName(c.Name) {
			return "", usagef("%q is not a column name", c.Name)
		}
		names[i] = "`" + c.Name + "`"
	}
	return "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ")", nil
}

// insertBatch writes a block with the driver, the way of the native protocol.
func (db *DB) insertBatch(ctx context.Context, statement string, cols []Column) error {
	batch, err := db.write.PrepareBatch(ctx, statement)
	if err != nil {
		return fmt.Errorf("prepare batch: %w", err)
	}
	defer batch.Close()
	for i, c := range cols {
		if err := batch.Column(i).Append(driverValues(c.Values)); err != nil {
			return fmt.Errorf("column %s: %w", c.Name, errors.Join(err, batch.Abort()))
		}
	}
	return batch.Send()
}

// blockSender posts native blocks over ClickHouse's HTTP interface.
type blockSender struct {
	client  *http.Client
	url     url.URL
	query   url.Values
	user    *url.Userinfo
	buffers sync.Pool
}

// blockKeepMax is the largest encode buffer that is kept for the next block.
const blockKeepMax = 64 << 20

func newBlockSender(db *DB, u *url.URL) (*blockSender, error) {
	s := &blockSender{query: url.Values{}, url: url.URL{Scheme: "http", Host: "engine", Path: "/"}}
	s.buffers.New = func() any { return new([]byte) }
	var secure *tls.Config
	if u != nil {
		opt, err := clickhouse.ParseDSN(u.String())
		if err != nil {
			return nil, usagef("warehouse url is not one of ClickHouse's")
		}
		s.url.Scheme, s.url.Host, s.user, secure = u.Scheme, opt.Addr[0], u.User, opt.TLS
	}
	s.client = &http.Client{Transport: db.transport(u == nil, secure)}
	s.query.Set("database", db.cfg.Database)
	for name, value := range db.cfg.writeSettings() {
		s.query.Set(name, fmt.Sprint(value))
	}
	return s, nil
}

func (s *blockSender) send(ctx context.Context, statement string, cols []Column) error {
	buf := s.buffers.Get().(*[]byte)
	block, _, err := encodeBlock((*buf)[:0], cols)
	if err != nil {
		return err
	}
	*buf = block
	target, query := s.url, url.Values{}
	for name, values := range s.query {
		query[name] = values
	}
	query.Set("query", statement+" FORMAT Native")
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(block))
	if err != nil {
		return err
	}
	if s.user != nil {
		password, _ := s.user.Password()
		req.SetBasicAuth(s.user.Username(), password)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return &unavailable{withoutURL(err)}
	}
	defer res.Body.Close()
	if err := responseError(res); err != nil {
		return err
	}
	// Only after a success is the whole body known to be read. After an error the
	// transport may still be sending from the buffer: it is left to the collector,
	// or the next block's bytes could end up in this insert.
	if cap(*buf) <= blockKeepMax {
		s.buffers.Put(buf)
	}
	return nil
}

// errorBodyMax is how much of an error's text is read; the server's texts are at most 16 KiB.
const errorBodyMax = 64 << 10

// responseError returns what the server said against an insert. A status of 200
// is a success only with a body that has no exception in it.
func responseError(res *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, errorBodyMax))
	if err != nil {
		return &unavailable{fmt.Errorf("read response: %w", err)}
	}
	if res.StatusCode == http.StatusOK && !bytes.Contains(body, []byte("__exception__")) {
		return nil
	}
	code, _ := strconv.Atoi(res.Header.Get("X-ClickHouse-Exception-Code"))
	text := strings.TrimSpace(string(body))
	if code == 0 {
		if i := strings.Index(text, "Code: "); i >= 0 {
			text = text[i:]
			if _, err := fmt.Sscanf(text, "Code: %d", &code); err != nil {
				code = 0
			}
		}
	}
	if code == 0 { // not the server itself: a proxy in front of it
		return &unavailable{fmt.Errorf("HTTP status %d: %s", res.StatusCode, text)}
	}
	return &engine.Exception{Code: code, Message: text}
}

// withoutURL drops the request's URL, which has the statement in it, from an
// HTTP client's error.
func withoutURL(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}
