// Package demo is a fleet to look at: real services, each instance of which is
// a process of its own with an HTTP server on a port, that register, report how
// busy they are, and are called by way of the registry's answers from several
// zones. Then things happen to them: one is killed, one drained, one fails, one
// becomes slow, two come, a zone loses half of its instances. Each time it is
// measured how long it took until whoever calls them knew, and whether that is
// as soon as was promised.
//
// [Demo] is the side that starts processes, calls them and measures; [Serve] is
// what runs in them. All traffic and all clocks are on one machine, so that a
// moment in a process can be held against one in another.
package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall/client"
)

// Demo is what to show, and to whom.
type Demo struct {
	// Registry is the address of a registry, "host:port", that knows nothing yet.
	Registry string
	// Program is the command line of a process that calls [Serve] with its standard
	// input and output.
	Program []string
	// Duration is how long it goes on in all, however much of it was shown by then;
	// 0 is until everything was shown and, with Stay, until it is interrupted.
	Duration time.Duration
	Stay     bool
	// Tell hears of each happening, one after the other.
	Tell func(Happening)
}

// patience is how long is waited for what should come within a second or two.
const patience = 15 * time.Second

// show is a demo under way.
type show struct {
	Demo
	client  *client.Client
	zones   []*zone
	fleet   *fleet
	ledger  *ledger
	views   []*view
	gateway *view // the one view of pricing that has all zones
	began   time.Time
	summary Summary

	warming errgroup.Group // follows an instance that warms up, and fills in what it finds
	warmed  warmed
}

// Run shows everything until it is over or ctx ends, and leaves no process
// behind. A promise that was not kept is no error; the summary tells.
func (d Demo) Run(ctx context.Context) (Summary, error) {
	if d.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Duration)
		defer cancel()
	}
	c, err := client.Dial(d.Registry, client.WithTransport(transport()))
	if err != nil {
		return Summary{}, err
	}
	defer c.Close()
	s := &show{Demo: d, client: c, zones: allZones(), ledger: &ledger{}, began: time.Now()}
	s.fleet = &fleet{program: d.Program, registry: d.Registry}
	defer s.fleet.end()
	for _, a := range s.acts() {
		s.summary.Left = append(s.summary.Left, a.name)
	}

	// Callers end before the processes that they call.
	life, stop := context.WithCancel(ctx)
	var callers sync.WaitGroup
	defer callers.Wait()
	defer stop()
	if err = s.open(life, &callers); err == nil {
		err = s.play(ctx)
	}
	switch {
	case ctx.Err() != nil: // it is over, in whatever way
		err = nil
	case err == nil && (d.Stay || d.Duration > 0):
		<-ctx.Done()
	}
	stop()
	callers.Wait()
	s.warming.Wait()
	s.conclude()
	return s.summary, err
}

// open starts the fleet, who watches it, and who calls it.
func (s *show) open(ctx context.Context, callers *sync.WaitGroup) error {
	if err := s.watch(ctx, callers); err != nil {
		return err
	}
	if err := s.fleet.start(ctx, s.plan()...); err != nil {
		return fmt.Errorf("the fleet: %w", err)
	}
	if err := s.assembled(ctx); err != nil {
		return err
	}
	h := &http.Client{Transport: transport(), Timeout: 2 * time.Second}
	callers.Go(func() {
		<-ctx.Done()
		h.CloseIdleConnections()
	})
	for _, v := range s.views {
		if v.rate > 0 {
			c := &caller{name: v.caller, service: v.service, zone: v.zone, how: byView, rate: v.rate, find: v.choose}
			s.call(ctx, callers, h, c)
		}
	}
	for _, z := range s.zones {
		s.call(ctx, callers, h, &caller{
			name: "cart." + z.name, service: "pricing", zone: z, how: byPick, rate: 2 * z.rate, find: s.pick("pricing", z),
		})
		s.call(ctx, callers, h, &caller{
			name: "rider." + z.name, service: "rides", zone: z, how: byPlace, rate: 5, find: s.hail(z),
		})
	}
	return nil
}

func (s *show) call(ctx context.Context, callers *sync.WaitGroup, h *http.Client, c *caller) {
	c.http, c.registry, c.ledger = h, s.client, s.ledger
	callers.Go(func() { c.run(ctx) })
}

// act is something that is done to the fleet, of which is told by itself.
type act struct {
	name string
	play func(context.Context) error
}

// acts returns what is shown, in order. What is ejected is so before the registry
// believes the fleet's reports and takes requests away from it by weight; what is slow
// comes after.
func (s *show) acts() []act {
	return []act{
		{"kill", s.kill}, {"drain", s.drain}, {"add", s.add}, {"nearest", s.nearest}, {"failover", s.failover},
		{"eject", s.eject}, {"grown", s.grown}, {"slow", s.slow}, {"zone", s.zone},
	}
}

// play plays all acts, one after the other. One that fails is told of as a
// promise that was broken, and does not keep the others from being played.
func (s *show) play(ctx context.Context) error {
	for n, a := range s.acts() {
		err := a.play(ctx)
		if ctx.Err() != nil {
			if err == nil { // it was over just before
				n++
			}
			s.summary.Left = s.summary.Left[n:]
			return ctx.Err()
		}
		if err != nil {
			s.tell(Happening{Act: a.name, Text: "this did not come off", Broken: []string{a.name + ": " + err.Error()}})
		}
	}
	s.summary.Left = nil
	return nil
}

// tell passes a happening on and takes it down for the summary.
func (s *show) tell(h Happening) {
	h.Type, h.AtMS = "happening", milliseconds(time.Since(s.began))
	for _, f := range h.Figures {
		if !f.kept() {
			h.Broken = append(h.Broken, fmt.Sprintf("%s: %s: %s, promised were %s", h.Act, f.Name, f.value(f.Value), f.promise()))
		}
	}
	h.Kept = len(h.Broken) == 0
	s.summary.Broken = append(s.summary.Broken, h.Broken...)
	s.summary.Figures = append(s.summary.Figures, ActFigures{h.Act, h.Figures})
	s.Tell(h)
}

// conclude completes the summary.
func (s *show) conclude() {
	s.summary.Type = "summary"
	s.summary.DurationMS = milliseconds(time.Since(s.began))
	s.summary.Processes = s.fleet.count()
	s.summary.Requests, s.summary.Retried, s.summary.Failed, s.summary.Late = s.ledger.totals()
	if n := s.summary.Failed; n > 0 {
		s.summary.Broken = append(s.summary.Broken, fmt.Sprintf("%d requests were lost, the last because of: %s", n, s.ledger.lastLost()))
	}
	if err := s.ledger.refusal(); err != nil {
		s.summary.Broken = append(s.summary.Broken, fmt.Sprintf("a caller's report was refused: %v", err))
	}
	s.summary.Kept = len(s.summary.Broken) == 0
}

// transport returns one for many short requests to few servers.
func transport() *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second}
}

// pulse guards what somebody waits for, and tells when it has changed.
type pulse struct {
	mu    sync.Mutex
	moved chan struct{}
}

// beat says that what mu guards has changed; its caller holds mu.
func (p *pulse) beat() {
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

// errLate is the kind of an error of [pulse.until].
var errLate = errors.New("did not come in time")

// until waits until ok, which is called with mu held, returns true.
func (p *pulse) until(ctx context.Context, within time.Duration, what string, ok func() bool) error {
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		p.mu.Lock()
		holds := ok()
		if !holds && p.moved == nil {
			p.moved = make(chan struct{})
		}
		moved := p.moved
		p.mu.Unlock()
		if holds {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return fmt.Errorf("%s: %w (%v)", what, errLate, within)
		}
	}
}

// jitter returns a duration of d ± share.
func jitter(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*(2*rand.Float64()-1)))
}
