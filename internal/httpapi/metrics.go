package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the door's. Their labels come from the table of routes and from
// the statuses of this package, so that they are bounded.
type metrics struct {
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	watchers    *prometheus.GaugeVec
	propagation *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_http_requests_total",
			Help: "Requests of the native HTTP API, by operation and status.",
		}, []string{"operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "rollcall_http_request_seconds",
			Help:    "How long requests of the native HTTP API took, streams and long polls aside.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 4, 9), // 50 µs to 3.3 s
		}, []string{"operation"}),
		watchers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rollcall_http_watchers",
			Help: "Open watches of the native HTTP API, by what they are about.",
		}, []string{"class"}),
		propagation: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "rollcall_watch_propagation_seconds",
			Help:    "From the publication of a change until it was written to a watcher.",
			Buckets: prometheus.ExponentialBuckets(100e-6, 3, 10), // 100 µs to 2 s
		}, []string{"class"}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.watchers, m.propagation)
	}
	return m
}

// operation are the metrics of one route, looked up once.
type operation struct {
	requests *prometheus.CounterVec
	ok       prometheus.Counter // of 200, the common one
	seconds  prometheus.Observer
	epoch    time.Time
}

// now reads the monotonic clock alone, which costs half of what time.Now does.
func (o *operation) now() time.Duration { return time.Since(o.epoch) }

func (m *metrics) of(rt route) operation {
	o := operation{
		requests: m.requests.MustCurryWith(prometheus.Labels{"operation": rt.operation}),
		ok:       m.requests.WithLabelValues(rt.operation, "200"),
		epoch:    time.Now(),
	}
	if !rt.stream {
		o.seconds = m.seconds.WithLabelValues(rt.operation)
	}
	return o
}

func (o *operation) done(start time.Duration, code int, timed bool) {
	if code == http.StatusOK {
		o.ok.Inc()
	} else {
		o.requests.WithLabelValues(strconv.Itoa(code)).Inc()
	}
	if timed && o.seconds != nil {
		o.seconds.Observe((o.now() - start).Seconds())
	}
}

// class are the metrics of watches of one class, looked up once.
type class struct {
	watchers    prometheus.Gauge
	propagation prometheus.Observer
}

func (m *metrics) class(name string) class {
	return class{m.watchers.WithLabelValues(name), m.propagation.WithLabelValues(name)}
}
