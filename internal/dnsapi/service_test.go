package dnsapi_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/dnsapi"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/place"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// TestTimeToLive: how long an answer may be kept, and that this was said.
func TestTimeToLive(t *testing.T) {
	w := newWorld(t, dnsapi.Options{TTL: 2 * time.Second})
	fleet(w)
	w.settings("web", rollcall.Settings{DNSTTL: new(rollcall.Duration(30 * time.Second))})
	w.settings("my.web", rollcall.Settings{DNSTTL: new(rollcall.Duration(1500 * time.Millisecond))})
	w.settings("six", rollcall.Settings{DNSTTL: new(rollcall.Duration(0))})
	for _, c := range []struct {
		name string
		typ  uint16
		ttl  uint32
		told string
	}{
		{"web.service.rollcall.", dns.TypeA, 30, "default/web 30s"},
		{"web.service.rollcall.", dns.TypeSRV, 30, "default/web 30s"},
		{"web.service.rollcall.", dns.TypeTXT, 30, "default/web 30s"},
		{"_web._tcp.rollcall.", dns.TypePTR, 30, "default/web 30s"},
		{"a.web.instance.rollcall.", dns.TypeA, 30, "default/web 30s"},
		{"a.web.instance.rollcall.", dns.TypeTXT, 30, "default/web 30s"},
		{"named.service.rollcall.", dns.TypeA, 2, "default/named 2s"},
		{"n.named.instance.rollcall.", dns.TypeA, 2, "default/named 2s"},
		{"my.web.service.rollcall.", dns.TypeA, 2, "default/my.web 2s"},
		{"six.service.rollcall.", dns.TypeAAAA, 0, "default/six 0s"},
		{"web.service.team.ns.rollcall.", dns.TypeA, 2, "team/web 2s"},
		{"either.service.rollcall.", dns.TypeA, 2, "default/my.web 2s"},
		{"1.0.0.10.in-addr.arpa.", dns.TypePTR, 2, "default/web 2s"},
		{"host-1.node.consul.", dns.TypeA, 2, "default/web 2s"},
		{"down.service.rollcall.", dns.TypeA, 0, ""},
		{"nobody.service.rollcall.", dns.TypeA, 0, ""},
		{"web.service.rollcall.", dns.TypeAAAA, 0, ""},
		{"0a000001.addr.rollcall.", dns.TypeA, 3600, ""},
	} {
		w.reg.of = nil
		m := w.get(c.name, c.typ)
		for _, rr := range m.Answer {
			if rr.Header().Ttl != c.ttl {
				t.Errorf("%s: %v", c.name, rr)
			}
		}
		if got := strings.Join(w.reg.of, ","); got != c.told {
			t.Errorf("%s %s: told %q, want %q", c.name, dns.TypeToString[c.typ], got, c.told)
		}
	}
}

// TestTimeToLiveOfSeveral: an answer of several services may be kept for as long as that of
// each may be, and that was said of each.
func TestTimeToLiveOfSeveral(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	fleet(w)
	target := func(service string) rollcall.Split {
		return rollcall.Split{Percent: 50, QueryTarget: rollcall.QueryTarget{Service: service}}
	}
	q := &rollcall.NamedQuery{Name: "both", Split: []rollcall.Split{target("web"), target("my.web")}}
	if _, _, err := w.reg.PutQuery(t.Context(), q, 0); err != nil {
		t.Fatal(err)
	}
	for n, typ := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeTXT} {
		one, other := 20*time.Second, 30*time.Second
		if n%2 == 1 {
			one, other = other, one
		}
		w.settings("web", rollcall.Settings{DNSTTL: new(rollcall.Duration(one))})
		w.settings("my.web", rollcall.Settings{DNSTTL: new(rollcall.Duration(other))})
		w.reg.of = nil
		m := w.get("both.service.rollcall.", typ)
		slices.Sort(w.reg.of)
		if got := strings.Join(w.reg.of, ","); len(m.Answer) != 3 || m.Answer[0].Header().Ttl != 20 || got != "default/my.web 20s,default/web 20s" {
			t.Errorf("told %q of %v", got, m)
		}
	}
}

// TestNoRoom: what no view has room for is good for one answer.
func TestNoRoom(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	fleet(w)
	v, err := w.reg.Items(rollcall.NewServiceKey("", "down"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		v.Keep(fmt.Sprint(n), make([]byte, catalog.DefaultMemoBytes/4-200+n))
	}
	for range 3 {
		for _, c := range [][2]string{{"my.web.service.rollcall.", "10.0.1.1"}, {"portless.service.rollcall.", "10.0.4.1"}} {
			if got := addresses(w.get(c[0], dns.TypeA)); !slices.Equal(got, c[1:]) {
				t.Errorf("%s: %v, want %s", c[0], got, c[1])
			}
		}
	}
}

// TestChange: an answer is of what is there when it is asked for.
func TestChange(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	w.register(web(1), web(2))
	ask := func(want ...string) {
		t.Helper()
		got := addresses(w.get("web.service.rollcall.", dns.TypeA))
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	ask("10.0.0.2", "10.0.0.3")
	w.register(web(3))
	ask("10.0.0.2", "10.0.0.3", "10.0.0.4")
	w.down("web", "web-2")
	ask("10.0.0.2", "10.0.0.4")
	if err := w.reg.Deregister(t.Context(), rollcall.NewKey("", "web", "web-1"), 0); err != nil {
		t.Fatal(err)
	}
	ask("10.0.0.4")
}

// TestChangeBehind: a name that means a service by what it means second.
func TestChangeBehind(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	fleet(w)
	i := web(1)
	i.Namespace, i.Service = "team", "only"
	for want := range 3 {
		if want == 2 {
			w.register(i)
		}
		if got := w.get("only.team.service.rollcall.", dns.TypeA); len(got.Answer) != max(1, want) {
			t.Errorf("got %v", got)
		}
	}
}

// failing is a core that knows nothing, for one reason.
type failing struct {
	dnsapi.Registry
	err error
}

func (f failing) Resolve(context.Context, *rollcall.Query) (*resolve.Answer, error) {
	return nil, f.err
}
func (f failing) Services(context.Context, string, time.Time, string, int) ([]rollcall.ServiceSummary, string, error) {
	return nil, "", f.err
}
func (f failing) Item(rollcall.Key) (*catalog.Item, error)         { return nil, f.err }
func (f failing) Items(rollcall.ServiceKey) (*catalog.View, error) { return nil, f.err }
func (f failing) On(string, int) ([]*catalog.Item, error)          { return nil, f.err }
func (f failing) Revision() rollcall.Revision                      { return 0 }
func (f failing) Stamp(rollcall.ServiceKey) *atomic.Uint64         { return new(atomic.Uint64) }

// TestFailures: "not known yet" is never "there is none".
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
		info uint16
	}{
		{rollcall.ErrNotSynced, "SERVFAIL\n", dns.ExtendedErrorCodeNotReady},
		{rollcall.ErrSettling, "SERVFAIL\n", dns.ExtendedErrorCodeNotReady},
		{rollcall.ErrForbidden, "REFUSED\n", dns.ExtendedErrorCodeProhibited},
		{errors.New("broken"), "SERVFAIL\n", dns.ExtendedErrorCodeOther},
	} {
		s, err := dnsapi.Prepare(failing{err: c.err}, dnsapi.Options{Zones: zones()})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, server: s, handler: dnsapi.Handler(s, 1), from: loopback}
		for _, name := range []string{"web.service.rollcall.", "x.web.service.rollcall.", "a.web.instance.rollcall.", "_services._dns-sd._udp.rollcall.", "_web._tcp.rollcall.", "host.node.consul."} {
			m := w.ask(with(question(name, dns.TypePTR), 1232))
			if got := show(m); got != c.want {
				t.Errorf("%v: %s is answered with %s", c.err, name, got)
			}
			if o := m.IsEdns0().Option; len(o) != 1 || o[0].(*dns.EDNS0_EDE).InfoCode != c.info || o[0].(*dns.EDNS0_EDE).ExtraText == "" {
				t.Errorf("%v: %s: %v", c.err, name, o)
			}
		}
	}
}

// settling is a core to which only some services are back.
type settling struct{ dnsapi.Registry }

func (s settling) Resolve(ctx context.Context, q *rollcall.Query) (*resolve.Answer, error) {
	a, err := s.Registry.Resolve(ctx, q)
	if errors.Is(err, rollcall.ErrNotFound) {
		err = rollcall.ErrSettling
	}
	return a, err
}

func (s settling) Items(key rollcall.ServiceKey) (*catalog.View, error) {
	v, err := s.Registry.Items(key)
	if errors.Is(err, rollcall.ErrNotFound) {
		err = rollcall.ErrSettling
	}
	return v, err
}

// TestSettling: what is back is answered for, the rest may be about to be.
func TestSettling(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	fleet(w)
	s, err := dnsapi.Prepare(settling{w.reg}, dnsapi.Options{Zones: zones()})
	if err != nil {
		t.Fatal(err)
	}
	w.handler = dnsapi.Handler(s, 1)
	for name, code := range map[string]int{
		"web.service.rollcall.": 0, "canary.web.service.rollcall.": 0, "down.service.rollcall.": 0, "nobody.service.rollcall.": dns.RcodeServerFailure, "x.nobody.service.rollcall.": dns.RcodeServerFailure,
		"web.rollcall.": dns.RcodeNameError, "service.rollcall.": 0, "z.web.instance.rollcall.": dns.RcodeNameError, "z.nobody.instance.rollcall.": dns.RcodeServerFailure,
		"_services._dns-sd._udp.rollcall.": 0, "_services._dns-sd._udp.nobody.ns.rollcall.": dns.RcodeServerFailure,
	} {
		if m := w.get(name, dns.TypePTR); m.Rcode != code {
			t.Errorf("%s: %v", name, m)
		}
	}
}

// TestFrequencies: over 10⁵ answers the first record, and which records are in an
// answer that is cut, are as the weights say (χ²). The seed is fixed, so this holds
// or does not hold for ever.
func TestFrequencies(t *testing.T) {
	const answers = 100_000
	w := newWorld(t, dnsapi.Options{})
	weights := []uint16{1, 2, 3, 4, 10, 30, 50}
	var sum float64
	for n, weight := range weights {
		i := web(n)
		i.Weight = &weight
		w.register(i)
		sum += float64(weight)
	}
	for n := range 100 { // of which 28 fit
		i := web(n)
		i.Service, i.Weight = "many", new(uint16(100))
		w.register(i)
	}
	raw := pack(t, question("web.service.rollcall.", dns.TypeA))
	first := make([]float64, len(weights))
	var room []byte
	for range answers {
		room, _ = w.handler.Answer(room[:0], raw, w.from)
		first[room[len(raw)+15]-1]++ // the last byte of the address
	}
	x := 0.0
	for n, weight := range weights {
		want := answers * float64(weight) / sum
		x += (first[n] - want) * (first[n] - want) / want
	}
	if x > 16.81 { // 99 % of 6 degrees of freedom
		t.Errorf("first records %v of weights %v: χ² is %.1f", first, weights, x)
	}

	raw = pack(t, question("many.service.rollcall.", dns.TypeA))
	in := make([]float64, 100)
	total := 0.0
	for range answers {
		room, _ = w.handler.Answer(room[:0], raw, w.from)
		for at := len(raw); at < len(room); at += 16 {
			in[room[at+15]-1]++
			total++
		}
	}
	x, share := 0.0, total/answers/100
	for _, n := range in {
		want := answers * share
		x += (n - want) * (n - want) / (want * (1 - share))
	}
	x *= 99.0 / 100               // as the number in each answer is always the same
	if x > 134.6 || share < 0.2 { // 99 % of 99 degrees of freedom
		t.Errorf("inclusion %v: χ² is %.1f", in, x)
	}
}

// TestNearPoint: a point has no zones; the nearest are called, others stand in.
func TestNearPoint(t *testing.T) {
	w := newWorld(t, dnsapi.Options{Places: subnets(t, place.Subnet{Prefix: prefix("127.0.0.0/8"), Near: "52.52,13.40"})})
	for n, at := range []rollcall.Position{{Lat: 52.4, Lon: 13.1}, {Lat: 52.5, Lon: 13.4}, {Lat: 48.1, Lon: 11.6}, {Lat: 40.7, Lon: -74}} {
		i := web(n)
		i.Position = &at
		w.register(i)
	}
	first := map[string]int{}
	for range 1000 {
		got := addresses(w.get("web.service.rollcall.", dns.TypeA))
		if len(got) != 4 {
			t.Fatalf("got %v", got)
		}
		first[got[0]]++
	}
	if first["10.0.0.1"] < 400 || first["10.0.0.2"] < 400 || first["10.0.0.3"]+first["10.0.0.4"] > 5 {
		t.Errorf("first records %v", first)
	}
}

// TestRemembered: what is remembered has a bound, and is of what is there, whatever whoever
// asks makes up.
func TestRemembered(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	w.from.TCP = true
	for n := range 300 {
		i := web(n)
		i.Service = fmt.Sprintf("web-%d", n)
		w.register(i)
		w.get(i.Service+".service.rollcall.", dns.TypeA)
	}
	if n := dnsapi.Known(w.handler); n != 256 {
		t.Errorf("%d questions are remembered", n)
	}
	w.handler = dnsapi.Handler(w.server, 1)
	i := web(1)
	i.Version = "2.4.1"
	w.register(i)
	for _, name := range []string{"web.service.rollcall.", "WEB.service.rollcall.", "web.Service.rollcall."} {
		w.get(name, dns.TypeA)
	}
	for n := range 10 {
		w.get(fmt.Sprintf("_p%d._tcp.web.service.rollcall.", n), dns.TypeSRV)
		w.get(fmt.Sprintf("x%d.service.rollcall.", n), dns.TypeA)
		w.get(fmt.Sprintf("x%d.web.service.rollcall.", n), dns.TypeA)
		w.get("web.service.rollcall.", uint16(1000+n))
	}
	if n := dnsapi.Known(w.handler); n != 1 {
		t.Errorf("%d questions are remembered of one", n)
	}
	w.get("web.service.rollcall.", dns.TypeAAAA)
	w.get("_http._tcp.web.service.rollcall.", dns.TypeSRV)
	w.get("2.4.1.web.service.rollcall.", dns.TypeA)
	if n := dnsapi.Known(w.handler); n != 4 {
		t.Errorf("%d questions are remembered of four", n)
	}
}

// whole is a core that is not to be asked for some of a service.
type whole struct {
	dnsapi.Registry
	t *testing.T
}

func (c whole) Resolve(ctx context.Context, q *rollcall.Query) (*resolve.Answer, error) {
	if q.Filter != "" {
		c.t.Errorf("asked for %s", q.Filter)
	}
	return c.Registry.Resolve(ctx, q)
}

// TestMadeUp: a selection that nobody can meet is not looked for among all.
func TestMadeUp(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	fleet(w)
	s, err := dnsapi.Prepare(whole{w.reg, t}, dnsapi.Options{Zones: zones()})
	if err != nil {
		t.Fatal(err)
	}
	w.handler = dnsapi.Handler(s, 1)
	for _, name := range []string{"x.web.service.rollcall.", "2.4.web.service.rollcall.", "anary.web.service.rollcall.", "x.web.service.consul.", "_x._sub._web._tcp.rollcall."} {
		for _, typ := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeTXT, dns.TypePTR, dns.TypeANY} {
			if m := w.get(name, typ); m.Rcode != dns.RcodeSuccess || len(m.Answer) != 0 || len(m.Ns) != 1 {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newWorld(t, dnsapi.Options{Registerer: reg, Rate: 1})
	fleet(w)
	w.fill("many", 100)
	w.get("web.service.rollcall.", dns.TypeA)
	w.get("web.service.rollcall.", dns.TypeA)
	w.get("nobody.service.rollcall.", dns.TypeSRV)
	w.get("many.service.rollcall.", dns.TypeA)
	w.get("example.com.", dns.TypeMX)
	q := question("web.service.rollcall.", dns.TypeA)
	q.SetEdns0(512, false)
	q.IsEdns0().SetVersion(1)
	w.ask(q)
	w.from = exposed
	w.get("web.service.rollcall.", dns.TypeAAAA)
	w.get("web.service.rollcall.", dns.TypeAAAA)
	w.from.TCP = true
	w.get("web.service.rollcall.", dns.TypeTXT)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			line := strings.TrimPrefix(f.GetName(), "rollcall_dns_")
			for _, l := range m.GetLabel() {
				line += " " + l.GetValue()
			}
			if v := m.GetCounter().GetValue(); v > 0 {
				got[line] = v
			}
		}
	}
	if diff := cmp.Diff(map[string]float64{
		"queries_total NOERROR udp A": 3, "queries_total NXDOMAIN udp SRV": 1, "queries_total REFUSED udp other": 1, "queries_total BADVERS udp A": 1,
		"queries_total NOERROR udp AAAA": 2, "queries_total NOERROR tcp TXT": 1, "truncated_total": 2, "limited_total": 1,
	}, got); diff != "" {
		t.Error(diff)
	}
}

// TestAllocations: the usual query costs no memory but the core's answer.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	reg := newRegistry(t)
	w := serve(t, reg, dnsapi.Options{})
	w.fill("web", 100)
	s, err := dnsapi.Prepare(reg, dnsapi.Options{Zones: zones(), Rate: 1_000_000_000})
	if err != nil {
		t.Fatal(err)
	}
	h := dnsapi.Handler(s, 1)
	w.handler, w.from = h, exposed
	room := make([]byte, 0, 65535)
	for name, q := range map[string]*dns.Msg{
		"A": question("web.service.rollcall.", dns.TypeA), "SRV": question("WEB.service.consul.", dns.TypeSRV), "port": question("_http._tcp.web.service.rollcall.", dns.TypeSRV),
		"EDNS": with(question("web.service.rollcall.", dns.TypeA), 1232), "cookie": w.cookie(question("web.service.rollcall.", dns.TypeA)),
	} {
		raw := pack(t, q)
		if n := testing.AllocsPerRun(1000, func() { room, _ = h.Answer(room[:0], raw, exposed) }); n > 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
