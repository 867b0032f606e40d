//go:build e2e

package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

// TestPartition cuts the wire between a registry and clients that speak gRPC, for a
// shorter and a longer time than their leases last. Requests go on by what the callers
// know; nobody is removed, and all is as before once the wire is whole, without a hand.
func TestPartition(t *testing.T) {
	t.Parallel()
	const clients, each = 5, 4
	for n, cut := range []time.Duration{5 * time.Second, 20 * time.Second} {
		t.Run(cut.String(), func(t *testing.T) {
			t.Parallel()
			wire := process.NewNetwork(t, 5+n)
			p := wire.Serve(t)
			watched := watchAll(t, p)
			o := orders{Registry: over("grpc", p), Listen: wire.Away + ":0", Service: "parted", Name: "far", Clients: clients, Each: each, Lease: sessionLease}
			instances := launchInside(t, wire, o)
			o.As, o.Name, o.Rate = "caller", "web", 100
			caller := launchInside(t, wire, o)
			sees := func(age time.Duration) func() error {
				return func() error {
					if is := tallyOf(t, caller, "count"); len(is.View) != clients*each || is.Age > age {
						return fmt.Errorf("a caller knows of %d, %v ago", len(is.View), is.Age)
					}
					return nil
				}
			}
			process.Eventually(t, 10*time.Second, sees(6*time.Second))
			process.Eventually(t, 10*time.Second, func() error { return allHealthy(t, p, "parted", clients*each) })
			registered := metric(t, p, "rollcall_registrations_total")

			wire.Cut(t, false)
			<-time.After(cut) // which is what is tested
			is := tallyOf(t, caller, "count")
			t.Logf("at the end of the cut the view is %v old; server: %v", is.Age.Round(time.Millisecond), statuses(t, p))
			if is.Age < cut-time.Second {
				t.Error("was there a cut?")
			}
			wire.Heal(t)
			healed := time.Now()
			process.Eventually(t, 20*time.Second, func() error { return allHealthy(t, p, "parted", clients*each) })
			took := time.Since(healed)
			process.Eventually(t, 20*time.Second, sees(cut))
			t.Logf("all were healthy %v after the cut, and the view current after %v; %v were registered again",
				took.Round(time.Millisecond), time.Since(healed).Round(time.Millisecond), metric(t, p, "rollcall_registrations_total")-registered)
			if err := allKept([]*fleet{instances}, clients*each); err != nil {
				t.Error(err)
			}
			if is := tallyOf(t, caller, "stop"); is.failures() > 0 || len(is.Lost) > 0 {
				t.Errorf("of %d requests failed %v, %q; lost from the view: %v", is.Sent, is.Failed, is.Errors, is.Lost)
			}
			if _, lost := watched.count(); len(lost) > 0 {
				t.Errorf("a watcher lost %q", lost)
			}
		})
	}
}

// launchInside is launchAll for one process at the other end of a wire.
func launchInside(t *testing.T, n *process.Network, o orders) *fleet {
	t.Helper()
	f, err := launch(o, n.Inside()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.kill)
	return f
}

// TestSuspended has a process of one instance stand still for twice its lease, as on a
// machine that was put to sleep, and a caller as well. The registry takes the instance
// out; both are back by themselves within seconds.
func TestSuspended(t *testing.T) {
	t.Parallel()
	const others = 12
	for _, wire := range wires {
		t.Run(wire, func(t *testing.T) {
			t.Parallel()
			p := process.Serve(t, t.TempDir())
			o := orders{Registry: over(wire, p), Service: "suspended", Clients: others, Each: 1, Lease: rollcall.Lease{
				Mode: rollcall.LeaseSession, RemoveAfter: rollcall.Duration(5 * time.Second),
			}}
			one := o
			one.Name, one.Clients = "sleeper", 1
			o.Name = "other"
			caller := o
			caller.As, caller.Name, caller.Rate = "caller", "web", 50
			fleets := launchAll(t, o, one)
			asleep := []*fleet{fleets[1], launchAll(t, caller)[0]}
			if err := orderAll(fleets, "update latest"); err != nil {
				t.Fatal(err)
			}
			watched := listen(t, p.Client, "suspended")
			process.Eventually(t, 10*time.Second, func() error {
				if is := tallyOf(t, asleep[1], "count"); len(is.View) != others+1 {
					return fmt.Errorf("a caller knows of %d", len(is.View))
				}
				return nil
			})

			for _, f := range asleep {
				freeze(t, f.pid)
			}
			stopped := time.Now()
			// Somebody comes whom the sleepers do not hear of.
			o.Name, o.Clients = "late", 1
			launchAll(t, o)
			process.Eventually(t, 30*time.Second, func() error { return watched.has("remove0sleeper[] ") })
			t.Logf("removed %v after it stood still", time.Since(stopped).Round(time.Millisecond))
			<-time.After(time.Until(stopped.Add(30 * time.Second))) // which is what is tested
			for _, f := range asleep {
				syscall.Kill(f.pid, syscall.SIGCONT)
			}
			woken := time.Now()
			process.Eventually(t, 10*time.Second, func() error { return watched.has("put sleeper latest") })
			took := time.Since(woken)
			process.Eventually(t, 10*time.Second, func() error {
				if is := tallyOf(t, asleep[1], "count"); len(is.View) != others+2 || is.Age > 6*time.Second {
					return fmt.Errorf("a caller knows of %d, %v ago", len(is.View), is.Age)
				}
				return nil
			})
			t.Logf("it was back %v after it went on, and a caller's view %v after", took.Round(time.Millisecond), time.Since(woken).Round(time.Millisecond))
			process.Eventually(t, 10*time.Second, func() error { return allKept(fleets, others+1) })
		})
	}
}
