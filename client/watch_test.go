package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

const testLog = "0123456789abcdef"

// script answers one connection after another with records; a connection
// whose records end in "hang" stays open, and a duration is a pause. It returns what each asked for as
// "after".
func script(f *fake, conns ...[]string) (afters func() []string) {
	n := 0
	var asked []string
	f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		f.mu.Lock()
		mine := conns[min(n, len(conns)-1)]
		n++
		asked = append(asked, r.FormValue("after"))
		f.mu.Unlock()
		w.Header().Set("Content-Type", "application/x-ndjson")
		for _, record := range mine {
			if record == "hang" {
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return true
			}
			if d, err := time.ParseDuration(record); err == nil {
				for ; d > 0; d -= 5 * time.Second {
					fmt.Fprintln(w) // is alive
					http.NewResponseController(w).Flush()
					retry.Pause(r.Context(), min(d, 5*time.Second))
				}
				continue
			}
			fmt.Fprintln(w, record)
		}
		return true
	})
	return func() []string {
		f.mu.Lock()
		defer f.mu.Unlock()
		return slices.Clone(asked)
	}
}

func whole(kind string, rev int, ids ...string) string {
	list := ""
	for i, id := range ids {
		if i > 0 {
			list += ","
		}
		list += fmt.Sprintf(`{"service":"payments","id":%q}`, id)
	}
	return fmt.Sprintf(`{"type":%q,"revision":%d,"token":"%s-%d-0","instances":[%s]}`, kind, rev, testLog, rev, list)
}

func bookmark(rev int) string {
	return fmt.Sprintf(`{"type":"bookmark","revision":%d,"token":"%s-%d-0"}`, rev, testLog, rev)
}

func remove(rev int, id string) string {
	return fmt.Sprintf(`{"type":"remove","revision":%d,"id":%q,"reason":"gone"}`, rev, id)
}

// follow watches until n events came and returns them as "type revision".
func follow(t *testing.T, c *Client, q rollcall.Query, n int) (events []string, err error) {
	t.Helper()
	for ev, err := range c.Watch(t.Context(), q) {
		if err != nil {
			return events, err
		}
		if events = append(events, fmt.Sprint(ev.Type, " ", ev.Revision)); len(events) == n {
			break
		}
	}
	return events, nil
}

func TestWatchIsResumedByToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		afters := script(f,
			[]string{whole("snapshot", 3, "p-1"), bookmark(5)},
			[]string{remove(6, "p-1"), bookmark(6), "hang"},
		)
		got, err := follow(t, f.client(t), rollcall.Query{Service: "payments"}, 4)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"snapshot 3", "bookmark 5", "remove 6", "bookmark 6"}; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		if want := []string{"", testLog + "-5-0"}; !slices.Equal(afters(), want) {
			t.Errorf("asked for after=%q, want %q", afters(), want)
		}
	})
}

func TestWatchThatBrokeInABatchStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		afters := script(f,
			[]string{whole("snapshot", 3, "p-1"), remove(6, "p-1"), `{"type":"put","revi`},
			[]string{whole("snapshot", 8, "p-2"), "hang"},
		)
		got, err := follow(t, f.client(t), rollcall.Query{Service: "payments"}, 3)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"snapshot 3", "remove 6", "reset 8"}; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		if want := []string{"", ""}; !slices.Equal(afters(), want) {
			t.Errorf("asked for after=%q, want %q", afters(), want)
		}
	})
}

func TestWatchGoesOnFromAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		afters := script(f, []string{whole("reset", 8, "p-2"), "hang"})
		token := rollcall.Token{Log: "fedcba9876543210", Revision: 70}
		got, err := follow(t, f.client(t), rollcall.Query{Service: "payments", After: token}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"reset 8"}; !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		if want := []string{token.String()}; !slices.Equal(afters(), want) {
			t.Errorf("asked for after=%q, want %q", afters(), want)
		}
	})
}

func TestSilentStreamIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		script(f,
			[]string{whole("snapshot", 3), "hang"},
			[]string{bookmark(3), "hang"},
		)
		began := time.Now()
		if _, err := follow(t, f.client(t), rollcall.Query{Service: "payments"}, 2); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < wire.Silence || took > wire.Silence+time.Second {
			t.Errorf("taken up again after %v, want %v", took, wire.Silence)
		}
	})
}

func TestWatchOutlivesAServerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		script(f, []string{whole("snapshot", 3), "hang"})
		f.stop()
		time.AfterFunc(time.Hour, f.start)
		began := time.Now()
		var log bytes.Buffer
		c := f.client(t, WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		got, err := follow(t, c, rollcall.Query{Service: "payments"}, 1)
		if err != nil || len(got) != 1 {
			t.Fatalf("events %q, err %v", got, err)
		}
		if said := log.String(); strings.Count(said, "watch broken") != 1 || strings.Count(said, "watch resumed") != 1 {
			t.Errorf("logged %s", said)
		}
		if late := time.Since(began) - time.Hour; late > 5*time.Second {
			t.Errorf("%v after the server is back, want at most 5s", late)
		}
	})
}

func TestWatchEndsWithAnErrorThatLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		n := 0
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if n++; n == 1 {
				fail(w, 503, "not-synced", "still reading the log")
			} else {
				fail(w, 400, "invalid", "no such field")
			}
			return true
		})
		_, err := follow(t, f.client(t), rollcall.Query{Filter: "x"}, 1)
		wantKind(t, err, rollcall.ErrInvalid)
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		script(f, []string{whole("snapshot", 3), "hang"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var last error
		for _, err := range f.client(t).Watch(ctx, rollcall.Query{Service: "payments"}) {
			last = err
		}
		if !errors.Is(last, context.DeadlineExceeded) {
			t.Errorf("ended with %v", last)
		}
	})
}

func TestWatchEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		script(f, []string{whole("snapshot", 3), "hang"})
		c := f.client(t)
		var last error
		for _, err := range c.Watch(t.Context(), rollcall.Query{Service: "payments"}) {
			if last = err; err == nil {
				c.Close()
			}
		}
		if last != errClientClosed {
			t.Errorf("ended with %v", last)
		}
	})
}

func TestEventsAreDecodedWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		script(f, []string{
			`{"type":"put","revision":4,"instance":{"service":"payments","id":"p-1","lease":{"ttl":"3s"}}}`,
			`{"type":"health","revision":5,"ids":["p-1","p-2"],"status":"degraded","reason":"slow","effective_weights":[50,7]}`,
			`{"type":"weights","generation":9,"weights":{"p-1":40}}`,
			`{"type":"remove","revision":6,"namespace":"default","service":"payments","id":"p-1","reason":"deregistered"}`,
			"hang",
		})
		var evs []Event
		for ev, err := range f.client(t).Watch(t.Context(), rollcall.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			if evs = append(evs, ev); len(evs) == 4 {
				break
			}
		}
		if i := evs[0].Instance; i == nil || i.ID != "p-1" || i.Lease.TTL != rollcall.Duration(3*time.Second) {
			t.Errorf("put: %+v", evs[0])
		}
		if e := evs[1]; e.Status != rollcall.Degraded || !slices.Equal(e.IDs, []string{"p-1", "p-2"}) || e.Reason != "slow" || !slices.Equal(e.EffectiveWeights, []uint16{50, 7}) {
			t.Errorf("health: %+v", e)
		}
		if e := evs[2]; e.Generation != 9 || e.Weights["p-1"] != 40 {
			t.Errorf("weights: %+v", e)
		}
		if e := evs[3]; e.ID != "p-1" || e.Service != "payments" || e.Reason != "deregistered" {
			t.Errorf("remove: %+v", e)
		}
	})
}

// of returns a record as one of another log than testLog.
func of(log, record string) string { return strings.ReplaceAll(record, testLog, log) }

// told follows a watch until it has told n events, and returns them as
// "seconds type ids".
func told(t *testing.T, c *Client, q rollcall.Query, n int) (events []string) {
	t.Helper()
	began := time.Now()
	for ev, err := range c.Watch(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, i := range ev.Instances {
			ids = append(ids, i.ID)
		}
		if ev.ID != "" {
			ids = append(ids, ev.ID)
		}
		if events = append(events, strings.TrimSpace(fmt.Sprintf("%.0f %s %s", time.Since(began).Seconds(), ev.Type, strings.Join(ids, " ")))); len(events) == n {
			break
		}
	}
	return events
}

// What another log does not have is kept until its owners have had the time to
// come back.
func TestForeignResetTakesNobodyAway(t *testing.T) {
	const other, third = "fedcba9876543210", "0011223344556677"
	put := `{"type":"put","revision":2,"instance":{"service":"payments","id":"p-2"},"token":"` + other + `-2-0"}`
	for name, x := range map[string]struct {
		conns [][]string
		want  []string
	}{
		"one comes back, one does not": {
			[][]string{
				{whole("snapshot", 7, "p-1", "p-2", "p-3")},
				{of(other, whole("reset", 1, "p-3")), "5s", put, "5s", of(other, bookmark(2)), "15s", of(other, bookmark(2)), "hang"},
			},
			[]string{"0 snapshot p-1 p-2 p-3", "0 reset p-3 p-1 p-2", "5 put", "10 bookmark", "25 remove p-1", "25 bookmark"},
		},
		"taken out on purpose": {
			[][]string{
				{whole("snapshot", 7, "p-1")},
				{of(other, whole("reset", 1)), "5s", remove(2, "p-1"), of(other, bookmark(2)), "30s", of(other, bookmark(2)), "hang"},
			},
			[]string{"0 snapshot p-1", "0 reset p-1", "5 remove p-1", "5 bookmark", "35 bookmark"},
		},
		"a reset of the same log": {
			[][]string{
				{whole("snapshot", 7, "p-1", "p-2")},
				{whole("reset", 9, "p-2"), "hang"},
			},
			[]string{"0 snapshot p-1 p-2", "0 reset p-2"},
		},
		"resets on the way back": {
			[][]string{
				{whole("snapshot", 7, "p-1", "p-2")},
				{of(other, whole("reset", 1)), "10s"},
				{of(other, whole("reset", 3, "p-2")), "10s"},
				{of(other, whole("reset", 4, "p-2")), "10s", of(other, bookmark(4)), "hang"},
			},
			[]string{"0 snapshot p-1 p-2", "0 reset p-1 p-2", "10 reset p-2 p-1", "20 reset p-2 p-1", "30 remove p-1", "30 bookmark"},
		},
		"lost twice": {
			[][]string{
				{whole("snapshot", 7, "p-1")},
				{of(other, whole("reset", 1)), "20s"},
				{of(third, whole("reset", 1)), "20s", of(third, bookmark(1)), "5s", of(third, bookmark(1)), "hang"},
			},
			[]string{"0 snapshot p-1", "0 reset p-1", "20 reset p-1", "40 bookmark", "45 remove p-1", "45 bookmark"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startFake(t)
				script(f, x.conns...)
				got := told(t, f.client(t), rollcall.Query{Service: "payments"}, len(x.want))
				for n := range got { // but for what resuming takes
					var late, early float64
					var a, b string
					fmt.Sscan(got[n], &late, &a)
					fmt.Sscan(x.want[n], &early, &b)
					_, what, _ := strings.Cut(got[n], " ")
					_, want, _ := strings.Cut(x.want[n], " ")
					if what != want || late < early || late > early+2 {
						t.Errorf("told %q, want %q", got, x.want)
						break
					}
				}
			})
		})
	}
}

// What is kept is shown as it was last known, and in a watch of many services
// under its own name.
func TestKeptInstancesAreAsLastKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const other = "fedcba9876543210"
		f := startFake(t)
		script(f,
			[]string{
				whole("snapshot", 7, "p-1"),
				`{"type":"health","revision":8,"namespace":"default","service":"payments","ids":["p-1"],"status":"degraded","reason":"slow","token":"` + testLog + `-8-0"}`,
				`{"type":"weights","generation":9,"namespace":"default","service":"payments","weights":{"p-1":40}}`,
			},
			[]string{of(other, whole("reset", 1)), "30s", of(other, bookmark(1)), "hang"},
		)
		var reset, gone Event
		for ev, err := range f.client(t).Watch(t.Context(), rollcall.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			if ev.Type == EventReset {
				reset = ev
			}
			if gone = ev; ev.Type == EventRemove {
				break
			}
		}
		if len(reset.Instances) != 1 || reset.Instances[0].Health.Status != rollcall.Degraded || *reset.Instances[0].EffectiveWeight != 40 {
			t.Errorf("kept as %+v", reset.Instances)
		}
		if gone.Service != "payments" || gone.ID != "p-1" || gone.Reason != "not registered again within 22.5s" {
			t.Errorf("%+v", gone)
		}
	})
}

// Whoever is told to take no traffic is kept with no weight, and with a weight
// once it is told to take some.
func TestKeptWeightsAreThoseOfTheVerdict(t *testing.T) {
	m := newMemory(rollcall.Query{Service: "payments"})
	now := time.Now()
	key := rollcall.NewKey("", "payments", "p-2")
	m.see(&Event{Type: EventSnapshot, Instances: []rollcall.Instance{{Service: "payments", ID: "p-1"}, {Service: "payments", ID: "p-2"}}}, false, now)
	for _, c := range []struct {
		of   []uint16
		want uint16
	}{{nil, 0}, {[]uint16{100, 50}, 50}, {nil, 0}} {
		m.see(&Event{Type: EventHealth, IDs: []string{"p-1", "p-2"}, Status: rollcall.Degraded, EffectiveWeights: c.of}, false, now)
		if w := m.known[key].EffectiveWeight; w == nil || *w != c.want {
			t.Errorf("told %v, it is kept with weight %v, want %d", c.of, w, c.want)
		}
	}
	// Those of a named query may be of a service that is not the one it is asked by.
	other := rollcall.Instance{Namespace: "dr", Service: "spare", ID: "s-1"}
	m.see(&Event{Type: EventSnapshot, Instances: []rollcall.Instance{other}}, false, now)
	m.see(&Event{Type: EventReset}, true, now)
	if gone := m.expired(now.Add(2*holdFor-1), false); len(gone) != 0 {
		t.Errorf("%+v is told to be gone while there is more to be told of", gone)
	}
	gone := m.expired(now.Add(holdFor), true)
	if len(gone) != 1 || gone[0].Namespace != "dr" || gone[0].Service != "spare" || gone[0].ID != "s-1" {
		t.Errorf("at last %+v is told to be gone", gone)
	}
}

// TestHeldAnew: who is missing from a further log, too, is waited for anew.
func TestHeldAnew(t *testing.T) {
	m := newMemory(rollcall.Query{Service: "payments"})
	now := time.Now()
	p := func(id string) rollcall.Instance { return rollcall.Instance{Service: "payments", ID: id} }
	m.see(&Event{Type: EventSnapshot, Instances: []rollcall.Instance{p("p-1"), p("p-2")}}, false, now)
	m.see(&Event{Type: EventReset, Instances: []rollcall.Instance{p("p-2")}}, true, now.Add(-holdFor/2))
	m.see(&Event{Type: EventReset}, true, now)
	if gone := m.expired(now.Add(holdFor-1), true); len(gone) != 0 {
		t.Errorf("%+v is told to be gone, which the newest log may not have yet", gone)
	}
	if gone := m.expired(now.Add(holdFor), true); len(gone) != 2 || gone[0].ID != "p-1" || gone[1].ID != "p-2" {
		t.Errorf("at last %+v is told to be gone", gone)
	}
}

// BenchmarkHeld is an event while thousands are held, as of a registry that has lost its
// data.
func BenchmarkHeld(b *testing.B) {
	m := newMemory(rollcall.Query{Namespace: "default"})
	all := make([]rollcall.Instance, 10_000)
	for n := range all {
		all[n] = rollcall.Instance{Service: "payments", ID: fmt.Sprint("p-", n)}
	}
	now := time.Now()
	m.see(&Event{Type: EventSnapshot, Instances: all}, false, now)
	m.see(&Event{Type: EventReset}, true, now)
	b.ReportAllocs()
	for b.Loop() {
		m.see(&Event{Type: EventPut, Service: "payments", Instance: &all[0]}, false, now)
		m.expired(now, false)
	}
}

// A registry that is settling is asked again.
func TestWatchWaitsForASettlingRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		n := 0
		f.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			switch n++; n {
			case 1:
				fmt.Fprintln(w, whole("snapshot", 7, "p-1"))
			case 2, 3:
				w.Header().Set("Retry-After", "1")
				fail(w, 503, "settling", "the log is new")
			default:
				fmt.Fprintln(w, of("fedcba9876543210", whole("reset", 2, "p-1")))
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}
			return true
		})
		if got := told(t, f.client(t), rollcall.Query{Service: "payments"}, 2); !strings.HasSuffix(got[1], "reset p-1") || n != 4 {
			t.Errorf("told %q after %d requests", got, n)
		}
	})
}
