package watch

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
)

var seed = flag.Uint64("seed", 0, "seed of the random tests; 0 draws one")

func newRand(t testing.TB) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// world is a catalog with a hub, and every state that was published.
type world struct {
	t   testing.TB
	c   *catalog.Catalog
	hub *Hub
	log rollcall.LogID
	rev rollcall.Revision
	at  atomic.Int64 // the time, in nanoseconds

	mu        sync.Mutex // guards what follows
	published []*catalog.Snapshot
	grown     chan struct{} // closed when published grows
}

const first, second = rollcall.LogID("0123456789abcdef"), rollcall.LogID("fedcba9876543210")

func newWorld(t testing.TB, l limits) *world {
	t.Helper()
	w := &world{t: t, c: catalog.New(), log: first, grown: make(chan struct{})}
	w.at.Store(1_700_000_000e9)
	w.hub = newHub(w.now, l)
	w.apply(rollcall.Entry{Reset: true})
	w.publish()
	return w
}

func (w *world) now() time.Time { return time.Unix(0, w.at.Load()).UTC() }

func (w *world) apply(e rollcall.Entry) {
	w.t.Helper()
	e.Log, e.Revision = w.log, w.rev
	for i := range e.Changes {
		if c := &e.Changes[i]; c.Revision == 0 {
			c.Revision = w.rev
		}
		e.Changes[i].At = w.now()
	}
	if err := w.c.Apply(e); err != nil {
		w.t.Fatal(err)
	}
}

// write applies bodies as one revision.
func (w *world) write(bodies ...rollcall.Body) {
	w.t.Helper()
	w.rev++
	var e rollcall.Entry
	for _, b := range bodies {
		e.Changes = append(e.Changes, rollcall.Change{Body: b})
	}
	w.apply(e)
}

// publish shows what was written. The state is noted before anybody can see it.
func (w *world) publish() []catalog.Event {
	s, events := w.c.Publish()
	w.mu.Lock()
	w.published = append(w.published, s)
	close(w.grown)
	w.grown = make(chan struct{})
	w.mu.Unlock()
	w.hub.Publish(s, events, 0)
	return events
}

// state returns the first published state of a log that contains a revision.
func (w *world) state(log rollcall.LogID, r rollcall.Revision) *catalog.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.published {
		if s.Log() == log && s.Revision() >= r {
			return s
		}
	}
	return nil
}

func put(service, id, version string) rollcall.InstancePut {
	i := rollcall.Instance{Service: service, ID: id, Version: version}
	i.Normalize()
	return rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}
}

func remove(service, id string) rollcall.InstanceRemove {
	return rollcall.InstanceRemove{Key: rollcall.NewKey("", service, id)}
}

func status(service string, s rollcall.Status, ids ...string) rollcall.HealthPut {
	return rollcall.HealthPut{Service: rollcall.NewServiceKey("", service), Slot: rollcall.SlotStatus, Status: s, IDs: ids}
}

var (
	topicA = rollcall.NewServiceKey("", "a")
	topicB = rollcall.NewServiceKey("", "b")
	all    = Selection{"any", func(*catalog.Item) bool { return true }}
)

var selections = []Selection{
	all,
	{"", func(i *catalog.Item) bool { return i.Status().Routable() }},
	{"v=1", func(i *catalog.Item) bool { return version(i) == "1" }},
	{"unhealthy", func(i *catalog.Item) bool { return i.Status() == rollcall.Unhealthy }},
}

func version(i *catalog.Item) string { inst := i.Instance(); return inst.Version }

var topics = []Topic{topicA, topicB, rollcall.NewServiceKey("", "c"), {Namespace: "default"}, {}}

// watcher reconstructs a state from what it is told, and holds every batch
// against the promises.
type watcher struct {
	w     *world
	topic Topic
	sel   Selection
	sub   *Subscription

	log   rollcall.LogID
	rev   rollcall.Revision // current as of
	last  rollcall.Revision // of the newest batch of changes or state
	items map[rollcall.Key]*catalog.Item

	batches, resets, resumed, bookmarks int
}

func (w *world) watch(topic Topic, sel Selection) *watcher {
	c := &watcher{w: w, topic: topic, sel: sel}
	c.sub = w.hub.Subscribe(topic, sel, rollcall.Token{}, Reader{})
	return c
}

// reconnect closes the subscription and resumes it from a token.
func (c *watcher) reconnect() {
	c.sub.Close()
	c.sub = c.w.hub.Subscribe(c.topic, c.sel, rollcall.Token{Log: c.log, Revision: c.rev}, Reader{})
	if c.sub.first == nil {
		c.resumed++
	}
}

// try takes what is there already.
func (c *watcher) try() (bool, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b, err := c.sub.Next(ctx)
	if err != nil {
		return false, nil
	}
	return true, c.take(b)
}

func (c *watcher) take(b *Batch) error {
	c.batches++
	switch b.Type {
	case Snapshot, Reset:
		if (b.Type == Snapshot) != (c.items == nil) {
			return fmt.Errorf("batch %d is of type %d", c.batches, b.Type)
		}
		if b.Type == Reset {
			c.resets++
		}
		if b.State.Log() == c.log && b.Revision < c.rev {
			return fmt.Errorf("the state at %d comes after revision %d", b.Revision, c.rev)
		}
		if b.Revision != b.State.Revision() {
			return fmt.Errorf("the state at %d is said to be that at %d", b.State.Revision(), b.Revision)
		}
		c.log, c.items = b.State.Log(), c.selected(b.State)
	case Changes:
		if len(b.Changes) == 0 || b.Revision <= c.last || b.Revision < c.rev {
			return fmt.Errorf("%d changes at %d come after %d (current as of %d)", len(b.Changes), b.Revision, c.last, c.rev)
		}
		if err := c.apply(b); err != nil {
			return err
		}
	case Bookmark:
		if b.Revision < c.rev {
			return fmt.Errorf("the bookmark %d comes after %d", b.Revision, c.rev)
		}
		c.bookmarks++
		c.rev = b.Revision
		return c.compare()
	}
	c.rev, c.last = b.Revision, b.Revision
	return c.compare()
}

func (c *watcher) apply(b *Batch) error {
	told := map[rollcall.Key]bool{}
	newest := c.last
	for _, ch := range b.Changes {
		key := rollcall.Key{ServiceKey: ch.Service, ID: ch.ID}
		have := c.items[key]
		switch {
		case ch.Revision < newest || ch.Revision <= c.last || ch.Revision > b.Revision:
			return fmt.Errorf("%v of revision %d stands behind %d, in a batch from %d to %d", key, ch.Revision, newest, c.last, b.Revision)
		case told[key]:
			return fmt.Errorf("%v is told twice", key)
		case ch.Kind == Remove && have == nil:
			return fmt.Errorf("%v is removed and was not there", key)
		case ch.Kind != Remove && (ch.Item == nil || !c.sel.Match(ch.Item) || ch.Item.Key() != key):
			return fmt.Errorf("%v is told with %+v, which is not selected", key, ch.Item)
		case ch.Kind == Remove && ch.Item != nil && c.sel.Match(ch.Item):
			return fmt.Errorf("%v is removed and still selected", key)
		case ch.Kind != Remove && have == ch.Item:
			return fmt.Errorf("%v is told again", key)
		}
		if registered := have != nil && ch.Item != nil && have.Revision() == ch.Item.Revision() && have.Incarnation() == ch.Item.Incarnation(); ch.Kind != Remove && registered != (ch.Kind == Health) {
			return fmt.Errorf("kind %d of %v: from %+v to %+v", ch.Kind, key, have, ch.Item)
		}
		told[key], newest = true, ch.Revision
		if ch.Kind == Remove {
			delete(c.items, key)
		} else {
			c.items[key] = ch.Item
		}
	}
	return nil
}

// selected returns what the watcher should see of a state.
func (c *watcher) selected(s *catalog.Snapshot) map[rollcall.Key]*catalog.Item {
	items := map[rollcall.Key]*catalog.Item{}
	for v := range s.Views(rollcall.ServiceKey{}) {
		if c.topic.Service != "" && v.Key() != c.topic || c.topic.Namespace != "" && v.Key().Namespace != c.topic.Namespace {
			continue
		}
		for i := range v.All() {
			if c.sel.Match(i) {
				items[i.Key()] = i
			}
		}
	}
	return items
}

// compare holds what the watcher knows against the state at its revision.
func (c *watcher) compare() error {
	s := c.w.state(c.log, c.rev)
	if s == nil {
		return fmt.Errorf("revision %d of %s was not published", c.rev, c.log)
	}
	want := c.selected(s)
	if len(want) != len(c.items) {
		return fmt.Errorf("%d instances at %d (%d), want %d", len(c.items), c.rev, s.Revision(), len(want))
	}
	for key, i := range want {
		got := c.items[key]
		if got == nil || got.Record() != i.Record() || got.Status() != i.Status() || got.Incarnation() != i.Incarnation() || got.Revision() != i.Revision() {
			return fmt.Errorf("%v at %d is %+v, want %+v", key, c.rev, got, i)
		}
	}
	return nil
}

// step writes something at random and publishes it now and then.
func (w *world) step(rng *rand.Rand) {
	w.t.Helper()
	w.at.Add(rng.Int64N(1e9))
	service := func() string { return []string{"a", "b", "c"}[rng.IntN(3)] }
	id := func() string { return fmt.Sprint(rng.IntN(12)) }
	var bodies []rollcall.Body
	for range 1 + rng.IntN(3) {
		switch rng.IntN(8) {
		case 0, 1, 2:
			p := put(service(), id(), []string{"1", "2"}[rng.IntN(2)])
			if old := w.c.Snapshot().Item(p.Key); old != nil && rng.IntN(2) == 0 {
				p.Incarnation = old.Incarnation()
			}
			bodies = append(bodies, p)
		case 3:
			bodies = append(bodies, remove(service(), id()))
		case 4:
			bodies = append(bodies, rollcall.SettingsPut{Service: topicA, Settings: &rollcall.Settings{}})
		default:
			ids := []string{id(), id(), id(), id(), id()}
			slices.Sort(ids)
			bodies = append(bodies, status(service(), rollcall.Statuses()[rng.IntN(6)], slices.Compact(ids)...))
		}
	}
	w.write(bodies...)
	if rng.IntN(3) > 0 {
		w.publish()
	}
}

// restart reads the state anew, as after a log was compacted under its reader,
// or found to be another log.
func (w *world) restart(log rollcall.LogID) {
	w.t.Helper()
	w.publish()
	state := slices.Collect(w.c.Snapshot().State())
	if log != w.log {
		w.log, w.rev = log, w.rev/2
		for i := range state {
			state[i].Revision = min(state[i].Revision, w.rev)
		}
	} else {
		// Something else happened that was not read.
		w.rev++
		p := put("a", "0", fmt.Sprint(w.rev))
		state = append(state, rollcall.Change{Revision: w.rev, Body: p})
	}
	w.apply(rollcall.Entry{Changes: state, Reset: true, More: true})
	w.apply(rollcall.Entry{Reset: true})
	w.publish()
}

// TestPromises lets watchers of all kinds run over a random history in random
// order: slow ones, ones that reconnect, with a history so short that many are
// pushed out of it.
func TestPromises(t *testing.T) {
	for name, l := range map[string]limits{
		"by events": {events: 40, bytes: 1 << 30, age: time.Hour},
		"by bytes":  {events: 1 << 30, bytes: 16 << 10, age: time.Hour},
		"by age":    {events: 1 << 30, bytes: 1 << 30, age: 10 * time.Second},
		"all of it": {events: 1 << 30, bytes: 1 << 30, age: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			rng := newRand(t)
			w := newWorld(t, l)
			var cs []*watcher
			for _, topic := range topics {
				for _, sel := range selections {
					for range 2 {
						cs = append(cs, w.watch(topic, sel))
					}
				}
			}
			for n := range 1000 {
				w.step(rng)
				if rng.IntN(200) == 0 {
					// No log comes back.
					another := rollcall.LogID(fmt.Sprintf("%016x", rng.Uint64()))
					w.restart([]rollcall.LogID{w.log, w.log, another}[rng.IntN(3)])
				}
				for range rng.IntN(8) {
					// The first of them are the quickest.
					c := cs[rng.IntN(1+rng.IntN(len(cs)))]
					if c.items != nil && rng.IntN(4) == 0 {
						c.reconnect()
					}
					if _, err := c.try(); err != nil {
						t.Fatalf("step %d, %v %q: %v", n, c.topic, c.sel.Text, err)
					}
				}
			}
			w.write(put("a", "0", "end"), put("b", "0", "end"), put("c", "0", "end"))
			w.publish()
			resets, resumed := 0, 0
			for _, c := range cs {
				for more := true; more; {
					var err error
					if more, err = c.try(); err != nil {
						t.Fatalf("%v %q: %v", c.topic, c.sel.Text, err)
					}
				}
				c.rev = w.rev // there is nothing more to be told
				if err := c.compare(); err != nil {
					t.Errorf("%v %q, in the end: %v", c.topic, c.sel.Text, err)
				}
				resets, resumed = resets+c.resets, resumed+c.resumed
				c.sub.Close()
			}
			if resets == 0 && name != "all of it" || resumed == 0 {
				t.Errorf("%d resets, %d resumed: the test misses its purpose", resets, resumed)
			}
			if n := w.hub.Subscribers(); n != 0 {
				t.Errorf("%d subscribers are left", n)
			}
			w.hub.check(t)
		})
	}
}

// check looks for what a hub should not keep.
func (h *Hub) check(t *testing.T) {
	t.Helper()
	live := h.order[h.head:]
	bytes := 0
	perTopic := map[*topic]int{}
	for _, o := range live {
		bytes += o.bytes
		for _, topic := range o.topics {
			perTopic[topic]++
		}
	}
	if len(live) > h.limits.events || bytes > h.limits.bytes || bytes != h.bytes {
		t.Errorf("%d events of %d (noted %d) bytes are kept", len(live), bytes, h.bytes)
	}
	if n := len(live); n > 0 && live[n-1].at.Sub(live[0].at) > h.limits.age {
		t.Errorf("an event is kept for %v", live[n-1].at.Sub(live[0].at))
	}
	for name, topic := range h.topics {
		if perTopic[topic] != len(topic.events) || len(topic.events) == 0 && topic.refs == 0 || len(topic.fresh) > 0 {
			t.Errorf("topic %v: %d events of %d, %d subscribers", name, len(topic.events), perTopic[topic], topic.refs)
		}
	}
}

// TestPromisesAtOnce does the same with a goroutine for each watcher, which
// race with the writer.
func TestPromisesAtOnce(t *testing.T) {
	rng := newRand(t)
	w := newWorld(t, limits{events: 200, bytes: 1 << 30, age: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const watchers = 60
	var wg sync.WaitGroup
	end := make(chan struct{})
	for n := range watchers {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 0))
		c := w.watch(topics[n%len(topics)], selections[n/len(topics)%len(selections)])
		wg.Go(func() {
			defer func() { c.sub.Close() }()
			for {
				b, err := c.sub.Next(ctx)
				if err != nil {
					break
				}
				if err := c.take(b); err != nil {
					t.Errorf("%v %q: %v", c.topic, c.sel.Text, err)
					return
				}
				switch rng.IntN(6) {
				case 0:
					c.reconnect()
				case 1: // is slow
					for range rng.IntN(20) {
						w.mu.Lock()
						grown := w.grown
						w.mu.Unlock()
						select {
						case <-grown:
						case <-end:
						}
					}
				}
			}
			for more := true; more; {
				var err error
				if more, err = c.try(); err != nil {
					t.Errorf("%v %q: %v", c.topic, c.sel.Text, err)
					return
				}
			}
			w.mu.Lock()
			c.rev = w.published[len(w.published)-1].Revision()
			w.mu.Unlock()
			if err := c.compare(); err != nil {
				t.Errorf("%v %q, in the end: %v", c.topic, c.sel.Text, err)
			}
		})
	}
	for range 1000 {
		w.step(rng)
		if rng.IntN(20) == 0 {
			runtime.Gosched()
		}
	}
	w.publish()
	close(end)
	cancel()
	wg.Wait()
}

// TestARevisionIsNotSplit: a watcher that polls all the time sees revisions of
// many changes whole.
func TestARevisionIsNotSplit(t *testing.T) {
	const size, revisions = 200, 300
	w := newWorld(t, limits{events: 1 << 30, bytes: 1 << 30, age: time.Hour})
	var ids []string
	var bodies []rollcall.Body
	for n := range size {
		ids = append(ids, fmt.Sprintf("%03d", n))
		bodies = append(bodies, put("a", ids[n], "1"))
	}
	w.write(bodies...)
	w.publish()
	var wg sync.WaitGroup
	for _, topic := range []Topic{topicA, {Namespace: "default"}, {}} {
		sub := w.hub.Subscribe(topic, all, rollcall.Token{}, Reader{})
		wg.Go(func() {
			defer sub.Close()
			for rev := rollcall.Revision(1); rev < 1+revisions; {
				b, err := sub.Next(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if b.Type == Changes && len(b.Changes) != size {
					t.Errorf("%d changes at revision %d, want %d", len(b.Changes), b.Revision, size)
					return
				}
				rev = b.Revision
			}
		})
	}
	for n := range revisions {
		w.write(status("a", []rollcall.Status{rollcall.Degraded, rollcall.Unhealthy}[n%2], ids...))
		w.publish()
	}
	wg.Wait()
}
