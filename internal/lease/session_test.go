package lease

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

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

// TestBrokenInAPause: that the streams of sessions broke while the process was paused,
// or shortly after, is no evidence against anybody who comes back.
func TestBrokenInAPause(t *testing.T) {
	for _, pause := range []time.Duration{2 * time.Second, time.Minute, 24 * time.Hour} {
		c := newClock(time.Hour)
		for _, id := range []string{"during", "after", "later"} {
			c.Set(key(id), sessionGrant(1))
			c.Renew(key(id))
		}
		c.Tick()
		c.at.Add(int64(pause))
		c.BreakOf(key("during"), 1) // nobody has noticed the pause yet
		if changed := c.Tick(); len(changed) > 0 {
			t.Errorf("a pause of %v convicts %v", pause, changed)
		}
		c.wantQuiet(t, comeback-Tick)
		c.BreakOf(key("after"), 1)
		c.wantQuiet(t, Tick)
		c.BreakOf(key("later"), 1)
		c.wantChange(t, key("later"), Grace, Lapsed)
		// Who does not come back is missed as if it had said nothing.
		changed := c.run(15 * time.Second)
		for _, id := range []string{"during", "after"} {
			if ev, _ := c.Evidence(key(id)); ev.State != Lapsed || ev.Broken || changed[key(id)] == 0 {
				t.Errorf("a TTL after a pause of %v, %s is %+v", pause, id, ev)
			}
		}
	}
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
