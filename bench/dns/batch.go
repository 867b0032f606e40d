package dns

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Batch is room for datagrams that come and go many at a time.
type Batch struct {
	messages []message
	vectors  []unix.Iovec
	sources  []unix.RawSockaddrInet6
	bytes    []byte
	each     int
}

// message is the kernel's struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// NewBatch returns room for so many datagrams of at most so many bytes each. Where they come
// from is only kept if they are to be answered on the same socket.
func NewBatch(datagrams, bytes int, sources bool) *Batch {
	b := &Batch{
		messages: make([]message, datagrams), vectors: make([]unix.Iovec, datagrams), sources: make([]unix.RawSockaddrInet6, datagrams),
		bytes: make([]byte, datagrams*bytes), each: bytes,
	}
	for i := range b.messages {
		b.vectors[i].Base = &b.bytes[i*bytes]
		h := &b.messages[i].header
		h.Iov, h.Iovlen = &b.vectors[i], 1
		if sources {
			h.Name = (*byte)(unsafe.Pointer(&b.sources[i]))
		}
	}
	return b
}

// Receive takes the datagrams that are there, and returns how many; unix.EAGAIN if there is
// none.
func (b *Batch) Receive(fd int) (int, error) {
	for i := range b.messages {
		b.vectors[i].SetLen(b.each)
		if h := &b.messages[i].header; h.Name != nil {
			h.Namelen = unix.SizeofSockaddrInet6
		}
	}
	return b.call(unix.SYS_RECVMMSG, fd, 0, len(b.messages))
}

// At returns the datagram that was received as number i.
func (b *Batch) At(i int) []byte {
	return b.bytes[i*b.each:][:b.messages[i].length]
}

// Send sends the datagrams from number from to before number to back to where they came
// from, each of so many bytes, and returns how many the kernel took.
func (b *Batch) Send(fd, from, to int, bytes func(i int) int) (int, error) {
	for i := from; i < to; i++ {
		b.vectors[i].SetLen(bytes(i))
	}
	return b.call(unix.SYS_SENDMMSG, fd, from, to)
}

func (b *Batch) call(number uintptr, fd, from, to int) (int, error) {
	for {
		n, _, errno := unix.Syscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[from])), uintptr(to-from), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
