package outbox

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/agentik-os/panda/alerting"
)

// A State is how far a delivery is.
type State string

// The states of deliveries.
const (
	// Pending: to be sent now, or again at NotBefore.
	Pending State = "pending"
	// Waiting: for the end of quiet hours, or for its digest.
	Waiting State = "waiting"
	// Joined: part of a digest, which is a delivery of its own.
	Joined State = "joined"
	// Sent: the receiver has taken it.
	Sent State = "sent"
	// Dead: it was given up. It can be sent again with Replay.
	Dead State = "dead"
	// Muted: somebody did not want to be told.
	Muted State = "muted"
)

// ended reports whether nothing happens to it by itself any more.
func (s State) ended() bool { return s != Pending && s != Waiting }

// deliveryVersion is the version of Delivery. What is of a later one is left alone.
const deliveryVersion = 1

// Default is the channel of a tenant that has set up none: e-mail to its billing address,
// owners and admins.
const Default = "default"

// A Delivery is one message to one receiver.
type Delivery struct {
	Version int    `json:"v"`
	ID      string `json:"id"`
	// Owner is whose channel it is, a tenant's id or alerting.Platform, and About whose
	// alert.
	Owner string `json:"owner"`
	About string `json:"about"`
	// Channel is the channel's id, or Default; Type its type, and To the address of
	// an e-mail.
	Channel string `json:"channel"`
	Type    string `json:"type"`
	To      string `json:"to,omitempty"`
	// Records are what it is about, the oldest first: more than one in a digest.
	Records []Ref `json:"records"`
	// Alert, Kind and Severity are of the first record; the severity of a digest is the
	// highest.
	Alert    string            `json:"alert"`
	Kind     alerting.Kind     `json:"kind"`
	Severity alerting.Severity `json:"severity"`
	// Incident is the name of what it belongs to, within which the order is kept.
	Incident string `json:"incident"`
	State    State  `json:"state"`
	// Reason says why it waits, failed or is dead, for people.
	Reason   string `json:"reason,omitempty"`
	Attempts int    `json:"attempts,omitempty"`
	// Bundle: it waits for a digest. Digest is the one that it became part of.
	Bundle bool   `json:"bundle,omitempty"`
	Digest string `json:"digest,omitempty"`
	// NotBefore is when it is tried next; zero is now.
	CreatedAt    time.Time `json:"created_at"`
	NotBefore    time.Time `json:"not_before,omitzero"`
	FirstTriedAt time.Time `json:"first_tried_at,omitzero"`
	EndedAt      time.Time `json:"ended_at,omitzero"`
	// AckedAt is when the event was acknowledged that led to it, if known.
	AckedAt time.Time `json:"acked_at,omitzero"`
}

// A Ref is a record on DECISIONS.
type Ref struct {
	Subject string `json:"subject"`
	Seq     uint64 `json:"seq"`
}

// seq orders deliveries: the position of their first record.
func (d *Delivery) seq() uint64 { return d.Records[0].Seq }

// key is where it is kept.
func (d *Delivery) key() string { return keyPrefix + d.Owner + "." + d.About + "." + d.ID }

const keyPrefix = "d."

// place is who receives it: a channel, and of e-mail the address.
func (d *Delivery) place() string { return d.Owner + "/" + d.Channel + "/" + d.To }

// deliveryID is the same for every try to tell the same receiver of the same record.
func deliveryID(subject, channel, to string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{subject, channel, strings.ToLower(to)}, "\x00")))
	return "dlv_" + hex.EncodeToString(sum[:12])
}
