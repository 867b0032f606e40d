package balance

import (
	"fmt"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/load"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// Report is what an instance says of the time since its last report.
type Report struct {
	At          time.Duration
	Listed      bool
	Rate        float64 // requests that were finished or failed, a second
	Errors      float64 // a second
	Utilization float64 // of the allocation; beyond 1 where the machine has more
	InFlight    int32
	Median      time.Duration // latency; 0: nothing was finished

	used         float64 // what was counted until last time
	done, failed int
}

// weigher is how a registry comes to weights: what instances report in, their
// weights out. It is called whenever there are reports, and when an instance comes
// or goes.
type weigher func([]Report) []uint16

// report brings the reports up to date.
func (s *sim) report() {
	for i := range s.servers {
		sv, r := &s.servers[i], &s.reports[i]
		sv.advance(s.now)
		dt := (s.now - r.At).Seconds()
		done, failed := float64(sv.done-r.done)/dt, float64(sv.failed-r.failed)/dt
		r.Rate, r.Errors = done+failed, failed
		r.Utilization, r.InFlight, r.Median = max(idle, (sv.used-r.used)/dt/allocation), sv.inFlight, sv.median()
		r.At, r.used, r.done, r.failed = s.now, sv.used, sv.done, sv.failed
	}
}

// tell gives all callers who there is and what the registry has come to.
func (s *sim) tell() {
	for i := range s.servers {
		s.reports[i].Listed = s.servers[i].listed && !s.servers[i].dead
	}
	weights := s.weigh(s.reports)
	for _, p := range s.policies {
		p.update(weights)
	}
}

// registry is Rollcall's, in virtual time: its catalog, its soft state, and what
// it answers from them. It is told at once who comes and goes.
type registry struct {
	*sim
	catalog  *catalog.Catalog
	soft     *load.Table
	world    resolve.World
	revision rollcall.Revision
	keys     []rollcall.Key
	shown    []rollcall.Status // as the log has it; 0: not at all
	reported time.Duration
	weights  []uint16
}

var (
	service = rollcall.NewServiceKey("", "s")
	began   = time.Unix(1_800_000_000, 0)
)

func newRegistry(s *sim) *registry {
	r := &registry{sim: s, catalog: catalog.New(), shown: make([]rollcall.Status, len(s.servers)), weights: make([]uint16, len(s.servers))}
	for i := range s.servers {
		r.keys = append(r.keys, rollcall.Key{ServiceKey: service, ID: fmt.Sprint(i)})
	}
	now := func() time.Time { return began.Add(s.now) }
	r.soft = load.New(began, load.Options{Now: now, Facts: r.facts})
	r.world = resolve.World{View: r.catalog.View, Soft: r.soft, Ready: &resolve.Ready{}, Now: now}
	r.apply(true)
	return r
}

// rollcalls gives the weights that Rollcall publishes.
func rollcalls(s *sim) weigher {
	s.registry = newRegistry(s)
	return s.registry.weigh
}

func (r *registry) facts(key rollcall.Key) (load.Facts, bool) {
	i := r.catalog.Item(key)
	if i == nil {
		return load.Facts{}, false
	}
	return load.Facts{Locality: record.Locality(i.Record()), Aside: !i.Usable()}, true
}

// apply has changes come through the log.
func (r *registry) apply(reset bool, bodies ...rollcall.Body) {
	r.revision++
	e := rollcall.Entry{Log: "simulation", Revision: r.revision, Reset: reset}
	for _, b := range bodies {
		e.Changes = append(e.Changes, rollcall.Change{At: r.world.Now(), Revision: r.revision, Body: b})
	}
	if err := r.catalog.Apply(e); err != nil {
		panic(err)
	}
	r.catalog.Publish()
}

// list brings the catalog in line with who there is.
func (r *registry) list() {
	var bodies []rollcall.Body
	var warm, changed []rollcall.Key
	for i := range r.servers {
		sv, key, was := &r.servers[i], r.keys[i], r.shown[i]
		switch {
		case sv.listed && was == 0:
			in := rollcall.Instance{ID: key.ID, Service: key.Service, Locality: locality(sv.zone)}
			in.Normalize()
			bodies = append(bodies, rollcall.InstancePut{Key: key, Record: record.Pack(&in)})
			r.shown[i] = rollcall.Healthy
			if r.now > 0 {
				warm = append(warm, key)
			}
		case sv.dead && was == rollcall.Healthy:
			bodies = append(bodies, rollcall.HealthPut{Service: service, Slot: rollcall.SlotStatus, Status: rollcall.Unhealthy, Hard: true, IDs: []string{key.ID}})
			r.shown[i] = rollcall.Unhealthy
			changed = append(changed, key)
		}
	}
	if len(bodies) > 0 {
		r.apply(false, bodies...)
	}
	for _, key := range changed {
		r.soft.Changed(key)
	}
	for _, key := range warm {
		r.soft.Warm(key, r.world.Now(), warmup)
	}
}

// weigh is a [weigher].
func (r *registry) weigh(reports []Report) []uint16 {
	r.list()
	if at := reports[0].At; at > r.reported {
		r.reported = at
		for i := range reports {
			if !reports[i].Listed {
				continue
			}
			r.soft.Report(r.keys[i], rollcall.Load{
				Utilization: reports[i].Utilization, InFlight: int(reports[i].InFlight), RPS: reports[i].Rate, Errors: reports[i].Errors,
				LatencyP50: 1000 * reports[i].Median.Seconds(),
			})
		}
		r.soft.Tick(r.world.Now())
	} else {
		r.soft.Refresh(service, r.world.Now())
	}
	v, ws := r.catalog.View(service), r.soft.Weights(service)
	for i, key := range r.keys {
		r.weights[i] = 0
		if item := v.Get(key.ID); item != nil {
			r.weights[i] = resolve.Weigh(item, ws, v.Panic())
		}
	}
	return slices.Clone(r.weights)
}
