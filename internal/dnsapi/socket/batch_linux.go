package socket

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many packets are read and sent at once: beyond it, the cost of a
	// call of the system is small beside that of the packets.
	batchSize = 32
	// arenaSize is room for the answers of a batch, and arenaLeast what an answer finds of
	// it at least; one that is longer has its own.
	arenaSize, arenaLeast = 128 << 10, 16 << 10
)

// header is what the system knows a packet of a batch by.
type header struct {
	unix.Msghdr
	n uint32 // bytes of it
}

// batch is what one worker reads and sends. Where a packet came from, and to, stays as the
// system wrote it, and is given back to it with the answer; golang.org/x/net has the same
// calls, and makes an address for each packet.
type batch struct {
	in, out  [batchSize]header
	inV      [batchSize]unix.Iovec
	outV     [batchSize]unix.Iovec
	names    [batchSize]unix.RawSockaddrInet6 // or of IPv4
	controls [batchSize][8]uint64             // of 64 bytes, aligned
	buffers  [batchSize][maxQuery]byte
	queries  [batchSize][]byte
	arena    []byte
	to       netip.Addr // what the socket is bound to

	u            *net.UDPConn
	raw          syscall.RawConn
	count        int // of in
	filled, sent int // of out
	err          error
	read, write  func(fd uintptr) bool // kept, so that no call makes them anew
}

func newBatch(u *net.UDPConn) (*batch, error) {
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &batch{u: u, raw: raw, to: bound(u), arena: make([]byte, arenaSize)}
	for n := range b.in {
		b.inV[n].Base = &b.buffers[n][0]
		b.inV[n].SetLen(maxQuery)
		h := &b.in[n]
		h.Name, h.Iov = (*byte)(unsafe.Pointer(&b.names[n])), &b.inV[n]
		h.SetIovlen(1)
		if !b.to.IsValid() {
			h.Control = (*byte)(unsafe.Pointer(&b.controls[n]))
		}
	}
	b.read, b.write = b.readNow, b.writeNow
	b.count = batchSize // to be readied
	return b, nil
}

// batches answers the packets of a socket, as many at once as have come.
func (s *Server) batches(u *net.UDPConn) {
	b, err := newBatch(u)
	if err != nil {
		return // closed
	}
	a := s.answerer()
	for row := 0; !s.ended(); {
		if err := b.receive(); err == nil {
			row = 0
			s.batch(b, a)
		} else if !s.goOn(err, &row) {
			return
		}
	}
}

// batch answers what has come.
func (s *Server) batch(b *batch, a *answerer) {
	room := b.arena
	for n := range b.count {
		b.queries[n] = b.buffers[n][:b.in[n].n]
	}
	a.expect(b.queries[:b.count])
	for n := range b.count {
		if len(room) < arenaLeast {
			b.flush()
			room = b.arena
		}
		h := &b.in[n]
		from, ok := b.source(n)
		if !ok || h.Flags&unix.MSG_TRUNC != 0 {
			continue
		}
		answer, later := a.answer(room[:0], b.buffers[n][:h.n], from)
		if later != nil {
			s.later(later, b.sender(n, from.From))
			continue
		}
		if len(answer) == 0 || len(answer) > maxMessage {
			continue
		}
		b.put(n, answer)
		if &answer[0] == &room[0] {
			room = room[len(answer):]
		}
	}
	b.flush()
}

// source returns where packet n came from, and readies its control message for the
// answer.
func (b *batch) source(n int) (src Source, ok bool) {
	h, name := &b.in[n], &b.names[n]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	switch name.Family {
	case unix.AF_INET:
		src.From = netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr), port)
	case unix.AF_INET6:
		src.From = netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), port)
	}
	src.To = b.to
	if h.Control != nil {
		var keep int
		src.To, keep = replyFrom(b.control(n))
		h.SetControllen(keep)
	}
	return src, port != 0
}

func (b *batch) control(n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&b.controls[n])), len(b.controls[n])*8)[:min(int(b.in[n].Controllen), len(b.controls[n])*8)]
}

// put has an answer to packet n sent with the next flush.
func (b *batch) put(n int, answer []byte) {
	v, h := &b.outV[b.filled], &b.out[b.filled]
	v.Base = &answer[0]
	v.SetLen(len(answer))
	h.Msghdr = b.in[n].Msghdr
	h.Iov, h.Flags = v, 0
	b.filled++
}

// sender returns what sends an answer to packet n when others have come since.
func (b *batch) sender(n int, to netip.AddrPort) func([]byte) {
	u, control := b.u, bytes.Clone(b.control(n))
	if name := &b.names[n]; name.Family == unix.AF_INET6 {
		a := netip.AddrFrom16(name.Addr)
		if name.Scope_id != 0 {
			a = a.WithZone(zone(name.Scope_id))
		}
		to = netip.AddrPortFrom(a, to.Port())
	}
	return func(answer []byte) { send(u, answer, control, to) }
}

// zone returns the zone of link-local addresses that an interface has.
func zone(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return ""
}

// receive waits for packets and reads what there is.
func (b *batch) receive() error {
	for n := range b.count { // the others are as they were
		h := &b.in[n]
		h.Namelen, h.Flags = uint32(unsafe.Sizeof(b.names[n])), 0
		if h.Control != nil {
			h.SetControllen(len(b.controls[n]) * 8)
		}
	}
	b.count, b.err = 0, nil
	if err := b.raw.Read(b.read); err != nil {
		return err
	}
	return b.err
}

// readNow reads what there is; false is nothing.
func (b *batch) readNow(fd uintptr) bool {
	for {
		n, _, no := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.in[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
		switch no {
		case 0:
			b.count = int(n)
			return true
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		b.err = os.NewSyscallError("recvmmsg", no)
		return true
	}
}

// flush sends the answers. One that the system does not take is left out.
func (b *batch) flush() {
	if b.filled > 0 {
		b.sent = 0
		b.raw.Write(b.write) // fails when the socket is closed
	}
	clear(b.outV[:b.filled]) // answers of their own may go
	b.filled = 0
}

// writeNow sends what there is; false is that the system has no room yet.
func (b *batch) writeNow(fd uintptr) bool {
	for b.sent < b.filled {
		n, _, no := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.out[b.sent])), uintptr(b.filled-b.sent), unix.MSG_DONTWAIT, 0, 0)
		switch no {
		case 0:
			b.sent += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			b.sent++
		}
	}
	return true
}
