package stripe

import (
	"fmt"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// Mode is which of Stripe's two worlds is meant.
type Mode string

// The modes. Nothing of one is visible in the other.
const (
	Test Mode = "test"
	Live Mode = "live"
)

// Secret is an API key or the secret of a webhook endpoint. However it is printed, what
// comes out is its prefix.
type Secret string

// Mode says by the prefix which mode an API key is for. The error does not show the key.
func (s Secret) Mode() (Mode, error) {
	for _, kind := range []string{"sk_", "rk_"} {
		for _, mode := range []Mode{Test, Live} {
			if strings.HasPrefix(string(s), kind+string(mode)+"_") {
				return mode, nil
			}
		}
	}
	return "", schemas.Invalid("/stripe/key", schemas.CodeMalformed,
		"the Stripe key does not begin with sk_test_, rk_test_, sk_live_ or rk_live_; use a restricted key (rk_…) that may write invoices and invoice items")
}

func (s Secret) String() string {
	parts := strings.SplitAfterN(string(s), "_", 3)
	if len(parts) < 2 {
		return "…"
	}
	return strings.Join(parts[:len(parts)-1], "") + "…"
}

// GoString is for %#v, Format for every other verb.
func (s Secret) GoString() string { return s.String() }

// Format prints the prefix whatever the verb is.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalText is for JSON and logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
