package eventlog

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agentik-os/panda/internal/sharding"
	"github.com/agentik-os/panda/schemas"
)

const (
	// ownUser is how this process calls itself to its own server.
	ownUser = "panda"
	// doorPrefix is where a tenant's messages arrive in the log's account; the
	// relay stores them under schemas.DirectSubject.
	doorPrefix = "door."
	// accountPrefix comes before the tenant in the name of its account.
	accountPrefix = "tenant:"
)

// door admits runtimes of tenants to the server inside this process. Every
// tenant has a broker account of its own, which isolates absolutely: the only
// thing in it that leads out is the service "publish to usage.<tenant>". A
// permission alone would not do, because a reply subject is not checked against
// permissions, and an acknowledgement sent to one would be a publication by the
// server.
type door struct {
	secret       string
	authenticate func(user, password string) (string, bool)
	srv          atomic.Pointer[server.Server]

	mu      sync.Mutex
	users   map[string]User // by name
	tenants map[string]bool // that have an account
}

func newDoor(cfg Config) *door {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails since Go 1.24
	d := &door{secret: hex.EncodeToString(secret[:]), authenticate: cfg.Authenticate, tenants: map[string]bool{}}
	d.set(cfg.Users)
	return d
}

func (d *door) own() (user, password string) { return ownUser, d.secret }

func (d *door) set(users []User) {
	byName := make(map[string]User, len(users))
	for _, u := range users {
		byName[u.Name] = u
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users = byName
}

// Check implements server.Authentication. The server calls it once for every
// connection, before anything else the connection asks for.
func (d *door) Check(c server.ClientAuthentication) bool {
	opts := c.GetOpts()
	if c.Kind() != server.CLIENT {
		return false
	}
	if opts.Username == ownUser && same(opts.Password, d.secret) {
		c.RegisterUser(&server.User{Username: ownUser, Account: d.srv.Load().GlobalAccount()})
		return true
	}
	tenant, ok := d.tenantOf(opts.Username, opts.Password, opts.Token)
	if !ok || !validToken(tenant) {
		return false
	}
	account, err := d.account(tenant)
	if err != nil {
		return false
	}
	c.RegisterUser(&server.User{
		Username: tenant,
		Account:  account,
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{schemas.DirectSubject(tenant)}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		},
	})
	return true
}

// tenantOf says whose runtime presents these credentials. A key may come as the
// password or as the token of a connection.
func (d *door) tenantOf(user, password, token string) (string, bool) {
	if user == "" && password == "" {
		password = token
	}
	d.mu.Lock()
	u, known := d.users[user]
	d.mu.Unlock()
	if known && same(u.Password, password) {
		return u.Tenant, true
	}
	if d.authenticate == nil {
		return "", false
	}
	return d.authenticate(user, password)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// account returns the tenant's account, with its one service.
func (d *door) account(tenant string) (*server.Account, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tenants[tenant] = true
	account, isNew := d.srv.Load().LookupOrRegisterAccount(accountPrefix + tenant)
	if !isNew {
		return account, nil
	}
	home := d.srv.Load().GlobalAccount()
	if err := account.AddServiceImport(home, schemas.DirectSubject(tenant), doorPrefix+tenant); err != nil {
		return nil, fmt.Errorf("import door of %s: %w", tenant, err)
	}
	return account, nil
}

// SetUsers replaces Config.Users. Connections that exist stay; see Disconnect.
func (l *Log) SetUsers(users []User) error {
	if l.broker == nil {
		return fmt.Errorf("set users: %w: a cluster has users of its own", schemas.ErrInvalid)
	}
	cfg := l.cfg
	cfg.Users = users
	if err := cfg.check(); err != nil {
		return err
	}
	l.broker.door.set(users)
	return nil
}

// Disconnect ends the connections of a tenant's runtimes, as after a key was
// revoked. They may come back if Authenticate lets them.
func (l *Log) Disconnect(tenant string) error {
	if l.broker == nil {
		return fmt.Errorf("disconnect %s: %w: a cluster has users of its own", tenant, schemas.ErrInvalid)
	}
	srv := l.broker.server()
	for {
		conns, err := srv.Connz(&server.ConnzOptions{Account: accountPrefix + tenant, Limit: 1024})
		if err != nil {
			return fmt.Errorf("disconnect %s: list connections: %w", tenant, err)
		}
		if len(conns.Conns) == 0 {
			return nil
		}
		for _, c := range conns.Conns {
			// One that left by itself meanwhile is as good.
			_ = srv.DisconnectClientByID(c.Cid)
		}
	}
}

// Connected returns the tenants whose runtimes are connected, in no order.
func (l *Log) Connected() []string {
	if l.broker == nil {
		return nil
	}
	d, srv := l.broker.door, l.broker.server()
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for tenant := range d.tenants {
		account, err := srv.LookupAccount(accountPrefix + tenant)
		if err == nil && account.NumLocalConnections() > 0 {
			names = append(names, tenant)
		}
	}
	return names
}

// Addr is where runtimes connect, "" without Config.Listen.
func (l *Log) Addr() string {
	if l.broker == nil || l.cfg.Listen == "" {
		return ""
	}
	return l.broker.server().Addr().String()
}

// openDoor begins to store what tenants publish. Of several processes on a
// cluster, one gets each message.
func (l *Log) openDoor() error {
	switch {
	case l.broker != nil && l.cfg.Listen != "":
		if err := l.openHome(); err != nil {
			return err
		}
	case l.broker != nil || !l.cfg.Relay:
		return nil
	}
	_, err := l.conn.QueueSubscribe(doorPrefix+"*", "panda", l.relay)
	if err == nil {
		err = l.conn.FlushTimeout(l.cfg.AckTimeout) // from here on it is open
	}
	if err != nil {
		return fmt.Errorf("open door: %w", classify(err))
	}
	return nil
}

// openHome lets the log's account serve those of tenants, in the server that runs
// now. Their side of it is made when they connect.
func (l *Log) openHome() error {
	if l.cfg.Listen == "" {
		return nil
	}
	if err := l.broker.server().GlobalAccount().AddServiceExport(doorPrefix+"*", nil); err != nil {
		return fmt.Errorf("open door: %w", err)
	}
	return nil
}

// relay stores one message of a tenant and answers as JetStream would, so that
// any NATS client's publish works. What reaches the stream is the payload alone:
// headers are instructions to the broker and a tenant gives none, and its message
// id counts within the tenant, because ids of a stream share one space.
func (l *Log) relay(m *nats.Msg) {
	tenant := strings.TrimPrefix(m.Subject, doorPrefix)
	if l.cfg.Admit != nil {
		if err := l.cfg.Admit(tenant); err != nil {
			l.answer(m, Ack{}, err)
			return
		}
	}
	if !l.queues.add(tenant, m) {
		l.answer(m, Ack{}, &Refusal{Code: http.StatusTooManyRequests, Description: fmt.Sprintf(
			"%d messages of this tenant are on the way, or %d bytes; wait for their acknowledgements and send this one again", doorMessagesMax, doorBytesMax)})
		return
	}
	l.pump(tenant)
}

// pump stores what a tenant has waiting, in order, as far as it may at once.
func (l *Log) pump(tenant string) {
	for m := l.queues.next(tenant); m != nil; m = l.queues.next(tenant) {
		l.put(tenant, m)
		l.queues.stored(tenant)
	}
}

// put begins to store a message, and arranges its answer.
func (l *Log) put(tenant string, m *nats.Msg) {
	msg := Message{Subject: sharding.Of(tenant, l.cfg.Shards).DirectSubject(tenant), Data: m.Data}
	if id := m.Header.Get(jetstream.MsgIDHeader); id != "" {
		msg.ID = "direct/" + tenant + "/" + id
	}
	var err error
	if l.cfg.MayStore != nil {
		err = l.cfg.MayStore(tenant)
	}
	var future *Future
	if err == nil {
		future, err = l.AppendAsync(l.background, msg)
	}
	if err == nil {
		_, err = l.spawn(func(ctx context.Context) {
			ack, err := future.Wait(ctx)
			l.answer(m, ack, err)
			l.queues.done(tenant)
			l.pump(tenant)
		})
	}
	if err != nil {
		l.answer(m, Ack{}, err)
		l.queues.done(tenant)
	}
}

// answer sends the acknowledgement or the error of a relayed message.
func (l *Log) answer(m *nats.Msg, ack Ack, err error) {
	if m.Reply == "" {
		return
	}
	type failure struct {
		Code        int    `json:"code"`
		ErrorCode   int    `json:"err_code"`
		Description string `json:"description"`
	}
	out := struct {
		Error     *failure `json:"error,omitempty"`
		Stream    string   `json:"stream"`
		Seq       uint64   `json:"seq"`
		Duplicate bool     `json:"duplicate,omitempty"`
	}{Stream: ack.Stream, Seq: ack.Seq, Duplicate: ack.Duplicate}
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		out.Error = &failure{Code: refusal.Code, ErrorCode: codeRefused, Description: refusal.Description}
	case errors.Is(err, schemas.ErrInvalid):
		out.Error = &failure{Code: 400, ErrorCode: int(codeTooLarge), Description: "message is too large"}
	case errors.Is(err, ErrFull):
		out.Error = &failure{Code: 503, ErrorCode: int(codeStoreFailed), Description: textMaxBytes}
	case err != nil:
		out.Error = &failure{Code: 503, ErrorCode: codeRefused, Description: "not stored, send again"}
	}
	body, encodeErr := json.Marshal(out)
	if encodeErr == nil {
		_ = m.Respond(body)
	}
}
