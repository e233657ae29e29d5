package auth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agentik-os/panda/internal/durable"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Keys is where issued keys are recorded; *tenancy.Registry has it.
type Keys interface {
	Ready() <-chan struct{}
	CreateKey(ctx context.Context, by tenancy.Actor, n tenancy.NewKey) (tenancy.Key, error)
	KeyByID(id string) (tenancy.Key, bool)
	KeysOf(tenantID string) []tenancy.Key
}

// Issue makes a key for a tenant, or for the platform when tenantID is "". The
// secret exists in the answer alone; nobody can get it again.
//
// Errors: those of Registry.CreateKey. After schemas.ErrUnavailable a key may
// exist whose secret nobody knows; it does no harm and can be revoked.
func Issue(ctx context.Context, keys Keys, by tenancy.Actor, tenantID, name string,
	scopes ...tenancy.Permission) (Secret, tenancy.Key, error) {
	return IssueKey(ctx, keys, by, tenancy.NewKey{TenantID: tenantID, Name: name, Scopes: scopes})
}

// IssueKey is Issue with everything that a key may have. Id and hash are made here.
func IssueKey(ctx context.Context, keys Keys, by tenancy.Actor, n tenancy.NewKey) (Secret, tenancy.Key, error) {
	for {
		secret, id := NewSecret()
		n.ID, n.Hash = id, HashOf(secret)
		key, err := keys.CreateKey(ctx, by, n)
		// Ids have 40 bits: with a million keys, one in a million tries meets a
		// taken one.
		if errors.Is(err, tenancy.ErrKeyIDTaken) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return "", tenancy.Key{}, err
		}
		return secret, key, nil
	}
}

// bootstrapName is the name of the first key in lists.
const bootstrapName = "first platform admin"

// Bootstrap makes sure that somebody can administer the platform. It waits for
// the registry, and if no working admin key of the platform exists it makes one
// and leaves it in the file at path, readable for the owner alone. It returns the
// key in that file if it works, or "" if the file is gone and others exist.
//
// The file is on disk before the key is recorded, so a crash in between leaves a
// key in the file that the next start records. Removing the file after the key
// was stored safely is good practice; revoking every admin key makes a new one at
// the next start, which only who can write path can bring about.
func Bootstrap(ctx context.Context, keys Keys, path string) (Secret, error) {
	select {
	case <-keys.Ready():
	case <-ctx.Done():
		return "", fmt.Errorf("bootstrap: wait for the registry: %w", ctx.Err())
	}
	secret, id, err := readSecret(path)
	if err != nil {
		return "", fmt.Errorf("bootstrap: %w", err)
	}
	if key, known := keys.KeyByID(id); known && key.Hash == HashOf(secret) && !key.Revoked() {
		return secret, nil
	}
	if adminExists(keys) {
		return "", nil
	}
	if _, known := keys.KeyByID(id); id == "" || known {
		secret, id = NewSecret()
		if err := writeSecret(path, secret); err != nil {
			return "", fmt.Errorf("bootstrap: %w", err)
		}
	}
	_, err = keys.CreateKey(ctx, tenancy.Actor{ID: "system:bootstrap"}, tenancy.NewKey{
		ID: id, Name: bootstrapName, Scopes: tenancy.Permissions(), Hash: HashOf(secret)})
	if err != nil {
		return "", fmt.Errorf("bootstrap: %w", err)
	}
	return secret, nil
}

func adminExists(keys Keys) bool {
	for _, k := range keys.KeysOf("") {
		if !k.Revoked() && scopeOf(&k).Allows(tenancy.PermissionAdmin) {
			return true
		}
	}
	return false
}

// readSecret reads a key file; no file is no secret and no error.
func readSecret(path string) (Secret, string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("read admin key: %w", err)
	}
	secret := Secret(strings.TrimSpace(string(text)))
	id, err := ParseKey(secret.Reveal())
	if err != nil {
		return "", "", fmt.Errorf("read admin key: %w: %s holds no key; put it back or remove it", schemas.ErrInvalid, path)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return "", "", fmt.Errorf("restrict admin key: %w", err)
	}
	return secret, id, nil
}

// writeSecret puts a key file in place whole or not at all.
func writeSecret(path string, secret Secret) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".admin-key-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("write admin key: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write admin key: %w", err), os.Remove(f.Name()))
		}
	}()
	_, err = f.WriteString(secret.Reveal() + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}
