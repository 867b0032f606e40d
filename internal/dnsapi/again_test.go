package dnsapi_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/socket"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// TestAgain: what is answered over and over is another answer as soon as anything changes
// that it depends on.
func TestAgain(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	ask := func(what, want string) {
		t.Helper()
		for n := range 3 {
			m := w.get("web.service.rollcall.", dns.TypeA)
			got := addresses(m)
			slices.Sort(got)
			if text := fmt.Sprint(strings.Join(got, " "), " ", m.Rcode); text != want {
				t.Errorf("%s, asked %d times before: %s, want %s", what, n, text, want)
			}
			if len(m.Answer) > 0 && m.Answer[0].Header().Ttl > 1 {
				t.Errorf("%s, asked %d times before: %v", what, n, m.Answer[0])
			}
		}
	}
	ask("nothing", " 3")
	w.register(web(1), web(2))
	ask("two", "10.0.0.2 10.0.0.3 0")
	w.settings("web", rollcall.Settings{DNSTTL: new(rollcall.Duration(time.Minute))})
	if m := w.get("web.service.rollcall.", dns.TypeA); m.Answer[0].Header().Ttl != 60 {
		t.Errorf("settings: %v", m.Answer[0])
	}
	w.settings("web", rollcall.Settings{})
	none := web(1)
	none.Weight = new(uint16(0))
	w.register(none)
	ask("one without a weight", "10.0.0.3 0")
	w.down("web", "web-2")
	ask("none that can be asked", " 0")
	w.register(web(3))
	ask("a third", "10.0.0.4 0")
	q := &rollcall.NamedQuery{Name: "web", Service: "other"}
	if _, _, err := w.reg.PutQuery(t.Context(), q, 0); err != nil {
		t.Fatal(err)
	}
	other := web(9)
	other.Service = "other"
	w.register(other)
	ask("a query of its name", "10.0.0.10 0")
}

// TestAgainIsTold: each answer is noted, also if it was looked up once for all.
func TestAgainIsTold(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	w.register(web(1))
	key := rollcall.NewServiceKey("", "web")
	w.settings("web", rollcall.Settings{DNSTTL: new(rollcall.Duration(time.Hour))})
	for range 2 {
		w.get("web.service.rollcall.", dns.TypeA)
	}
	before := w.reg.Keeping(key).Fetch()
	for start := time.Now(); time.Since(start) < 30*time.Millisecond; { // more than what times are rounded to
		w.get("web.service.rollcall.", dns.TypeA)
	}
	if after := w.reg.Keeping(key).Fetch(); after <= before {
		t.Errorf("noted until %d, after more answers until %d", before, after)
	}
}

// TestExpect: queries that are expected are answered as others, whatever they are.
func TestExpect(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	const services = 2100 // more than a cache is taken to hold
	is := make([]rollcall.Instance, services)
	for n := range is {
		is[n] = web(n)
		is[n].Service = fmt.Sprint("web-", n)
	}
	for _, r := range w.reg.RegisterMany(t.Context(), is) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	expect := w.handler.(socket.Expecter).Expect
	for range 2 {
		for n := range services {
			query := question(fmt.Sprintf("web-%d.service.rollcall.", n), dns.TypeA)
			raw := pack(t, query)
			expect([][]byte{raw, raw[:20], nil, []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), raw[:len(raw)-1]})
			if got := addresses(w.ask(query)); !slices.Equal(got, []string{is[n].Address}) {
				t.Fatalf("web-%d: %v", n, got)
			}
		}
	}
}

// changing is a registry in which something changes right after it was looked at.
type changing struct {
	*told
	change func()
}

func (c *changing) Resolve(ctx context.Context, q *rollcall.Query) (*resolve.Answer, error) {
	a, err := c.told.Resolve(ctx, q)
	if c.change != nil {
		change := c.change
		c.change = nil
		change()
	}
	return a, err
}

// TestChangeUnderWay: an answer that was overtaken before it was noted who keeps it is
// looked up again: whoever waits for resolvers would not wait for these.
func TestChangeUnderWay(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	c := &changing{told: w.reg}
	s, err := dnsapi.Prepare(c, dnsapi.Options{Zones: zones()})
	if err != nil {
		t.Fatal(err)
	}
	w.handler = dnsapi.Handler(s, 1)
	w.register(web(1))
	for n := 2; n < 4; n++ { // one that is new to the handler, and one that is not
		c.change = func() { w.register(web(n)) }
		if got := addresses(w.get("web.service.rollcall.", dns.TypeA)); len(got) != n {
			t.Errorf("got %v, want %d addresses", got, n)
		}
		w.register(web(1 + n*10)) // so that it is looked up the next time
		if err := w.reg.Deregister(t.Context(), rollcall.NewKey("", "web", fmt.Sprint("web-", 1+n*10)), 0); err != nil {
			t.Fatal(err)
		}
	}
}
