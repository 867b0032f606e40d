package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

var p1 = rollcall.NewKey("", "payments", "p-1")

// instance returns an instance as the registry has it.
func instance(t *testing.T, r *registry.Registry, key rollcall.Key) rollcall.Instance {
	t.Helper()
	i, err := r.Instance(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// status returns the verdict on an instance once what is under way has settled.
func status(t *testing.T, r *registry.Registry, key rollcall.Key) rollcall.Status {
	t.Helper()
	synctest.Wait()
	return instance(t, r, key).Health.Status
}

func TestRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		i, created, err := r.Register(t.Context(), payments("p-1"), 0)
		if err != nil || !created {
			t.Fatalf("created %v, %v", created, err)
		}
		if i.Revision == 0 || i.Incarnation != i.Revision || i.Health.Status != rollcall.Healthy || *i.Weight != 100 {
			t.Errorf("registered as %+v", i)
		}
		// The same again is a renewal.
		time.Sleep(10 * time.Second)
		again, created, err := r.Register(t.Context(), payments("p-1"), 0)
		if err != nil || created || again.Revision != i.Revision {
			t.Errorf("the same registration: revision %d, created %v, %v; want a renewal", again.Revision, created, err)
		}
		time.Sleep(10 * time.Second)
		if got := status(t, r, p1); got != rollcall.Healthy {
			t.Errorf("%v 10 s after its renewal", got)
		}
		// Another is a new incarnation.
		changed := payments("p-1")
		changed.Version = "2"
		is, created, err := r.Register(t.Context(), changed, 0)
		if err != nil || created || is.Incarnation <= i.Incarnation || is.Version != "2" {
			t.Errorf("a changed registration: %+v, created %v, %v", is, created, err)
		}
		// After a lapse, the same is a renewal and a transition.
		time.Sleep(16 * time.Second)
		if got := status(t, r, p1); got != rollcall.Unhealthy {
			t.Fatalf("%v after 16 s of silence", got)
		}
		back, _, err := r.Register(t.Context(), changed, 0)
		if err != nil || back.Health.Status != rollcall.Healthy {
			t.Errorf("registered again: %v, %v", back.Health, err)
		}
		// An id is chosen for one who has none.
		anon := payments("")
		i, created, err = r.Register(t.Context(), anon, 0)
		if err != nil || !created || !strings.HasPrefix(i.ID, "payments-") {
			t.Errorf("id %q, created %v, %v", i.ID, created, err)
		}
		// A name keeps the form in which it was first written.
		loud := payments("p-2")
		loud.Service = "PAYMENTS"
		if i := register(t, r, loud); i.Service != "payments" {
			t.Errorf("shown as %q", i.Service)
		}
	})
}

func TestRegisterRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		for field, spoil := range map[string]func(*rollcall.Instance){
			"service":    func(i *rollcall.Instance) { i.Service = "no such" },
			"lease.ttl":  func(i *rollcall.Instance) { i.Lease.TTL = rollcall.Duration(-time.Second) },
			"lease.mode": func(i *rollcall.Instance) { i.Lease.Mode = rollcall.LeaseSession },
			"checks[0].type": func(i *rollcall.Instance) {
				i.Checks = []rollcall.Check{{Name: "c", Type: rollcall.CheckExec, Target: "/bin/true"}}
			},
			"address": func(i *rollcall.Instance) { i.Address = "10.0.0.1:80" },
		} {
			i := payments("p-1")
			spoil(&i)
			_, _, err := r.Register(t.Context(), i, 0)
			if e, ok := errors.AsType[*rollcall.Error](err); !ok || e.Field != field {
				t.Errorf("%v, want an error about %s", err, field)
			}
		}
		if _, err := r.Resolve(t.Context(), &rollcall.Query{Service: "payments"}); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("%v, want nothing to be registered", err)
		}
	})
}

func TestIfMatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		i := register(t, r, payments("p-1"))
		next := payments("p-1")
		next.Version = "2"
		if _, _, err := r.Register(t.Context(), next, i.Revision+1); !errors.Is(err, rollcall.ErrPrecondition) {
			t.Errorf("register: %v", err)
		}
		if err := r.Deregister(t.Context(), p1, i.Revision+1); !errors.Is(err, rollcall.ErrPrecondition) {
			t.Errorf("deregister: %v", err)
		}
		is, _, err := r.Register(t.Context(), next, i.Revision)
		if err != nil || is.Version != "2" {
			t.Errorf("register: %v", err)
		}
		// Health does not stand in the way of a writer who read the registration.
		time.Sleep(16 * time.Second)
		if status(t, r, p1) != rollcall.Unhealthy {
			t.Fatal("no lapse")
		}
		if err := r.Deregister(t.Context(), p1, is.Revision); err != nil {
			t.Errorf("deregister: %v", err)
		}
		if err := r.Deregister(t.Context(), p1, 0); err != nil {
			t.Errorf("deregister what is gone: %v", err)
		}
	})
}

// TestUpdatesAreNotLost has many writers change one instance at once, each
// another part of it.
func TestUpdatesAreNotLost(t *testing.T) {
	r := start(t, memory.New())
	before := register(t, r, payments("p-1"))
	const writers = 20
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			_, err := r.Update(t.Context(), p1, 0, func(i *rollcall.Instance) error {
				if i.Metadata == nil {
					i.Metadata = map[string]string{}
				}
				i.Metadata[fmt.Sprint(n)] = "x"
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	after := instance(t, r, p1)
	if len(after.Metadata) != writers {
		t.Errorf("%d of %d updates are there", len(after.Metadata), writers)
	}
	if after.Incarnation != before.Incarnation || !after.RegisteredAt.Equal(before.RegisteredAt) {
		t.Error("an update began a new incarnation")
	}
}

func TestUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		i := register(t, r, payments("p-1"))
		update := func(edit func(*rollcall.Instance)) (rollcall.Instance, error) {
			return r.Update(t.Context(), p1, 0, func(i *rollcall.Instance) error { edit(i); return nil })
		}
		if _, err := update(func(i *rollcall.Instance) { i.ID = "other" }); !errors.Is(err, rollcall.ErrInvalid) {
			t.Errorf("another id: %v", err)
		}
		if _, err := update(func(i *rollcall.Instance) { i.Version = strings.Repeat("x", 513) }); !errors.Is(err, rollcall.ErrInvalid) {
			t.Errorf("a long version: %v", err)
		}
		if same, err := update(func(*rollcall.Instance) {}); err != nil || same.Revision != i.Revision {
			t.Errorf("nothing changed: revision %d, %v", same.Revision, err)
		}
		// No sign of life: it lapses when it would have.
		time.Sleep(10 * time.Second)
		if _, err := update(func(i *rollcall.Instance) { i.Version = "2" }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		if got := status(t, r, p1); got != rollcall.Unhealthy {
			t.Errorf("%v, want the update not to have renewed the lease", got)
		}
		// A new TTL counts from the last renewal.
		if _, err := update(func(i *rollcall.Instance) { i.Lease.TTL = rollcall.Duration(time.Minute) }); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Update(t.Context(), rollcall.NewKey("", "payments", "nobody"), 0, nil); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("nobody: %v", err)
		}
	})
}

func TestPositionAloneIsSoft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.New()
		r := start(t, log)
		i := register(t, r, payments("p-1"))
		answer := func() rollcall.Token {
			a, err := r.Resolve(t.Context(), &rollcall.Query{Service: "payments"})
			if err != nil {
				t.Fatal(err)
			}
			return a.Token()
		}
		before := answer()
		moved, err := r.Update(t.Context(), p1, 0, func(i *rollcall.Instance) error {
			i.Position = &rollcall.Position{Lat: 52.52, Lon: 13.4}
			return nil
		})
		if err != nil || moved.Revision != i.Revision || moved.Position == nil || moved.Position.Lat != 52.52 {
			t.Errorf("moved to %+v at revision %d, %v", moved.Position, moved.Revision, err)
		}
		after := answer()
		if after.Revision != before.Revision || after.Generation == before.Generation {
			t.Errorf("token %v after %v: want another generation, not revision", after, before)
		}
		// It reaches the log before long.
		time.Sleep(2 * time.Second)
		synctest.Wait()
		logged := instance(t, r, p1)
		if logged.Revision == i.Revision || logged.Position == nil || logged.Incarnation != i.Incarnation {
			t.Errorf("after 2 s: %+v, want the position in the log", logged)
		}
	})
}

func TestDrainAndOverride(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		i := payments("p-1")
		i.Lease.Mode = rollcall.LeaseNone
		register(t, r, i)
		is := func(want rollcall.Status) {
			t.Helper()
			if got := instance(t, r, p1).Health; got.Status != want {
				t.Fatalf("%+v, want %v", got, want)
			}
		}
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		drain := func(on bool) {
			t.Helper()
			_, err := r.Drain(t.Context(), p1, on, 0)
			do(err)
		}
		drain(true)
		is(rollcall.Draining)
		drain(true)
		drain(false)
		is(rollcall.Healthy)
		drain(true)
		register(t, r, i) // a registration is a fresh start
		is(rollcall.Healthy)

		if err := r.Override(t.Context(), rollcall.NewKey("", "payments", "nobody"), &rollcall.Override{Status: rollcall.Unhealthy}); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("override of nobody: %v", err)
		}
		do(r.Override(t.Context(), p1, &rollcall.Override{Status: rollcall.Unhealthy, Reason: "disk"}))
		is(rollcall.Unhealthy)
		if got := instance(t, r, p1).Health.Reason; got != "override: disk" {
			t.Errorf("reason %q", got)
		}
		i.Version = "2"
		register(t, r, i)
		is(rollcall.Unhealthy)
		do(r.Deregister(t.Context(), p1, 0))
		register(t, r, i)
		is(rollcall.Unhealthy)
		do(r.Override(t.Context(), p1, nil))
		is(rollcall.Healthy)

		soon := time.Now().Add(time.Minute)
		do(r.Override(t.Context(), p1, &rollcall.Override{Status: rollcall.Draining, Expires: &soon}))
		is(rollcall.Draining)
		time.Sleep(time.Minute + 2*time.Second)
		synctest.Wait()
		is(rollcall.Healthy)

		es, _, err := r.Events(t.Context(), rollcall.EventFilter{Service: "payments"}, "", 100)
		do(err)
		var types []string
		for _, e := range slices.Backward(es) {
			types = append(types, e.Type)
		}
		want := "registered health health health registered override registered removed registered override_cleared override override_cleared"
		if got := strings.Join(types, " "); got != want {
			t.Errorf("history\n %s, want\n %s", got, want)
		}
	})
}

func TestRegisterManyAnswersForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		bad := payments("p-2")
		bad.Ports = map[string]uint16{"http": 0}
		got := r.RegisterMany(t.Context(), []rollcall.Instance{payments("p-1"), bad, payments("p-3")})
		if got[0].Err != nil || got[2].Err != nil || !got[0].Created || got[0].Revision == 0 {
			t.Errorf("%+v", got)
		}
		if e, ok := errors.AsType[*rollcall.Error](got[1].Err); !ok || e.Field != "ports.http" {
			t.Errorf("%v, want an error about ports.http", got[1].Err)
		}
		if got := ids(t, r, rollcall.Query{Service: "payments"}); !slices.Equal(got, []string{"p-1", "p-3"}) {
			t.Errorf("registered are %v", got)
		}
		n, unknown, err := r.RenewMany(t.Context(), []rollcall.Renew{{Key: p1}, {Key: rollcall.NewKey("", "payments", "p-2")}})
		if n != 1 || len(unknown) != 1 || unknown[0].ID != "p-2" || err != nil {
			t.Errorf("renewed %d, unknown %v, %v", n, unknown, err)
		}
	})
}

// TestPreparedInOnePiece: an instance whose lists are packed already is prepared like
// any other, and its id and record have nothing else in their memory.
func TestPreparedInOnePiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, memory.New())
		i := payments("p-1")
		i.Metadata = map[string]string{"team": "checkout"}
		b, err := proto.Marshal(pb.FromInstance(&i))
		if err != nil {
			t.Fatal(err)
		}
		for _, service := range []string{"new", "known"} {
			want, err := r.Prepare(t.Context(), &i, "")
			if err != nil || want.Key != p1 || want.Text != "p-1"+string(want.Record) {
				t.Fatalf("%s: %+v, %v", service, want, err)
			}
			var plain rollcall.Instance
			lists, ok := record.ReadPlain(string(b), &plain, nil, r.Limits())
			if got, err := r.Prepare(t.Context(), &plain, string(lists)); !ok || len(lists) == 0 || got != want || err != nil {
				t.Fatalf("%s: %+v, %v, want %+v", service, got, err, want)
			}
			register(t, r, payments("p-2"))
		}
		var wrong rollcall.Instance
		if _, err := r.Prepare(t.Context(), &wrong, "lists"); !errors.Is(err, rollcall.ErrInvalid) {
			t.Errorf("without a service: %v", err)
		}
	})
}

// brokenLog is a log that can be told to refuse writes.
type brokenLog struct {
	*memory.Log
	mu     sync.Mutex
	broken bool
}

func (l *brokenLog) Append(ctx context.Context, b rollcall.Batch) (rollcall.Revision, error) {
	l.mu.Lock()
	broken := l.broken
	l.mu.Unlock()
	if broken {
		return 0, &rollcall.Error{Kind: rollcall.ErrUnavailable, Detail: "no space left"}
	}
	return l.Log.Append(ctx, b)
}

func (l *brokenLog) Status() rollcall.LogStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.Log.Status()
	if l.broken {
		st.Err = &rollcall.Error{Kind: rollcall.ErrUnavailable, Detail: "no space left"}
	}
	return st
}

func (l *brokenLog) set(broken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = broken
}

// TestLogOutage: reads and renewals go on, nothing is lost, and verdicts are
// made up for.
func TestLogOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &brokenLog{Log: memory.New()}
		r := start(t, log)
		register(t, r, payments("p-1"))
		register(t, r, payments("p-2"))
		log.set(true)
		if _, _, err := r.Register(t.Context(), payments("p-3"), 0); !errors.Is(err, rollcall.ErrUnavailable) {
			t.Errorf("register: %v", err)
		}
		if err := r.Ready(); !errors.Is(err, rollcall.ErrUnavailable) {
			t.Errorf("ready: %v", err)
		}
		p2 := rollcall.NewKey("", "payments", "p-2")
		for range 6 {
			time.Sleep(5 * time.Second)
			if _, err := r.Renew(t.Context(), p2, nil); err != nil {
				t.Fatal(err)
			}
		}
		// p-1 has lapsed, and nobody could write it down.
		if got := ids(t, r, rollcall.Query{Service: "payments"}); len(got) != 2 {
			t.Errorf("answers %v during the outage", got)
		}
		log.set(false)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if got := ids(t, r, rollcall.Query{Service: "payments"}); !slices.Equal(got, []string{"p-2"}) {
			t.Errorf("answers %v after it, want the one that is alive", got)
		}
		if err := r.Ready(); err != nil {
			t.Errorf("ready: %v", err)
		}
	})
}
