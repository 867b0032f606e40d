package lease

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall-registry/rollcall"
)

// clock is a table with a clock that stands still unless it is moved.
type clock struct {
	*Table
	at atomic.Int64
}

func newClock(start time.Duration) *clock {
	c := &clock{}
	c.at.Store(int64(start))
	c.Table = New(func() time.Duration { return time.Duration(c.at.Load()) })
	c.Begin()
	return c
}

// run lets time pass tick by tick and returns who changed, and when.
func (c *clock) run(d time.Duration) map[rollcall.Key]time.Duration {
	changed := map[rollcall.Key]time.Duration{}
	for start := c.at.Load(); c.at.Load()-start < int64(d); {
		c.at.Add(int64(Tick))
		for _, key := range c.Tick() {
			changed[key] = time.Duration(c.at.Load() - start)
		}
	}
	return changed
}

// Tick is [Table.Tick] with a judge who has no guard.
func (c *clock) Tick() []rollcall.Key {
	changed := c.Table.Tick()
	for _, key := range changed {
		c.Convict(key)
	}
	return changed
}

func key(id string) rollcall.Key { return rollcall.NewKey("", "s", id) }

func seconds(n float64) rollcall.Duration { return rollcall.Duration(n * float64(time.Second)) }

func grant(incarnation rollcall.Revision, ttl, removeAfter rollcall.Duration, checks ...rollcall.Check) Grant {
	g := Grant{Incarnation: incarnation, Found: rollcall.Healthy}
	for _, c := range checks {
		g.Checks = append(g.Checks, Check{Check: c})
	}
	if g.Lease.Mode = rollcall.LeaseNone; ttl != 0 {
		g.Lease = rollcall.Lease{Mode: rollcall.LeaseTTL, TTL: ttl, RemoveAfter: removeAfter}
	}
	return g
}

func found(lapsed bool) rollcall.Status {
	if lapsed {
		return rollcall.Unhealthy
	}
	return rollcall.Healthy
}

func check(name string, ttl, deregisterAfter rollcall.Duration) rollcall.Check {
	return rollcall.Check{Name: name, Type: rollcall.CheckTTL, TTL: ttl, DeregisterAfter: deregisterAfter}
}

// wantChange lets time pass and expects one change of an instance, as late as
// given or up to two ticks later, and its state after it.
func (c *clock) wantChange(t *testing.T, k rollcall.Key, after time.Duration, want State) {
	t.Helper()
	if changed := c.run(after - Tick); len(changed) > 0 {
		t.Fatalf("changes before %v: %v", after, changed)
	}
	changed := c.run(3 * Tick)
	if _, ok := changed[k]; !ok || len(changed) != 1 {
		t.Fatalf("around %v: changes %v, want one of %v", after, changed, k)
	}
	if ev, _ := c.Evidence(k); ev.State != want {
		t.Errorf("state %d after %v, want %d", ev.State, after, want)
	}
}

func (c *clock) wantQuiet(t *testing.T, d time.Duration) {
	t.Helper()
	if changed := c.run(d); len(changed) > 0 {
		t.Fatalf("changes within %v: %v", d, changed)
	}
}

func (c *clock) wantState(t *testing.T, k rollcall.Key, want State) {
	t.Helper()
	if ev, ok := c.Evidence(k); !ok || ev.State != want {
		t.Errorf("state %d, %v, want %d", ev.State, ok, want)
	}
}

func TestLapseAndExpire(t *testing.T) {
	for _, start := range []time.Duration{0, time.Nanosecond, Tick - 1, 12345678 * time.Microsecond} {
		c := newClock(start)
		c.Set(key("i"), grant(1, seconds(15), seconds(60)))
		c.wantState(t, key("i"), Alive)
		c.wantChange(t, key("i"), 15*time.Second, Lapsed)
		c.wantChange(t, key("i"), 60*time.Second-2*Tick, Expired)
		ev, _ := c.Evidence(key("i"))
		if want := "no renewal for 1m15s"; ev.Why != want || ev.Incarnation != 1 || ev.TTL != 15*time.Second {
			t.Errorf("%+v, want %q", ev, want)
		}
		c.wantQuiet(t, time.Hour) // it is for others to remove it
		c.Drop(key("i"))
		if _, ok := c.Evidence(key("i")); ok || c.Len() != 0 {
			t.Error("dropped, it is still there")
		}
	}
}

func TestRenew(t *testing.T) {
	c := newClock(time.Hour)
	if _, known, _ := c.Renew(key("i")); known {
		t.Error("unknown, it was renewed")
	}
	c.Set(key("i"), grant(1, seconds(15), seconds(60)))
	for range 10 {
		c.wantQuiet(t, 14*time.Second)
		if ttl, known, changed := c.Renew(key("i")); ttl != 15*time.Second || !known || changed {
			t.Fatalf("renewed with %v, %v, %v", ttl, known, changed)
		}
	}
	c.wantChange(t, key("i"), 15*time.Second, Lapsed)
	c.run(30 * time.Second)
	if ttl, known, changed := c.Renew(key("i")); ttl != 15*time.Second || !known || !changed {
		t.Errorf("revived with %v, %v, %v", ttl, known, changed)
	}
	c.wantState(t, key("i"), Alive)
	c.wantChange(t, key("i"), 15*time.Second, Lapsed)
	c.wantChange(t, key("i"), 60*time.Second-2*Tick, Expired)
	if _, known, changed := c.Renew(key("i")); !known || !changed {
		t.Error("expired and not being removed, it is not revived")
	}
	c.wantState(t, key("i"), Alive)
}

func TestRemoving(t *testing.T) {
	c := newClock(time.Hour)
	if c.Removing(key("i"), true) {
		t.Error("unknown, it is removed")
	}
	c.Set(key("i"), grant(1, seconds(2), seconds(2)))
	if c.Removing(key("i"), true) {
		t.Error("alive, it is removed")
	}
	c.run(10 * time.Second)
	if !c.Removing(key("i"), true) {
		t.Error("expired, it is not removed")
	}
	if _, known, _ := c.Renew(key("i")); known {
		t.Error("being removed, it was renewed: it should register again")
	}
	c.Removing(key("i"), false) // the log did not take it
	if _, known, changed := c.Renew(key("i")); !known || !changed {
		t.Error("not being removed any more, it was not revived")
	}
	if c.Removing(key("i"), true) {
		t.Error("revived, it is removed")
	}
	c.run(10 * time.Second)
	c.Removing(key("i"), true)
	c.Set(key("i"), grant(2, seconds(2), seconds(2)))
	if _, known, changed := c.Renew(key("i")); !known || changed {
		t.Error("registered again, it was not renewed")
	}
}

func TestNoneNeverLapses(t *testing.T) {
	c := newClock(time.Hour)
	c.Set(key("i"), grant(1, 0, 0))
	c.wantQuiet(t, 3*time.Hour)
	if ttl, known, changed := c.Renew(key("i")); ttl != 0 || !known || changed {
		t.Errorf("renewed with %v, %v, %v", ttl, known, changed)
	}
	c.wantQuiet(t, time.Hour)

	// It becomes one that has to be renewed: from now on.
	c.Set(key("i"), grant(1, seconds(15), seconds(60)))
	c.wantChange(t, key("i"), 15*time.Second, Lapsed)

	// And again none: nothing speaks against it any more.
	c.Set(key("i"), grant(1, 0, 0))
	c.wantState(t, key("i"), Alive)
	c.wantQuiet(t, time.Hour)
}

func TestUpdateOfTTL(t *testing.T) {
	for _, tt := range []struct {
		name    string
		ttl     float64
		elapsed time.Duration
		left    time.Duration
	}{
		{"longer", 60, 5 * time.Second, 60 * time.Second},
		{"shorter", 10, 5 * time.Second, 10 * time.Second},
		{"the same", 15, 5 * time.Second, 10 * time.Second},
		{"shorter than what has passed", 2, 5 * time.Second, 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock(time.Hour)
			c.Set(key("i"), grant(1, seconds(15), seconds(60)))
			c.wantQuiet(t, tt.elapsed)
			c.Set(key("i"), grant(1, seconds(tt.ttl), seconds(60)))
			c.wantChange(t, key("i"), tt.left, Lapsed)
		})
	}
}

// TestBegin: what is set before silence counts has a full TTL from when it does.
func TestBegin(t *testing.T) {
	c := &clock{}
	c.Table = New(func() time.Duration { return time.Duration(c.at.Load()) })
	c.Set(key("i"), grant(1, seconds(15), seconds(60)))
	for range 1000 {
		c.at.Add(int64(Tick))
		if changed := c.Tick(); changed != nil {
			t.Fatalf("%v before the begin", changed)
		}
	}
	c.Begin()
	c.wantChange(t, key("i"), 15*time.Second, Lapsed)
}

func TestNewIncarnation(t *testing.T) {
	c := newClock(time.Hour)
	c.Set(key("i"), grant(1, seconds(15), seconds(60)))
	c.Report(key("i"), rollcall.Finding{Slot: rollcall.SlotStatus, Status: rollcall.Degraded})
	c.wantQuiet(t, 14*time.Second)
	c.Set(key("i"), grant(2, seconds(15), seconds(60)))
	if ev, _ := c.Evidence(key("i")); ev.Incarnation != 2 || ev.Reports != nil {
		t.Errorf("%+v, want nothing said yet", ev)
	}
	c.wantChange(t, key("i"), 15*time.Second, Lapsed)
	c.Set(key("i"), grant(3, seconds(15), seconds(60)))
	c.wantState(t, key("i"), Alive)
	c.wantChange(t, key("i"), 15*time.Second, Lapsed)
}

// TestFoundLapsed: an instance that was marked before a restart gets a full TTL
// before the time to its removal begins, and loses that once it is heard from.
func TestFoundLapsed(t *testing.T) {
	lapsed := grant(1, seconds(15), seconds(60))
	lapsed.Found = rollcall.Unhealthy
	c := newClock(time.Hour)
	c.Set(key("i"), lapsed)
	c.wantState(t, key("i"), Lapsed)
	c.wantChange(t, key("i"), 75*time.Second, Expired)

	c = newClock(time.Hour)
	c.Set(key("i"), lapsed)
	c.wantQuiet(t, 5*time.Second)
	if _, _, changed := c.Renew(key("i")); !changed {
		t.Error("not revived")
	}
	c.wantChange(t, key("i"), 15*time.Second, Lapsed)
	c.wantChange(t, key("i"), 60*time.Second-2*Tick, Expired)

	// That the log says so of one that is alive here changes nothing: it will
	// be told.
	c = newClock(time.Hour)
	c.Set(key("i"), grant(1, seconds(15), seconds(60)))
	c.Set(key("i"), lapsed)
	c.wantState(t, key("i"), Alive)
	c.wantChange(t, key("i"), 15*time.Second, Lapsed)
	c.Set(key("i"), lapsed)
	c.wantChange(t, key("i"), 60*time.Second-2*Tick, Expired)
}

// TestFollow: until time begins a lease stands as the log says, from then on as
// is known here.
func TestFollow(t *testing.T) {
	c := &clock{}
	c.Table = New(func() time.Duration { return time.Duration(c.at.Load()) })
	c.at.Add(int64(time.Hour))
	follow := func(lapsed, agrees bool, want State) {
		t.Helper()
		if got := c.Follow(key("i"), found(lapsed)); got != agrees {
			t.Errorf("lapsed %v: it agrees %v, want %v", lapsed, got, agrees)
		}
		c.wantState(t, key("i"), want)
	}
	if !c.Follow(key("i"), rollcall.Unhealthy) {
		t.Error("of an instance that is not known there is nothing to judge")
	}
	c.Set(key("i"), grant(1, seconds(15), seconds(60)))
	follow(true, true, Lapsed)
	follow(false, true, Alive)
	follow(true, true, Lapsed)
	c.Begin()
	follow(false, false, Lapsed)
	c.wantChange(t, key("i"), 75*time.Second, Expired)
	follow(true, true, Expired)
	follow(false, false, Expired)
	c.Renew(key("i"))
	follow(true, false, Alive)
	c.wantChange(t, key("i"), 15*time.Second, Lapsed)

	// What has no TTL has not lapsed, whatever the log says.
	lapsed := grant(1, 0, 0)
	lapsed.Found = rollcall.Unhealthy
	if c.Set(key("n"), lapsed) {
		t.Error("it agrees")
	}
	c.wantState(t, key("n"), Alive)
}

func (c *clock) report(t *testing.T, k rollcall.Key, slot rollcall.Slot, s rollcall.Status, known, changed bool) {
	t.Helper()
	gotKnown, gotChanged := c.Report(k, rollcall.Finding{Slot: slot, Status: s, Reason: "said so"})
	if gotKnown != known || gotChanged != changed {
		t.Errorf("%v reported as %v: known %v, changed %v; want %v, %v", slot, s, gotKnown, gotChanged, known, changed)
	}
}

func (c *clock) wantReports(t *testing.T, k rollcall.Key, want ...rollcall.Finding) {
	t.Helper()
	ev, _ := c.Evidence(k)
	if diff := cmp.Diff(want, ev.Reports, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("reports differ:\n%s", diff)
	}
}

func TestReports(t *testing.T) {
	const db, web = rollcall.Slot("check/db"), rollcall.Slot("check/web")
	c := newClock(time.Hour)
	i := key("i")
	c.report(t, i, rollcall.SlotStatus, rollcall.Healthy, false, false)
	c.Set(i, grant(1, 0, 0, check("db", seconds(10), 0), check("web", seconds(20), 0)))
	c.wantReports(t, i)
	if !c.Has(i, db) || c.Has(i, "check/x") || c.Has(key("x"), db) {
		t.Error("Has is wrong")
	}
	c.report(t, i, "check/x", rollcall.Healthy, false, false)
	c.report(t, i, rollcall.SlotStatus, rollcall.Degraded, true, true)
	c.report(t, i, rollcall.SlotStatus, rollcall.Degraded, true, false)
	c.report(t, i, db, rollcall.Healthy, true, true)
	c.report(t, i, db, rollcall.Healthy, true, false)
	said := func(slot rollcall.Slot, s rollcall.Status) rollcall.Finding {
		return rollcall.Finding{Slot: slot, Status: s, Reason: "said so"}
	}
	late := func(slot rollcall.Slot, ttl string) rollcall.Finding {
		return rollcall.Finding{Slot: slot, Status: rollcall.Unhealthy, Reason: "not reported within " + ttl}
	}
	c.wantReports(t, i, said(db, rollcall.Healthy), said(rollcall.SlotStatus, rollcall.Degraded))

	// Each check lapses on its own, whether it ever spoke or not, and once.
	c.wantChange(t, i, 10*time.Second, Alive)
	c.wantReports(t, i, late(db, "10s"), said(rollcall.SlotStatus, rollcall.Degraded))
	c.wantChange(t, i, 10*time.Second-2*Tick, Alive)
	c.wantReports(t, i, late(db, "10s"), late(web, "20s"), said(rollcall.SlotStatus, rollcall.Degraded))
	c.wantQuiet(t, time.Hour)

	// A renewal is not a report.
	c.Renew(i)
	c.wantReports(t, i, late(db, "10s"), late(web, "20s"), said(rollcall.SlotStatus, rollcall.Degraded))
	c.report(t, i, web, rollcall.Healthy, true, true)
	c.wantChange(t, i, 20*time.Second, Alive)
	c.report(t, i, web, rollcall.Unhealthy, true, false)
	c.wantQuiet(t, time.Hour) // one that fails cannot get worse
}

func TestChecksOverRegistrations(t *testing.T) {
	const db, web = rollcall.Slot("check/db"), rollcall.Slot("check/web")
	said := func(slot rollcall.Slot) rollcall.Finding {
		return rollcall.Finding{Slot: slot, Status: rollcall.Healthy, Reason: "said so"}
	}
	status := rollcall.Finding{Slot: rollcall.SlotStatus, Status: rollcall.Healthy, Reason: "said so"}
	for _, tt := range []struct {
		name        string
		incarnation rollcall.Revision
		db          rollcall.Check
		want        []rollcall.Finding
	}{
		{"an update", 1, check("db", seconds(10), seconds(60)), []rollcall.Finding{status, said(db)}},
		{"a registration", 2, check("db", seconds(10), seconds(60)), []rollcall.Finding{said(db)}},
		{"another ttl", 1, check("db", seconds(11), seconds(60)), []rollcall.Finding{status}},
		{"another deregister_after", 1, check("db", seconds(10), seconds(61)), []rollcall.Finding{status, said(db)}},
		{"another name", 1, check("db2", seconds(10), seconds(60)), []rollcall.Finding{status}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock(time.Hour)
			c.Set(key("i"), grant(1, 0, 0, check("db", seconds(10), seconds(60)), check("web", seconds(10), 0)))
			for _, slot := range []rollcall.Slot{db, web, rollcall.SlotStatus} {
				c.report(t, key("i"), slot, rollcall.Healthy, true, true)
			}
			c.wantQuiet(t, 5*time.Second)
			c.Set(key("i"), grant(tt.incarnation, 0, 0, tt.db))
			c.wantReports(t, key("i"), tt.want...)
			left := 10 * time.Second
			if len(tt.want) > 0 && tt.want[len(tt.want)-1].Slot == db {
				left = 5 * time.Second // its time runs on
			} else if tt.name == "another ttl" {
				left = 11 * time.Second
			}
			c.wantChange(t, key("i"), left, Alive)
		})
	}
}

func TestDeregisterAfter(t *testing.T) {
	const db = rollcall.Slot("check/db")
	for _, start := range []time.Duration{0, time.Hour} {
		c := newClock(start)
		i := key("i")
		c.Set(i, grant(1, 0, 0, check("db", seconds(10), seconds(60))))
		c.report(t, i, db, rollcall.Unhealthy, true, true)
		c.wantQuiet(t, 30*time.Second)
		c.report(t, i, db, rollcall.Unhealthy, true, false) // it fails since the first
		c.wantChange(t, i, 30*time.Second, Expired)
		if ev, _ := c.Evidence(i); ev.Why != "check db failed for 1m" {
			t.Errorf("%+v", ev)
		}
		// A renewal shows that it lives, but not that the check is well.
		if _, _, changed := c.Renew(i); !changed {
			t.Error("not revived")
		}
		c.wantChange(t, i, Tick, Expired)
		c.Renew(i)
		c.report(t, i, db, rollcall.Healthy, true, true)
		c.wantState(t, i, Alive)
		c.wantChange(t, i, 10*time.Second, Alive) // not reported
		c.wantChange(t, i, 60*time.Second-2*Tick, Expired)
	}
}

func TestPause(t *testing.T) {
	for _, pause := range []time.Duration{Pause + time.Second, time.Minute, 24 * time.Hour} {
		c := newClock(time.Hour)
		c.Set(key("i"), grant(1, seconds(15), seconds(60)))
		c.Set(key("check"), grant(1, 0, 0, check("db", seconds(15), 0)))
		c.wantQuiet(t, 5*time.Second)
		c.at.Add(int64(pause))
		if changed := c.Tick(); len(changed) > 0 {
			t.Fatalf("a pause of %v convicts %v", pause, changed)
		}
		if got := c.Paused(); got != pause-Tick {
			t.Errorf("a pause of %v is noted as %v", pause, got)
		}
		c.wantQuiet(t, 9*time.Second)
		if changed := c.run(time.Second + 2*Tick); len(changed) != 2 {
			t.Errorf("after a pause of %v: %v, want both", pause, changed)
		}
		c.wantChange(t, key("i"), 60*time.Second-3*Tick, Expired)
	}

	// A tick that is a little late is no pause.
	c := newClock(time.Hour)
	c.Set(key("i"), grant(1, seconds(2), seconds(60)))
	c.run(time.Second)
	c.at.Add(int64(time.Second + Tick))
	if changed := c.Tick(); len(changed) != 1 || c.Paused() != 0 {
		t.Errorf("%v, paused for %v", changed, c.Paused())
	}
}

// TestLongTick: that so many leases lapse at once that looking at them takes
// seconds is no pause.
func TestLongTick(t *testing.T) {
	var at, each time.Duration
	l := New(func() time.Duration { at += each; return at })
	l.Begin()
	for n := range 20_000 {
		l.Set(key(fmt.Sprint(n)), grant(1, seconds(1), seconds(60)))
	}
	lapsed := 0
	for range 11 {
		if at += Tick; at >= time.Second {
			each = 100 * time.Millisecond // between two looks at the clock
		}
		lapsed += len(l.Tick())
	}
	each = 0
	at += Tick
	l.Tick()
	if lapsed != 20_000 || at < 2*time.Second || l.Paused() != 0 {
		t.Errorf("%d lapsed until %v; paused for %v", lapsed, at, l.Paused())
	}
}

// TestRenewedInAPause: what was renewed before the pause was noticed lives a
// little longer, never shorter.
func TestRenewedInAPause(t *testing.T) {
	c := newClock(time.Hour)
	c.Set(key("i"), grant(1, seconds(15), seconds(60)))
	c.run(5 * time.Second)
	c.at.Add(int64(time.Minute))
	c.Renew(key("i"))
	if changed := c.Tick(); len(changed) > 0 {
		t.Fatal(changed)
	}
	c.wantQuiet(t, 15*time.Second-Tick)
	if changed := c.run(time.Minute); len(changed) != 1 {
		t.Errorf("%v, want it to lapse in the end", changed)
	}
}

// TestRenewedInALongPause: nor more than a little, however long the pause was.
func TestRenewedInALongPause(t *testing.T) {
	for _, pause := range []time.Duration{2 * time.Second, time.Minute, 24 * time.Hour} {
		c := newClock(time.Hour)
		c.Set(key("renewed"), grant(1, seconds(15), seconds(60)))
		c.Set(key("set"), grant(1, seconds(15), seconds(60)))
		c.Set(key("reported"), grant(1, 0, 0, check("db", seconds(15), 0)))
		c.run(5 * time.Second)
		c.at.Add(int64(pause))
		c.Renew(key("renewed"))
		c.Report(key("reported"), rollcall.Finding{Slot: "check/db", Status: rollcall.Healthy})
		c.Set(key("set"), grant(2, seconds(15), seconds(60)))
		if ev, _ := c.Evidence(key("renewed")); ev.Silence != 0 {
			t.Errorf("heard from just now, it is silent for %v", ev.Silence)
		}
		c.wantQuiet(t, 10*time.Second)
		if ev, _ := c.Evidence(key("renewed")); ev.Silence < 8*time.Second {
			t.Errorf("10 s later it is silent for %v", ev.Silence)
		}
		changed := c.run(5*time.Second + Pause + 2*Tick)
		for _, k := range []string{"renewed", "set", "reported"} {
			if changed[key(k)] == 0 {
				t.Errorf("%s after a pause of %v, it does not lapse", k, pause)
			}
		}
	}
}

func TestRenewDoesNotAllocate(t *testing.T) {
	c := newClock(time.Hour)
	k := key("i")
	c.Set(k, grant(1, seconds(15), seconds(60)))
	if n := testing.AllocsPerRun(1000, func() {
		if _, known, _ := c.Renew(k); !known {
			t.Fatal("unknown")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// TestAtOnce lets everything happen at once, for the race detector; those who
// are renewed must not lapse meanwhile.
func TestAtOnce(t *testing.T) {
	c := newClock(time.Hour)
	const kept = 64
	for n := range kept {
		c.Set(key(fmt.Sprint("kept-", n)), grant(1, seconds(2), seconds(2), check("db", seconds(2), seconds(2))))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	loop := func(f func(n int)) {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					f(n)
				}
			}
		})
	}
	loop(func(n int) { c.Renew(key(fmt.Sprint("kept-", n%kept))) })
	loop(func(n int) { c.Renew(key(fmt.Sprint("other-", n%kept))) })
	loop(func(n int) {
		c.Set(key(fmt.Sprint("other-", n%kept)), grant(rollcall.Revision(n%3), seconds(2), seconds(2)))
	})
	loop(func(n int) {
		k := key(fmt.Sprint("other-", n%kept))
		c.Evidence(k)
		c.Has(k, rollcall.SlotStatus)
		c.Removing(k, n%2 == 0)
		c.Drop(k)
		c.Len()
		c.Paused()
	})
	lapsed := map[rollcall.Key]bool{}
	for range 200 {
		// All are renewed and reported in every second.
		for range 10 {
			c.at.Add(int64(Tick))
			for _, k := range c.Tick() {
				lapsed[k] = true
			}
		}
		for n := range kept {
			k := key(fmt.Sprint("kept-", n))
			c.Renew(k)
			c.Report(k, rollcall.Finding{Slot: "check/db", Status: rollcall.Healthy})
		}
	}
	close(stop)
	wg.Wait()
	for n := range kept {
		if k := key(fmt.Sprint("kept-", n)); lapsed[k] {
			t.Errorf("%v lapsed", k)
		}
	}
	// And all of them do once nobody renews them.
	changed := c.run(5 * time.Second)
	for n := range kept {
		if k := key(fmt.Sprint("kept-", n)); changed[k] == 0 {
			t.Errorf("%v did not lapse", k)
		}
	}
}

// TestTickReportsOnce: nobody is reported twice for one change.
func TestTickReportsOnce(t *testing.T) {
	c, keys := benchTable(1000)
	seen := 0
	for range 200 {
		c.at.Add(int64(Tick))
		changed := c.Tick()
		seen += len(changed)
		slices.SortFunc(changed, byKey)
		if n := len(slices.Compact(changed)); n != len(changed) {
			t.Fatalf("%d of %d are told twice", len(changed)-n, len(changed))
		}
	}
	if seen != len(keys) {
		t.Errorf("%d lapsed, want %d", seen, len(keys))
	}
}

func byKey(a, b rollcall.Key) int { return strings.Compare(a.String(), b.String()) }

func sessionGrant(incarnation rollcall.Revision) Grant {
	g := grant(incarnation, seconds(15), seconds(60))
	g.Lease.Mode = rollcall.LeaseSession
	return g
}

// TestSession: two pings without an answer make a session suspect, silence for a
// TTL convicts it, a broken stream after the grace, and whatever is heard before
// takes all of that back.
func TestSession(t *testing.T) {
	c := newClock(time.Hour)
	c.Set(key("i"), sessionGrant(1)) // as time begins: it may be about to come back
	c.wantQuiet(t, 10*time.Second)
	c.Renew(key("i"))
	c.wantChange(t, key("i"), 4500*time.Millisecond, Missing)
	c.wantChange(t, key("i"), 15*time.Second-4500*time.Millisecond-2*Tick, Lapsed)
	if _, _, changed := c.Renew(key("i")); !changed {
		t.Error("not revived")
	}

	c.run(time.Second)
	c.BreakOf(key("i"), 1)
	c.wantQuiet(t, Grace-Tick)
	c.Renew(key("i")) // it is taken up again
	c.wantQuiet(t, 4*time.Second)
	c.Renew(key("i"))

	c.BreakOf(key("i"), 1)
	c.Table.Tick()
	c.at.Add(int64(Grace + Tick))
	if changed := c.Table.Tick(); len(changed) != 1 {
		t.Fatalf("%v changed after the grace", changed)
	}
	if ev, _ := c.Evidence(key("i")); ev.State != Silent || !ev.Broken {
		t.Errorf("%+v, want it silent and broken", ev)
	}
	c.Renew(key("i"))
	if ev, _ := c.Evidence(key("i")); ev.State != Alive || ev.Broken {
		t.Errorf("%+v, want it alive", ev)
	}

	// A lease by heartbeats knows neither.
	c.Set(key("i"), grant(2, seconds(15), seconds(60)))
	c.wantQuiet(t, 14*time.Second)
}

// TestHeld: the time to its removal begins for an instance when it is convicted,
// not while a guard holds it.
func TestHeld(t *testing.T) {
	c := newClock(time.Hour)
	c.Set(key("i"), grant(1, seconds(15), seconds(60)))
	silence := func() {
		t.Helper()
		c.at.Add(int64(15 * time.Second))
		c.Table.last = c.Table.now() // the test's own leap is no pause
		if changed := c.Table.Tick(); len(changed) != 1 {
			t.Fatalf("%v changed", changed)
		}
	}
	silence()
	if !c.Hold(key("i")) {
		t.Fatal("it is not silent")
	}
	for range 6000 {
		c.at.Add(int64(Tick))
		if changed := c.Table.Tick(); len(changed) > 0 {
			t.Fatalf("%v changed while it was held", changed)
		}
	}
	if ev, _ := c.Evidence(key("i")); !ev.Held || ev.State != Silent {
		t.Errorf("%+v", ev)
	}
	if !c.Refuse(key("i"), "connection refused") || c.Refuse(key("i"), "connection refused") {
		t.Error("that it is dead is news once")
	}
	if !c.Convict(key("i")) || c.Convict(key("i")) || c.Hold(key("i")) {
		t.Error("it is convicted once, and not held then")
	}
	if ev, _ := c.Evidence(key("i")); ev.Held || !ev.Refused || ev.Cause != "connection refused" {
		t.Errorf("%+v", ev)
	}
	c.wantChange(t, key("i"), 60*time.Second, Expired)
	c.Renew(key("i"))
	if ev, _ := c.Evidence(key("i")); ev.Refused || ev.Cause != "" {
		t.Errorf("%+v, want nothing against it", ev)
	}
}

// TestFoundSuspect: an instance that was suspect before a restart stays that for a
// TTL, unless it is heard from.
func TestFoundSuspect(t *testing.T) {
	c := newClock(time.Hour)
	g := grant(1, seconds(15), seconds(60))
	g.Found = rollcall.Suspect
	if !c.Set(key("i"), g) {
		t.Error("it stands otherwise than the log says")
	}
	c.wantState(t, key("i"), Missing)
	c.wantChange(t, key("i"), 15*time.Second, Lapsed)
}

// TestCount: whoever missed a renewal counts, whoever is marked or owes none
// does not.
func TestCount(t *testing.T) {
	c := newClock(time.Hour)
	keys := []rollcall.Key{key("late"), key("fresh"), key("none"), key("broken"), key("marked"), key("unknown")}
	c.Set(keys[4], grant(1, seconds(2), seconds(60)))
	c.run(3 * time.Second)
	c.Set(keys[0], grant(1, seconds(15), seconds(60)))
	c.run(9 * time.Second)
	c.Set(keys[1], grant(1, seconds(15), seconds(60)))
	c.Set(keys[2], grant(1, 0, 0))
	c.Set(keys[3], sessionGrant(1))
	c.BreakOf(keys[3], 1)
	want := Count{Heard: 1, Late: 2, Marked: 1}
	if got := c.Count(slices.Values(keys)); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := c.CountAll(); got != want || got.Of() != 4 {
		t.Errorf("of all: %+v, want %+v", got, want)
	}
	for n := range 100_000 { // of many, some are looked at
		c.Set(key(fmt.Sprint("m", n)), sessionGrant(1))
		if n%4 == 0 {
			c.BreakOf(key(fmt.Sprint("m", n)), 1)
		}
	}
	if got := c.CountAll(); got.Late < 22_000 || got.Late > 28_000 || got.Of() < 99_000 || got.Of() > 101_000 {
		t.Errorf("of many: %+v, want about 25000 of 100000 late", got)
	}
}
