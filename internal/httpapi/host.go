package httpapi

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/rollcall-registry/rollcall"
)

// loopback reports whether a request's Host names the machine that it was sent
// on: a loopback address, localhost or a name under it. Resolvers answer no
// other name of somebody's own choice with it (RFC 6761, 6.3). It allocates
// nothing for a host that it accepts.
func loopback(host string) bool {
	if n := strings.LastIndexByte(host, ':'); n >= 0 && !strings.HasSuffix(host, "]") {
		if strings.Trim(host[n+1:], "0123456789") != "" {
			return false
		}
		host = host[:n]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if host, ok = strings.CutSuffix(inner, "]"); !ok {
			return false
		}
	} else {
		host = strings.TrimSuffix(host, ".")
		const name = "localhost"
		if n := len(host) - len(name); n >= 0 && strings.EqualFold(host[n:], name) && (n == 0 || n > 1 && host[n-1] == '.') {
			return true
		}
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// foreignHost keeps web pages from a server that asks for no credentials: a
// page may have its own name resolve to a loopback address (DNS rebinding), and
// is of the same origin then as all that it finds there.
func foreignHost(host string) error {
	return &rollcall.Error{
		Kind: rollcall.ErrForbidden, Field: "Host",
		Detail: fmt.Sprintf("%.100q is not a name of this machine's loopback, which is all that this server answers to; "+
			"call it as localhost, NAME.localhost, 127.0.0.1 or [::1], or start it with --insecure to be called by any name", host),
	}
}
