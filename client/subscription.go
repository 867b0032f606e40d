package client

import (
	"context"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/local"
)

// Subscription keeps the result of a query up to date in this process. Its methods may
// be called by any number of goroutines.
type Subscription struct{ of *local.Handle }

// Subscribe keeps the result of a query up to date in this process, from the
// background: it does not wait for the first. Equal queries share one subscription. q
// names a service or a named query; its After and Wait mean nothing. The caller closes
// what it gets.
//
// The result is what [Client.Resolve] would answer. A subscription has acted on a change
// once its views and picks show it, and the registry is told of that, so that a drain
// which waits for watchers waits for it. It outlives broken connections, restarts and
// outages as [Client.Watch] does, and shows what it knew until then; see [View.Age].
func (c *Client) Subscribe(q rollcall.Query) (*Subscription, error) {
	h, err := c.local.Subscribe(q)
	if err != nil {
		return nil, err
	}
	return &Subscription{h}, nil
}

// View returns the newest view. It is never nil.
func (s *Subscription) View() *View { return (*View)(s.of.View()) }

// Ready returns the newest view once one is known: when the registry has answered, or if
// it has not after half a second, when there was one on disk (see [WithCacheDir]). Its
// error is that of ctx, or what the registry refuses the query with.
func (s *Subscription) Ready(ctx context.Context) (*View, error) {
	v, err := s.of.Ready(ctx)
	return (*View)(v), err
}

// Changed returns a channel that is closed once the newest view is another than this
// one, which View or Ready has returned.
func (s *Subscription) Changed(than *View) <-chan struct{} { return than.local().Next() }

// Pick chooses the instance for a request, as [Client.Pick] does, from the newest view.
// It waits for nothing: before anything is known it is an error of kind
// [rollcall.ErrNotSynced], or what the registry refuses the query with.
func (s *Subscription) Pick() (Pick, error) {
	p, err := s.of.Pick()
	return Pick{p}, err
}

// PickOther chooses the instance for a request that is sent again: another than those
// with the ids not, if there is one.
func (s *Subscription) PickOther(not ...string) (Pick, error) {
	p, err := s.of.PickOther(not...)
	return Pick{p}, err
}

// Close ends the subscription, unless others have it too. Its last view stays as it is.
// The error is always nil.
func (s *Subscription) Close() error {
	s.of.Close()
	return nil
}
