package forward

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

const (
	// mostLies is how many messages that are not the answer are read before it is asked
	// for by TCP, so that who guesses ids gets no further than that.
	mostLies = 8
	// room is what is read of a datagram: more than was said to be taken.
	room = 4096
)

var errLies = errors.New("too many messages that are not the answer")

// exchange asks an upstream and returns its answer, as it came. It is asked by TCP if
// the client was, if somebody guesses, and if the answer is too large for a datagram
// here and not for one to the client.
func (f *Forwarder) exchange(ctx context.Context, u netip.AddrPort, q *query, tcp bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if tcp {
		return byTCP(ctx, u, q)
	}
	answer, err := f.byUDP(ctx, u, q)
	switch {
	case errors.Is(err, errLies):
		return byTCP(ctx, u, q)
	case err == nil && truncated(answer) && q.size > largest:
		if whole, err := byTCP(ctx, u, q); err == nil {
			return whole, nil
		}
	}
	return answer, err
}

// byUDP asks from a socket of its own: the system draws its port, it takes datagrams of
// the upstream's address alone, and hears if nobody is there. As datagrams are lost, it
// asks once more if there is no answer in half of the time.
func (f *Forwarder) byUDP(ctx context.Context, u netip.AddrPort, q *query) ([]byte, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(u))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	asked := q.asked(nil)
	if _, err := c.Write(asked); err != nil {
		return nil, err
	}
	c.SetReadDeadline(time.Now().Add(f.timeout / 2))
	defer until(ctx, c)()
	b := make([]byte, room)
	for lies, again := 0, false; lies < mostLies; {
		n, err := c.Read(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !again:
			again = true
			c.SetReadDeadline(time.Time{})
			if ctx.Err() != nil { // it had set the deadline that is no more
				return nil, ctx.Err()
			}
			if _, err := c.Write(asked); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		case q.answers(b[:n], [2]byte(asked)):
			return b[:n], nil
		default:
			lies++
		}
	}
	return nil, errLies
}

// byTCP asks on a connection of its own.
func byTCP(ctx context.Context, u netip.AddrPort, q *query) ([]byte, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", u.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer until(ctx, c)()
	asked := q.asked(binary.BigEndian.AppendUint16(nil, uint16(len(q.onward))))
	if _, err := c.Write(asked); err != nil {
		return nil, err
	}
	for range mostLies {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return nil, err
		}
		var b bytes.Buffer // grows with what comes, not with what was promised
		if _, err := io.CopyN(&b, c, int64(binary.BigEndian.Uint16(size[:]))); err != nil {
			return nil, err
		}
		if q.answers(b.Bytes(), [2]byte(asked[2:])) {
			return b.Bytes(), nil
		}
	}
	return nil, errLies
}

// asked appends what an upstream is asked, with an id that nobody can tell.
func (q *query) asked(b []byte) []byte {
	at := len(b)
	b = append(b, q.onward...)
	rand.Read(b[at : at+2]) // never fails
	return b
}

// until has what is read from and written to a connection end after a context, so that
// whoever sees it end sees why; call what it returns when that is no longer wanted.
func until(ctx context.Context, c net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(0, 1)) })
}
