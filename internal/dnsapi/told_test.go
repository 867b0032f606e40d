package dnsapi_test

import (
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// overtaken is a registry in which things are done, each just before an answer is noted.
type overtaken struct {
	dnsapi.Registry
	next []func()
}

func (o *overtaken) Told(key rollcall.ServiceKey, ttl time.Duration) {
	o.do()
	o.Registry.Told(key, ttl)
}

func (o *overtaken) Keeping(key rollcall.ServiceKey) *watch.Keeping {
	o.do()
	return o.Registry.Keeping(key)
}

func (o *overtaken) do() {
	if len(o.next) > 0 {
		do := o.next[0]
		o.next = o.next[1:]
		do()
	}
}

// Whoever waits until all have seen a change begins when it is there, and what they do
// not know of yet is not sent as it was before.
func TestAnswersUnderWayAreNotOlderThanTheyAreTaken(t *testing.T) {
	reg := newRegistry(t)
	w := serve(t, reg, dnsapi.Options{})
	w.register(web(1), web(2))
	o := &overtaken{Registry: reg}
	s, err := dnsapi.Prepare(o, dnsapi.Options{Zones: zones()})
	if err != nil {
		t.Fatal(err)
	}
	h := dnsapi.Handler(s, 1)
	key := rollcall.NewKey("", "web", "web-1")
	for _, kind := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypePTR} {
		name := "web.service.rollcall."
		if kind == dns.TypePTR {
			name = "_web._tcp.rollcall."
		}
		q, err := new(dns.Msg).SetQuestion(name, kind).Pack()
		if err != nil {
			t.Fatal(err)
		}
		o.next = []func(){func() {
			if _, err := reg.Drain(t.Context(), key, true, 0); err != nil {
				t.Error(err)
			}
		}}
		raw, _ := h.Answer(nil, q, loopback)
		a := new(dns.Msg)
		if err := a.Unpack(raw); err != nil || len(a.Answer) != 1 {
			t.Errorf("%v, %v; want web-2 alone", a, err)
		}
		if _, err := reg.Drain(t.Context(), key, false, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// An answer that was looked up again may be kept for longer than was said of the first.
func TestAnswersLookedUpAgainAreNotOlderThanTheyAreTaken(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	w.register(web(1), web(2))
	o := &overtaken{Registry: w.reg}
	s, err := dnsapi.Prepare(o, dnsapi.Options{Zones: zones()})
	if err != nil {
		t.Fatal(err)
	}
	o.next = []func(){
		func() { w.settings("web", rollcall.Settings{DNSTTL: new(rollcall.Duration(time.Minute))}) },
		func() {
			if _, err := w.reg.Drain(t.Context(), rollcall.NewKey("", "web", "web-1"), true, 0); err != nil {
				t.Error(err)
			}
		},
	}
	w.handler = dnsapi.Handler(s, 1)
	if got := w.get("web.service.rollcall.", dns.TypeA); len(got.Answer) != 1 || got.Answer[0].Header().Ttl != 60 {
		t.Errorf("%v; want web-2 alone", got)
	}
}

// An answer that is given again is as new as one that is looked up.
func TestAnswersGivenAgainAreNotOlderThanTheyAreTaken(t *testing.T) {
	w := newWorld(t, dnsapi.Options{})
	w.register(web(1), web(2))
	o := &overtaken{Registry: w.reg}
	s, err := dnsapi.Prepare(o, dnsapi.Options{Zones: zones()})
	if err != nil {
		t.Fatal(err)
	}
	w.handler = dnsapi.Handler(s, 1)
	w.get("web.service.rollcall.", dns.TypeA)
	o.next = []func(){func() {
		if _, err := w.reg.Drain(t.Context(), rollcall.NewKey("", "web", "web-1"), true, 0); err != nil {
			t.Error(err)
		}
	}}
	if got := addresses(w.get("web.service.rollcall.", dns.TypeA)); len(got) != 1 || got[0] != "10.0.0.3" || len(o.next) != 0 {
		t.Errorf("%v; want web-2 alone", got)
	}
}
