//go:build !linux

package socket

import (
	"net"
	"net/netip"
	"syscall"
)

// sharing says that several sockets may share one port. Elsewhere than on Linux it
// would not spread packets over them.
const sharing = false

func shared(_, _ string, _ syscall.RawConn) error { return nil }

func prepare(u *net.UDPConn) error {
	u.SetReadBuffer(receiveBuffer)
	return nil
}

// replyFrom knows nothing: the system chooses where a reply leaves from.
func replyFrom([]byte) (addr netip.Addr, keep int) { return netip.Addr{}, 0 }

func (s *Server) batches(u *net.UDPConn) { s.single(u) }
