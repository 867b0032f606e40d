package socket

import (
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlOf returns a control message as the system makes it.
func controlOf(level, kind int32, data []byte) []byte {
	b := make([]uint64, 16)
	c := unsafe.Slice((*byte)(unsafe.Pointer(&b[0])), len(b)*8)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(c[unix.CmsgLen(0):], data)
	return c[:unix.CmsgSpace(len(data))]
}

// TestReplyFrom: a reply takes whatever way there is, but for a link-local address, which
// is none without its link.
func TestReplyFrom(t *testing.T) {
	v4 := func(a string) []byte {
		i := unix.Inet4Pktinfo{Ifindex: 7, Spec_dst: netip.MustParseAddr(a).As4()}
		return controlOf(unix.IPPROTO_IP, unix.IP_PKTINFO, (*[unix.SizeofInet4Pktinfo]byte)(unsafe.Pointer(&i))[:])
	}
	v6 := func(a string) []byte {
		i := unix.Inet6Pktinfo{Ifindex: 7, Addr: netip.MustParseAddr(a).As16()}
		return controlOf(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, (*[unix.SizeofInet6Pktinfo]byte)(unsafe.Pointer(&i))[:])
	}
	for _, tt := range []struct {
		c          []byte
		addr       string
		keep, link bool
	}{
		{v4("10.0.0.1"), "10.0.0.1", true, false},
		{v6("::ffff:10.0.0.1"), "10.0.0.1", true, false},
		{v6("2001:db8::1"), "2001:db8::1", true, false},
		{v6("fe80::1"), "fe80::1", true, true},
		{v6("ff02::1"), "ff02::1", false, false},
		{controlOf(unix.SOL_SOCKET, unix.SO_TIMESTAMP, make([]byte, 32)), "invalid IP", false, false},
		{v4("10.0.0.1")[:unix.CmsgLen(0)+3], "invalid IP", false, false},
		{nil, "invalid IP", false, false},
	} {
		whole := len(tt.c)
		addr, keep := replyFrom(tt.c)
		if addr.String() != tt.addr || (keep == whole && whole > 0) != tt.keep {
			t.Errorf("from %v, keeping %d of %d; want %s, %v", addr, keep, whole, tt.addr, tt.keep)
		}
		if !tt.keep {
			continue
		}
		link := byte(0)
		if data := tt.c[unix.CmsgLen(0):]; addr.Is4() && len(data) < 20 {
			link = data[0]
		} else {
			link = data[16]
		}
		if (link == 7) != tt.link {
			t.Errorf("%s: by interface %d", tt.addr, link)
		}
	}
}
