package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// records reads the stream of one watch.
type records struct {
	c      *Client
	acks   bool
	server int // its index
	ctx    context.Context
	stop   func()
	of     *http.Response
	lines  *bufio.Reader
	said   rollcall.Token // the last that was acknowledged
}

// Watch implements [wire.Caller].
func (c *Client) Watch(ctx context.Context, q *rollcall.Query, acks bool) (wire.Records, error) {
	r := &records{c: c, acks: acks}
	err := c.turn.Ask(ctx, func(i int) error {
		r.server = i
		return r.open(ctx, q)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// open asks a server for the stream, for which there is as much time as for a call, and
// less than a stream may be silent: a server that says nothing is not asked for ever.
func (r *records) open(ctx context.Context, q *rollcall.Query) (err error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	late := time.AfterFunc(min(r.c.Timeout, wire.Silence*2/3), func() { giveUp(context.DeadlineExceeded) })
	ctx, alive, stop := retry.Watchdog(ctx, wire.Silence)
	r.ctx, r.stop = ctx, func() { stop(); giveUp(nil) }
	path := "watch"
	if q.Service != "" {
		path = ServicePath(q.Service, "watch")
	}
	params := q.Values()
	if r.acks { // which a drain is to wait for from the beginning, not from the first on
		params.Set("acks", "1")
	}
	r.of, err = r.c.sendTo(ctx, r.c.Servers[r.server], Call{Method: http.MethodGet, Path: path, Query: params, Header: http.Header{
		"Accept": {"application/x-ndjson"},
		// Compressing a stream for itself costs a server far more memory than
		// the connection is worth.
		"Accept-Encoding": {"identity"},
	}}, http.NoBody)
	late.Stop()
	if err != nil {
		r.stop()
		return err
	}
	r.lines = bufio.NewReaderSize(alive(r.of.Body), 32<<10)
	return nil
}

// Close implements [wire.Records].
func (r *records) Close() {
	r.stop()
	r.of.Body.Close()
}

// Next implements [wire.Records].
func (r *records) Next() (ev rollcall.WatchEvent, err error) {
	for {
		line, err := r.lines.ReadBytes('\n')
		if err != nil { // what came of the last line is not whole
			if errors.Is(err, io.EOF) {
				err = errors.New("the server ended the stream")
			}
			if cause := context.Cause(r.ctx); cause != nil {
				err = cause
			}
			if errors.Is(err, retry.ErrSilent) {
				r.c.turn.Leave(r.server)
			}
			return ev, err
		}
		if len(line) == 1 {
			continue
		}
		if err := json.Unmarshal(line, &ev); err != nil {
			return ev, fmt.Errorf("a record of the stream could not be read: %w", err)
		}
		return ev, nil
	}
}

// Handled implements [wire.Records]. It costs a request.
func (r *records) Handled(ev *rollcall.WatchEvent) {
	subscription := r.of.Header.Get("X-Rollcall-Subscription")
	if !r.acks || subscription == "" || ev.Token.IsZero() || ev.Token == r.said {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.c.Timeout)
	defer cancel()
	k := Call{Method: http.MethodPost, Path: "watch/ack", Header: http.Header{"Content-Type": {"application/json"}}}
	body := strings.NewReader(fmt.Sprintf(`{"subscription":%q,"revision":%d}`, subscription, ev.Token.Revision))
	resp, err := r.c.sendTo(ctx, r.c.Servers[r.server], k, body)
	if err != nil { // the next bookmark makes up for it
		r.c.Log.Debug("could not acknowledge what a watch was told", "err", err)
		return
	}
	finish(resp.Body)
	r.said = ev.Token
}
