package stripe

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v76/form"
)

// The metadata that is written on what we make at Stripe.
const (
	metaRef       = "panda_ref"
	metaLine      = "panda_line"
	metaTenant    = "panda_tenant"
	metaMonth     = "panda_month"
	metaStatement = "panda_statement"
	metaChecksum  = "panda_checksum"
	metaQuantity  = "panda_quantity"
	metaExact     = "panda_exact"
)

// EntryState is how far a request has come.
type EntryState string

// The states of an Entry.
const (
	Prepared  EntryState = "prepared"  // frozen, not sent
	Sent      EntryState = "sent"      // may have been sent; the answer is not known
	Stored    EntryState = "stored"    // Stripe keeps an error for the key, or the key is too old: look first
	Confirmed EntryState = "confirmed" // it is done
	Refused   EntryState = "refused"   // a person must decide
)

// Entry is a request that changes something at Stripe, frozen before it is first sent.
type Entry struct {
	Op         string     `json:"op"`
	Line       string     `json:"line,omitempty"`
	Path       string     `json:"path"`
	Body       string     `json:"body"` // form-encoded, the same bytes every time
	Generation int        `json:"generation"`
	Key        string     `json:"key"`
	State      EntryState `json:"state"`
	// FirstSent is stored before the first sending of this generation.
	FirstSent time.Time `json:"first_sent,omitzero"`
	// LastSent is the newest sending that is known of; a process that begins again takes
	// its own beginning for it.
	LastSent time.Time `json:"last_sent,omitzero"`
	ID       string    `json:"id,omitempty"` // of what was made
	Request  string    `json:"request,omitempty"`
	Error    string    `json:"error,omitempty"`

	amount int64
}

// The operations.
const (
	opCreate   = "create_invoice"
	opItem     = "create_item"
	opFinalize = "finalize"
)

// key names a request: the same for everybody who means the same effect. Parts are
// prefixed with their length, so that no two lists of parts are the same bytes.
func key(account string, mode Mode, op, ref, line string, generation int) string {
	h := sha256.New()
	for _, part := range []string{account, string(mode), op, ref, line, strconv.Itoa(generation)} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	return "p1:" + hex.EncodeToString(h.Sum(nil))
}

// next begins a new generation: the same bytes under another key.
func (e *Entry) next(account string, mode Mode, ref string) {
	e.Generation++
	e.Key = key(account, mode, e.Op, ref, e.Line, e.Generation)
	e.State, e.FirstSent, e.LastSent = Prepared, time.Time{}, time.Time{}
}

// params collects a form in a fixed order.
type params struct{ values form.Values }

func (p *params) add(name, value string) {
	if value != "" {
		p.values.Add(name, value)
	}
}

func (p *params) meta(name, value string) { p.add("metadata["+name+"]", clip(value, metadataMax)) }

// thaw makes the form of frozen bytes again.
func thaw(body string) (*form.Values, error) {
	values := &form.Values{}
	if body == "" {
		return values, nil
	}
	for pair := range strings.SplitSeq(body, "&") {
		name, value, _ := strings.Cut(pair, "=")
		n, err := url.QueryUnescape(name)
		if err != nil {
			return nil, fmt.Errorf("thaw a frozen request: %w", err)
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			return nil, fmt.Errorf("thaw a frozen request: %w", err)
		}
		values.Add(n, v)
	}
	if again := values.Encode(); again != body {
		return nil, fmt.Errorf("thaw a frozen request: %q came back as %q; the record was changed by hand or by another version", body, again)
	}
	return values, nil
}

// frozenInvoice is the request that makes the draft.
func (p *Push) frozenInvoice(cfg Config, mode Mode) *Entry {
	b := p.Bill
	var f params
	f.add("customer", b.Customer)
	f.add("auto_advance", "false")
	f.add("pending_invoice_items_behavior", "exclude")
	f.add("currency", strings.ToLower(b.Currency))
	f.add("collection_method", cfg.Collection)
	if cfg.Collection == "send_invoice" {
		f.add("days_until_due", strconv.Itoa(cfg.DaysUntilDue))
	}
	f.add("description", "Usage "+b.Month)
	f.meta(metaRef, p.Ref)
	f.meta(metaTenant, b.Tenant)
	f.meta(metaMonth, b.Month)
	f.meta(metaStatement, b.Statement)
	f.meta(metaChecksum, b.Checksum)
	return &Entry{Op: opCreate, Path: "/v1/invoices", Body: f.values.Encode(), Key: key(cfg.Account, mode, opCreate, p.Ref, "", 0), State: Prepared}
}

// frozenLine is the request that adds a line.
func (p *Push) frozenLine(cfg Config, mode Mode, l Line) *Entry {
	b := p.Bill
	var f params
	f.add("customer", b.Customer)
	f.add("invoice", p.Invoice)
	f.add("currency", strings.ToLower(b.Currency))
	f.add("amount", strconv.FormatInt(l.Amount, 10))
	f.add("description", clip(l.Description, descriptionMax))
	f.add("discountable", "false") // a coupon of the customer's must not change what was sealed
	f.add("period[start]", strconv.FormatInt(b.Start.Unix(), 10))
	f.add("period[end]", strconv.FormatInt(b.End.Unix(), 10))
	f.meta(metaRef, p.Ref)
	f.meta(metaLine, l.ID)
	f.meta(metaQuantity, l.Quantity)
	f.meta(metaExact, l.Exact)
	return &Entry{
		Op: opItem, Line: l.ID, Path: "/v1/invoiceitems", Body: f.values.Encode(),
		Key: key(cfg.Account, mode, opItem, p.Ref, l.ID, 0), State: Prepared, amount: l.Amount,
	}
}

// frozenFinalize is the request after which nothing can be taken back.
func (p *Push) frozenFinalize(cfg Config, mode Mode) *Entry {
	var f params
	f.add("auto_advance", strconv.FormatBool(cfg.Collect))
	return &Entry{
		Op: opFinalize, Path: "/v1/invoices/" + p.Invoice + "/finalize", Body: f.values.Encode(),
		Key: key(cfg.Account, mode, opFinalize, p.Ref, "", 0), State: Prepared,
	}
}
