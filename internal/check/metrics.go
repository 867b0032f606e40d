package check

import "github.com/prometheus/client_golang/prometheus"

// Collector shows what a runner counts. It implements [prometheus.Collector].
type Collector struct {
	runner                     *Runner
	checks, busy, late, probes *prometheus.Desc
}

// NewCollector returns the collector of a runner.
func NewCollector(r *Runner) *Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &Collector{
		runner: r,
		checks: desc("rollcall_checks", "Checks that the registry makes."),
		busy:   desc("rollcall_check_workers_busy", "Probes of checks that are under way."),
		late:   desc("rollcall_check_late_probes_total", "Probes of checks that began more than 100 ms after they were due."),
		probes: desc("rollcall_check_probes_total",
			"Probes of checks by type and outcome: healthy, degraded, unhealthy, refused, timeout, or none if they gave no verdict.", "type", "outcome"),
	}
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.checks, c.busy, c.late, c.probes} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	s := c.runner.Stats()
	to <- prometheus.MustNewConstMetric(c.checks, prometheus.GaugeValue, float64(s.Checks))
	to <- prometheus.MustNewConstMetric(c.busy, prometheus.GaugeValue, float64(s.Busy))
	to <- prometheus.MustNewConstMetric(c.late, prometheus.CounterValue, float64(s.Late))
	for l, n := range s.Probes {
		to <- prometheus.MustNewConstMetric(c.probes, prometheus.CounterValue, float64(n), string(l.Type), l.Outcome)
	}
}
