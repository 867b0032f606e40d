package stream

import (
	"strconv"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/httpapi/quote"
	"github.com/rollcall-registry/rollcall/internal/resolve"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// maxReason bounds a reason in a record: the whole of it stands with the
// instance. It keeps a record about one instance below 300 bytes.
const maxReason = 80

// records writes the records of a stream.
type records struct {
	buf  []byte
	sse  bool
	many bool // of more than one service: records say of which
	// topic is the service that all else is of. A result may still tell of the end of
	// others, when its name has just ceased to mean a named query.
	topic rollcall.ServiceKey
	log   rollcall.LogID
	item  func([]byte, *catalog.Item, *catalog.Shown) []byte // appends an instance
	// weigh returns an instance's effective weight.
	weigh      func(*catalog.Item) uint16
	generation uint64 // of the result that is told of, 0 if it is none
}

func (e *records) begin(kind string) {
	if e.sse {
		e.buf = append(e.buf, "data: "...)
	}
	e.buf = append(append(append(e.buf, `{"type":"`...), kind...), '"')
}

func (e *records) service(k rollcall.ServiceKey) {
	if e.many || k != e.topic {
		e.buf = quote.Append(append(e.buf, `,"namespace":`...), k.Namespace)
		e.buf = quote.Append(append(e.buf, `,"service":`...), k.Service)
	}
}

func (e *records) revision(r rollcall.Revision) {
	e.buf = strconv.AppendUint(append(e.buf, `,"revision":`...), uint64(r), 10)
}

func (e *records) text(name, value string) {
	e.buf = append(append(append(e.buf, `,"`...), name...), `":`...)
	e.buf = quote.Append(e.buf, value)
}

// token says that all up to r was told.
func (e *records) token(r rollcall.Revision) {
	e.buf = append(e.buf, `,"token":"`...)
	e.buf = append(rollcall.Token{Log: e.log, Revision: r, Generation: e.generation}.AppendTo(e.buf), '"')
}

// end ends a record. complete, if not 0, is the revision whose token it had.
func (e *records) end(complete rollcall.Revision) {
	e.buf = append(e.buf, "}\n"...)
	if !e.sse {
		return
	}
	if complete != 0 {
		e.buf = append(e.buf, "id: "...)
		e.buf = append(rollcall.Token{Log: e.log, Revision: complete, Generation: e.generation}.AppendTo(e.buf), '\n')
	}
	e.buf = append(e.buf, '\n')
}

func (e *records) bookmark(r rollcall.Revision) {
	e.begin("bookmark")
	e.revision(r)
	e.token(r)
	e.end(r)
}

// changes writes a batch of changes, in order of their revisions. Instances
// that got the same verdict share a record, that of the newest of them.
func (e *records) changes(b *watch.Batch) {
	groups := b.Verdicts()
	for n := range b.Changes {
		c := &b.Changes[n]
		complete := rollcall.Revision(0)
		if n == len(b.Changes)-1 {
			complete = b.Revision
		}
		switch c.Kind {
		case watch.Put:
			e.begin("put")
			e.service(c.Service)
			e.revision(c.Revision)
			e.buf = e.item(append(e.buf, `,"instance":`...), c.Item, c.Shown.As())
		case watch.Remove:
			e.begin("remove")
			e.service(c.Service)
			e.revision(c.Revision)
			e.text("id", c.ID)
			e.text("reason", c.Departure(reason))
		case watch.Health:
			g := groups[c.Verdict()]
			if g.Last != n {
				continue
			}
			e.begin("health")
			e.service(c.Service)
			e.revision(c.Revision)
			e.buf = append(e.buf, `,"ids":[`...)
			for i, at := range g.Members {
				if i > 0 {
					e.buf = append(e.buf, ',')
				}
				e.buf = quote.Append(e.buf, b.Changes[at].ID)
			}
			e.buf = append(e.buf, ']')
			e.text("status", c.Item.Status().String())
			if why := c.Item.Reason(); why != "" {
				e.text("reason", reason(why))
			}
			e.weights(b, g.Members)
		}
		if complete != 0 {
			e.token(complete)
		}
		e.end(complete)
	}
}

// weights says what those of a record have of the traffic from now on, in the
// order of their ids, unless that is nothing.
func (e *records) weights(b *watch.Batch, members []int) {
	if !b.Changes[members[0]].Item.Usable() {
		return
	}
	e.buf = append(e.buf, `,"effective_weights":[`...)
	for n, at := range members {
		if n > 0 {
			e.buf = append(e.buf, ',')
		}
		weight := uint16(0)
		if c := &b.Changes[at]; c.Shown != nil {
			weight = c.Shown.Weight
		} else {
			weight = e.weigh(c.Item)
		}
		e.buf = strconv.AppendUint(e.buf, uint64(weight), 10)
	}
	e.buf = append(e.buf, ']')
}

// weighed writes records of weights, one for each service.
func (e *records) weighed(b *watch.Batch) {
	for n, w := range b.Weighed {
		if n == 0 || w.Service != b.Weighed[n-1].Service {
			if n > 0 {
				e.buf = append(e.buf, '}')
				e.end(0)
			}
			e.begin("weights")
			e.service(w.Service)
			e.buf = strconv.AppendUint(append(e.buf, `,"generation":`...), b.Generation, 10)
			e.buf = append(e.buf, `,"weights":{`...)
		} else {
			e.buf = append(e.buf, ',')
		}
		e.buf = append(quote.Append(e.buf, w.ID), ':')
		e.buf = strconv.AppendUint(e.buf, uint64(w.Weight), 10)
	}
	e.buf = append(e.buf, '}')
	e.end(0)
}

// reason is a reason as records have it.
func reason(s string) string { return quote.Shorten(s, maxReason) }

// open begins a snapshot or reset; its instances and shut follow.
func (e *records) open(t watch.Type, r rollcall.Revision) {
	if t == watch.Reset {
		e.begin("reset")
	} else {
		e.begin("snapshot")
	}
	e.revision(r)
	e.token(r)
	e.buf = append(e.buf, `,"instances":[`...)
}

func (e *records) shut(r rollcall.Revision) {
	e.buf = append(e.buf, ']')
	e.end(r)
}

// view writes the snapshot or reset of one service. v may be nil.
func (e *records) view(t watch.Type, r rollcall.Revision, v *catalog.View, p *resolve.Plan) {
	e.open(t, r)
	if v != nil {
		first := true
		for i := range v.All() {
			if p.Match(i) {
				if !first {
					e.buf = append(e.buf, ',')
				}
				e.buf = e.item(e.buf, i, nil)
				first = false
			}
		}
	}
	e.shut(r)
}

// result writes the snapshot or reset of a result.
func (e *records) result(b *watch.Batch) {
	e.open(b.Type, b.Revision)
	for n := range b.Result.Shown {
		if n > 0 {
			e.buf = append(e.buf, ',')
		}
		s := &b.Result.Shown[n]
		e.buf = e.item(e.buf, s.Item, &s.Shown)
	}
	e.shut(b.Revision)
}
