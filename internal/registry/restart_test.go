package registry_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// during runs a registry on a log for as long as test takes. It ends without a
// checkpoint.
func during(t *testing.T, log registry.Log, test func(r *registry.Registry)) {
	t.Helper()
	duringWith(t, unguarded(log), test)
}

func duringWith(t *testing.T, o registry.Options, test func(r *registry.Registry)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := registry.New(o)
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	if err := r.WaitSynced(ctx); err != nil {
		t.Fatal(err)
	}
	r.Serving()
	synctest.Wait()
	test(r)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// checkpoint gives a log the registry's state as an image.
func checkpoint(t *testing.T, r *registry.Registry, log registry.Log) {
	t.Helper()
	b := told(t, r, rollcall.Query{Health: "any"})
	if err := log.Checkpoint(t.Context(), b.State.Revision(), b.State.State()); err != nil {
		t.Fatal(err)
	}
}

// told returns the first that a watcher is told.
func told(t *testing.T, r *registry.Registry, q rollcall.Query) *watch.Batch {
	t.Helper()
	sub, _, err := r.Watch(t.Context(), &q, watch.Reader{})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	b, err := sub.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func renew(t *testing.T, r *registry.Registry, key rollcall.Key, rep *rollcall.Report) {
	t.Helper()
	if _, err := r.Renew(t.Context(), key, rep); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func wantStatus(t *testing.T, r *registry.Registry, key rollcall.Key, want rollcall.Status, when string) {
	t.Helper()
	synctest.Wait()
	if i := instance(t, r, key); i.Health.Status != want {
		t.Errorf("%s it is %v (%s), want %v", when, i.Health.Status, i.Health.Reason, want)
	}
}

// checked is an instance whose lease is looked at anew after a restart, because
// it has a check.
func checked() rollcall.Instance {
	i := payments("p-1")
	i.Checks = []rollcall.Check{{Name: "c", Type: rollcall.CheckTTL, TTL: rollcall.Duration(time.Hour)}}
	return i
}

var good = &rollcall.Report{Checks: map[string]rollcall.CheckReport{"c": {Status: rollcall.Healthy}}}

// TestMarkedOverRestart: one that was marked is still marked after a restart,
// whatever is between its registration and the end of the log; its first renewal
// ends that, and silence its registration, a TTL and remove_after later.
func TestMarkedOverRestart(t *testing.T) {
	for name, i := range map[string]rollcall.Instance{"plain": payments("p-1"), "with a check": checked()} {
		for _, image := range []string{"none", "before it was marked", "after"} {
			t.Run(name+", checkpoint "+image, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mark := func() *memory.Log {
						log := memory.New()
						during(t, log, func(r *registry.Registry) {
							register(t, r, i)
							if len(i.Checks) > 0 {
								renew(t, r, p1, good)
							}
							if image == "before it was marked" {
								checkpoint(t, r, log)
							}
							time.Sleep(16 * time.Second)
							wantStatus(t, r, p1, rollcall.Unhealthy, "silent before the restart,")
							if image == "after" {
								checkpoint(t, r, log)
							}
						})
						return log
					}
					during(t, mark(), func(r *registry.Registry) {
						wantStatus(t, r, p1, rollcall.Unhealthy, "silent, right after the restart")
						time.Sleep(10 * time.Second)
						renew(t, r, p1, nil)
						wantStatus(t, r, p1, rollcall.Healthy, "renewed after the restart,")
						time.Sleep(14 * time.Second)
						wantStatus(t, r, p1, rollcall.Healthy, "within a TTL of that")
						time.Sleep(2 * time.Second)
						wantStatus(t, r, p1, rollcall.Unhealthy, "after a TTL of that")
					})
					during(t, mark(), func(r *registry.Registry) {
						removeAfter := time.Duration(instance(t, r, p1).Lease.RemoveAfter)
						time.Sleep(15*time.Second + removeAfter - time.Second)
						wantStatus(t, r, p1, rollcall.Unhealthy, "silent for less than a TTL and remove_after")
						time.Sleep(2 * time.Second)
						if _, err := r.Instance(t.Context(), p1); err == nil {
							t.Error("silent for a TTL and remove_after, it is still there")
						}
					})
				})
			})
		}
	}
}

// TestRevivedOverRestart: a checkpoint says that an instance was marked, and the
// log behind it that it was heard from again. Nobody could hear it since: it has
// a whole TTL.
func TestRevivedOverRestart(t *testing.T) {
	for name, i := range map[string]rollcall.Instance{"plain": payments("p-1"), "with a check": checked()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := memory.New()
				during(t, log, func(r *registry.Registry) {
					register(t, r, i)
					if len(i.Checks) > 0 {
						renew(t, r, p1, good)
					}
					time.Sleep(16 * time.Second)
					checkpoint(t, r, log)
					renew(t, r, p1, nil)
					wantStatus(t, r, p1, rollcall.Healthy, "before the restart")
				})
				during(t, log, func(r *registry.Registry) {
					wantStatus(t, r, p1, rollcall.Healthy, "right after the restart")
					_, err := r.Update(t.Context(), p1, 0, func(i *rollcall.Instance) error { i.Version = "2"; return nil })
					if err != nil {
						t.Fatal(err)
					}
					wantStatus(t, r, p1, rollcall.Healthy, "updated after the restart,")
					time.Sleep(14 * time.Second)
					wantStatus(t, r, p1, rollcall.Healthy, "within a TTL of the restart")
					time.Sleep(2 * time.Second)
					wantStatus(t, r, p1, rollcall.Unhealthy, "after a TTL of the restart")
				})
			})
		})
	}
}

// TestMarkedWithoutLease: the process died when the log had taken a lease away
// and not yet the mark. Nothing is expected of the instance, so nobody would end
// that but the next process.
func TestMarkedWithoutLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.New()
		during(t, log, func(r *registry.Registry) {
			register(t, r, payments("p-1"))
			time.Sleep(16 * time.Second)
		})
		var without rollcall.Instance
		during(t, log, func(r *registry.Registry) { without = instance(t, r, p1) })
		put := rollcall.InstancePut{Key: p1, Incarnation: without.Incarnation, RegisteredAt: without.RegisteredAt}
		without.Lease = rollcall.Lease{Mode: rollcall.LeaseNone}
		put.Record = record.Pack(&without)
		if _, err := log.Append(t.Context(), rollcall.Batch{Changes: []rollcall.Change{{At: time.Now().UTC(), Body: put}}}); err != nil {
			t.Fatal(err)
		}
		during(t, log, func(r *registry.Registry) {
			wantStatus(t, r, p1, rollcall.Healthy, "without a lease")
		})
	})
}

// TestVerdictOfAnother: what another member wrote of a lease is taken as it is
// while nobody can be heard here, and is answered with what was heard after.
func TestVerdictOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.New()
		says := func(s rollcall.Status) {
			t.Helper()
			put := rollcall.HealthPut{Service: p1.ServiceKey, Slot: rollcall.SlotLease, Status: s, IDs: []string{p1.ID}}
			if _, err := log.Append(t.Context(), rollcall.Batch{Changes: []rollcall.Change{{At: time.Now().UTC(), Body: put}}}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		during(t, log, func(r *registry.Registry) { register(t, r, payments("p-1")) })
		r := registry.New(unguarded(log))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		if err := r.WaitSynced(ctx); err != nil {
			t.Fatal(err)
		}
		says(rollcall.Unhealthy)
		wantStatus(t, r, p1, rollcall.Unhealthy, "marked before the doors are open")
		says(rollcall.Healthy)
		says(rollcall.Unhealthy)
		r.Serving()
		time.Sleep(14 * time.Second)
		wantStatus(t, r, p1, rollcall.Unhealthy, "silent since,")
		renew(t, r, p1, nil)
		wantStatus(t, r, p1, rollcall.Healthy, "renewed,")
		says(rollcall.Unhealthy)
		wantStatus(t, r, p1, rollcall.Healthy, "heard from here")
		time.Sleep(16 * time.Second)
		wantStatus(t, r, p1, rollcall.Unhealthy, "silent again")
		says(rollcall.Healthy)
		wantStatus(t, r, p1, rollcall.Unhealthy, "not heard from here")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestRegisteredTwiceAtOnce: of an instance that comes twice in one batch the
// last one counts, its lease and checks too.
func TestRegisteredTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		first, last := payments("p-1"), checked()
		first.Lease.Mode = rollcall.LeaseNone
		for _, res := range r.RegisterMany(t.Context(), []rollcall.Instance{first, last}) {
			if res.Err != nil {
				t.Fatal(res.Err)
			}
		}
		renew(t, r, p1, good)
		wantStatus(t, r, p1, rollcall.Healthy, "renewed and reported,")
		time.Sleep(16 * time.Second)
		wantStatus(t, r, p1, rollcall.Unhealthy, "silent for its TTL")
	})
}

// TestForgottenOverRestart: what was forgotten before a restart is not known
// better after it, though the log still has it.
func TestForgottenOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.New()
		i, o, gone := payments("p-1"), payments("o"), payments("g")
		i.Lease.Mode, o.Lease.Mode = rollcall.LeaseNone, rollcall.LeaseNone
		gone.Service = "Gone"
		during(t, log, func(r *registry.Registry) {
			register(t, r, i)
			register(t, r, gone)
			if err := r.Override(t.Context(), p1, &rollcall.Override{Status: rollcall.Unhealthy}); err != nil {
				t.Fatal(err)
			}
			for _, key := range []rollcall.Key{p1, gone.Key()} {
				if err := r.Deregister(t.Context(), key, 0); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(26 * time.Hour)
			register(t, r, o) // it forgets with this one
			if _, err := r.Resolve(t.Context(), &rollcall.Query{Service: "gone"}); err == nil {
				t.Error("a service without instances is known after a day")
			}
			register(t, r, i)
			wantStatus(t, r, p1, rollcall.Healthy, "registered again after a day")
		})
		during(t, log, func(r *registry.Registry) {
			wantStatus(t, r, p1, rollcall.Healthy, "after the restart")
			if _, err := r.Resolve(t.Context(), &rollcall.Query{Service: "gone"}); err == nil {
				t.Error("a service that was forgotten is known after the restart")
			}
		})
	})
}

// TestResumedOverRestart: who watched before a restart goes on where it was, with
// the changes since, as far back as the history reaches.
func TestResumedOverRestart(t *testing.T) {
	for name, many := range map[string]int{"a short log": 0, "a long log": 4 * watch.HistoryEvents} {
		t.Run(name, func(t *testing.T) {
			log := memory.New()
			put := func(version string, times int) rollcall.Revision {
				i := payments("p-1")
				i.Version = version
				i.Normalize()
				b := rollcall.Batch{Changes: make([]rollcall.Change, times)}
				for n := range b.Changes {
					b.Changes[n] = rollcall.Change{At: time.Now(), Body: rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}}
				}
				rev, err := log.Append(t.Context(), b)
				if err != nil {
					t.Fatal(err)
				}
				return rev
			}
			old := put("1", 1)
			for n := 0; n < many; n += 1000 {
				put("2", 1000)
			}
			seen := put("3", 1)
			put("4", 1)

			r := start(t, log)
			resume := func(from rollcall.Revision) *watch.Batch {
				return told(t, r, rollcall.Query{Service: "payments", After: rollcall.Token{Log: log.Status().ID, Revision: from}})
			}
			if b := resume(seen); b.Type != watch.Changes || len(b.Changes) != 1 || instance(t, r, p1).Version != "4" {
				t.Errorf("from the last revision but one: %v with %d events, want one change", b.Type, len(b.Changes))
			}
			want := watch.Changes
			if many > 0 {
				want = watch.Reset
			}
			if b := resume(old); b.Type != want {
				t.Errorf("from the first revision: %v, want %v", b.Type, want)
			}
		})
	}
}

// BenchmarkStart reads a log of 20,000 instances that were registered, updated
// four times and marked.
func BenchmarkStart(b *testing.B) {
	log := memory.New()
	write := func(body rollcall.Body) {
		if _, err := log.Append(b.Context(), rollcall.Batch{Changes: []rollcall.Change{{At: time.Now().UTC(), Body: body}}}); err != nil {
			b.Fatal(err)
		}
	}
	for n := range 20_000 {
		i := payments(fmt.Sprintf("p-%d", n))
		i.Service = fmt.Sprintf("payments-%d", n%1000)
		i.Normalize()
		first := log.Status().Revision + 1
		for v := range 5 {
			put := rollcall.InstancePut{Key: i.Key()}
			if i.Version = fmt.Sprint(v); v > 0 {
				put.Incarnation, put.RegisteredAt = first, time.Now().UTC()
			}
			put.Record = record.Pack(&i)
			write(put)
		}
		write(rollcall.HealthPut{Service: i.Key().ServiceKey, Slot: rollcall.SlotLease, Status: rollcall.Unhealthy, IDs: []string{i.ID}})
	}
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		r := registry.New(unguarded(log))
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		if err := r.WaitSynced(ctx); err != nil {
			b.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// TestEventsAreToldOnce: whoever is told of events hears of those that are new,
// not of those that are read back at the start.
func TestEventsAreToldOnce(t *testing.T) {
	log := memory.New()
	for _, id := range []string{"p-1", "p-2"} {
		var told []string
		r := registry.New(registry.Options{Log: log, Logger: discard(), Events: func(ev rollcall.Event) {
			told = append(told, ev.Type+" "+ev.ID)
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		if err := r.WaitSynced(ctx); err != nil {
			t.Fatal(err)
		}
		register(t, r, payments(id))
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(told) != 1 || told[0] != "registered "+id {
			t.Errorf("told of %q, want the registration of %s", told, id)
		}
	}
}

// TestFlapOverRestart: that an instance flapped is forgotten over a restart, and so
// is its mark.
func TestFlapOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := unguarded(memory.New())
		i := payments("p-1")
		i.Lease.Mode = rollcall.LeaseNone
		duringWith(t, o, func(r *registry.Registry) {
			register(t, r, i)
			for n := range 8 {
				rep := rollcall.Report{Status: []rollcall.Status{rollcall.Unhealthy, rollcall.Healthy}[n%2]}
				if _, err := r.Renew(t.Context(), i.Key(), &rep); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
			synctest.Wait()
			if got := status(t, r, i.Key()); got != rollcall.Degraded {
				t.Fatalf("%v, want it damped", got)
			}
		})
		duringWith(t, o, func(r *registry.Registry) {
			if got := instance(t, r, i.Key()).Health; got.Status != rollcall.Healthy {
				t.Errorf("%+v after a restart, want it healthy as it says", got)
			}
		})
	})
}
