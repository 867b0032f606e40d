package dnsapi

import (
	"errors"
	"time"

	"github.com/miekg/dns"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/name"
)

// codes says how an error of the core is answered: with which code, and which
// extended one (RFC 8914). It is read from the top; what is not in it is SERVFAIL.
var codes = []struct {
	err  error
	code int
	info uint16
}{
	{rollcall.ErrNotFound, dns.RcodeNameError, dns.ExtendedErrorCodeOther},
	{errNobody, dns.RcodeSuccess, dns.ExtendedErrorCodeOther},
	{rollcall.ErrInvalid, dns.RcodeNameError, dns.ExtendedErrorCodeOther}, // no such name can be
	{rollcall.ErrNotSynced, dns.RcodeServerFailure, dns.ExtendedErrorCodeNotReady},
	{rollcall.ErrSettling, dns.RcodeServerFailure, dns.ExtendedErrorCodeNotReady},
	{rollcall.ErrForbidden, dns.RcodeRefused, dns.ExtendedErrorCodeProhibited},
	{rollcall.ErrUnauthenticated, dns.RcodeRefused, dns.ExtendedErrorCodeProhibited},
}

// failed answers that the core has no answer.
func (h *handler) failed(b []byte, q *query, err error, origin int) []byte {
	for _, c := range codes {
		if !errors.Is(err, c.err) {
			continue
		}
		switch c.code {
		case dns.RcodeSuccess:
			q.explain(c.info, err.Error())
			return h.nothing(b, q, c.code, origin)
		case dns.RcodeNameError:
			return h.nothing(b, q, c.code, origin)
		}
		q.explain(c.info, err.Error())
		return h.reply(q, c.code).send(b, false)
	}
	h.log("a query failed", err)
	q.explain(dns.ExtendedErrorCodeOther, "the registry could not answer; its log says why")
	return h.reply(q, dns.RcodeServerFailure).send(b, false)
}

// absent is [handler.failed] for a name that may be part of others: what is known to
// be below it is below a namespace. Who asks for a long name label by label (RFC 9156)
// would take NXDOMAIN for the end of the way.
func (h *handler) absent(b []byte, q *query, err error, n *name.Name) []byte {
	m := n.Meanings[0]
	switch {
	case !errors.Is(err, rollcall.ErrNotFound) || n.Zone.Datacenter != "":
	case n.Kind == name.Service && m.Selection == "":
		if ss, _, err := h.reg.Services(h.s.ctx, m.Service.Service, time.Time{}, "", 1); err == nil && len(ss) > 0 {
			return h.nothing(b, q, dns.RcodeSuccess, n.Origin)
		}
	case n.Kind == name.Instance:
		if _, err := h.reg.Items(rollcall.NewServiceKey(m.Service.Service, m.ID)); err == nil {
			return h.nothing(b, q, dns.RcodeSuccess, n.Origin)
		}
	}
	return h.failed(b, q, err, n.Origin)
}

// nothing answers that there is no record of the type that was asked for, or with
// NXDOMAIN none at all, of a name in the zone that begins at origin.
func (h *handler) nothing(b []byte, q *query, code, origin int) []byte {
	r := h.reply(q, code)
	r.soa(sectionAuthority, origin)
	return r.send(b, true)
}

// refused answers a query for a name that is not ours.
func (h *handler) refused(b []byte, q *query) []byte {
	why := "not a name of a zone of this server; see rollcall serve --dns-zone and --dns-upstreams"
	if h.s.forward != nil {
		why = "not a name of a zone of this server, and recursion was not desired"
	}
	q.explain(dns.ExtendedErrorCodeNotAuthoritative, why)
	return h.reply(q, dns.RcodeRefused).send(b, false)
}

func (h *handler) log(text string, err error) {
	if h.s.o.Logger != nil {
		h.s.o.Logger.Error(text, "err", err)
	}
}
