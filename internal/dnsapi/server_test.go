package dnsapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/name"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/socket"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

// told is a registry that notes what it was told of services.
type told struct {
	*registry.Registry
	of []string
}

func (r *told) Told(key rollcall.ServiceKey, ttl time.Duration) {
	r.of = append(r.of, fmt.Sprintf("%s %v", key, ttl))
	r.Registry.Told(key, ttl)
}

// world is a handler on a registry of its own.
type world struct {
	t       testing.TB
	reg     *told
	server  *dnsapi.Server
	handler socket.Handler
	from    socket.Source
}

var (
	loopback = socket.Source{From: netip.MustParseAddrPort("127.0.0.1:4711"), To: netip.MustParseAddr("127.0.0.1")}
	exposed  = socket.Source{From: netip.MustParseAddrPort("192.0.2.1:4711"), To: netip.MustParseAddr("192.0.2.53")}
)

func zones() []name.Zone {
	return []name.Zone{{Name: "rollcall."}, {Name: "consul.", Datacenter: "dc1"}}
}

func newWorld(t testing.TB, o dnsapi.Options) *world {
	t.Helper()
	return serve(t, newRegistry(t), o)
}

func serve(t testing.TB, reg *registry.Registry, o dnsapi.Options) *world {
	t.Helper()
	if o.Zones == nil {
		o.Zones = zones()
	}
	w := &world{t: t, reg: &told{Registry: reg}, from: loopback}
	var err error
	var core dnsapi.Registry = w.reg
	if _, ok := t.(*testing.B); ok {
		core = reg // for nothing else to be measured
	}
	if w.server, err = dnsapi.Prepare(core, o); err != nil {
		t.Fatal(err)
	}
	w.handler = dnsapi.Handler(w.server, 1)
	return w
}

// newRegistry runs a registry for the length of the test.
func newRegistry(t testing.TB) *registry.Registry {
	t.Helper()
	reg := registry.New(registry.Options{Log: memory.New(), Logger: slog.New(slog.DiscardHandler), Version: "test", Store: "memory"})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- reg.Run(ctx) }()
	t.Cleanup(func() {
		reg.EndStreams()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("registry: %v", err)
		}
	})
	if err := reg.WaitSynced(ctx); err != nil {
		t.Fatal(err)
	}
	reg.Serving()
	return reg
}

// web returns instance n of a service.
func web(n int) rollcall.Instance {
	return rollcall.Instance{
		Service: "web", ID: fmt.Sprintf("web-%d", n), Address: fmt.Sprintf("10.%d.%d.%d", n/62500, n/250%250, n%250+1), Ports: map[string]uint16{"http": 8080, "default": 9090},
		Lease: rollcall.Lease{Mode: rollcall.LeaseNone},
	}
}

func (w *world) register(is ...rollcall.Instance) {
	w.t.Helper()
	for _, i := range is {
		if _, _, err := w.reg.Register(w.t.Context(), i, 0); err != nil {
			w.t.Fatal(err)
		}
	}
}

// down has an operator say that an instance is unhealthy.
func (w *world) down(service, id string) {
	w.t.Helper()
	o := &rollcall.Override{Status: rollcall.Unhealthy, Reason: "test"}
	if err := w.reg.Override(w.t.Context(), rollcall.NewKey("", service, id), o); err != nil {
		w.t.Fatal(err)
	}
}

// settings sets those of a service.
func (w *world) settings(service string, s rollcall.Settings) {
	w.t.Helper()
	if err := w.reg.SetSettings(w.t.Context(), rollcall.NewServiceKey("", service), &s); err != nil {
		w.t.Fatal(err)
	}
}

// question returns a query as stubs send it.
func question(name string, typ uint16) *dns.Msg {
	m := new(dns.Msg)
	m.Id = 4711
	m.RecursionDesired = true
	m.Question = []dns.Question{{Name: name, Qtype: typ, Qclass: dns.ClassINET}}
	return m
}

// with gives a query EDNS with a size and options.
func with(m *dns.Msg, size uint16, options ...dns.EDNS0) *dns.Msg {
	m.SetEdns0(size, false)
	m.Extra[0].(*dns.OPT).Option = options
	return m
}

// raw answers a packet.
func (w *world) raw(b []byte) []byte {
	w.t.Helper()
	a, later := w.handler.Answer(nil, b, w.from)
	if later != nil {
		a = later(w.t.Context())
	}
	return a
}

// ask answers a query, over the wire format there and back.
func (w *world) ask(q *dns.Msg) *dns.Msg {
	w.t.Helper()
	b, err := q.Pack()
	if err != nil {
		w.t.Fatal(err)
	}
	a := w.raw(b)
	m := new(dns.Msg)
	if err := m.Unpack(a); err != nil {
		w.t.Fatalf("the answer to %v is no message: %v\n%x", q.Question, err, a)
	}
	if m.Id != q.Id || !m.Response || len(q.Question) == 1 && !slices.Equal(m.Question, q.Question) {
		w.t.Errorf("%v is answered with %v", q, m)
	}
	return m
}

// get asks for a name.
func (w *world) get(name string, typ uint16) *dns.Msg {
	w.t.Helper()
	return w.ask(question(name, typ))
}

// show writes an answer as lines: the code and flags, then the records, of each
// section sorted.
func show(m *dns.Msg) string {
	var b strings.Builder
	if m.Rcode == dns.RcodeBadVers { // which is another's number too
		b.WriteString("BADVERS")
	} else {
		b.WriteString(dns.RcodeToString[m.Rcode])
	}
	for _, f := range []struct {
		set  bool
		name string
	}{{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionAvailable, "ra"}, {m.Zero, "z"}, {m.AuthenticatedData, "ad"}} {
		if f.set {
			b.WriteString(" " + f.name)
		}
	}
	b.WriteString("\n")
	for n, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		var lines []string
		for _, rr := range section {
			if soa, ok := rr.(*dns.SOA); ok {
				soa.Serial = 0
			}
			if rr.Header().Rrtype != dns.TypeOPT {
				lines = append(lines, [...]string{"", "authority ", "additional "}[n]+strings.Join(strings.Fields(rr.String()), " ")+"\n")
			}
		}
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, ""))
	}
	return b.String()
}

// addresses returns those of the answers, as they are.
func addresses(m *dns.Msg) (all []string) {
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			all = append(all, rr.A.String())
		case *dns.AAAA:
			all = append(all, rr.AAAA.String())
		}
	}
	return all
}

func TestAddresses(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	w.register(web(1), web(2), web(3))
	m := w.get("web.service.rollcall.", dns.TypeA)
	if got, want := show(m), "NOERROR aa\nweb.service.rollcall. 1 IN A 10.0.0.2\nweb.service.rollcall. 1 IN A 10.0.0.3\nweb.service.rollcall. 1 IN A 10.0.0.4\n"; got != want {
		t.Errorf("got %s want %s", got, want)
	}
}

// TestYetToCome: a server answers before there is a registry to ask, but not that there
// is nothing.
func TestYetToCome(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	w.register(web(1))
	s, err := dnsapi.Prepare(nil, dnsapi.Options{Zones: zones()})
	if err != nil {
		t.Fatal(err)
	}
	w.handler = dnsapi.Handler(s, 1)
	for _, name := range []string{"web.service.rollcall.", "nobody.service.rollcall.", "rollcall.", "example.com."} {
		if m := w.ask(with(question(name, dns.TypeA), 1232)); show(m) != "SERVFAIL\n" || len(m.IsEdns0().Option) != 1 {
			t.Errorf("got %v", m)
		}
	}
	s.Open(w.reg)
	if m := w.get("web.service.rollcall.", dns.TypeA); len(m.Answer) != 1 {
		t.Errorf("got %v", m)
	}
}
