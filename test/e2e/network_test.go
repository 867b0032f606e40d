//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/test/process"
)

// keepInstances is the role of a process that keeps instances: at a registry, so
// many by heartbeats and so many by a session each. All of them are this process,
// which can be connected to.
func keepInstances(t *testing.T, args []string) {
	beats, err1 := strconv.Atoi(args[1])
	streams, err2 := strconv.Atoi(args[2])
	if err1 != nil || err2 != nil {
		t.Fatal(args)
	}
	port := acceptAll(t)
	keep := func(c *client.Client, service string, n int, mode rollcall.LeaseMode) {
		if _, err := c.Register(t.Context(), rollcall.Instance{
			Service: service, ID: fmt.Sprintf("%s-%d", service, n), Ports: map[string]uint16{"default": port},
			Lease: rollcall.Lease{Mode: mode},
		}); err != nil {
			t.Fatal(err)
		}
	}
	dial := func() *client.Client {
		c, err := client.Dial(args[0])
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one := dial()
	for n := range beats {
		keep(one, "beat", n, rollcall.LeaseTTL)
	}
	for n := range streams {
		keep(dial(), "stream", n, rollcall.LeaseSession)
	}
	say("registered")
}

// acceptAll takes connections, and no more of them, at a port.
func acceptAll(t *testing.T) (port uint16) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process, or with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// removals watches everything, beside the server, and notes whom it loses: from
// the answers, or altogether.
type removals struct {
	mu   sync.Mutex
	lost []string
	seen map[string]bool
}

func watchAll(t *testing.T, p *process.Process) *removals {
	t.Helper()
	r := &removals{seen: map[string]bool{}}
	opened := make(chan struct{})
	var once sync.Once
	var watching sync.WaitGroup
	t.Cleanup(watching.Wait) // the context of the test has ended by then
	watching.Go(func() {
		for ev, err := range p.Client.Watch(t.Context(), rollcall.Query{}) {
			if err != nil {
				return
			}
			once.Do(func() { close(opened) })
			r.take(&ev)
		}
	})
	<-opened
	return r
}

func (r *removals) take(ev *client.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch ev.Type {
	case client.EventRemove:
		r.lost = append(r.lost, fmt.Sprintf("%s/%s: %s", ev.Service, ev.ID, ev.Reason))
	case client.EventReset:
		r.lost = append(r.lost, "a reset")
	case client.EventPut:
		r.seen[ev.Service+"/"+ev.Instance.ID] = true
	}
}

// count returns how many instances were seen, and who was lost.
func (r *removals) count() (seen int, lost []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen), slices.Clone(r.lost)
}

// statuses counts all instances by status.
func statuses(t *testing.T, p *process.Process) map[rollcall.Status]int {
	t.Helper()
	st, err := p.Client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.Health
}

// TestNetworkCut cuts the wire between a registry and all instances for half a
// minute. Nobody is taken out or removed, all answers stay whole, and once the
// wire is whole again all are as before without a hand.
func TestNetworkCut(t *testing.T) {
	t.Parallel()
	const each, cutFor, healsWithin = 20, 30, 15 * time.Second
	for n, tt := range []struct {
		name   string
		oneWay bool
		grpc   bool
	}{{"both ways", false, false}, {"from the instances", true, false}, {"both ways, over gRPC", false, true}, {"from the instances, over gRPC", true, true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wire := process.NewNetwork(t, n)
			p := wire.Serve(t)
			watched := watchAll(t, p)
			addr := p.Addr
			if tt.grpc {
				addr = "grpc://" + p.GRPC
			}
			play(t, wire.Inside(), "keep", addr, strconv.Itoa(each), strconv.Itoa(each))
			whole := map[rollcall.Status]int{rollcall.Healthy: 2 * each}
			process.Eventually(t, 10*time.Second, func() error {
				if got := statuses(t, p); got[rollcall.Healthy] != 2*each {
					return fmt.Errorf("%v, want %v", got, whole)
				}
				return nil
			})

			wire.Cut(t, tt.oneWay)
			second := time.NewTicker(time.Second)
			defer second.Stop()
			var got map[rollcall.Status]int
			for range cutFor {
				<-second.C
				for _, service := range []string{"beat", "stream"} {
					ans, err := p.Client.Resolve(t.Context(), rollcall.Query{Service: service})
					if err != nil || len(ans.Instances) != each {
						t.Errorf("%s: an answer of %d, %v", service, len(ans.Instances), err)
					}
				}
				if got = statuses(t, p); got[rollcall.Healthy]+got[rollcall.Suspect] != 2*each {
					t.Errorf("cut off they are %v", got)
				}
			}
			if got[rollcall.Suspect] != 2*each {
				t.Errorf("at the end of the cut they are %v; was there one?", got)
			}
			guards, err := p.Client.Guards(t.Context())
			if err != nil || len(guards) == 0 {
				t.Errorf("guards %+v, %v", guards, err)
			}

			wire.Heal(t)
			healed := time.Now()
			process.Eventually(t, healsWithin, func() error {
				if got := statuses(t, p); got[rollcall.Healthy] != 2*each {
					return fmt.Errorf("healed, they are %v, want %v", got, whole)
				}
				return nil
			})
			t.Logf("all were healthy %v after the cut", time.Since(healed).Round(100*time.Millisecond))
			process.Eventually(t, 10*time.Second, func() error {
				if guards, err := p.Client.Guards(t.Context()); err != nil || len(guards) > 0 {
					return fmt.Errorf("guards %+v, %v; want none any more", guards, err)
				}
				return nil
			})
			begun, ended := map[string]int{}, map[string]int{}
			for ev, err := range p.Client.Events(t.Context(), rollcall.EventFilter{}) {
				if err != nil {
					t.Fatal(err)
				}
				switch ev.Type {
				case "guard":
					begun[ev.Service]++
				case "guard_ended":
					ended[ev.Service]++
				case "removed":
					t.Errorf("%s was removed: %s", ev.ID, ev.Why)
				}
			}
			if len(begun) == 0 || fmt.Sprint(begun) != fmt.Sprint(ended) {
				t.Errorf("guards begun %v and ended %v, by service", begun, ended)
			}
			if seen, lost := watched.count(); seen != 2*each || len(lost) > 0 {
				t.Errorf("a watcher saw %d instances, and lost %q", seen, lost)
			}
		})
	}
}
