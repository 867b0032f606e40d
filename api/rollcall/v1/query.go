package rollcallpb

import (
	"math"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// FromQuery returns the message of a query.
func FromQuery(q *rollcall.Query) *Query {
	return &Query{
		Namespace: q.Namespace, Service: q.Service, Health: q.Health, Capabilities: fromMatches(q.Capability), Metadata: fromMatches(q.Metadata),
		Filter: q.Filter, Near: q.Near, Limit: uint32(q.Limit), Pick: uint32(q.Pick), Caller: q.Caller, Subset: q.Subset,
		SubsetSize: uint32(q.SubsetSize), At: nanos(q.At), MinRevision: uint64(q.MinRevision), MaxAge: int64(q.MaxAge),
		Consistent: q.Consistent, After: q.After.String(), Wait: int64(q.Wait),
	}
}

// Domain returns the query that a message asks. It checks what the message alone
// can get wrong; what a query may say is the registry's to judge.
func (m *Query) Domain() (q rollcall.Query, err error) {
	q = rollcall.Query{
		Namespace: m.GetNamespace(), Service: m.GetService(), Health: m.GetHealth(), Capability: matches(m.GetCapabilities()), Metadata: matches(m.GetMetadata()),
		Filter: m.GetFilter(), Near: m.GetNear(), Limit: int(m.GetLimit()), Pick: int(m.GetPick()), Caller: m.GetCaller(), Subset: m.GetSubset(),
		SubsetSize: int(m.GetSubsetSize()), At: timeOf(m.GetAt()), MinRevision: rollcall.Revision(m.GetMinRevision()), MaxAge: time.Duration(m.GetMaxAge()),
		Consistent: m.GetConsistent(), Wait: time.Duration(m.GetWait()),
	}
	for _, n := range []struct {
		field string
		value uint32
	}{{"limit", m.GetLimit()}, {"pick", m.GetPick()}, {"subset_size", m.GetSubsetSize()}} {
		if n.value > math.MaxInt32 {
			return q, rollcall.Invalid(n.field, "is too large")
		}
	}
	switch {
	case q.MaxAge < 0:
		return q, rollcall.Invalid("max_age", "is a duration, 0 and up")
	case q.Wait < 0:
		return q, rollcall.Invalid("wait", "is a duration, 0 and up")
	}
	if after := m.GetAfter(); after != "" {
		if q.After, err = rollcall.ParseToken(after); err != nil {
			return q, rollcall.Invalid("after", err.Error())
		}
	}
	return q, nil
}

func fromMatches(ms []rollcall.Match) (to []*Match) {
	for _, m := range ms {
		to = append(to, &Match{Name: m.Name, Value: m.Value})
	}
	return to
}

func matches(ms []*Match) (to []rollcall.Match) {
	for _, m := range ms {
		to = append(to, rollcall.Match{Name: m.GetName(), Value: m.GetValue()})
	}
	return to
}

// Domain returns the answer that a message gives.
func (m *ResolveResponse) Domain() (a rollcall.Answer, err error) {
	a = rollcall.Answer{
		Namespace: m.GetNamespace(), Service: m.GetService(), Revision: rollcall.Revision(m.GetRevision()), Panic: m.GetPanic(), Total: int(m.GetTotal()),
	}
	if a.Token, err = token(m.GetToken()); err != nil {
		return a, err
	}
	a.Instances, err = instances(m.GetInstances())
	return a, err
}

func instances(ms []*Instance) (is []rollcall.Instance, err error) {
	is = make([]rollcall.Instance, len(ms))
	for n, m := range ms {
		if is[n], err = m.Domain(); err != nil {
			return nil, err
		}
	}
	return is, nil
}

func token(s string) (rollcall.Token, error) {
	if s == "" {
		return rollcall.Token{}, nil
	}
	return rollcall.ParseToken(s)
}

// FromExplanation returns the message of an explanation.
func FromExplanation(x *rollcall.Explanation) *WhyResponse {
	m := &WhyResponse{
		Namespace: x.Namespace, Service: x.Service, Revision: uint64(x.Revision), At: nanos(x.At), Panic: x.Panic, Total: int64(x.Total),
	}
	if g := x.Guard; g != nil {
		m.Guard = &Guard{Namespace: g.Namespace, Service: g.Service, Since: nanos(g.Since), Reason: g.Reason, Held: uint32(g.Held)}
	}
	for n := range x.Instances {
		r := &x.Instances[n]
		to := &Reason{
			Namespace: r.Namespace, Service: r.Service, Id: r.ID, In: r.In, EffectiveWeight: uint32(r.EffectiveWeight), Why: r.Why, Health: fromHealth(&r.Health),
		}
		for _, e := range r.Evidence {
			to.Evidence = append(to.Evidence, &Evidence{Source: string(e.Source), Status: Status(e.Status), Reason: e.Reason, Hard: e.Hard, Since: nanos(e.Since)})
		}
		if o := r.Override; o != nil {
			to.Override = &Override{Status: Status(o.Status), Reason: o.Reason, By: o.By, Since: nanos(o.Since)}
			if o.Expires != nil {
				to.Override.Expires = nanos(*o.Expires)
			}
		}
		m.Instances = append(m.Instances, to)
	}
	return m
}

// Domain returns the explanation that a message gives.
func (m *WhyResponse) Domain() rollcall.Explanation {
	x := rollcall.Explanation{
		Namespace: m.GetNamespace(), Service: m.GetService(), Revision: rollcall.Revision(m.GetRevision()), At: timeOf(m.GetAt()), Panic: m.GetPanic(), Total: int(m.GetTotal()),
	}
	if g := m.GetGuard(); g != nil {
		x.Guard = &rollcall.Guard{Namespace: g.Namespace, Service: g.Service, Since: timeOf(g.Since), Reason: g.Reason, Held: int(g.Held)}
	}
	for _, r := range m.GetInstances() {
		to := rollcall.Reason{
			Namespace: r.GetNamespace(), Service: r.GetService(), ID: r.GetId(), In: r.GetIn(), EffectiveWeight: uint16(min(r.GetEffectiveWeight(), math.MaxUint16)), Why: r.GetWhy(),
		}
		if h := r.GetHealth().Domain(); h != nil {
			to.Health = *h
		}
		for _, e := range r.GetEvidence() {
			to.Evidence = append(to.Evidence, rollcall.Evidence{
				Source: rollcall.Slot(e.GetSource()), Status: e.GetStatus().Domain(), Reason: e.GetReason(), Hard: e.GetHard(), Since: timeOf(e.GetSince()),
			})
		}
		if o := r.GetOverride(); o != nil {
			to.Override = &rollcall.Override{Status: o.Status.Domain(), Reason: o.Reason, By: o.By, Since: timeOf(o.Since)}
			if o.Expires != 0 {
				to.Override.Expires = new(timeOf(o.Expires))
			}
		}
		x.Instances = append(x.Instances, to)
	}
	return x
}
