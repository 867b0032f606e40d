//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

// view is what one watcher knows of one service: whom it would call.
type view struct {
	name, service string

	mu    sync.Mutex // guards what follows
	moved chan struct{}
	in    map[string]rollcall.Instance
	left  map[string]time.Time // when it was told, last, that one is not to be called any more
	empty int                  // how often nobody was left
	whole int                  // snapshots and resets
	heard time.Time            // the last bookmark
	err   error                // why the watch has ended
}

// follow keeps a view of a service up to date by the records of a watch.
func follow(name, service string, records iter.Seq2[client.Event, error]) *view {
	v := &view{name: name, service: service, moved: make(chan struct{}), in: map[string]rollcall.Instance{}, left: map[string]time.Time{}}
	go func() { // ends with the records
		for ev, err := range records {
			v.take(&ev, err)
		}
	}()
	return v
}

func (v *view) take(ev *client.Event, err error) {
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.moved)
	v.moved = make(chan struct{})
	v.err = err
	if ev.Service != "" && ev.Service != v.service {
		return
	}
	before := len(v.in)
	switch ev.Type {
	case client.EventSnapshot, client.EventReset:
		v.whole++
		was := v.in
		v.in = map[string]rollcall.Instance{}
		for _, i := range ev.Instances {
			if i.Service == v.service {
				v.in[i.ID] = i
			}
		}
		for id := range was {
			if _, still := v.in[id]; !still {
				v.left[id] = now
			}
		}
	case client.EventPut:
		if ev.Instance.Service == v.service {
			v.in[ev.Instance.ID] = *ev.Instance
		}
	case client.EventHealth:
		for _, id := range ev.IDs {
			i := v.in[id]
			i.Health.Status = ev.Status
			v.in[id] = i
		}
	case client.EventRemove:
		delete(v.in, ev.ID)
		v.left[ev.ID] = now
	case client.EventBookmark:
		v.heard = now
	}
	if before > 0 && len(v.in) == 0 {
		v.empty++
	}
}

// until waits until something holds of a view, which ok may read. It fails after
// a while, or if the watch ends.
func (v *view) until(within time.Duration, what string, ok func(*view) bool) error {
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		v.mu.Lock()
		holds, moved, err, now := ok(v), v.moved, v.err, fmt.Sprintf("%d in, %d left", len(v.in), len(v.left))
		v.mu.Unlock()
		switch {
		case holds:
			return nil
		case err != nil:
			return fmt.Errorf("%s ended: %w", v.name, err)
		}
		select {
		case <-moved:
		case <-late.C:
			return fmt.Errorf("%s: not within %v: %s (%s)", v.name, within, what, now)
		}
	}
}

// untilAll waits until something holds of all views.
func untilAll(t *testing.T, views []*view, within time.Duration, what string, ok func(*view) bool) {
	t.Helper()
	for _, v := range views {
		if err := v.until(within, what, ok); err != nil {
			t.Fatal(err)
		}
	}
}

// untilHeard waits until all watchers were told, later than a moment, that they
// are current: of what happened before it they know.
func untilHeard(t *testing.T, views []*view, since time.Time) {
	t.Helper()
	untilAll(t, views, time.Until(since)+20*time.Second, "a bookmark", func(v *view) bool { return v.heard.After(since) })
}

// sees is a condition: so many are in.
func sees(n int) func(*view) bool {
	return func(v *view) bool { return len(v.in) == n }
}

// steady fails the test if a watcher was ever told that somebody is gone.
func steady(t *testing.T, views []*view) {
	t.Helper()
	for _, v := range views {
		v.mu.Lock()
		t.Logf("%s: %d in, %d left, %d times empty, %d snapshots or resets", v.name, len(v.in), len(v.left), v.empty, v.whole)
		if len(v.left) > 0 || v.empty > 0 {
			t.Errorf("%s was told that %d left", v.name, len(v.left))
		}
		v.mu.Unlock()
	}
}

// watching returns the records that a Go client watches a query by, from a
// client of its own, until ctx ends.
func watching(ctx context.Context, addr string, q rollcall.Query, opts ...client.Option) iter.Seq2[client.Event, error] {
	return func(yield func(client.Event, error) bool) {
		c, err := client.Dial(addr, opts...)
		if err != nil {
			yield(client.Event{}, err)
			return
		}
		defer c.Close()
		c.Watch(ctx, q)(yield)
	}
}

// reading returns the records of a stream of NDJSON, until it breaks.
func reading(ctx context.Context, url string) iter.Seq2[client.Event, error] {
	return func(yield func(client.Event, error) bool) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			yield(client.Event{}, err)
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			yield(client.Event{}, err)
			return
		}
		defer resp.Body.Close()
		for d := json.NewDecoder(resp.Body); ; {
			var ev client.Event
			if err := d.Decode(&ev); err != nil {
				yield(client.Event{}, err)
				return
			}
			if !yield(ev, nil) {
				return
			}
		}
	}
}

// watchers follow a service in all the ways there are: three streams of it, one
// of its namespace, and a Go client. They do not outlast the end of a stream.
func watchers(ctx context.Context, addr, service string) []*view {
	base := "http://" + addr + "/api/v1/"
	one := base + "services/" + service + "/watch"
	return []*view{
		follow("stream 1", service, reading(ctx, one)),
		follow("stream 2", service, reading(ctx, one)),
		follow("stream 3", service, reading(ctx, one)),
		follow("stream of the namespace", service, reading(ctx, base+"watch?namespace=default")),
		follow("Go client", service, watching(ctx, addr, rollcall.Query{Service: service})),
	}
}

// lasting follow a service by Go clients, which outlast the server: one that
// watches the service, and one its namespace.
func lasting(ctx context.Context, addr, service string) []*view {
	return []*view{
		follow("Go client", service, watching(ctx, addr, rollcall.Query{Service: service})),
		follow("Go client of the namespace", service, watching(ctx, addr, rollcall.Query{Namespace: rollcall.DefaultNamespace})),
	}
}

// spread returns the middle, the 99th percentile and the largest of durations.
func spread(ds []time.Duration) (p50, p99, most time.Duration) {
	slices.Sort(ds)
	at := func(share float64) time.Duration {
		return ds[min(int(share*float64(len(ds))), len(ds)-1)].Round(100 * time.Microsecond)
	}
	return at(0.5), at(0.99), at(1)
}

// asker resolves a service again and again, as callers do that do not watch.
type asker struct {
	stop func()
	done chan struct{} // closed when it has ended; then the rest may be read

	answers, refused int
	fewest           int
	unwell           map[rollcall.Status]int // answers that showed anybody as such
}

// ask begins to ask. The asker ends by its stop, or with the test.
func ask(t *testing.T, addr, service string) *asker {
	t.Helper()
	c, err := client.Dial(addr, client.WithTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	a := &asker{stop: stop, done: make(chan struct{}), fewest: 1 << 30, unwell: map[rollcall.Status]int{}}
	go func() {
		defer close(a.done)
		defer c.Close()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			ans, err := c.Resolve(ctx, rollcall.Query{Service: service})
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				a.refused++
			default:
				a.take(&ans)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		<-a.done
	})
	return a
}

func (a *asker) take(ans *rollcall.Answer) {
	a.answers++
	a.fewest = min(a.fewest, len(ans.Instances))
	seen := map[rollcall.Status]bool{}
	for i := range ans.Instances {
		if s := ans.Instances[i].Health.Status; s != rollcall.Healthy && !seen[s] {
			seen[s] = true
			a.unwell[s]++
		}
	}
}

// end stops asking and fails the test if an answer ever lacked somebody.
func (a *asker) end(t *testing.T, want int) {
	t.Helper()
	a.stop()
	<-a.done
	t.Logf("%d answers, the shortest of %d instances, and %d questions without one; answers with others than healthy: %v", a.answers, a.fewest, a.refused, a.unwell)
	if a.answers == 0 || a.fewest < want {
		t.Errorf("an answer had %d instances, want %d in all %d", a.fewest, want, a.answers)
	}
}
