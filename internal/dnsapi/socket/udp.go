package socket

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
)

// maxQuery is the longest query that is taken over UDP, in bytes: larger than any with
// the options there are. What is longer is dropped.
const maxQuery = 4096

// packets answers the queries that come to a socket.
func (s *Server) packets(u *net.UDPConn) {
	if s.o.alone {
		s.single(u)
		return
	}
	s.batches(u)
}

// lasting is how many errors of a socket in a row are not of single packets, such as what
// ICMP says of answers that were sent.
const lasting = 16

// goOn reports whether a worker reads on after an error, of which it counts those in a row.
func (s *Server) goOn(err error, row *int) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return false
	}
	if *row++; *row < lasting {
		return true
	}
	*row = 0
	return s.pause(err)
}

// single answers packet by packet.
func (s *Server) single(u *net.UDPConn) {
	a := s.answerer()
	to := bound(u)
	in, out, control := make([]byte, maxQuery+1), make([]byte, 0, maxMessage), make([]byte, 128)
	for row := 0; !s.ended(); {
		n, nc, _, from, err := u.ReadMsgUDPAddrPort(in, control)
		if err != nil {
			if !s.goOn(err, &row) {
				return
			}
			continue
		}
		if row = 0; n > maxQuery {
			continue
		}
		src := Source{From: netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port()), To: to}
		c := control[:nc]
		if !to.IsValid() {
			var keep int
			src.To, keep = replyFrom(c)
			c = c[:keep]
		}
		answer, later := a.answer(out[:0], in[:n], src)
		if later != nil {
			c = bytes.Clone(c)
			s.later(later, func(answer []byte) { send(u, answer, c, from) })
			continue
		}
		send(u, answer, c, from)
	}
}

// send sends one answer. What keeps it from its way is nobody's concern: whoever asked
// asks again.
func send(u *net.UDPConn, answer, control []byte, to netip.AddrPort) {
	if len(answer) > 0 && len(answer) <= maxMessage {
		u.WriteMsgUDPAddrPort(answer, control, to)
	}
}

// bound returns the address that a socket is bound to; invalid if that is all.
func bound(u *net.UDPConn) netip.Addr {
	a := u.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}
