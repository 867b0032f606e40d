package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall"
)

// What is promised; a machine that is busy with other things takes longer than one
// that is not, for which a tenth of most of these is usual.
const (
	killKnown    = time.Second
	drainKnown   = 2 * time.Second
	addSeen      = time.Second
	moveSeen     = 3 * time.Second
	failoverDone = time.Second
	ejectKnown   = 15 * time.Second
	slowShare    = 8 * time.Second
	slowWeight   = 40 * time.Second // beyond which it is not waited for
	zoneKnown    = 5 * time.Second
)

// kill kills an instance while it serves requests.
func (s *show) kill(ctx context.Context) error {
	const id = "pricing-eu-1-a"
	p, err := s.fleet.of(id)
	if err != nil {
		return err
	}
	vs := s.holders(id)
	at, err := p.kill()
	if err != nil {
		return err
	}
	last, err := gone(ctx, vs, id)
	if err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	known := took("out of every view", last.Sub(at), killKnown)
	tries, lost := s.ledger.failed(id, at)
	s.tell(Happening{
		Act: "kill", Figures: []Figure{known, count("requests that hit it and were made again", tries, -1), count("requests lost", lost, 0)},
		Text: fmt.Sprintf("%s was killed with -9: out of all %d views after %s; %d requests met it meanwhile and were served by another, %d were lost",
			id, len(vs), known.Measured(), tries-lost, lost),
	})
	return nil
}

// settle waits until some more requests have ended, so that what was under way has.
func (s *show) settle(ctx context.Context) error {
	var from time.Time
	return s.ledger.until(ctx, patience, "requests going on", func() bool {
		if from.IsZero() {
			from = time.Now()
		}
		return s.ledger.since(from, func(h *hit) bool { return !h.failed }) >= 100
	})
}

// drain takes an instance out of service in order.
func (s *show) drain(ctx context.Context) error {
	const id = "pricing-eu-2-a"
	p, err := s.fleet.of(id)
	if err != nil {
		return err
	}
	vs := s.holders(id)
	at := time.Now()
	if err := p.order(order{Drain: true}); err != nil {
		return err
	}
	n, err := p.await(ctx, newsDrained)
	if err != nil {
		return err
	}
	if _, err := gone(ctx, vs, id); err != nil {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(patience):
		return fmt.Errorf("%s did not end within %v of its drain", id, patience)
	case <-ctx.Done():
		return ctx.Err()
	}
	ended := time.Now()
	if err := s.settle(ctx); err != nil {
		return err
	}
	tries, _ := s.ledger.failed(id, at)
	known := took("all watchers said that they know", n.At.Sub(at), drainKnown)
	s.tell(Happening{
		Act: "drain",
		Figures: []Figure{
			known, count("watchers that did not", n.Barrier.Pending, 0), took("ended", ended.Sub(at), 0), count("failed requests", tries, 0),
		},
		Text: fmt.Sprintf("%s was drained: %d watchers said that they call it no more after %s, it ended after %s; %d requests failed",
			id, n.Barrier.Acknowledged, known.Measured(), ended.Sub(at).Round(time.Millisecond), tries),
	})
	return nil
}

// warmup is how long an instance that is added takes to get its full share.
const warmup = 6 * time.Second

// add adds two instances, which warm up.
func (s *show) add(ctx context.Context) error {
	var all []orders
	for _, name := range []string{"e", "f"} {
		o := one("pricing", s.zones[0], name, pricingWork, pricingCapacity)
		o.Instances[0].Warmup = rollcall.Duration(warmup)
		all = append(all, o)
	}
	at := time.Now()
	s.warmed.id = all[0].Instances[0].ID
	s.warming.Go(func() error {
		s.warmed.follow(ctx, s.gateway, at)
		return nil
	})
	if err := s.fleet.start(ctx, all...); err != nil {
		return err
	}
	var known, served, begun time.Duration
	for _, o := range all {
		id := o.Instances[0].ID
		p, err := s.fleet.of(id)
		if err != nil {
			return err
		}
		up, err := p.await(ctx, newsUp)
		if err != nil {
			return err
		}
		last, err := seen(ctx, s.interested("pricing", s.zones[0]), id)
		if err != nil {
			return err
		}
		var first time.Time
		err = s.ledger.until(ctx, patience, "a request to "+id, func() bool {
			for n := range s.ledger.hits {
				if h := &s.ledger.hits[n]; h.id == id && first.IsZero() {
					first = h.at
				}
			}
			return !first.IsZero()
		})
		if err != nil {
			return err
		}
		known, served = max(known, last.Sub(up.Registering)), max(served, first.Sub(up.Registering))
		begun = max(begun, last.Sub(at))
	}
	seen := took("seen by all watchers", known, addSeen)
	request := took("first request", served, 0)
	s.tell(Happening{
		Act: "add", Figures: []Figure{seen, request, took("since their processes were started", begun, 0)},
		Text: fmt.Sprintf("pricing-eu-1-e and -f were added: seen by all watchers %s after they began to register, first requests after %s; they warm up for %v",
			seen.Measured(), request.Measured(), warmup),
	})
	return nil
}

// warmed is what became of the weight of an instance that warms up.
type warmed struct {
	id          string
	least, full time.Duration // when it had its least weight, and a full one
	weight      float64       // the least, of the mean
	err         error
}

// follow takes down how the weight of an instance grows.
func (w *warmed) follow(ctx context.Context, v *view, at time.Time) {
	w.weight = 1
	w.err = v.until(ctx, 2*warmup, w.id+" getting its full weight", func() bool {
		now := v.weight(w.id)
		if now > 0 && now < w.weight {
			w.weight, w.least = now, time.Since(at)
		}
		w.full = time.Since(at)
		return now > 0.9 && w.weight < 0.5
	})
}

// grown tells of an instance that was added, once it has its full weight.
func (s *show) grown(context.Context) error {
	s.warming.Wait()
	w := &s.warmed
	if w.err != nil {
		return w.err
	}
	full := took("full weight", w.full, 0)
	s.tell(Happening{
		Act: "grown", Figures: []Figure{full, took("least weight", w.least, 0), percent("weight then", w.weight)},
		Text: fmt.Sprintf("%s got %.0f %% of a share %v after it came, and all of it after %s",
			w.id, 100*w.weight, w.least.Round(time.Millisecond), full.Measured()),
	})
	return nil
}

// interested returns the views of a service that instances in a zone are in.
func (s *show) interested(service string, z *zone) (vs []*view) {
	for _, v := range s.views {
		if v.service == service && (v.zone == nil || v.zone == z) {
			vs = append(vs, v)
		}
	}
	return vs
}

// nearest holds all drivers still, asks for the nearest to a city and compares the
// answer with all there are. Then it has one of them drive there.
func (s *show) nearest(ctx context.Context) error {
	z := s.zones[0]
	n := Nearest{City: z.city, From: z.at, Filter: filter, Positions: map[string]rollcall.Position{}}
	defer s.hold(context.WithoutCancel(ctx), false)
	all, err := s.hold(ctx, true)
	if err != nil {
		return err
	}
	for id, at := range all {
		if s.fits(id) {
			n.Positions[id] = at
		}
	}
	began := time.Now()
	ans, err := s.client.Resolve(ctx, rollcall.Query{Service: "rides", Near: spot(z.at), Limit: 3, Filter: filter})
	if err != nil {
		return err
	}
	answered := took("answer", time.Since(began), 0)
	var words []string
	for i := range ans.Instances {
		inst := &ans.Instances[i]
		km := 0.0
		if inst.Distance != nil {
			km = *inst.Distance
		}
		n.Answer, n.Kilometres = append(n.Answer, inst.ID), append(n.Kilometres, km)
		words = append(words, fmt.Sprintf("%s (%s, %.1f km)", inst.ID, inst.Metadata["city"], km))
	}
	wrong := 0
	if !slices.Equal(n.Answer, nearestOf(z.at, n.Positions, 3)) {
		wrong = 1
	}
	s.tell(Happening{
		Act: "nearest", Nearest: &n, Figures: []Figure{answered, count("wrong answers", wrong, 0)},
		Text: fmt.Sprintf("the nearest of %d drivers to %s with %q, in %s: %s", len(all), z.city, filter, answered.Measured(), strings.Join(words, ", ")),
	})
	return s.drive(ctx, z, &n)
}

// drive has a driver who is not among the nearest go to the city.
func (s *show) drive(ctx context.Context, z *zone, n *Nearest) error {
	far := nearestOf(z.at, n.Positions, len(n.Positions))
	id := far[len(n.Answer)]
	p, err := s.fleet.of(id)
	if err != nil {
		return err
	}
	at := time.Now()
	if err := p.order(order{Go: map[string]rollcall.Position{id: stroll(z.at)}}); err != nil {
		return err
	}
	if _, err := p.await(ctx, newsThere); err != nil {
		return err
	}
	ans, err := s.client.Resolve(ctx, rollcall.Query{Service: "rides", Near: spot(z.at), Limit: 3, Filter: filter})
	if err != nil {
		return err
	}
	asked := took("in an answer", time.Since(at), 0)
	if len(ans.Instances) == 0 || ans.Instances[0].ID != id {
		return fmt.Errorf("%s is in %s and the registry has its report, but it is not the first of the answer", id, z.city)
	}
	var vs []*view
	for _, v := range s.views {
		if v.service == "rides" {
			vs = append(vs, v)
		}
	}
	last, err := seen(ctx, vs, id)
	if err != nil {
		return err
	}
	known := took("seen by who watches the nearest", last.Sub(at), moveSeen)
	s.tell(Happening{
		Act: "moved", Figures: []Figure{known, asked},
		Text: fmt.Sprintf("%s drove to %s: first of the answer after %s, seen by who watches the three nearest after %s", id, z.city, asked.Measured(), known.Measured()),
	})
	return nil
}

// fits reports whether the filter that riders ask with selects a driver.
func (s *show) fits(id string) bool {
	p, err := s.fleet.of(id)
	if err != nil {
		return false
	}
	for n := range p.Instances {
		if i := &p.Instances[n]; i.ID == id {
			return i.Capabilities["electric"].Bool() && i.Capabilities["seats"].Number() >= 6
		}
	}
	return false
}

// hold has all drivers stay where they are and returns where that is, or lets them
// go on.
func (s *show) hold(ctx context.Context, on bool) (where map[string]rollcall.Position, err error) {
	where = map[string]rollcall.Position{}
	for _, z := range s.zones {
		p, err := s.fleet.of(fmt.Sprintf("driver-%s-01", z.name))
		if err != nil {
			return nil, err
		}
		p.forget()
		if err := p.order(order{Hold: &on}); err != nil || !on {
			continue
		}
		n, err := p.await(ctx, newsHeld)
		if err != nil {
			return nil, err
		}
		maps.Copy(where, n.Positions)
	}
	return where, nil
}

// failover kills the only instance of a service for which another one stands in.
func (s *show) failover(ctx context.Context) error {
	const id = "surge-eu-1-a"
	var v *view
	for _, w := range s.views {
		if w.service == "quotes" {
			v = w
		}
	}
	p, err := s.fleet.of(id)
	if err != nil {
		return err
	}
	at, err := p.kill()
	if err != nil {
		return err
	}
	var changed time.Time
	err = v.until(ctx, patience, "quotes answering with pricing", func() bool {
		changed = time.Now()
		return len(v.in) > 0 && v.in[id] == nil
	})
	if err != nil {
		return err
	}
	known := took("the other answers", changed.Sub(at), failoverDone)
	s.tell(Happening{
		Act: "failover", Figures: []Figure{known},
		Text: fmt.Sprintf("the only instance of surge was killed with -9: who watches the named query quotes is told of pricing instead after %s", known.Measured()),
	})
	return nil
}

// eject has an instance fail every request, while its lease is fine. Either its callers'
// reports have it ejected, or if there are too few of them what it says itself takes
// nearly all of its weight: whichever is first keeps requests away from it.
func (s *show) eject(ctx context.Context) error {
	const (
		id    = "pricing-eu-1-b"
		spare = 0.25 // of its share
	)
	yes, no := true, false
	p, err := s.fleet.of(id)
	if err != nil {
		return err
	}
	vs := s.holders(id)
	at := time.Now()
	before := s.shareOf(id, at.Add(-3*time.Second))
	if err := p.order(order{Fail: &yes}); err != nil {
		return err
	}
	either, won := context.WithCancel(ctx)
	defer won()
	var g errgroup.Group
	var last, faded time.Time
	g.Go(func() (err error) {
		when, err := gone(either, vs, id)
		if err == nil {
			last = when
			won()
		}
		return nil
	})
	g.Go(func() error {
		err := s.ledger.until(either, patience, id+" losing its share", func() bool {
			from := time.Now().Add(-window)
			share, of := s.ledger.share("pricing", id, "", from)
			return from.After(at) && of >= enough && share <= spare*before
		})
		if err == nil {
			faded = time.Now()
			won()
		}
		return nil
	})
	g.Wait()
	p.order(order{Fail: &no})
	how := "its callers' reports had it out of all views"
	if last.IsZero() {
		last, how = faded, "it had lost three quarters of its share by its own reports"
	}
	if last.IsZero() {
		return fmt.Errorf("%s fails and is called all the same after %v", id, patience)
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	tries, lost := s.ledger.failed(id, at)
	known := took("kept away from", last.Sub(at), ejectKnown)
	s.tell(Happening{
		Act: "eject", Figures: []Figure{known, count("requests that it failed", tries, -1), count("requests lost", lost, 0)},
		Text: fmt.Sprintf("%s began to fail while its lease was fine: %s after %s; %d requests were served by another, %d were lost",
			id, how, known.Measured(), tries-lost, lost),
	})
	return nil
}

// Of what shares are measured: requests of so long, if they are enough.
const (
	window = 1500 * time.Millisecond
	enough = 100
)

// shareOf returns the share of an instance of pricing since a moment.
func (s *show) shareOf(id string, at time.Time) float64 {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	share, _ := s.ledger.share("pricing", id, "", at)
	return share
}

// believed is how long after its start the registry goes by what the fleet reports:
// what an instance says in its first 10 s is no measure, and then weights settle.
const believed = 14 * time.Second

// slow makes an instance five times as slow: the one of the first zone that is used
// most.
func (s *show) slow(ctx context.Context) error {
	const times = 5
	select {
	case <-time.After(time.Until(s.began.Add(believed))):
	case <-ctx.Done():
		return ctx.Err()
	}
	at := time.Now()
	id, before := s.busiest(at.Add(-3 * time.Second))
	p, err := s.fleet.of(id)
	if err != nil {
		return err
	}
	s.gateway.mu.Lock()
	weight := s.gateway.weight(id)
	s.gateway.mu.Unlock()
	if err := p.order(order{Slow: times}); err != nil {
		return err
	}
	var g errgroup.Group
	var all, weights time.Duration
	var share float64
	g.Go(func() error {
		return s.ledger.until(ctx, slowWeight, id+" losing half of its share", func() (ok bool) {
			now, of := time.Now(), 0
			from := now.Add(-window)
			if from.Before(at) {
				from = at
			}
			share, of = s.ledger.share("pricing", id, "", from)
			all = now.Sub(at)
			return of >= enough && share <= before/2
		})
	})
	g.Go(func() error {
		return s.gateway.until(ctx, slowWeight, id+" losing half of its weight", func() bool {
			weights = time.Since(at)
			return s.gateway.weight(id) <= weight/2
		})
	})
	if err := g.Wait(); err != nil {
		return err
	}
	after := s.shareOf(id, time.Now().Add(-window))
	known := took("half of its share", all, slowShare)
	s.tell(Happening{
		Act: "slow",
		Figures: []Figure{
			known, took("half of its weight", weights, 0), percent("share before", before), percent("share then", share), percent("share in the end", after),
		},
		Text: fmt.Sprintf("%s became %d times as slow: %.0f %% of all requests rather than %.0f %% after %s; half of its weight after %s, and %.1f %% then",
			id, times, 100*share, 100*before, known.Measured(), weights.Round(100*time.Millisecond), 100*after),
	})
	return nil
}

// busiest returns the instance of pricing in the first zone that most requests went to
// since a moment, and their share.
func (s *show) busiest(at time.Time) (id string, share float64) {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	counts := map[string]int{}
	s.ledger.since(at, func(h *hit) bool {
		if h.service == "pricing" && h.to == s.zones[0].name {
			counts[h.id]++
		}
		return false
	})
	for _, other := range slices.Sorted(maps.Keys(counts)) {
		if id == "" || counts[other] > counts[id] {
			id = other
		}
	}
	share, _ = s.ledger.share("pricing", id, "", at)
	return id, share
}

// zone kills half of what a zone has of a service.
func (s *show) zone(ctx context.Context) error {
	ids := []string{"maps-eu-1-a", "maps-eu-1-b"}
	var v *view
	for _, w := range s.views {
		if w.service == "maps" && w.zone == s.zones[0] {
			v = w
		}
	}
	before := v.abroad()
	at := time.Now()
	for _, id := range ids {
		p, err := s.fleet.of(id)
		if err != nil {
			return err
		}
		if _, err := p.kill(); err != nil {
			return err
		}
	}
	var last time.Time
	for _, id := range ids {
		when, err := gone(ctx, s.holders(id), id)
		if err != nil {
			return err
		}
		if when.After(last) {
			last = when
		}
	}
	from := time.Now()
	measured := 0.0
	err := s.ledger.until(ctx, patience, "requests for maps from "+v.zone.name, func() bool {
		is := func(h *hit) bool { return h.service == "maps" && h.from == v.zone.name && !h.retry }
		n := s.ledger.since(from, is)
		measured = float64(s.ledger.since(from, func(h *hit) bool { return is(h) && h.to != v.zone.name })) / float64(max(1, n))
		return n >= 90
	})
	if err != nil {
		return err
	}
	after := v.abroad() // by now its weights have followed
	_, lost := s.ledger.failed("", at)
	known := took("out of every view", last.Sub(at), zoneKnown)
	s.tell(Happening{
		Act: "zone",
		Figures: []Figure{
			known, percent("crossing before", before), percent("crossing after, by weight", after), percent("crossing after, measured", measured),
			count("requests lost", lost, 0),
		},
		Text: fmt.Sprintf("zone %s lost 2 of its 4 of maps to kill -9: out of all views after %s; %.0f %% of its requests go to another zone rather than %.0f %% (measured: %.0f %%)",
			v.zone.name, known.Measured(), 100*after, 100*before, 100*measured),
	})
	return nil
}
