package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
)

// EventType says what an [Event] tells.
type EventType string

const (
	// EventSnapshot opens a watch: Revision, Token and all Instances.
	EventSnapshot EventType = "snapshot"
	// EventReset is a snapshot that replaces everything seen before: what
	// happened in between could not be told.
	EventReset EventType = "reset"
	// EventPut is a new or changed instance: Revision, Instance.
	EventPut EventType = "put"
	// EventHealth is a new verdict on instances: Revision, IDs, Status, Reason, and
	// EffectiveWeights unless they take no traffic.
	EventHealth EventType = "health"
	// EventRemove is an instance that is gone, or that the query no longer
	// selects: Revision, ID, Reason.
	EventRemove EventType = "remove"
	// EventWeights are effective weights by id: Generation, Weights. They come
	// outside the order of the other events; the latest counts.
	EventWeights EventType = "weights"
	// EventBookmark says that the watcher is current: Revision, Token.
	EventBookmark EventType = "bookmark"
)

// Event is one record of a watch. Which fields it has goes by its type.
type Event struct {
	Type EventType `json:"type"`
	// Namespace and Service say whose IDs, ID and Weights these are, in a watch
	// of more than one service or of a named query.
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service,omitempty"`

	Revision rollcall.Revision `json:"revision,omitempty"`
	// Token, where there is one, names the state that this event completes;
	// as [rollcall.Query.After] it takes the watch up behind it.
	Token     rollcall.Token      `json:"token,omitzero"`
	Instances []rollcall.Instance `json:"instances,omitzero"`
	Instance  *rollcall.Instance  `json:"instance,omitempty"`
	ID        string              `json:"id,omitempty"`
	IDs       []string            `json:"ids,omitempty"`
	Status    rollcall.Status     `json:"status,omitzero"`
	Reason    string              `json:"reason,omitempty"`
	// EffectiveWeights are those of IDs, in their order.
	EffectiveWeights []uint16          `json:"effective_weights,omitempty"`
	Generation       uint64            `json:"generation,omitempty"`
	Weights          map[string]uint16 `json:"weights,omitempty"`
}

// watchSilence is for how long a stream may be silent before it counts as
// broken. Servers send a bookmark every 5 s.
const watchSilence = 15 * time.Second

// Watch tells what a query's result is, and every change of it from then on.
// Without a service it watches a whole namespace, and without either,
// everything. A query with After goes on from there.
//
// The watch outlives broken connections and restarts of the server: it goes on
// where it stopped, with nothing left out and nothing told twice, or where that
// cannot be, starts over with an [EventReset]. It ends with an error: that of
// ctx, or one that trying again would not change. That a server is not there is
// no such error, not even in the beginning.
func (c *Client) Watch(ctx context.Context, q rollcall.Query) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		at := cursor{token: q.After, begun: !q.After.IsZero(), memory: newMemory(q)}
		again := retry.Backoff{Least: 250 * time.Millisecond, Most: 5 * time.Second}
		for {
			q.After = at.resume()
			began := time.Now()
			going, err := c.watch(ctx, q, &at, yield)
			if !going {
				return
			}
			switch {
			case ctx.Err() != nil:
				yield(Event{}, ctx.Err())
				return
			case lasting(err):
				yield(Event{}, err)
				return
			}
			if time.Since(began) > watchSilence {
				again.Reset()
			}
			wait := again.Next(err)
			c.log.Warn("watch broken; resuming", "service", q.Service, "in", wait.Round(time.Millisecond), "err", err)
			retry.Pause(ctx, wait)
		}
	}
}

// watch follows one connection until that breaks; going is false when the
// caller wants no more.
func (c *Client) watch(ctx context.Context, q rollcall.Query, at *cursor, yield func(Event, error) bool) (going bool, _ error) {
	ctx, alive, stop := retry.Watchdog(ctx, watchSilence)
	defer stop()
	path := "watch"
	if q.Service != "" {
		path = servicePath(q.Service, "watch")
	}
	resp, err := c.send(ctx, call{method: http.MethodGet, path: path, query: q.Values(), header: http.Header{
		"Accept": {"application/x-ndjson"},
		// Compressing a stream for itself costs a server far more memory than
		// the connection is worth.
		"Accept-Encoding": {"identity"},
	}})
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	acks := acks{c: c, of: resp}
	lines := bufio.NewReaderSize(alive(resp.Body), 32<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil { // what came of the last line is not whole
			if errors.Is(err, io.EOF) {
				err = errors.New("the server ended the stream")
			}
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return true, err
		}
		if len(line) == 1 {
			continue
		}
		var ev Event
		if err := json.Unmarshal(line, &ev); err != nil {
			return true, fmt.Errorf("a record of the stream could not be read: %w", err)
		}
		for _, gone := range at.pass(&ev) {
			if !yield(gone, nil) {
				return false, nil
			}
		}
		if !yield(ev, nil) {
			return false, nil
		}
		acks.handled(ctx, &ev)
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
	return p.memory.expired(now)
}
