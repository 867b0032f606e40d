package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/balancer"
	"github.com/rollcall-registry/rollcall/client/internal/view"
)

const (
	// unusedFor is how long a subscription that a pick opened stays when nobody picks.
	unusedFor = 15 * time.Minute
	// mostPicked is of how many names can be picked at once, and mostAbsent how many of
	// them may be names that mean nothing.
	mostPicked = 1000
	mostAbsent = 100
	// absentFor is how long it is believed that a service is not known.
	absentFor = 5 * time.Second
)

// Pick is an instance that was chosen for a request; the zero Pick is nobody.
type Pick struct {
	p balancer.Pick
	e *view.Entry
}

// Pick chooses the instance for a request to a service as its name is typed: "payments"
// or "shop/payments". It waits, at the first pick of a name, for the registry.
func (l *Local) Pick(ctx context.Context, service string) (Pick, error) {
	if all := l.picked.Load(); all != nil {
		if h := (*all)[service]; h != nil {
			if !h.used.Load() {
				h.used.Store(true)
			}
			if p, ok := h.picker.Pick(); ok {
				return Pick{p, p.Payload().(*view.Entry)}, nil
			}
		}
	}
	return l.pickFirst(ctx, service)
}

// pickFirst picks from a service of which nobody is known yet.
func (l *Local) pickFirst(ctx context.Context, service string) (Pick, error) {
	h, err := l.Named(service)
	if err != nil {
		return Pick{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, l.Timeout())
	defer cancel()
	if _, err := h.Ready(ctx); err != nil {
		return Pick{}, err
	}
	p, err := h.Pick()
	if v := h.View(); err != nil && v.of != nil && v.of.Known() == 0 {
		return Pick{}, h.ask(ctx, v, err)
	}
	return p, err
}

// Named returns the share that picks of a name are made from. It is not to be closed.
func (l *Local) Named(service string) (*Handle, error) {
	if all := l.picked.Load(); all != nil && (*all)[service] != nil {
		return (*all)[service], nil
	}
	namespace, name, found := strings.Cut(service, "/")
	if !found {
		namespace, name = "", service
	}
	h, err := l.Subscribe(rollcall.Query{Namespace: namespace, Service: name})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	all := map[string]*Handle{}
	if old := l.picked.Load(); old != nil {
		all = maps.Clone(*old)
	}
	close := h
	if other := all[service]; other != nil { // it was faster
		h = other
	} else if close = spare(all); close == nil && len(all) >= mostPicked {
		close, h = h, nil
	} else {
		all[service] = h
		l.picked.Store(&all)
	}
	l.mu.Unlock()
	if close != nil {
		close.Close()
	}
	if h == nil {
		return nil, &rollcall.Error{Kind: rollcall.ErrTooMany, Detail: fmt.Sprintf(
			"%d services are picked from already: is a name made of what users typed? Subscribe to services of which there are that many", mostPicked)}
	}
	return h, nil
}

// spare takes the name away that was unused for longest, if too many mean nothing.
func spare(all map[string]*Handle) (least *Handle) {
	var name string
	absent := 0
	for n, h := range all {
		if !h.meansNothing() {
			continue
		}
		if absent++; least == nil || h.last.Before(least.last) {
			name, least = n, h
		}
	}
	if absent < mostAbsent {
		return nil
	}
	delete(all, name)
	return least
}

// meansNothing reports whether the registry has said that there are no instances.
func (f *feed) meansNothing() bool {
	select {
	case <-f.said:
		v := f.View()
		return v.of == nil || v.of.Known() == 0
	default:
		return false
	}
}

// sweep ends subscriptions that nobody has picked from for a while.
func (l *Local) sweep(now time.Time) {
	var unused []*Handle
	l.mu.Lock()
	if all := l.picked.Load(); all != nil {
		rest := maps.Clone(*all)
		for name, h := range rest {
			if h.used.Swap(false) {
				h.last = now
			}
			if now.Sub(h.last) >= unusedFor {
				unused = append(unused, h)
				delete(rest, name)
			}
		}
		if unused != nil {
			l.picked.Store(&rest)
		}
	}
	l.mu.Unlock()
	for _, h := range unused {
		h.Close()
	}
}

// absence is what the registry said of a service of which it told no instance.
type absence struct {
	of    *View
	until time.Time
	err   error
}

// ask finds out whether a service without instances is known; err says that it has
// none. The answer holds for a while, or until the first instance comes.
func (f *feed) ask(ctx context.Context, v *View, err error) error {
	select {
	case f.asking <- struct{}{}:
		defer func() { <-f.asking }()
	case <-ctx.Done():
		return f.late(ctx)
	}
	if a := f.absent.Load(); a != nil && a.of == v && time.Now().Before(a.until) {
		return a.err
	}
	q := f.q
	q.Health, q.Subset, q.SubsetSize = rollcall.HealthAny, "", 0
	if _, no := f.l.Registry.Resolve(ctx, q); errors.Is(no, rollcall.ErrNotFound) {
		err = no
	}
	f.absent.Store(&absence{v, time.Now().Add(absentFor), err})
	return err
}

// Pick chooses the instance for a request from the newest view. It waits for nothing.
func (f *feed) Pick() (Pick, error) {
	if p, ok := f.picker.Pick(); ok {
		return Pick{p, p.Payload().(*view.Entry)}, nil
	}
	return Pick{}, f.nobody()
}

// PickOther chooses another than those that are called not, if there is one.
func (f *feed) PickOther(not ...string) (Pick, error) {
	p, ok := f.picker.PickOther(func(p balancer.Pick) bool {
		return !slices.Contains(not, p.Payload().(*view.Entry).Instance.ID)
	})
	if !ok {
		return Pick{}, f.nobody()
	}
	return Pick{p, p.Payload().(*view.Entry)}, nil
}

// nobody says why there is nobody to pick.
func (f *feed) nobody() error {
	v := f.View()
	if v.of == nil {
		return f.unknown()
	}
	detail := f.name() + " has no instances"
	if n := v.of.Known(); n > 0 {
		health := v.of.Health()
		var of []string
		for _, status := range rollcall.Statuses() {
			if n := health[status]; n > 0 {
				of = append(of, fmt.Sprintf("%d %v", n, status))
			}
		}
		detail = fmt.Sprintf("%s has %d instances, none of which takes traffic: %s", f.name(), n, strings.Join(of, ", "))
	}
	if age := v.Age(); age > time.Minute {
		detail += fmt.Sprintf("; the registry said so %v ago and has not been heard from since", age.Round(time.Second))
	}
	return &rollcall.Error{Kind: ErrNoInstances, Detail: detail}
}

// Instance returns who was chosen, nil if nobody was.
func (p Pick) Instance() *rollcall.Instance {
	if p.e == nil {
		return nil
	}
	return &p.e.Instance
}

// Address returns the address of a port; see [view.Entry.Address].
func (p Pick) Address(port string) (string, error) {
	if p.e == nil {
		return "", &rollcall.Error{Kind: ErrNoInstances, Detail: "nobody was picked"}
	}
	return p.e.Address(port)
}

// Done says that the request is over, and whether the instance failed it.
func (p Pick) Done(err error) {
	switch {
	case p.e == nil:
	case err != nil && errors.Is(err, context.Canceled):
		p.p.Cancel()
	default:
		took := p.p.Done(err)
		p.e.Digest.Record(took, err != nil)
	}
}

// Loaded says what the reply told of the instance.
func (p Pick) Loaded(inFlight int, latency time.Duration) {
	if p.e != nil {
		p.p.Loaded(inFlight, latency)
	}
}
