package prices

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

//go:embed extras.json
var extrasJSON []byte

// extras are facts that the source of the catalog lacks: service tiers, and
// names under which providers are known to telemetry and gateways.
type extras struct {
	Providers []schemas.PriceProvider `json:"providers"`
	Tiers     []extraTiers            `json:"service_tiers"`
}

// extraTiers gives the models of a provider their service tiers.
type extraTiers struct {
	Provider string `json:"provider"`
	// Models are rules for canonical ids.
	Models []schemas.MatchRule   `json:"models"`
	Source string                `json:"source"`
	Tiers  []schemas.ServiceTier `json:"tiers"`
}

func loadExtras() (extras, error) {
	dec := json.NewDecoder(bytes.NewReader(extrasJSON))
	dec.DisallowUnknownFields()
	var x extras
	if err := dec.Decode(&x); err != nil {
		return extras{}, fmt.Errorf("read own price facts: %w", err)
	}
	return x, nil
}

// mergeProviders adds names to providers; those it has no entry for come first,
// in its own order.
func (x *extras) mergeProviders(list []schemas.PriceProvider) []schemas.PriceProvider {
	var fresh []schemas.PriceProvider
	for _, extra := range x.Providers {
		known := false
		for i := range list {
			if list[i].ID == extra.ID {
				known = true
				list[i].Match = append(append([]schemas.MatchRule(nil), extra.Match...), list[i].Match...)
				list[i].Models = append(append([]schemas.MatchRule(nil), extra.Models...), list[i].Models...)
			}
		}
		if !known {
			fresh = append(fresh, extra)
		}
	}
	return append(fresh, list...)
}

// serviceTiers returns the service tiers of a row. A multiplier for a bucket
// that the row has no price for is left out: the bucket follows its fallback.
func (x *extras) serviceTiers(row *schemas.PriceRow) []schemas.ServiceTier {
	var tiers []schemas.ServiceTier
	if row.Tokens.IsZero() {
		return nil
	}
	for _, t := range x.Tiers {
		if t.Provider != row.Provider || !matchesID(t.Models, row.Model) {
			continue
		}
		for _, tier := range t.Tiers {
			if tier.Multiply != nil {
				multiply := map[string]schemas.Ratio{}
				for name, ratio := range tier.Multiply {
					if b, ok := schemas.ParseBucket(name); !ok || row.Tokens.Has[b] {
						multiply[name] = ratio
					}
				}
				tier.Multiply = multiply
			}
			tiers = append(tiers, tier)
		}
	}
	return tiers
}

// matchesID applies the two kinds of rules that extras.json uses.
func matchesID(rules []schemas.MatchRule, id string) bool {
	for _, r := range rules {
		if r.Exact == id || r.Prefix != "" && strings.HasPrefix(id, r.Prefix) {
			return true
		}
	}
	return false
}
