package catalog

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// Item is one instance in a view. It is immutable and packed: the registration
// stays in its record, and only exceptions to health are kept beside it.
type Item struct {
	service     *rollcall.ServiceKey // shared by the items of a service
	text        string               // the id, then the record
	revision    rollcall.Revision    // of the last put
	incarnation rollcall.Revision
	registered  int64 // Unix nanoseconds
	since       int64 // of the verdict
	evidence    *evidence
	idLen       uint32
	terms       uint32 // where the record's terms begin in text
	status      rollcall.Status
	forced      bool // in answers although unhealthy: its service is in panic
	idle        bool // it has weight 0
}

// write gives an item that is being made its id and record, in memory of its
// own: what is read from the log shares that of its whole page.
func (i *Item) write(b *rollcall.InstancePut) {
	if i.text = b.Text; i.text == "" {
		i.text = b.Key.ID + string(b.Record)
	}
	i.idLen = uint32(len(b.Key.ID))
	terms := record.Terms(i.Record())
	i.terms, i.idle = uint32(len(i.text)-len(terms)), record.Weight(terms) == 0
}

// evidence is what is known of an instance beyond "healthy, no checks".
type evidence struct {
	findings []rollcall.Finding // by slot; a check's stays while it is healthy
	override *rollcall.Override
	reason   string // of the verdict
}

// probe returns an item to look one up with.
func probe(id string) *Item { return &Item{text: id, idLen: uint32(len(id))} }

// Key returns the instance's key.
func (i *Item) Key() rollcall.Key { return rollcall.Key{ServiceKey: *i.service, ID: i.ID()} }

// ID returns the instance's id.
func (i *Item) ID() string { return i.text[:i.idLen] }

// Record returns the registration in packed form.
func (i *Item) Record() rollcall.Record { return rollcall.Record(i.text[i.idLen:]) }

// Terms returns the end of the record, which is found faster; see [record.Terms].
func (i *Item) Terms() rollcall.Record { return rollcall.Record(i.text[i.terms:]) }

// Status returns the verdict on the instance.
func (i *Item) Status() rollcall.Status { return i.status }

// Usable reports whether a resolver returns the instance to whoever asks for
// what can be used.
func (i *Item) Usable() bool { return i.status.Usable() || i.forced }

// Idle reports whether the instance takes no new traffic, because it was registered
// with a weight of 0.
func (i *Item) Idle() bool { return i.idle }

// Forced reports whether it does so only because the service is in panic.
func (i *Item) Forced() bool { return i.forced }

// Dead reports whether the instance is known to be out of order, on hard
// evidence or an operator's word, rather than presumed to be.
func (i *Item) Dead() bool {
	if i.status != rollcall.Unhealthy || i.evidence == nil {
		return false
	}
	return i.evidence.override != nil ||
		slices.ContainsFunc(i.evidence.findings, func(f rollcall.Finding) bool { return f.Hard && f.Status == rollcall.Unhealthy })
}

// Findings returns what all sources say, by slot. The slice must not be changed.
func (i *Item) Findings() []rollcall.Finding {
	if i.evidence == nil {
		return nil
	}
	return i.evidence.findings
}

// Reason returns why the verdict is what it is; "" for healthy.
func (i *Item) Reason() string {
	if i.evidence == nil {
		return ""
	}
	return i.evidence.reason
}

// Since returns when the verdict was last changed.
func (i *Item) Since() time.Time { return time.Unix(0, i.since).UTC() }

// Revision returns the revision of the instance's last registration or update.
func (i *Item) Revision() rollcall.Revision { return i.revision }

// Incarnation returns the revision at which the instance was last registered.
func (i *Item) Incarnation() rollcall.Revision { return i.incarnation }

// Registered returns when the instance was last registered.
func (i *Item) Registered() time.Time { return time.Unix(0, i.registered).UTC() }

// Finding returns what one source says of the instance; ok is false if it says
// nothing, which is to say healthy.
func (i *Item) Finding(slot rollcall.Slot) (f rollcall.Finding, ok bool) {
	if i.evidence == nil {
		return f, false
	}
	n, ok := i.evidence.find(slot)
	if !ok {
		return f, false
	}
	return i.evidence.findings[n], true
}

// Override returns the operator's verdict, nil if there is none.
func (i *Item) Override() *rollcall.Override {
	if i.evidence == nil {
		return nil
	}
	return i.evidence.override
}

// Instance unpacks the item into the form that doors and filters read. The
// strings share the record's memory.
func (i *Item) Instance() rollcall.Instance {
	// A record comes from record.Pack, or from a log whose checksums held.
	inst, _ := record.Unpack(i.Key(), i.Record())
	health := i.Health()
	inst.Health = &health
	inst.Revision = i.revision
	inst.Incarnation = i.incarnation
	inst.RegisteredAt = i.Registered()
	inst.EffectiveWeight = inst.Weight
	return inst
}

// Fetch touches what the items hold and returns nothing of use. Read one after the
// other, each would be waited for: items come from all over a memory that is larger
// than any cache. Here many of them are on their way at once.
//
//go:noinline
func Fetch(items []*Item) (sum byte) {
	const line = 64 // of a cache
	for _, i := range items {
		for at := 0; at < len(i.text); at += line {
			sum += i.text[at]
		}
	}
	return sum
}

// Writer writes items as JSON to the end of its B.
type Writer struct{ record.Writer }

// Shown is what an instance is shown with that is not in the log.
type Shown struct {
	Position   *rollcall.Position // where it has moved since it was registered; nil if it has not
	Weight     uint16             // effective
	Kilometres float64            // how far it is; infinite where it is not known or not asked
}

// Append writes i as JSON, as if it were unpacked.
func (w *Writer) Append(i *Item, s *Shown) {
	a := i.added(s)
	w.Writer.Append(i.Key(), i.Record(), &a)
}

// AppendMessage appends i as a message of the gRPC API.
func (i *Item) AppendMessage(b []byte, s *Shown) []byte {
	a := i.added(s)
	return record.AppendMessage(b, i.Key(), i.Record(), &a)
}

// added returns what the registry adds to the registration.
func (i *Item) added(s *Shown) record.Added {
	a := record.Added{
		Position: s.Position, Health: i.Health(), Revision: i.revision, Incarnation: i.incarnation, RegisteredAt: i.Registered(),
		EffectiveWeight: &s.Weight,
	}
	if !math.IsInf(s.Kilometres, 0) {
		a.Kilometres = &s.Kilometres
	}
	return a
}

// Health returns the verdict and the standing of each check.
func (i *Item) Health() rollcall.Health {
	h := rollcall.Health{Status: i.status, Reason: i.Reason(), Since: i.Since()}
	if i.evidence == nil {
		return h
	}
	for _, f := range i.evidence.findings {
		if name, ok := f.Slot.Check(); ok {
			h.Checks = append(h.Checks, rollcall.CheckResult{Name: name, Status: f.Status, Output: f.Reason, Since: f.Since})
		}
	}
	return h
}

// sameRegistration reports whether i and o differ in health alone. Two
// registrations of one batch have the same revision; the text tells them apart,
// at no cost where it is the same memory.
func (i *Item) sameRegistration(o *Item) bool {
	return i.revision == o.revision && i.incarnation == o.incarnation && i.text == o.text
}

// Alike reports whether i and o were registered alike, but for where they are.
func (i *Item) Alike(o *Item) bool {
	if i.text == o.text {
		return true
	}
	before, after := record.Unplaced(i.Record())
	b, a := record.Unplaced(o.Record())
	return before == b && after == a && i.ID() == o.ID()
}

// find returns where slot's finding is, or would be.
func (e *evidence) find(slot rollcall.Slot) (int, bool) {
	return slices.BinarySearchFunc(e.findings, slot, func(f rollcall.Finding, s rollcall.Slot) int { return cmp.Compare(f.Slot, s) })
}

// with returns i with other evidence, judged anew at time at.
func (i *Item) with(findings []rollcall.Finding, o *rollcall.Override, at int64) *Item {
	n := *i
	var why string
	n.status, why = rollcall.Judge(findings, o)
	n.evidence = nil
	if len(findings) > 0 || o != nil {
		n.evidence = &evidence{findings, o, why}
	}
	if n.status != i.status {
		n.since = at
	}
	n.forced = false // the view decides
	return &n
}

// withFinding returns i after one source has spoken, i itself if that is
// nothing new. Restored says that f is not news but part of a state, to be taken
// as it is.
func (i *Item) withFinding(f rollcall.Finding, restored bool) *Item {
	var old evidence
	if i.evidence != nil {
		old = *i.evidence
	}
	n, found := old.find(f.Slot)
	_, isCheck := f.Slot.Check()
	switch {
	case found && !restored && old.findings[n].Status == f.Status && old.findings[n].Reason == f.Reason && old.findings[n].Hard == f.Hard:
		return i
	case !found && f.Status == rollcall.Healthy:
		return i // as is a check that the instance does not have (any more)
	case !found && isCheck:
		return i
	}
	fs := slices.Clone(old.findings)
	switch {
	case !found:
		fs = slices.Insert(fs, n, f)
	case f.Status == rollcall.Healthy && !isCheck:
		fs = slices.Delete(fs, n, n+1)
	default:
		if fs[n].Status == f.Status && !restored {
			f.Since = fs[n].Since
		}
		fs[n] = f
	}
	return i.with(fs, old.override, f.Since.UnixNano())
}

// inherit returns the findings that a put of item n over item old (nil if
// none) begins with. Checks that are the same keep their standing; the others
// start. An update keeps the rest as well, a registration is a sign of life and
// a fresh start.
func inherit(old, n *Item, at time.Time) []rollcall.Finding {
	checks := record.Checks(n.Terms())
	if len(checks) == 0 && (old == nil || old.evidence == nil) {
		return nil
	}
	var fs []rollcall.Finding
	kept := map[rollcall.Slot]bool{}
	if old != nil && old.evidence != nil {
		update := old.incarnation == n.incarnation
		moved := record.Endpoint(old.Record()) != record.Endpoint(n.Record())
		was, is := record.Checks(old.Terms()), checks
		for _, f := range old.evidence.findings {
			name, isCheck := f.Slot.Check()
			if isCheck {
				called := func(c rollcall.Check) bool { return c.Name == name }
				o, c := slices.IndexFunc(was, called), slices.IndexFunc(is, called)
				if o < 0 || c < 0 || !was[o].Same(is[c]) || is[c].Probed() && moved {
					continue
				}
			} else if !update {
				continue
			}
			fs = append(fs, f)
			kept[f.Slot] = true
		}
	}
	for _, c := range checks {
		if slot := rollcall.CheckSlot(c.Name); !kept[slot] {
			fs = append(fs, rollcall.Finding{Slot: slot, Status: rollcall.Starting, Reason: "no result yet", Since: at})
		}
	}
	slices.SortFunc(fs, func(a, b rollcall.Finding) int { return cmp.Compare(a.Slot, b.Slot) })
	return fs
}

// equal reports whether readers see no difference between i and o.
func (i *Item) equal(o *Item) bool {
	return i == o || i.sameRegistration(o) && i.registered == o.registered && i.status == o.status && i.since == o.since && i.forced == o.forced &&
		i.evidence.equal(o.evidence)
}

func (e *evidence) equal(o *evidence) bool {
	if e == nil || o == nil {
		return e == o
	}
	return e.reason == o.reason && sameOverride(e.override, o.override) &&
		slices.EqualFunc(e.findings, o.findings, func(a, b rollcall.Finding) bool {
			return a.Slot == b.Slot && a.Status == b.Status && a.Reason == b.Reason && a.Hard == b.Hard && a.Since.Equal(b.Since)
		})
}

func sameOverride(a, b *rollcall.Override) bool {
	if a == nil || b == nil {
		return a == b
	}
	expire := a.Expires == nil && b.Expires == nil || a.Expires != nil && b.Expires != nil && a.Expires.Equal(*b.Expires)
	return expire && a.Status == b.Status && a.Reason == b.Reason && a.By == b.By && a.Since.Equal(b.Since)
}
