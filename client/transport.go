package client

import (
	"context"
	"net/http"

	"github.com/rollcall-registry/rollcall/client/internal/local"
	"github.com/rollcall-registry/rollcall/client/internal/roundtrip"
)

// Transport returns a transport whose requests to services go to instances of them,
// chosen as [Client.Pick] does: http://payments/charge to one of the service payments
// in the client's namespace, http://payments.shop.service.rollcall/charge to one of
// payments in the namespace shop. A URL with a port, an IP address, localhost and all
// other hosts with a dot have nothing to do with the registry, and are passed on as
// they are.
//
// The instance's port is the one that is called as the scheme is, "http" or "https";
// else "default", or the only one. The Host header names the service, unless the
// request sets it. Requests go through base; if that is nil, through a clone of
// [http.DefaultTransport] that uses no proxy to reach instances, and whose connections
// are its own: keep the transport, rather than to make one for each request. With https, an
// instance's certificate must hold for its address.
//
// A request is sent again, to at most two other instances, if nothing of it was sent
// to the first because no connection could be had (which base tells by
// [net/http/httptrace], as that of net/http does); and, if it may be carried out twice
// and its body can be had again (see [http.Request.GetBody]), also if the connection
// broke or the answer was 502, 503 or 504. It may be carried out twice if its method is
// GET, HEAD, OPTIONS, TRACE, PUT or DELETE, or it has a header Idempotency-Key. No more than a
// fifth of a service's requests of ten seconds, and ten, are carried out again.
//
// That an instance cannot be reached, breaks off, or answers 429 or 5xx (but for 501
// and 505) is told to [Pick.Done]; that the caller cancelled is not. A request counts
// as under way until the header of its answer is there. Errors name the instances that
// were tried.
func (c *Client) Transport(base http.RoundTripper) http.RoundTripper {
	return roundtrip.New(base, services{c.local})
}

// services are what a transport picks from.
type services struct{ *local.Local }

func (s services) Pick(ctx context.Context, service string) (roundtrip.Pick, error) {
	return s.Local.Pick(ctx, service)
}

func (s services) PickOther(service string, not ...string) (roundtrip.Pick, error) {
	of, err := s.Named(service)
	if err != nil {
		return nil, err
	}
	return of.PickOther(not...)
}
