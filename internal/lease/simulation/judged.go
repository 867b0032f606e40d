package simulation

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

// judged is Rollcall's registry, as far as leases go: a table, its guard, and what
// package judge does between them.
type judged struct {
	clients
	table      *lease.Table
	guard      *lease.Guard
	mode       rollcall.LeaseMode
	ids        map[rollcall.Key]int32
	services   map[rollcall.ServiceKey][]rollcall.Key
	registered []uint32 // the run that is registered, plus 1
	incarnated rollcall.Revision

	waiting []int32 // to be probed
	probing int
}

func newJudged(s *sim, name string, id uint8, mode rollcall.LeaseMode, seed uint64) *judged {
	j := &judged{
		clients: newClients(s, name, id, seed), mode: mode,
		ids: map[rollcall.Key]int32{}, services: map[rollcall.ServiceKey][]rollcall.Key{}, registered: make([]uint32, s.Instances),
	}
	j.table = lease.New(func() time.Duration { return s.now })
	j.table.Begin()
	j.guard = lease.NewGuard(j)
	for i := range s.instances {
		key := s.instances[i].key
		j.ids[key] = int32(i)
		j.services[key.ServiceKey] = append(j.services[key.ServiceKey], key)
	}
	j.alarm(lease.Tick, tick, 0)
	return j
}

// clock is the time that the guard goes by.
func (j *judged) clock() time.Time { return time.Unix(0, 0).Add(j.now) }

// hear takes in a sign of life. Who is not registered any more registers again.
func (j *judged) hear(i int32) {
	j.heard[i] = j.now
	key := j.instances[i].key
	if j.registered[i] == j.instances[i].run+1 {
		if _, known, changed := j.table.Renew(key); known {
			if changed {
				j.judge(key)
			}
			return
		}
	}
	j.incarnated++
	j.registered[i] = j.instances[i].run + 1
	j.table.Set(key, lease.Grant{
		Incarnation: j.incarnated, Found: rollcall.Healthy,
		Lease: rollcall.Lease{Mode: j.mode, TTL: rollcall.Duration(j.TTL), RemoveAfter: rollcall.Duration(rollcall.DefaultRemoveAfter)},
	})
	j.judge(key)
}

// tick moves time on, and once a second has the guard look at whom it holds.
func (j *judged) tick() {
	j.judge(j.table.Tick()...)
	if j.now/lease.Tick%10 == 0 {
		d := j.guard.Review(j.clock())
		j.apply(d)
		j.show(d.Convict)
	}
	j.alarm(lease.Tick, tick, 0)
}

// judge is a round of the judge.
func (j *judged) judge(keys ...rollcall.Key) {
	slices.SortFunc(keys, func(a, b rollcall.Key) int { return cmp.Or(a.Compare(b.ServiceKey), cmp.Compare(a.ID, b.ID)) })
	var silent []rollcall.Key
	for _, key := range keys {
		switch is, dead := j.table.Silent(key); {
		case dead:
			j.guard.Refused(key)
			j.table.Convict(key)
		case is:
			silent = append(silent, key)
		}
	}
	j.apply(j.guard.Decide(j.clock(), silent))
	j.show(keys)
}

func (j *judged) apply(d lease.Decision) {
	for _, key := range d.Convict {
		j.table.Convict(key)
		j.toProbe(j.ids[key])
	}
	for _, key := range d.Hold {
		j.table.Hold(key)
	}
	for _, key := range d.Probe {
		j.toProbe(j.ids[key])
	}
}

// show brings answers in line with what is known of instances.
func (j *judged) show(keys []rollcall.Key) {
	for _, key := range keys {
		i := j.ids[key]
		ev, ok := j.table.Evidence(key)
		switch {
		case !ok:
		case ev.State == lease.Expired:
			j.table.Removing(key, true)
			j.table.Drop(key)
			j.registered[i] = 0
			j.set(i, out)
		case ev.State == lease.Alive:
			j.set(i, in)
		case ev.State == lease.Missing || ev.State == lease.Silent && ev.Held:
			j.set(i, last)
		case ev.State == lease.Lapsed:
			j.set(i, out)
		}
	}
}

// toProbe asks for a probe.
func (j *judged) toProbe(i int32) {
	if len(j.waiting) < probesWaiting {
		j.waiting = append(j.waiting, i)
		j.probe()
	}
}

// probe begins as many of the probes that are asked for as may run at once. Who
// is not there refuses, if its host is, and only then is there anything to
// learn; others answer, or let it time out.
func (j *judged) probe() {
	for j.probing < probers && len(j.waiting) > 0 {
		i := j.waiting[0]
		j.waiting = j.waiting[1:]
		ev, ok := j.table.Evidence(j.instances[i].key)
		if !ok || ev.Refused || ev.State != lease.Silent && ev.State != lease.Lapsed {
			continue
		}
		j.probing++
		in := &j.instances[i]
		switch {
		case in.hostDown || j.cut(i):
			j.after(probeTimeout, probed, i, 0)
		case in.down:
			j.after(0, probed, i, 1)
		default:
			j.after(0, probed, i, 0)
		}
	}
}

// probed takes in what a probe found.
func (j *judged) probed(i int32, refused bool) {
	key := j.instances[i].key
	if j.probing--; refused && j.table.Refuse(key, "the connection was refused") {
		j.judge(key)
	}
	j.probe()
}

// Count implements [lease.Census].
func (j *judged) Count(service rollcall.ServiceKey) (lease.Count, float64) {
	if service == (rollcall.ServiceKey{}) {
		return j.table.CountAll(), lease.GuardShare
	}
	return j.table.Count(iter.Seq[rollcall.Key](slices.Values(j.services[service]))), lease.GuardShare
}

// Silent implements [lease.Census].
func (j *judged) Silent(key rollcall.Key) bool {
	is, _ := j.table.Silent(key)
	return is
}
