package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
)

// asInstance has the test's binary be a process of the fleet.
const asInstance = "ROLLCALL_DEMO_TEST_INSTANCE"

func TestMain(m *testing.M) {
	if os.Getenv(asInstance) != "" {
		if err := Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program is a command line that runs [Serve].
func program(t *testing.T) []string {
	t.Helper()
	t.Setenv(asInstance, "1")
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{path}
}

// A demo that is ended early says what it had no time for, and leaves no process
// behind.
func TestDemoEndsWhenItIsTold(t *testing.T) {
	s := rollcalltest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told []string
	d := Demo{Registry: s.Addr, Program: program(t), Tell: func(h Happening) {
		if told = append(told, h.Act); h.Act == "kill" {
			cancel()
		}
		for _, b := range h.Broken {
			t.Error(b)
		}
	}}
	sum, err := d.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"start", "kill"}, told); diff != "" {
		t.Error(diff)
	}
	if !sum.Kept || sum.Requests == 0 || sum.Processes < 12 || !slices.Contains(sum.Left, "drain") || slices.Contains(sum.Left, "kill") {
		t.Errorf("%+v", sum)
	}
}

// A fleet that cannot start is an error that says why.
func TestDemoSaysWhyItsFleetDoesNotStart(t *testing.T) {
	s := rollcalltest.Start(t)
	_, err := Demo{Registry: s.Addr, Program: []string{"/nowhere/rollcall"}, Tell: func(Happening) {}}.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "/nowhere/rollcall") {
		t.Errorf("%v", err)
	}
}

func TestUntilWaitsForAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pulse
		n := 0
		var g sync.WaitGroup
		g.Go(func() {
			for range 3 {
				time.Sleep(time.Second) // virtual
				p.mu.Lock()
				n++
				p.beat()
				p.mu.Unlock()
			}
		})
		began := time.Now()
		if err := p.until(t.Context(), time.Minute, "two", func() bool { return n == 2 }); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := p.until(t.Context(), time.Minute, "four", func() bool { return n == 4 }); !errors.Is(err, errLate) || time.Since(began) != 62*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.until(ctx, time.Minute, "four", func() bool { return n == 4 }); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		g.Wait()
	})
}

// What is more than was promised is broken, and no request may be lost in all.
func TestPromisesAreChecked(t *testing.T) {
	var told []Happening
	s := &show{Demo: Demo{Tell: func(h Happening) { told = append(told, h) }}, ledger: &ledger{}, fleet: &fleet{}, began: time.Now()}
	s.tell(Happening{Act: "kill", Figures: []Figure{took("known", time.Second, time.Second), count("lost", 0, 0), took("seen", time.Hour, 0)}})
	s.tell(Happening{Act: "drain", Figures: []Figure{took("known", 1500*time.Millisecond, time.Second), count("failed", 2, 0)}})
	if !told[0].Kept || told[1].Kept {
		t.Errorf("%+v", told)
	}
	s.ledger.add(hit{failed: true, retry: true, last: true, why: "it was late"})
	s.conclude()
	want := []string{
		"drain: known: 1.5 s, promised were ≤ 1.0 s", "drain: failed: 2, promised were none",
		"1 requests were lost, the last because of: it was late",
	}
	if diff := cmp.Diff(want, s.summary.Broken); diff != "" || s.summary.Kept {
		t.Error(diff, s.summary.Kept)
	}
}

func TestFiguresAreReadable(t *testing.T) {
	for _, c := range []struct {
		f                           Figure
		measured, promised, verdict string
	}{
		{took("x", 1234*time.Microsecond, time.Second), "1.2 ms", "≤ 1.0 s", "kept"},
		{took("x", 1234*time.Millisecond, time.Second), "1.2 s", "≤ 1.0 s", "broken"},
		{took("x", 234*time.Millisecond, 0), "234 ms", "", ""},
		{count("x", 0, 0), "0", "none", "kept"},
		{count("x", 3, -1), "3", "", ""},
		{percent("x", 0.124), "12 %", "", ""},
	} {
		promised, verdict := c.f.Verdict()
		if got := c.f.Measured(); got != c.measured || promised != c.promised || verdict != c.verdict {
			t.Errorf("%+v: %q, %q, %q", c.f, got, promised, verdict)
		}
	}
}

func TestLookNamesWhatCanBeAsked(t *testing.T) {
	s := rollcalltest.Start(t)
	for _, l := range Look("http://" + s.Addr) {
		if !strings.HasPrefix(l[0], "http://"+s.Addr+"/api/v1/") || strings.ContainsAny(l[0], " \"<>") || l[1] == "" {
			t.Errorf("%q", l)
		}
	}
}

func TestPlaces(t *testing.T) {
	zones := allZones()
	for _, z := range zones {
		if z.at == (rollcall.Position{}) {
			t.Errorf("%s is in no table", z.city)
		}
		around := z.around(drivers)
		if around[0].City != z.city {
			t.Errorf("%s is nearest to %s", around[0].City, z.city)
		}
	}
	// Berlin to Paris is some 878 km by any table.
	if km := kilometres(zones[0].at, zones[1].at); km < 873 || km > 883 {
		t.Errorf("%.1f km", km)
	}
	positions := map[string]rollcall.Position{"berlin": zones[0].at, "paris": zones[1].at, "york": zones[2].at}
	if diff := cmp.Diff([]string{"paris", "berlin"}, nearestOf(rollcall.Position{Lat: 48, Lon: 0}, positions, 2)); diff != "" {
		t.Error(diff)
	}
	if p := stroll(zones[0].at); kilometres(p, zones[0].at) > 0.5 || p == zones[0].at {
		t.Errorf("%v", p)
	}
}
