package catalog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

func TestForget(t *testing.T) {
	c := New()
	at := time.Unix(1_700_000_000, 0).UTC()
	i := rollcall.Instance{Service: "s", ID: "i"}
	i.Normalize()
	put := func(rev rollcall.Revision, body rollcall.Body) {
		t.Helper()
		err := c.Apply(rollcall.Entry{Revision: rev, Changes: []rollcall.Change{{At: at, Revision: rev, Body: body}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Apply(rollcall.Entry{Reset: true}); err != nil {
		t.Fatal(err)
	}
	put(1, rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)})
	put(2, rollcall.InstancePut{Key: rollcall.NewKey("", "other", "i"), Record: record.Pack(&i)})
	put(3, rollcall.InstanceRemove{Key: i.Key()})
	c.Publish()
	c.Forget(at, 10)
	if s, _ := c.Publish(); s.View(i.Key().ServiceKey) == nil {
		t.Error("forgotten too early")
	}
	c.Forget(at.Add(time.Second), 10)
	s, events := c.Publish()
	if s.View(i.Key().ServiceKey) != nil || s.Services() != 1 || len(events) != 0 {
		t.Errorf("%d services with %d events, want the empty one gone silently", s.Services(), len(events))
	}
	put(4, rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)})
	if s, _ := c.Publish(); s.Services() != 2 || s.Item(i.Key()) == nil {
		t.Error("a forgotten service does not come back")
	}
}

// TestForgetChangesNothing: what the log says after something was forgotten means
// the same to whoever did not forget, or forgot at another time.
func TestForgetChangesNothing(t *testing.T) {
	first := time.Unix(1_700_000_000, 0).UTC()
	i := rollcall.Instance{Service: "Mail", ID: "i"}
	i.Normalize()
	again := rollcall.Instance{Service: "mail", ID: "i"}
	again.Normalize()
	held := &rollcall.Override{Status: rollcall.Unhealthy, Since: first}
	for _, tt := range []struct {
		name string
		body rollcall.Body
	}{
		{"put", rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&again)}},
		{"override taken back", rollcall.OverridePut{Key: i.Key()}},
		{"settings", rollcall.SettingsPut{Service: i.Key().ServiceKey, Settings: &rollcall.Settings{}}},
	} {
		for _, after := range []time.Duration{KnownFor - time.Minute, KnownFor, KnownFor + time.Nanosecond, KnownFor + skew/2, KnownFor + 2*skew} {
			at := first.Add(after)
			state := func(forget ...time.Duration) string {
				c := New()
				rev := rollcall.Revision(0)
				apply := func(at time.Time, body rollcall.Body) {
					t.Helper()
					rev++
					err := c.Apply(rollcall.Entry{Revision: rev, Changes: []rollcall.Change{{At: at, Revision: rev, Body: body}}})
					if err != nil {
						t.Fatal(err)
					}
				}
				if err := c.Apply(rollcall.Entry{Reset: true}); err != nil {
					t.Fatal(err)
				}
				apply(first, rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)})
				apply(first, rollcall.OverridePut{Key: i.Key(), Override: held})
				apply(first, rollcall.InstanceRemove{Key: i.Key()})
				for _, d := range forget {
					c.Forget(at.Add(d-KnownFor), 10)
				}
				apply(at, tt.body)
				c.Forget(at.Add(-KnownFor), 10)
				s, _ := c.Publish()
				v := s.View(i.Key().ServiceKey)
				if v == nil {
					return "forgotten"
				}
				item := v.Get("i")
				if item == nil {
					return v.Name()
				}
				return fmt.Sprint(v.Name(), " ", item.Status(), " ", item.Reason())
			}
			want := state()
			// By clocks that are right, ahead and behind.
			for _, d := range []time.Duration{0, skew / 2, -skew / 2} {
				if got := state(d); got != want {
					t.Errorf("%s after %v, forgotten by a clock that is %v ahead: %s, want %s", tt.name, after, d, got, want)
				}
			}
			if holds := strings.Contains(want, "override"); tt.name == "put" && holds != (after <= KnownFor) {
				t.Errorf("registered again after %v: %s", after, want)
			}
		}
	}
}

// TestNameOfEmpty: a service that is empty is called what its next instance
// calls it, whether or not it is still known by an earlier name: the registry
// puts that into the record if it is.
func TestNameOfEmpty(t *testing.T) {
	at := time.Unix(1_700_000_000, 0).UTC()
	c := filled(t, 0, 0)
	rev := c.Snapshot().Revision()
	for n, name := range []string{"Mail", "mail", "MAIL", "mail"} {
		i := rollcall.Instance{Service: name, ID: "i"}
		i.Normalize()
		for _, body := range []rollcall.Body{rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}, rollcall.InstanceRemove{Key: i.Key()}} {
			rev++
			if err := c.Apply(rollcall.Entry{Revision: rev, Changes: []rollcall.Change{{At: at, Revision: rev, Body: body}}}); err != nil {
				t.Fatal(err)
			}
		}
		if n%2 == 1 {
			c.Forget(at.Add(-time.Hour), 10)
		}
		if s, _ := c.Publish(); s.View(i.Key().ServiceKey).Name() != name {
			t.Errorf("called %s, want %s", s.View(i.Key().ServiceKey).Name(), name)
		}
	}
}

// TestForgetAmongNew forgets while services that are not published yet have
// changed the tree that is walked.
func TestForgetAmongNew(t *testing.T) {
	c := filled(t, 2000, 1)
	at := time.Unix(2, 0)
	rev := c.Snapshot().Revision()
	apply := func(body rollcall.Body) {
		rev++
		if err := c.Apply(rollcall.Entry{Revision: rev, Changes: []rollcall.Change{{At: at, Revision: rev, Body: body}}}); err != nil {
			t.Fatal(err)
		}
	}
	for v := range c.Snapshot().Views(rollcall.ServiceKey{}) {
		if v.Key().Service != "service-7" {
			apply(rollcall.InstanceRemove{Key: rollcall.Key{ServiceKey: v.Key(), ID: "i-0"}})
		}
	}
	c.Publish()
	at = at.Add(time.Hour)
	i := rollcall.Instance{Service: "new", ID: "i"}
	i.Normalize()
	for n := range 500 {
		apply(rollcall.InstancePut{Key: rollcall.NewKey("", fmt.Sprintf("new-%d", n), "i"), Record: record.Pack(&i)})
	}
	c.Forget(at, 10)
	s, _ := c.Publish()
	if s.Services() != 501 {
		t.Errorf("%d services are left, want the one with an instance and 500 new ones", s.Services())
	}
	n := 0
	for v := range s.Views(rollcall.ServiceKey{}) {
		if v.Len() != 1 {
			t.Errorf("%v is left", v.Key())
		}
		n++
	}
	if n != 501 {
		t.Errorf("%d names, want 501", n)
	}
}

// TestForgetOldestFirst: beyond the bound the oldest go, settings or not.
func TestForgetOldestFirst(t *testing.T) {
	c := filled(t, 0, 0)
	for n := range 20 {
		rev := rollcall.Revision(n + 1)
		err := c.Apply(rollcall.Entry{Revision: rev, Changes: []rollcall.Change{{
			At: time.Unix(int64(100-n), 0), Revision: rev,
			Body: rollcall.SettingsPut{Service: rollcall.NewServiceKey("", fmt.Sprint("s", n)), Settings: &rollcall.Settings{}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	c.Forget(time.Unix(0, 0), 5)
	s, _ := c.Publish()
	for n := range 20 {
		if got := s.View(rollcall.NewServiceKey("", fmt.Sprint("s", n))) != nil; got != (n < 5) {
			t.Errorf("service %d: there is %v", n, got)
		}
	}
}
