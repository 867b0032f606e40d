package registry

import (
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/load"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// facts returns what weights take from a registration.
func (r *Registry) facts(key rollcall.Key) (load.Facts, bool) {
	i := r.catalog.Item(key)
	if i == nil {
		return load.Facts{}, false
	}
	return load.Facts{Capacity: record.Capacity(i.Terms()), Locality: record.Locality(i.Record()), Aside: resolve.Aside(i)}, true
}

// warm has an instance that has become routable begin with a part of its weight, if
// it asked for that.
func (r *Registry) warm(before, after *catalog.Item) bool {
	if !after.Status().Routable() || before != nil && before.Usable() && before.Incarnation() == after.Incarnation() {
		return false
	}
	window := record.Warmup(after.Terms())
	if window > 0 {
		r.soft.Warm(after.Key(), after.Since(), window)
	}
	return window > 0
}

// reweigh works out weights anew, once a second, and tells watchers of those that
// moved.
func (r *Registry) reweigh() {
	r.hub.Reweighed(r.soft.Tick(time.Now())...)
}

// Weight returns an instance's effective weight among all of its service.
func (r *Registry) Weight(item *catalog.Item) uint16 { return r.world.Weight(item) }

// weights returns the effective weights of a service's instances that changed
// behind a generation; see [watch.Hub].
func (r *Registry) weights(service rollcall.ServiceKey, since uint64) (ws []watch.Weighed, generation uint64) {
	changed, generation := r.world.Weights(service, since)
	for i, w := range changed {
		ws = append(ws, watch.Weighed{Service: service, ID: i.ID(), Weight: w})
	}
	return ws, generation
}
