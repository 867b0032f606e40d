package client

import (
	"context"
	"fmt"
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

// acks says to a server what was handled of one of its streams.
type acks struct {
	c    *Client
	of   *http.Response
	said rollcall.Token
}

// handled says that an event was, and all before it.
func (a *acks) handled(ctx context.Context, ev *Event) {
	subscription := a.of.Header.Get("X-Rollcall-Subscription")
	if !a.c.acks || subscription == "" || ev.Token.IsZero() || ev.Token == a.said {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, a.c.timeout)
	defer cancel()
	base, _, _ := strings.Cut(a.of.Request.URL.String(), "/api/v1/")
	k := call{method: http.MethodPost, path: "watch/ack", header: http.Header{"Content-Type": {"application/json"}}}
	body := strings.NewReader(fmt.Sprintf(`{"subscription":%q,"revision":%d}`, subscription, ev.Token.Revision))
	resp, err := a.c.sendTo(ctx, address.Server{Base: base, Name: a.of.Request.URL.Host}, k, body)
	if err != nil { // the next bookmark makes up for it
		a.c.log.Debug("could not acknowledge what a watch was told", "err", err)
		return
	}
	finish(resp.Body)
	a.said = ev.Token
}
