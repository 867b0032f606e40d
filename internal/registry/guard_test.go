package registry_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// fleet is instances that renew every five seconds unless they are stopped or
// cut off.
type fleet struct {
	r       *registry.Registry
	keys    []rollcall.Key
	stopped map[rollcall.Key]bool
	cut     bool
	refuse  atomic.Bool  // nobody is at the addresses of those who are stopped
	removed atomic.Int32 // as a watcher of the answers sees it
	empty   int          // seconds in which there was none
}

// withFleet registers n instances of one service with a registry on a log. fn
// runs beside them.
func withFleet(t *testing.T, log registry.Log, n int, fn func(*fleet)) {
	f := &fleet{stopped: map[rollcall.Key]bool{}}
	o := registry.Options{Log: log, Logger: discard(), Probe: func(_ context.Context, i *catalog.Item) (bool, string) {
		return f.refuse.Load(), "connection refused"
	}}
	r := run(t, o)
	f.r = r
	for i := range n {
		i := payments(fmt.Sprintf("p-%02d", i))
		register(t, r, i)
		f.keys = append(f.keys, i.Key())
	}
	sub, _, err := r.Watch(t.Context(), &rollcall.Query{Service: "payments"}, watch.Reader{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			b, err := sub.Next(ctx)
			if err != nil {
				return
			}
			for _, c := range b.Changes {
				if c.Kind == watch.Remove {
					f.removed.Add(1)
				}
			}
		}
	}()
	fn(f)
	cancel()
	<-done
	sub.Close()
}

// pass lets time pass; those who are heard renew every five seconds.
func (f *fleet) pass(t *testing.T, d time.Duration) {
	t.Helper()
	for range d / time.Second {
		time.Sleep(time.Second)
		synctest.Wait()
		for n, key := range f.keys {
			if f.cut || f.stopped[key] || (int(time.Now().Unix())+n)%5 != 0 {
				continue
			}
			if _, err := f.r.Renew(t.Context(), key, nil); err != nil {
				t.Fatalf("%v after %v: %v", key, d, err)
			}
		}
		a, err := f.r.Resolve(t.Context(), &rollcall.Query{Service: "payments"})
		if err != nil {
			t.Fatal(err)
		}
		if items := itemsOf(a); len(items) == 0 {
			f.empty++
		}
	}
}

// count returns how many are in answers, and how many of those are suspect.
func (f *fleet) count(t *testing.T) (in, suspect int) {
	t.Helper()
	a, err := f.r.Resolve(t.Context(), &rollcall.Query{Service: "payments"})
	if err != nil {
		t.Fatal(err)
	}
	items := itemsOf(a)
	for _, i := range items {
		if i.Status() == rollcall.Suspect {
			suspect++
		}
	}
	return len(items), suspect
}

func (f *fleet) stop(n int) {
	for _, key := range f.keys[:n] {
		f.stopped[key] = true
	}
}

// TestCutOff: while the registry hears from nobody, for however long, nobody is
// removed and no answer is empty; it recovers by itself.
func TestCutOff(t *testing.T) {
	for _, length := range []time.Duration{30 * time.Second, 5 * time.Minute, 30 * time.Minute} {
		t.Run(length.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				withFleet(t, memory.New(), 20, func(f *fleet) {
					f.pass(t, 20*time.Second)
					f.cut = true
					f.pass(t, length)
					if in, suspect := f.count(t); in != 20 || suspect != 20 {
						t.Errorf("%d in answers at the end of the cut, %d of them suspect; want all", in, suspect)
					}
					guards, err := f.r.Guards(t.Context())
					if err != nil || len(guards) == 0 || guards[0].Reason == "" {
						t.Errorf("guards %+v, %v", guards, err)
					}
					f.cut = false
					f.pass(t, 10*time.Second)
					if in, suspect := f.count(t); in != 20 || suspect != 0 {
						t.Errorf("%d in answers after it, %d of them suspect", in, suspect)
					}
					if guards, err := f.r.Guards(t.Context()); err != nil || len(guards) > 0 {
						t.Errorf("guards %+v, %v; want none any more", guards, err)
					}
					if f.removed.Load() > 0 || f.empty > 0 {
						t.Errorf("%d removals, %d seconds without an answer", f.removed.Load(), f.empty)
					}
					wantEvents(t, f.r, rollcall.EventFilter{}, "guard", "guard_ended")
				})
			})
		})
	}
}

// wantEvents expects events of some types among those that happened.
func wantEvents(t *testing.T, r *registry.Registry, f rollcall.EventFilter, types ...string) {
	t.Helper()
	es, _, err := r.Events(t.Context(), f, "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]rollcall.Event{}
	for _, e := range es {
		seen[e.Type] = e
	}
	for _, want := range types {
		if e, ok := seen[want]; !ok || e.Why == "" || e.Via == "" || e.By == "" || e.At.IsZero() {
			t.Errorf("event %s: %+v", want, e)
		}
	}
}

// TestMassDeath: of many that die at once, those whose addresses refuse are out
// as soon as they are looked at, and the guard ends.
func TestMassDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		withFleet(t, memory.New(), 50, func(f *fleet) {
			f.pass(t, 20*time.Second)
			f.refuse.Store(true)
			f.stop(40)
			f.pass(t, 16*time.Second)
			if in, suspect := f.count(t); in != 10 || suspect != 0 {
				t.Errorf("%d in answers, %d of them suspect; want the ten that live", in, suspect)
			}
			if i := instance(t, f.r, f.keys[0]); i.Health.Status != rollcall.Unhealthy || i.Health.Reason != "lease: no renewal for 15s; connection refused" {
				t.Errorf("%+v", i.Health)
			}
			f.pass(t, 2*time.Minute)
			if guards, _ := f.r.Guards(t.Context()); len(guards) > 0 {
				t.Errorf("guards %+v", guards)
			}
			if _, err := f.r.Instance(t.Context(), f.keys[0]); err == nil {
				t.Error("it is still listed")
			}
		})
	})
}

// TestMassSilence: of many that fall silent while others are heard, a share a
// minute is let go of, unless an operator ends the guard.
func TestMassSilence(t *testing.T) {
	for _, byHand := range []bool{false, true} {
		t.Run(fmt.Sprint("by hand ", byHand), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				withFleet(t, memory.New(), 20, func(f *fleet) {
					f.pass(t, 20*time.Second)
					f.stop(8)
					f.pass(t, 60*time.Second)
					if in, suspect := f.count(t); in != 20 || suspect != 8 || f.removed.Load() > 0 {
						t.Fatalf("%d in answers, %d of them suspect, %d removed; want all, and the silent ones last", in, suspect, f.removed.Load())
					}
					if byHand {
						if ended, err := f.r.EndGuard(t.Context(), f.keys[0].ServiceKey); !ended || err != nil {
							t.Fatal(ended, err)
						}
						if ended, err := f.r.EndGuard(t.Context(), f.keys[0].ServiceKey); ended || err != nil {
							t.Errorf("ended twice: %v, %v", ended, err)
						}
						synctest.Wait()
					} else {
						f.pass(t, 4*time.Minute)
					}
					if in, suspect := f.count(t); in != 12 || suspect != 0 {
						t.Errorf("%d in answers, %d of them suspect; want those that live", in, suspect)
					}
				})
			})
		})
	}
}

// TestScaleToZero: what is taken back explicitly is gone at once, guard or not.
func TestScaleToZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		withFleet(t, memory.New(), 20, func(f *fleet) {
			f.pass(t, 20*time.Second)
			start := time.Now()
			for _, key := range f.keys {
				if err := f.r.Deregister(t.Context(), key, 0); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if in, _ := f.count(t); in != 0 || f.removed.Load() != 20 || time.Since(start) > time.Second {
				t.Errorf("%d in answers, %d removals after %v", in, f.removed.Load(), time.Since(start))
			}
			if guards, _ := f.r.Guards(t.Context()); len(guards) > 0 {
				t.Errorf("guards %+v", guards)
			}
		})
	})
}

// TestGuardOverRestart: a guard that is on goes on after a restart, and those it
// held stay in answers.
func TestGuardOverRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := registry.Options{Log: memory.New(), Logger: discard()}
		f := &fleet{stopped: map[rollcall.Key]bool{}, cut: true}
		suspects := func(when string) {
			t.Helper()
			if in, suspect := f.count(t); in != 10 || suspect != 10 {
				t.Errorf("%s: %d in answers, %d of them suspect", when, in, suspect)
			}
			if guards, err := f.r.Guards(t.Context()); err != nil || len(guards) == 0 {
				t.Errorf("%s: guards %+v, %v", when, guards, err)
			}
		}
		duringWith(t, o, func(r *registry.Registry) {
			f.r = r
			for n := range 10 {
				register(t, r, payments(fmt.Sprint("p-", n)))
			}
			f.pass(t, 17*time.Second)
			suspects("before")
		})
		duringWith(t, o, func(r *registry.Registry) {
			f.r = r
			suspects("after")
			f.pass(t, 30*time.Second)
			suspects("two TTLs after")
		})
	})
}

// TestFlapping: an instance that alternates once a second causes at most three
// updates a minute, stays in answers, is followed again once it is steady, and
// whoever asks is told.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		withFleet(t, memory.New(), 5, func(f *fleet) {
			sub, _, err := f.r.Watch(t.Context(), &rollcall.Query{Service: "payments", Health: "any"}, watch.Reader{})
			if err != nil {
				t.Fatal(err)
			}
			var updates atomic.Int32
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					b, err := sub.Next(ctx)
					if err != nil {
						return
					}
					updates.Add(int32(len(b.Changes)))
				}
			}()
			key := f.keys[0]
			say := func(s rollcall.Status) {
				t.Helper()
				if _, err := f.r.Renew(t.Context(), key, &rollcall.Report{Status: s}); err != nil {
					t.Fatal(err)
				}
			}
			for minute := range 9 {
				before := updates.Load()
				for n := range 60 {
					say([]rollcall.Status{rollcall.Unhealthy, rollcall.Healthy}[n%2])
					f.pass(t, time.Second)
				}
				if n := updates.Load() - before; n > 3 {
					t.Errorf("%d updates in minute %d, want at most three", n, minute)
				}
				if i := instance(t, f.r, key); i.Health.Status != rollcall.Degraded {
					t.Errorf("%+v in minute %d, want it degraded", i.Health, minute)
				}
			}
			if n := f.removed.Load(); n > 1 { // before it showed
				t.Errorf("%d removals", n)
			}
			es, _, err := f.r.Events(t.Context(), rollcall.EventFilter{ID: key.ID}, "", 1000)
			flapping := 0
			for _, e := range es {
				if e.Type == "flapping" {
					flapping++
				}
			}
			if err != nil || flapping != 1 {
				t.Errorf("%d flapping events, %v; want one", flapping, err)
			}
			say(rollcall.Unhealthy)
			for range 60 {
				f.pass(t, 10*time.Second)
			}
			if i := instance(t, f.r, key); i.Health.Status != rollcall.Unhealthy {
				t.Errorf("%+v after it was steady, want it as it says", i.Health)
			}
			cancel()
			<-done
			sub.Close()
		})
	})
}

// TestClockJumps: what the wall clock says decides nothing about who lives.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var off atomic.Int64
				r := run(t, registry.Options{
					Log: memory.New(), Logger: discard(), Wall: func() time.Time { return time.Now().Add(time.Duration(off.Load())) },
				})
				f := &fleet{r: r, stopped: map[rollcall.Key]bool{}}
				for i := range 20 {
					i := payments(fmt.Sprintf("p-%02d", i))
					register(t, r, i)
					f.keys = append(f.keys, i.Key())
				}
				f.pass(t, 20*time.Second)
				f.stop(1) // who dies in spite of it is noticed, in time
				off.Store(int64(jump))
				f.pass(t, 17*time.Second)
				off.Store(0)
				f.pass(t, 20*time.Second)
				off.Store(int64(jump))
				f.pass(t, 20*time.Second)
				if in, suspect := f.count(t); in != 19 || suspect != 0 || f.empty > 0 {
					t.Errorf("%d in answers, %d of them suspect, %d seconds without an answer", in, suspect, f.empty)
				}
				es, _, err := r.Events(t.Context(), rollcall.EventFilter{}, "", 1000)
				verdicts := 0
				for _, e := range es {
					if e.Type == "health" || e.Type == "guard" {
						verdicts++
					}
				}
				if err != nil || verdicts != 1 {
					t.Errorf("%d verdicts, %v; want the one on whom died: %+v", verdicts, err, es)
				}
			})
		})
	}
}

// TestPanicIsTold: it begins and ends with an event, is counted, and shows in the
// answer; a watcher sees nobody leave whom it serves.
func TestPanicIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := prometheus.NewRegistry()
		o := registry.Options{Log: memory.New(), Logger: discard(), Metrics: metrics, Defaults: rollcall.Settings{GuardShare: new(1.0)}}
		r := run(t, o)
		panics := func() float64 {
			t.Helper()
			all, err := metrics.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range all {
				if m.GetName() == "rollcall_services_in_panic" {
					return m.Metric[0].GetGauge().GetValue()
				}
			}
			return -1
		}
		say := func(n int, s rollcall.Status) {
			t.Helper()
			for i := range n {
				if _, err := r.Renew(t.Context(), rollcall.NewKey("", "payments", fmt.Sprint("p-", i)), &rollcall.Report{Status: s}); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		for i := range 10 {
			i := payments(fmt.Sprint("p-", i))
			i.Lease.Mode = rollcall.LeaseNone
			register(t, r, i)
		}
		say(6, rollcall.Unhealthy)
		a, err := r.Resolve(t.Context(), &rollcall.Query{Service: "payments"})
		if err != nil {
			t.Fatal(err)
		}
		if items := itemsOf(a); len(items) != 10 || !a.View.Panic() || panics() != 1 {
			t.Errorf("%d served, panic %v, %v services in panic", len(items), a.View.Panic(), panics())
		}
		say(6, rollcall.Healthy)
		if panics() != 0 {
			t.Errorf("%v services in panic in the end", panics())
		}
		wantEvents(t, r, rollcall.EventFilter{Service: "payments"}, "panic", "panic_ended")
	})
}

// TestChecksCutOff: checks that are not reported any more are silence like any
// other: of one instance it counts, of all at once it does not, and nobody is
// deregistered for it meanwhile.
func TestChecksCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, registry.Options{Log: memory.New(), Logger: discard()})
		var keys []rollcall.Key
		for i := range 20 {
			i := payments(fmt.Sprintf("p-%02d", i))
			i.Lease.Mode = rollcall.LeaseNone
			i.Checks = []rollcall.Check{{Name: "up", Type: rollcall.CheckTTL, TTL: rollcall.Duration(10 * time.Second), DeregisterAfter: rollcall.Duration(time.Minute)}}
			register(t, r, i)
			keys = append(keys, i.Key())
		}
		report := func(keys []rollcall.Key) {
			t.Helper()
			for _, key := range keys {
				if _, err := r.Renew(t.Context(), key, &rollcall.Report{Checks: map[string]rollcall.CheckReport{"up": {Status: rollcall.Healthy}}}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
		}
		count := func() (in, suspect int) {
			t.Helper()
			a, err := r.Resolve(t.Context(), &rollcall.Query{Service: "payments"})
			if err != nil {
				t.Fatal(err)
			}
			items := itemsOf(a)
			for _, i := range items {
				if i.Status() == rollcall.Suspect {
					suspect++
				}
			}
			return len(items), suspect
		}
		for range 4 {
			report(keys)
		}
		for range 4 {
			report(keys[1:])
		}
		if in, suspect := count(); in != 19 || suspect != 0 {
			t.Errorf("%d in answers, %d of them suspect, want all but the one that is silent", in, suspect)
		}
		if i := instance(t, r, keys[0]); i.Health.Reason != "check/up: not reported within 10s" {
			t.Errorf("%+v", i.Health)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if in, suspect := count(); in != 19 || suspect != 19 {
			t.Errorf("cut off: %d in answers, %d of them suspect, want all", in, suspect)
		}
		report(keys[1:])
		if in, suspect := count(); in != 19 || suspect != 0 {
			t.Errorf("then: %d in answers, %d of them suspect", in, suspect)
		}
		if _, err := r.Instance(t.Context(), keys[0]); err == nil {
			t.Error("the one that was silent alone was not deregistered")
		}
		if guards, _ := r.Guards(t.Context()); len(guards) > 0 {
			time.Sleep(2 * time.Second)
			if guards, _ = r.Guards(t.Context()); len(guards) > 0 {
				t.Errorf("guards %+v", guards)
			}
		}
	})
}
