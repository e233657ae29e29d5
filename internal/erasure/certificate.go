package erasure

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// Month is what is kept of a month: it was billed, and books outlive their subject.
type Month struct {
	// Month is written 2026-02.
	Month  string        `json:"month"`
	Calls  int64         `json:"calls"`
	Tokens int64         `json:"tokens"`
	Cost   schemas.Money `json:"cost"`
}

// Certificate says what was erased. It holds no name of anything but the tenant's
// random id and the actor's.
type Certificate struct {
	Version int `json:"v"`
	// Erasure is "era_" and 12 characters, the same in every store that mentions it.
	Erasure  string `json:"erasure"`
	TenantID string `json:"tenant_id"`
	// Scope is "tenant" or "user". Whose user it was is said nowhere.
	Scope      string    `json:"scope"`
	Actor      string    `json:"actor"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	// Position is up to where the usage log was erased.
	Position uint64 `json:"position"`
	// Erased counts per store: rows of tables, messages of streams, files of parts.
	Erased map[string]uint64 `json:"erased"`
	// Months are what stays of a tenant, empty for a user, whose rows stay.
	Months []Month `json:"months,omitempty"`
	// SHA256 is that of this JSON without it, in hex.
	SHA256 string `json:"sha256"`
}

// certificateVersion is raised when a reader of an older one would read it wrongly.
const certificateVersion = 1

// seal sets the checksum.
func (c *Certificate) seal() { c.SHA256 = c.sum() }

func (c *Certificate) sum() string {
	open := *c
	open.SHA256 = ""
	text, err := json.Marshal(&open)
	if err != nil {
		panic("erasure: a certificate that does not encode: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Check returns an error that matches schemas.ErrInvalid if the certificate is not
// what was sealed.
func (c *Certificate) Check() error {
	if c.sum() != c.SHA256 {
		return fmt.Errorf("the certificate of erasure %s was changed: %w", c.Erasure, schemas.ErrInvalid)
	}
	return nil
}
