package dns

import (
	"encoding/binary"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// serve answers queries with what answer makes of them, if anything, until the test ends.
func serve(t *testing.T, answer func(n int, query []byte) []byte) (addr string) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for n := 0; ; n++ {
			length, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if a := answer(n, b[:length]); a != nil {
				c.WriteToUDPAddrPort(a, from)
			}
		}
	}()
	return c.LocalAddr().String()
}

// good makes a good answer of a query, as far as anybody looks: with so many records.
func good(query []byte, records uint16) []byte {
	query[2] |= 0x80
	binary.BigEndian.PutUint16(query[6:], records)
	return query
}

var name = NewQuery("service-"+wire.FilledService+".service.rollcall.", A, 1232)

func run(t *testing.T, l Load) *load.Result {
	t.Helper()
	l.Sockets, l.Flight, l.Query, l.Window.Length = 3, 8, name, 100*time.Millisecond
	if l.Next == nil {
		l.Next = func() int { return 7 }
	}
	r, err := l.Run()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestQuery(t *testing.T) {
	const want = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01" +
		"\x0dservice-00042\x07service\x08rollcall\x00\x00\x01\x00\x01" + "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
	if got := string(name.Append(nil, 0x1234, 42)); got != want {
		t.Errorf("%q", got)
	}
	without := NewQuery("a."+wire.FilledService+".", SRV, 0)
	if got := string(without.Append(nil, 1, 2)); got != "\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x0500002\x00\x00\x21\x00\x01" {
		t.Errorf("%q", got)
	}
}

// TestLoops: both loops count what is answered, and ask for all names.
func TestLoops(t *testing.T) {
	for _, rate := range []float64{0, 5000} {
		var names sync.Map
		addr := serve(t, func(_ int, query []byte) []byte {
			names.Store(string(query[header:]), true)
			return good(query, 3)
		})
		n := 0
		r := run(t, Load{Addr: addr, Rate: rate, Records: 3, Next: func() int { n++; return n % 20 }})
		different := 0
		names.Range(func(_, _ any) bool { different++; return true })
		if r.Done < 200 || r.Good != r.Done || r.Failed+r.Unanswered > 0 || different != 20 || r.Latency.Quantile(0.5) == 0 {
			t.Errorf("rate %v: %d done, %d good, %d failed, %d lost, %v; %d names", rate, r.Done, r.Good, r.Failed, r.Unanswered, r.Err, different)
		}
		if rate > 0 && (r.Done < 300 || r.Done > 700) {
			t.Errorf("%d done in 100 ms at %v a second", r.Done, rate)
		}
	}
}

// TestBad: what is no good answer fails.
func TestBad(t *testing.T) {
	for want, spoil := range map[string]func(a []byte){
		"rcode 2":                      func(a []byte) { a[3] |= 2 },
		"a truncated answer":           func(a []byte) { a[2] |= 2 },
		"a query instead of an answer": func(a []byte) { a[2] &^= 0x80 },
		"2 records; want 3":            func(a []byte) { a[7] = 2 },
		"an answer to another question": func(a []byte) {
			a[header+3] ^= 0x20
		},
	} {
		addr := serve(t, func(_ int, query []byte) []byte {
			a := good(query, 3)
			spoil(a)
			return a
		})
		if r := run(t, Load{Addr: addr, Records: 3, Mixed: true}); r.Done > 0 || r.Failed == 0 || r.Err.Error() != want {
			t.Errorf("%s: %d done, %d failed, %v", want, r.Done, r.Failed, r.Err)
		}
	}
}

// TestLost: what is not answered is lost, in both loops, and its answer is not taken for
// that of the query which has its place next.
func TestLost(t *testing.T) {
	for _, rate := range []float64{0, 5000} {
		addr := serve(t, func(n int, query []byte) []byte {
			if n%10 == 0 {
				return nil
			}
			return good(query, 3)
		})
		r := run(t, Load{Addr: addr, Rate: rate, Records: 3, Lost: 30 * time.Millisecond})
		if r.Unanswered == 0 || r.Done < 5*r.Unanswered || r.Failed > 0 || r.Latency.Max() < 30*time.Millisecond {
			t.Errorf("rate %v: %d done, %d lost, %d failed, %v at most", rate, r.Done, r.Unanswered, r.Failed, r.Latency.Max())
		}
	}
	q := socket{queries: make([]query, 8), spare: []uint16{3}}
	q.queries[3].id = 3
	first := q.take(0)
	late := first.id
	q.done(first)
	if second := q.take(0); q.under(late) != nil || q.under(second.id) != second {
		t.Errorf("the id %d is used again at once: %d", late, second.id)
	}
}

// TestMixed: the names of queries are the same but for the case of letters.
func TestMixed(t *testing.T) {
	var differ atomic.Int64
	plain := string(name.Append(nil, 0, 7))
	addr := serve(t, func(_ int, query []byte) []byte {
		a := string(query[header:])
		if !strings.EqualFold(a, plain[header:]) {
			return nil
		}
		if a != plain[header:] {
			differ.Add(1)
		}
		return good(query, 3)
	})
	if r := run(t, Load{Addr: addr, Records: 3, Mixed: true}); r.Done == 0 || r.Unanswered > 0 || differ.Load() < r.Done/2 {
		t.Errorf("%d done, %d lost; %d differ", r.Done, r.Unanswered, differ.Load())
	}
}

// TestUntil: what is not good yet is asked for again.
func TestUntil(t *testing.T) {
	addr := serve(t, func(n int, query []byte) []byte { return good(query, uint16(n)) })
	if a, err := name.Until(addr, 1, 3, 10*time.Second); err != nil || a[7] != 3 {
		t.Errorf("%q, %v", a, err)
	}
	if _, err := name.Until(addr, 1, 1<<15, 0); err == nil || !strings.Contains(err.Error(), "records; want 32768") {
		t.Error(err)
	}
}
