package dnsapi

import (
	"sync/atomic"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/answer"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// last is what a question was answered with, for as long as that is the answer: of a
// hundred thousand names each is asked for so seldom that no cache holds what it takes to
// find that out anew, and to wait for memory costs more than all else.
type last struct {
	stamp   *atomic.Uint64 // of the service
	at      uint64         // what it was when the set was looked up
	set     answer.Set     // nil: none is kept
	ttl     uint32
	keeping *watch.Keeping // by resolvers; nil: not looked for yet
	service rollcall.ServiceKey
}

// again answers with what the question was answered with before, if nothing has changed
// since. It must not be asked for an asker whose place is known.
func (h *handler) again(b []byte, q *query, l *last) ([]byte, bool) {
	if l.set == nil || l.stamp.Load() != l.at || l.set.Count(q.typ) == 0 {
		return b, false
	}
	for l.keeping == nil || !l.keeping.Told(seconds(l.ttl)) {
		l.keeping = h.reg.Keeping(l.service)
	}
	// Whoever waits for resolvers to forget something newer has yet to begin, and will
	// hear of this one.
	if l.stamp.Load() != l.at {
		return b, false
	}
	return h.write(b, q, l.set, l.ttl), true
}

// keep keeps a set of an answer that was looked up when the stamp was at a number, if it
// is one that hangs on a view: all others are valid until the next.
func (h *handler) keep(l *last, a *resolve.Answer, at uint64, set answer.Set, ttl uint32) {
	if a.View != nil && a.Key == l.service && !h.scratch(set) {
		l.at, l.set, l.ttl = at, set, ttl
	}
}

// scratch reports whether a set is where the handler packs those of no view.
func (h *handler) scratch(set answer.Set) bool { return cap(h.set) > 0 && &set[0] == &h.set[:1][0] }
