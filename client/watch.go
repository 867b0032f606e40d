package client

import (
	"context"
	"iter"
	"log/slog"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// Event is one record of a watch. Which fields it has goes by its type.
type Event = rollcall.WatchEvent

// EventType says what an [Event] tells.
type EventType = rollcall.WatchEventType

// The types of events; see [rollcall.WatchEventType].
const (
	EventSnapshot = rollcall.WatchSnapshot
	EventReset    = rollcall.WatchReset
	EventPut      = rollcall.WatchPut
	EventHealth   = rollcall.WatchHealth
	EventRemove   = rollcall.WatchRemove
	EventWeights  = rollcall.WatchWeights
	EventBookmark = rollcall.WatchBookmark
)

// Watch tells what a query's result is, and every change of it from then on.
// Without a service it watches a whole namespace, and without either,
// everything. A query with After goes on from there.
//
// The watch outlives broken connections and restarts of the server: it goes on
// where it stopped, with nothing left out and nothing told twice, or where that
// cannot be, starts over with an [EventReset]. It ends with an error: that of
// ctx, one that trying again would not change, or that the client was closed. That
// a server is not there is no such error, not even in the beginning.
func (c *Client) Watch(ctx context.Context, q rollcall.Query) iter.Seq2[Event, error] {
	return c.follow(ctx, q, cursor{token: q.After, begun: !q.After.IsZero(), memory: newMemory(q), acks: c.acks})
}

// follow is Watch from where a cursor is.
func (c *Client) follow(ctx context.Context, q rollcall.Query, at cursor) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		again := retry.Backoff{Least: 250 * time.Millisecond, Most: 5 * time.Second}
		own, end := context.WithCancel(ctx)
		defer end()
		defer context.AfterFunc(c.life, end)()
		broken := false
		told := func(ev Event, err error) bool {
			if broken {
				broken = false
				c.log.Info("watch resumed", "service", q.Service)
			}
			return yield(ev, err)
		}
		for {
			q.After = at.resume()
			began := time.Now()
			going, err := c.watch(own, q, &at, told)
			if !going {
				return
			}
			switch {
			case ctx.Err() != nil:
				yield(Event{}, ctx.Err())
				return
			case c.life.Err() != nil:
				yield(Event{}, errClientClosed)
				return
			case lasting(err):
				yield(Event{}, err)
				return
			}
			if time.Since(began) > wire.Silence {
				again.Reset()
			}
			wait := again.Next(err)
			level := slog.LevelWarn
			if broken {
				level = slog.LevelDebug // it has been said
			}
			broken = true
			c.log.Log(own, level, "watch broken; resuming", "service", q.Service, "in", wait.Round(time.Millisecond), "err", err)
			retry.Pause(own, wait)
		}
	}
}

// watch follows one connection until that breaks; going is false when the
// caller wants no more.
func (c *Client) watch(ctx context.Context, q rollcall.Query, at *cursor, yield func(Event, error) bool) (going bool, _ error) {
	records, err := c.wire.Watch(ctx, &q, at.acks)
	if err != nil {
		return true, err
	}
	defer records.Close()
	for {
		ev, err := records.Next()
		if err != nil {
			return true, err
		}
		for _, gone := range at.pass(&ev) {
			if !yield(gone, nil) {
				return false, nil
			}
		}
		if !yield(ev, nil) {
			return false, nil
		}
		records.Handled(&ev)
	}
}

// cursor is how far a watcher has come.
//
// Only a token of the server's names a state that the watcher was wholly told:
// records come in batches, in each of which what happened to an instance is
// merged into one. From the middle of a batch, or from a token before it, the
// changes since would not lead to the present state; for example, nothing would
// tell of the end of an instance that came and went. A watch that breaks there
// starts over.
type cursor struct {
	token rollcall.Token // of the last record that had one
	loose bool           // records without a token came since
	begun bool           // there is something before the next record
	acks  bool           // what was handled is acknowledged

	memory *memory
}

// resume returns the token from which to go on, zero to start over.
func (p *cursor) resume() rollcall.Token {
	if p.loose {
		return rollcall.Token{}
	}
	return p.token
}

// pass notes that ev is passed on, and returns what is to be told before it.
func (p *cursor) pass(ev *Event) []Event {
	foreign := !p.token.IsZero() && !ev.Token.IsZero() && ev.Token.Log != p.token.Log
	now := time.Now()
	p.memory.see(ev, foreign, now)
	if ev.Type == EventSnapshot && p.begun {
		ev.Type = EventReset
	}
	p.begun = true
	switch {
	case !ev.Token.IsZero():
		p.token, p.loose = ev.Token, false
	case ev.Type != EventWeights:
		p.loose = true
	}
	return p.memory.expired(now, ev.Type == EventBookmark)
}
