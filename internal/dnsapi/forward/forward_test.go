package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestForward(t *testing.T) {
	type seen struct {
		query dnsmessage.Message
		port  uint16
	}
	onward := make(chan seen, 1)
	s := serve(t, func(query []byte, from netip.AddrPort) [][]byte {
		onward <- seen{parse(t, query), from.Port()}
		return [][]byte{reply(query, 0, 3)}
	}, nil)
	f := forwarder(t, Options{}, s.addr)
	const queries = 64
	ids, ports := map[uint16]bool{}, map[uint16]bool{}
	for range queries {
		if d := forwarded(t, f, ask(0x1234, "wWw.ExAmPlE.", 0), false); len(d.Answers) != 3 || !d.RecursionAvailable {
			t.Fatalf("got %v", d.GoString())
		}
		s := <-onward
		q := s.query
		ids[q.ID], ports[s.port] = true, true
		if !q.RecursionDesired || q.Questions[0].Name.String() != "wWw.ExAmPlE." || len(q.Additionals) != 0 {
			t.Fatalf("the upstream was asked %v", q.GoString())
		}
	}
	if len(ids) < queries-2 || len(ports) < queries/2 {
		t.Errorf("%d queries had %d ids and %d ports", queries, len(ids), len(ports))
	}
}

func TestForwardNext(t *testing.T) {
	tests := []struct {
		name  string
		first func(t *testing.T) netip.AddrPort
		tcp   bool
		same  bool // the first one's answer is taken
	}{
		{name: "refused connection", first: func(t *testing.T) netip.AddrPort { return closed(t) }},
		{name: "refused connection by TCP", tcp: true, first: func(t *testing.T) netip.AddrPort { return closed(t) }},
		{name: "SERVFAIL", first: func(t *testing.T) netip.AddrPort { return serve(t, says(dnsmessage.RCodeServerFailure, 0), nil).addr }},
		{name: "REFUSED", first: func(t *testing.T) netip.AddrPort { return serve(t, says(dnsmessage.RCodeRefused, 0), nil).addr }},
		{name: "NXDOMAIN", same: true, first: func(t *testing.T) netip.AddrPort { return serve(t, says(dnsmessage.RCodeNameError, 0), nil).addr }},
		{name: "no records", same: true, first: func(t *testing.T) netip.AddrPort { return serve(t, says(0, 0), nil).addr }},
		{name: "dies after the length", tcp: true, first: func(t *testing.T) netip.AddrPort {
			return serve(t, nil, func([]byte) []byte { return []byte{0xff, 0xff} }).addr
		}},
		{name: "dies midway", tcp: true, first: func(t *testing.T) netip.AddrPort {
			return serve(t, nil, func(q []byte) []byte { m := framed(reply(q, 0, 9)); return m[:len(m)-1] }).addr
		}},
		{name: "dies at once", tcp: true, first: func(t *testing.T) netip.AddrPort {
			return serve(t, nil, func([]byte) []byte { return nil }).addr
		}},
		{name: "lies by TCP", tcp: true, first: func(t *testing.T) netip.AddrPort {
			return serve(t, nil, func(q []byte) (b []byte) {
				q[0]++
				for range mostLies {
					b = append(b, framed(reply(q, 0, 1))...)
				}
				return b
			}).addr
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			next := serve(t, says(0, 2), func(q []byte) []byte { return framed(reply(q, 0, 2)) })
			f := forwarder(t, Options{}, test.first(t), next.addr)
			want := 2
			if test.same {
				want = 0
			}
			if d := forwarded(t, f, ask(1, "a.example.", 0), test.tcp); len(d.Answers) != want {
				t.Errorf("got %v", d.GoString())
			}
		})
	}
}

// The first answer is the one that is given if all are of failure.
func TestForwardFailure(t *testing.T) {
	f := forwarder(t, Options{}, closed(t), serve(t, says(dnsmessage.RCodeRefused, 0), nil).addr, serve(t, says(dnsmessage.RCodeServerFailure, 0), nil).addr)
	if d := forwarded(t, f, ask(1, "a.example.", 0), false); d.RCode != dnsmessage.RCodeRefused {
		t.Errorf("got %v", d.RCode)
	}
}

func TestForwardErrors(t *testing.T) {
	query := ask(1, "a.example.", 0)
	if _, err := forwarder(t, Options{}).Forward(t.Context(), query, false); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("without upstreams: %v", err)
	}
	if _, err := forwarder(t, Options{}, closed(t)).Forward(t.Context(), query, false); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("with nobody there: %v", err)
	}
	silent := serve(t, nil, nil)
	for _, tcp := range []bool{false, true} {
		if _, err := forwarder(t, Options{Timeout: 10 * time.Millisecond}, silent.addr).Forward(t.Context(), query, tcp); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("with a silent one, by TCP %v: %v", tcp, err)
		}
	}
	f := forwarder(t, Options{}, silent.addr)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := f.Forward(ctx, query, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beyond the caller's time: %v", err)
	}
	if f.upstreams[0].is() == well {
		t.Error("an upstream is well that left a caller without an answer")
	}
	asked := make(chan struct{}, 10)
	deaf := serve(t, func([]byte, netip.AddrPort) [][]byte { asked <- struct{}{}; return nil }, nil)
	f = forwarder(t, Options{Timeout: time.Minute}, deaf.addr)
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	for _, given := range []string{"up", "up before"} {
		if _, err := f.Forward(ctx, query, false); !errors.Is(err, context.Canceled) {
			t.Errorf("given %s: %v", given, err)
		}
	}
	if f.upstreams[0].is() != well {
		t.Error("an upstream is doubted because a caller gave up")
	}
	if n := deaf.asked.Load(); n != 1 {
		t.Errorf("asked %d times, once for somebody who had given up", n)
	}
}

func TestForwardPassesOverWhatIsNotTheAnswer(t *testing.T) {
	other := ask(1, "b.example.", 0)
	lies := map[string]func(q []byte) []byte{
		"id":          func(q []byte) []byte { q[0]++; return reply(q, 0, 1) },
		"name":        func(q []byte) []byte { copy(other, q[:2]); return reply(other, 0, 1) },
		"case":        func(q []byte) []byte { q[13] ^= 0x20; return reply(q, 0, 1) },
		"type":        func(q []byte) []byte { q[len(q)-3] = 28; return reply(q, 0, 1) },
		"a query":     func(q []byte) []byte { return q },
		"opcode":      func(q []byte) []byte { m := reply(q, 0, 1); m[2] |= 0x10; return m },
		"no question": func(q []byte) []byte { m := reply(q, 2, 0)[:12]; m[5] = 0; return m },
		"uncounted":   func(q []byte) []byte { m := reply(q, 0, 1); m[5] = 0; return m },
		"nothing":     func(q []byte) []byte { return nil },
		"header":      func(q []byte) []byte { return reply(q, 0, 1)[:12] },
		"cut short":   func(q []byte) []byte { m := reply(q, 0, 1); return m[:len(m)-1] },
		"too long":    func(q []byte) []byte { return append(reply(q, 0, 1), 0) },
		"counts":      func(q []byte) []byte { m := reply(q, 0, 1); m[6] = 0xff; return m },
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(q []byte, _ netip.AddrPort) [][]byte {
				truth := reply(q, 0, 2)
				return [][]byte{lie(q), truth}
			}, nil)
			if d := forwarded(t, forwarder(t, Options{}, s.addr), ask(1, "a.example.", 0), false); len(d.Answers) != 2 {
				t.Errorf("got %v", d.GoString())
			}
		})
	}
}

// A datagram may be lost on its way there or back.
func TestForwardAsksTwice(t *testing.T) {
	asked := make(chan uint16, 10)
	s := serve(t, func(q []byte, from netip.AddrPort) [][]byte {
		if asked <- from.Port(); len(asked) == 1 {
			return [][]byte{nil} // what is passed over does not count as an answer
		}
		return [][]byte{reply(q, 0, 2)}
	}, nil)
	forwarded(t, forwarder(t, Options{Timeout: 500 * time.Millisecond}, s.addr), ask(1, "a.example.", 0), false)
	if a, b := <-asked, <-asked; a != b {
		t.Errorf("asked from ports %d and %d", a, b)
	}
}

func TestForwardPassesOverOtherSenders(t *testing.T) {
	stranger, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	s := serve(t, func(q []byte, from netip.AddrPort) [][]byte {
		for range 2 * mostLies { // they do not even count
			stranger.WriteToUDPAddrPort(reply(q, 0, 1), from)
		}
		return [][]byte{reply(q, 0, 2)}
	}, nil)
	if d := forwarded(t, forwarder(t, Options{}, s.addr), ask(1, "a.example.", 0), false); len(d.Answers) != 2 {
		t.Error("believed who was not asked")
	}
}

func TestForwardAsksByTCPIfSomebodyGuesses(t *testing.T) {
	s := serve(t, func(q []byte, _ netip.AddrPort) (guesses [][]byte) {
		for range mostLies {
			q[0]++
			guesses = append(guesses, reply(q, 0, 1))
		}
		return append(guesses, reply(q, 0, 1))
	}, func(q []byte) []byte { return framed(reply(q, 0, 2)) })
	if d := forwarded(t, forwarder(t, Options{}, s.addr), ask(1, "a.example.", 0), false); len(d.Answers) != 2 {
		t.Error("believed who guessed")
	}
}

func TestForwardTruncation(t *testing.T) {
	cut := func(q []byte, _ netip.AddrPort) [][]byte { m := reply(q, 0, 0); m[2] |= 2; return [][]byte{m} }
	whole := func(n int) func(q []byte) []byte { return func(q []byte) []byte { return framed(reply(q, 0, n)) } }
	tests := []struct {
		name      string
		udp       func([]byte, netip.AddrPort) [][]byte
		tcp       func([]byte) []byte
		size      int
		byTCP     bool
		addresses int // 0: told to come by TCP
		asked     int64
	}{
		{name: "cut, plain client", udp: cut, tcp: whole(100), asked: 1},
		{name: "cut, client of 1232", udp: cut, tcp: whole(100), size: 1232, asked: 1},
		{name: "cut, client of 4096", udp: cut, tcp: whole(100), size: 4096, addresses: 100, asked: 2},
		{name: "cut, too much for 4096", udp: cut, tcp: whole(1000), size: 4096, asked: 2},
		{name: "cut, no TCP there", udp: cut, tcp: func([]byte) []byte { return nil }, size: 4096, asked: 2},
		{name: "client by TCP", udp: cut, tcp: whole(4000), byTCP: true, addresses: 4000, asked: 1},
		{name: "too much for a plain client", udp: says(0, 100), asked: 1},
		{name: "as much as a plain client takes", udp: says(0, 30), addresses: 30, asked: 1},
		{name: "too much for 1232", udp: says(0, 100), size: 1232, asked: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, test.udp, test.tcp)
			d := forwarded(t, forwarder(t, Options{}, s.addr), ask(1, "a.example.", test.size), test.byTCP)
			if len(d.Answers) != test.addresses || d.Truncated != (test.addresses == 0) {
				t.Errorf("got %d addresses, cut: %v", len(d.Answers), d.Truncated)
			}
			if d.Truncated && (len(d.Additionals) == 1) != (test.size > 0) {
				t.Errorf("%d additional records", len(d.Additionals))
			}
			if d.Truncated && test.size > 0 && !d.Additionals[0].Header.DNSSECAllowed() {
				t.Error("DO is not as it was")
			}
			if got := s.asked.Load(); got != test.asked {
				t.Errorf("the upstream was asked %d times, want %d", got, test.asked)
			}
		})
	}
}

// Some clients never ask by TCP, and make do with what a cut answer has.
func TestForwardKeepsWhatIsCut(t *testing.T) {
	for lost, want := range []int{5, 0} { // bytes: then it ends within a record
		s := serve(t, func(q []byte, _ netip.AddrPort) [][]byte {
			m := reply(q, 0, 5)
			m[2] |= 2
			return [][]byte{m[:len(m)-lost]}
		}, nil)
		if d := forwarded(t, forwarder(t, Options{}, s.addr), ask(1, "a.example.", 0), false); !d.Truncated || len(d.Answers) != want {
			t.Errorf("%d bytes short: %v", lost, d.GoString())
		}
	}
}

func TestForwardBound(t *testing.T) {
	asked := make(chan struct{}, 10)
	s := serve(t, func([]byte, netip.AddrPort) [][]byte { asked <- struct{}{}; return nil }, nil)
	f := forwarder(t, Options{Most: 2}, s.addr)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	for range 2 {
		go func() {
			f.Forward(ctx, ask(1, "a.example.", 0), false)
			done <- struct{}{}
		}()
		<-asked
	}
	if _, err := f.Forward(t.Context(), ask(1, "a.example.", 0), false); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want %v", err, ErrBusy)
	}
	cancel()
	<-done
	<-done
	if len(f.room) != 0 {
		t.Error("places are kept by queries that are over")
	}
}

// A loop through ourselves goes round as often as queries may be under way, and fails.
func TestForwardLoop(t *testing.T) {
	var f atomic.Pointer[Forwarder]
	answered := make(chan struct{})
	var s *server
	s = serve(t, func(q []byte, from netip.AddrPort) [][]byte {
		go func() {
			b, err := f.Load().Forward(context.Background(), q, false)
			if err != nil {
				b = reply(q, dnsmessage.RCodeServerFailure, 0)
			}
			s.udp.WriteToUDPAddrPort(b, from)
			answered <- struct{}{}
		}()
		return nil
	}, nil)
	const most = 8
	f.Store(forwarder(t, Options{Most: most}, s.addr))
	got := make(chan dnsmessage.Message, 1)
	go func() { got <- forwarded(t, f.Load(), ask(1, "a.example.", 0), false) }()
	for range most {
		<-answered
	}
	if d := <-got; d.RCode != dnsmessage.RCodeServerFailure {
		t.Errorf("got %v", d.RCode)
	}
}

func TestForwardMany(t *testing.T) {
	s := serve(t, says(0, 1), func(q []byte) []byte { return framed(reply(q, 0, 1)) })
	f := forwarder(t, Options{}, s.addr, closed(t))
	done := make(chan error)
	for i := range 32 {
		go func() {
			for range 10 {
				b, err := f.Forward(t.Context(), ask(uint16(i), "a.example.", 0), i%4 == 0)
				if err != nil || b[1] != byte(i) {
					done <- errors.Join(err, errors.New("not the answer"))
					return
				}
			}
			done <- nil
		}()
	}
	for range 32 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkForward(b *testing.B) {
	f := forwarder(b, Options{}, serve(b, func(q []byte, _ netip.AddrPort) [][]byte { q[2] |= 0x80; return [][]byte{q} }, nil).addr)
	query := ask(1, "a.example.", 1232)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Forward(b.Context(), query, false); err != nil {
			b.Fatal(err)
		}
	}
}
