package httpapi

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/cork"
	"github.com/rollcall-registry/rollcall/internal/httpapi/delivery"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
	"github.com/rollcall-registry/rollcall/internal/httpapi/problem"
	"github.com/rollcall-registry/rollcall/internal/httpapi/session"
	"github.com/rollcall-registry/rollcall/internal/httpapi/stream"
)

// Options configure a [Server]. Zero values are the defaults.
type Options struct {
	Logger     *slog.Logger          // nil: none
	Registerer prometheus.Registerer // of this door's metrics; nil: none
	Metrics    http.Handler          // serves /metrics; nil: 404
	Pprof      http.Handler          // serves /debug/pprof/; nil: 404
	Sessions   session.Sessions      // of the core; nil: 501

	MaxBody      int64         // bytes of a request's body, default 64 KiB
	MaxBatchBody int64         // bytes of one that holds many, default 16 MiB
	MaxLarge     int64         // bytes of all bodies above MaxBody at once, default 64 MiB
	MaxBatch     int           // items in one that holds many, default 10,000
	MaxSession   int           // instances of one session, default 1,000
	BodyTimeout  time.Duration // for a body to arrive, default 10 s
	WriteTimeout time.Duration // for a reader to take what it is sent, default 30 s

	// LoopbackOnly refuses requests that name another host than this machine's
	// loopback: for a server that only those on it should reach.
	LoopbackOnly bool
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	or := func(n *int64, otherwise int64) {
		if *n == 0 {
			*n = otherwise
		}
	}
	or(&o.MaxBody, 64<<10)
	or(&o.MaxBatchBody, 16<<20)
	or(&o.MaxLarge, 64<<20)
	o.MaxLarge = max(o.MaxLarge, o.MaxBatchBody) // so that each has room alone
	or((*int64)(&o.BodyTimeout), int64(10*time.Second))
	or((*int64)(&o.WriteTimeout), int64(30*time.Second))
	if o.MaxBatch == 0 {
		o.MaxBatch = 10_000
	}
	return o
}

// Server serves the API. It may be called by any goroutine.
type Server struct {
	reg     Registry
	o       Options
	mux     *http.ServeMux
	metrics *metrics
	streams stream.Options
	origins http.CrossOriginProtection
	bodies  sync.Pool           // of *form.Decoder
	scratch sync.Pool           // of *[]byte, for small answers
	answers sync.Pool           // of *[]byte, for those of resolve
	large   *semaphore.Weighted // by bytes, of large bodies
	queries sync.Pool           // of *rollcall.Query, for queries without parameters

	sessions *session.Door // nil: there are none
}

// New returns a server of a registry. The composition root gives it an
// [http.Server]; see [HTTPServer].
func New(reg Registry, o Options) *Server {
	s := &Server{reg: reg, o: o.withDefaults(), mux: http.NewServeMux()}
	s.metrics = newMetrics(o.Registerer)
	s.streams = stream.Options{Item: s.appendItem, Weight: s.reg.Weight, Generation: s.generation, Timeout: s.o.WriteTimeout}
	s.large = semaphore.NewWeighted(s.o.MaxLarge)
	s.bodies.New = func() any { return new(form.Decoder) }
	s.scratch.New = func() any { b := make([]byte, 0, 512); return &b }
	s.answers.New = func() any { b := make([]byte, 0, 8<<10); return &b }
	s.queries.New = func() any { return new(rollcall.Query) }
	if o.Sessions != nil {
		s.sessions = session.New(o.Sessions, session.Options{
			Logger: s.o.Logger, MaxLine: int(s.o.MaxBody), OpenTimeout: s.o.BodyTimeout, WriteTimeout: s.o.WriteTimeout,
			MaxInstances: s.o.MaxSession,
		})
	}
	s.mount(routes())
	if o.Metrics != nil {
		s.mux.Handle("GET /metrics", o.Metrics)
	}
	if o.Pprof != nil {
		s.mux.Handle("/debug/pprof/", o.Pprof)
	}
	return s
}

// HTTPServer returns a server of h whose limits hold off clients that are slow
// or send too much before any handler sees them. It has no overall read or
// write timeout, because streams last; handlers set their own.
func HTTPServer(h http.Handler) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return asAnonymous(context.Background()) },
	}
	cork.Attach(s)
	delivery.Attach(s)
	return s
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			s.panicked(w, r, p)
		}
	}()
	if r.ContentLength != 0 {
		// Holds for what net/http reads of a body that no handler wants, too,
		// and ends with the body.
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.o.BodyTimeout))
	}
	if s.o.LoopbackOnly && !loopback(r.Host) {
		s.refuse(w, r, foreignHost(r.Host))
		return
	}
	if dirty(r.URL) {
		s.refuse(w, r, noSuchPath(r.URL.Path))
		return
	}
	if s.origins.Check(r) != nil {
		s.refuse(w, r, foreignOrigin())
		return
	}
	s.mux.ServeHTTP(w, r)
}

// dirty reports whether a path has empty or dot segments. The mux would
// redirect it to a path without them, and so to another service.
func dirty(u *url.URL) bool {
	path := u.RawPath
	if path == "" {
		path = u.Path
	}
	if !strings.Contains(path, "//") && !strings.Contains(path, "/.") {
		return false
	}
	for part := range strings.SplitSeq(path[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return true
		}
	}
	return false
}

// panicked answers for a handler that panicked. If its answer had begun, the
// client must not take it for whole.
func (s *Server) panicked(w http.ResponseWriter, r *http.Request, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.o.Logger.Error("a handler panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	if w.Header().Get("Content-Type") != "" {
		panic(http.ErrAbortHandler)
	}
	s.refuse(w, r, problem.Internal)
}

func (s *Server) logAccess(r *http.Request, operation string, code int) {
	if s.o.Logger.Enabled(r.Context(), slog.LevelDebug) {
		s.o.Logger.Debug("request", "operation", operation, "method", r.Method, "path", r.URL.Path, "code", code, "from", r.RemoteAddr)
	}
}

func (s *Server) livez(r *request) (int, error) { return r.text("ok\n") }

func (s *Server) readyz(r *request) (int, error) {
	if err := s.reg.Ready(); err != nil {
		return 0, err
	}
	return r.text("ok\n")
}

func (r *request) text(body string) (int, error) {
	r.w.Header()["Content-Type"] = headerText
	io.WriteString(r.w, body)
	return http.StatusOK, nil
}
