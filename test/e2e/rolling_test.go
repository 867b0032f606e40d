//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/test/process"
)

// caller sends requests to whomever its view has, one after the other. Its view
// changes between its requests, and only when it has does the registry hear that
// it knows: so nothing is on its way to an instance that it knows to be leaving.
type caller struct {
	view  *view
	http  http.Client
	calls sync.RWMutex

	mu       sync.Mutex // guards what follows
	answered map[string]int
	failed   []error
}

// newCaller returns a caller of the service.
func newCaller(ctx context.Context, addr string) *caller {
	c := &caller{answered: map[string]int{}}
	records := watching(ctx, addr, rollcall.Query{Service: "rolling"}, client.WithAcks())
	c.view = follow("caller", "rolling", func(yield func(client.Event, error) bool) {
		for ev, err := range records {
			c.calls.Lock()
			more := yield(ev, err)
			c.calls.Unlock()
			if !more {
				return
			}
		}
	})
	return c
}

// run calls until ctx ends.
func (c *caller) run(ctx context.Context) {
	for ctx.Err() == nil {
		id, err := c.call()
		c.mu.Lock()
		if err != nil {
			c.failed = append(c.failed, fmt.Errorf("%s: %w", id, err))
		} else {
			c.answered[id]++
		}
		c.mu.Unlock()
	}
}

func (c *caller) call() (id string, err error) {
	c.calls.RLock()
	defer c.calls.RUnlock()
	var to rollcall.Instance
	c.view.mu.Lock()
	for _, to = range c.view.in {
		break // one by chance
	}
	c.view.mu.Unlock()
	resp, err := c.http.Get(fmt.Sprintf("http://%s:%d/", to.Address, to.Ports["http"]))
	if err != nil {
		return to.ID, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && string(text) != to.ID {
		err = fmt.Errorf("%q answered", text)
	}
	return to.ID, err
}

// count returns how many calls an instance answered.
func (c *caller) count(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered[id]
}

// TestRolling replaces five instances, one after the other, under a caller that
// follows a watch: none of its requests fails, and nobody waits for longer than
// until it knows.
func TestRolling(t *testing.T) {
	for _, way := range []struct {
		name    string
		clients int
		join    func(p *process.Process, f *fleet, id string) error
		leave   func(p *process.Process, f *fleet, id string) error
	}{
		{
			"client", 1,
			func(*process.Process, *fleet, string) error { return nil }, // it did before it was ready
			func(_ *process.Process, f *fleet, _ string) error { return orderAll([]*fleet{f}, "leave") },
		},
		{
			"HTTP and command line", 0, putSeen,
			func(p *process.Process, f *fleet, id string) error {
				out, err := command(p.Addr, "drain", "rolling", id, "--wait", "1m")
				if err != nil || !strings.Contains(out, " 0 do not yet") {
					return fmt.Errorf("%w %s", err, out)
				}
				if _, err := f.order("leave"); err != nil {
					return err
				}
				_, err = command(p.Addr, "deregister", "rolling", id)
				return err
			},
		},
	} {
		t.Run(way.name, func(t *testing.T) {
			p := process.Serve(t, t.TempDir())
			begin := func(n int) (*fleet, string) {
				id := fmt.Sprintf("r%d", n)
				f := launchAll(t, orders{Registry: p.Addr, Service: "rolling", Name: id, Clients: way.clients, Each: 1, Lease: sessionLease})[0]
				if err := way.join(p, f, id); err != nil {
					t.Fatal(err)
				}
				return f, id
			}
			var fleets []*fleet
			for n := range 5 {
				f, _ := begin(n)
				fleets = append(fleets, f)
			}
			c := newCaller(t.Context(), p.Addr)
			if err := c.view.until(10*time.Second, "all are in", sees(5)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var calling sync.WaitGroup
			defer calling.Wait()
			defer cancel()
			for range 2 {
				calling.Go(func() { c.run(ctx) })
			}
			at := time.Now()
			for n, old := range fleets {
				_, id := begin(5 + n)
				process.Eventually(t, 10*time.Second, func() error {
					if c.count(id) == 0 {
						return fmt.Errorf("nobody calls %s", id)
					}
					return nil
				})
				if err := way.leave(p, old, fmt.Sprintf("r%d", n)); err != nil {
					t.Fatal(err)
				}
				old.kill()
			}
			took := time.Since(at)
			cancel()
			calling.Wait()
			all := 0
			for _, n := range c.answered {
				all += n
			}
			t.Logf("5 of 5 replaced in %v; %d requests to %d instances, %d failed", took.Round(time.Millisecond), all, len(c.answered), len(c.failed))
			for _, err := range c.failed {
				t.Error(err)
			}
		})
	}
}

// putSeen registers an instance over HTTP and returns when its watchers have seen it.
func putSeen(p *process.Process, f *fleet, id string) error {
	host, port, err := net.SplitHostPort(f.Addr)
	if err != nil {
		return err
	}
	body := fmt.Sprintf(`{"address": %q, "ports": {"http": %s}, "lease": {"mode": "none"}}`, host, port)
	req, err := http.NewRequest(http.MethodPut, "http://"+p.Addr+"/api/v1/services/rolling/instances/"+id+"?wait=seen", strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s", resp.Status)
	}
	return nil
}

// TestSeen: what is waited for with wait=seen, and with drain --wait, is the word
// of the watchers, however many there are and however they say it.
func TestSeen(t *testing.T) {
	p := process.Serve(t, t.TempDir())
	fleets := launchAll(t, orders{Registry: p.Addr, Service: "rolling", Name: "first"}, orders{Registry: p.Addr, Service: "rolling", Name: "second"})
	if err := putSeen(p, fleets[0], "first"); err != nil {
		t.Fatal(err)
	}
	views := watchers(t.Context(), p.Addr, "rolling")
	untilAll(t, views, 10*time.Second, "the first is in", sees(1))

	// One more says itself what it has, and takes its time: till then nobody is
	// answered.
	resp, err := http.Get("http://" + p.Addr + "/api/v1/services/rolling/watch")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	records := json.NewDecoder(resp.Body)
	var waited chan error
	ack := func(kind string, id func(map[string]any) any, want any) {
		t.Helper()
		for {
			var ev map[string]any
			if err := records.Decode(&ev); err != nil {
				t.Fatal(err)
			}
			if ev["type"] != kind || id(ev) != want {
				continue
			}
			select {
			case err := <-waited:
				t.Fatalf("answered before the last watcher said that it has %s: %v", kind, err)
			default:
			}
			revision := strconv.FormatFloat(ev["revision"].(float64), 'f', -1, 64)
			said, err := http.Post("http://"+p.Addr+"/api/v1/watch/ack", "application/json",
				strings.NewReader(fmt.Sprintf(`{"subscription": %q, "revision": %s}`, resp.Header.Get("X-Rollcall-Subscription"), revision)))
			if err != nil {
				t.Fatal(err)
			}
			said.Body.Close()
			if said.StatusCode != http.StatusNoContent {
				t.Fatal(said.Status)
			}
			return
		}
	}
	ack("snapshot", func(map[string]any) any { return nil }, nil)

	waited = make(chan error, 1)
	go func() { waited <- putSeen(p, fleets[1], "second") }()
	ack("put", func(ev map[string]any) any { return ev["instance"].(map[string]any)["id"] }, "second")
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	untilAll(t, views, time.Second, "the second is in", sees(2))

	go func() {
		out, err := command(p.Addr, "drain", "rolling", "first", "--wait", "1m")
		if want := "6 watchers know, 0 do not yet"; err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("it says %q, want %q", out, want)
		}
		waited <- err
	}()
	ack("remove", func(ev map[string]any) any { return ev["id"] }, "first")
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	untilAll(t, views, time.Second, "the first is out", sees(1))
}
