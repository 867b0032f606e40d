// Package place knows where the askers of a network are. A query by DNS carries
// no place, but it comes from an address, or says for whose it asks (RFC 7871);
// a [Table] of subnets gives the place of the narrowest one that an address is in.
//
// The subnets are sorted by where they begin. The last that begins at or before
// an address either holds it or lies inside whatever does, for two subnets are
// apart or one is in the other; so what is left is to go outwards from there. That
// takes the time of one binary search whatever lengths the prefixes have, where a
// map for each length would be asked once for every length there is.
package place

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/geo"
)

// Subnet is a network and the place it is at.
type Subnet struct {
	// Prefix is the network. Bits beyond its length do not count; one of IPv4
	// addresses written as IPv6 (::ffff:10.0.0.0/104) is the IPv4 network.
	Prefix netip.Prefix
	// Near is the place, as a query has it: "zone:REGION/ZONE",
	// "instance:SERVICE/ID" or "LATITUDE,LONGITUDE" in degrees.
	Near string
}

// Table finds the place of an address. It does not change, and nil is one of no
// subnets; all may use it at once.
type Table struct {
	begins  []number // of the subnets, sorted, IPv4 first; of equal ones the widest first
	subnets []subnet // in the same order
	six     int      // where IPv6 begins
}

// number is an address as one: of IPv4 as IPv6 has it.
type number struct{ high, low uint64 }

func numberOf(a netip.Addr) number {
	b := a.As16()
	return number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

type subnet struct {
	prefix netip.Prefix
	near   string
	around int32 // the index of the narrowest subnet that this one is in; -1 if none
}

// New returns a table of subnets. It refuses prefixes that are none or occur
// twice, and places that no query could have.
func New(subnets []Subnet) (*Table, error) {
	t := &Table{begins: make([]number, len(subnets)), subnets: make([]subnet, len(subnets))}
	for i, s := range subnets {
		field := fmt.Sprintf("subnets[%d]", i)
		if !s.Prefix.IsValid() {
			return nil, rollcall.Invalid(field, "is not a network: write it like 10.1.0.0/16 or 2001:db8::/32")
		}
		if err := check(field, s.Near); err != nil {
			return nil, err
		}
		t.subnets[i] = subnet{prefix: plain(s.Prefix), near: s.Near, around: -1}
	}
	slices.SortFunc(t.subnets, func(a, b subnet) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	for i := range t.subnets {
		s := &t.subnets[i]
		t.begins[i] = numberOf(s.prefix.Addr())
		if s.prefix.Addr().Is4() {
			t.six = i + 1
		}
		if i == 0 {
			continue
		}
		if s.prefix == t.subnets[i-1].prefix {
			return nil, rollcall.Invalid("subnets", fmt.Sprintf("%s stands there twice; say once where it is", s.prefix))
		}
		s.around = t.holding(int32(i-1), s.prefix.Addr())
	}
	return t, nil
}

// plain returns a prefix without the bits beyond its length, as one of IPv4 if it
// is one.
func plain(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// Find returns the place of the narrowest subnet that an address is in, and the
// length of its prefix: up to 32 for IPv4, also if it is written as IPv6, up to
// 128 for IPv6. In none, the place is empty. It allocates nothing.
func (t *Table) Find(a netip.Addr) (near string, bits int) {
	if t == nil || !a.IsValid() {
		return "", 0
	}
	a = a.Unmap().WithZone("")
	i := t.holding(t.last(a), a)
	if i < 0 {
		return "", 0
	}
	return t.subnets[i].near, t.subnets[i].prefix.Bits()
}

// Scope returns how many of an address's first bits tell its place: all addresses that
// begin with them are at the place that [Table.Find] finds, or all of them at none. It
// is more than the length of the subnet's prefix where there are narrower ones in
// that. It allocates nothing.
func (t *Table) Scope(a netip.Addr) int {
	if t == nil || !a.IsValid() {
		return 0
	}
	a = a.Unmap().WithZone("")
	scope, before := 0, t.last(a)
	if i := t.holding(before, a); i >= 0 {
		scope = t.subnets[i].prefix.Bits()
	}
	// Of the subnets that the address is not in, one of those beside it has most bits
	// in common with it.
	for i := max(before, 0); i <= before+1 && int(i) < len(t.subnets); i++ {
		if p := t.subnets[i].prefix; p.Addr().Is4() == a.Is4() && !p.Contains(a) {
			scope = max(scope, common(a, p.Addr())+1)
		}
	}
	return scope
}

// common returns how many first bits two addresses of one kind have in common.
func common(a, b netip.Addr) int {
	m, n := numberOf(a), numberOf(b)
	both := bits.LeadingZeros64(m.high ^ n.high)
	if both == 64 {
		both += bits.LeadingZeros64(m.low ^ n.low)
	}
	return both - (128 - a.BitLen())
}

// last returns the last subnet that begins at or before an address. If there is none of
// its kind, that is one of the other kind, which does not hold it, or -1.
func (t *Table) last(a netip.Addr) int32 {
	low, high := 0, t.six
	if a.Is6() {
		low, high = t.six, len(t.begins)
	}
	for n := numberOf(a); low < high; {
		middle := int(uint(low+high) / 2)
		if b := &t.begins[middle]; b.high < n.high || b.high == n.high && b.low <= n.low {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return int32(low - 1)
}

// holding returns which subnet holds an address, outwards from one.
func (t *Table) holding(i int32, a netip.Addr) int32 {
	for i >= 0 && !t.subnets[i].prefix.Contains(a) {
		i = t.subnets[i].around
	}
	return i
}

// check reports what is wrong with a place. Whether a zone or an instance of that
// name exists is known only when somebody asks.
func check(field, near string) error {
	field += ".near"
	if zone, ok := strings.CutPrefix(near, "zone:"); ok {
		if zone == "" || strings.Count(zone, "/") > 2 {
			return rollcall.Invalid(field, fmt.Sprintf("%.80q is not a zone: write it like zone:REGION/ZONE, or zone:REGION/ZONE/SUB_ZONE", near))
		}
		return nil
	}
	if instance, ok := strings.CutPrefix(near, "instance:"); ok {
		service, id, _ := strings.Cut(instance, "/")
		if id == "" || rollcall.CheckName("service", service) != nil {
			return rollcall.Invalid(field, fmt.Sprintf("%.80q is not an instance: write it like instance:SERVICE/ID", near))
		}
		return nil
	}
	lat, lon, _ := strings.Cut(near, ",")
	var at rollcall.Position
	var errs [2]error
	at.Lat, errs[0] = strconv.ParseFloat(strings.TrimSpace(lat), 64)
	at.Lon, errs[1] = strconv.ParseFloat(strings.TrimSpace(lon), 64)
	if errs[0] != nil || errs[1] != nil || !geo.Valid(at) {
		return rollcall.Invalid(field, fmt.Sprintf("%.80q is not a place: write LATITUDE,LONGITUDE in degrees (52.52,13.40), zone:REGION/ZONE, or instance:SERVICE/ID", near))
	}
	return nil
}
