package registry_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/history"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

// samples returns the metrics of some names, each with its labels' values.
func samples(t *testing.T, reg prometheus.Gatherer, names ...string) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, n := range names {
		wanted[n] = true
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			if wanted[f.GetName()] {
				got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return got
}

// What the runner of checks counts is shown: here of two checks whose targets
// may not be probed.
func TestCheckMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		o := unguarded(memory.New())
		o.Metrics = reg
		r := run(t, o)
		i := payments("p-1")
		i.Address = "127.0.0.1"
		i.Checks = []rollcall.Check{
			{Name: "http", Type: rollcall.CheckHTTP, Interval: rollcall.Duration(time.Hour)},
			{Name: "tcp", Type: rollcall.CheckTCP, Interval: rollcall.Duration(time.Hour), Target: ":8080"},
		}
		names := []string{"rollcall_checks", "rollcall_check_workers_busy", "rollcall_check_late_probes_total", "rollcall_check_probes_total"}
		none := map[string]float64{"rollcall_checks": 0, "rollcall_check_workers_busy": 0, "rollcall_check_late_probes_total": 0}
		if diff := cmp.Diff(none, samples(t, reg, names...)); diff != "" {
			t.Error(diff)
		}
		register(t, r, i)
		time.Sleep(time.Second + 10*time.Millisecond)
		synctest.Wait()
		want := maps.Clone(none)
		want["rollcall_checks"], want["rollcall_check_probes_total unhealthy http"], want["rollcall_check_probes_total unhealthy tcp"] = 2, 1, 1
		if diff := cmp.Diff(want, samples(t, reg, names...)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestHistoryMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	h, err := history.Open("", history.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := unguarded(memory.New())
	o.Metrics, o.History = reg, h
	register(t, run(t, o), payments("p-1"))
	got := samples(t, reg, "rollcall_history_bytes", "rollcall_history_waiting_bytes", "rollcall_history_lost_events_total")
	want := map[string]float64{"rollcall_history_bytes": float64(h.Bytes()), "rollcall_history_waiting_bytes": 0, "rollcall_history_lost_events_total": 0}
	if diff := cmp.Diff(want, got); diff != "" || h.Bytes() == 0 {
		t.Error(diff, h.Bytes())
	}
}
