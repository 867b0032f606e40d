package socket

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// ways are the two ways packets go.
func ways(t *testing.T, test func(t *testing.T, alone bool)) {
	for name, alone := range map[string]bool{"batches": false, "alone": true} {
		t.Run(name, func(t *testing.T) { test(t, alone) })
	}
}

// told answers with where the query came from.
func told(b, _ []byte, from Source) ([]byte, func(context.Context) []byte) {
	return fmt.Append(b, from.From, " ", from.To, " ", from.TCP), nil
}

func TestSource(t *testing.T) {
	ways(t, func(t *testing.T, alone bool) {
		for _, tt := range []struct{ listen, dial, to string }{
			{"127.0.0.1:0", "127.0.0.1", "127.0.0.1"},
			{"[::1]:0", "::1", "::1"},
			{":0", "127.0.0.1", "127.0.0.1"},
			{":0", "127.0.0.2", "127.0.0.2"}, // the client is connected: another source would not reach it
			{":0", "::1", "::1"},
			{"0.0.0.0:0", "127.0.0.2", "127.0.0.2"},
			{"[::]:0", "::1", "::1"},
		} {
			t.Run(tt.listen+" "+tt.dial, func(t *testing.T) {
				if strings.Contains(tt.listen+tt.dial, "::") && !hasIPv6() {
					t.Skip("no IPv6 here")
				}
				if runtime.GOOS != "linux" && tt.listen[0] == ':' {
					t.Skip("the system chooses where replies leave from")
				}
				s := start(t, Options{Addr: tt.listen, alone: alone}, told)
				_, port, _ := net.SplitHostPort(s.Addr())
				for _, network := range []string{"udp", "tcp"} {
					c := dial(t, network, net.JoinHostPort(tt.dial, port))
					got := ""
					if network == "udp" {
						got = exchange(t, c, "?")
					} else {
						got = ask(t, c, "?")
					}
					if want := fmt.Sprint(c.LocalAddr(), " ", tt.to, " ", network == "tcp"); got != want {
						t.Errorf("%s: told %q, want %q", network, got, want)
					}
				}
			})
		}
	})
}

// TestSourceIPv4 does so on a socket that has IPv4 alone, which is one where the system
// has no IPv6.
func TestSourceIPv4(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the system chooses where replies leave from")
	}
	ways(t, func(t *testing.T, alone bool) {
		p, err := net.ListenPacket("udp4", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		u := p.(*net.UDPConn)
		if err := prepare(u); err != nil {
			t.Fatal(err)
		}
		s, err := Listen(Options{Addr: "127.0.0.1:0", Workers: 1, alone: alone, Handler: func() Handler { return handle(told) }})
		if err != nil {
			t.Fatal(err)
		}
		s.udp = append(s.udp, u)
		served := make(chan error, 1)
		go func() { served <- s.Serve() }()
		_, port, _ := net.SplitHostPort(u.LocalAddr().String())
		c := dial(t, "udp", "127.0.0.2:"+port)
		if got, want := exchange(t, c, "?"), fmt.Sprint(c.LocalAddr(), " 127.0.0.2 false"); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		s.Shutdown(t.Context())
		<-served
	})
}

func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		l.Close()
	}
	return err == nil
}

func TestPortIsTaken(t *testing.T) {
	s := start(t, Options{}, echo)
	if _, err := Listen(Options{Addr: s.Addr(), Handler: func() Handler { return handle(echo) }}); err == nil {
		t.Error("two servers have one port")
	}
	u, err := (&net.ListenConfig{Control: shared}).ListenPacket(t.Context(), "udp", "127.0.0.1:0") // another that would share
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := Listen(Options{Addr: u.LocalAddr().String()}); err == nil {
		t.Error("a server shares another program's UDP port")
	}
	if _, err := Listen(Options{Addr: "nonsense"}); err == nil {
		t.Error("listens on nonsense")
	}
}

// TestFreePort opens so many that a port free for TCP is taken for UDP now and then.
func TestFreePort(t *testing.T) {
	for range 50 {
		s, err := Listen(Options{Addr: "127.0.0.1:0", Workers: 3})
		if err != nil {
			t.Fatal(err)
		}
		if sharing && len(s.udp) != 3 {
			t.Errorf("%d sockets, want 3", len(s.udp))
		}
		for _, u := range s.udp {
			if u.LocalAddr().String() != s.Addr() {
				t.Errorf("UDP on %v, TCP on %v", u.LocalAddr(), s.Addr())
			}
		}
		s.Shutdown(t.Context())
	}
}

func TestAnswers(t *testing.T) {
	ways(t, func(t *testing.T, alone bool) {
		s := start(t, Options{alone: alone}, func(b, query []byte, _ Source) ([]byte, func(context.Context) []byte) {
			switch string(query) {
			case "nothing":
				return nil, nil
			case "large": // more than the socket sends
				return append(b, make([]byte, maxMessage)...), nil
			case "endless":
				return append(b, make([]byte, maxMessage+1)...), nil
			case "own": // as long as loopback takes, on memory of its own
				return append(make([]byte, 0, 60_000), make([]byte, 60_000)...), nil
			}
			return append(b, query...), nil
		})
		c := dial(t, "udp", s.Addr())
		for _, q := range []string{"nothing", "large", "endless", strings.Repeat("x", maxQuery+1)} {
			if _, err := c.Write([]byte(q)); err != nil {
				t.Fatal(err)
			}
		}
		if got := exchange(t, c, "one"); got != "one" { // order on one socket is kept: nothing came before
			t.Errorf("answered %.20q", got)
		}
		if got := exchange(t, c, "own"); len(got) != 60_000 {
			t.Errorf("%d bytes", len(got))
		}
		if got := exchange(t, c, strings.Repeat("x", maxQuery)); len(got) != maxQuery {
			t.Errorf("%d bytes", len(got))
		}
	})
}

// TestBatch has one answer that cannot be sent, and many that are large, in one batch.
func TestBatch(t *testing.T) {
	ways(t, func(t *testing.T, alone bool) {
		asked, gate := make(chan struct{}), make(chan struct{})
		s := start(t, Options{alone: alone, Workers: 1}, func(b, query []byte, _ Source) ([]byte, func(context.Context) []byte) {
			switch string(query) {
			case "wait":
				close(asked)
				<-gate
			case "large": // more than the system takes
				return append(b, make([]byte, maxMessage)...), nil
			}
			return append(append(b, query...), make([]byte, 8000)...), nil
		})
		c := dial(t, "udp", s.Addr())
		c.(*net.UDPConn).SetReadBuffer(receiveBuffer)
		fmt.Fprint(c, "wait")
		<-asked
		const last = 20
		for n := range last {
			fmt.Fprint(c, "large")
			fmt.Fprint(c, n)
		}
		close(gate)
		b := make([]byte, 16<<10)
		for n := -1; n < last; n++ { // the one that waited is first
			size, err := c.Read(b)
			if err != nil {
				t.Fatalf("answer %d: %v", n, err)
			}
			if want := fmt.Sprint(n); n >= 0 && string(b[:size-8000]) != want {
				t.Fatalf("answered %q, want %q", b[:size-8000], want)
			}
		}
	})
}

// expecter is a handler that notes what it is told to expect.
type expecter struct {
	handle
	told func(queries [][]byte)
}

func (e expecter) Expect(queries [][]byte) { e.told(queries) }

// TestExpect: of several queries that have come together a handler hears before it is
// asked, and one that panics then is replaced.
func TestExpect(t *testing.T) {
	if !sharing {
		t.Skip("packets are read one by one")
	}
	asked, gate := make(chan struct{}), make(chan struct{})
	var expected []string
	panics := 0
	s := start(t, Options{Workers: 1, Logger: slog.New(slog.DiscardHandler), Handler: func() Handler {
		return expecter{func(b, query []byte, _ Source) ([]byte, func(context.Context) []byte) {
			if string(query) == "wait" {
				close(asked)
				<-gate
			}
			return append(append(b, query...), strings.Join(expected, " ")...), nil
		}, func(queries [][]byte) {
			for _, q := range queries {
				expected = append(expected, string(q))
			}
			if panics++; panics == 1 {
				panic("once")
			}
		}}
	}}, nil)
	c := dial(t, "udp", s.Addr())
	fmt.Fprint(c, "wait")
	<-asked
	for n := range 3 {
		fmt.Fprint(c, n)
	}
	close(gate)
	b := make([]byte, 100)
	for _, want := range []string{"wait", "00 1 2", "10 1 2", "20 1 2"} {
		n, err := c.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Errorf("answered %q, %v; want %q", b[:n], err, want)
		}
	}
}

// TestFlood sends a burst from many sockets at once, more than a default buffer holds
// while the workers are held up, and then more than any buffer holds.
func TestFlood(t *testing.T) {
	ways(t, func(t *testing.T, alone bool) {
		var open atomic.Bool
		gate := make(chan struct{})
		s := start(t, Options{alone: alone, Workers: 1}, func(b, query []byte, _ Source) ([]byte, func(context.Context) []byte) {
			if !open.Load() {
				<-gate
			}
			return append(b, query...), nil
		})
		const clients, burst = 20, 25 // what a buffer as systems let anybody have it holds, and twice what one does by default
		conns := make([]net.Conn, clients)
		for n := range conns {
			conns[n] = dial(t, "udp", s.Addr())
			for q := range burst {
				fmt.Fprint(conns[n], q)
			}
		}
		open.Store(true)
		close(gate)
		for n, c := range conns {
			seen := map[string]bool{}
			for b := make([]byte, 16); len(seen) < burst; {
				size, err := c.Read(b)
				if err != nil {
					t.Fatalf("client %d: after %d answers: %v", n, len(seen), err)
				}
				seen[string(b[:size])] = true
			}
		}
		flooder := dial(t, "udp", s.Addr())
		for range 50_000 {
			flooder.Write([]byte("flood"))
		}
		c := dial(t, "udp", s.Addr())
		for b := make([]byte, 16); ; { // asked again, as resolvers do
			fmt.Fprint(c, "after")
			c.SetReadDeadline(time.Now().Add(time.Second))
			n, err := c.Read(b)
			if err == nil && string(b[:n]) == "after" {
				return
			}
			if !isTimeout(err) {
				t.Fatal(err)
			}
		}
	})
}

// TestGone asks from sockets that are closed before the answer comes, so that ICMP says
// of each that nobody is there.
func TestGone(t *testing.T) {
	ways(t, func(t *testing.T, alone bool) {
		s := start(t, Options{alone: alone}, echo)
		for range 200 {
			c := dial(t, "udp", s.Addr())
			fmt.Fprint(c, "gone")
			c.Close()
		}
		// Its port may be one of those, and it gets what was on the way there.
		c := dial(t, "udp", s.Addr())
		for got := exchange(t, c, "here"); got != "here"; got = exchange(t, c, "here") {
			if got != "gone" {
				t.Fatalf("answered %q", got)
			}
		}
	})
}

func TestErrors(t *testing.T) {
	s := start(t, Options{}, echo)
	row := 0
	for n := 1; n < lasting; n++ {
		if !s.goOn(syscall.ECONNREFUSED, &row) {
			t.Fatal("an error ends a worker")
		}
	}
	begin := time.Now()
	if !s.goOn(syscall.ENOMEM, &row) || time.Since(begin) < 50*time.Millisecond {
		t.Error("errors that last are not waited for")
	}
	if s.goOn(net.ErrClosed, &row) || s.goOn(os.ErrDeadlineExceeded, &row) {
		t.Error("a worker of a closed socket goes on")
	}
}

func TestLaterUDP(t *testing.T) {
	ways(t, func(t *testing.T, alone bool) {
		for _, listen := range []string{"127.0.0.1:0", ":0"} {
			release := make(chan struct{})
			s := start(t, Options{Addr: listen, Workers: 1, alone: alone, slow: 2}, func(b, query []byte, _ Source) ([]byte, func(context.Context) []byte) {
				q := string(query)
				if q == "now" {
					return append(b, q...), nil
				}
				return nil, func(ctx context.Context) []byte {
					select {
					case <-release:
						return []byte(q)
					case <-ctx.Done():
						return []byte(q + " refused")
					}
				}
			})
			_, port, _ := net.SplitHostPort(s.Addr())
			c := dial(t, "udp", "127.0.0.2:"+port)
			if listen != ":0" || runtime.GOOS != "linux" {
				c = dial(t, "udp", s.Addr())
			}
			fmt.Fprint(c, "a")
			fmt.Fprint(c, "b")
			if got := exchange(t, c, "c"); got != "c refused" {
				t.Errorf("beyond the bound: %q", got)
			}
			if got := exchange(t, c, "now"); got != "now" {
				t.Errorf("%q, while others take long", got)
			}
			close(release)
			b := make([]byte, 16)
			n, _ := c.Read(b)
			m, err := c.Read(b[n:])
			if got := string(b[:n+m]); got != "ab" && got != "ba" {
				t.Errorf("late: %q, %v", got, err)
			}
		}
	})
}

// TestPanic: a handler that panics answers SERVFAIL and is replaced.
func TestPanic(t *testing.T) {
	query := "\x12\x34\x01\x10\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01"
	ways(t, func(t *testing.T, alone bool) {
		var log bytes.Buffer // written by the one worker
		var made atomic.Int32
		s, err := Listen(Options{Addr: "127.0.0.1:0", Workers: 1, alone: alone, Logger: slog.New(slog.NewTextHandler(&log, nil)), Handler: func() Handler {
			made.Add(1)
			return handle(func(b, query []byte, from Source) ([]byte, func(context.Context) []byte) {
				switch {
				case string(query) == "fine":
					return append(b, query...), nil
				case string(query) == "late":
					return nil, func(context.Context) []byte { panic("late") }
				}
				panic("oops")
			})
		}})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve() }()
		c := dial(t, "udp", s.Addr())
		fmt.Fprint(c, "late")
		fmt.Fprint(c, "short")                    // no header
		fmt.Fprint(c, query[:2]+"\x81"+query[3:]) // an answer, not a query
		if got, want := exchange(t, c, query), "\x12\x34\x81\x12"+query[4:]; got != want {
			t.Errorf("answered %q, want %q", got, want)
		}
		if got := exchange(t, c, "fine"); got != "fine" {
			t.Errorf("answered %q", got)
		}
		s.Shutdown(t.Context())
		if err := <-served; err != nil {
			t.Error(err)
		}
		if n := made.Load(); n != 4 {
			t.Errorf("%d handlers, want 1 and 3 in the place of those that panicked", n)
		}
		if n := strings.Count(log.String(), "panic="); n != 4 {
			t.Errorf("%d panics logged: %s", n, &log)
		}
	})
}

func TestShutdownUDP(t *testing.T) {
	ways(t, func(t *testing.T, alone bool) {
		asked, release := make(chan struct{}), make(chan struct{})
		s := start(t, Options{alone: alone}, func(b, query []byte, _ Source) ([]byte, func(context.Context) []byte) {
			return nil, func(ctx context.Context) []byte {
				close(asked)
				select {
				case <-release:
					return []byte("done")
				case <-ctx.Done():
					return []byte("given up")
				}
			}
		})
		c := dial(t, "udp", s.Addr())
		fmt.Fprint(c, "?")
		<-asked
		ended := make(chan struct{})
		go func() {
			s.Shutdown(t.Context())
			close(ended)
		}()
		<-s.ending
		select {
		case <-ended:
			t.Error("did not wait for what is under way")
		default:
		}
		close(release)
		b := make([]byte, 16)
		if n, err := c.Read(b); string(b[:n]) != "done" {
			t.Errorf("answered %q, %v", b[:n], err)
		}
		<-ended
		s.Shutdown(t.Context()) // again
	})
}

// TestShutdownGivesUp: when nobody waits any longer, what is under way is told so.
func TestShutdownGivesUp(t *testing.T) {
	asked, gone := make(chan struct{}), make(chan struct{})
	s := start(t, Options{}, func(b, query []byte, _ Source) ([]byte, func(context.Context) []byte) {
		return nil, func(ctx context.Context) []byte {
			close(asked)
			<-ctx.Done()
			close(gone)
			return nil
		}
	})
	fmt.Fprint(dial(t, "udp", s.Addr()), "?")
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Shutdown(ctx)
	<-gone
}

func TestShutdownBeforeServe(t *testing.T) {
	s, err := Listen(Options{Addr: "127.0.0.1:0", Handler: func() Handler { return handle(echo) }})
	if err != nil {
		t.Fatal(err)
	}
	s.Shutdown(t.Context())
	if err := s.Serve(); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
}

// TestAllocations counts those of the whole process: the client's are none, too.
func TestAllocations(t *testing.T) {
	ways(t, func(t *testing.T, alone bool) {
		s := start(t, Options{alone: alone, Addr: ":0"}, echo)
		_, port, _ := net.SplitHostPort(s.Addr())
		c := dial(t, "udp", "127.0.0.1:"+port)
		tc := dial(t, "tcp", "127.0.0.1:"+port)
		q, b := []byte("\x00\x04test"), make([]byte, 16)
		for what, c := range map[string]net.Conn{"UDP": c, "TCP": tc} {
			if n := testing.AllocsPerRun(200, func() {
				c.Write(q)
				c.Read(b)
			}); n > 0 {
				t.Errorf("%s: %v allocations a query", what, n)
			}
		}
	})
}
