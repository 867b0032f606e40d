package modeltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// watcher is somebody who watches: one who waits for what comes, or a slow one
// who looks now and then.
type watcher struct {
	q      rollcall.Query
	slow   bool
	sub    watch.Feed
	stream *stream
	broken bool // its stream ended with the process

	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex // guards what follows
	inbox  []delivery
	err    error
}

type delivery struct {
	batch *watch.Batch
	at    time.Time
}

// kinds are the watchers there are.
var kinds = []struct {
	q    rollcall.Query
	slow bool
}{
	{rollcall.Query{Health: "any"}, false},
	{rollcall.Query{Health: "any"}, true},
	{rollcall.Query{}, true},
	{rollcall.Query{Namespace: "default"}, false},
	{rollcall.Query{Namespace: "Prod", Health: "any"}, true},
	{rollcall.Query{Namespace: "default", Health: "unhealthy"}, true},
	{rollcall.Query{Service: "payments"}, false},
	{rollcall.Query{Service: "Payments", Health: "any"}, true},
	{rollcall.Query{Service: "billing", Health: "starting"}, false},
	{rollcall.Query{Namespace: "prod", Service: "payments", Health: "any"}, false},
	{rollcall.Query{Service: "billing", Capability: match("gpu", "2")}, true},
	{rollcall.Query{Service: "search", Metadata: match("team", "checkout"), Health: "any"}, false},
	{rollcall.Query{Service: "nobody", Health: "any"}, false},
}

func newStream(w *world, q *rollcall.Query) *stream {
	s := &stream{history: w.history, sees: sees(q), tested: w.tested}
	if q.Service != "" {
		s.topic = q.Key()
	} else {
		s.topic.Namespace = strings.ToLower(q.Namespace)
	}
	return s
}

// open begins a stream, or goes on with one from a token.
func (c *watcher) open(w *world, after rollcall.Token) error {
	if c.stream == nil || after.IsZero() {
		c.stream = newStream(w, &c.q)
	}
	c.stream.reaches = w.reaches
	q := c.q
	q.After = after
	if !after.IsZero() && after.Log != w.log.Status().ID {
		w.soft.foreign = true
	}
	sub, _, err := w.reg.Watch(w.ctx, &q, watch.Reader{})
	want := "ok"
	if _, known := w.history.newest().services[c.stream.topic]; !known && c.stream.topic.Service != "" && w.settling() {
		want = rollcall.ErrSettling.Error()
	}
	if kindOf(err) != want {
		return fmt.Errorf("watch of %+v: %s, want %s", q, kindOf(err), want)
	}
	if c.sub = sub; err != nil {
		c.sub, c.stream = nil, nil
		return nil
	}
	c.broken, c.err, c.inbox = false, nil, nil
	c.stream.last = time.Now()
	switch {
	case after.IsZero():
		c.stream.resumed, c.stream.begun = false, false
	case after.Log != w.log.Status().ID:
		c.stream.resume(0)
		c.stream.foreign, c.stream.believes = true, nil
		c.stream.reaches = func(rollcall.Revision) bool { return false }
	default:
		c.stream.resume(after.Revision)
	}
	if c.slow {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	go func() {
		defer close(c.done)
		for {
			b, err := sub.Next(ctx)
			c.mu.Lock()
			if c.err = err; err == nil {
				c.inbox = append(c.inbox, delivery{b, time.Now()})
			}
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return nil
}

// close ends the subscription.
func (c *watcher) close() {
	if c.sub == nil {
		return
	}
	c.halt()
	c.sub.Close()
	c.sub = nil
}

// halt ends the waiting.
func (c *watcher) halt() {
	if c.cancel != nil {
		c.cancel()
		<-c.done
		c.cancel, c.err = nil, nil
	}
}

// read takes what is there for one who is slow.
func (c *watcher) read(w *world) (more bool, err error) {
	if c.sub == nil || c.broken {
		return false, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b, err := c.sub.Next(ctx)
	if errors.Is(err, context.Canceled) {
		return false, nil
	}
	if err != nil {
		return false, c.stream.holds(closing, false, "%v", err)
	}
	w.note(c, b)
	return true, c.stream.take(b, time.Now())
}

func (w *world) note(c *watcher, b *watch.Batch) {
	switch {
	case b.Type == watch.Reset:
		w.seen["reset"]++
	case b.Type == watch.Changes && c.stream.resumed && !c.stream.begun:
		w.seen["resumed"]++
	case b.Type == watch.Changes && b.Revision > c.stream.at+1:
		w.seen["merged"]++
	}
}

// drain takes in what one who waits was told.
func (c *watcher) drain(w *world, full bool) error {
	if c.sub == nil || c.slow || c.broken {
		return nil
	}
	c.mu.Lock()
	inbox, err := c.inbox, c.err
	c.inbox = nil
	c.mu.Unlock()
	if err != nil {
		return c.stream.holds(closing, false, "%v", err)
	}
	for _, d := range inbox {
		w.note(c, d.batch)
		if err := c.stream.take(d.batch, d.at); err != nil {
			return err
		}
	}
	if full {
		return c.stream.idle(time.Now())
	}
	return c.stream.holds(timely, time.Since(c.stream.last) <= watch.BookmarkEvery, "nothing for %v", time.Since(c.stream.last))
}

func (w *world) checkWatchers(full bool) error {
	for _, c := range w.watchers {
		if err := c.drain(w, full); err != nil {
			return fmt.Errorf("a watcher of %+v: %w", c.q, err)
		}
	}
	for _, r := range w.streams {
		if err := r.check(w, full); err != nil {
			return fmt.Errorf("a watcher over HTTP: %w", err)
		}
	}
	return nil
}

// ended looks whether the watcher's stream ended with the process.
func (c *watcher) ended(w *world) error {
	if c.sub == nil {
		return nil
	}
	var err error
	if c.slow {
		_, err = c.sub.Next(context.Background())
		if err == nil { // what it began with was still to come
			_, err = c.sub.Next(context.Background())
		}
	} else {
		<-c.done
		err, c.err = c.err, nil
		if err := c.drain(w, false); err != nil {
			return err
		}
	}
	c.broken = true
	return c.stream.holds(closing, errors.Is(err, watch.ErrClosed), "the server stopped, and Next returned %v", err)
}

// reconnect goes on where the watcher was, or begins anew.
func (c *watcher) reconnect(w *world) error {
	c.halt() // first: it may be told something until then
	if err := c.drain(w, false); err != nil {
		return err
	}
	c.close()
	after := rollcall.Token{}
	if c.stream != nil && c.stream.believes != nil && w.rng.IntN(5) > 0 {
		after = rollcall.Token{Log: w.log.Status().ID, Revision: c.stream.at}
	}
	return c.open(w, after)
}

// resumeFrom begins a stream with any token and reads it to its end.
func (w *world) resumeFrom(kind int, after rollcall.Token) error {
	c := &watcher{q: kinds[kind].q, slow: true}
	c.stream = newStream(w, &c.q)
	if err := c.open(w, after); err != nil || c.sub == nil {
		return err
	}
	defer c.close()
	for more := true; more; {
		var err error
		if more, err = c.read(w); err != nil {
			return fmt.Errorf("resumed %v by %+v: %w", after, c.q, err)
		}
	}
	c.stream.last = time.Now()
	if c.stream.believes == nil {
		return fmt.Errorf("resumed %v, which does not exist, by %+v: nothing was told", after, c.q)
	}
	if err := c.stream.idle(time.Now()); err != nil {
		return fmt.Errorf("resumed %v by %+v: %w", after, c.q, err)
	}
	return nil
}

// records is a watcher over HTTP: it reads the text of a stream.
type records struct {
	target string
	topic  rollcall.ServiceKey
	sees   func(*item) bool

	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex // guards what follows
	lines  [][]byte
	rest   []byte

	at       rollcall.Revision
	believes map[rollcall.Key]recorded
}

// recorded is what records tell of an instance: its registration, and the
// verdict, whose reason is cut in records of health.
type recorded struct {
	registration string
	status       rollcall.Status
	reason       string
}

func recordedOf(i rollcall.Instance) recorded {
	r := recorded{status: i.Health.Status, reason: i.Health.Reason}
	i.Health, i.Position = nil, nil // where it moves is not promised
	i.EffectiveWeight = nil         // which follows from its health, and comes with records of that
	r.registration = asJSON(i)
	return r
}

// Header, WriteHeader, Write and Flush make it the response of its request.
func (r *records) Header() http.Header { return http.Header{} }
func (r *records) WriteHeader(int)     {}
func (r *records) Flush()              {}
func (r *records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rest = append(r.rest, b...)
	for {
		line, rest, found := cutLine(r.rest)
		if !found {
			return len(b), nil
		}
		r.lines, r.rest = append(r.lines, line), rest
	}
}

func cutLine(b []byte) (line, rest []byte, found bool) {
	for n, c := range b {
		if c == '\n' {
			return b[:n:n], b[n+1:], true
		}
	}
	return nil, b, false
}

// listen begins a stream over HTTP.
func (w *world) listen(q rollcall.Query) {
	r := &records{target: "/api/v1/watch", sees: sees(&q), done: make(chan struct{})}
	if q.Service != "" {
		r.topic, r.target = q.Key(), "/api/v1/services/"+q.Service+"/watch"
	}
	if v := q.Values(); len(v) > 0 {
		r.target += "?" + v.Encode()
	}
	ctx, cancel := context.WithCancel(w.ctx)
	r.cancel = cancel
	req := httptest.NewRequestWithContext(ctx, "GET", r.target, nil)
	door := w.door
	go func() {
		defer close(r.done)
		door.ServeHTTP(r, req)
	}()
	w.streams = append(w.streams, r)
	synctest.Wait()
}

// check reads the records that came and holds what they add up to against the
// model wherever they have a token.
func (r *records) check(w *world, full bool) error {
	r.mu.Lock()
	lines := r.lines
	r.lines = nil
	r.mu.Unlock()
	for _, line := range lines {
		var rec struct {
			Type               string
			Revision           rollcall.Revision
			Token              rollcall.Token
			Instances          []rollcall.Instance
			Instance           rollcall.Instance
			IDs                []string
			ID                 string
			Namespace, Service string
			Status             rollcall.Status
			Reason             string
		}
		if err := json.Unmarshal(line, &rec); err != nil {
			return fmt.Errorf("%w in %s", err, line)
		}
		of := r.topic
		if of.Service == "" {
			of = rollcall.NewServiceKey(rec.Namespace, rec.Service)
		}
		switch rec.Type {
		case "snapshot", "reset":
			r.believes = map[rollcall.Key]recorded{}
			for _, i := range rec.Instances {
				r.believes[i.Key()] = recordedOf(i)
			}
		case "put":
			r.believes[rec.Instance.Key()] = recordedOf(rec.Instance)
		case "remove":
			delete(r.believes, rollcall.Key{ServiceKey: of, ID: rec.ID})
		case "health":
			for _, id := range rec.IDs {
				key := rollcall.Key{ServiceKey: of, ID: id}
				b, ok := r.believes[key]
				if !ok {
					return fmt.Errorf("%s is about %v, which is not there", line, key)
				}
				b.status, b.reason = rec.Status, rec.Reason
				r.believes[key] = b
			}
		case "bookmark":
		default:
			return fmt.Errorf("%s", line)
		}
		if rec.Token.IsZero() {
			continue
		}
		if rec.Token.Log != w.log.Status().ID || rec.Revision > rec.Token.Revision || rec.Token.Revision < r.at {
			return fmt.Errorf("%s comes after %d", line, r.at)
		}
		r.at = rec.Token.Revision
		if err := r.compare(w.history.at(r.at)); err != nil {
			return fmt.Errorf("%s: %s at %d: %w", r.target, line, r.at, err)
		}
	}
	if full && r.believes != nil {
		if err := r.compare(w.history.newest()); err != nil {
			return fmt.Errorf("%s: in the end: %w", r.target, err)
		}
	}
	return nil
}

func (r *records) compare(s *state) error {
	want := s.of(r.topic, r.sees)
	for _, i := range want {
		if is := i.instance(); r.believes[i.key] != recordedOf(is) {
			return fmt.Errorf("%v is %+v, want %+v", i.key, r.believes[i.key], recordedOf(is))
		}
	}
	if len(r.believes) != len(want) {
		return fmt.Errorf("%d instances, want %d", len(r.believes), len(want))
	}
	return nil
}

func (w *world) hangUp() {
	for _, r := range w.streams {
		r.cancel()
		<-r.done
	}
	w.streams = nil
}
