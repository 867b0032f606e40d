package socket

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sharing says that several sockets may share one port, and the system spreads packets
// over them by where they come from.
const sharing = true

// shared makes a socket share its port, before it is bound.
func shared(_, _ string, c syscall.RawConn) error { return share(c) }

func share(c syscall.RawConn) error {
	return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
}

func control(c syscall.RawConn, set func(fd int) error) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = set(int(fd)) }), err)
}

// prepare readies a bound socket: others may share its port from now on, it takes bursts,
// and if it is bound to all addresses, it says which one a packet was sent to.
func prepare(u *net.UDPConn) error {
	u.SetReadBuffer(receiveBuffer) // as much of it as the system allows
	c, err := u.SyscallConn()
	if err != nil {
		return err
	}
	if err := share(c); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if bound(u).IsValid() {
		return nil
	}
	return control(c, func(fd int) error {
		domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		switch {
		case err != nil:
		case domain == unix.AF_INET6:
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		default:
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
		return os.NewSyscallError("setsockopt", err)
	})
}

// replyFrom reads the control message of a packet, and makes it that of a reply, which
// is to leave from the address that the packet was sent to, by whatever way. keep is how
// much of it the reply has. addr is invalid if it says nothing.
func replyFrom(c []byte) (addr netip.Addr, keep int) {
	header := unix.CmsgLen(0)
	if len(c) < header {
		return netip.Addr{}, 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
	data := c[header:]
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		i := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
		i.Ifindex = 0
		addr = netip.AddrFrom4(i.Spec_dst)
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		i := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
		if addr = netip.AddrFrom16(i.Addr).Unmap(); !addr.IsLinkLocalUnicast() {
			i.Ifindex = 0
		}
	default:
		return netip.Addr{}, 0
	}
	if addr.IsMulticast() {
		return addr, 0
	}
	return addr, len(c)
}
