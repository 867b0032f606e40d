package watch

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
)

const (
	// travel is how long an answer may be under way to whoever keeps it, whose clock
	// begins when it arrives.
	travel = 100 * time.Millisecond
	// tick is what the end of a time is rounded up to, so that of many who tell of a
	// service at once nearly all find that it was noted already.
	tick = 10 * time.Millisecond
	// idle is for how long what nobody keeps is not forgotten: to note it anew costs more
	// than to have it.
	idle = 10 * time.Minute
)

// told knows until when those may keep what they were told of a service whom
// nobody can tell more: resolvers, which answer others for as long as they were
// allowed to.
type told struct {
	began    time.Time // nanoseconds count from here
	services sync.Map  // of *Keeping, by Topic
}

// Keeping is that of one service. It does not change any more once it is forgotten.
type Keeping struct {
	told  *told
	until atomic.Int64 // the latest there was; forgotten: see there
	ttl   atomic.Int64 // the longest there was
}

const forgotten = math.MinInt64

// Told notes that what was said of a service may be kept for a time, by somebody
// whom no barrier can ask. A barrier that begins from now on waits until that is
// over. Any goroutine may call it, for each answer: it takes no lock unless the
// service is new to it. Of service nothing is kept.
//
// What is sent must not be older than what the barrier takes it to be. So whoever
// answers calls Told before it sends, and asks for the revision of the hub before
// it looks at the catalog and once more after Told. If both are the same, a
// barrier for anything newer has yet to begin, and will find what is noted here. If
// not, it looks at the catalog again and answers with that, which need not be
// checked again: it was read after Told.
func (h *Hub) Told(service Topic, ttl time.Duration) { h.told.note(service, ttl) }

func (t *told) note(service Topic, ttl time.Duration) {
	for !t.keeping(service).Told(ttl) {
	}
}

// Keeping returns what [Hub.Told] notes of a service, for whoever tells of it so often
// that it is not to be looked for each time.
func (h *Hub) Keeping(service Topic) *Keeping { return h.told.keeping(service) }

func (t *told) keeping(service Topic) *Keeping {
	for {
		k, ok := t.services.Load(service)
		if !ok {
			own := Topic{Namespace: strings.Clone(service.Namespace), Service: strings.Clone(service.Service)}
			k, _ = t.services.LoadOrStore(own, &Keeping{told: t})
		}
		if k := k.(*Keeping); k.until.Load() != forgotten {
			return k
		}
		t.services.CompareAndDelete(service, k)
	}
}

// Told is [Hub.Told] of the service. It returns false, and notes nothing, if it was
// forgotten in the meantime, because nobody told of it for long: then there is another.
func (k *Keeping) Told(ttl time.Duration) bool {
	ttl = max(ttl, 0)
	until := int64((time.Since(k.told.began) + ttl + travel + tick - 1) / tick * tick)
	return k.raise(until, int64(ttl))
}

// Fetch touches what Told will look at, and returns nothing of use.
func (k *Keeping) Fetch() uint64 { return uint64(k.until.Load()) }

// raise returns false if k is forgotten.
func (k *Keeping) raise(until, ttl int64) bool {
	for was := k.ttl.Load(); was < ttl && !k.ttl.CompareAndSwap(was, ttl); was = k.ttl.Load() {
	}
	for {
		was := k.until.Load()
		switch {
		case was == forgotten:
			return false
		case was >= until || k.until.CompareAndSwap(was, until):
			return true
		}
	}
}

// left returns for how long what was told of a service may still be kept, 0 or less
// if it is not, and the longest time that anybody was allowed to.
func (t *told) left(service Topic) (left, ttl time.Duration) {
	k, ok := t.services.Load(service)
	if !ok {
		return 0, 0
	}
	until := k.(*Keeping).until.Load()
	if until == forgotten {
		return 0, 0
	}
	return time.Duration(until) - time.Since(t.began), time.Duration(k.(*Keeping).ttl.Load())
}

// Sweep forgets the services of which nobody has kept anything for a while. Call it
// every minute or so.
func (h *Hub) Sweep() {
	now := int64(time.Since(h.told.began) - idle)
	h.told.services.Range(func(service, k any) bool {
		until := &k.(*Keeping).until
		if was := until.Load(); was < now && until.CompareAndSwap(was, forgotten) {
			h.told.services.CompareAndDelete(service, k)
		}
		return true
	})
}

// resolvers returns the watcher that stands for all who were told of a service and
// keep it, if there are any. What they have for certain is what was known when the
// oldest answer was given that is kept still.
func (h *Hub) resolvers(service Topic) (w rollcall.Watcher, ok bool) {
	left, ttl := h.told.left(service)
	if left <= 0 {
		return w, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w = rollcall.Watcher{Subscription: "dns", Door: "dns", Revision: h.Revision()}
	if t := h.topics[service]; t != nil {
		if first := t.since(time.Now().Add(-ttl - travel)); first > 0 {
			w.Revision = first - 1
		}
	}
	return w, true
}

// since returns the first revision of the topic that was committed after a time, 0
// if there is none.
func (t *topic) since(at time.Time) rollcall.Revision {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := slices.IndexFunc(t.events, func(e *catalog.Event) bool { return e.Committed.After(at) })
	if n < 0 {
		return 0
	}
	return t.events[n].Revision
}
