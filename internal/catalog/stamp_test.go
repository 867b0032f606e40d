package catalog

import (
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// registered is the registration of an instance of a service.
func registered(service string) rollcall.Change {
	i := rollcall.Instance{Service: service, ID: "1"}
	i.Normalize()
	return rollcall.Change{Body: rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}}
}

// TestStamp: a stamp grows with what changes a service, and with queries, which may take
// any name.
func TestStamp(t *testing.T) {
	c := New()
	write(t, c, 0)
	key := rollcall.NewServiceKey("", "a")
	stamp := c.Stamp(key)
	if c.Stamp(rollcall.NewServiceKey("", "A")) != stamp {
		t.Error("the same service has another stamp")
	}
	rev := rollcall.Revision(0)
	for _, step := range []struct {
		what   string
		change rollcall.Change
		grows  bool
	}{
		{"a first instance", registered("a"), true},
		{"another service", registered("b"), c.Stamp(rollcall.NewServiceKey("", "b")) == stamp},
		{"an instance that goes", rollcall.Change{Body: rollcall.InstanceRemove{Key: rollcall.NewKey("", "a", "1")}}, true},
		{"a query", stored("", "x"), true},
		{"another query", stored("", "a"), true},
		{"a query that goes", rollcall.Change{Body: rollcall.QueryPut{Name: key}}, true},
	} {
		rev++
		before := stamp.Load()
		if write(t, c, rev, step.change); (stamp.Load() > before) != step.grows {
			t.Errorf("%s: from %d to %d", step.what, before, stamp.Load())
		}
	}
}

// TestStampIsRead: whoever reads a stamp and then looks at the catalog sees at least what
// it stands for.
func TestStampIsRead(t *testing.T) {
	c := New()
	write(t, c, 0)
	const last = 50_000
	key := rollcall.NewServiceKey("", "a")
	stamp := c.Stamp(key)
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for at := uint64(0); at < last; {
				at = stamp.Load()
				s := c.Snapshot()
				v := c.View(key)
				if v != nil && v.Revision() > s.Revision() { // as whoever resolves
					v = s.View(key)
				}
				if at > 0 && (v == nil || v.Revision() < rollcall.Revision(at)) {
					t.Errorf("at %d there is %+v", at, v)
					return
				}
			}
		})
	}
	for rev := rollcall.Revision(1); rev <= last; rev++ {
		write(t, c, rev, registered("a"))
	}
	readers.Wait()
}

// TestStampOfWhatIsGone: that a service is no more is a change of it.
func TestStampOfWhatIsGone(t *testing.T) {
	c := filled(t, 2, 1)
	key := rollcall.NewKey("", "service-0", "i-0")
	stamp, other := c.Stamp(key.ServiceKey), c.Stamp(rollcall.NewServiceKey("", "service-1"))
	before, beforeOther, rev := stamp.Load(), other.Load(), c.Snapshot().Revision()+1
	e := rollcall.Entry{Revision: rev, Changes: []rollcall.Change{{At: time.Unix(2, 0), Revision: rev, Body: rollcall.InstanceRemove{Key: key}}}}
	if err := c.Apply(e); err != nil {
		t.Fatal(err)
	}
	if stamp.Load() != before {
		t.Error("the stamp grew before the change could be seen")
	}
	c.Publish()
	empty := stamp.Load()
	c.Forget(time.Unix(3, 0), 0)
	if c.Publish(); c.View(key.ServiceKey) != nil || empty == before || stamp.Load() == empty {
		t.Errorf("the stamp was %d, %d when nobody was there any more, and is %d", before, empty, stamp.Load())
	}
	if stamp != other && other.Load() != beforeOther {
		t.Error("the stamp of another service grew")
	}
}
