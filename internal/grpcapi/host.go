package grpcapi

import (
	"context"
	"net"
	"net/netip"

	"google.golang.org/grpc/peer"

	"github.com/rollcall-registry/rollcall"
)

// caller returns the address that a call came from, zero if it has none. No
// header has a say in it.
func caller(ctx context.Context) netip.AddrPort {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.AddrPort{}
	}
	if a, ok := p.Addr.(*net.TCPAddr); ok {
		at := a.AddrPort()
		return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
	}
	return netip.AddrPort{}
}

// settle fills in where an instance is, if it does not say, and notes whether
// the call came from there. Addresses that mean another machine to everybody are
// the ones for which that matters: loopback and link-local ones.
func settle(i *rollcall.Instance, from netip.Addr) {
	if i.Address == "" && from.IsValid() {
		i.Address = from.String()
	}
	at, err := netip.ParseAddr(i.Address)
	at = at.Unmap().WithZone("")
	i.Vouched = err == nil && from.IsValid() && (at.IsLoopback() && from.IsLoopback() || at.IsLinkLocalUnicast() && at == from)
}
