package auth

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/tenancy"
)

func TestKeyForm(t *testing.T) {
	seen := map[Secret]bool{}
	for range 100 {
		secret, id := NewSecret()
		if got, err := ParseKey(secret.Reveal()); err != nil || got != id || len(secret) != 64 || seen[secret] {
			t.Fatalf("a new key does not parse: %v", err)
		}
		seen[secret] = true
	}
	if got := checksum("panda_abcdefgh_" + strings.Repeat("A", secretChars)); got != "3zMw6t" {
		t.Errorf("checksum is %q", got)
	}
}

// Any one character that is wrong, missing or too many is found without a lookup.
func TestEveryTypingErrorIsFound(t *testing.T) {
	secret, _ := NewSecret()
	text := secret.Reveal()
	for i := range text {
		for _, c := range []byte{'a', 'Z', '-', ' ', 0} {
			if text[i] == c {
				continue
			}
			if _, err := ParseKey(text[:i] + string(c) + text[i+1:]); err == nil {
				t.Errorf("%q at %d goes unnoticed", c, i)
			}
		}
		if _, err := ParseKey(text[:i] + text[i+1:]); err == nil {
			t.Errorf("a missing character at %d goes unnoticed", i)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	secret, _ := NewSecret()
	f.Add(secret.Reveal())
	f.Add("panda_")
	f.Add(strings.Repeat("_", 64))
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseKey(text)
		if (err == nil) != (id != "") {
			t.Fatalf("id %q with error %v", id, err)
		}
		if err == nil && (!tenancy.ValidKeyID(id) || !strings.HasPrefix(text, "panda_"+id+"_")) {
			t.Fatalf("id %q of %q", id, text)
		}
	})
}

func TestSecretIsNotSeen(t *testing.T) {
	s := Secret("hunter2")
	holder := struct {
		S *Secret
		T []Secret
	}{&s, []Secret{s}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10.2s", "%c", "%!"} {
		for _, v := range []any{s, &s, []Secret{s}, map[string]Secret{"k": s}} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e746572") {
				t.Errorf("%s shows %s", verb, got)
			}
		}
	}
	body, err := json.Marshal(holder)
	if err != nil || strings.Contains(string(body), "hunter2") {
		t.Errorf("JSON shows %s: %v", body, err)
	}
	var back Secret
	if err := json.Unmarshal([]byte(`"hunter3"`), &back); err != nil || back.Reveal() != "hunter3" {
		t.Errorf("a secret cannot be configured: %v", err)
	}
}

func TestBootstrap(t *testing.T) {
	r := startRegistry(t, eventlogtest.Open(t))
	path := filepath.Join(t.TempDir(), "admin.key")
	first, err := Bootstrap(t.Context(), r, path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v: %v", info, err)
	}
	a := New(Config{Registry: r})
	scope, err := a.Authenticate(request("/", bearer(first)))
	if err != nil || !scope.IsPlatform() || !scope.Allows(tenancy.PermissionAdmin) {
		t.Fatalf("the first key: %+v, %v", scope, err)
	}
	if again, err := Bootstrap(t.Context(), r, path); err != nil || again != first || len(r.KeysOf("")) != 1 {
		t.Errorf("again: same %t, %d keys: %v", again == first, len(r.KeysOf("")), err)
	}

	// The operator put the key away: nothing new is made.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if none, err := Bootstrap(t.Context(), r, path); err != nil || none != "" || len(r.KeysOf("")) != 1 {
		t.Errorf("without the file: %d keys: %v", len(r.KeysOf("")), err)
	}

	// Every admin key is revoked: a new one.
	if _, err := r.RevokeKey(t.Context(), scope, "", strings.TrimPrefix(scope.Actor(), "key:")); err != nil {
		t.Fatal(err)
	}
	second, err := Bootstrap(t.Context(), r, path)
	if err != nil || second == "" || second == first {
		t.Fatalf("after the last key was revoked: %v", err)
	}
	if _, err := a.Authenticate(request("/", bearer(second))); err != nil {
		t.Errorf("the second key: %v", err)
	}
}

// A crash between the file and the record: the next start records the key that is
// in the file.
func TestBootstrapAfterACrash(t *testing.T) {
	r := startRegistry(t, eventlogtest.Open(t))
	path := filepath.Join(t.TempDir(), "admin.key")
	left, _ := NewSecret()
	if err := writeSecret(path, left); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Bootstrap(t.Context(), r, path)
	if err != nil || got != left {
		t.Fatalf("the key in the file was not taken up: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the file: %v, %v", info, err)
	}
	if err := os.WriteFile(path, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Bootstrap(t.Context(), r, path); err == nil {
		t.Error("a file that holds no key is overwritten in silence")
	}
}
