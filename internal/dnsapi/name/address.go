package name

import (
	"encoding/hex"
	"net/netip"
	"strconv"
)

// addr reads HEX.addr.
func (r *reader) addr() {
	switch len(r.labels) {
	case 1:
		r.n.Kind = Empty
		return
	case 2:
	default:
		return
	}
	b, err := hex.DecodeString(r.labels[0])
	if err != nil {
		return
	}
	if a, ok := netip.AddrFromSlice(b); ok {
		r.n.Kind, r.n.Addr = Address, a
	}
}

// reverse reads the name of an address (RFC 1035 and RFC 3596). Domains above
// those of whole addresses are others'.
func reverse(l []string) Name {
	n := len(l)
	if n < 2 || l[n-1] != "arpa" {
		return Name{}
	}
	switch zone := l[n-2]; {
	case zone == "in-addr" && n == 6:
		var a [4]byte
		for i := range a {
			part := l[3-i]
			v, err := strconv.ParseUint(part, 10, 8)
			if err != nil || strconv.FormatUint(v, 10) != part {
				return Name{}
			}
			a[i] = byte(v)
		}
		return Name{Kind: Reverse, Addr: netip.AddrFrom4(a)}
	case zone == "ip6" && n == 34:
		var text [32]byte
		for i := range text {
			if len(l[31-i]) != 1 {
				return Name{}
			}
			text[i] = l[31-i][0]
		}
		var a [16]byte
		if _, err := hex.Decode(a[:], text[:]); err != nil {
			return Name{}
		}
		return Name{Kind: Reverse, Addr: netip.AddrFrom16(a)}
	}
	return Name{}
}
