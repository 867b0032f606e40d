package registry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/rollcall-registry/rollcall/internal/check"
)

// metrics count what the core does. They have no labels.
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
		reg.MustRegister(check.NewCollector(r.live.Checks))
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
