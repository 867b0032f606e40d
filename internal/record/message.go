package record

import (
	"math"
	"unsafe"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/nest"
)

// AppendMessage appends an instance as the gRPC API's message of that name: its
// record as it is, because that has the same fields, and behind it what the
// registry adds. A field that only the record knows is left out, and its service
// and namespace are added where the key says them.
func AppendMessage(b []byte, key rollcall.Key, r rollcall.Record, a *Added) []byte {
	all := string(r)
	service, namespace, at, weight := false, false, 0, uint64(rollcall.DefaultWeight)
	for s := all; s != ""; {
		f, rest, ok := next(s)
		if !ok {
			break // a malformed record was refused when it was read
		}
		switch f.num {
		case 1:
			service = true
		case 2:
			namespace = true
		case 13:
			weight = f.n
		case 10, 19: // where it was registered; vouched
			if f.num == 19 || a.Position != nil {
				b = append(b, all[at:len(all)-len(s)]...)
				at = len(all) - len(rest)
			}
		}
		s = rest
	}
	b = append(b, all[at:]...)
	if !service {
		b = appendText(b, 1, key.Service)
	}
	if !namespace {
		b = appendText(b, 2, key.Namespace)
	}
	if p := a.Position; p != nil {
		var inner int
		b, inner = nest.Open(b, 10)
		b = nest.Shut(appendDouble(appendDouble(b, 1, p.Lat), 2, p.Lon), inner)
	}
	return appendAdded(appendText(b, 20, key.ID), a, weight)
}

// AppendRegistered appends an instance, as it is shown to who has registered it, as
// [AppendMessage] does. Its weight is always in it; its load, which they know, is not.
func AppendRegistered(b []byte, i *rollcall.Instance) []byte {
	var buf [512]byte // kept off the heap
	a := Added{
		Revision: i.Revision, Incarnation: i.Incarnation, RegisteredAt: i.RegisteredAt,
		EffectiveWeight: i.EffectiveWeight, Kilometres: i.Distance,
	}
	if i.Health != nil {
		a.Health = *i.Health
	}
	packed := AppendInstance(buf[:0], i)
	if w := i.WeightOrDefault(); w == rollcall.DefaultWeight { // which records leave out
		b = appendIntAlways(b, 13, uint64(w))
	}
	return AppendMessage(b, i.Key(), rollcall.Record(unsafe.String(unsafe.SliceData(packed), len(packed))), &a)
}

func appendAdded(b []byte, a *Added, weight uint64) []byte {
	var at, inner int
	b, at = nest.Open(b, 21)
	b = appendInt(b, 1, uint64(a.Health.Status))
	b = appendText(b, 2, a.Health.Reason)
	b = appendInt(b, 3, nanos(a.Health.Since))
	for n := range a.Health.Checks {
		c := &a.Health.Checks[n]
		b, inner = nest.Open(b, 4)
		b = appendText(b, 1, c.Name)
		b = appendInt(b, 2, uint64(c.Status))
		b = appendText(b, 3, c.Output)
		b = nest.Shut(appendInt(b, 4, nanos(c.Since)), inner)
	}
	b = nest.Shut(b, at)
	b = appendInt(b, 22, uint64(a.Revision))
	b = appendInt(b, 23, uint64(a.Incarnation))
	b = appendInt(b, 24, nanos(a.RegisteredAt))
	if a.EffectiveWeight != nil {
		weight = uint64(*a.EffectiveWeight)
	}
	b = appendIntAlways(b, 25, weight)
	if a.Kilometres != nil {
		b = appendDouble(b, 26, math.Round(*a.Kilometres*1000)/1000)
	}
	return b
}
