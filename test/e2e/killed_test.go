//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

var trials = flag.Int("trials", 100, "how many processes TestKilled kills in each way")

// lanes are how many services die at the same time.
const lanes = 4

var sessionLease = rollcall.Lease{Mode: rollcall.LeaseSession}

// TestKilled: a process that is killed with -9 is out of every watcher's view in
// half a second. The bounds that fail the test are wider: they are about the
// rules, not about the machine.
func TestKilled(t *testing.T) {
	for _, way := range []struct {
		name  string
		grpc  bool
		start func(o orders) (*fleet, error)
	}{
		{"program", false, func(o orders) (*fleet, error) {
			o.Clients, o.Each = 1, 1
			return launch(o)
		}},
		{"program over gRPC", true, func(o orders) (*fleet, error) {
			o.Clients, o.Each = 1, 1
			return launch(o)
		}},
		{"rollcall run", false, func(o orders) (*fleet, error) {
			// An address of its own: the port is known before anybody listens.
			o.Listen += ":7000"
			host := o.Listen[:len(o.Listen)-len(":7000")]
			return launch(o, rollcallPath(), "run", "--service", o.Service, "--id", o.Name, "--address", host, "--port", "7000", "--")
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			p := process.Serve(t, t.TempDir())
			registry := p.Addr
			if way.grpc {
				registry = "grpc://" + p.GRPC
			}
			var mu sync.Mutex
			took := map[string][]time.Duration{} // by watcher
			var all []time.Duration
			begin := time.Now()
			var g errgroup.Group
			for lane := range lanes {
				service := fmt.Sprintf("lane-%d", lane)
				launchAll(t, orders{Registry: registry, Service: service, Name: "stays", Clients: 1, Each: 3, Lease: sessionLease})
				views := append(watchers(t.Context(), p.Addr, service), follow("Go client over gRPC", service, watching(t.Context(), "grpc://"+p.GRPC, rollcall.Query{Service: service})))
				untilAll(t, views, 10*time.Second, "those who stay", sees(3))
				g.Go(func() error {
					for n := lane; n < *trials; n += lanes {
						o := orders{Registry: registry, Service: service, Name: fmt.Sprintf("dies-%d", n), Lease: sessionLease}
						if way.name == "rollcall run" {
							o.Listen = fmt.Sprintf("127.77.%d.%d", n>>8, n&255)
						}
						f, err := way.start(o)
						if err != nil {
							return err
						}
						told, err := dies(f, o.Name, views)
						if err != nil {
							return err
						}
						mu.Lock()
						for i, d := range told {
							took[views[i].name] = append(took[views[i].name], d)
							all = append(all, d)
						}
						mu.Unlock()
					}
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			for name, ds := range took {
				p50, p99, most := spread(ds)
				t.Logf("%-24s %d deaths: p50 %v, p99 %v, max %v", name, len(ds), p50, p99, most)
			}
			p50, p99, most := spread(all)
			t.Logf("%-24s %d deaths in %v: p50 %v, p99 %v, max %v (target: p99 500 ms, max 1 s)",
				"all watchers", *trials, time.Since(begin).Round(time.Second), p50, p99, most)
			if p99 > time.Second || most > 3*time.Second {
				t.Errorf("p99 %v, max %v; 1 s and 3 s are too long on any machine", p99, most)
			}
		})
	}
}

// dies kills a process once all watchers know its instance, and returns after
// what time each of them was told.
func dies(f *fleet, id string, views []*view) (told []time.Duration, err error) {
	defer f.kill()
	for _, v := range views {
		if err := v.until(20*time.Second, id+" is in", func(v *view) bool { _, in := v.in[id]; return in }); err != nil {
			return nil, err
		}
	}
	// Or all would die in step with the server's clock, which told of the last.
	<-time.After(rand.N(100 * time.Millisecond))
	at := time.Now()
	f.strike()
	for _, v := range views {
		var when time.Time
		if err := v.until(20*time.Second, id+" is out", func(v *view) bool { when = v.left[id]; return !when.IsZero() }); err != nil {
			return nil, err
		}
		told = append(told, when.Sub(at))
	}
	return told, nil
}
