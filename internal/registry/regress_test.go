package registry_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

// TestPatchedLease: another lease is one from now on, and one that is taken
// away leaves no mark.
func TestPatchedLease(t *testing.T) {
	patch := func(t *testing.T, r *registry.Registry, l rollcall.Lease) {
		t.Helper()
		if _, err := r.Update(t.Context(), p1, 0, func(i *rollcall.Instance) error { i.Lease = l; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	short := rollcall.Lease{TTL: rollcall.Duration(15 * time.Second)}
	for name, first := range map[string]rollcall.Lease{
		"none": {Mode: rollcall.LeaseNone},
		"24h":  {TTL: rollcall.Duration(24 * time.Hour)},
	} {
		t.Run(name+" to 15s", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, memory.New())
				i := payments("p-1")
				i.Lease = first
				register(t, r, i)
				time.Sleep(time.Hour)
				patch(t, r, short)
				time.Sleep(14 * time.Second)
				if got := status(t, r, p1); got != rollcall.Healthy {
					t.Errorf("%v within its new TTL", got)
				}
				time.Sleep(2 * time.Second)
				if got := status(t, r, p1); got != rollcall.Unhealthy {
					t.Errorf("%v after its new TTL", got)
				}
			})
		})
	}
	t.Run("to none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, memory.New())
			register(t, r, payments("p-1"))
			time.Sleep(20 * time.Second)
			patch(t, r, rollcall.Lease{Mode: rollcall.LeaseNone})
			if got := status(t, r, p1); got != rollcall.Healthy {
				t.Errorf("%v, though nothing is expected of it any more", got)
			}
		})
	})
}

// TestPatchedCheck: a check that was changed starts over and hears reports that
// say what earlier ones said.
func TestPatchedCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		i := payments("p-1")
		i.Checks = []rollcall.Check{{Name: "q", Type: rollcall.CheckTTL, TTL: rollcall.Duration(10 * time.Second)}}
		register(t, r, i)
		good := rollcall.Report{Checks: map[string]rollcall.CheckReport{"q": {Status: rollcall.Healthy}}}
		beat := func() {
			t.Helper()
			if _, err := r.Renew(t.Context(), p1, &good); err != nil {
				t.Fatal(err)
			}
		}
		beat()
		_, err := r.Update(t.Context(), p1, 0, func(i *rollcall.Instance) error {
			i.Checks[0].TTL = rollcall.Duration(time.Hour)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := status(t, r, p1); got != rollcall.Starting {
			t.Errorf("%v, though the check is another one", got)
		}
		beat()
		if got := status(t, r, p1); got != rollcall.Healthy {
			t.Errorf("%v after a healthy report", got)
		}
	})
}

// A check that the registry makes keeps its standing as long as it is the same, and
// starts over when it is not: here one whose target may not be probed.
func TestPatchedProbe(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*rollcall.Instance)
		want   rollcall.Status
	}{
		"deregister_after": {func(i *rollcall.Instance) { i.Checks[0].DeregisterAfter = rollcall.Duration(time.Hour) }, rollcall.Unhealthy},
		"a default":        {func(i *rollcall.Instance) { i.Checks[0].Interval = rollcall.Duration(10 * time.Second) }, rollcall.Unhealthy},
		"version":          {func(i *rollcall.Instance) { i.Version = "2" }, rollcall.Unhealthy},
		"interval":         {func(i *rollcall.Instance) { i.Checks[0].Interval = rollcall.Duration(time.Minute) }, rollcall.Starting},
		"ports":            {func(i *rollcall.Instance) { i.Ports["http"]++ }, rollcall.Starting},
		"address":          {func(i *rollcall.Instance) { i.Address = "127.0.0.2" }, rollcall.Starting},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, memory.New())
				i := payments("p-1")
				i.Address, i.Lease.Mode = "127.0.0.1", rollcall.LeaseNone
				i.Checks = []rollcall.Check{{Name: "http", Type: rollcall.CheckHTTP}}
				register(t, r, i)
				probed := func() {
					t.Helper()
					time.Sleep(2 * time.Second)
					synctest.Wait()
					if got := status(t, r, p1); got != rollcall.Unhealthy {
						t.Fatalf("%v after a probe", got)
					}
				}
				settles := func() {
					t.Helper()
					if got := status(t, r, p1); got != tt.want {
						t.Errorf("%v, want %v", got, tt.want)
					}
					probed()
				}
				probed()
				_, err := r.Update(t.Context(), p1, 0, func(i *rollcall.Instance) error {
					tt.change(i)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				settles()
				register(t, r, i) // and back
				settles()
			})
		})
	}
}

func TestPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.New()
		r := start(t, log)
		i := payments("p-1")
		i.Lease.Mode = rollcall.LeaseNone
		i.Position = &rollcall.Position{Lat: 1, Lon: 1}
		register(t, r, i)
		patch := func(p *rollcall.Position, weight uint16, want string) {
			t.Helper()
			_, err := r.Update(t.Context(), p1, 0, func(i *rollcall.Instance) error {
				if i.Position = p; weight != 0 {
					i.Weight = &weight
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			got := "nowhere"
			if p := instance(t, r, p1).Position; p != nil {
				got = fmt.Sprint(*p)
			}
			if got != want {
				t.Errorf("it is at %s, want %s", got, want)
			}
		}
		patch(&rollcall.Position{Lat: 2, Lon: 2}, 0, "{2 2}")
		patch(&rollcall.Position{Lat: 1, Lon: 1}, 0, "{1 1}")
		patch(&rollcall.Position{Lat: 2, Lon: 2}, 0, "{2 2}")
		patch(&rollcall.Position{Lat: 3, Lon: 3}, 7, "{3 3}")
		patch(&rollcall.Position{Lat: 4, Lon: 4}, 0, "{4 4}")
		patch(nil, 0, "nowhere")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if p := instance(t, r, p1).Position; p != nil {
			t.Errorf("3 s later it is at %v", *p)
		}
		before := log.Status().Revision
		for range 10 {
			if _, err := r.Renew(t.Context(), p1, &rollcall.Report{Position: &rollcall.Position{Lat: 5, Lon: 5}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		if n := log.Status().Revision - before; n != 1 {
			t.Errorf("%d revisions for ten heartbeats from one new place, want 1", n)
		}
	})
}

// TestPollWithoutWait: a token that is behind is answered with a newer one.
func TestPollWithoutWait(t *testing.T) {
	r := start(t, memory.New())
	register(t, r, payments("p-1"))
	a, err := r.Resolve(t.Context(), &rollcall.Query{Service: "payments"})
	if err != nil {
		t.Fatal(err)
	}
	old := a.Token()
	register(t, r, payments("p-2"))
	for range 20 {
		a, err := r.Resolve(t.Context(), &rollcall.Query{Service: "payments", After: old})
		if err != nil || a.Token() == old {
			t.Fatalf("answered with the same token: %v, %v", a.Token(), err)
		}
	}
}

func TestOverrideOfNothing(t *testing.T) {
	log := memory.New()
	r := start(t, log)
	if err := r.Override(t.Context(), rollcall.NewKey("", "never", "x"), nil); err != nil || log.Status().Revision != 0 {
		t.Errorf("%v, and the log is at %d", err, log.Status().Revision)
	}
	for _, key := range []rollcall.Key{rollcall.NewKey("a\x00b", "s", "x"), rollcall.NewKey("", "s\n", "x"), rollcall.NewKey("", "s", "x\x00")} {
		if err := r.Override(t.Context(), key, nil); !errors.Is(err, rollcall.ErrInvalid) {
			t.Errorf("%q: %v", key, err)
		}
	}
}

// TestOverrideExpires: also if its instance was away, and the registry too.
func TestOverrideExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.New()
		i := payments("p-1")
		i.Lease.Mode = rollcall.LeaseNone
		during(t, log, func(r *registry.Registry) {
			register(t, r, i)
			at := time.Now().Add(2 * time.Hour)
			if err := r.Override(t.Context(), p1, &rollcall.Override{Status: rollcall.Unhealthy, Expires: &at}); err != nil {
				t.Fatal(err)
			}
			if err := r.Deregister(t.Context(), p1, 0); err != nil {
				t.Fatal(err)
			}
			checkpoint(t, r, log)
		})
		during(t, log, func(r *registry.Registry) {
			if got := register(t, r, i).Health.Status; got != rollcall.Unhealthy {
				t.Errorf("%v: the override should hold for a while", got)
			}
			time.Sleep(2*time.Hour + 2*time.Second)
			if got := status(t, r, p1); got != rollcall.Healthy {
				t.Errorf("%v after the override's time", got)
			}
		})
	})
}

// slowLog takes long to read.
type slowLog struct{ *memory.Log }

func (l slowLog) Follow(ctx context.Context, from rollcall.Revision) iter.Seq2[rollcall.Entry, error] {
	return func(yield func(rollcall.Entry, error) bool) {
		for e, err := range l.Log.Follow(ctx, from) {
			e.More = false
			if !yield(e, err) {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// TestSlowStart: leases have a full TTL from when they can be renewed, however
// long it took to read the log.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.New()
		for n := range 400 {
			i := payments(fmt.Sprintf("p-%03d", n))
			i.Normalize()
			put := rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)}
			if _, err := log.Append(t.Context(), rollcall.Batch{Changes: []rollcall.Change{{At: time.Now(), Body: put}}}); err != nil {
				t.Fatal(err)
			}
		}
		r := start(t, slowLog{log})
		time.Sleep(14 * time.Second)
		if n := len(ids(t, r, rollcall.Query{Service: "payments"})); n != 400 {
			t.Errorf("%d of 400 are routable within a TTL of the start", n)
		}
	})
}

// TestBrokenFromTheStart: a log that takes no writes shows before anybody tries.
func TestBrokenFromTheStart(t *testing.T) {
	log := &brokenLog{Log: memory.New(), broken: true}
	r := start(t, log)
	if err := r.Ready(); !errors.Is(err, rollcall.ErrUnavailable) {
		t.Errorf("ready: %v", err)
	}
	if st, err := r.Status(t.Context()); err != nil || st.Writable {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestRegisterManyLarge: what fits alone fits together.
func TestRegisterManyLarge(t *testing.T) {
	r := start(t, memory.New())
	is := make([]rollcall.Instance, 300)
	for n := range is {
		is[n] = payments(fmt.Sprintf("p-%d", n))
		is[n].Metadata = map[string]string{}
		for m := range 60 {
			is[n].Metadata[fmt.Sprint("m", m)] = strings.Repeat("x", 500)
		}
	}
	is = append(is, payments("p-0"))
	results := r.RegisterMany(t.Context(), is)
	revisions := map[rollcall.Revision]bool{}
	for _, res := range results {
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		revisions[res.Revision] = true
	}
	if len(revisions) < 5 {
		t.Errorf("%d batches for 9 MB", len(revisions))
	}
	if results[300].Created {
		t.Error("the same id twice was created twice")
	}
}
