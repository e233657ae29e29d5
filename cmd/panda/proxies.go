package main

import (
	"net/netip"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// parseProxies reads the setting: networks with commas between. A single address is a
// network of one. Everybody is no network: then anybody could name any address, and what
// the audit log says about it and the limit on failed sign-ins would be worth nothing.
func parseProxies(text string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, word := range strings.Split(text, ",") {
		word = strings.TrimSpace(word)
		if word == "" {
			continue
		}
		network, err := netip.ParsePrefix(word)
		if addr, one := netip.ParseAddr(word); one == nil && addr.Zone() == "" {
			network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case err != nil || network.Addr().Is4In6():
			return nil, schemas.Invalid("/trusted_proxies", schemas.CodeMalformed, "%q is not a network such as 10.0.0.0/8", word)
		case network.Bits() == 0:
			return nil, schemas.Invalid("/trusted_proxies", schemas.CodeNotAllowed,
				"%q is everybody, and then anybody writes their own address; name the networks of your proxies", word)
		}
		list = append(list, network.Masked())
	}
	return list, nil
}

// proxies are the networks of the setting, which was checked.
func (c *Config) proxies() []netip.Prefix {
	list, err := parseProxies(c.TrustedProxies)
	if err != nil {
		panic("panda: settings that were not checked: " + err.Error())
	}
	return list
}
