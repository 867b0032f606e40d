package judge

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/lease"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// patient is one instance in a catalog, whose verdicts are written as damping
// lets them.
type patient struct {
	t     *testing.T
	c     *catalog.Catalog
	flaps flaps
	now   time.Time
	rev   rollcall.Revision
	ev    lease.Evidence
}

var patientKey = rollcall.NewKey("", "payments", "p-1")

func newPatient(t *testing.T) *patient {
	p := &patient{t: t, c: catalog.New(), flaps: flaps{}, now: time.Unix(1_700_000_000, 0).UTC()}
	i := rollcall.Instance{Service: "payments", ID: "p-1", Checks: []rollcall.Check{{Name: "disk", Type: rollcall.CheckTTL, TTL: 1e9}}}
	i.Normalize()
	p.write(rollcall.InstancePut{Key: patientKey, Record: record.Pack(&i)})
	return p
}

func (p *patient) write(bodies ...rollcall.Body) {
	p.t.Helper()
	p.rev++
	e := rollcall.Entry{Log: "0123456789abcdef", Revision: p.rev, Reset: p.rev == 1}
	for _, b := range bodies {
		e.Changes = append(e.Changes, rollcall.Change{At: p.now, Revision: p.rev, Body: b})
	}
	if err := p.c.Apply(e); err != nil {
		p.t.Fatal(err)
	}
	p.c.Publish()
}

func (p *patient) item() *catalog.Item { return p.c.Snapshot().Item(patientKey) }

// judge writes what there is to be said and returns how many findings that was.
func (p *patient) judge() int {
	p.t.Helper()
	found := p.flaps.damp(patientKey, p.item(), &p.ev, differing(p.item(), &p.ev), p.now, p.now)
	for _, f := range found {
		p.write(rollcall.HealthPut{Service: patientKey.ServiceKey, Slot: f.Slot, Status: f.Status, Reason: f.Reason, Hard: f.Hard, IDs: []string{"p-1"}})
	}
	return len(found)
}

// says has the check report, some time after the last one.
func (p *patient) says(after time.Duration, s rollcall.Status) int {
	p.t.Helper()
	p.now = p.now.Add(after)
	p.ev.Reports = []rollcall.Finding{{Slot: rollcall.CheckSlot("disk"), Status: s}}
	return p.judge()
}

func (p *patient) want(s rollcall.Status) {
	p.t.Helper()
	if got := p.item().Status(); got != s {
		p.t.Fatalf("%v (%s), want %v", got, p.item().Reason(), s)
	}
}

// passes lets time pass and looks again, as the judge does once a second.
func (p *patient) passes(d time.Duration) {
	p.t.Helper()
	for range d / time.Second {
		p.now = p.now.Add(time.Second)
		if again := p.flaps.review(p.now); again != nil {
			p.judge()
		}
	}
}

const up, down = rollcall.Healthy, rollcall.Unhealthy

// damped returns an instance whose verdict has turned for the third time.
func damped(t *testing.T) *patient {
	t.Helper()
	p := newPatient(t)
	p.says(0, up)
	p.want(rollcall.Healthy)
	p.says(time.Second, down)
	p.want(rollcall.Unhealthy)
	p.says(time.Second, up)
	p.want(rollcall.Healthy)
	p.says(time.Second, down)
	p.want(rollcall.Degraded)
	return p
}

func TestDamping(t *testing.T) {
	p := damped(t)
	for n := range 100 {
		if wrote := p.says(time.Second, []rollcall.Status{up, down}[n%2]); wrote > 0 {
			t.Fatalf("%d findings written while it is damped", wrote)
		}
	}
	p.want(rollcall.Degraded)
	// What is steady long enough is followed again, as it is then.
	p.passes(5 * time.Minute)
	p.want(rollcall.Degraded)
	p.passes(5 * time.Minute)
	p.want(rollcall.Unhealthy)
	p.passes(5 * time.Minute)
	if len(p.flaps) != 0 {
		t.Errorf("%d are remembered for ever", len(p.flaps))
	}
}

// TestDampingEnds: a few turns are forgiven within minutes.
func TestDampingEnds(t *testing.T) {
	p := damped(t)
	p.passes(50 * time.Second)
	p.want(rollcall.Degraded)
	p.passes(15 * time.Second)
	p.want(rollcall.Unhealthy)
	p.says(time.Second, up)
	p.want(rollcall.Healthy)
	p.says(time.Second, down) // it is not all forgiven
	p.want(rollcall.Degraded)
}

// TestDampingAtMost: whoever never stops is followed every ten minutes.
func TestDampingAtMost(t *testing.T) {
	p := damped(t)
	wrote := 0
	for n := range 1300 {
		wrote += p.says(time.Second, []rollcall.Status{up, down}[n%2])
		if again := p.flaps.review(p.now); again != nil {
			wrote += p.judge()
		}
	}
	if wrote == 0 || wrote > 8 {
		t.Errorf("%d findings written in 20 minutes, want few", wrote)
	}
}

// TestSlowTurns: who changes once in some minutes does not flap.
func TestSlowTurns(t *testing.T) {
	p := newPatient(t)
	p.says(0, up)
	for n := range 20 {
		s := []rollcall.Status{down, up}[n%2]
		p.says(90*time.Second, s)
		p.want(s)
	}
}

// TestHardEvidenceEndsDamping, as do silence, an operator and callers.
func TestHardEvidenceEndsDamping(t *testing.T) {
	for name, blow := range map[string]func(*patient){
		"a refused probe": func(p *patient) {
			p.ev.Reports = []rollcall.Finding{{Slot: rollcall.CheckSlot("disk"), Status: down, Hard: true}}
		},
		"silence": func(p *patient) { p.ev.State = lease.Lapsed },
		"callers": func(p *patient) {
			p.ev.Reports = append(p.ev.Reports, rollcall.Finding{Slot: rollcall.SlotCallers, Status: down})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := damped(t)
			blow(p)
			p.judge()
			p.want(rollcall.Unhealthy)
			if _, marked := p.item().Finding(rollcall.SlotFlap); marked {
				t.Error("it is still marked as one that flaps")
			}
		})
	}
	p := damped(t)
	p.write(rollcall.OverridePut{Key: patientKey, Override: &rollcall.Override{Status: rollcall.Draining}})
	p.judge()
	p.want(rollcall.Draining)
	if _, marked := p.item().Finding(rollcall.SlotFlap); marked || len(p.flaps) > 0 {
		t.Error("damped under an override")
	}
}

// TestNoTurns: to start, to drain and to be suspect is not to flap.
func TestNoTurns(t *testing.T) {
	for _, other := range []rollcall.Status{rollcall.Starting, rollcall.Draining, rollcall.Suspect, rollcall.Degraded} {
		p := newPatient(t)
		for range 10 {
			for _, s := range []rollcall.Status{other, up} {
				p.ev.Reports = []rollcall.Finding{{Slot: rollcall.CheckSlot("disk"), Status: up}, {Slot: rollcall.SlotStatus, Status: s}}
				p.now = p.now.Add(time.Second)
				p.judge()
				p.want(s)
			}
		}
	}
}

func (p *patient) wantMark(want bool) {
	p.t.Helper()
	if f, marked := p.item().Finding(rollcall.SlotFlap); marked != want {
		p.t.Fatalf("marked as one that flaps: %v (%+v), want %v", marked, f, want)
	}
}

// TestMarkGoes: no mark outlives what it is of, which a restart forgets, also while
// the instance drains.
func TestMarkGoes(t *testing.T) {
	p := damped(t)
	p.flaps = flaps{}
	p.judge()
	p.wantMark(false)
	p.want(rollcall.Unhealthy)

	drain := rollcall.Finding{Slot: rollcall.SlotStatus, Status: rollcall.Draining}
	p = damped(t)
	p.ev.Reports = append(p.ev.Reports, drain)
	p.judge()
	p.wantMark(true)
	p.passes(15 * time.Minute)
	p.wantMark(false)

	p = damped(t)
	p.flaps = flaps{}
	p.ev.Reports = append(p.ev.Reports, drain)
	p.judge()
	p.wantMark(false)
}

// TestNewIncarnationIsClean: what is registered anew has no past.
func TestNewIncarnationIsClean(t *testing.T) {
	p := damped(t)
	p.write(rollcall.InstancePut{Key: patientKey, Incarnation: p.rev + 1, Record: p.item().Record()})
	p.says(time.Second, up)
	p.wantMark(false)
	p.says(time.Second, down)
	p.want(rollcall.Unhealthy)
	p.says(time.Second, up)
	p.want(rollcall.Healthy)
}

func TestLeaseFinding(t *testing.T) {
	const ttl = 15 * time.Second
	for name, tt := range map[string]struct {
		ev   lease.Evidence
		want rollcall.Finding // Status 0: none yet
	}{
		"alive":            {lease.Evidence{State: lease.Alive}, rollcall.Finding{Status: up}},
		"missing":          {lease.Evidence{State: lease.Missing}, rollcall.Finding{Status: rollcall.Suspect, Reason: "pings are not answered"}},
		"undecided":        {lease.Evidence{State: lease.Silent}, rollcall.Finding{}},
		"held":             {lease.Evidence{State: lease.Silent, Held: true}, rollcall.Finding{Status: rollcall.Suspect, Reason: "no renewal for 15s, as for too many at once"}},
		"held, broken":     {lease.Evidence{State: lease.Silent, Held: true, Broken: true}, rollcall.Finding{Status: rollcall.Suspect, Reason: "the session broke, as for too many at once"}},
		"lapsed":           {lease.Evidence{State: lease.Lapsed}, rollcall.Finding{Status: down, Reason: "no renewal for 15s"}},
		"lapsed, broken":   {lease.Evidence{State: lease.Lapsed, Broken: true}, rollcall.Finding{Status: down, Reason: "the session broke", Hard: true}},
		"lapsed, refused":  {lease.Evidence{State: lease.Lapsed, Refused: true, Cause: "connection refused"}, rollcall.Finding{Status: down, Reason: "no renewal for 15s; connection refused", Hard: true}},
		"expired, refused": {lease.Evidence{State: lease.Expired, Refused: true, Cause: "x"}, rollcall.Finding{Status: down, Reason: "no renewal for 15s; x", Hard: true}},
	} {
		tt.ev.TTL = ttl
		f, ok := leaseFinding(&tt.ev)
		if !ok {
			f = rollcall.Finding{}
		} else {
			tt.want.Slot = rollcall.SlotLease
		}
		if diff := cmp.Diff(tt.want, f); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}
