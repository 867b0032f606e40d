// Package webhook tells other systems of changes of health, by POST. A change is
// an event after which an instance that was registered, and still is, has
// another status than before, whatever made it so: a lapsed lease, a check, an
// operator, a new registration. The first registration of an instance and its
// removal are none; whoever wants to follow those watches.
//
// Each hook has a queue and a goroutine of its own, so that a slow one keeps
// nobody waiting; its events arrive in order, in batches, each tried until the
// receiver takes it or a day has passed. Queues are bounded and in memory: when
// one is full its oldest events go, and the next delivery says how many. What is
// queued when the server stops is not delivered.
package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-registry/rollcall"
)

const (
	queueMost = 1000 // events of one hook that are not under way
	batchMost = 100  // events of one delivery
)

// Options configure a [Sender].
type Options struct {
	Hooks []Hook
	// Dial makes connections; nil is a plain [net.Dialer]. Whether an address may
	// be connected to is for it to say.
	Dial       func(ctx context.Context, network, addr string) (net.Conn, error)
	Logger     *slog.Logger
	Now        func() time.Time      // nil is time.Now
	Registerer prometheus.Registerer // nil: no metrics
}

// Sender delivers events. Create it with [New], and have [Sender.Run] running.
type Sender struct {
	hooks []*hook
}

// hook is a Hook at work.
type hook struct {
	name     string
	url      string
	secret   []byte
	services map[rollcall.ServiceKey]bool
	statuses []rollcall.Status
	private  []string // of the URL; never to be logged

	client  *http.Client
	now     func() time.Time
	logger  *slog.Logger
	metrics metrics

	some chan struct{} // holds one token while queue may not be empty

	mu    sync.Mutex // guards what follows
	queue []rollcall.Event
	lost  int  // events that went, and of which the receiver was not told
	gone  bool // the receiver wants no more
}

// New returns a sender to hooks, which must be valid and have different names.
func New(o Options) (*Sender, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	s := new(Sender)
	for n := range o.Hooks {
		h := &o.Hooks[n]
		if err := h.Validate(); err != nil {
			return nil, fmt.Errorf("webhook %.140q: %w", h.Name, err)
		}
		if slices.ContainsFunc(o.Hooks[:n], func(other Hook) bool { return other.Name == h.Name }) {
			return nil, fmt.Errorf("webhook %q: there are two of that name", h.Name)
		}
		s.hooks = append(s.hooks, newHook(h, &o))
	}
	s.register(o.Registerer)
	return s, nil
}

func newHook(c *Hook, o *Options) *hook {
	u, _ := parseURL(c.URL)
	h := &hook{
		name: c.Name, url: u.String(), secret: []byte(c.Secret), statuses: slices.Clone(c.Statuses),
		private: []string{c.Secret, u.RequestURI(), u.RawQuery, u.Path},
		client:  newClient(o.Dial), now: o.Now, logger: o.Logger.With("webhook", c.Name),
		some: make(chan struct{}, 1),
	}
	if len(c.Services) > 0 {
		h.services = map[rollcall.ServiceKey]bool{}
		for _, s := range c.Services {
			h.services[rollcall.NewServiceKey(splitService(s))] = true
		}
	}
	return h
}

// Send queues an event for those hooks that are told of it. It never waits, and
// may be called by any goroutine. What it keeps of the event's texts are copies.
func (s *Sender) Send(ev rollcall.Event) {
	if !transition(&ev) {
		return
	}
	for _, h := range s.hooks {
		if h.wants(&ev) {
			own := ev
			own.By, own.Via, own.Why = strings.Clone(ev.By), strings.Clone(ev.Via), strings.Clone(ev.Why)
			h.push(own)
		}
	}
}

// Run delivers until ctx ends, and returns nil.
func (s *Sender) Run(ctx context.Context) error {
	var working sync.WaitGroup
	for _, h := range s.hooks {
		working.Go(func() { h.run(ctx) })
	}
	working.Wait()
	return nil
}

func (h *hook) push(ev rollcall.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return
	}
	if len(h.queue) == queueMost {
		h.queue = h.queue[1:]
		h.lost++
		h.metrics.dropped.Inc()
	}
	h.queue = append(h.queue, ev)
	select {
	case h.some <- struct{}{}:
	default:
	}
}

// take waits for events and returns those of the next delivery; none once ctx
// is done.
func (h *hook) take(ctx context.Context) (events []rollcall.Event, lost int) {
	for {
		select {
		case <-h.some:
		case <-ctx.Done():
			return nil, 0
		}
		h.mu.Lock()
		if n := min(len(h.queue), batchMost); n > 0 {
			events, lost = slices.Clone(h.queue[:n]), h.lost
			h.queue, h.lost = h.queue[n:], 0
		}
		if len(h.queue) > 0 {
			h.some <- struct{}{} // there is room: push, which puts it there as well, needs the mutex
		} else {
			h.queue = nil
		}
		h.mu.Unlock()
		if len(events) > 0 {
			return events, lost
		}
	}
}

// giveUp notes that a delivery came to nothing.
func (h *hook) giveUp(events, lost int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost += events + lost
	h.metrics.dropped.Add(float64(events))
}

// leave ends the hook for good.
func (h *hook) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone, h.queue = true, nil
}

func (h *hook) pending() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return float64(len(h.queue))
}
