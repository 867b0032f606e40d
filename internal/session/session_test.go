package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

// world is a registry as far as sessions need one, with a clock that stands
// still unless it is moved.
type world struct {
	*Table
	leases      *lease.Table
	clock       time.Duration
	incarnation rollcall.Revision
	registered  map[rollcall.Key]rollcall.Revision
	judged      []rollcall.Key
	down        error
}

func newWorld() *world {
	w := &world{registered: map[rollcall.Key]rollcall.Revision{}}
	w.leases = lease.New(func() time.Duration { return w.clock })
	w.leases.Begin()
	w.Table = New(Options{
		Leases: w.leases, Judge: func(keys ...rollcall.Key) { w.judged = append(w.judged, keys...) },
		Register: w.register, Renew: w.renew, Deregister: w.deregister,
		Now:    func() time.Time { return time.Unix(0, int64(w.clock)) },
		Logger: slog.New(slog.DiscardHandler),
	})
	return w
}

func (w *world) register(_ context.Context, i rollcall.Instance, _ rollcall.Revision) (rollcall.Instance, bool, error) {
	if w.down != nil {
		return i, false, w.down
	}
	key := i.Key()
	_, known := w.registered[key]
	w.incarnation++
	i.Normalize()
	i.Incarnation = w.incarnation
	w.registered[key] = w.incarnation
	w.leases.Set(key, lease.Grant{Incarnation: w.incarnation, Lease: i.Lease, Found: rollcall.Healthy})
	return i, !known, nil
}

func (w *world) renew(_ context.Context, key rollcall.Key, _ *rollcall.Report) (rollcall.Renewal, error) {
	if _, known, _ := w.leases.Renew(key); !known {
		return rollcall.Renewal{}, rollcall.ErrNotFound
	}
	return rollcall.Renewal{}, nil
}

func (w *world) deregister(_ context.Context, key rollcall.Key, incarnation rollcall.Revision) error {
	if w.down != nil {
		return w.down
	}
	if incarnation != 0 && w.registered[key] != incarnation {
		return nil
	}
	delete(w.registered, key)
	w.leases.Drop(key)
	w.Removed(key)
	return nil
}

// run lets time pass and returns who fell silent.
func (w *world) run(d time.Duration) (silent []string) {
	for end := w.clock + d; w.clock < end; {
		w.clock += lease.Tick
		for _, key := range w.leases.Tick() {
			if is, _ := w.leases.Silent(key); is {
				silent = append(silent, key.ID)
			}
		}
	}
	slices.Sort(silent)
	return silent
}

func (w *world) open(t *testing.T, token string) (*Session, bool) {
	t.Helper()
	s, resumed, err := w.Open(token, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s, resumed
}

func (w *world) with(t *testing.T, s *Session, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, _, err := s.Register(t.Context(), rollcall.Instance{Service: "s", ID: id}, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func lost(s *Session) (ids []string) {
	for {
		select {
		case key := <-s.Lost():
			ids = append(ids, key.ID)
		default:
			slices.Sort(ids)
			return ids
		}
	}
}

func key(id string) rollcall.Key { return rollcall.NewKey("", "s", id) }

// TestAlive: what is heard on the stream keeps all of its instances, and silence
// none of them.
func TestAlive(t *testing.T) {
	w := newWorld()
	s, resumed := w.open(t, "")
	if resumed || s.Token() == "" || s.TTL() != 15*time.Second || s.Ping() != 2*time.Second {
		t.Errorf("%v %q %v %v", resumed, s.Token(), s.TTL(), s.Ping())
	}
	w.with(t, s, "a", "b")
	if ev, _ := w.leases.Evidence(key("a")); ev.TTL != 15*time.Second {
		t.Errorf("%+v", ev)
	}
	for range 30 {
		if silent := w.run(2 * time.Second); silent != nil {
			t.Fatalf("%v fell silent", silent)
		}
		s.Alive()
	}
	if got := w.run(16 * time.Second); fmt.Sprint(got) != "[a b]" {
		t.Errorf("%v fell silent, want both", got)
	}
	s.Alive()
	if len(w.judged) != 2 {
		t.Errorf("%v are judged anew, want both", w.judged)
	}
}

// TestBreak: a stream that ends without a goodbye counts after the grace, unless
// the session is taken up again.
func TestBreak(t *testing.T) {
	w := newWorld()
	s, _ := w.open(t, "")
	w.with(t, s, "a", "b")
	s.Break("reset")
	if got := w.run(lease.Grace - lease.Tick); got != nil {
		t.Errorf("%v fell silent within the grace", got)
	}
	next, resumed := w.open(t, s.Token())
	if !resumed || next.Token() != s.Token() {
		t.Fatal("not taken up again")
	}
	s.Break("the first stream, once more")
	if got := w.run(2 * time.Second); got != nil {
		t.Errorf("%v fell silent although they were taken up", got)
	}
	next.Break("reset")
	if got := w.run(lease.Grace + 2*lease.Tick); fmt.Sprint(got) != "[a b]" {
		t.Errorf("%v fell silent after the grace, want both", got)
	}
	if ev, _ := w.leases.Evidence(key("a")); !ev.Broken {
		t.Errorf("%+v", ev)
	}
	// Also after that.
	next, resumed = w.open(t, s.Token())
	if ev, _ := w.leases.Evidence(key("a")); !resumed || ev.State != lease.Alive {
		t.Errorf("%v %+v", resumed, ev)
	}
	// But not for ever.
	next.Break("reset")
	w.run(16 * time.Second)
	w.Sweep()
	if _, resumed = w.open(t, s.Token()); resumed || w.Len() != 1 {
		t.Errorf("resumed %v, %d sessions", resumed, w.Len())
	}
}

// TestLeave: a stream that the server gave up says nothing of its instances.
func TestLeave(t *testing.T) {
	w := newWorld()
	s, _ := w.open(t, "")
	w.with(t, s, "a")
	s.Leave()
	if got := w.run(14 * time.Second); got != nil {
		t.Errorf("%v fell silent", got)
	}
	if got := w.run(2 * time.Second); fmt.Sprint(got) != "[a]" {
		t.Errorf("%v fell silent after the TTL", got)
	}
}

// TestBrokenMeanwhile: what is registered while its stream breaks is broken too.
func TestBrokenMeanwhile(t *testing.T) {
	w := newWorld()
	s, _ := w.open(t, "")
	w.o.Register = func(ctx context.Context, i rollcall.Instance, m rollcall.Revision) (rollcall.Instance, bool, error) {
		s.Break("reset")
		return w.register(ctx, i, m)
	}
	w.with(t, s, "a")
	if got := w.run(lease.Grace + 2*lease.Tick); fmt.Sprint(got) != "[a]" {
		t.Errorf("%v fell silent", got)
	}
}

// TestGoodbye removes at once what is meant, and tells nobody that it is lost.
func TestGoodbye(t *testing.T) {
	w := newWorld()
	s, _ := w.open(t, "")
	w.with(t, s, "a", "b", "c")
	if err := s.Goodbye(t.Context(), key("a"), key("stranger")); err != nil {
		t.Fatal(err)
	}
	if len(w.registered) != 2 || s.Len() != 2 {
		t.Errorf("%v registered, %d in the session", w.registered, s.Len())
	}
	w.down = errors.New("the log takes no writes")
	if err := s.Goodbye(t.Context()); err != w.down || s.Len() != 2 {
		t.Errorf("%v, %d in the session; want them kept", err, s.Len())
	}
	w.down = nil
	if err := s.Goodbye(t.Context()); err != nil || len(w.registered) != 0 || w.Len() != 0 {
		t.Errorf("%v, %v registered, %d sessions", err, w.registered, w.Len())
	}
	s.Alive()
	if got := lost(s); got != nil {
		t.Errorf("%v are lost", got)
	}
	if _, resumed := w.open(t, s.Token()); resumed {
		t.Error("a session was taken up after its goodbye")
	}
}

// TestLost: what somebody else removed is to be registered again, and what
// somebody else registered is theirs.
func TestLost(t *testing.T) {
	w := newWorld()
	s, _ := w.open(t, "")
	w.with(t, s, "a", "b", "c")
	w.deregister(t.Context(), key("a"), 0)
	if got := lost(s); fmt.Sprint(got) != "[a]" {
		t.Errorf("%v are lost, want a at once", got)
	}
	s.Alive()
	if got := lost(s); fmt.Sprint(got) != "[a]" {
		t.Errorf("%v are lost, want a until it is back", got)
	}
	w.with(t, s, "a")
	if s.Alive(); lost(s) != nil {
		t.Error("it is lost although it is back")
	}

	other, _ := w.open(t, "")
	w.with(t, other, "b") // another session
	w.register(t.Context(), rollcall.Instance{Service: "s", ID: "c"}, 0)
	s.Alive()
	if got := lost(s); got != nil {
		t.Errorf("%v are lost", got)
	}
	if err := s.Goodbye(t.Context(), key("b")); err != nil || w.registered[key("b")] == 0 {
		t.Errorf("%v: a goodbye for what is another session's removed it", err)
	}
	// When that is gone, it is to be registered again.
	w.deregister(t.Context(), key("c"), 0)
	if s.Alive(); fmt.Sprint(lost(s)) != "[c c]" { // at once, and with the next sign of life
		t.Error("c is gone, and nobody was told")
	}
	s.Break("reset")
	if got := w.run(lease.Grace + 2*lease.Tick); fmt.Sprint(got) != "[a]" {
		t.Errorf("%v fell silent with a session that lost them", got)
	}

	// More than can wait at once are told one after the other.
	var ids []string
	for n := range 3 * lostWaiting {
		ids = append(ids, fmt.Sprintf("m-%02d", n))
	}
	w.with(t, other, ids...)
	for _, id := range ids {
		w.deregister(t.Context(), key(id), 0)
	}
	told := map[string]bool{}
	for range 100 {
		for _, id := range lost(other) {
			told[id] = true
			w.with(t, other, id)
		}
		w.clock += time.Second // it has so many that not each sign of life is passed on
		other.Alive()
	}
	if len(told) != len(ids) {
		t.Errorf("%d of %d were told", len(told), len(ids))
	}
}

// TestSuperseded: of two streams with one token the later one has the session, the
// other is told to end, and what becomes of it harms nobody.
func TestSuperseded(t *testing.T) {
	w := newWorld()
	first, _ := w.open(t, "")
	w.with(t, first, "a")
	second, resumed := w.open(t, first.Token())
	select {
	case <-first.Ended():
	default:
		t.Error("the first stream is not told to end")
	}
	if !resumed {
		t.Error("not taken up")
	}
	first.Break("reset")
	first.Leave()
	for range 10 {
		if silent := w.run(2 * time.Second); silent != nil {
			t.Fatalf("%v fell silent", silent)
		}
		first.Alive()
		second.Alive()
	}
	select {
	case <-second.Ended():
		t.Error("the second stream ends too")
	default:
	}
}

// TestRegisteredElsewhere: a stream that breaks takes nobody down who is kept by
// another session, or by heartbeats, since.
func TestRegisteredElsewhere(t *testing.T) {
	w := newWorld()
	old, _ := w.open(t, "")
	w.with(t, old, "same", "put")
	next, _ := w.open(t, "")
	w.o.Register = func(_ context.Context, i rollcall.Instance, _ rollcall.Revision) (rollcall.Instance, bool, error) {
		i.Incarnation = w.registered[i.Key()] // the same again is a renewal
		w.leases.Renew(i.Key())
		return i, false, nil
	}
	w.with(t, next, "same")
	w.register(t.Context(), rollcall.Instance{Service: "s", ID: "put"}, 0)
	old.Break("reset")
	if got := w.run(lease.Grace + 2*lease.Tick); got != nil {
		t.Errorf("%v fell silent", got)
	}
}

// TestBounds: neither sessions nor their instances are without number, and what
// has no instance is not remembered.
func TestBounds(t *testing.T) {
	w := newWorld()
	s, _ := w.open(t, "")
	for n := range mostInstances {
		w.with(t, s, fmt.Sprint(n))
	}
	if _, _, err := s.Register(t.Context(), rollcall.Instance{Service: "s", ID: "more"}, 0); !errors.Is(err, rollcall.ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	w.with(t, s, "7") // again
	again, _ := w.open(t, s.Token())
	if _, _, err := again.Register(t.Context(), rollcall.Instance{Service: "s", ID: "more"}, 0); !errors.Is(err, rollcall.ErrTooMany) {
		t.Errorf("one more on another stream: %v", err)
	}
	empty, _ := w.open(t, "")
	empty.Break("reset")
	if w.Len() != 1 {
		t.Errorf("%d sessions, want the one that has instances", w.Len())
	}
	for range most - 1 {
		w.open(t, "")
	}
	if _, _, err := w.Open("", 0); !errors.Is(err, rollcall.ErrTooMany) {
		t.Errorf("one more session: %v", err)
	}
	if _, resumed, err := w.Open(s.Token(), 0); err != nil || !resumed {
		t.Errorf("one that is there already: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	w := newWorld()
	for _, ttl := range []time.Duration{-1, time.Second, 25 * time.Hour} {
		if _, _, err := w.Open("", ttl); !errors.Is(err, rollcall.ErrInvalid) || !strings.Contains(err.Error(), "ttl") {
			t.Errorf("%v: %v", ttl, err)
		}
	}
	w.down = errors.New("down")
	s, _ := w.open(t, "")
	if _, _, err := s.Register(t.Context(), rollcall.Instance{Service: "s", ID: "a"}, 0); err != w.down || s.Len() != 0 {
		t.Errorf("%v, %d in the session", err, s.Len())
	}
	if _, err := s.Report(t.Context(), key("a"), nil); !errors.Is(err, rollcall.ErrNotFound) {
		t.Errorf("a report on an instance that is not there: %v", err)
	}
}

func BenchmarkAlive(b *testing.B) {
	w := newWorld()
	s, _, _ := w.Open("", 0)
	s.Register(b.Context(), rollcall.Instance{Service: "s", ID: "a"}, 0)
	b.ReportAllocs()
	for b.Loop() {
		s.Alive()
	}
}
