package webhook

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics of one hook. Their labels are the hook's name, which stands in the
// configuration, and an outcome.
type metrics struct {
	deliveries *prometheus.CounterVec
	dropped    prometheus.Counter
}

// register makes the metrics of all hooks.
func (s *Sender) register(r prometheus.Registerer) {
	f := promauto.With(r)
	deliveries := f.NewCounterVec(prometheus.CounterOpts{
		Name: "rollcall_webhook_deliveries_total",
		Help: "Attempts to deliver events by what became of them: delivered, failed (and to be tried again) or gone (never again).",
	}, []string{"hook", "outcome"})
	dropped := f.NewCounterVec(prometheus.CounterOpts{
		Name: "rollcall_webhook_dropped_events_total",
		Help: "Events that were not delivered: the queue was full, or a day of attempts had passed.",
	}, []string{"hook"})
	for _, h := range s.hooks {
		h.metrics = metrics{
			deliveries: deliveries.MustCurryWith(prometheus.Labels{"hook": h.name}),
			dropped:    dropped.WithLabelValues(h.name),
		}
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "rollcall_webhook_queued_events", Help: "Events that wait for the delivery under way.",
			ConstLabels: prometheus.Labels{"hook": h.name},
		}, h.pending)
	}
}
