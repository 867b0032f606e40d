//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

// mixed are 200 instances on 20 sessions, of 4 processes, and 50 that send
// heartbeats.
func mixed(addr, service string) (os []orders) {
	for n := range 4 {
		os = append(os, orders{Registry: addr, Service: service, Name: fmt.Sprintf("s%d", n), Clients: 5, Each: 10, Lease: sessionLease})
	}
	return append(os, orders{Registry: addr, Service: service, Name: "t", Clients: 5, Each: 10})
}

// TestRestart: that the server is killed and started again is no evidence
// against anybody.
func TestRestart(t *testing.T) {
	survive(t, func(t *testing.T, p *process.Process, dir string) *process.Process {
		p.Kill()
		return process.Serve(t, dir, "--http", p.Addr, "--grpc", p.GRPC)
	})
}

// TestRestartInOrder: nor that it is asked to stop, and started again.
func TestRestartInOrder(t *testing.T) {
	survive(t, func(t *testing.T, p *process.Process, dir string) *process.Process {
		began := time.Now()
		if err := p.Stop(t); err != nil {
			t.Error(err)
		}
		t.Logf("it stopped within %v", time.Since(began).Round(time.Millisecond))
		return process.Serve(t, dir, "--http", p.Addr, "--grpc", p.GRPC)
	})
}

// TestStopped: nor is that it stood still for 30 s, in which it heard of nobody.
func TestStopped(t *testing.T) {
	survive(t, func(_ *testing.T, p *process.Process, _ string) *process.Process {
		p.Signal(syscall.SIGSTOP)
		<-time.After(30 * time.Second) // which is what is tested
		p.Signal(syscall.SIGCONT)
		return p
	})
}

// survive does something to a server, and looks at what instances, watchers and
// callers make of it, for a TTL afterwards, over each wire.
func survive(t *testing.T, disturb func(t *testing.T, p *process.Process, dir string) *process.Process) {
	t.Parallel()
	for _, wire := range wires {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			outlive(t, wire, disturb)
		})
	}
}

func outlive(t *testing.T, wire string, disturb func(t *testing.T, p *process.Process, dir string) *process.Process) {
	const all = 250
	dir := t.TempDir()
	p := process.Serve(t, dir)
	addr := over(wire, p)
	fleets := launchAll(t, mixed(addr, "survivors")...)
	views := lasting(t.Context(), addr, "survivors")
	untilAll(t, views, 20*time.Second, "all are in", sees(all))
	asking := ask(t, addr, "survivors")

	p = disturb(t, p, dir)
	back := time.Now()
	process.Eventually(t, rollcall.DefaultTTL, func() error { return allHealthy(t, p, "survivors", all) })
	t.Logf("all are healthy %v after it was back", time.Since(back).Round(time.Millisecond))

	// Whoever was not heard from again would have lapsed now.
	untilHeard(t, views, back.Add(rollcall.DefaultTTL+2*time.Second))
	if err := errors.Join(allHealthy(t, p, "survivors", all), allKept(fleets, all)); err != nil {
		t.Error(err)
	}
	steady(t, views)
	asking.end(t, all)
	for ev, err := range p.Client.Events(t.Context(), rollcall.EventFilter{Service: "survivors"}) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type != "registered" && ev.Type != "updated" {
			t.Errorf("%s of %s: %v → %v, %s", ev.Type, ev.ID, ev.Before, ev.After, ev.Why)
		}
	}
}

// allKept is an error unless fleets keep so many leases, as far as they know.
func allKept(fleets []*fleet, want int) error {
	kept := 0
	for _, f := range fleets {
		answer, err := f.order("count")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(answer)
		if err != nil {
			return err
		}
		kept += n
	}
	if kept != want {
		return fmt.Errorf("%d of %d leases are kept", kept, want)
	}
	return nil
}

// allHealthy is an error unless a service has so many instances, all healthy.
func allHealthy(t *testing.T, p *process.Process, service string, want int) error {
	ans, err := p.Client.Resolve(t.Context(), rollcall.Query{Service: service, Health: "healthy"})
	if err != nil {
		return err
	}
	if len(ans.Instances) != want {
		return fmt.Errorf("%d of %d instances are healthy", len(ans.Instances), want)
	}
	return nil
}

// TestWiped kills a server, wipes its directory and starts another on it: all
// who were registered are again, with their latest data, though nobody did
// anything about it, and no watcher was told that they were not.
func TestWiped(t *testing.T) {
	t.Parallel()
	const all = 1000
	for _, way := range []struct {
		name          string
		clients, each int
		lease         rollcall.Lease
	}{
		{"heartbeats", all, 1, rollcall.Lease{}},
		{"sessions", 20, 50, sessionLease},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := process.Serve(t, dir)
			fleets := launchAll(t, orders{Registry: p.Addr, Service: "forgotten", Name: "f", Clients: way.clients, Each: way.each, Lease: way.lease})
			views := lasting(t.Context(), p.Addr, "forgotten")
			untilAll(t, views, 20*time.Second, "all are in", sees(all))
			if err := orderAll(fleets, "update latest"); err != nil {
				t.Fatal(err)
			}
			latest := func(i rollcall.Instance) bool { return i.Metadata["note"] == "latest" }
			asking := ask(t, p.Addr, "forgotten")

			p.Kill()
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			p = process.Serve(t, dir, "--http", p.Addr)
			ready := time.Now()
			// The server itself says who is back: watchers keep all whom they knew.
			back := follow("new watcher", "forgotten", watching(t.Context(), p.Addr, rollcall.Query{Service: "forgotten"}))
			var first, last time.Duration
			err := back.until(3*rollcall.DefaultTTL, "all are back, with their latest data", func(v *view) bool {
				n := 0
				for _, i := range v.in {
					if latest(i) {
						n++
					}
				}
				if n > 0 && first == 0 {
					first = time.Since(ready)
				}
				last = time.Since(ready)
				return n == all
			})
			if err != nil {
				t.Fatal(err)
			}
			const within = rollcall.DefaultTTL / 3 * 3 / 2
			t.Logf("the first of %d is back %v after the server was ready, the last after %v (target: %v)", all, first.Round(time.Millisecond), last.Round(time.Millisecond), within)
			if last > within {
				t.Errorf("it took %v; 1.5 heartbeat periods are %v", last, within)
			}
			// What did not come back would be gone from the watchers' views now.
			untilHeard(t, views, ready.Add(rollcall.DefaultTTL*3/2+2*time.Second))
			untilAll(t, views, time.Second, "all are in", sees(all))
			untilAll(t, views, time.Second, "all have their latest data", func(v *view) bool {
				for _, i := range v.in {
					if !latest(i) {
						return false
					}
				}
				return true
			})
			steady(t, views)
			asking.end(t, 0) // a new caller may find some of them
		})
	}
}
