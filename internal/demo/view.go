package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

// target is an instance as one who calls it knows it.
type target struct {
	id, url string
	zone    string
	weight  float64
	last    bool           // suspect: only if nothing else is left
	calls   sync.WaitGroup // those under way; none is added once no view has it
}

func targetOf(i *rollcall.Instance) *target {
	t := &target{id: i.ID, zone: i.Locality.Zone, weight: rollcall.DefaultWeight}
	t.url = "http://" + net.JoinHostPort(i.Address, strconv.Itoa(int(i.Ports["http"]))) + "/"
	if i.EffectiveWeight != nil {
		t.weight = float64(*i.EffectiveWeight)
	}
	t.last = i.Health != nil && i.Health.Status == rollcall.Suspect
	return t
}

// view is what one watcher knows of a query's result, and calls.
type view struct {
	caller, service string
	zone            *zone // where it is; nil is nowhere in particular
	query           rollcall.Query
	rate            float64 // requests a second; 0: it only watches

	pulse // guards what follows
	in    map[string]*target
	came  map[string]time.Time // when it was told of them first
	left  map[string]time.Time // when it was told last that they are not to be called
	err   error                // why it is told nothing any more
}

// watch begins to watch everything that there is to be watched.
func (s *show) watch(ctx context.Context, watchers *sync.WaitGroup) error {
	quotes := rollcall.NamedQuery{Name: "quotes", Service: "surge", Failover: []rollcall.QueryTarget{{Service: "pricing"}}}
	if _, err := s.client.PutQuery(ctx, quotes, 0); err != nil {
		return err
	}
	add := func(caller, service string, z *zone, rate float64, q rollcall.Query) *view {
		v := &view{caller: caller, service: service, zone: z, rate: rate, query: q}
		v.query.Service, v.query.Caller = service, caller
		v.in, v.came, v.left = map[string]*target{}, map[string]time.Time{}, map[string]time.Time{}
		s.views = append(s.views, v)
		return v
	}
	for _, z := range s.zones {
		near := rollcall.Query{Near: z.near()}
		add("web-1."+z.name, "pricing", z, z.rate, near)
		add("web-2."+z.name, "pricing", z, z.rate, near)
		add("app."+z.name, "maps", z, z.rate, near)
	}
	s.gateway = add("gateway", "pricing", nil, 30, rollcall.Query{})
	add("gateway", "maps", nil, 10, rollcall.Query{})
	add("quoter", "quotes", nil, 0, rollcall.Query{})
	add("dispatcher", "rides", s.zones[0], 0, rollcall.Query{Near: s.zones[0].point(), Limit: 3, Filter: filter})
	for _, v := range s.views {
		// A client of its own, as whoever watches is a process of its own elsewhere.
		c, err := client.Dial(s.Registry, client.WithAcks())
		if err != nil {
			return err
		}
		watchers.Go(func() {
			defer c.Close()
			for ev, err := range c.Watch(ctx, v.query) {
				v.take(&ev, err)
			}
		})
	}
	return nil
}

// take takes in a record of the watch. It returns once no call of this watcher is
// under way to whom it was told not to call any more; only then does the registry
// hear that it knows.
func (v *view) take(ev *client.Event, err error) {
	now := time.Now()
	v.mu.Lock()
	var gone []*target
	drop := func(id string) {
		if t := v.in[id]; t != nil {
			gone = append(gone, t)
			delete(v.in, id)
			v.left[id] = now
		}
	}
	switch {
	case err != nil:
		v.err = err
	case ev.Type == client.EventSnapshot, ev.Type == client.EventReset:
		still := map[string]bool{}
		for n := range ev.Instances {
			v.put(&ev.Instances[n], now)
			still[ev.Instances[n].ID] = true
		}
		for id := range v.in {
			if !still[id] {
				drop(id)
			}
		}
	case ev.Type == client.EventPut:
		v.put(ev.Instance, now)
	case ev.Type == client.EventRemove:
		drop(ev.ID)
	case ev.Type == client.EventHealth:
		for _, id := range ev.IDs {
			if t := v.in[id]; t != nil {
				t.last = ev.Status == rollcall.Suspect
			}
		}
	case ev.Type == client.EventWeights:
		for id, w := range ev.Weights {
			if t := v.in[id]; t != nil {
				t.weight = float64(w)
			}
		}
	}
	v.beat()
	v.mu.Unlock()
	for _, t := range gone {
		t.calls.Wait()
	}
}

// put adds an instance or what is new of it. Its caller holds mu.
func (v *view) put(i *rollcall.Instance, now time.Time) {
	t := targetOf(i)
	if known := v.in[i.ID]; known != nil {
		known.url, known.weight, known.last = t.url, t.weight, t.last
		return
	}
	v.in[i.ID] = t
	if v.came[i.ID].IsZero() {
		v.came[i.ID] = now
	}
}

// errNobody means that there is nobody to call.
var errNobody = errors.New("there is nobody to call")

// choose draws an instance by weight, other than those to avoid. Its caller ends
// the call that begins with it.
func (v *view) choose(_ context.Context, avoid []string) (*target, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, last := range []bool{false, true} {
		sum := 0.0
		for id, t := range v.in {
			if t.last == last && !slices.Contains(avoid, id) {
				sum += t.weight
			}
		}
		at := sum * rand.Float64()
		for id, t := range v.in {
			if t.last != last || slices.Contains(avoid, id) {
				continue
			}
			if at -= t.weight; at < 0 {
				t.calls.Add(1)
				return t, nil
			}
		}
	}
	return nil, fmt.Errorf("%s: %w", v.caller, errNobody)
}

// weight returns that of an instance, relative to the mean of its view; 0 if it is
// not in it. Its caller holds mu.
func (v *view) weight(id string) float64 {
	t := v.in[id]
	if t == nil {
		return 0
	}
	sum := 0.0
	for _, t := range v.in {
		sum += t.weight
	}
	return t.weight * float64(len(v.in)) / sum
}

// abroad returns the share of weight that lies outside of the view's zone.
func (v *view) abroad() float64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	sum, out := 0.0, 0.0
	for _, t := range v.in {
		sum += t.weight
		if t.zone != v.zone.name {
			out += t.weight
		}
	}
	return out / max(1, sum)
}

// holders returns the views that have an instance.
func (s *show) holders(id string) (vs []*view) {
	for _, v := range s.views {
		v.mu.Lock()
		if v.in[id] != nil {
			vs = append(vs, v)
		}
		v.mu.Unlock()
	}
	return vs
}

// gone waits until an instance is in none of some views, and returns when the last
// of them was told.
func gone(ctx context.Context, vs []*view, id string) (last time.Time, err error) {
	for _, v := range vs {
		err := v.until(ctx, patience, fmt.Sprintf("%s hearing that %s is gone", v.caller, id), func() bool {
			if v.left[id].After(last) {
				last = v.left[id]
			}
			return v.in[id] == nil
		})
		if err != nil {
			return last, err
		}
	}
	return last, nil
}

// seen waits until an instance is in all of some views, and returns when the last
// of them was told.
func seen(ctx context.Context, vs []*view, id string) (last time.Time, err error) {
	for _, v := range vs {
		err := v.until(ctx, patience, fmt.Sprintf("%s hearing of %s", v.caller, id), func() bool {
			if v.came[id].After(last) {
				last = v.came[id]
			}
			return v.in[id] != nil
		})
		if err != nil {
			return last, err
		}
	}
	return last, nil
}

// assembled waits until every watcher knows of everybody whom it is to know of.
func (s *show) assembled(ctx context.Context) error {
	all := map[string]int{}
	zoned := map[string]int{}
	instances := 0
	s.fleet.mu.Lock()
	for _, p := range s.fleet.all {
		for n := range p.Instances {
			i := &p.Instances[n]
			all[i.Service]++
			zoned[i.Service+"@"+i.Locality.Zone]++
			instances++
		}
	}
	s.fleet.mu.Unlock()
	for _, v := range s.views {
		want := all[v.service]
		switch {
		case v.query.Limit > 0:
			want = v.query.Limit
		case v.zone != nil:
			want = zoned[v.service+"@"+v.zone.name]
		case want == 0: // the named query, of which the first service answers
			want = all["surge"]
		}
		if err := v.until(ctx, patience, fmt.Sprintf("%s hearing of %d instances of %s", v.caller, want, v.service), func() bool { return len(v.in) == want }); err != nil {
			return err
		}
	}
	took := took("until all knew of all", time.Since(s.began), 0)
	s.tell(Happening{Act: "start", Figures: []Figure{took, count("instances", instances, -1), count("processes", s.fleet.count(), -1), count("watchers", len(s.views), -1)},
		Text: fmt.Sprintf("%d instances in %d processes and %d zones are up, and all of %d watchers know, after %s", instances, s.fleet.count(), len(s.zones), len(s.views), took.Measured())})
	return nil
}
