package history

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

var seed = flag.Uint64("seed", 0, "seed of the random tests; 0 draws one")

func random(t testing.TB) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// at builds an entry about an instance of service "s".
func at(rev int, when int, id, image string) Entry {
	return Entry{Log: logA, Image: image, Event: rollcall.Event{
		Revision: rollcall.Revision(rev), At: second(when), Type: "updated", Namespace: "default", Service: "S", ID: id,
	}}
}

func key(id string) rollcall.Key { return rollcall.NewKey("default", "s", id) }

func TestSince(t *testing.T) {
	h := open(t, "", 0)
	h.Add(
		at(1, 10, "x", ""),
		at(2, 20, "x", "x1"),
		at(3, 20, "", "settings1"),
		at(4, 30, "y", ""),
		at(5, 40, "x", "x2"),
		at(6, 50, "y", "y1"),
		Entry{Log: logA, Image: "z0", Event: rollcall.Event{Revision: 7, At: second(60), Namespace: "other", Service: "s", ID: "x"}},
		Entry{Log: logA, Image: "all0", Event: rollcall.Event{Revision: 8, At: second(70), Type: "guard"}},
	)
	other, everything := rollcall.NewKey("other", "s", "x"), rollcall.Key{}
	service := rollcall.NewServiceKey("default", "s")
	for _, tt := range []struct {
		at      time.Time
		service rollcall.ServiceKey
		want    map[rollcall.Key]string
	}{
		{second(70), rollcall.ServiceKey{}, map[rollcall.Key]string{}},
		{second(70).Add(-1), rollcall.ServiceKey{}, map[rollcall.Key]string{everything: "all0"}},
		{second(50), rollcall.ServiceKey{}, map[rollcall.Key]string{everything: "all0", other: "z0"}},
		{second(50), service, map[rollcall.Key]string{}},
		{second(49), service, map[rollcall.Key]string{key("y"): "y1"}},
		{second(39), service, map[rollcall.Key]string{key("y"): "y1", key("x"): "x2"}},
		{second(20), service, map[rollcall.Key]string{key("y"): "", key("x"): "x2"}},
		{second(19), service, map[rollcall.Key]string{key("y"): "", key("x"): "x1", key(""): "settings1"}},
		{second(10), service, map[rollcall.Key]string{key("y"): "", key("x"): "x1", key(""): "settings1"}},
		{second(10), rollcall.NewServiceKey("", "unknown"), map[rollcall.Key]string{}},
	} {
		got, err := h.Since(tt.at, tt.service)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("at %v of %v: %v\n%s", tt.at.Sub(epoch), tt.service, err, diff)
		}
	}
}

// TestSinceTheClockWentBack: entries count by their own times, in the order in
// which they were added.
func TestSinceTheClockWentBack(t *testing.T) {
	h := open(t, "", 0)
	h.Add(at(1, 0, "x", ""), at(2, 30, "x", "x1"), at(3, 20, "x", "x2"), at(4, 40, "x", "x3"))
	for when, want := range map[int]string{39: "x3", 30: "x3", 29: "x1", 20: "x1", 10: "x1"} {
		got, err := h.Since(second(when), rollcall.ServiceKey{})
		if err != nil || got[key("x")] != want {
			t.Errorf("at %d: %q, %v; want %q", when, got, err, want)
		}
	}
}

// refused checks that a time cannot be asked about, and what can.
func refused(t *testing.T, h *History, when time.Time, says string) {
	t.Helper()
	_, err := h.Since(when, rollcall.ServiceKey{})
	if e, ok := errors.AsType[*rollcall.Error](err); !ok || !errors.Is(err, rollcall.ErrInvalid) || e.Field != "at" || !strings.Contains(e.Detail, says) {
		t.Errorf("at %v: %v; want an error that says %s", when.Sub(epoch), err, says)
	}
}

// known checks back to when can be asked.
func known(t *testing.T, h *History, back time.Time) {
	t.Helper()
	refused(t, h, back.Add(-1), back.Format(time.RFC3339Nano))
	if _, err := h.Since(back, rollcall.ServiceKey{}); err != nil {
		t.Errorf("at %v: %v", back.Sub(epoch), err)
	}
	if got := h.Oldest(); !got.Equal(back) {
		t.Errorf("the past is known back to %v, want %v", got.Sub(epoch), back.Sub(epoch))
	}
}

func TestSinceTellsWhatItCannot(t *testing.T) {
	h := open(t, "", 0)
	refused(t, h, second(0), "nothing is known")
	fill(h, 5, 10)
	refused(t, h, h.now().Add(1), "future")
	known(t, h, second(5))
	h.Gap(logA, second(20), "the log was trimmed")
	known(t, h, second(20))
	fill(h, 30, 40)
	known(t, h, second(20))
	h.mu.Lock()
	h.seal() // with an index
	h.mu.Unlock()
	es, _, err := h.Events(rollcall.EventFilter{Service: "unknown", ID: "1"}, "", 1)
	if err != nil || len(es) != 1 || es[0].Type != TypeGap || es[0].Why != "the log was trimmed" || es[0].Revision != 10 || !es[0].At.Equal(second(20)) {
		t.Errorf("%+v, %v; want the gap", es, err)
	}
}

// TestAnotherLog: what one log says cannot be undone into another.
func TestAnotherLog(t *testing.T) {
	h := open(t, t.TempDir(), 0)
	fill(h, 0, 5)
	e := event(7)
	e.Log, e.Revision = logB, 3
	h.Add(e)
	known(t, h, second(7))
	if log, _ := h.newest.log, h.newest.rev; log != logB {
		t.Errorf("the newest is of %s", log)
	}
	// Who says so himself says it once.
	h.Gap(logA, second(8), "restored")
	e = event(9)
	e.Revision = 1
	h.Add(e)
	if got := list(t, h, rollcall.EventFilter{}, 20); len(got) != 9 {
		t.Errorf("%v", got)
	}
	known(t, h, second(8))
}

// TestPast makes random events, restarts and reads, and compares with what a
// list of all events says.
func TestPast(t *testing.T) {
	r := random(t)
	dir := t.TempDir()
	h := open(t, dir, 0)
	var all []Entry
	state := map[rollcall.Key]string{}
	now := 0
	for step := range 3000 {
		switch n := r.IntN(100); {
		case n < 90:
			now += r.IntN(3)
			e := at(len(all)/3+1, now-r.IntN(2), fmt.Sprint(r.IntN(40)), "")
			e.Service = []string{"a", "b", "C"}[r.IntN(3)]
			k := e.key()
			e.Image = state[k]
			if e.Type = "removed"; r.IntN(4) > 0 || state[k] == "" {
				e.Type = fmt.Sprint("put", step)
			}
			if state[k] = e.Type; e.Type == "removed" {
				state[k] = ""
			}
			all = append(all, e)
			h.Add(e)
		case n < 93:
			h.mu.Lock()
			h.seal()
			h.mu.Unlock()
		case n < 96:
			h.flush()
		case n < 97:
			if r.IntN(2) == 0 {
				h.flush()
			}
			h.Close()
			h = open(t, dir, 0)
			_, last := h.Last()
			for _, e := range all {
				if e.Revision >= last { // those of a cut revision as well
					h.Add(e)
				}
			}
			if h.Len() != len(all) {
				t.Fatalf("%d entries after a restart, want %d", h.Len(), len(all))
			}
		case len(all) > 0:
			when := r.IntN(now + 1)
			service := []rollcall.ServiceKey{{}, rollcall.NewServiceKey("", "a"), rollcall.NewServiceKey("", "c")}[r.IntN(3)]
			want := map[rollcall.Key]string{}
			for n := len(all) - 1; n >= 0; n-- {
				if e := &all[n]; e.At.After(second(when)) && (service.Service == "" || e.key().ServiceKey == service) {
					want[e.key()] = e.Image
				}
			}
			got, err := h.Since(second(when), service)
			if second(when).Before(h.Oldest()) {
				if err == nil {
					t.Fatalf("at %d: no error", when)
				}
				continue
			}
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Fatalf("step %d, at %d of %v: %v\n%s", step, when, service, err, diff)
			}
		}
	}
}
