package client

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/address"
)

// WithAcks has watches say what they were told, once the loop over them asks for
// the next event. A drain that waits for its watchers then waits until the loop
// has acted on it; without, only until it has arrived at this machine, which may
// be some milliseconds earlier if that is busy. It costs a request for each change
// that a watch is told of.
func WithAcks() Option { return func(c *Client) { c.acks = true } }

// acknowledging returns what is to be called with each event of a stream that was
// handled, and what ends it.
func (c *Client) acknowledging(ctx context.Context, stream *http.Response) (handled func(*Event), end func()) {
	subscription := stream.Header.Get("X-Rollcall-Subscription")
	if !c.acks || subscription == "" {
		return func(*Event) {}, func() {}
	}
	base, _, _ := strings.Cut(stream.Request.URL.String(), "/api/v1/")
	at := address.Server{Base: base, Name: stream.Request.URL.Host}
	ctx, cancel := context.WithCancel(ctx)
	newest, done := make(chan rollcall.Token, 1), make(chan struct{})
	go func() {
		defer close(done)
		var said rollcall.Token
		for {
			select {
			case t := <-newest:
				if t == said {
					continue
				}
				if err := c.acknowledge(ctx, at, subscription, t.Revision); err != nil {
					c.log.Debug("could not acknowledge what a watch was told; the next bookmark makes up for it", "err", err)
					continue
				}
				said = t
			case <-ctx.Done():
				return
			}
		}
	}()
	handled = func(ev *Event) {
		if ev.Token.IsZero() {
			return
		}
		select { // what was not said yet is part of it
		case <-newest:
		default:
		}
		newest <- ev.Token
	}
	return handled, func() {
		cancel()
		<-done
	}
}

// acknowledge says to a server that a subscription's events up to a revision were
// handled.
func (c *Client) acknowledge(ctx context.Context, at address.Server, subscription string, to rollcall.Revision) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	k := call{method: http.MethodPost, path: "watch/ack", body: struct {
		Subscription string            `json:"subscription"`
		Revision     rollcall.Revision `json:"revision"`
	}{subscription, to}}
	body, err := json.Marshal(k.body)
	if err != nil {
		return err
	}
	resp, err := c.sendTo(ctx, at, k, bytes.NewReader(body))
	if err == nil {
		finish(resp.Body)
	}
	return err
}
