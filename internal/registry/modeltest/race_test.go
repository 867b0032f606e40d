package modeltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/lease"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// sight is what a reader saw: it must be what was at exactly that revision.
type sight struct {
	service  rollcall.ServiceKey
	revision rollcall.Revision // of the snapshot
	view     string            // a dump of the whole view; or
	answer   *rollcall.Answer  // an answer over HTTP
}

// crowd is many who use a registry at once. They note what they see, and what
// it was to be is known in the end.
type crowd struct {
	*world
	newest atomic.Uint64 // revision that anybody was shown

	mu     sync.Mutex // guards what follows
	seen   map[string]bool
	sights []sight
	heard  []heard
	errs   []error
}

// heard is all that one watcher was told, over its reconnections.
type heard struct {
	kind   int
	slow   bool
	pieces []piece
}

// piece is what it was told by one subscription.
type piece struct {
	after  rollcall.Token
	opened time.Time
	told   []delivery
}

func (c *crowd) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

func (c *crowd) saw(s sight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := fmt.Sprint(s.service, s.revision, s.view); s.answer != nil || !c.seen[key] {
		c.seen[key] = true
		c.sights = append(c.sights, s)
	}
}

// show notes that somebody was shown a revision, and reports whether it is as
// new as the one that another was shown before this one asked.
func (c *crowd) show(floor uint64, r rollcall.Revision) bool {
	for {
		old := c.newest.Load()
		if old >= uint64(r) || c.newest.CompareAndSwap(old, uint64(r)) {
			return uint64(r) >= floor
		}
	}
}

// write does a command, whatever the state.
func (c *crowd) write(cmd command, rng *rand.Rand) {
	var err error
	var shown rollcall.Instance
	switch cmd.Op {
	case "register":
		shown, _, err = c.reg.Register(c.ctx, cmd.Instances[0], 0)
	case "register many":
		for _, r := range c.reg.RegisterMany(c.ctx, cmd.Instances) {
			if r.Err == nil {
				shown.Revision = max(shown.Revision, r.Revision)
			}
		}
	case "update":
		shown, err = c.reg.Update(c.ctx, cmd.Key, 0, func(i *rollcall.Instance) error { *i = patched(*i, cmd.Patch); return nil })
	case "renew":
		_, err = c.reg.Renew(c.ctx, cmd.Key, cmd.Report)
	case "renew many":
		_, _, err = c.reg.RenewMany(c.ctx, cmd.Renews)
	case "deregister":
		err = c.reg.Deregister(c.ctx, cmd.Key, 0)
	case "drain":
		_, err = c.reg.Drain(c.ctx, cmd.Key, cmd.On, 0)
	case "override":
		err = c.reg.Override(c.ctx, cmd.Key, cmd.Override)
	case "settings":
		err = c.reg.SetSettings(c.ctx, cmd.Key.ServiceKey, cmd.Settings)
	case "replay":
		err = c.reg.Backup(c.ctx, io.Discard)
	case "checkpoint":
		var s *catalog.Snapshot
		if s, err = c.snapshot(); err == nil && s.Revision() > 0 {
			err = c.log.Checkpoint(c.ctx, s.Revision(), s.State())
		}
	default:
		time.Sleep(time.Duration(rng.IntN(3)) * lease.Tick) // they meet at the ticks
	}
	if strings.HasPrefix(kindOf(err), "error") {
		c.fail(fmt.Errorf("%s: %w", cmd, err))
	}
	// Whoever was told of a write can read it.
	c.show(0, shown.Revision)
}

// own registers something that nobody else touches. From then on it is known to
// all parts of the registry, and its removal as well.
func (c *crowd) own(n, version int) {
	i := rollcall.Instance{Service: "owned", ID: fmt.Sprint(n), Version: fmt.Sprint(version), Lease: rollcall.Lease{Mode: rollcall.LeaseNone}}
	shown, created, err := c.reg.Register(c.ctx, i, 0)
	if err != nil || !created {
		c.fail(fmt.Errorf("registered: created %v, %w", created, err))
		return
	}
	if r, err := c.reg.Renew(c.ctx, i.Key(), nil); err != nil || r.Revision != shown.Revision {
		c.fail(fmt.Errorf("registered in %d and renewed as of %d: %w", shown.Revision, r.Revision, err))
	}
	if es, _, err := c.reg.Events(c.ctx, rollcall.EventFilter{Service: "owned", ID: i.ID}, "", 1); err != nil || len(es) != 1 || es[0].Revision != shown.Revision || es[0].Type != "registered" {
		c.fail(fmt.Errorf("registered in %d, and what happened last is %+v, %v", shown.Revision, es, err))
	}
	sub, _, err := c.reg.Watch(c.ctx, &rollcall.Query{Service: "owned"}, watch.Reader{})
	if err != nil {
		c.fail(err)
		return
	}
	b, err := sub.Next(c.ctx)
	sub.Close()
	if err != nil || b.Revision < shown.Revision {
		c.fail(fmt.Errorf("registered in %d, and a watch begins with %+v, %v", shown.Revision, b, err))
	}
	if err := c.reg.Deregister(c.ctx, i.Key(), 0); err != nil {
		c.fail(err)
	}
	if _, err := c.reg.Renew(c.ctx, i.Key(), nil); !errors.Is(err, rollcall.ErrNotFound) {
		c.fail(fmt.Errorf("deregistered, and the renewal says %v", err))
	}
}

// read asks for services in one way or another until the end.
func (c *crowd) read(ctx context.Context, rng *rand.Rand) {
	last := map[rollcall.ServiceKey]rollcall.Revision{}
	known := map[string]rollcall.Answer{}
	for ctx.Err() == nil {
		key := services[rng.IntN(len(services))]
		q := queries[rng.IntN(len(queries))].q
		q.Namespace, q.Service = key.Namespace, key.Service
		floor := c.newest.Load()
		switch rng.IntN(4) {
		case 0:
			c.get(&q, floor, known)
		case 1: // waits for the next one
			if a, err := c.reg.Resolve(ctx, &q); err == nil {
				q.After, q.Wait = a.Token(), time.Duration(1+rng.IntN(10))*lease.Tick
			}
			fallthrough
		default:
			began := time.Now()
			a, err := c.reg.Resolve(ctx, &q)
			if err != nil {
				if kind := kindOf(err); kind != rollcall.ErrNotFound.Error() && kind != rollcall.ErrSettling.Error() && !errors.Is(err, context.Canceled) {
					c.fail(fmt.Errorf("%+v: %w", q, err))
				}
				break
			}
			rev, _ := a.Content()
			if !c.show(floor, a.Revision) || rev < last[key] || rev > a.Revision {
				c.fail(fmt.Errorf("%v: view %d of snapshot %d, after view %d and a snapshot %d", key, rev, a.Revision, last[key], floor))
			}
			if !a.Same.IsZero() && time.Since(began) < q.Wait {
				c.fail(fmt.Errorf("%v: nothing new after %v of %v", key, time.Since(began), q.Wait))
			}
			last[key] = rev
			if a.View != nil {
				c.saw(sight{service: key, revision: a.Revision, view: dumpView(a.View)})
			}
		}
		if rng.IntN(20) == 0 {
			time.Sleep(lease.Tick)
		}
	}
}

// get asks over HTTP, as one who may know the answer.
func (c *crowd) get(q *rollcall.Query, floor uint64, known map[string]rollcall.Answer) {
	target := "/api/v1/services/" + q.Service + "?" + q.Values().Encode()
	r := httptest.NewRequestWithContext(c.ctx, "GET", target, nil)
	before, asked := known[target]
	if asked {
		r.Header.Set("If-None-Match", `"`+before.Token.String()+`"`)
	}
	rec := httptest.NewRecorder()
	c.door.ServeHTTP(rec, r)
	var revision rollcall.Revision
	fmt.Sscan(rec.Header().Get("X-Rollcall-Revision"), &revision)
	answer := before
	switch rec.Code {
	case http.StatusOK:
		answer = rollcall.Answer{}
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil {
			c.fail(fmt.Errorf("%s: %w in %s", target, err, rec.Body))
			return
		}
	case http.StatusNotModified:
	default:
		return // it is not known
	}
	if !c.show(floor, revision) {
		c.fail(fmt.Errorf("%s: revision %d, after %d", target, revision, floor))
	}
	known[target] = answer
	answer.Namespace = target
	c.saw(sight{service: q.Key(), revision: revision, answer: &answer})
}

// watch watches until the end; slow ones let pass some time between batches.
func (c *crowd) watch(ctx context.Context, kind int, rng *rand.Rand) {
	h := heard{kind: kind, slow: kinds[kind].slow}
	var after rollcall.Token
	for ctx.Err() == nil {
		q := kinds[kind].q
		q.After = after
		sub, _, err := c.reg.Watch(ctx, &q, watch.Reader{})
		if err != nil {
			if !errors.Is(err, rollcall.ErrSettling) {
				c.fail(fmt.Errorf("watch of %+v: %w", q, err))
			}
			time.Sleep(time.Second)
			continue
		}
		p := piece{after: after, opened: time.Now()}
		for n := rng.IntN(40); n >= 0 || ctx.Err() != nil; n-- { // the last one reads to the end
			b, err := sub.Next(ctx)
			if err != nil {
				break
			}
			p.told = append(p.told, delivery{b, time.Now()})
			after = rollcall.Token{Log: c.log.Status().ID, Revision: b.Revision}
			if h.slow && ctx.Err() == nil {
				time.Sleep(time.Duration(rng.IntN(20)) * lease.Tick)
			}
		}
		sub.Close()
		h.pieces = append(h.pieces, p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = append(c.heard, h)
}

// TestAtOnce lets writers, readers and watchers race with the apply loop and
// with each other, and then looks whether all that anybody saw was so: at
// exactly the revision that it was said to be of, and never older than what had
// been seen before.
func TestAtOnce(t *testing.T) {
	first := seed(t)
	for s, begin := first, time.Now(); s == first || time.Since(begin) < *forFlag; s++ {
		synctest.Test(t, func(t *testing.T) { atOnce(t, s) })
	}
}

func atOnce(t *testing.T, seed uint64) {
	w, err := newWorld(plan{durable: seed%2 == 0})
	if err != nil {
		t.Fatal(err)
	}
	defer w.quit()
	time.Sleep(lease.Tick / 2) // from here on all happens at ticks
	c := &crowd{world: w, seen: map[string]bool{}}
	var writers, readers sync.WaitGroup
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	rng := func(n int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(n))) }

	// One that is never silent for long, and one that is.
	steady := rollcall.Instance{Service: "steady", ID: "kept", Lease: rollcall.Lease{TTL: seconds(2), RemoveAfter: seconds(3)}}
	silent := steady
	silent.ID = "silent"
	for _, r := range w.reg.RegisterMany(w.ctx, []rollcall.Instance{steady, silent}) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	registered := time.Now()
	var renewer sync.WaitGroup
	end := make(chan struct{})
	renewer.Go(func() {
		for {
			select {
			case <-end:
				return
			case <-time.After(19 * lease.Tick):
			}
			if _, err := w.reg.Renew(w.ctx, steady.Key(), nil); err != nil {
				c.fail(err)
			}
		}
	})
	for n := range 6 {
		writers.Go(func() {
			g := &generator{rng: rng(n), names: true}
			for k := range *stepsFlag {
				c.write(g.next(), g.rng)
				if k%5 == 0 {
					c.own(n, k)
				}
			}
		})
		readers.Go(func() { c.read(ctx, rng(100+n)) })
	}
	for kind := range kinds {
		readers.Go(func() { c.watch(ctx, kind, rng(200+kind)) })
	}
	writers.Wait()
	time.Sleep(10 * time.Second)
	cancel()
	readers.Wait()
	close(end)
	renewer.Wait()
	synctest.Wait()

	written, _ := w.log.take()
	for _, e := range written {
		w.history.add(e)
		if err := w.shadows(e); err != nil {
			t.Fatalf("-model.seed %d: %v", seed, err)
		}
	}
	for _, err := range c.errs {
		t.Errorf("-model.seed %d: %v", seed, err)
	}
	last, err := w.snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w.history.newest().String(), dump(last)); d != "" {
		t.Errorf("-model.seed %d: in the end (-want +got):\n%s", seed, d)
	}
	c.judge(t, seed)
	verdicts(t, written, steady.Key(), silent.Key(), registered)
	t.Logf("-model.seed %d: %d revisions, %d views and answers", seed, len(written), len(c.sights))
}

// judge holds what was seen and heard against the history.
func (c *crowd) judge(t *testing.T, seed uint64) {
	for _, s := range c.sights {
		at := c.history.at(s.revision)
		if at == nil || at.revision != s.revision {
			t.Errorf("-model.seed %d: %v was seen at %d, which does not exist", seed, s.service, s.revision)
			continue
		}
		if s.answer == nil {
			if d := cmp.Diff(at.service(s.service), s.view); d != "" {
				t.Errorf("-model.seed %d: %v as seen at %d (-want +got):\n%s", seed, s.service, s.revision, d)
			}
			continue
		}
		n := slices.IndexFunc(queries, func(o struct {
			q     rollcall.Query
			wider int
		}) bool {
			o.q.Namespace, o.q.Service = s.service.Namespace, s.service.Service
			return strings.HasSuffix(s.answer.Namespace, "?"+o.q.Values().Encode())
		})
		q := queries[n].q
		want := at.of(s.service, sees(&q))
		if s.answer.Total != len(want) || s.answer.Revision != at.services[s.service].revision {
			t.Errorf("-model.seed %d: %s at %d: %d at %d, want %d at %d", seed, s.answer.Namespace, s.revision, s.answer.Total, s.answer.Revision, len(want), at.services[s.service].revision)
			continue
		}
		for k, got := range s.answer.Instances {
			if g, w := recordedOf(got), recordedOf(want[k].instance()); g != w {
				t.Errorf("-model.seed %d: %s at %d: %+v, want %+v", seed, s.answer.Namespace, s.revision, g, w)
			}
		}
	}
	for _, h := range c.heard {
		st := &watcher{q: kinds[h.kind].q}
		st.stream = newStream(c.world, &st.q)
		st.stream.reaches = func(r rollcall.Revision) bool { return r <= c.history.newest().revision } // nothing is forgotten meanwhile
		for _, p := range h.pieces {
			if st.stream.last = p.opened; !p.after.IsZero() {
				st.stream.resume(p.after.Revision)
			}
			for _, d := range p.told {
				var err error
				if waited := d.at.Sub(st.stream.last); !h.slow {
					err = st.stream.holds(timely, waited <= watch.BookmarkEvery, "nothing for %v", waited)
				}
				if err = firstOf(err, st.stream.take(d.batch, d.at)); err != nil {
					t.Errorf("-model.seed %d: a watcher of %+v: %v", seed, st.q, err)
					return
				}
			}
		}
	}
}

// verdicts looks whether one who was heard was never marked, and one who was
// not was marked and removed in time.
func verdicts(t *testing.T, written []rollcall.Entry, kept, silent rollcall.Key, registered time.Time) {
	var marked, removed time.Duration
	for _, e := range written {
		for _, c := range e.Changes {
			switch b := c.Body.(type) {
			case rollcall.HealthPut:
				if b.Service == kept.ServiceKey && slices.Contains(b.IDs, kept.ID) {
					t.Errorf("%+v is said of one that was heard", b)
				}
				if b.Service == silent.ServiceKey && slices.Contains(b.IDs, silent.ID) && marked == 0 {
					marked = c.At.Sub(registered)
				}
			case rollcall.InstanceRemove:
				if b.Key == silent {
					removed = c.At.Sub(registered)
				}
			}
		}
	}
	if marked < 2*time.Second || marked > 2*time.Second+lease.Tick || removed-marked < 3*time.Second || removed-marked > 3*time.Second+lease.Tick {
		t.Errorf("one that was silent from the start, with a TTL of 2 s and removal 3 s after it, was marked after %v and removed after %v", marked, removed)
	}
}
