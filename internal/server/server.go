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
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall/internal/egress"
	"github.com/rollcall-registry/rollcall/internal/history"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
	"github.com/rollcall-registry/rollcall/internal/httpapi/cork"
	"github.com/rollcall-registry/rollcall/internal/httpapi/session"
	"github.com/rollcall-registry/rollcall/internal/registry"
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

	// The port first: that it is taken is the most likely mistake, and finding
	// out costs nothing.
	if s.listener, err = net.Listen("tcp", c.HTTP); err != nil {
		return nil, fmt.Errorf("%w; choose another address with --http", err)
	}
	// Then the log, which takes as long as there is to read.
	if s.log, err = local.Open(c.DataDir, local.Options{Logger: c.Logger, Registerer: metrics}); err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	// History lies beside the log, whose lock keeps others out of both.
	if s.history, err = history.Open(c.DataDir, history.Options{Logger: c.Logger}); err != nil {
		return nil, errors.Join(err, s.log.Close(), s.listener.Close())
	}
	s.registry = registry.New(registry.Options{
		Log: s.log, History: s.history, Logger: c.Logger, Metrics: metrics, Version: c.Version, Store: "local",
		Events: s.webhooks.Send, Egress: policy, Exec: c.ExecChecks,
	})
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
	return s, nil
}

// Addr returns the address that HTTP listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

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
	// The state first, then whoever asks for it. An interrupt while there is
	// much to read is heard as well.
	starting, stop := context.WithCancel(core)
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
		return errors.Join(err, s.listener.Close())
	}
	// The doors share the context: if one fails, the server is of no use.
	g, serving := errgroup.WithContext(core)
	g.Go(func() error {
		if err := s.http.Serve(cork.Listen(s.listener)); err != http.ErrServerClosed {
			return fmt.Errorf("http: %w", err)
		}
		return nil
	})
	s.registry.Serving()
	ready()
	select {
	case <-ctx.Done():
	case <-serving.Done():
	}
	s.api.EndSessions()
	s.registry.EndStreams()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := s.http.Shutdown(within); err != nil {
		s.config.Logger.Warn("requests were cut off", "err", err)
		s.http.Close()
	}
	return g.Wait()
}

// Close frees what New took, if Run was not called.
func (s *Server) Close() error {
	return errors.Join(s.listener.Close(), s.history.Close(), s.log.Close())
}

// listens returns where the server listens: nobody is to have it call itself.
func (s *Server) listens() []netip.AddrPort {
	at, err := netip.ParseAddrPort(s.listener.Addr().String())
	if err != nil {
		return nil
	}
	return []netip.AddrPort{at}
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
