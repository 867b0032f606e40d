package registry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/rollcall-registry/rollcall/internal/check"
)

// metrics count what the core does. They have no labels; those of checks have a
// type and an outcome, of which there are few.
type metrics struct {
	registrations   prometheus.Counter
	renewals        prometheus.Counter
	unknownRenewals prometheus.Counter
	reports         prometheus.Counter
	ejections       prometheus.Counter
}

func newMetrics(r *Registry, reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	gauge("rollcall_instances", "Registered instances.", func() float64 { return float64(r.catalog.Snapshot().Instances()) })
	gauge("rollcall_services", "Known services.", func() float64 { return float64(r.catalog.Snapshot().Services()) })
	gauge("rollcall_services_in_panic", "Services of which so few instances are routable that all that may work are served.", func() float64 { return float64(r.catalog.Snapshot().Panics()) })
	gauge("rollcall_revision", "Revision of the newest published snapshot.", func() float64 { return float64(r.hub.Revision()) })
	gauge("rollcall_leases", "Leases that are kept.", func() float64 { return float64(r.live.Leases.Len()) })
	gauge("rollcall_sessions", "Open sessions, and broken ones that may be taken up again.", func() float64 { return float64(r.session.Len()) })
	gauge("rollcall_subscriptions", "Open watches and long polls.", func() float64 { return float64(r.hub.Subscribers()) })
	gauge("rollcall_log_age_seconds", "How long ago the snapshot was known to be current.", func() float64 { return r.age().Seconds() })
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "rollcall_lease_pause_seconds_total",
		Help: "Length of pauses of this process, by which deadlines were moved.",
	}, func() float64 { return r.live.Leases.Paused().Seconds() })
	gauge("rollcall_history_bytes", "Size of the history's files; without a disk, what it has in memory.", func() float64 { return float64(r.history.Bytes()) })
	gauge("rollcall_history_waiting_bytes", "Full blocks of history that are not on disk yet.", func() float64 { return float64(r.history.Waiting()) })
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "rollcall_history_lost_events_total",
		Help: "Events that are missing from history because the disk took none for too long.",
	}, func() float64 { return float64(r.history.Lost()) })
	if reg != nil {
		reg.MustRegister(newCheckMetrics(r.live.Checks.Stats))
	}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		registrations:   counter("rollcall_registrations_total", "Registrations and re-registrations written to the log."),
		renewals:        counter("rollcall_renewals_total", "Renewals of known leases."),
		reports:         counter("rollcall_reports_total", "Reports of callers that were taken in."),
		ejections:       counter("rollcall_ejections_total", "Instances taken out of answers because they fail for their callers."),
		unknownRenewals: counter("rollcall_unknown_renewals_total", "Renewals of leases that are not known, answered with \"register again\"."),
	}
}

// checkMetrics shows what the runner of checks counts.
type checkMetrics struct {
	stats                      func() check.Stats
	checks, busy, late, probes *prometheus.Desc
}

func newCheckMetrics(stats func() check.Stats) *checkMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &checkMetrics{
		stats:  stats,
		checks: desc("rollcall_checks", "Checks that the registry makes."),
		busy:   desc("rollcall_check_workers_busy", "Probes of checks that are under way."),
		late:   desc("rollcall_check_late_probes_total", "Probes of checks that began more than 100 ms after they were due."),
		probes: desc("rollcall_check_probes_total",
			"Probes of checks by type and outcome: healthy, degraded, unhealthy, refused, timeout, or none if they gave no verdict.", "type", "outcome"),
	}
}

// Describe implements [prometheus.Collector].
func (m *checkMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.checks, m.busy, m.late, m.probes} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *checkMetrics) Collect(to chan<- prometheus.Metric) {
	s := m.stats()
	to <- prometheus.MustNewConstMetric(m.checks, prometheus.GaugeValue, float64(s.Checks))
	to <- prometheus.MustNewConstMetric(m.busy, prometheus.GaugeValue, float64(s.Busy))
	to <- prometheus.MustNewConstMetric(m.late, prometheus.CounterValue, float64(s.Late))
	for l, n := range s.Probes {
		to <- prometheus.MustNewConstMetric(m.probes, prometheus.CounterValue, float64(n), string(l.Type), l.Outcome)
	}
}
