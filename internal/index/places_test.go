package index

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// at returns an instance of a service that runs somewhere.
func at(service, id, address, node string) rollcall.Body {
	i := rollcall.Instance{Service: service, ID: id, Address: address, Node: node}
	i.Normalize()
	return rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}
}

func gone(service, id string) rollcall.Body {
	return rollcall.InstanceRemove{Key: rollcall.Key{ServiceKey: rollcall.NewServiceKey("", service), ID: id}}
}

func newPlaces(t testing.TB) *world {
	w := newWorld(t, 0)
	w.table.o.Snapshot = w.catalog.Snapshot
	return w
}

func names(items []*catalog.Item) string {
	var all []string
	for _, i := range items {
		all = append(all, i.Key().Service+"/"+i.ID())
	}
	return strings.Join(all, " ")
}

func (w *world) expectAt(address, want string) {
	w.t.Helper()
	if got := names(w.table.At(netip.MustParseAddr(address), 100)); got != want {
		w.t.Errorf("at %s: %q, want %q", address, got, want)
	}
}

func (w *world) expectOn(node, want string) {
	w.t.Helper()
	if got := names(w.table.On(node, 100)); got != want {
		w.t.Errorf("on %s: %q, want %q", node, got, want)
	}
}

func TestPlaces(t *testing.T) {
	w := newPlaces(t)
	w.apply(at("b", "1", "10.0.0.1", "Host-1"), at("a", "2", "10.0.0.1", "host-2"), at("a", "1", "::ffff:10.0.0.1", "HOST-1"), at("a", "6", "fd00:0::1", ""), at("a", "h", "web.example.com", "host-2"))
	for range 2 { // once made, once kept
		w.expectAt("10.0.0.1", "a/1 a/2 b/1")
		w.expectAt("::ffff:10.0.0.1", "a/1 a/2 b/1")
		w.expectAt("fd00::1", "a/6")
		w.expectAt("10.0.0.2", "")
		w.expectOn("host-1", "a/1 b/1")
		w.expectOn("hOST-2", "a/2 a/h")
		w.expectOn("", "")
	}
	if got := names(w.table.At(netip.MustParseAddr("10.0.0.1"), 2)); got != "a/1 a/2" {
		t.Errorf("at most two are %q", got)
	}
	if got := w.table.At(netip.Addr{}, 2); got != nil {
		t.Errorf("nowhere are %q", names(got))
	}

	// They move, change their health, and go.
	w.apply(at("a", "2", "10.0.0.2", "host-1"), at("c", "1", "10.0.0.1", "host-1"))
	w.expectAt("10.0.0.1", "a/1 b/1 c/1")
	w.expectAt("10.0.0.2", "a/2")
	w.expectOn("host-1", "a/1 a/2 b/1 c/1")
	w.expectOn("host-2", "a/h")
	w.apply(rollcall.HealthPut{Service: rollcall.NewServiceKey("", "b"), Slot: rollcall.SlotStatus, Status: rollcall.Unhealthy, IDs: []string{"1"}}, gone("a", "1"))
	w.expectAt("10.0.0.1", "b/1 c/1")
	if b := w.table.At(netip.MustParseAddr("10.0.0.1"), 1)[0]; b.Status() != rollcall.Unhealthy {
		t.Errorf("it is %v", b.Status())
	}
	w.apply(at("b", "1", "web.example.com", ""), at("a", "h", "10.0.0.1", ""))
	w.expectAt("10.0.0.1", "a/h c/1")
	w.expectOn("host-2", "")
}

// Nothing is kept until somebody asks, nor when nobody has for ten minutes.
func TestPlacesComeAndGo(t *testing.T) {
	w := newPlaces(t)
	w.apply(at("a", "1", "10.0.0.1", "host-1"))
	if w.table.addresses.dir != nil || w.table.nodes.dir != nil {
		t.Error("it is indexed, and nobody asked")
	}
	w.expectAt("10.0.0.1", "a/1")
	if w.table.nodes.dir != nil {
		t.Error("nodes are indexed when addresses are asked for")
	}
	start := time.Now()
	w.table.Sweep(start)
	w.table.Sweep(start.Add(kept - 1))
	w.expectAt("10.0.0.1", "a/1")
	w.table.Sweep(start.Add(kept)) // which sees that it was used
	w.table.Sweep(start.Add(2*kept - 1))
	if w.table.addresses.dir == nil {
		t.Error("it was given up too early")
	}
	w.table.Sweep(start.Add(2 * kept))
	if w.table.addresses.dir != nil || w.table.addresses.some.Load() {
		t.Error("it is kept, and nobody asks")
	}
	w.apply(at("a", "2", "10.0.0.1", "host-1"))
	w.expectAt("10.0.0.1", "a/1 a/2")

	// After a reset nothing of it is true any more.
	w.reset = true
	w.apply(at("a", "3", "10.0.0.1", "host-1"))
	w.expectAt("10.0.0.1", "a/3")
}

// TestPlacesAreGivenUpMeanwhile: who waited for what is given up by then has it made anew.
func TestPlacesAreGivenUpMeanwhile(t *testing.T) {
	w := newPlaces(t)
	w.apply(at("a", "1", "10.0.0.1", "host-1"))
	made := 0
	w.table.o.Snapshot = func() *catalog.Snapshot {
		s := w.catalog.Snapshot()
		if made++; made == 1 {
			w.table.addresses.drop()
			w.apply(at("a", "2", "10.0.0.1", "host-1"))
		}
		return s
	}
	w.expectAt("10.0.0.1", "a/1 a/2")
	if made != 2 {
		t.Errorf("made %d times", made)
	}
}

// What happens while it is made is in it, and what the snapshot has already is no
// news.
func TestPlacesAreMadeMeanwhile(t *testing.T) {
	w := newPlaces(t)
	w.apply(at("a", "1", "10.0.0.1", ""), at("a", "2", "10.0.0.1", ""))
	w.table.o.Snapshot = func() *catalog.Snapshot {
		w.apply(at("a", "1", "10.0.0.2", ""))
		w.apply(at("a", "1", "10.0.0.3", ""), gone("a", "2"))
		s := w.catalog.Snapshot()
		w.apply(at("a", "3", "10.0.0.1", ""), at("a", "1", "10.0.0.4", ""))
		return s
	}
	w.expectAt("10.0.0.1", "a/3")
	w.expectAt("10.0.0.2", "")
	w.expectAt("10.0.0.3", "")
	w.expectAt("10.0.0.4", "a/1")
}

// Those who ask all the while see, of what does not change, all and nothing else; and
// in the end what a scan finds.
func TestPlacesModel(t *testing.T) {
	r := random(t)
	w := newPlaces(t)
	address := func(n int) string { return fmt.Sprintf("10.0.0.%d", n) }
	w.apply(at("still", "1", address(200), "still"), at("still", "2", address(200), "Still"))
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for range 3 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				w.expectAt(address(200), "still/1 still/2")
				w.expectOn("STILL", "still/1 still/2")
				a := netip.MustParseAddr(address(rand.IntN(20)))
				for _, i := range w.table.At(a, 5) {
					if got, ok := addressOf(i); !ok || got != a {
						t.Errorf("%v is at %v, not %v", i.Key(), got, a)
					}
				}
			}
		})
	}
	scan := func(match func(node, address string) bool) (all []string) {
		for v := range w.catalog.Snapshot().Views(rollcall.ServiceKey{}) {
			for i := range v.All() {
				if match(record.Place(i.Record())) {
					all = append(all, i.Key().Service+"/"+i.ID())
				}
			}
		}
		return all
	}
	now := time.Now()
	for n := range 3000 {
		var bodies []rollcall.Body
		for range 1 + r.IntN(3) {
			service, id := string(rune('a'+r.IntN(4))), fmt.Sprint(r.IntN(20))
			switch r.IntN(5) {
			case 0:
				bodies = append(bodies, gone(service, id))
			case 1:
				bodies = append(bodies, rollcall.HealthPut{Service: rollcall.NewServiceKey("", service), Slot: rollcall.SlotStatus, Status: rollcall.Status(1 + r.IntN(2)), IDs: []string{id}})
			default:
				bodies = append(bodies, at(service, id, address(r.IntN(20)), fmt.Sprint("Node-", r.IntN(5))))
			}
		}
		w.apply(bodies...)
		switch {
		case n%500 == 0:
			w.table.addresses.drop()
			w.table.nodes.drop()
		case n%100 == 0:
			now = now.Add(kept / 2)
			w.table.Sweep(now)
		}
		if n%10 != 0 {
			continue
		}
		a, node := address(r.IntN(20)), fmt.Sprint("nOde-", r.IntN(5))
		got := strings.Fields(names(w.table.At(netip.MustParseAddr(a), 1000)))
		if diff := gocmp.Diff(scan(func(_, address string) bool { return address == a }), got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("at %s after %d (-scan +index):\n%s", a, n, diff)
		}
		got = strings.Fields(names(w.table.On(node, 1000)))
		if diff := gocmp.Diff(scan(func(n, _ string) bool { return strings.EqualFold(n, node) }), got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("on %s after %d (-scan +index):\n%s", node, n, diff)
		}
	}
	close(stop)
	asking.Wait()
}

// BenchmarkPlaces is what it costs to make and to keep the index of a million
// addresses, and to ask it.
func BenchmarkPlaces(b *testing.B) {
	const all = 1_000_000
	w := newPlaces(b)
	where := func(n int) string { return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String() }
	var bodies []rollcall.Body
	for n := range all {
		bodies = append(bodies, at(fmt.Sprint("s", n%1000), fmt.Sprint(n), where(n), ""))
	}
	w.apply(bodies...)
	a := netip.MustParseAddr(where(77))
	b.Run("make", func(b *testing.B) {
		for b.Loop() {
			w.table.addresses.drop()
			w.table.At(a, 1)
		}
	})
	b.Run("ask", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.table.At(a, 32)
		}
	})
	b.Run("apply", func(b *testing.B) {
		i := w.table.At(a, 1)[0]
		events := []catalog.Event{{ID: i.ID(), Before: i, After: i}}
		b.ReportAllocs()
		for b.Loop() {
			w.table.addresses.apply(events)
		}
	})
	b.Run("apply without", func(b *testing.B) {
		w.table.addresses.drop()
		i := w.catalog.Snapshot()
		for b.Loop() {
			w.table.Apply(i, nil)
		}
	})
}
