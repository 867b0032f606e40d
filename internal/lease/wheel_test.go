package lease

import (
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// TestLongLease: deadlines lie up to 30 days ahead, the wheel spans 102 s.
func TestLongLease(t *testing.T) {
	c := newClock(time.Hour)
	c.Set(key("i"), grant(1, rollcall.Duration(rollcall.MaxTTL), rollcall.Duration(rollcall.MaxTTL)))
	c.wantChange(t, key("i"), rollcall.MaxTTL, Lapsed)
	c.wantChange(t, key("i"), rollcall.MaxTTL-2*Tick, Expired)
	if n := c.waiting(); n > 2 {
		t.Errorf("the wheel holds %d entries of one lease", n)
	}
}

// waiting returns how many entries stand in the wheel.
func (t *Table) waiting() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, slot := range t.wheel {
		n += len(slot)
	}
	return n
}

// TestWheelDoesNotGrow: what is renewed, reported and set all the time stands
// in the wheel about once.
func TestWheelDoesNotGrow(t *testing.T) {
	c := newClock(time.Hour)
	i := key("i")
	for n := range 10_000 {
		c.Set(i, grant(1, seconds(60), seconds(60), check("db", seconds(float64(1+n%2*40)), seconds(1))))
		c.Renew(i)
		c.Report(i, rollcall.Finding{Slot: "check/db", Status: []rollcall.Status{rollcall.Healthy, rollcall.Unhealthy}[n%2]})
		if n%3 == 0 {
			c.run(Tick)
		}
		if n%100 == 0 {
			c.Drop(i)
		}
	}
	if n := c.waiting(); n > 1200 {
		t.Errorf("the wheel holds %d entries of one lease", n)
	}
	c.Drop(i)
	c.run(110 * time.Second)
	if n := c.waiting(); n != 0 {
		t.Errorf("the wheel holds %d entries of none", n)
	}
}

// TestCollisions chains leases whose keys have one hash.
func TestCollisions(t *testing.T) {
	const hash, n = 42, 4
	orders := [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}}
	for _, order := range orders {
		s := &shard{entries: map[uint64]*entry{}}
		var es []*entry
		for i := range n {
			es = append(es, &entry{id: fmt.Sprint(i), shared: &shared{terms: terms{service: key("").ServiceKey}}})
			s.add(hash, es[i])
		}
		gone := map[int]bool{}
		for step := range n + 1 {
			for i, e := range es {
				if got := s.get(hash, e.key()); (got == e) == gone[i] || s.len != n-step {
					t.Fatalf("removed %v of %v: %d is %v, %d are left", gone, order, i, got, s.len)
				}
			}
			if s.get(hash, key("x")) != nil || s.get(hash+1, es[0].key()) != nil {
				t.Fatal("what was never there is found")
			}
			if step < n {
				s.remove(hash, es[order[step]])
				gone[order[step]] = true
			}
		}
		if len(s.entries) != 0 {
			t.Errorf("%d chains are left", len(s.entries))
		}
	}
}

// TestKeysDiffer: keys that are put together of the same parts are not mixed up.
func TestKeysDiffer(t *testing.T) {
	c := newClock(time.Hour)
	var keys []rollcall.Key
	for _, ns := range []string{"a", "b", "ab", ""} {
		for _, service := range []string{"a", "b", "ab", ""} {
			for _, id := range []string{"a", "b", "ab", ""} {
				keys = append(keys, rollcall.Key{ServiceKey: rollcall.ServiceKey{Namespace: ns, Service: service}, ID: id})
			}
		}
	}
	hashes := map[uint64]bool{}
	for n, k := range keys {
		c.Set(k, grant(rollcall.Revision(n+1), seconds(15), seconds(60)))
		_, hash := c.shard(k)
		hashes[hash] = true
	}
	for n, k := range keys {
		if ev, _ := c.Evidence(k); ev.Incarnation != rollcall.Revision(n+1) {
			t.Errorf("%q has the lease of another", k)
		}
	}
	if c.Len() != len(keys) || len(hashes) != len(keys) {
		t.Errorf("%d leases of %d, %d hashes", c.Len(), len(keys), len(hashes))
	}
}
