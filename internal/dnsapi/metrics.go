package dnsapi

import (
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the door's. All counters there can be are made at once, so that nothing
// is looked up for a query, and so that nobody who asks can make more of them.
type metrics struct {
	queries   [2][len(types)][len(rcodes)]prometheus.Counter // by transport
	truncated prometheus.Counter
	limited   prometheus.Counter
	forwarded struct{ answered, failed prometheus.Counter }
}

// types are those that are counted by name; the first is all others.
var types = [...]struct {
	code uint16
	name string
}{
	{0, "other"},
	{dns.TypeA, "A"}, {dns.TypeAAAA, "AAAA"}, {dns.TypeSRV, "SRV"}, {dns.TypeTXT, "TXT"}, {dns.TypePTR, "PTR"}, {dns.TypeSOA, "SOA"}, {dns.TypeNS, "NS"},
	{dns.TypeCNAME, "CNAME"}, {dns.TypeANY, "ANY"}, {dns.TypeHTTPS, "HTTPS"}, {dns.TypeSVCB, "SVCB"},
}

// rcodes are the names of response codes; the last two are all others and that of
// EDNS, which is none of a header.
var rcodes = [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "other", "BADVERS"}

func newMetrics(reg prometheus.Registerer) *metrics {
	queries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rollcall_dns_queries_total",
		Help: "DNS queries that were answered, by type, response code and transport.",
	}, []string{"type", "rcode", "transport"})
	forwarded := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rollcall_dns_forwarded_total",
		Help: "DNS queries that were passed on to upstreams, by what came of it.",
	}, []string{"outcome"})
	m := &metrics{
		truncated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rollcall_dns_truncated_total",
			Help: "DNS answers that were cut, so that they are asked for again over TCP.",
		}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rollcall_dns_limited_total",
			Help: "DNS queries whose network asks more often than it may, and gets as little as can be.",
		}),
	}
	for t, transport := range [...]string{"udp", "tcp"} {
		for n := range types {
			for c, code := range rcodes {
				m.queries[t][n][c] = queries.WithLabelValues(types[n].name, code, transport)
			}
		}
	}
	m.forwarded.answered = forwarded.WithLabelValues("answered")
	m.forwarded.failed = forwarded.WithLabelValues("failed")
	if reg != nil {
		reg.MustRegister(queries, forwarded, m.truncated, m.limited)
	}
	return m
}

// count counts an answer to a query for a type.
func (m *metrics) count(typ uint16, answer []byte, tcp, badVersion bool) {
	if len(answer) < headerSize {
		return
	}
	transport, of, code := 0, 0, min(int(answer[3]&0xf), len(rcodes)-2)
	if tcp {
		transport = 1
	}
	if badVersion {
		code = len(rcodes) - 1
	}
	for n := 1; n < len(types); n++ {
		if types[n].code == typ {
			of = n
			break
		}
	}
	m.queries[transport][of][code].Inc()
	if answer[2]&bitTC != 0 {
		m.truncated.Inc()
	}
}
