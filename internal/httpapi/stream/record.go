package stream

import (
	"cmp"
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
	log  rollcall.LogID
	item func([]byte, *catalog.Item) []byte // appends an instance
}

func (e *records) begin(kind string) {
	if e.sse {
		e.buf = append(e.buf, "data: "...)
	}
	e.buf = append(append(append(e.buf, `{"type":"`...), kind...), '"')
}

func (e *records) service(k rollcall.ServiceKey) {
	if e.many {
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
	e.buf = append(rollcall.Token{Log: e.log, Revision: r}.AppendTo(e.buf), '"')
}

// end ends a record. complete, if not 0, is the revision whose token it had.
func (e *records) end(complete rollcall.Revision) {
	e.buf = append(e.buf, "}\n"...)
	if !e.sse {
		return
	}
	if complete != 0 {
		e.buf = append(e.buf, "id: "...)
		e.buf = append(rollcall.Token{Log: e.log, Revision: complete}.AppendTo(e.buf), '\n')
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
	groups := grouped(b.Changes)
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
			e.buf = e.item(append(e.buf, `,"instance":`...), c.Item)
		case watch.Remove:
			e.begin("remove")
			e.service(c.Service)
			e.revision(c.Revision)
			e.text("id", c.ID)
			e.text("reason", departure(c))
		case watch.Health:
			g := groups[verdictOf(c)]
			if g.last != n {
				continue
			}
			e.begin("health")
			e.service(c.Service)
			e.revision(c.Revision)
			e.buf = append(e.buf, `,"ids":[`...)
			for i, at := range g.members {
				if i > 0 {
					e.buf = append(e.buf, ',')
				}
				e.buf = quote.Append(e.buf, b.Changes[at].ID)
			}
			e.buf = append(e.buf, ']')
			e.text("status", c.Item.Status().String())
			if why := c.Item.Reason(); why != "" {
				e.text("reason", quote.Shorten(why, maxReason))
			}
		}
		if complete != 0 {
			e.token(complete)
		}
		e.end(complete)
	}
}

// verdict is what instances of one record have in common.
type verdict struct {
	service rollcall.ServiceKey
	status  rollcall.Status
	reason  string
}

func verdictOf(c *watch.Change) verdict {
	return verdict{c.Service, c.Item.Status(), c.Item.Reason()}
}

// group is where in a batch the changes of one verdict are.
type group struct {
	members []int
	last    int
}

func grouped(changes []watch.Change) map[verdict]group {
	var groups map[verdict]group
	for n := range changes {
		if c := &changes[n]; c.Kind == watch.Health {
			if groups == nil {
				groups = map[verdict]group{}
			}
			v := verdictOf(c)
			groups[v] = group{append(groups[v].members, n), n}
		}
	}
	return groups
}

// departure says why an instance is no longer told of.
func departure(c *watch.Change) string {
	i := c.Item
	if i == nil {
		return cmp.Or(quote.Shorten(c.Why, maxReason), "deregistered")
	}
	why := "not selected: " + i.Status().String()
	if i.Reason() != "" {
		why += ": " + quote.Shorten(i.Reason(), maxReason)
	}
	return why
}

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
				e.buf = e.item(e.buf, i)
				first = false
			}
		}
	}
	e.shut(r)
}
