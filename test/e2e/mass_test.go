//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

// ten are ten processes of fifty instances.
func ten(addr, service string, lease rollcall.Lease) (os []orders) {
	for n := range 10 {
		os = append(os, orders{Registry: addr, Service: service, Name: fmt.Sprintf("p%d", n), Clients: 5, Each: 10, Lease: lease})
	}
	return os
}

// TestMassDeath kills eight of ten processes at once, and a small one at whose
// address somebody still answers. That so many fall silent is not believed, until
// their ports refuse: then they are out. Those who may live stay in answers, and
// the guard on, until their port refuses as well: then it ends by itself.
func TestMassDeath(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name  string
		lease rollcall.Lease
	}{{"sessions", sessionLease}, {"heartbeats", rollcall.Lease{TTL: rollcall.Duration(5 * time.Second)}}} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			somebody, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer somebody.Close()
			p := process.Serve(t, t.TempDir())
			fleets := launchAll(t, append(ten(p.Addr, "mass", way.lease), orders{
				Registry: p.Addr, Service: "mass", Name: "unclear", Clients: 1, Each: 10, Lease: way.lease, Claim: somebody.Addr().String(),
			})...)
			dead, alive := slices.Concat(fleets[2:10], fleets[10:]), fleets[:2]
			views := watchers(t.Context(), p.Addr, "mass")
			untilAll(t, views, 20*time.Second, "all are in", sees(510))

			at := time.Now()
			for _, f := range dead {
				f.strike()
			}
			untilAll(t, views, 15*time.Second, "the dead are out", sees(110))
			first, last := parting(views, at)
			t.Logf("the first of 400 is out after %v, the last after %v (target: 15 s)", first.Round(time.Millisecond), last.Round(time.Millisecond))
			process.Eventually(t, 15*time.Second, func() error { return guardShown(t, p, 10) })

			somebody.Close()
			untilAll(t, views, 15*time.Second, "only the living are in", sees(100))
			process.Eventually(t, 5*time.Second, func() error {
				if gs, err := p.Client.Guards(t.Context()); err != nil || len(gs) > 0 {
					return fmt.Errorf("guards %v, %v", gs, err)
				}
				return nil
			})
			for _, v := range views {
				v.mu.Lock()
				for id := range v.left {
					if strings.HasPrefix(id, "p0-") || strings.HasPrefix(id, "p1-") {
						t.Errorf("%s was told that %s left, which lives", v.name, id)
					}
				}
				if v.empty > 0 {
					t.Errorf("%s was told that nobody is there", v.name)
				}
				v.mu.Unlock()
			}
			if err := allKept(alive, 100); err != nil {
				t.Error(err)
			}
			guardLogged(t, p)
		})
	}
}

// parting returns after what times the first and the last watcher was told that
// somebody left.
func parting(views []*view, at time.Time) (first, last time.Duration) {
	first = time.Hour
	for _, v := range views {
		v.mu.Lock()
		for _, when := range v.left {
			first, last = min(first, when.Sub(at)), max(last, when.Sub(at))
		}
		v.mu.Unlock()
	}
	return first, last
}

// guardShown is an error unless an operator is shown the guard, and that it holds
// so many.
func guardShown(t *testing.T, p *process.Process, held int) error {
	if gs, err := p.Client.Guards(t.Context()); err != nil || len(gs) != 1 || gs[0].Held != held {
		return fmt.Errorf("guards %+v, %v; want one that holds %d", gs, err, held)
	}
	guards, err := command(p.Addr, "guards")
	if err != nil {
		return err
	}
	why, err := command(p.Addr, "why", "mass")
	if err != nil {
		return err
	}
	one, err := command(p.Addr, "why", "mass", "unclear-0")
	if err != nil {
		return err
	}
	for _, has := range []struct{ text, part string }{
		{guards, "silence alone may take out"}, {why, "rollcall: a guard on "}, {one, "yes"}, {one, "suspect"}, {one, "for too many at once"},
	} {
		if !strings.Contains(has.text, has.part) {
			return fmt.Errorf("%q is not in:\n%s", has.part, has.text)
		}
	}
	warning, _, _ := strings.Cut(why, "\n")
	t.Logf("\n%s%s\n%s", guards, warning, one)
	return nil
}

// guardLogged fails the test unless the history tells of guards that began and
// ended, by nobody's hand.
func guardLogged(t *testing.T, p *process.Process) {
	t.Helper()
	seen := map[string]int{}
	for ev, err := range p.Client.Events(t.Context(), rollcall.EventFilter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == "guard" || ev.Type == "guard_ended" {
			seen[ev.Type]++
			t.Log(ev.At.Format(time.TimeOnly), ev.Type, ev.By, ev.Why)
			if ev.By != "rollcall" {
				t.Errorf("%s by %s", ev.Type, ev.By)
			}
		}
	}
	if seen["guard"] == 0 || seen["guard"] != seen["guard_ended"] {
		t.Errorf("the history has %v", seen)
	}
}

// TestScaleToZero: what is taken out on purpose is not guarded, and watchers are
// told at once.
func TestScaleToZero(t *testing.T) {
	for _, way := range []struct {
		name  string
		lease rollcall.Lease
	}{{"sessions", sessionLease}, {"heartbeats", rollcall.Lease{}}} {
		t.Run(way.name, func(t *testing.T) {
			p := process.Serve(t, t.TempDir())
			fleets := launchAll(t, ten(p.Addr, "zero", way.lease)...)
			views := watchers(t.Context(), p.Addr, "zero")
			untilAll(t, views, 20*time.Second, "all are in", sees(500))
			at := time.Now()
			if err := orderAll(fleets, "close"); err != nil {
				t.Fatal(err)
			}
			done := time.Now()
			untilAll(t, views, 10*time.Second, "nobody is in", sees(0))
			_, took := parting(views, at)
			t.Logf("all 500 are out for all watchers %v after the first said goodbye, %v after the last was answered (target: 1 s)",
				took.Round(100*time.Microsecond), (took - done.Sub(at)).Round(100*time.Microsecond))
			if took > 3*time.Second {
				t.Errorf("%v is too long on any machine", took)
			}
		})
	}
}
