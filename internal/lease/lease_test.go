package lease

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// TestEnd: who was sent elsewhere is not missed.
func TestEnd(t *testing.T) {
	c := newClock(time.Hour)
	c.Set(key("i"), grant(1, seconds(15), seconds(60)))
	c.wantQuiet(t, 14*time.Second)
	c.End()
	c.wantQuiet(t, time.Hour)
	c.wantState(t, key("i"), Alive)
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
