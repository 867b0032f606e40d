package grpcapi

import (
	"iter"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/nest"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// Bounds of a record. What does not fit into one comes in several, of which each
// is a message of its own.
const (
	// mostRecord is how many bytes a record has until the next one begins: far less
	// than what clients of gRPC take by default, and what a stream may hold that
	// nobody reads.
	mostRecord = 128 << 10
	// maxReason bounds a reason: the whole of it stands with the instance.
	maxReason = 80
)

// Fields of a WatchResponse.
const (
	fieldState    = 2
	fieldChanges  = 3
	fieldWeights  = 4
	fieldBookmark = 5
)

// records writes what a subscription is told: one or several of the fields of a
// WatchResponse, each of which goes out as a message.
type records struct {
	buf  []byte
	s    *Server
	many bool // of more than one service: records say of which
	// topic is the service that all else is of. A result may still tell of the end of
	// others, when its name has just ceased to mean a named query.
	topic      rollcall.ServiceKey
	log        rollcall.LogID
	generation uint64 // of the result that is told of, 0 if it is none

	// Of the state that is open: where its last part begins, its revision, and
	// whether it is a reset.
	at    int
	begun rollcall.Revision
	reset bool
}

// each yields the records one by one.
func each(all []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(all) > 0 {
			_, _, n := protowire.ConsumeField(all)
			if n < 0 || !yield(all[:n:n]) {
				return
			}
			all = all[n:]
		}
	}
}

// token says that all up to r was told.
func (e *records) token(num protowire.Number, r rollcall.Revision) {
	e.buf = appendText(e.buf, num, rollcall.Token{Log: e.log, Revision: r, Generation: e.generation}.String())
}

func (e *records) bookmark(r rollcall.Revision) {
	var at int
	e.buf, at = nest.Open(e.buf, fieldBookmark)
	e.buf = appendInt(e.buf, 1, uint64(r))
	e.token(2, r)
	e.buf = nest.Shut(e.buf, at)
}

// state begins a state; its instances and whole follow.
func (e *records) state(t watch.Type, r rollcall.Revision) {
	e.reset, e.begun = t == watch.Reset, r
	e.part()
}

func (e *records) part() {
	e.buf, e.at = nest.Open(e.buf, fieldState)
	e.buf = appendBool(e.buf, 1, e.reset)
	e.buf = appendInt(e.buf, 2, uint64(e.begun))
}

// instance adds one to a state, and reports whether a part is complete with it.
func (e *records) instance(i *catalog.Item, shown *catalog.Shown) (part bool) {
	if len(e.buf)-e.at >= mostRecord {
		e.buf = nest.Shut(appendBool(e.buf, 5, true), e.at)
		e.part()
		part = true
	}
	var at int
	e.buf, at = nest.Open(e.buf, 4)
	e.buf = nest.Shut(e.s.appendItem(e.buf, i, shown), at)
	return part
}

// whole ends a state.
func (e *records) whole() {
	e.token(3, e.begun)
	e.buf = nest.Shut(e.buf, e.at)
}

// view writes the state of one service. v may be nil.
func (e *records) view(t watch.Type, r rollcall.Revision, v *catalog.View, p *resolve.Plan) {
	e.state(t, r)
	if v != nil {
		for i := range v.All() {
			if p.Match(i) {
				e.instance(i, nil)
			}
		}
	}
	e.whole()
}

// result writes the state of a result.
func (e *records) result(b *watch.Batch) {
	e.state(b.Type, b.Revision)
	for n := range b.Result.Shown {
		s := &b.Result.Shown[n]
		e.instance(s.Item, &s.Shown)
	}
	e.whole()
}

// changes writes a batch of changes, in order of their revisions. Instances
// that got the same verdict share a change, that of the newest of them.
func (e *records) changes(b *watch.Batch) {
	groups := b.Verdicts()
	var at int
	e.buf, at = nest.Open(e.buf, fieldChanges)
	e.buf = appendInt(e.buf, 1, uint64(b.Revision))
	for n := range b.Changes {
		c := &b.Changes[n]
		alike := [][]int{nil} // the changes of each verdict that is written here
		if c.Kind == watch.Health {
			g := groups[c.Verdict()]
			if g.Last != n {
				continue
			}
			alike = slices.Collect(slices.Chunk(g.Members, mostIDs))
		}
		for _, members := range alike {
			if len(e.buf)-at >= mostRecord {
				e.buf = nest.Shut(e.buf, at)
				e.buf, at = nest.Open(e.buf, fieldChanges)
				e.buf = appendInt(e.buf, 1, uint64(b.Revision))
			}
			e.change(b, c, members)
		}
	}
	e.token(2, b.Revision)
	e.buf = nest.Shut(e.buf, at)
}

// change writes one, with those that got the same verdict.
func (e *records) change(b *watch.Batch, c *watch.Change, members []int) {
	var at, inner int
	e.buf, at = nest.Open(e.buf, 3)
	e.buf = appendInt(e.buf, 1, uint64(c.Revision))
	e.service(c.Service, 2)
	switch c.Kind {
	case watch.Put:
		e.buf, inner = nest.Open(e.buf, 4)
		e.buf = e.s.appendItem(e.buf, c.Item, c.Shown.As())
	case watch.Health:
		e.buf, inner = nest.Open(e.buf, 5)
		e.verdict(b, c, members)
	case watch.Remove:
		e.buf, inner = nest.Open(e.buf, 6)
		e.buf = appendText(e.buf, 1, c.ID)
		e.buf = appendText(e.buf, 2, c.Departure(reason))
	}
	e.buf = nest.Shut(nest.Shut(e.buf, inner), at)
}

// service says which service a record is about, if there are several or it is of
// another than is watched: in a field and, its namespace, in the next one.
func (e *records) service(k rollcall.ServiceKey, num protowire.Number) {
	if e.many || k != e.topic {
		e.buf = appendText(e.buf, num, k.Service)
		e.buf = appendText(e.buf, num+1, k.Namespace)
	}
}

// verdict writes the ids of those who got one, and what they have of the traffic
// from now on, in the order of their ids, unless that is nothing.
func (e *records) verdict(b *watch.Batch, c *watch.Change, members []int) {
	for _, n := range members {
		e.buf = appendText(e.buf, 1, b.Changes[n].ID)
	}
	e.buf = appendInt(e.buf, 2, uint64(c.Item.Status()))
	e.buf = appendText(e.buf, 3, reason(c.Item.Reason()))
	if !b.Changes[members[0]].Item.Usable() {
		return
	}
	var at int
	e.buf, at = nest.Open(e.buf, 4)
	for _, n := range members {
		c := &b.Changes[n]
		weight := uint16(0)
		if c.Shown != nil {
			weight = c.Shown.Weight
		} else {
			weight = e.s.reg.Weight(c.Item)
		}
		e.buf = protowire.AppendVarint(e.buf, uint64(weight))
	}
	e.buf = nest.Shut(e.buf, at)
}

// weighed writes weights, by service.
func (e *records) weighed(b *watch.Batch) {
	var at int
	e.buf, at = nest.Open(e.buf, fieldWeights)
	e.buf = appendInt(e.buf, 1, b.Generation)
	for ws := b.Weighed; len(ws) > 0; {
		n := 1
		for n < len(ws) && ws[n].Service == ws[0].Service && n < mostIDs {
			n++
		}
		if len(e.buf)-at >= mostRecord {
			e.buf = nest.Shut(e.buf, at)
			e.buf, at = nest.Open(e.buf, fieldWeights)
			e.buf = appendInt(e.buf, 1, b.Generation)
		}
		var inner, weights int
		e.buf, inner = nest.Open(e.buf, 2)
		e.service(ws[0].Service, 1)
		for _, w := range ws[:n] {
			e.buf = appendText(e.buf, 3, w.ID)
		}
		e.buf, weights = nest.Open(e.buf, 4)
		for _, w := range ws[:n] {
			e.buf = protowire.AppendVarint(e.buf, uint64(w.Weight))
		}
		e.buf = nest.Shut(nest.Shut(e.buf, weights), inner)
		ws = ws[n:]
	}
	e.buf = nest.Shut(e.buf, at)
}

// mostIDs is how many ids stand together at most.
const mostIDs = 1024

// reason is a reason as records have it.
func reason(s string) string { return shorten(s, maxReason) }
