package dnsapi

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/answer"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/forward"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/limit"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/name"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/place"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/socket"
)

// DefaultTTL is the time to live of the answers about services whose settings say
// nothing.
const DefaultTTL = time.Second

// Options are what a server is made of.
type Options struct {
	Addr  string      // host:port, for UDP and TCP; port 0 is a free one
	Zones []name.Zone // at least one
	// TTL is the time to live of the answers about services whose settings say
	// nothing; 0: [DefaultTTL].
	TTL    time.Duration
	Places *place.Table // of askers; nil: no place is known
	// Upstreams are asked for names outside of the zones; without any, such names are
	// refused.
	Upstreams  []netip.AddrPort
	Rate       int // answers a second to a network; 0: no limit
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: nobody reads the metrics
}

// Server answers queries over UDP and TCP.
type Server struct {
	reg     atomic.Pointer[Registry] // nil: there is none yet
	o       Options
	names   *name.Zones
	zones   []zone
	reverse answer.Terms // of the names that addresses have
	limiter *limit.Limiter
	cookies *limit.Cookies
	forward *forward.Forwarder // nil: names outside of the zones are refused
	metrics *metrics
	socket  *socket.Server
	sets    sets
	ctx     context.Context // of all who ask: DNS knows nobody by name
}

// zone is what is written of a zone.
type zone struct {
	*name.Zone
	wire []byte
	text string // what the keys of the sets of this zone begin with
}

// New opens the sockets of a server; an error is about them, or about a zone. A registry
// that is nil is one that is yet to come: see [Server.Open].
func New(reg Registry, o Options) (*Server, error) {
	s, err := prepare(reg, o)
	if err != nil {
		return nil, err
	}
	s.socket, err = socket.Listen(socket.Options{Addr: o.Addr, Logger: o.Logger, Handler: func() socket.Handler {
		return s.handler(rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	}})
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// prepare makes a server without sockets.
func prepare(reg Registry, o Options) (*Server, error) {
	names, err := name.New(o.Zones)
	if err != nil {
		return nil, err
	}
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	s := &Server{
		o: o, names: names, limiter: limit.New(limit.Options{Rate: o.Rate}), cookies: limit.NewCookies(time.Now), metrics: newMetrics(o.Registerer),
		ctx: auth.With(context.Background(), auth.Anonymous("dns")),
	}
	if reg != nil {
		s.Open(reg)
	}
	all := names.All()
	for n := range all {
		z := &all[n]
		s.zones = append(s.zones, zone{Zone: z, wire: name.AppendDomain(nil, z.Name), text: "dns " + z.Name + " "})
		if n == 0 || s.reverse.Datacenter != "" && z.Datacenter == "" {
			s.reverse = answer.Terms{Zone: z.Name, Datacenter: z.Datacenter}
		}
	}
	if len(o.Upstreams) > 0 {
		s.forward = forward.New(forward.Options{Upstreams: o.Upstreams, Logger: o.Logger})
	}
	return s, nil
}

// zone returns what is written of the zone that a name is in.
func (s *Server) zone(n *name.Name) *zone {
	for i := range s.zones {
		if s.zones[i].Zone == n.Zone {
			return &s.zones[i]
		}
	}
	return nil
}

// Open gives the server the registry that it asks. Before that it answers SERVFAIL: who
// hears nothing may take the server for dead.
func (s *Server) Open(reg Registry) { s.reg.Store(&reg) }

// Addr returns the address that is listened on, as host:port.
func (s *Server) Addr() string { return s.socket.Addr() }

// Serve answers queries until [Server.Shutdown], and then returns nil.
func (s *Server) Serve() error { return s.socket.Serve() }

// Shutdown ends the server: what is under way is finished, or given up when ctx is
// done.
func (s *Server) Shutdown(ctx context.Context) {
	s.socket.Shutdown(ctx)
	s.close()
}

func (s *Server) close() {
	if s.forward != nil {
		s.forward.Close()
	}
}
