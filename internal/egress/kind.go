package egress

import "net/netip"

// kind is what an address is for, as far as it matters here.
type kind uint8

const (
	public kind = iota // private networks too: that is where services are
	loopback
	linkLocal
	metadata
	unspecified
	multicast
	broadcast
	translated
)

var kindNames = [...]string{
	"a public address", "a loopback address", "a link-local address", "an address of a metadata service",
	"an unspecified address", "a multicast address", "a broadcast address",
	"an address of a local translator, which may lead anywhere,",
}

func (k kind) String() string { return kindNames[k] }

// metadataServices are the addresses at which clouds hand credentials to
// whoever asks from the right machine.
var metadataServices = [...]netip.Addr{
	netip.AddrFrom4([4]byte{169, 254, 169, 254}), // nearly all of them
	netip.AddrFrom4([4]byte{169, 254, 170, 2}),   // of containers, AWS
	netip.AddrFrom4([4]byte{169, 254, 170, 23}),
	netip.AddrFrom4([4]byte{100, 100, 100, 200}),                                       // Alibaba
	netip.AddrFrom4([4]byte{168, 63, 129, 16}),                                         // Azure
	netip.AddrFrom4([4]byte{192, 0, 0, 192}),                                           // Oracle
	netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x0e, 3: 0xc2, 14: 0x02, 15: 0x54}),          // AWS, fd00:ec2::254
	netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x0e, 3: 0xc2, 14: 0x00, 15: 0x23}),          // AWS, fd00:ec2::23
	netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x20, 2: 0x00, 3: 0xce, 14: 0x02, 15: 0x54}), // Google, fd20:ce::254
}

// localNAT64 (RFC 8215) is cut into translators' prefixes as each network likes,
// so that nobody else can tell where the IPv4 address stands in it.
var localNAT64 = netip.PrefixFrom(netip.AddrFrom16([16]byte{1: 0x64, 2: 0xff, 3: 0x9b, 5: 1}), 48)

// kindOf says what ip, without a zone, is or leads to.
func kindOf(ip netip.Addr) kind {
	ip = ip.Unmap()
	for _, m := range metadataServices {
		if ip == m {
			return metadata
		}
	}
	switch {
	case ip.IsLoopback():
		return loopback
	case ip.IsLinkLocalUnicast():
		return linkLocal
	case ip.IsMulticast():
		return multicast
	case ip.IsUnspecified(), ip.Is4() && ip.As4()[0] == 0: // 0.0.0.0/8 is "this network"
		return unspecified
	case ip.Is4() && ip.As4() == [4]byte{255, 255, 255, 255}:
		return broadcast
	case localNAT64.Contains(ip):
		return translated
	}
	if inner, ok := embedded(ip); ok {
		return kindOf(inner)
	}
	return public
}

// embedded returns the IPv4 address that packets to an IPv6 address end up at,
// by one of the known rules of translation and tunnelling.
func embedded(ip netip.Addr) (netip.Addr, bool) {
	if !ip.Is6() {
		return netip.Addr{}, false
	}
	b := ip.As16()
	v4 := func(b0, b1, b2, b3 byte) (netip.Addr, bool) { return netip.AddrFrom4([4]byte{b0, b1, b2, b3}), true }
	zero := func(b []byte) bool {
		for _, x := range b {
			if x != 0 {
				return false
			}
		}
		return true
	}
	switch {
	case zero(b[:10]) && (b[10] == 0 && b[11] == 0 || b[10] == 0xff && b[11] == 0xff): // compatible, mapped: RFC 4291
		return v4(b[12], b[13], b[14], b[15])
	case zero(b[:8]) && b[8] == 0xff && b[9] == 0xff && zero(b[10:12]): // translated: RFC 2765
		return v4(b[12], b[13], b[14], b[15])
	case b[0] == 0x00 && b[1] == 0x64 && b[2] == 0xff && b[3] == 0x9b && zero(b[4:12]): // NAT64: RFC 6052
		return v4(b[12], b[13], b[14], b[15])
	case b[0] == 0x20 && b[1] == 0x02: // 6to4: RFC 3056
		return v4(b[2], b[3], b[4], b[5])
	case b[0] == 0x20 && b[1] == 0x01 && b[2] == 0 && b[3] == 0: // Teredo: RFC 4380
		return v4(^b[12], ^b[13], ^b[14], ^b[15])
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP: RFC 5214
		return v4(b[12], b[13], b[14], b[15])
	}
	return netip.Addr{}, false
}
