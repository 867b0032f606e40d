package config

import (
	"errors"
	"net/netip"

	"go.yaml.in/yaml/v3"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/place"
)

// subnets reads a list of networks and where they are.
func (r *reader) subnets(list *yaml.Node) error {
	if list.Kind != yaml.SequenceNode {
		return r.fail(list, "%s is not a list of networks and where they are", subnetsKey)
	}
	lines := map[netip.Prefix]int{}
	for _, n := range list.Content {
		if n.Kind != yaml.MappingNode {
			return r.fail(n, "is not a subnet: cidr and near")
		}
		var s place.Subnet
		at := map[string]*yaml.Node{"cidr": n, "near": n}
		if err := r.each(n, func(key, value *yaml.Node) error {
			at[key.Value] = value
			return r.subnet(&s, key, value)
		}); err != nil {
			return err
		}
		for _, key := range []string{"cidr", "near"} {
			if at[key] == n {
				return r.fail(n, "%s is required: a subnet is written like {cidr: 10.1.0.0/16, near: zone:eu-west/eu-west-1a}", key)
			}
		}
		if _, err := place.New([]place.Subnet{s}); err != nil {
			if e, ok := errors.AsType[*rollcall.Error](err); ok {
				return r.fail(at["near"], "near: %s", e.Detail)
			}
			return r.fail(n, "%v", err)
		}
		if line := lines[s.Prefix]; line > 0 {
			return r.fail(at["cidr"], "%v is the network in line %d, too", s.Prefix, line)
		}
		lines[s.Prefix] = at["cidr"].Line
		r.file.Subnets = append(r.file.Subnets, s)
	}
	return nil
}

// subnet reads one key of a subnet.
func (r *reader) subnet(s *place.Subnet, key, value *yaml.Node) (err error) {
	switch key.Value {
	case "cidr":
		var text string
		if err := r.text(&text, key, value); err != nil {
			return err
		}
		if s.Prefix, err = netip.ParsePrefix(text); err != nil {
			return r.fail(value, "cidr: %.80q is not a network: write it like 10.1.0.0/16 or 2001:db8::/32", text)
		}
		if a := s.Prefix.Addr(); a.Is4In6() && s.Prefix.Bits() >= 96 {
			s.Prefix = netip.PrefixFrom(a.Unmap(), s.Prefix.Bits()-96)
		}
		if m := s.Prefix.Masked(); m != s.Prefix {
			return r.fail(value, "cidr: %v is an address in the network %v: write that, or the /%d of the address alone", s.Prefix, m, s.Prefix.Addr().BitLen())
		}
		return nil
	case "near":
		return r.text(&s.Near, key, value)
	}
	return r.fail(key, "unknown key %q; a subnet has cidr and near", key.Value)
}
