package socket

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// framed returns messages with their lengths.
func framed(messages ...string) (b []byte) {
	for _, m := range messages {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
	}
	return b
}

// next reads one message.
func next(t testing.TB, r io.Reader) string {
	t.Helper()
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func ask(t testing.TB, c net.Conn, query string) string {
	t.Helper()
	if _, err := c.Write(framed(query)); err != nil {
		t.Fatal(err)
	}
	return next(t, c)
}

// isShut reports whether the server closes a connection without another word, before it
// would for being idle.
func isShut(t testing.TB, c net.Conn) bool {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(idleTimeout / 2))
	n, err := c.Read(make([]byte, 1))
	return n == 0 && err != nil && !isTimeout(err)
}

func TestPipeline(t *testing.T) {
	s := start(t, Options{}, echo)
	c := dial(t, "tcp", s.Addr())
	var queries []string
	for n := range 3000 {
		queries = append(queries, strings.Repeat("q", n%700)+fmt.Sprint(n))
	}
	queries = append(queries, strings.Repeat("l", maxMessage), "after", strings.Repeat("m", 5000))
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(framed(queries...))
		written <- err
	}()
	for n, q := range queries {
		if got := next(t, c); got != q {
			t.Fatalf("query %d: answered %.40q", n, got)
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

func TestSplit(t *testing.T) {
	s := start(t, Options{}, echo)
	c := dial(t, "tcp", s.Addr())
	c.(*net.TCPConn).SetNoDelay(true)
	stream := framed("one", strings.Repeat("x", 2000), "three")
	written := make(chan error, 1)
	go func() {
		_, err := io.Copy(struct{ io.Writer }{c}, iotest.OneByteReader(bytes.NewReader(stream)))
		written <- err
	}()
	for _, want := range []string{"one", strings.Repeat("x", 2000), "three"} {
		if got := next(t, c); got != want {
			t.Errorf("answered %.40q", got)
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	c.Write([]byte{0})
	c.(*net.TCPConn).CloseWrite() // within a length
	if !isShut(t, c) {
		t.Error("half a query keeps a connection open")
	}
}

func TestNoAnswerOnTCP(t *testing.T) {
	s := start(t, Options{}, func(b, query []byte, _ Source) ([]byte, func(context.Context) []byte) {
		switch string(query) {
		case "none":
			return nil, nil
		case "endless":
			return append(b, make([]byte, maxMessage+1)...), nil
		}
		return append(b, query...), nil
	})
	c := dial(t, "tcp", s.Addr())
	c.Write(framed("none", "endless"))
	if got := ask(t, c, "some"); got != "some" {
		t.Errorf("answered %q", got)
	}
}

func TestIdle(t *testing.T) {
	// Who asks on and on may be late on a machine that is busy: then all take longer.
	for idle := 300 * time.Millisecond; !idles(t, idle); idle *= 2 {
		if idle > idleTimeout/4 {
			t.Fatal("a connection on which somebody asks is closed")
		}
	}
}

// idles tests connections that are closed when they are idle for so long, and reports
// whether one stayed open on which somebody asked more often.
func idles(t *testing.T, idle time.Duration) bool {
	s := start(t, Options{idle: idle}, echo)
	silent, slow, busy := dial(t, "tcp", s.Addr()), dial(t, "tcp", s.Addr()), dial(t, "tcp", s.Addr())
	asks := func() bool {
		b := make([]byte, len(framed("busy")))
		busy.Write(framed("busy"))
		_, err := io.ReadFull(busy, b)
		return err == nil && string(b[frameHead:]) == "busy"
	}
	stop := make(chan struct{})
	go func() { // a byte now and then does not keep a connection
		defer close(stop)
		for _, err := slow.Write([]byte{9}); err == nil; _, err = slow.Write([]byte{9}) {
			<-time.After(20 * time.Millisecond)
		}
	}()
	stays := asks()
	for begin := time.Now(); stays && time.Since(begin) < 3*idle; <-time.After(idle / 10) {
		stays = asks()
	}
	if !isShut(t, silent) || !isShut(t, slow) {
		t.Error("idle connections stay open")
	}
	<-stop
	return stays
}

// TestSlowReader asks for more than the buffers on the way hold and reads none of it.
func TestSlowReader(t *testing.T) {
	s := start(t, Options{write: 200 * time.Millisecond}, func(b, _ []byte, _ Source) ([]byte, func(context.Context) []byte) {
		return append(b, make([]byte, 60_000)...), nil
	})
	c := dial(t, "tcp", s.Addr())
	q := bytes.Repeat(framed("more"), 1000)
	for {
		if _, err := c.Write(q); err != nil {
			if isTimeout(err) {
				t.Error("whoever does not read is kept")
			}
			return
		}
	}
}

func TestConnections(t *testing.T) {
	s := start(t, Options{Addr: ":0", Connections: 3, PerSource: 2}, echo)
	_, port, _ := net.SplitHostPort(s.Addr())
	from := func(ip string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		c, err := d.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(20 * time.Second))
		return c
	}
	works := func(c net.Conn) {
		t.Helper()
		if got := ask(t, c, "?"); got != "?" {
			t.Errorf("answered %q", got)
		}
	}
	a, b := from("127.0.0.1"), from("127.0.0.1")
	works(a)
	works(b)
	if !isShut(t, from("127.0.0.1")) {
		t.Error("a third of one source is open")
	}
	other := from("127.0.0.2")
	works(other)
	if !isShut(t, from("127.0.0.3")) {
		t.Error("a fourth is open")
	}
	a.Close()
	for c := from("127.0.0.1"); ; c = from("127.0.0.1") { // when the server has seen it
		c.Write(framed("?"))
		if n, _ := c.Read(make([]byte, 3)); n > 0 {
			break
		}
	}
}

func TestSourceOf(t *testing.T) {
	for a, want := range map[string]string{"10.0.0.1": "10.0.0.1", "2001:db8:1:2:3::4": "2001:db8:1:2::", "::1": "::"} {
		if got := sourceOf(netip.MustParseAddr(a)); got.String() != want {
			t.Errorf("sourceOf(%s) = %v, want %s", a, got, want)
		}
	}
}

func TestLaterTCP(t *testing.T) {
	release := make(chan struct{})
	s := start(t, Options{}, func(b, query []byte, _ Source) ([]byte, func(context.Context) []byte) {
		q := string(query)
		if !strings.HasPrefix(q, "later") {
			return append(b, query...), nil
		}
		return nil, func(ctx context.Context) []byte {
			select {
			case <-release:
			case <-ctx.Done():
				q += " refused"
			}
			return []byte(q)
		}
	})
	c := dial(t, "tcp", s.Addr())
	for n := range slowOfConn {
		c.Write(framed(fmt.Sprintf("later %02d", n)))
	}
	c.Write(framed("later than others"))
	if got := next(t, c); got != "later than others refused" {
		t.Errorf("beyond the bound of a connection: %q", got)
	}
	if got := ask(t, c, "now"); got != "now" {
		t.Errorf("%q, while others take long", got)
	}
	c.(*net.TCPConn).CloseWrite() // what was asked is answered all the same
	close(release)
	var got []string
	for range slowOfConn {
		got = append(got, next(t, c))
	}
	slices.Sort(got)
	if got[0] != "later 00" || got[slowOfConn-1] != fmt.Sprintf("later %02d", slowOfConn-1) {
		t.Errorf("answered %q", got)
	}
	if !isShut(t, c) {
		t.Error("the connection is open")
	}
}

func TestShutdownTCP(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	s := start(t, Options{}, func(b, query []byte, _ Source) ([]byte, func(context.Context) []byte) {
		if string(query) == "now" {
			return append(b, query...), nil
		}
		return nil, func(ctx context.Context) []byte {
			close(asked)
			<-release
			return []byte("done")
		}
	})
	idle, c := dial(t, "tcp", s.Addr()), dial(t, "tcp", s.Addr())
	if got := ask(t, idle, "now"); got != "now" {
		t.Fatalf("answered %q", got)
	}
	c.Write(framed("later"))
	<-asked
	ended := make(chan struct{})
	go func() {
		s.Shutdown(t.Context())
		close(ended)
	}()
	if !isShut(t, idle) {
		t.Error("an idle connection is open")
	}
	close(release)
	if got := next(t, c); got != "done" || !isShut(t, c) {
		t.Errorf("answered %q", got)
	}
	<-ended
}

// FuzzFrame cuts a stream of messages anywhere: all that are whole come out, in order,
// whatever the reads were.
func FuzzFrame(f *testing.F) {
	f.Add(framed("one", "", "three"), uint8(1))
	f.Add([]byte{0xff, 0xff, 1}, uint8(7))
	f.Add(framed(strings.Repeat("x", 3000), "y"), uint8(255))
	f.Fuzz(func(t *testing.T, stream []byte, chunk uint8) {
		var want, got []string
		for rest := stream; ; {
			if len(rest) < 2 || len(rest) < 2+int(binary.BigEndian.Uint16(rest)) {
				break
			}
			n := 2 + int(binary.BigEndian.Uint16(rest))
			want, rest = append(want, string(rest[2:n])), rest[n:]
		}
		var in inbox
		r := bytes.NewReader(stream)
		for in.fill(func(b []byte) (int, error) { return r.Read(b[:min(len(b), int(chunk)+1)]) }) {
			for q := range in.whole() {
				got = append(got, string(q))
			}
			if room := cap(in.b); room > max(idleBuffer, 2*len(stream)+2) {
				t.Fatalf("%d bytes of room for a stream of %d", room, len(stream))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestPerSource: all programs of a machine come from the same address of it.
func TestPerSource(t *testing.T) {
	for _, c := range []struct {
		set  int
		from string
		want int
	}{{0, "192.0.2.1", 100}, {0, "127.0.0.1", 1000}, {0, "::1", 1000}, {2, "127.0.0.1", 2}} {
		s, err := Listen(Options{Addr: "127.0.0.1:0", PerSource: c.set})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.perSource(netip.MustParseAddr(c.from)); got != c.want {
			t.Errorf("%d set, from %s: %d, want %d", c.set, c.from, got, c.want)
		}
		s.Shutdown(t.Context())
	}
}
