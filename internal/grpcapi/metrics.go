package grpcapi

import (
	"errors"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// metrics are the door's. Their labels come from the table of methods, so that
// they are bounded.
type metrics struct {
	requests    *prometheus.CounterVec
	streams     *prometheus.GaugeVec
	watchers    *prometheus.GaugeVec
	propagation *prometheus.HistogramVec
	ok          map[string]prometheus.Counter // by method, of the common outcome
	classes     map[string]*class             // by what subscriptions are about
}

func newMetrics(reg prometheus.Registerer, table []method) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_grpc_requests_total",
			Help: "Calls of the gRPC API that are over, by method and status code; a stream is one.",
		}, []string{"method", "code"}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rollcall_grpc_streams",
			Help: "Open streams of the gRPC API, by method.",
		}, []string{"method"}),
		watchers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rollcall_grpc_watchers",
			Help: "Open subscriptions of the gRPC API, by what they are about.",
		}, []string{"class"}),
		propagation: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "rollcall_watch_propagation_seconds",
			Help:    "From the publication of a change until it was written to a watcher.",
			Buckets: prometheus.ExponentialBuckets(100e-6, 3, 10), // 100 µs to 2 s
		}, []string{"class"}),
		ok: map[string]prometheus.Counter{}, classes: map[string]*class{},
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.streams, m.watchers)
		// Whatever door it goes through, it is one thing that is measured.
		if err := reg.Register(m.propagation); err != nil {
			already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err)
			if !ok {
				panic(err)
			}
			m.propagation = already.ExistingCollector.(*prometheus.HistogramVec)
		}
	}
	for _, t := range table {
		m.ok[t.name] = m.requests.WithLabelValues(t.name, codes.OK.String())
		if t.stream != nil {
			m.streams.WithLabelValues(t.name)
		}
	}
	for _, name := range []string{"service", "namespace", "all"} {
		m.classes[name] = &class{m.watchers.WithLabelValues(name), m.propagation.WithLabelValues(name)}
	}
	return m
}

// name returns what a method is called in labels: that of the API's own by name,
// others by their service as well.
func name(full string) string { return strings.TrimPrefix(strings.TrimPrefix(full, "/"), service+"/") }

func (m *metrics) open(method string) prometheus.Gauge {
	return m.streams.WithLabelValues(name(method))
}

func (m *metrics) done(method string, err error) {
	method = name(method)
	if ok := m.ok[method]; ok != nil && err == nil {
		ok.Inc()
		return
	}
	m.requests.WithLabelValues(method, status.Code(err).String()).Inc()
}

// class are the metrics of subscriptions of one class.
type class struct {
	watchers    prometheus.Gauge
	propagation prometheus.Observer
}
