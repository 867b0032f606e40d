package judge

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/rollcall-registry/rollcall"
)

// metrics count verdicts. Their labels are bounded: none.
type metrics struct {
	verdicts prometheus.Counter
	guards   prometheus.Counter
	probes   prometheus.Counter
	damped   prometheus.Counter
}

func newMetrics(j *Judge, reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "rollcall_guards", Help: "Guards that are on: services of which silence is not believed, and perhaps everything.",
	}, func() float64 { return float64(len(j.Guards())) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "rollcall_guard_held", Help: "Silent instances that guards keep in answers.",
	}, func() float64 {
		held := 0
		for _, g := range j.Guards() {
			held += g.Held
		}
		return float64(held)
	})
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		verdicts: counter("rollcall_verdicts_total", "Instances marked, restored or removed."),
		guards:   counter("rollcall_guards_begun_total", "Guards that began."),
		probes:   counter("rollcall_guard_probes_total", "Probes of instances that fell silent."),
		damped:   counter("rollcall_flapping_total", "Instances whose verdict changed so often that it was followed no more."),
	}
}

// countFlaps counts those of a batch that are damped.
func (m *metrics) countFlaps(b *rollcall.Batch) {
	for i := range b.Changes {
		if put, ok := b.Changes[i].Body.(rollcall.HealthPut); ok && put.Slot == rollcall.SlotFlap && put.Status == rollcall.Degraded {
			m.damped.Add(float64(len(put.IDs)))
		}
	}
}
