package watch

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

// derived marks the generations of results; see [Result].
const derived = 1 << 63

// Result is an answer that is worked out as a whole, because who is in it depends
// on who else there is, or on soft state: the nearest, a subset, a query with
// failover.
type Result struct {
	Log      rollcall.LogID
	Revision rollcall.Revision
	// Generation is equal for results of the same instances in the same state,
	// whatever their order and weights, and has its highest bit set.
	Generation uint64
	Shown      []Shown
	// Soft says that soft state decides who is in it.
	Soft bool
	// Weights is the newest generation of the weights in it.
	Weights uint64
	// Named says that it is of a named query, whose instances may be of several
	// services.
	Named bool
	// Topics are the services that it is made of, and the name that is asked for if
	// that is another.
	Topics []Topic
}

// Shown is an instance of a result.
type Shown struct {
	Item *catalog.Item
	catalog.Shown
}

// Query is what a derived subscription is about.
type Query struct {
	// Evaluate works out the result as of now.
	Evaluate func() (*Result, error)
	// Concerns reports whether an instance may ever be in a result: changes to others
	// are not followed.
	Concerns func(*catalog.Item) bool
	// Soft returns a number that changes with the soft state that results, or weights
	// in them, depend on; it is looked at every [SoftEvery].
	Soft func() uint64
}

const (
	// SoftEvery is how often, at most, a result is worked out again because of what
	// is not in it yet, if that costs much or it depends on soft state.
	SoftEvery = time.Second
	// renewEvery is how often one that depends on soft state is worked out in any
	// case: it says that its caller is still there.
	renewEvery = time.Minute
	// tell is by how much a weight must move to be told alone.
	tell = 0.03
	// restFor is how many times as long as it took a subscription rests before it
	// works out another result.
	restFor = 4
)

// Feed is a subscription as doors read it: a [Subscription] or a [Derived] one. Its
// methods but Ack belong to one goroutine.
type Feed interface {
	// Next waits for the next batch; see [Subscription.Next].
	Next(ctx context.Context) (*Batch, error)
	// Sent says that all that Next returned was sent to the reader.
	Sent()
	// ID names the subscription among the hub's watchers, for [Hub.Ack].
	ID() string
	Close()
}

// Derived is a subscription to the result of a query that is worked out as a whole.
// It works it out again when an instance changes that concerns it: at once if that
// one is in the result, so that nobody is sent to who is not there any more; else,
// as when soft state changes, after a rest.
type Derived struct {
	hub   *Hub
	query Query
	who   Reader
	id    string
	parts []*Subscription
	wake  chan struct{} // holds one token when a part may have news

	started bool
	first   *Batch
	told    map[rollcall.Key]Shown
	current *Result
	soft    uint64
	renewed time.Time
	rest    time.Time // not before
	looks   time.Time // when soft state is looked at next
	stale   bool      // the result may be another by now
	owes    bool      // and the reader is to be told of what changed, or may be
	timer   *time.Timer
}

// Derive opens a subscription to a query's result. With after, the token of a
// result, it begins with what differs, if that can be told: with weights or a
// bookmark, if nothing does, else with a reset. An error is that of the first
// evaluation.
func (h *Hub) Derive(q Query, after rollcall.Token, who Reader) (*Derived, error) {
	d := &Derived{hub: h, query: q, who: who, id: newID(), wake: make(chan struct{}, 1)}
	r, err := d.evaluate()
	if err != nil {
		d.Close()
		return nil, err
	}
	d.told = shown(r)
	switch {
	case after.IsZero():
		d.first = d.batch(Snapshot)
	case after.Log != r.Log || after.Generation != r.Generation:
		d.first = d.batch(Reset)
	case len(r.Shown) > 0: // the same instances; what was missed of their weights is not known
		d.first = d.batch(Weights)
		for _, s := range r.Shown {
			d.first.Weighed = append(d.first.Weighed, Weighed{s.Item.Key().ServiceKey, s.Item.ID(), s.Weight})
		}
	default:
		d.first = d.batch(Bookmark)
	}
	return d, nil
}

// Skip says that the reader has the result as it is now.
func (d *Derived) Skip() { d.first = nil }

// batch returns a batch about the result as it is now.
func (d *Derived) batch(t Type) *Batch {
	return &Batch{Type: t, Revision: d.current.Revision, Result: d.current, Generation: d.current.Weights, At: d.hub.now()}
}

// evaluate works out the result and listens to all that it is made of.
func (d *Derived) evaluate() (*Result, error) {
	for {
		began := d.hub.now()
		d.soft = d.query.Soft()
		r, err := d.query.Evaluate()
		if err != nil {
			return nil, err
		}
		d.current, d.stale, d.owes, d.renewed = r, false, false, began
		now := d.hub.now()
		d.rest = now.Add(restFor * now.Sub(began))
		if soft := began.Add(SoftEvery); r.Soft && d.rest.Before(soft) {
			d.rest = soft
		}
		d.looks = began.Add(SoftEvery)
		if !d.listen(r.Topics) {
			return r, nil
		}
		// What happened before it listened there is not in the result yet.
	}
}

// listen opens parts for topics that have none and closes those of others. It
// reports whether there were new ones.
func (d *Derived) listen(topics []Topic) (more bool) {
	d.parts = slices.DeleteFunc(d.parts, func(p *Subscription) bool {
		gone := !slices.Contains(topics, p.topic.name)
		if gone {
			d.drop(p)
		}
		return gone
	})
	for _, name := range topics {
		if slices.ContainsFunc(d.parts, func(p *Subscription) bool { return p.topic.name == name }) {
			continue
		}
		d.hub.mu.Lock()
		p := d.hub.subscribe(name, Selection{Match: d.query.Concerns}, rollcall.Token{})
		d.hub.subscribers.Add(-1) // it is one, however many parts it has
		p.first = nil
		if d.who.Door != "" {
			p.reader = d.hub.join(p.topic, d.who, d.id)
			p.begin()
		}
		p.topic.mu.Lock()
		if p.topic.listeners == nil {
			p.topic.listeners = map[chan<- struct{}]struct{}{}
		}
		p.topic.listeners[d.wake] = struct{}{}
		p.topic.mu.Unlock()
		d.hub.mu.Unlock()
		d.parts = append(d.parts, p)
		more = true
	}
	if !d.started {
		d.started = true
		d.hub.subscribers.Add(1)
	}
	return more
}

func (d *Derived) drop(p *Subscription) {
	p.topic.mu.Lock()
	delete(p.topic.listeners, d.wake)
	p.topic.mu.Unlock()
	d.hub.subscribers.Add(1)
	p.Close()
}

// ID implements [Feed].
func (d *Derived) ID() string {
	if d.who.Door == "" {
		return ""
	}
	return d.id
}

// Sent implements [Feed].
func (d *Derived) Sent() {
	for _, p := range d.parts {
		p.reader.send()
	}
}

// Close implements [Feed].
func (d *Derived) Close() {
	for _, p := range d.parts {
		d.drop(p)
	}
	d.parts = nil
	if d.started {
		d.started = false
		d.hub.subscribers.Add(-1)
	}
	if d.timer != nil {
		d.timer.Stop()
	}
}

// Next implements [Feed]. An error other than ctx's and [ErrClosed] is that of
// the query, which cannot be answered any more.
func (d *Derived) Next(ctx context.Context) (*Batch, error) {
	if b := d.first; b != nil {
		d.first = nil
		d.hand()
		return b, nil
	}
	bookmark := d.hub.now().Add(BookmarkEvery)
	for ctx.Err() == nil {
		current := d.hub.Revision()
		urgent, err := d.news()
		if err != nil {
			return nil, err
		}
		now := d.hub.now()
		d.look(now)
		if d.stale && (urgent || !now.Before(d.rest)) {
			b, err := d.again()
			if b != nil || err != nil {
				return b, err
			}
			continue
		}
		if !d.owes {
			d.pass(current)
		}
		if !now.Before(bookmark) {
			b := d.batch(Bookmark)
			if !d.stale {
				b.Revision = max(b.Revision, current)
			}
			return b, nil
		}
		if err := d.wait(ctx, now, bookmark); err != nil {
			return nil, err
		}
	}
	return nil, ctx.Err()
}

// look notes whether soft state has changed, if it is time to look.
func (d *Derived) look(now time.Time) {
	if now.Before(d.looks) {
		return
	}
	d.looks = now.Add(SoftEvery)
	if d.query.Soft() != d.soft || now.Sub(d.renewed) >= renewEvery {
		d.stale = true
	}
}

// wait returns when a part may have news or it is time for something.
func (d *Derived) wait(ctx context.Context, now, bookmark time.Time) error {
	until := bookmark
	if d.looks.Before(until) {
		until = d.looks
	}
	if d.stale && d.rest.Before(until) {
		until = d.rest
	}
	if d.timer == nil {
		d.timer = time.NewTimer(max(0, until.Sub(now)))
	} else {
		d.timer.Reset(max(0, until.Sub(now)))
	}
	select {
	case <-d.wake:
	case <-d.timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// news moves the parts' cursors on. What concerns the query makes the result
// stale; what concerns an instance in it, or what an operator decided, is urgent. That
// one who is not in it goes, or may not be used, changes shares at most: its reader
// has nothing to be waited for.
func (d *Derived) news() (urgent bool, err error) {
	for _, p := range d.parts {
		t := p.topic
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			return false, ErrClosed
		}
		end := t.base + uint64(len(t.events))
		var missed []*catalog.Event
		lost := p.cursor < t.base
		if !lost {
			missed = t.events[p.cursor-t.base:]
		}
		p.cursor = end
		t.mu.Unlock() // the events stay as they are
		if lost {
			d.stale, d.owes, urgent = true, true, true
		}
		for _, e := range missed {
			if e.ID == "" {
				d.stale, d.owes, urgent = true, true, true
				continue
			}
			_, in := d.told[rollcall.Key{ServiceKey: e.Service, ID: e.ID}]
			if in || e.Before != nil && d.query.Concerns(e.Before) || e.After != nil && d.query.Concerns(e.After) {
				d.stale, urgent = true, urgent || in
				d.owes = d.owes || in || e.After != nil && e.After.Usable()
			}
		}
	}
	return urgent, nil
}

// again works out the result and returns how it differs from what was told, nil if
// it does not.
func (d *Derived) again() (*Batch, error) {
	was, log := d.told, d.current.Log
	r, err := d.evaluate()
	if err != nil {
		return nil, err
	}
	d.told = shown(r)
	if r.Log != log { // nothing connects the states of two logs
		d.hand()
		return d.batch(Reset), nil
	}
	b := d.batch(Changes)
	b.Changes, b.Weighed = d.difference(was)
	switch {
	case len(b.Changes) > 0 && len(b.Weighed) > 0: // in the same breath
		d.first = d.batch(Weights)
		d.first.Weighed, b.Weighed = b.Weighed, nil
	case len(b.Weighed) > 0:
		b.Type = Weights
	case len(b.Changes) == 0:
		return nil, nil
	}
	d.hand()
	return b, nil
}

// difference tells who is gone, who is new or has registered anew, whose health
// changed, and whose weight alone did.
func (d *Derived) difference(was map[rollcall.Key]Shown) (cs []Change, ws []Weighed) {
	d.hub.mu.Lock()
	state := d.hub.snapshot
	d.hub.mu.Unlock()
	for key := range was {
		if _, still := d.told[key]; !still {
			c := Change{Kind: Remove, Service: key.ServiceKey, ID: key.ID, Item: state.Item(key), Why: "no longer selected"}
			if c.Item == nil {
				c.Why = "it is not registered any more"
			}
			cs = append(cs, c)
		}
	}
	slices.SortFunc(cs, func(a, b Change) int { return strings.Compare(a.ID, b.ID) })
	for n := range d.current.Shown {
		s := &d.current.Shown[n]
		old, in := was[s.Item.Key()]
		switch {
		case !in, !old.Item.Alike(s.Item), old.Item.Incarnation() != s.Item.Incarnation():
			cs = append(cs, Change{Kind: Put, Service: s.Item.Key().ServiceKey, ID: s.Item.ID(), Item: s.Item, Shown: s})
			continue
		case old.Item.Status() != s.Item.Status(), old.Item.Reason() != s.Item.Reason():
			cs = append(cs, Change{Kind: Health, Service: s.Item.Key().ServiceKey, ID: s.Item.ID(), Item: s.Item, Shown: s})
			continue
		}
		if moved := math.Abs(float64(s.Weight) - float64(old.Weight)); moved > tell*float64(old.Weight) {
			ws = append(ws, Weighed{s.Item.Key().ServiceKey, s.Item.ID(), s.Weight})
		} else if moved > 0 { // from what was told
			untold := *s
			untold.Weight = old.Weight
			d.told[s.Item.Key()] = untold
		}
	}
	for n := range cs {
		cs[n].Revision = d.current.Revision
	}
	return cs, ws
}

// hand says that the current result is handed out.
func (d *Derived) hand() {
	for _, p := range d.parts {
		p.reader.derive(d.current.Log, p.cursor, d.current.Revision)
	}
}

// pass says that nothing was left to hand out.
func (d *Derived) pass(rev rollcall.Revision) {
	for _, p := range d.parts {
		p.reader.pass(p.cursor, max(rev, d.current.Revision))
	}
}

func shown(r *Result) map[rollcall.Key]Shown {
	m := make(map[rollcall.Key]Shown, len(r.Shown))
	for _, s := range r.Shown {
		m[s.Item.Key()] = s
	}
	return m
}
