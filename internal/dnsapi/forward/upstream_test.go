package forward

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// server is an upstream on a port of its own, by UDP and TCP.
type server struct {
	addr  netip.AddrPort
	udp   *net.UDPConn
	asked atomic.Int64 // queries but those of probes
}

// serve has queries by UDP answered with what udp returns, each of it a datagram, and
// those by TCP with what tcp returns, as it is; nil is silence. A probe is answered as
// any query.
func serve(t testing.TB, udp func(query []byte, from netip.AddrPort) [][]byte, tcp func(query []byte) []byte) *server {
	t.Helper()
	s := &server{}
	var listener net.Listener
	for listener == nil { // until both have a port
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		s.udp, s.addr = u, u.LocalAddr().(*net.UDPAddr).AddrPort()
		if listener, err = net.Listen("tcp", s.addr.String()); err != nil {
			u.Close()
		}
	}
	var done sync.WaitGroup
	var open sync.Map
	done.Go(func() {
		b := make([]byte, 4096)
		for {
			n, from, err := s.udp.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if b[12] != 0 {
				s.asked.Add(1)
			}
			if udp == nil {
				continue
			}
			for _, answer := range udp(bytes.Clone(b[:n]), from) {
				s.udp.WriteToUDPAddrPort(answer, from)
			}
		}
	})
	done.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			open.Store(c, true)
			done.Go(func() {
				defer c.Close()
				var size [2]byte
				io.ReadFull(c, size[:])
				query := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, query); err != nil {
					return
				}
				s.asked.Add(1)
				if tcp == nil {
					c.Read(size[:]) // until the other side closes
					return
				}
				c.Write(tcp(query))
			})
		}
	})
	t.Cleanup(func() {
		s.udp.Close()
		listener.Close()
		open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		done.Wait()
	})
	return s
}

// closed returns an address of the loopback interface where nobody listens.
func closed(t testing.TB) netip.AddrPort {
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	return u.LocalAddr().(*net.UDPAddr).AddrPort()
}

func forwarder(t testing.TB, o Options, upstreams ...netip.AddrPort) *Forwarder {
	o.Upstreams = upstreams
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	f := New(o)
	t.Cleanup(f.Close)
	return f
}

// ask returns a query for the addresses of a name, with an id, and an OPT record if size
// is not 0.
func ask(id uint16, name string, size int, options ...dnsmessage.Option) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	b.StartQuestions()
	b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET})
	b.StartAdditionals()
	if size > 0 {
		opt(&b, size, options...)
	}
	m, err := b.Finish()
	if err != nil {
		panic(err)
	}
	return m
}

func opt(b *dnsmessage.Builder, size int, options ...dnsmessage.Option) {
	var h dnsmessage.ResourceHeader
	h.SetEDNS0(size, 0, true)
	if err := b.OPTResource(h, dnsmessage.OPTResource{Options: options}); err != nil {
		panic(err)
	}
}

// reply returns an answer to a query with a code and a number of addresses, and what more
// adds to its additional section.
func reply(query []byte, code dnsmessage.RCode, addresses int, more ...func(b *dnsmessage.Builder)) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true, RecursionDesired: true, RecursionAvailable: true, RCode: code})
	b.EnableCompression()
	b.StartQuestions()
	b.Question(q)
	b.StartAnswers()
	for i := range addresses {
		b.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60}, dnsmessage.AResource{A: [4]byte{10, 0, byte(i >> 8), byte(i)}})
	}
	b.StartAdditionals()
	for _, add := range more {
		add(&b)
	}
	m, err := b.Finish()
	if err != nil {
		panic(err)
	}
	return m
}

// says answers with a code and so many addresses.
func says(code dnsmessage.RCode, addresses int) func([]byte, netip.AddrPort) [][]byte {
	return func(query []byte, _ netip.AddrPort) [][]byte { return [][]byte{reply(query, code, addresses)} }
}

// framed puts the length before a message, as TCP has it.
func framed(m []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)
}

func parse(t testing.TB, m []byte) dnsmessage.Message {
	t.Helper()
	var d dnsmessage.Message
	if err := d.Unpack(m); err != nil {
		t.Fatalf("%v in %x", err, m)
	}
	return d
}

// forwarded has a query passed on, checks that the answer is to it, and returns that.
func forwarded(t testing.TB, f *Forwarder, query []byte, tcp bool) dnsmessage.Message {
	t.Helper()
	before := bytes.Clone(query)
	answer, err := f.Forward(t.Context(), query, tcp)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(query, before) {
		t.Error("the query was changed")
	}
	d := parse(t, answer)
	if asked := parse(t, query); d.ID != asked.ID || !d.Response || len(d.Questions) != 1 || d.Questions[0] != asked.Questions[0] {
		t.Errorf("asked %v %v, got %v", asked.ID, asked.Questions, d.GoString())
	}
	return d
}

// told is a log that says what it was told.
type told chan string

func (l told) Enabled(context.Context, slog.Level) bool      { return true }
func (l told) Handle(_ context.Context, r slog.Record) error { l <- r.Message; return nil }
func (l told) WithAttrs([]slog.Attr) slog.Handler            { return l }
func (l told) WithGroup(string) slog.Handler                 { return l }
func (l told) wait(t *testing.T, what string) {
	t.Helper()
	if m := <-l; !strings.Contains(m, what) {
		t.Fatalf("logged %q, want %q", m, what)
	}
}

func TestDeadUpstreamIsAskedLast(t *testing.T) {
	var alive atomic.Bool
	silent := serve(t, func(query []byte, from netip.AddrPort) [][]byte {
		if !alive.Load() {
			return nil
		}
		return says(0, 1)(query, from)
	}, nil)
	good := serve(t, says(0, 2), nil)
	log := make(told, 10)
	f := forwarder(t, Options{Timeout: 500 * time.Millisecond, Logger: slog.New(log)}, silent.addr, good.addr)
	var later atomic.Int64
	f.now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }

	if d := forwarded(t, f, ask(1, "a.example.", 0), false); len(d.Answers) != 2 {
		t.Errorf("got %d addresses, want the second upstream's 2", len(d.Answers))
	}
	log.wait(t, "does not answer")
	before := silent.asked.Load()
	for range 20 {
		forwarded(t, f, ask(1, "a.example.", 0), false)
	}
	if n := silent.asked.Load() - before; n != 0 {
		t.Errorf("the dead one was asked %d times more", n)
	}

	alive.Store(true)
	later.Store(int64(time.Hour))
	forwarded(t, f, ask(1, "a.example.", 0), false) // has it probed
	log.wait(t, "answers again")
	if d := forwarded(t, f, ask(1, "a.example.", 0), false); len(d.Answers) != 1 {
		t.Error("the first upstream is not asked first although it is back")
	}
}

func TestSlowNameDoesNotMakeAnUpstreamDead(t *testing.T) {
	probed := make(chan struct{}, 10)
	picky := serve(t, func(query []byte, from netip.AddrPort) [][]byte {
		if query[12] == 0 {
			probed <- struct{}{}
		} else if query[13] == 's' {
			return nil
		}
		return says(0, 1)(query, from)
	}, nil)
	log := make(told, 10)
	f := forwarder(t, Options{Timeout: 500 * time.Millisecond, Logger: slog.New(log)}, picky.addr, serve(t, says(0, 2), nil).addr)
	if d := forwarded(t, f, ask(1, "slow.example.", 0), false); len(d.Answers) != 2 {
		t.Error("the next upstream is not asked for a name that the first is slow for")
	}
	<-probed
	for f.upstreams[0].is() != well {
		forwarded(t, f, ask(1, "a.example.", 0), false)
	}
	if d := forwarded(t, f, ask(1, "a.example.", 0), false); len(d.Answers) != 1 {
		t.Error("the first upstream is not asked first although it is well")
	}
	if len(log) > 0 {
		t.Errorf("logged %q", <-log)
	}
}

// All upstreams dead is no reason not to ask: one may be back already.
func TestDeadUpstreamsAreAskedIfThereAreNoOthers(t *testing.T) {
	s := serve(t, says(0, 1), nil)
	f := forwarder(t, Options{}, s.addr)
	f.upstreams[0].state, f.upstreams[0].probed = dead, time.Now()
	forwarded(t, f, ask(1, "a.example.", 0), false)
	if f.upstreams[0].is() != well {
		t.Error("the upstream answered and is not taken to be well")
	}
}

func TestProbesAreFew(t *testing.T) {
	u := &upstream{}
	now := time.Now()
	if u.due(now) {
		t.Error("one that is well is probed")
	}
	u.unanswered()
	if !u.due(now) || u.due(now) {
		t.Error("a doubted one is not probed, or twice at a time")
	}
	if !u.probedAt(now, false) || u.due(now.Add(probeAgain-1)) || !u.due(now.Add(probeAgain)) {
		t.Error("a dead one is not left alone, or for too long")
	}
	if u.unanswered(); u.is() != dead {
		t.Error("a dead one is merely doubted after one more query")
	}
	if u.probedAt(now, false) || !u.probedAt(now, true) || u.is() != well {
		t.Error("turns are not told as such")
	}
}

func TestAtMostThreeUpstreamsAreAsked(t *testing.T) {
	var upstreams []*server
	var addrs []netip.AddrPort
	for range 5 {
		s := serve(t, says(dnsmessage.RCodeServerFailure, 0), nil)
		upstreams, addrs = append(upstreams, s), append(addrs, s.addr)
	}
	f := forwarder(t, Options{}, addrs...)
	if d := forwarded(t, f, ask(1, "a.example.", 0), false); d.RCode != dnsmessage.RCodeServerFailure {
		t.Errorf("got %v", d.RCode)
	}
	for i, want := range []int64{1, 1, 1, 0, 0} {
		if got := upstreams[i].asked.Load(); got != want {
			t.Errorf("upstream %d was asked %d times, want %d", i, got, want)
		}
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	asked := make(chan struct{}, 10)
	silent := serve(t, func([]byte, netip.AddrPort) [][]byte { asked <- struct{}{}; return nil }, func([]byte) []byte {
		asked <- struct{}{}
		<-t.Context().Done()
		return nil
	})
	f := forwarder(t, Options{}, silent.addr)
	f.upstreams[0].state = doubted // so that there is a probe as well
	errs := make(chan error, 2)
	for _, tcp := range []bool{false, true} {
		go func() {
			_, err := f.Forward(t.Context(), ask(1, "a.example.", 0), tcp)
			errs <- err
		}()
	}
	for range 3 { // both queries, and the probe
		<-asked
	}
	f.Close()
	if len(f.room) != 0 || f.upstreams[0].probing {
		t.Error("Close did not wait")
	}
	f.Close()
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want %v", err, ErrClosed)
		}
	}
	if _, err := f.Forward(t.Context(), ask(1, "a.example.", 0), false); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
