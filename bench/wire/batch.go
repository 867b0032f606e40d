package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Batch makes requests whose body holds many items, each made of the same template.
type Batch struct {
	head  []byte
	open  string
	item  Template
	close string
	n     int
}

// NewBatch makes batches of n items, between which there are commas, with text before the
// first and behind the last.
func NewBatch(method, path, host string, n int, open, item, close string) Batch {
	b := Batch{open: open, item: Parse(item), close: close, n: n}
	length := len(open) + n*(b.item.Len()+1) - 1 + len(close)
	b.head = fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", method, path, host, length)
	return b
}

// Len returns the number of items.
func (b Batch) Len() int { return b.n }

// Append appends a request with the items that next names.
func (b Batch) Append(dst []byte, next func() (service, id int)) []byte {
	dst = append(append(dst, b.head...), b.open...)
	for i := range b.n {
		if i > 0 {
			dst = append(dst, ',')
		}
		service, id := next()
		dst = b.item.Append(dst, service, id)
	}
	return append(dst, b.close...)
}

// Once sends one request on a connection of its own and returns the reply, whole: for
// what is to be looked at, not measured.
func Once(addr string, request []byte) (*http.Response, []byte, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, nil, err
	}
	if _, err := c.Write(request); err != nil {
		return nil, nil, err
	}
	reply, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, nil, err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode >= 400 {
		line, _, _ := bytes.Cut(request, []byte("\r\n"))
		err = fmt.Errorf("%s: %s: %.300s", line, reply.Status, body)
	}
	return reply, body, err
}

// Narrow connects with a buffer of so many bytes for what is not read.
func Narrow(addr string, buffer int) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second, Control: func(_, _ string, raw syscall.RawConn) (err error) {
		// Before it connects: the window is agreed on then.
		if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, buffer) }); e != nil {
			return e
		}
		return err
	}}
	return d.Dial("tcp", addr)
}
