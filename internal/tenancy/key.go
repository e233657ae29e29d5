package tenancy

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// A Permission is one thing that a key may do. None includes another.
type Permission string

// The permissions; a key lists those it has as its scopes.
const (
	// PermissionIngest: send usage events at the regular doors.
	PermissionIngest Permission = "ingest"
	// PermissionImport: send history, without the limit on age.
	PermissionImport Permission = "import"
	// PermissionRead: read usage, costs and decisions.
	PermissionRead Permission = "read"
	// PermissionAdmin: manage what the key belongs to: a tenant's keys and
	// settings, or with a key of the platform every tenant. It gives nobody more than
	// it has beside it: who has admin and read makes keys and members that read.
	PermissionAdmin Permission = "admin"
	// PermissionOwner: delete a tenant and name its owners. Keys of tenants cannot
	// have it: that takes a person, or the platform.
	PermissionOwner Permission = "owner"
)

// Permissions lists the permissions in the order of the documentation.
func Permissions() []Permission {
	return []Permission{PermissionIngest, PermissionImport, PermissionRead, PermissionAdmin, PermissionOwner}
}

// Known reports whether p is one of the permissions.
func (p Permission) Known() bool { return slices.Contains(Permissions(), p) }

// KeyIDChars is the length of a key's id.
const KeyIDChars = 8

// ValidKeyID reports whether s has the form of a key id.
func ValidKeyID(s string) bool { return len(s) == KeyIDChars && validID(s) }

// Key is an API key as the registry knows it: without its secret.
type Key struct {
	// ID is 8 characters of a-z and 2-7, unique over all tenants, and the readable
	// part of the secret.
	ID string
	// TenantID is the tenant whose key it is, "" for a key of the platform.
	TenantID string
	// Name tells people what the key is for.
	Name   string
	Scopes []Permission
	// Hash is the SHA-256 of the whole secret. The secret holds 256 random bits,
	// so neither salt nor slowness would add anything.
	Hash      [32]byte
	CreatedAt time.Time
	// RevokedAt is zero while the key works.
	RevokedAt time.Time
	// ExpiresAt is when it stops working by itself, zero for never: a key that was
	// rotated works for a while beside its successor.
	ExpiresAt time.Time
	// MemberID is the member whose own key it is, "" for a key of the tenant: it may
	// do what its scopes say and the member's role allows, as long as there is one.
	MemberID string
	// RotatedTo is the id of its successor, "" while it has none.
	RotatedTo string
}

// Revoked reports whether the key was revoked.
func (k *Key) Revoked() bool { return !k.RevokedAt.IsZero() }

// Works reports whether the key is neither revoked nor expired.
func (k *Key) Works(now time.Time) bool {
	return !k.Revoked() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// IsPlatform reports whether the key belongs to the platform.
func (k *Key) IsPlatform() bool { return k.TenantID == "" }

// NewKey is what CreateKey is asked to record.
type NewKey struct {
	ID       string // see Key.ID
	TenantID string // "" for a key of the platform
	Name     string
	Scopes   []Permission
	MemberID string // see Key.MemberID
	Hash     [32]byte
}

func (n *NewKey) validate() error {
	var errs []error
	if !ValidKeyID(n.ID) || n.Hash == [32]byte{} {
		panic("tenancy: a key needs an id and the hash of its secret; auth.Issue makes both")
	}
	switch {
	case strings.TrimSpace(n.Name) == "":
		errs = append(errs, schemas.Invalid("/name", schemas.CodeMissing, "a key needs a name that says what it is for"))
	case len(n.Name) > nameBytesMax || !printable(n.Name):
		errs = append(errs, schemas.Invalid("/name", schemas.CodeMalformed,
			"at most %d bytes of printable text", nameBytesMax))
	}
	if len(n.Scopes) == 0 {
		errs = append(errs, schemas.Invalid("/scopes", schemas.CodeMissing,
			"a key needs at least one of ingest, import, read, admin"))
	}
	for i, p := range n.Scopes {
		switch {
		case !p.Known() || p == PermissionOwner && n.TenantID != "":
			errs = append(errs, schemas.Invalid("/scopes", schemas.CodeUnknown, "use ingest, import, read or admin"))
		case slices.Contains(n.Scopes[:i], p):
			errs = append(errs, schemas.Invalid("/scopes", schemas.CodeRepeated, "%s is there twice", p))
		}
	}
	return errors.Join(errs...)
}
