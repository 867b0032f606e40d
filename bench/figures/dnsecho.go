package figures

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/dns"
)

// echo says how datagrams are sent back: the limit of any server in Go that answers over UDP.
type echo struct {
	Sockets int
	Bytes   int  // of an answer, which begins with the query; 0: as many as came
	Many    bool // at a time
}

// echoBytes is what a query takes at most, and echoMany how many are taken at a time.
const echoBytes, echoMany = 4 << 10, 64

// serveUDPEcho is the role of an echo: a goroutine for each of a number of sockets at one
// port, among which the kernel deals out clients.
func serveUDPEcho(config []byte) (any, error) {
	var e echo
	if err := json.Unmarshal(config, &e); err != nil {
		return nil, err
	}
	if e.Bytes > echoBytes {
		return nil, errors.New("no room for such long answers")
	}
	addr := "127.0.0.1:0"
	failed := make(chan error, e.Sockets)
	for range e.Sockets {
		c, err := listenShared(addr)
		if err != nil {
			return nil, err
		}
		addr = c.LocalAddr().String()
		go func() {
			if e.Many {
				failed <- e.many(c)
			} else {
				failed <- e.one(c)
			}
		}()
	}
	child.Ready(addr)
	return nil, <-failed
}

// listenShared listens at a port that other sockets may listen at.
func listenShared(addr string) (*net.UDPConn, error) {
	l := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); e != nil {
			return e
		}
		return err
	}}
	c, err := l.ListenPacket(context.Background(), "udp4", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// length is how long the answer to a query of so many bytes is.
func (e echo) length(query int) int {
	if e.Bytes > 0 {
		return e.Bytes
	}
	return query
}

// one sends back one datagram after the other.
func (e echo) one(c *net.UDPConn) error {
	b := make([]byte, echoBytes)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return err
		}
		if _, err := c.WriteToUDPAddrPort(b[:e.length(n)], from); err != nil {
			return err
		}
	}
}

// many sends back all that are there with one call of the kernel, or few.
func (e echo) many(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	b := dns.NewBatch(echoMany, echoBytes, true)
	length := func(i int) int { return e.length(len(b.At(i))) }
	for {
		var n int
		var failed error
		if err := raw.Read(func(fd uintptr) bool {
			n, failed = b.Receive(int(fd))
			return failed != unix.EAGAIN
		}); err != nil || failed != nil {
			return errors.Join(err, failed)
		}
		for sent := 0; sent < n; {
			var k int
			if err := raw.Write(func(fd uintptr) bool {
				k, failed = b.Send(int(fd), sent, n, length)
				return failed != unix.EAGAIN
			}); err != nil || failed != nil {
				return errors.Join(err, failed)
			}
			sent += k
		}
	}
}

// Echo starts an echo whose answers have so many bytes.
func (b *Bench) Echo(bytes int, many bool) (Server, error) {
	name := "echo"
	if many {
		name = "echo-many"
	}
	return b.Child(name, "echo", echo{Sockets: runtime.NumCPU(), Bytes: bytes, Many: many})
}
