package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

// How a caller finds whom to call.
const (
	byView  = "view"  // a watch, and the weights in it
	byPick  = "pick"  // the registry chooses for each request
	byPlace = "place" // the nearest that a filter selects
)

// filter selects the drivers that riders ask for.
const filter = "cap.electric && cap.seats >= 6"

const (
	// atOnce is how many requests a caller has under way at most.
	atOnce = 32
	// tellEvery is how often a caller tells the registry what it saw.
	tellEvery = time.Second
	// keep is how long the ledger has hits.
	keep = 10 * time.Second
)

// caller calls instances of a service at a steady rate, however long they take: a
// request that fails is made again, up to twice, each time of another.
type caller struct {
	name, service, how string
	zone               *zone
	rate               float64
	// find returns whom to call, other than those to avoid, as a call that has
	// begun.
	find     func(ctx context.Context, avoid []string) (*target, error)
	http     *http.Client
	registry *client.Client
	ledger   *ledger

	mu   sync.Mutex // guards what follows
	saw  map[string]*outcome
	from time.Time
}

// outcome is what a caller saw of an instance since it told of it.
type outcome struct {
	ok, errors int
	took       []float64 // milliseconds
}

// run calls until ctx ends and all calls have.
func (c *caller) run(ctx context.Context) {
	var calls sync.WaitGroup
	defer calls.Wait()
	tick := time.NewTicker(time.Duration(float64(time.Second) / c.rate))
	defer tick.Stop()
	report := time.NewTicker(tellEvery)
	defer report.Stop()
	room := make(chan struct{}, atOnce)
	c.mu.Lock()
	c.saw, c.from = map[string]*outcome{}, time.Now()
	c.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-report.C:
			calls.Go(func() { c.report(ctx) })
		case <-tick.C:
			select {
			case room <- struct{}{}:
				calls.Go(func() {
					c.request(ctx)
					<-room
				})
			default:
				c.ledger.late()
			}
		}
	}
}

// tries is how often a request is made at most.
const tries = 3

// request makes one request, of other instances if need be.
func (c *caller) request(ctx context.Context) {
	var avoid []string
	for try := range tries {
		t, err := c.find(ctx, avoid)
		if ctx.Err() != nil {
			if err == nil {
				t.calls.Done()
			}
			return
		}
		h := hit{service: c.service, how: c.how, retry: try > 0, last: try == tries-1}
		if err != nil {
			h.failed, h.why = true, err.Error()
			h.at = time.Now()
			c.ledger.add(h)
			continue
		}
		h.id, h.to = t.id, t.zone
		if c.zone != nil {
			h.from = c.zone.name
		}
		began := time.Now()
		err = c.get(ctx, t.url)
		t.calls.Done()
		h.at = time.Now()
		if h.failed = err != nil; h.failed {
			h.why = err.Error()
		}
		c.note(t.id, err == nil, h.at.Sub(began))
		c.ledger.add(h)
		if err == nil {
			return
		}
		avoid = append(avoid, t.id)
	}
}

// get makes a request, which the end of the demo does not cut short: it would look
// like a failure.
func (c *caller) get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return nil
}

func (c *caller) note(id string, ok bool, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.saw[id]
	if o == nil {
		o = &outcome{}
		c.saw[id] = o
	}
	if ok {
		o.ok++
	} else {
		o.errors++
	}
	o.took = append(o.took, milliseconds(took))
}

// report tells the registry what the caller saw since the last time. What does not
// arrive is lost: the next report is soon.
func (c *caller) report(ctx context.Context) {
	c.mu.Lock()
	saw, from := c.saw, c.from
	c.saw, c.from = map[string]*outcome{}, time.Now()
	c.mu.Unlock()
	r := rollcall.CallerReport{Caller: c.name, Window: rollcall.Duration(time.Since(from))}
	for id, o := range saw {
		slices.Sort(o.took)
		at := func(share float64) float64 { return o.took[min(len(o.took)-1, int(share*float64(len(o.took))))] }
		r.Instances = append(r.Instances, rollcall.Outcome{ID: id, OK: o.ok, Errors: o.errors, LatencyP50: at(0.5), LatencyP99: at(0.99)})
	}
	if len(r.Instances) == 0 {
		return
	}
	if err := c.registry.Observe(ctx, rollcall.NewServiceKey("", c.service), r); errors.Is(err, rollcall.ErrInvalid) {
		c.ledger.refuse(err)
	}
}

// pick returns a find that asks the registry to choose.
func (s *show) pick(service string, z *zone) func(context.Context, []string) (*target, error) {
	return func(ctx context.Context, avoid []string) (*target, error) {
		q := rollcall.Query{Service: service, Near: z.near(), Pick: 1, Caller: "cart." + z.name}
		if len(avoid) > 0 {
			q.Filter = not(avoid)
		}
		return s.first(ctx, q)
	}
}

// hail returns a find that asks for the drivers who are nearest to somewhere in
// the zone's city.
func (s *show) hail(z *zone) func(context.Context, []string) (*target, error) {
	return func(ctx context.Context, avoid []string) (*target, error) {
		q := rollcall.Query{Service: "rides", Near: spot(stroll(z.at)), Limit: 3, Filter: filter}
		if len(avoid) > 0 {
			q.Filter += " && " + not(avoid)
		}
		return s.first(ctx, q)
	}
}

// not is a filter that selects all others.
func not(ids []string) string { return fmt.Sprintf(`!(id in ["%s"])`, strings.Join(ids, `", "`)) }

// first returns the first instance of an answer.
func (s *show) first(ctx context.Context, q rollcall.Query) (*target, error) {
	ans, err := s.client.Resolve(ctx, q)
	if err != nil {
		return nil, err
	}
	if len(ans.Instances) == 0 {
		return nil, errNobody
	}
	t := targetOf(&ans.Instances[0])
	t.calls.Add(1)
	return t, nil
}

// hit is a request that has ended.
type hit struct {
	at       time.Time
	service  string
	how      string
	id       string // empty: nobody was found
	from, to string // zones; from is empty for who is nowhere in particular
	retry    bool   // of one that failed elsewhere
	last     bool   // there is no further try
	failed   bool
	why      string
}

// ledger has what became of all requests.
type ledger struct {
	pulse    // guards what follows
	hits     []hit
	failures []hit // all there were
	requests int
	retried  int
	lost     int // failed as often as they were made
	lates    int
	refused  error // of a caller's report
}

func (l *ledger) add(h hit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hits = append(l.hits, h)
	if len(l.hits)%1024 == 0 {
		old := h.at.Add(-keep)
		l.hits = slices.DeleteFunc(l.hits, func(h hit) bool { return h.at.Before(old) })
	}
	if h.retry {
		l.retried++
	} else {
		l.requests++
	}
	if h.failed {
		l.failures = append(l.failures, h)
		if h.last {
			l.lost++
		}
	}
	l.beat()
}

func (l *ledger) late() {
	l.mu.Lock()
	l.lates++
	l.mu.Unlock()
}

func (l *ledger) refuse(err error) {
	l.mu.Lock()
	l.refused = err
	l.mu.Unlock()
}

func (l *ledger) refusal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// lastLost returns why the last request that was lost was.
func (l *ledger) lastLost() (why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.failures {
		if h := &l.failures[n]; h.last {
			why = h.why
		}
	}
	return why
}

func (l *ledger) totals() (requests, retried, lost, late int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests, l.retried, l.lost, l.lates
}

// since counts the requests after a moment that meet a condition. Its caller holds
// mu.
func (l *ledger) since(at time.Time, ok func(*hit) bool) (n int) {
	for i := len(l.hits) - 1; i >= 0 && l.hits[i].at.After(at); i-- {
		if ok(&l.hits[i]) {
			n++
		}
	}
	return n
}

// failed counts the failures of an instance since a moment, or of any if id is
// empty, and the requests that failed for good.
func (l *ledger) failed(id string, at time.Time) (tries, lost int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.failures {
		h := &l.failures[n]
		if h.at.Before(at) {
			continue
		}
		if id == "" || h.id == id {
			tries++
		}
		if h.last {
			lost++
		}
	}
	return tries, lost
}

// share returns which share of a service's requests since a moment went to an
// instance, found in some way (empty: in any), and of how many that is. Its caller
// holds mu.
func (l *ledger) share(service, id, how string, at time.Time) (share float64, of int) {
	is := func(h *hit) bool { return h.service == service && !h.retry && (how == "" || h.how == how) }
	of = l.since(at, is)
	if of == 0 {
		return math.NaN(), 0
	}
	return float64(l.since(at, func(h *hit) bool { return is(h) && h.id == id })) / float64(of), of
}
