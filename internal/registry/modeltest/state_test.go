// Package modeltest holds the registry, as its doors see it, against a naive
// one: maps, copied for every revision, and rules written as the documentation
// says them. See TestModel.
package modeltest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// state is all that the log says at one revision. It is never changed.
type state struct {
	revision rollcall.Revision
	services map[rollcall.ServiceKey]service
	items    map[rollcall.Key]*item
}

type service struct {
	name     string // as first written
	revision rollcall.Revision
	changed  time.Time
	settings *rollcall.Settings
	orphans  map[string]orphan
}

// orphan is an override whose instance is gone.
type orphan struct {
	override *rollcall.Override
	since    time.Time
}

// item is one instance. It is never changed: whoever has the same item sees the
// same instance.
type item struct {
	key                   rollcall.Key
	registered            rollcall.Instance // without what the registry adds
	revision, incarnation rollcall.Revision
	at                    time.Time // when it was registered
	findings              []rollcall.Finding
	override              *rollcall.Override
	status                rollcall.Status
	reason                string
	since                 time.Time
}

func (i *item) finding(slot rollcall.Slot) (rollcall.Finding, bool) {
	n := slices.IndexFunc(i.findings, func(f rollcall.Finding) bool { return f.Slot == slot })
	if n < 0 {
		return rollcall.Finding{}, false
	}
	return i.findings[n], true
}

// instance returns the item as readers see it, apart from soft state.
func (i *item) instance() rollcall.Instance {
	is := i.registered
	is.Health = &rollcall.Health{Status: i.status, Reason: i.reason, Since: i.since}
	for _, f := range i.findings {
		if name, ok := f.Slot.Check(); ok {
			is.Health.Checks = append(is.Health.Checks, rollcall.CheckResult{Name: name, Status: f.Status, Output: f.Reason, Since: f.Since})
		}
	}
	is.Revision, is.Incarnation, is.RegisteredAt, is.EffectiveWeight = i.revision, i.incarnation, i.at, is.Weight
	return is
}

// effective is what its health leaves of an item's weight, as docs/http.md has it.
func (i *item) effective(registered uint16) *uint16 {
	flapping, _ := i.finding(rollcall.SlotFlap)
	left := uint16(0)
	switch {
	case flapping.Status == rollcall.Degraded && i.status.Usable(), i.status == rollcall.Suspect:
		left = registered / 10
	case i.status == rollcall.Degraded:
		left = registered / 2
	case i.status == rollcall.Healthy:
		left = registered
	}
	if registered > 0 && i.status.Usable() {
		left = max(1, left)
	}
	return &left
}

// judge is the rule of docs/http.md and health.go in the order in which they
// tell it.
func judge(findings []rollcall.Finding, o *rollcall.Override) (rollcall.Status, string) {
	because := func(source, text string) string { return strings.TrimSuffix(source+": "+text, ": ") }
	if o != nil {
		return o.Status, because("override", o.Reason)
	}
	for _, f := range findings {
		if f.Slot == rollcall.SlotLease && f.Status == rollcall.Unhealthy {
			return f.Status, because("lease", f.Reason)
		}
	}
	for _, f := range slices.Backward(findings) {
		if f.Status == rollcall.Draining {
			return f.Status, because(string(f.Slot), f.Reason)
		}
	}
	worst := rollcall.Finding{Status: rollcall.Healthy}
	for _, f := range findings {
		if f.Status > worst.Status {
			worst = f
		}
	}
	if worst.Status == rollcall.Healthy {
		return worst.Status, ""
	}
	return worst.Status, because(string(worst.Slot), worst.Reason)
}

// judged returns i with other findings and override, as of a time.
func (i *item) judged(findings []rollcall.Finding, o *rollcall.Override, at time.Time) *item {
	n := *i
	n.findings = slices.SortedFunc(slices.Values(findings), func(a, b rollcall.Finding) int { return cmp.Compare(a.Slot, b.Slot) })
	n.override = o
	n.status, n.reason = judge(n.findings, o)
	if n.status != i.status {
		n.since = at
	}
	return &n
}

// told is what one change means to watchers: before → after.
type told struct {
	key           rollcall.Key
	before, after *item
	why           string
}

// next returns the state after one more entry, and what that tells watchers.
func (s *state) next(e rollcall.Entry) (*state, []told) {
	n := &state{revision: e.Revision, services: maps.Clone(s.services), items: maps.Clone(s.items)}
	var tells []told
	for i := range e.Changes {
		tells = append(tells, n.change(&e.Changes[i])...)
	}
	return n, tells
}

func (s *state) touch(key rollcall.ServiceKey, c *rollcall.Change) service {
	v, ok := s.services[key]
	if !ok || s.count(key) == 0 && c.At.Sub(v.changed) > 24*time.Hour {
		v.name = key.Service
	}
	v.revision, v.changed = c.Revision, c.At
	v.orphans = maps.Clone(v.orphans)
	s.services[key] = v
	return v
}

// change applies one change to a state that is being made.
func (s *state) change(c *rollcall.Change) []told {
	replace := func(key rollcall.Key, n *item) []told {
		old := s.items[key]
		if s.items[key] = n; n == nil {
			delete(s.items, key)
		}
		return []told{{key, old, n, c.Why}}
	}
	switch b := c.Body.(type) {
	case rollcall.InstancePut:
		return replace(b.Key, s.put(c, b))
	case rollcall.InstanceRemove:
		old := s.items[b.Key]
		if old == nil {
			return nil
		}
		v := s.touch(b.Key.ServiceKey, c)
		if old.override != nil {
			if v.orphans == nil {
				v.orphans = map[string]orphan{}
			}
			v.orphans[b.Key.ID] = orphan{old.override, c.At}
			s.services[b.Key.ServiceKey] = v
		}
		return replace(b.Key, nil)
	case rollcall.HealthPut:
		var tells []told
		for _, id := range b.IDs {
			key := rollcall.Key{ServiceKey: b.Service, ID: id}
			if n := s.items[key].hears(c, b); n != s.items[key] {
				s.touch(b.Service, c)
				tells = append(tells, replace(key, n)...)
			}
		}
		return tells
	case rollcall.OverridePut:
		v, known := s.services[b.Key.ServiceKey]
		old := s.items[b.Key]
		o, orphaned := v.orphans[b.Key.ID]
		orphaned = orphaned && c.At.Sub(o.since) <= 24*time.Hour
		if b.Override == nil && (!known || !orphaned && (old == nil || old.override == nil)) {
			return nil
		}
		v = s.touch(b.Key.ServiceKey, c)
		switch {
		case old != nil:
			return replace(b.Key, old.judged(old.findings, b.Override, c.At))
		case b.Override == nil:
			delete(v.orphans, b.Key.ID)
		default:
			if v.orphans == nil {
				v.orphans = map[string]orphan{}
			}
			v.orphans[b.Key.ID] = orphan{b.Override, c.At}
		}
		s.services[b.Key.ServiceKey] = v
		return nil
	case rollcall.SettingsPut:
		v := s.touch(b.Service, c)
		v.settings = b.Settings
		s.services[b.Service] = v
		return nil
	}
	panic(fmt.Sprintf("a change of type %T", c.Body))
}

// put registers or updates.
func (s *state) put(c *rollcall.Change, b rollcall.InstancePut) *item {
	empty := s.count(b.Key.ServiceKey) == 0
	v := s.touch(b.Key.ServiceKey, c)
	registered, err := record.Unpack(b.Key, b.Record)
	if err != nil {
		panic(err)
	}
	old := s.items[b.Key]
	n := &item{
		key: b.Key, registered: registered, revision: c.Revision, incarnation: cmp.Or(b.Incarnation, c.Revision),
		at: b.RegisteredAt.UTC(), status: rollcall.Healthy, since: c.At,
	}
	if b.RegisteredAt.IsZero() {
		n.at = c.At
	}
	waits := v.orphans[b.Key.ID]
	o := waits.override
	delete(v.orphans, b.Key.ID)
	if c.At.Sub(waits.since) > 24*time.Hour || o != nil && o.Expires != nil && !o.Expires.After(c.At) {
		o = nil
	}
	if len(v.orphans) == 0 {
		v.orphans = nil
	}
	if empty {
		v.name = registered.Service
	}
	s.services[b.Key.ServiceKey] = v
	var findings []rollcall.Finding
	update := false
	if old != nil {
		o, n.status, n.since, update = old.override, old.status, old.since, old.incarnation == n.incarnation
	}
	if update { // what was found goes on; a registration is a fresh start
		for _, f := range old.findings {
			if _, isCheck := f.Slot.Check(); !isCheck {
				findings = append(findings, f)
			}
		}
	}
	for _, check := range registered.Checks {
		f := rollcall.Finding{Slot: rollcall.CheckSlot(check.Name), Status: rollcall.Starting, Reason: "no result yet", Since: c.At}
		if old != nil && slices.ContainsFunc(old.registered.Checks, func(c rollcall.Check) bool { return sameCheck(c, check) }) {
			f, _ = old.finding(f.Slot)
		}
		findings = append(findings, f)
	}
	return n.judged(findings, o, c.At)
}

// sameCheck reports whether two checks of type ttl are the same: they may differ in
// when they remove the instance.
func sameCheck(a, b rollcall.Check) bool { return a.Name == b.Name && a.TTL == b.TTL }

// hears returns i after a finding, i itself if that is nothing new.
func (i *item) hears(c *rollcall.Change, b rollcall.HealthPut) *item {
	if i == nil {
		return nil
	}
	old, found := i.finding(b.Slot)
	_, isCheck := b.Slot.Check()
	switch {
	case found && old.Status == b.Status && old.Reason == b.Reason,
		!found && (isCheck || b.Status == rollcall.Healthy):
		return i
	}
	f := rollcall.Finding{Slot: b.Slot, Status: b.Status, Reason: b.Reason, Since: c.At}
	if found && old.Status == b.Status {
		f.Since = old.Since
	}
	findings := slices.DeleteFunc(slices.Clone(i.findings), func(f rollcall.Finding) bool { return f.Slot == b.Slot })
	if isCheck || b.Status != rollcall.Healthy {
		findings = append(findings, f)
	}
	return i.judged(findings, i.override, f.Since)
}

func (s *state) count(key rollcall.ServiceKey) (n int) {
	for k := range s.items {
		if k.ServiceKey == key {
			n++
		}
	}
	return n
}

// of returns the items of a topic (a service, a namespace, or all) that a
// selection sees, in order.
func (s *state) of(topic rollcall.ServiceKey, sees func(*item) bool) (is []*item) {
	for k, i := range s.items {
		if (topic.Service == "" || k.Service == topic.Service) && (topic.Namespace == "" || k.Namespace == topic.Namespace) && sees(i) {
			is = append(is, i)
		}
	}
	slices.SortFunc(is, func(a, b *item) int {
		return cmp.Or(a.key.ServiceKey.Compare(b.key.ServiceKey), strings.Compare(a.key.ID, b.key.ID))
	})
	return is
}

func anything(*item) bool { return true }

// forget returns the state without services that have had no instance since a
// time, and overrides since an hour before that: the revision stays.
func (s *state) forget(before time.Time) *state {
	n := &state{revision: s.revision, services: maps.Clone(s.services), items: s.items}
	for key, v := range n.services {
		v.orphans = maps.Clone(v.orphans)
		maps.DeleteFunc(v.orphans, func(_ string, o orphan) bool { return o.since.Before(before.Add(-time.Hour)) })
		if n.services[key] = v; v.settings == nil && len(v.orphans) == 0 && v.changed.Before(before) && s.count(key) == 0 {
			delete(n.services, key)
		}
	}
	return n
}

// String writes all that readers can see of a state.
func (s *state) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "at %d: %d services, %d instances\n", s.revision, len(s.services), len(s.items))
	for _, key := range slices.SortedFunc(maps.Keys(s.services), rollcall.ServiceKey.Compare) {
		b.WriteString(s.service(key))
	}
	return b.String()
}

func (s *state) service(key rollcall.ServiceKey) string {
	v := s.services[key]
	health := map[rollcall.Status]int{}
	var lines []string
	for _, i := range s.of(key, anything) {
		health[i.status]++
		lines = append(lines, describe(i.instance(), i.override, i.finding))
	}
	settings := rollcall.Settings{}
	if v.settings != nil {
		settings = *v.settings
	}
	orphans := map[string]*rollcall.Override{}
	for id, o := range v.orphans {
		orphans[id] = o.override
	}
	return fmt.Sprintf("%v %q at %d: %v, settings %s, orphans %s\n%s", key, v.name, v.revision, health, asJSON(settings), asJSON(orphans), strings.Join(lines, ""))
}

// dump writes the same of a snapshot.
func dump(s *catalog.Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "at %d: %d services, %d instances\n", s.Revision(), s.Services(), s.Instances())
	for v := range s.Views(rollcall.ServiceKey{}) {
		b.WriteString(dumpView(v))
	}
	return b.String()
}

func dumpView(v *catalog.View) string {
	var lines []string
	for i := range v.All() {
		lines = append(lines, describe(i.Instance(), i.Override(), i.Finding))
		if found := v.Get(i.ID()); found != i {
			lines = append(lines, fmt.Sprintf("but by its id it is %p, not %p\n", found, i))
		}
	}
	if v.Len() != len(lines) {
		lines = append(lines, fmt.Sprintf("but said to be %d\n", v.Len()))
	}
	sum := v.Summary()
	if routable := sum.Health[rollcall.Healthy] + sum.Health[rollcall.Degraded]; routable != v.Routable() || sum.Routable != routable {
		lines = append(lines, fmt.Sprintf("but %d are said to be routable\n", v.Routable()))
	}
	return fmt.Sprintf("%v %q at %d: %v, settings %s, orphans %s\n%s",
		v.Key(), v.Name(), v.Revision(), sum.Health, asJSON(v.Settings()), asJSON(maps.Collect(v.Orphans())), strings.Join(lines, ""))
}

func describe(i rollcall.Instance, o *rollcall.Override, finding func(rollcall.Slot) (rollcall.Finding, bool)) string {
	b := append(i.AppendJSON(nil), ' ')
	for _, slot := range []rollcall.Slot{rollcall.SlotDrain, rollcall.SlotLease, rollcall.SlotStatus} {
		if f, ok := finding(slot); ok {
			b = fmt.Appendf(b, "%s=%v %q since %s ", f.Slot, f.Status, f.Reason, f.Since.UTC().Format(time.RFC3339Nano))
		}
	}
	if o != nil {
		b = fmt.Appendf(b, "override %s", asJSON(o))
	}
	return string(append(b, '\n'))
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// history is the states at all revisions, and what led to them. It may be used
// by any goroutine.
type history struct {
	mu     sync.Mutex // guards what follows
	states []*state   // by revision
	tells  map[rollcall.Revision][]told
}

func newHistory() *history {
	empty := &state{services: map[rollcall.ServiceKey]service{}, items: map[rollcall.Key]*item{}}
	return &history{states: []*state{empty}, tells: map[rollcall.Revision][]told{}}
}

func (h *history) add(e rollcall.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, tells := h.states[len(h.states)-1].next(e)
	h.states = append(h.states, s)
	h.tells[e.Revision] = tells
}

// forget replaces the newest state by one that differs in what is forgotten.
func (h *history) forget(before time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states[len(h.states)-1] = h.states[len(h.states)-1].forget(before)
}

// at returns the state at a revision, or rather that of the newest entry up to
// it; nil for a revision that is still to come.
func (h *history) at(r rollcall.Revision) *state {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, found := slices.BinarySearchFunc(h.states, r, func(s *state, r rollcall.Revision) int { return cmp.Compare(s.revision, r) })
	switch {
	case found:
		return h.states[n]
	case n == len(h.states):
		return nil
	}
	return h.states[n-1]
}

func (h *history) newest() *state {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states[len(h.states)-1]
}

// lastWhy returns the words of the last change that the instance had between
// two revisions, the first excluded, and the revision of it.
func (h *history) lastChange(key rollcall.Key, after, upTo rollcall.Revision) (why string, at rollcall.Revision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := upTo; r > after; r-- {
		for _, t := range slices.Backward(h.tells[r]) {
			if t.key == key {
				return t.why, r
			}
		}
	}
	return "", 0
}
