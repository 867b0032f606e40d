//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/test/process"
)

// heard is what a watch has told, but for weights and bookmarks.
type heard struct {
	mu     sync.Mutex
	events []string
	marked int // bookmarks
	err    error
}

// listen watches a service until the test ends.
func listen(t *testing.T, c *client.Client, service string) *heard {
	h := &heard{}
	var watching sync.WaitGroup
	t.Cleanup(watching.Wait) // the context of the test has ended by then
	watching.Go(func() {
		for ev, err := range c.Watch(t.Context(), rollcall.Query{Service: service}) {
			h.take(&ev, err)
		}
	})
	return h
}

func (h *heard) take(ev *client.Event, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch h.err = err; {
	case err != nil:
	case ev.Type == client.EventBookmark:
		h.marked++
	case ev.Type == client.EventPut:
		h.events = append(h.events, fmt.Sprint(ev.Type, " ", ev.Instance.ID, " ", ev.Instance.Metadata["note"]))
	case ev.Type != client.EventWeights:
		h.events = append(h.events, fmt.Sprint(ev.Type, len(ev.Instances), ev.ID, ev.IDs, ev.Status))
	}
}

// all returns what was told, and how often that it is current.
func (h *heard) all() ([]string, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.events[:len(h.events):len(h.events)], h.marked
}

// has is an error unless this was told.
func (h *heard) has(want string) error {
	if all, _ := h.all(); !slices.Contains(all, want) {
		return fmt.Errorf("a watch has told %q, and not %q", all, want)
	}
	return nil
}

// TestMemberChange: of the two servers in a client's address first the one goes and
// comes back, then the other. Its session, watch and picks go on, and nobody who
// watches is told of anything. One that stands still and closes no connection is noticed
// later, and the session suspect meanwhile, but no more. The servers are ways to the
// same one.
func TestMemberChange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, wire string
		frozen     bool // rather than killed
		within     time.Duration
	}{
		{"gRPC", "grpc", false, 5 * time.Second},
		{"HTTP", "http", false, 5 * time.Second},
		{"gRPC, frozen", "grpc", true, 25 * time.Second},
		{"HTTP, frozen", "http", true, 25 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := process.Serve(t, t.TempDir())
			wire := tt.wire
			scheme, addr, _ := strings.Cut(over(wire, p), "://")
			var ways [2]*player
			for n := range ways {
				ways[n] = play(t, nil, "proxy", addr, "127.0.0.1:0")
			}
			both := fmt.Sprintf("%s://%s,%s://%s", scheme, ways[0].Said, scheme, ways[1].Said)
			c, err := client.Dial(both, client.WithAcks())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			note := func(id, text string) rollcall.Instance {
				return rollcall.Instance{
					Service: "moved", ID: id, Address: "127.0.0.1", Ports: map[string]uint16{"default": 80}, Lease: sessionLease,
					Metadata: map[string]string{"note": text},
				}
			}
			reg, err := c.Register(t.Context(), note("there", "first"))
			if err != nil {
				t.Fatal(err)
			}
			within, beside := listen(t, c, "moved"), listen(t, p.Client, "moved")
			sub, err := c.Subscribe(rollcall.Query{Service: "moved"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sub.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, h := range []*heard{within, beside} {
				process.Eventually(t, 10*time.Second, func() error {
					if _, marked := h.all(); marked == 0 {
						return errors.New("not yet current")
					}
					return nil
				})
			}
			registered := metric(t, p, "rollcall_registrations_total")

			for n := range ways {
				at := ways[n].Said
				if tt.frozen {
					freeze(t, ways[n].cmd.Process.Pid)
				} else {
					ways[n].kill()
				}
				cut := time.Now()
				text := fmt.Sprintf("without %d", n)
				reg.Update(t.Context(), note("there", text)) // else it is made up for
				want := "put there " + text
				for _, h := range []*heard{within, beside} {
					process.Eventually(t, tt.within, func() error { return h.has(want) })
				}
				process.Eventually(t, tt.within, func() error {
					if p, err := sub.Pick(); err != nil || p.Instance().Metadata["note"] != text {
						return fmt.Errorf("picked %+v, %v", p.Instance(), err)
					}
					return nil
				})
				t.Logf("without server %d all knew what the session said after %v", n, time.Since(cut).Round(time.Millisecond))
				if tt.frozen {
					ways[n].cmd.Process.Signal(syscall.SIGCONT)
				} else {
					ways[n] = play(t, nil, "proxy", addr, at)
				}
			}
			want := []string{"snapshot1[] ", "put there without 0", "put there without 1"}
			for _, h := range []*heard{within, beside} {
				got, _ := h.all()
				if tt.frozen { // it may be suspect, and be registered twice with the same
					got = slices.Compact(slices.DeleteFunc(slices.Clone(got), func(text string) bool { return strings.HasPrefix(text, "health") }))
				}
				if !slices.Equal(got, want) {
					t.Errorf("a watch told %q, want %q", got, want)
				}
			}
			if n := metric(t, p, "rollcall_registrations_total") - registered; n != 2 && !tt.frozen || reg.Err() != nil {
				t.Errorf("registered %v times, where 2 updates were; %v", n, reg.Err())
			}
		})
	}
}

// freeze has a process stand still, and returns when it does.
func freeze(t *testing.T, pid int) {
	t.Helper()
	syscall.Kill(pid, syscall.SIGSTOP)
	process.Eventually(t, 10*time.Second, func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if _, state, _ := strings.Cut(string(stat), ") "); err == nil && !strings.HasPrefix(state, "T") {
			err = fmt.Errorf("process %d is %.1s", pid, state)
		}
		return err
	})
}
