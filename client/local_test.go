package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// telling has f tell every watch of payments the same, and then be silent but for
// bookmarks. It knows no service else. It returns how many watches are open.
func telling(f *fake, rev int, ids ...string) (open *atomic.Int32) {
	open = new(atomic.Int32)
	f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/reports"):
			w.WriteHeader(204)
			return true
		case !strings.HasSuffix(r.URL.Path, "/watch"):
			fail(w, 404, "not-found", "no such service")
			return true
		}
		open.Add(1)
		defer open.Add(-1)
		w.Header().Set("Content-Type", "application/x-ndjson")
		known := strings.Contains(r.URL.Path, "/payments/")
		if token, err := rollcall.ParseToken(r.FormValue("after")); err != nil || token.Log != testLog || int(token.Revision) > rev || !known {
			all := ids
			if !known {
				all = nil
			}
			fmt.Fprintln(w, whole("snapshot", rev, all...))
		}
		for {
			http.NewResponseController(w).Flush()
			select {
			case <-time.After(5 * time.Second):
			case <-r.Context().Done():
				return true
			}
			fmt.Fprintln(w, bookmark(rev))
		}
	})
	return open
}

func names(v *View) (ids []string) {
	for _, i := range v.Instances() {
		ids = append(ids, i.ID)
	}
	return ids
}

func subscribe(t *testing.T, c *Client) *Subscription {
	t.Helper()
	s, err := c.Subscribe(rollcall.Query{Service: "payments"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ready(t *testing.T, s *Subscription) *View {
	t.Helper()
	v, err := s.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSubscriptionsAreShared: equal queries are one watch, which ends with the last.
func TestSubscriptionsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		telling(f, 3, "p-1", "p-2")
		c := f.client(t)
		first, second := subscribe(t, c), subscribe(t, c)
		v := ready(t, first)
		if second.View() != v || !slices.Equal(names(v), []string{"p-1", "p-2"}) || v.Token().Revision != 3 || v.Key().Service != "payments" {
			t.Errorf("views %v and %v", names(v), names(second.View()))
		}
		if v.Instance("p-2") == nil || v.Instance("p-3") != nil || v.Len() != 2 {
			t.Error("instances are not found by id")
		}
		if n := len(f.requests("GET /api/v1/services/payments/watch")); n != 1 {
			t.Errorf("%d watches, want 1", n)
		}
		first.Close()
		first.Close() // once is enough
		advance(7 * time.Second)
		if age := v.Age(); age != 2*time.Second {
			t.Errorf("the view is %v old, want 2s: it was confirmed", age)
		}
		if second.View() != v {
			t.Error("another view, though nothing changed")
		}
		second.Close()
		advance(10 * time.Second)
		if age := v.Age(); age != 12*time.Second {
			t.Errorf("the view is %v old, want 12s: the subscription ended", age)
		}
		subscribe(t, c) // the client closes it
	})
}

// TestViewsAreWhole: half of what happened at once is not shown, nor kept on disk, even
// if weights come in between.
func TestViewsAreWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		weights := `{"type":"weights","generation":2,"weights":{"p-2":7}}`
		script(f, []string{whole("snapshot", 3, "p-1", "p-2"), weights, "1s", remove(4, "p-1"), weights, "1s", bookmark(4), "hang"})
		s := subscribe(t, f.client(t))
		ready(t, s)
		advance(500 * time.Millisecond)
		v := s.View()
		if v.Len() != 2 || *v.Instance("p-2").EffectiveWeight != 7 {
			t.Errorf("with weights, %d instances: %+v", v.Len(), v.Instance("p-2"))
		}
		advance(time.Second)
		if s.View() != v {
			t.Errorf("half is shown: %v", names(s.View()))
		}
		<-s.Changed(v)
		if got := s.View(); got.Len() != 1 || got.Token().Revision != 4 {
			t.Errorf("in the end %v as of %v", names(got), got.Token())
		}
	})
}

// TestCallerName: the name that is made up is one that the registry takes, and another
// for each client.
func TestCallerName(t *testing.T) {
	name := callerName()
	if err := rollcall.CheckID("caller", name); err != nil || name == callerName() {
		t.Errorf("%q: %v", name, err)
	}
}

func TestSubscribeRefuses(t *testing.T) {
	c, err := Dial("")
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []rollcall.Query{{}, {Service: "a b"}, {Service: "payments", Pick: 1}, {Service: "payments", At: time.Now()}} {
		_, err := c.Subscribe(q)
		wantKind(t, err, rollcall.ErrInvalid)
	}
	c.Close()
	if _, err := c.Subscribe(rollcall.Query{Service: "payments"}); err == nil {
		t.Error("a closed client subscribes")
	}
	if _, done, err := c.Pick(t.Context(), "payments"); err == nil {
		t.Error("a closed client picks")
	} else {
		done(nil) // does nothing
	}
}

// TestRefusedSubscription: what the registry will refuse again is told at once, and the
// subscription recovers when it does not any more.
func TestRefusedSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			fail(w, 403, "forbidden", "not yours")
			return true
		})
		c := f.client(t)
		s := subscribe(t, c)
		began := time.Now()
		_, err := s.Ready(t.Context())
		wantKind(t, err, rollcall.ErrForbidden)
		_, err = s.Pick()
		wantKind(t, err, rollcall.ErrForbidden)
		_, _, err = c.Pick(t.Context(), "payments")
		if wantKind(t, err, rollcall.ErrForbidden); time.Since(began) > time.Second {
			t.Errorf("it took %v", time.Since(began))
		}
		telling(f, 3, "p-1")
		advance(time.Minute)
		if p, err := s.Pick(); err != nil || p.Instance().ID != "p-1" {
			t.Errorf("picked %v, %v", p.Instance(), err)
		}
	})
}

// TestPickWaits: for the first view, no longer than ctx or the timeout let it.
func TestPickWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.stop()
		c := f.client(t, WithTimeout(3*time.Second))
		began := time.Now()
		_, _, err := c.Pick(t.Context(), "payments")
		if wantKind(t, err, rollcall.ErrTimeout); time.Since(began) != 3*time.Second {
			t.Errorf("it took %v", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err = c.Pick(ctx, "payments")
		if wantKind(t, err, rollcall.ErrTimeout); time.Since(began) != 4*time.Second {
			t.Errorf("it took %v", time.Since(began))
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		_, _, err = c.Pick(ctx, "payments")
		wantKind(t, err, context.Canceled)
		_, err = subscribe(t, c).Pick()
		wantKind(t, err, rollcall.ErrNotSynced)
		telling(f, 3, "p-1")
		f.start()
		advance(6 * time.Second) // beyond the longest pause
		if p, _, err := c.Pick(t.Context(), "payments"); err != nil || p.Instance().ID != "p-1" {
			t.Errorf("picked %v, %v", p.Instance(), err)
		}
	})
}

// TestUnknownService: a name that means nothing costs one question for a while, and
// all of them no more than so many watches.
func TestUnknownService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		open := telling(f, 3, "p-1")
		c := f.client(t)
		asked := func() int {
			return len(f.requests("GET /api/v1/services/paymets")) - len(f.requests("GET /api/v1/services/paymets/"))
		}
		for n := range 100 {
			_, _, err := c.Pick(t.Context(), "paymets")
			if wantKind(t, err, rollcall.ErrNotFound); asked() != 1 {
				t.Fatalf("asked %d times at pick %d", asked(), n)
			}
		}
		advance(absent + time.Second)
		_, _, err := c.Pick(t.Context(), "paymets")
		if wantKind(t, err, rollcall.ErrNotFound); asked() != 2 {
			t.Errorf("asked %d times", asked())
		}
		for n := range 500 {
			_, _, err := c.Pick(t.Context(), fmt.Sprint("user-", n))
			wantKind(t, err, rollcall.ErrNotFound)
		}
		if n := open.Load(); n > 102 {
			t.Errorf("%d watches are open", n)
		}
	})
}

const absent = 5 * time.Second // for how long a service is believed to be

// TestTooManyNames: there is a most, which what means nothing is not counted in.
func TestTooManyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			_, name, _ := strings.Cut(r.URL.Path, "/services/")
			fmt.Fprintf(w, `{"type":"snapshot","revision":1,"token":"%s-1-0","instances":[{"service":%q,"id":"p-1"}]}`+"\n", testLog, strings.TrimSuffix(name, "/watch"))
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		})
		c := f.client(t)
		for n := range 1000 {
			if _, _, err := c.Pick(t.Context(), fmt.Sprint("s-", n)); err != nil {
				t.Fatal(n, err)
			}
		}
		_, _, err := c.Pick(t.Context(), "s-1000")
		wantKind(t, err, rollcall.ErrTooMany)
		if _, _, err := c.Pick(t.Context(), "s-7"); err != nil {
			t.Error(err)
		}
	})
}

// TestUnusedPicksEnd: a subscription that nobody picks from does, one that is does not.
func TestUnusedPicksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		telling(f, 3, "p-1")
		c := f.client(t)
		pick := func() { // and report
			p, done, err := c.Pick(t.Context(), "payments")
			if err != nil || p.Instance() == nil {
				t.Fatal(err)
			}
			done(nil)
		}
		watches := func() int { return len(f.requests("GET /api/v1/services/payments/watch")) }
		for range 10 {
			pick()
			advance(10 * time.Minute)
		}
		if watches() != 1 {
			t.Errorf("%d watches of what was used", watches())
		}
		advance(7 * time.Minute)
		pick()
		if watches() != 2 {
			t.Errorf("%d watches, want a second one", watches())
		}
	})
}

// TestOutcomesAreReported: a second later, then every five, and not at all if nothing
// happens. A registry that does not answer holds nobody up.
func TestOutcomesAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		telling(f, 3, "p-1")
		c := f.client(t, WithCaller("web-1"))
		for n := range 100 {
			_, done, err := c.Pick(t.Context(), "payments")
			if err != nil {
				t.Fatal(err)
			}
			advance(10 * time.Millisecond)
			switch {
			case n%10 == 0:
				done(errors.New("failed"))
			case n%10 == 1:
				done(fmt.Errorf("gave up: %w", context.Canceled))
			default:
				done(nil)
			}
		}
		advance(time.Minute)
		rs := f.requests("POST /api/v1/services/payments/reports")
		ok, failed := 0, 0
		for _, r := range rs {
			var got rollcall.CallerReport
			if err := json.Unmarshal([]byte(r.body), &got); err != nil || got.Validate() != nil || got.Caller != "web-1" {
				t.Fatalf("reported %s, %v", r.body, err)
			}
			ok += got.Instances[0].OK
			failed += got.Instances[0].Errors
		}
		if ok != 80 || failed != 10 || len(rs) > 3 {
			t.Errorf("told of %d and %d requests in %d reports, want 80 and 10", ok, failed, len(rs))
		}
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
		for range 100 {
			began := time.Now()
			_, done, err := c.Pick(t.Context(), "payments")
			if done(err); time.Since(began) != 0 {
				t.Fatal("a pick waits for the registry")
			}
			advance(100 * time.Millisecond)
		}
	})
}

// TestDisk: a client that finds no registry begins with what was known, says how old
// that is, and goes on from there when the registry is back.
func TestDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		telling(f, 3, "p-1", "p-2")
		dir := filepath.Join(t.TempDir(), "views")
		c := f.client(t, WithCacheDir(dir))
		ready(t, subscribe(t, c))
		advance(2 * time.Second)
		files, _ := filepath.Glob(filepath.Join(dir, "*.view"))
		if len(files) != 1 {
			t.Fatalf("on disk are %v", files)
		}
		advance(10 * time.Minute) // in which it was confirmed
		f.stop()
		c.Close()
		advance(time.Hour)

		c = f.client(t, WithCacheDir(dir))
		s := subscribe(t, c)
		began := time.Now()
		v := ready(t, s)
		if took := time.Since(began); !slices.Equal(names(v), []string{"p-1", "p-2"}) || took != 500*time.Millisecond {
			t.Errorf("began with %v after %v", names(v), took)
		}
		if age := v.Age(); age < time.Hour || age > time.Hour+6*time.Second {
			t.Errorf("the view is %v old, want an hour and a little", age)
		}
		if _, _, err := c.Pick(t.Context(), "payments"); err != nil {
			t.Error(err)
		}
		f.start()
		advance(10 * time.Second)
		if s.View() != v || v.Age() > 6*time.Second {
			t.Errorf("the view is another, or %v old", v.Age())
		}
		f.stop()
		c.Close()

		// Another log that lacks p-1 may only not have heard of it yet.
		foreign := strings.ReplaceAll(whole("reset", 1, "p-2"), testLog, "fedcba9876543210")
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			fmt.Fprintln(w, foreign)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		})
		f.start()
		c = f.client(t, WithCacheDir(dir))
		v = ready(t, subscribe(t, c))
		if !slices.Equal(names(v), []string{"p-1", "p-2"}) || v.Token().Log == testLog {
			t.Errorf("a registry that settles leaves %v", names(v))
		}
	})
}

// TestDamagedDisk: what cannot be read is as good as not there.
func TestDamagedDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		telling(f, 3, "p-1")
		dir := t.TempDir()
		c := f.client(t, WithCacheDir(dir))
		ready(t, subscribe(t, c))
		c.Close()
		files, _ := filepath.Glob(filepath.Join(dir, "*.view"))
		if len(files) != 1 {
			t.Fatalf("on disk are %v", files)
		}
		if err := os.Truncate(files[0], 40); err != nil {
			t.Fatal(err)
		}
		f.stop()
		c = f.client(t, WithCacheDir(dir), WithTimeout(time.Second))
		_, _, err := c.Pick(t.Context(), "payments")
		wantKind(t, err, rollcall.ErrTimeout)
	})
}

// TestNoRegistryForADay: with every server dead and a tenth of the instances dying
// requests go on to be answered, also by a client that was started in the middle of it.
func TestNoRegistryForADay(t *testing.T) {
	const instances, dying = 50, 5
	day, every := 24*time.Hour, 100*time.Millisecond
	if raceEnabled || testing.Short() { // nothing is shared that is not elsewhere, and it takes ten times as long
		day = 2 * time.Hour
	}
	var ids []string
	for n := range instances {
		ids = append(ids, fmt.Sprintf("p-%02d", n))
	}
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		telling(f, 3, ids...)
		dir := t.TempDir()
		c := f.client(t, WithCacheDir(dir))
		s := subscribe(t, c)
		ready(t, s)
		advance(2 * time.Second)
		f.stop()
		began := time.Now()
		dead := func(id string) bool { // one after another in the first half of the day
			for n := range dying {
				if id == ids[n*7] {
					return time.Since(began) > time.Duration(n+1)*day/(2*dying+2)
				}
			}
			return false
		}
		send := func(p Pick) error {
			advance(time.Millisecond)
			if dead(p.Instance().ID) {
				p.Done(refused)
				return refused
			}
			p.Done(nil)
			return nil
		}
		requests, first, both, restarted := 0, 0, 0, false
		for time.Since(began) < day {
			if !restarted && time.Since(began) > day/2 {
				restarted = true
				c.Close()
				c = f.client(t, WithCacheDir(dir))
				s = subscribe(t, c)
				ready(t, s)
			}
			requests++
			p, err := s.Pick()
			if err != nil {
				t.Fatal(err)
			}
			if send(p) != nil {
				first++
				again, err := s.PickOther(p.Instance().ID)
				if err != nil {
					t.Fatal(err)
				}
				if send(again) != nil {
					both++
				}
			}
			advance(every)
		}
		if age := s.View().Age(); age < day {
			t.Errorf("the view is %v old, want %v", age, day)
		}
		t.Logf("%d requests: %.4f %% answered at the first attempt, %.4f %% at the second", requests,
			100-100*float64(first)/float64(requests), 100-100*float64(both)/float64(requests))
		if float64(both) > 0.001*float64(requests) {
			t.Errorf("%d of %d requests failed", both, requests)
		}
		if float64(first) > 0.01*float64(requests) {
			t.Errorf("%d of %d first attempts failed: what is dead is not left alone", first, requests)
		}
	})
}
