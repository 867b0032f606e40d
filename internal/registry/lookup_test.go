package registry_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

var somewhere = netip.MustParseAddr("10.0.0.1")

func TestLookUp(t *testing.T) {
	r := start(t, memory.New())
	i := payments("p-1")
	i.Node = "Host-1"
	register(t, r, i)
	i.ID = "p-2"
	last := register(t, r, i)
	if item, err := r.Item(p1); err != nil || item.ID() != "p-1" {
		t.Errorf("%v, %v", item, err)
	}
	if v, err := r.Items(p1.ServiceKey); err != nil || v.Len() != 2 {
		t.Errorf("%v, %v", v, err)
	}
	if r.Revision() != last.Revision {
		t.Errorf("at revision %d, want %d", r.Revision(), last.Revision)
	}
	one := func(is []*catalog.Item, err error) {
		t.Helper()
		if err != nil || len(is) != 1 || is[0].Key() != p1 {
			t.Errorf("%v, %v", is, err)
		}
	}
	one(r.At(somewhere, 1))
	one(r.On("hOST-1", 1))
	if is, err := r.At(netip.MustParseAddr("10.0.0.2"), 1); err != nil || len(is) != 0 {
		t.Errorf("%v, %v where nobody is", is, err)
	}
	if _, err := r.Item(rollcall.NewKey("", "payments", "p-3")); !errors.Is(err, rollcall.ErrNotFound) || !strings.Contains(err.Error(), "p-3") {
		t.Errorf("%v", err)
	}
	if _, err := r.Items(rollcall.NewServiceKey("", "nobody")); !errors.Is(err, rollcall.ErrNotFound) {
		t.Errorf("%v", err)
	}

	// Those that come and go are seen by who asked before.
	if err := r.Deregister(t.Context(), p1, 0); err != nil {
		t.Fatal(err)
	}
	for _, find := range []func() ([]*catalog.Item, error){
		func() ([]*catalog.Item, error) { return r.At(somewhere, 10) },
		func() ([]*catalog.Item, error) { return r.On("host-1", 10) },
	} {
		if is, err := find(); err != nil || len(is) != 1 || is[0].ID() != "p-2" {
			t.Errorf("%v, %v", is, err)
		}
	}
}

// "Nobody" is not said where it may be wrong.
func TestLookUpWhenNothingIsKnown(t *testing.T) {
	want := func(r *registry.Registry, is error) {
		t.Helper()
		_, item := r.Item(p1)
		_, items := r.Items(p1.ServiceKey)
		_, at := r.At(somewhere, 1)
		_, on := r.On("host-1", 1)
		for n, err := range []error{item, items, at, on} {
			if !errors.Is(err, is) {
				t.Errorf("look-up %d: %v, want %v", n, err, is)
			}
		}
	}
	want(registry.New(unguarded(memory.New())), rollcall.ErrNotSynced)
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		if _, err := r.Items(p1.ServiceKey); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("%v", err)
		}
		_, _ = r.Resolve(t.Context(), &rollcall.Query{Service: "payments", After: rollcall.Token{Log: "ffffffffffffffff", Revision: 1}})
		want(r, rollcall.ErrSettling)
	})
}

// A drain waits for those who were told by DNS, and may keep it.
func TestDrainWaitsForWhatIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		i := payments("p-1")
		i.Lease.Mode = rollcall.LeaseNone
		register(t, r, i)
		r.Told(p1.ServiceKey, 5*time.Second)
		if ws, err := r.Watchers(t.Context(), p1.ServiceKey); err != nil || len(ws) != 1 || ws[0].Door != "dns" {
			t.Errorf("%+v, %v", ws, err)
		}
		if b, err := r.Drain(t.Context(), p1, true, 3*time.Second); err != nil || b.Pending != 1 {
			t.Errorf("%+v, %v", b, err)
		}
		start := time.Now()
		b, err := r.Seen(t.Context(), p1.ServiceKey, r.Revision(), time.Minute)
		if took := time.Since(start); err != nil || b.Acknowledged != 1 || b.Pending != 0 || took < 2*time.Second || took > 2200*time.Millisecond {
			t.Errorf("%+v, %v after %v", b, err, took)
		}
		if b, err = r.Drain(t.Context(), p1, true, time.Minute); err != nil || b.Acknowledged != 0 || b.Elapsed != 0 {
			t.Errorf("%+v, %v when nobody keeps it any more", b, err)
		}
	})
}
