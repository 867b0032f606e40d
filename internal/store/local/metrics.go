package local

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a log tells of itself.
type metrics struct {
	written, refused, failed prometheus.Counter
	fsync                    prometheus.Histogram
	group                    prometheus.Histogram
	checkpointSeconds        prometheus.Histogram
	checkpointFailures       prometheus.Counter
	checkpointBytes          prometheus.Gauge
	checkpointTime           prometheus.Gauge

	registerer prometheus.Registerer
	registered []prometheus.Collector
}

func newMetrics(r prometheus.Registerer, l *Log) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	current := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	appends := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rollcall_log_appends_total",
		Help: "Batches by what became of them: written, refused (a precondition, a fence) or failed (writes are off).",
	}, []string{"result"})
	m := &metrics{
		written: appends.WithLabelValues("written"),
		refused: appends.WithLabelValues("refused"),
		failed:  appends.WithLabelValues("failed"),
		fsync: nanoseconds{prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "rollcall_log_fsync_seconds",
			Help:    "Time to sync a group of batches.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 2, 16),
		})},
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "rollcall_log_group_batches",
			Help:    "Batches in a group.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 7),
		}),
		checkpointSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "rollcall_checkpoint_seconds",
			Help:    "Time to write a checkpoint.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}),
		checkpointFailures: counter("rollcall_checkpoint_failures_total", "Checkpoints that could not be written."),
		checkpointBytes:    gauge("rollcall_checkpoint_bytes", "Size of the newest checkpoint."),
		checkpointTime:     gauge("rollcall_checkpoint_timestamp_seconds", "When the newest checkpoint was written."),
		registerer:         r,
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		appends, m.fsync, m.group, m.checkpointSeconds, m.checkpointFailures, m.checkpointBytes, m.checkpointTime,
		current("rollcall_log_last_revision", "Revision of the newest change on disk.", func() float64 {
			return float64(l.feed.End().Entry.Revision)
		}),
		current("rollcall_checkpoint_revision", "Revision of the newest checkpoint.", func() float64 {
			l.mu.Lock()
			defer l.mu.Unlock()
			return float64(l.checkpoint.at)
		}),
		current("rollcall_log_bytes", "Size of the log without its checkpoint.", l.bytes),
		current("rollcall_log_healthy", "1 if the log takes writes, else 0.", func() float64 {
			if l.Err() != nil {
				return 0
			}
			return 1
		}),
	} {
		if err := r.Register(c); err != nil {
			m.unregister()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
		m.registered = append(m.registered, c)
	}
	return m, nil
}

func (l *Log) bytes() (n float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		n += float64(s.size)
	}
	return n
}

func (m *metrics) checkpointed(took time.Duration, size int64) {
	m.checkpointSeconds.Observe(took.Seconds())
	m.checkpointBytes.Set(float64(size))
	m.checkpointTime.SetToCurrentTime()
}

func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
}

// nanoseconds is a histogram of seconds that is told nanoseconds, as the
// write-ahead log does.
type nanoseconds struct{ prometheus.Histogram }

func (n nanoseconds) Observe(v float64) { n.Histogram.Observe(v / float64(time.Second)) }
