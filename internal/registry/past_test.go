package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/history"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

// picture is what a query about all of a service is answered with.
func picture(t *testing.T, r *registry.Registry, at time.Time) string {
	t.Helper()
	a, err := r.Resolve(t.Context(), &rollcall.Query{Service: "payments", Health: "any", At: at})
	if errors.Is(err, rollcall.ErrNotFound) {
		return "none"
	}
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	items := itemsOf(a)
	for _, i := range items {
		i := i.Instance()
		fmt.Fprintf(&b, "%s\n", i.AppendJSON(nil))
	}
	return b.String()
}

// TestPast: what was answered at some time can be asked for later, also after a
// restart, and so can why.
func TestPast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := unguarded(memory.New())
		dir := t.TempDir()
		type moment struct {
			at   time.Time
			was  string
			why  string
			many int
		}
		var moments []moment
		life := func(fn func(*registry.Registry)) {
			t.Helper()
			h, err := history.Open(dir, history.Options{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- h.Run(ctx) }()
			o.History = h
			duringWith(t, o, fn)
			stop()
			if err := errors.Join(<-done, h.Close()); err != nil {
				t.Error(err)
			}
		}
		why := func(r *registry.Registry, at time.Time) string {
			t.Helper()
			x, err := r.Why(t.Context(), &rollcall.Query{Service: "payments", At: at}, "")
			if errors.Is(err, rollcall.ErrNotFound) {
				return "none"
			}
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, i := range x.Instances {
				fmt.Fprintln(&b, i.ID, i.In, i.Why)
			}
			return b.String()
		}
		services := func(r *registry.Registry, at time.Time) (n int) {
			t.Helper()
			ss, _, err := r.Services(t.Context(), "", at, "", 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range ss {
				n += s.Instances
			}
			return n
		}
		check := func(r *registry.Registry) {
			t.Helper()
			for n, m := range moments {
				if diff := cmp.Diff(m.was, picture(t, r, m.at)); diff != "" {
					t.Fatalf("moment %d, %v ago:\n%s", n, time.Since(m.at), diff)
				}
				if diff := cmp.Diff(m.why, why(r, m.at)); diff != "" {
					t.Fatalf("moment %d, %v ago, why:\n%s", n, time.Since(m.at), diff)
				}
				if got := services(r, m.at); got != m.many {
					t.Fatalf("moment %d: %d instances, want %d", n, got, m.many)
				}
			}
		}
		remember := func(r *registry.Registry) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			moments = append(moments, moment{time.Now(), picture(t, r, time.Time{}), why(r, time.Time{}), services(r, time.Time{})})
			time.Sleep(time.Second)
		}
		p := func(n int) rollcall.Key { return rollcall.NewKey("", "payments", fmt.Sprint("p-", n)) }
		life(func(r *registry.Registry) {
			remember(r)
			for n := range 3 {
				register(t, r, payments(fmt.Sprint("p-", n)))
				remember(r)
			}
			if err := r.Override(t.Context(), p(0), &rollcall.Override{Status: rollcall.Unhealthy, Reason: "maintenance"}); err != nil {
				t.Fatal(err)
			}
			remember(r)
			if _, err := r.Renew(t.Context(), p(1), &rollcall.Report{Status: rollcall.Degraded}); err != nil {
				t.Fatal(err)
			}
			remember(r)
			if err := r.SetSettings(t.Context(), p(0).ServiceKey, &rollcall.Settings{Panic: new(0.9)}); err != nil {
				t.Fatal(err)
			}
			remember(r)
			time.Sleep(20 * time.Second) // silence
			remember(r)
			check(r)
		})
		life(func(r *registry.Registry) {
			check(r)
			if err := r.Override(t.Context(), p(0), nil); err != nil {
				t.Fatal(err)
			}
			remember(r)
			register(t, r, payments("p-1"))
			remember(r)
			if err := r.Deregister(t.Context(), p(1), 0); err != nil {
				t.Fatal(err)
			}
			remember(r)
			i := payments("p-9")
			i.Service = "billing"
			register(t, r, i)
			remember(r)
			time.Sleep(2 * time.Minute) // all are removed
			remember(r)
			check(r)
		})
		life(check)

		r := start(t, memory.New())
		for field, q := range map[string]rollcall.Query{
			"at":    {Service: "payments", At: time.Now().Add(-time.Hour)}, // before all
			"after": {Service: "payments", At: time.Now(), After: rollcall.Token{Log: "0123456789abcdef", Revision: 1}, Wait: time.Second},
		} {
			_, err := r.Resolve(t.Context(), &q)
			if e, ok := errors.AsType[*rollcall.Error](err); !ok || e.Field != field || !errors.Is(err, rollcall.ErrInvalid) {
				t.Errorf("%+v: %v", q, err)
			}
		}
		for _, q := range []rollcall.Query{
			{Service: "payments", At: time.Now().Add(time.Hour)},
			{Service: "payments", At: time.Now(), Consistent: true},
		} {
			if _, err := r.Resolve(t.Context(), &q); !errors.Is(err, rollcall.ErrInvalid) {
				t.Errorf("%+v: %v", q, err)
			}
		}
	})
}

// BenchmarkPast is the catalog of an hour ago: 100,000 instances, half of which
// changed since.
func BenchmarkPast(b *testing.B) {
	var off atomic.Int64
	wall := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
	h, err := history.Open(b.TempDir(), history.Options{Now: wall})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	defer func() { stop(); <-done; h.Close() }()
	o := unguarded(memory.New())
	o.History = h
	o.Wall = wall
	r := run(b, o)
	const services, each = 1000, 100
	put := func(of int) {
		var puts []rollcall.InstancePut
		for s := range services {
			for n := range of {
				i := payments(fmt.Sprint("p-", n))
				i.Service = fmt.Sprint("s-", s)
				i.Metadata = map[string]string{"team": "checkout", "build": fmt.Sprint(of)}
				i.Lease.Mode = rollcall.LeaseNone
				i.Normalize()
				puts = append(puts, rollcall.InstancePut{Key: i.Key(), Record: record.Pack(&i)})
			}
		}
		for _, reg := range r.RegisterPrepared(b.Context(), puts) {
			if reg.Err != nil {
				b.Fatal(reg.Err)
			}
		}
	}
	put(each)
	off.Store(int64(time.Hour + time.Minute))
	put(each / 2)
	at := wall().Add(-time.Hour)
	b.Run("instances=100000,changed=50000", func(b *testing.B) {
		for b.Loop() {
			at = at.Add(1) // another one, which is not kept
			if ss, _, err := r.Services(b.Context(), "", at, "", 10); err != nil || len(ss) != 10 || ss[0].Instances != each {
				b.Fatal(ss, err)
			}
		}
	})
	b.Run("next page", func(b *testing.B) {
		for b.Loop() {
			if ss, _, err := r.Services(b.Context(), "", at, "default/s-5", 10); err != nil || len(ss) != 10 {
				b.Fatal(ss, err)
			}
		}
	})
	b.Run("service", func(b *testing.B) {
		for b.Loop() {
			at = at.Add(1)
			if _, err := r.Resolve(b.Context(), &rollcall.Query{Service: "s-7", At: at}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
