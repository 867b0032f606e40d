package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
)

// handler serves one route. It writes the whole answer and returns its status,
// or writes nothing and returns an error.
type handler func(*Server, *request) (code int, err error)

// route is one line of the API.
type route struct {
	method    string
	pattern   string
	operation string
	params    string // the query parameters it takes, by spaces; "query" is those of a query
	handle    handler
	stream    bool // may begin its answer and then fail; its length is no latency
}

// request is a request on its way through a handler.
type request struct {
	*http.Request
	w      http.ResponseWriter
	ctx    context.Context // with the caller's principal
	params url.Values      // nil if there are none; only those that the route takes

	// What is to be given back once there is an answer; either may be nil.
	decoder *form.Decoder
	buffer  *[]byte
}

const api = "/api/v1"

const (
	pathService  = api + "/services/{service}"
	pathInstance = pathService + "/instances/{id}"
	pathQuery    = api + "/queries/{name}"
)

// queryParams are the parameters of a query; cap.NAME and meta.NAME come beside
// them.
const queryParams = "health filter near limit pick caller subset subset_size at min_revision max_age consistent after"

func routes() []route {
	return []route{
		{"GET", pathService, "resolve", "namespace query wait", (*Server).resolve, false},
		{"GET", pathService + "/watch", "watchService", "namespace query acks", (*Server).watch, true},
		{"GET", api + "/watch", "watch", "namespace query acks", (*Server).watch, true},
		{"POST", api + "/watch/ack", "acknowledge", "", (*Server).ack, false},
		{"GET", pathService + "/watchers", "listWatchers", "namespace", (*Server).watchers, false},
		{"GET", api + "/services", "listServices", "namespace at limit after", (*Server).listServices, false},

		{"PUT", pathInstance, "registerInstance", "namespace wait", (*Server).register, false},
		{"PATCH", pathInstance, "updateInstance", "namespace", (*Server).update, false},
		{"DELETE", pathInstance, "deregisterInstance", "namespace", (*Server).deregister, false},
		{"GET", pathInstance, "getInstance", "namespace", (*Server).instance, false},
		{"POST", pathService + "/instances", "createInstance", "namespace", (*Server).create, false},
		{"GET", api + "/instances", "listInstances", "namespace node address limit after", (*Server).listInstances, false},
		{"POST", api + "/instances", "registerInstances", "namespace", large((*Server).registerMany), false},

		{"POST", pathInstance + "/heartbeat", "heartbeat", "namespace", (*Server).heartbeat, false},
		{"POST", api + "/heartbeats", "heartbeats", "namespace", large((*Server).heartbeats), false},

		{"POST", api + "/session", "session", "ttl", (*Server).session, true},

		{"POST", pathInstance + "/drain", "drain", "namespace wait", (*Server).drain, false},
		{"DELETE", pathInstance + "/drain", "endDrain", "namespace", (*Server).endDrain, false},
		{"PUT", pathInstance + "/override", "setOverride", "namespace", (*Server).setOverride, false},
		{"DELETE", pathInstance + "/override", "clearOverride", "namespace", (*Server).clearOverride, false},

		{"POST", pathService + "/reports", "report", "namespace", large((*Server).report), false},
		{"GET", pathService + "/why", "why", "namespace query wait id", (*Server).why, false},
		{"GET", api + "/guards", "listGuards", "", (*Server).guards, false},
		{"POST", api + "/guards", "endGuard", "", (*Server).endGuard, false},

		{"GET", pathService + "/settings", "getSettings", "namespace", (*Server).settings, false},
		{"PUT", pathService + "/settings", "setSettings", "namespace", (*Server).setSettings, false},
		{"DELETE", pathService + "/settings", "clearSettings", "namespace", (*Server).clearSettings, false},

		{"GET", api + "/queries", "listQueries", "namespace limit after", (*Server).listQueries, false},
		{"GET", pathQuery, "getQuery", "namespace", (*Server).query, false},
		{"PUT", pathQuery, "putQuery", "namespace", (*Server).putQuery, false},
		{"DELETE", pathQuery, "deleteQuery", "namespace", (*Server).deleteQuery, false},

		{"GET", api + "/events", "listEvents", "namespace service id since until limit after", (*Server).listEvents, false},
		{"GET", api + "/status", "getStatus", "", (*Server).status, false},
		{"GET", api + "/backup", "backup", "", (*Server).backup, true},
		{"GET", api + "/openapi.json", "getOpenAPI", "", (*Server).openAPI, false},

		{"GET", "/livez", "livez", "", (*Server).livez, false},
		{"GET", "/readyz", "readyz", "", (*Server).readyz, false},
	}
}

// mount builds the mux from the table: each route, for each path a refusal of
// other methods, and a refusal of everything else.
func (s *Server) mount(table []route) {
	methods := map[string][]string{}
	for _, rt := range table {
		s.mux.Handle(rt.method+" "+rt.pattern, &mounted{s, rt, s.metrics.of(rt), takes(rt.params)})
		methods[rt.pattern] = append(methods[rt.pattern], rt.method)
		if rt.method == http.MethodGet {
			methods[rt.pattern] = append(methods[rt.pattern], http.MethodHead)
		}
	}
	for pattern, allowed := range methods {
		slices.Sort(allowed)
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			s.refuse(w, r, methodNotAllowed(r.Method, allowed))
		})
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.refuse(w, r, noSuchPath(r.URL.Path)) })
}

// mounted is a route in the mux.
type mounted struct {
	server *Server
	route
	metrics operation
	takes   map[string]bool
}

// takes reads a route's list of parameters.
func takes(params string) map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields(params) {
		if name != "query" {
			m[name] = true
			continue
		}
		m["cap.*"], m["meta.*"] = true, true
		for _, q := range strings.Fields(queryParams) {
			m[q] = true
		}
	}
	return m
}

func (m *mounted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := m.metrics.now()
	rq := request{Request: r, w: w, ctx: asAnonymous(r.Context())}
	code, err := m.serve(&rq)
	if rq.decoder != nil {
		m.server.done(rq.decoder)
	}
	if rq.buffer != nil && cap(*rq.buffer) <= 1<<20 {
		m.server.answers.Put(rq.buffer)
	}
	if err != nil {
		code = m.server.refuse(w, r, err)
	}
	_, waits := rq.params["wait"] // a long poll takes as long as it takes
	m.metrics.done(start, code, !waits)
	m.server.logAccess(r, m.operation, code)
}

// asAnonymous returns ctx with the principal of a request without credentials,
// which that of a connection has already.
func asAnonymous(ctx context.Context) context.Context {
	anonymous := auth.Anonymous("http")
	if auth.From(ctx) == anonymous {
		return ctx
	}
	return auth.With(ctx, anonymous)
}

func (m *mounted) serve(r *request) (int, error) {
	h := r.w.Header()
	h["X-Content-Type-Options"] = headerNosniff
	h["Cache-Control"] = headerNoStore
	if r.URL.RawQuery != "" {
		var err error
		if r.params, err = m.parse(r.URL.RawQuery); err != nil {
			return 0, err
		}
	}
	return m.handle(m.server, r)
}

// parse reads the query string and refuses what the route does not take: a
// misspelt parameter that is ignored is a wrong answer.
func (m *mounted) parse(raw string) (url.Values, error) {
	params, err := url.ParseQuery(raw)
	if err != nil {
		return nil, rollcall.Invalid("", "the query string cannot be read: "+err.Error())
	}
	for name, values := range params {
		switch {
		case m.takes["cap.*"] && (strings.HasPrefix(name, "cap.") || strings.HasPrefix(name, "meta.")):
		case !m.takes[name]:
			return nil, rollcall.Invalid(name, "is not a parameter here; "+m.taken())
		case len(values) > 1:
			return nil, rollcall.Invalid(name, "is given more than once")
		}
	}
	return params, nil
}

// taken says which parameters the route takes.
func (m *mounted) taken() string {
	var names []string
	for name := range m.takes {
		names = append(names, strings.Replace(name, "*", "NAME", 1))
	}
	if names == nil {
		return "there are none"
	}
	slices.Sort(names)
	return "there are " + strings.Join(names, ", ")
}

// key returns the instance that the path names.
func (r *request) key() rollcall.Key {
	return rollcall.Key{ServiceKey: r.service(), ID: r.PathValue("id")}
}

// service returns the service that the path names.
func (r *request) service() rollcall.ServiceKey {
	return rollcall.NewServiceKey(r.param("namespace"), r.PathValue("service"))
}

// param returns a query parameter, "" if it is not there.
func (r *request) param(name string) string {
	if v := r.params[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
