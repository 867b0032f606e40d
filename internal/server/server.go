// Package server puts a Rollcall server together: it opens the log, runs the
// registry on it, and serves the doors. It holds no logic of its own.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall/internal/dnsapi"
	"github.com/rollcall-registry/rollcall/internal/egress"
	"github.com/rollcall-registry/rollcall/internal/grpcapi"
	"github.com/rollcall-registry/rollcall/internal/history"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
	"github.com/rollcall-registry/rollcall/internal/httpapi/cork"
	"github.com/rollcall-registry/rollcall/internal/httpapi/session"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/sniff"
	"github.com/rollcall-registry/rollcall/internal/store/local"
	"github.com/rollcall-registry/rollcall/internal/webhook"
)

// stopWithin is how long requests under way may take when the server stops.
const stopWithin = 10 * time.Second

// Server is a running registry with its doors.
type Server struct {
	config   Config
	log      *local.Log
	history  *history.History
	registry *registry.Registry
	webhooks *webhook.Sender
	listener net.Listener
	api      *httpapi.Server
	http     *http.Server
	grpc     *grpcapi.Server
	both     *sniff.Splitter // of the gRPC address, which also takes HTTP; nil: gRPC is off
	dns      *dnsapi.Server  // nil: it is off
	answered chan error      // has how serving DNS ended
}

// New opens the log and the listener. What it returns must be run, or closed.
func New(c Config) (s *Server, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s = &Server{config: c}
	policy := egress.New(egress.Options{Allow: c.ProbeAllow, Own: s.listens, Setting: "probe-allow"})
	if s.webhooks, err = webhook.New(webhook.Options{Hooks: c.Webhooks, Dial: dial(policy), Logger: c.Logger, Registerer: metrics}); err != nil {
		return nil, err
	}

	// The ports first: that one is taken is the most likely mistake, and finding
	// out costs nothing.
	if err := s.listen(metrics); err != nil {
		return nil, err
	}
	// Then the log, which takes as long as there is to read.
	if s.log, err = local.Open(c.DataDir, local.Options{Logger: c.Logger, Registerer: metrics}); err != nil {
		return nil, errors.Join(err, s.unlisten())
	}
	// History lies beside the log, whose lock keeps others out of both.
	if s.history, err = history.Open(c.DataDir, history.Options{Logger: c.Logger}); err != nil {
		return nil, errors.Join(err, s.log.Close(), s.unlisten())
	}
	s.registry = registry.New(registry.Options{
		Log: s.log, History: s.history, Logger: c.Logger, Metrics: metrics, Version: c.Version, Store: "local",
		Events: s.webhooks.Send, Egress: policy, Exec: c.ExecChecks,
	})
	if s.dns != nil {
		s.dns.Open(s.registry)
	}
	s.api = httpapi.New(s.registry, httpapi.Options{
		Sessions:   sessions{s.registry},
		Logger:     c.Logger,
		Registerer: metrics,
		Metrics:    promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}),
		Pprof:      profiles(c.Pprof),
		// A web page may give a name of its own this machine's address.
		LoopbackOnly: !c.Insecure,
	})
	s.http = httpapi.HTTPServer(s.api)
	if s.both != nil {
		s.grpc = grpcapi.New(s.registry, grpcapi.Options{Sessions: grpcSessions{s.registry}, Logger: c.Logger, Registerer: metrics})
	}
	return s, nil
}

// listen opens the ports.
func (s *Server) listen(metrics prometheus.Registerer) (err error) {
	if s.listener, err = net.Listen("tcp", s.config.HTTP); err != nil {
		return fmt.Errorf("%w; choose another address with --http", err)
	}
	if s.config.GRPC != off {
		l, err := net.Listen("tcp", s.config.GRPC)
		if err != nil {
			return errors.Join(fmt.Errorf("%w; choose another address with --grpc, or none with --grpc off", err), s.unlisten())
		}
		s.both = sniff.Split(l)
	}
	if err := s.listenDNS(metrics); err != nil {
		return errors.Join(err, s.unlisten())
	}
	return nil
}

// unlisten closes the ports, of which nothing was served but, perhaps, DNS.
func (s *Server) unlisten() error {
	if s.dns != nil {
		s.dns.Shutdown(context.Background())
	}
	if s.both == nil {
		return s.listener.Close()
	}
	return errors.Join(s.listener.Close(), s.both.Close())
}

// Addr returns the address that HTTP listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// GRPCAddr returns the address that gRPC listens on, "off" if it does not.
func (s *Server) GRPCAddr() string {
	if s.both == nil {
		return off
	}
	return s.both.HTTP2().Addr().String()
}

// DNSAddr returns the address that DNS is served at, by UDP and TCP; "off" if it is
// not.
func (s *Server) DNSAddr() string {
	if s.dns == nil {
		return off
	}
	return s.dns.Addr()
}

// Run serves until ctx ends, then stops in the reverse order: streams are told
// to go elsewhere, requests under way are finished, soft state that belongs into
// the log is written, and the log is closed. ready is called once everything is
// served.
func (s *Server) Run(ctx context.Context, ready func()) (err error) {
	defer func() { err = errors.Join(err, s.history.Close(), s.log.Close()) }()
	core, stopCore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCore()
	keep, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()
	var g errgroup.Group
	g.Go(func() error { return s.history.Run(keep) })
	g.Go(func() error {
		defer stopKeeping() // history ends with what the registry did last
		defer stopCore()
		return s.registry.Run(core)
	})
	g.Go(func() error { return s.webhooks.Run(core) })
	err = s.serve(ctx, core, ready)
	stopCore()
	return errors.Join(err, g.Wait())
}

// serve runs the doors while the core runs.
func (s *Server) serve(ctx, core context.Context, ready func()) error {
	// The doors share the context: if one fails, the server is of no use.
	g, serving := errgroup.WithContext(core)
	if s.dns != nil {
		g.Go(func() error { return <-s.answered })
	}
	// The state first, then whoever asks for it. An interrupt while there is much to
	// read is heard as well.
	starting, stop := context.WithCancel(serving)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	err := s.registry.WaitSynced(starting)
	if err == nil {
		err = s.registerStatic(starting)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = nil
		}
		return errors.Join(err, s.unlisten(), g.Wait())
	}
	g.Go(func() error { return s.serveHTTP(s.listener) })
	if s.both != nil {
		g.Go(s.both.Run)
		g.Go(func() error { return s.serveHTTP(s.both.Other()) })
		g.Go(func() error { return s.grpc.Serve(s.both.HTTP2()) })
		s.grpc.Serving(true)
	}
	s.registry.Serving()
	ready()
	select {
	case <-ctx.Done():
	case <-serving.Done():
	}
	s.stop(ctx)
	return g.Wait()
}

func (s *Server) serveHTTP(l net.Listener) error {
	if err := s.http.Serve(cork.Listen(l)); err != http.ErrServerClosed {
		return fmt.Errorf("http: %w", err)
	}
	return nil
}

// stop closes the doors: first streams are told to go elsewhere, then what is under
// way is waited for.
func (s *Server) stop(ctx context.Context) {
	s.api.EndSessions()
	if s.grpc != nil {
		s.grpc.End()
	}
	s.registry.EndStreams()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	var others sync.WaitGroup
	defer others.Wait()
	if s.grpc != nil {
		others.Go(func() { s.grpc.Shutdown(within) })
	}
	if s.dns != nil {
		others.Go(func() { s.dns.Shutdown(within) })
	}
	if err := s.http.Shutdown(within); err != nil {
		s.config.Logger.Warn("requests were cut off", "err", err)
		s.http.Close()
	}
}

// Close frees what New took, if Run was not called.
func (s *Server) Close() error {
	return errors.Join(s.unlisten(), s.history.Close(), s.log.Close())
}

// listens returns where the server listens: nobody is to have it call itself.
func (s *Server) listens() (all []netip.AddrPort) {
	for _, addr := range []string{s.Addr(), s.GRPCAddr(), s.DNSAddr()} {
		if at, err := netip.ParseAddrPort(addr); err == nil {
			all = append(all, at)
		}
	}
	return all
}

// dial returns a dialler of what a policy permits.
func dial(p *egress.Policy) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, text, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, err
		}
		return p.Dial(ctx, host, uint16(port), false)
	}
}

// sessions are the registry's, as the door knows them.
type sessions struct{ r *registry.Registry }

func (s sessions) OpenSession(ctx context.Context, token string, ttl time.Duration) (session.Session, bool, error) {
	return s.r.OpenSession(ctx, token, ttl)
}

// grpcSessions are the same for the other door.
type grpcSessions struct{ r *registry.Registry }

func (s grpcSessions) OpenSession(ctx context.Context, token string, ttl time.Duration) (grpcapi.Session, bool, error) {
	return s.r.OpenSession(ctx, token, ttl)
}

// profiles serves net/http/pprof without its registrations on the default mux.
func profiles(on bool) http.Handler {
	if !on {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
