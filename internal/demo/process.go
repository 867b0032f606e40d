package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

// orders is the first line that a process reads: what it is.
type orders struct {
	Registry string `json:"registry"`
	// Work is how long a request takes, give or take a half.
	Work      rollcall.Duration   `json:"work"`
	Instances []rollcall.Instance `json:"instances"`
	// Moves: they move a little all the time.
	Moves bool `json:"moves,omitempty"`
}

// order is each line after that: what it is to do.
type order struct {
	Slow  float64                      `json:"slow,omitempty"` // so many times as slow
	Fail  *bool                        `json:"fail,omitempty"`
	Drain bool                         `json:"drain,omitempty"` // and then end
	Hold  *bool                        `json:"hold,omitempty"`  // move no more, and say where they are
	Go    map[string]rollcall.Position `json:"go,omitempty"`
}

// news is a line that it writes.
type news struct {
	What string    `json:"what"`
	At   time.Time `json:"at"`
	// Registering is when its first registration was sent.
	Registering time.Time                    `json:"registering,omitzero"`
	Barrier     *rollcall.Barrier            `json:"barrier,omitempty"`
	Positions   map[string]rollcall.Position `json:"positions,omitempty"`
}

// What there is news of.
const (
	newsUp      = "up"
	newsDrained = "drained"
	newsHeld    = "held"
	newsThere   = "there" // where they were told to go
)

const (
	// reportEvery is how often an instance reports how busy it is.
	reportEvery = 500 * time.Millisecond
	// quietFor is for how long nobody may have called an instance that is drained
	// before it ends: who found it before that and calls only now is still served.
	quietFor = 400 * time.Millisecond
	// drainWithin is how long it waits for its watchers.
	drainWithin = 10 * time.Second
)

// Serve is what runs in a process of the fleet: it reads what it is and what to
// do from in, a JSON document a line, and writes what becomes of it to out. It
// ends with in, without a goodbye, as its parent may have ended.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() {
		return errors.Join(errors.New("there are no orders on standard input: this is a part of rollcall demo"), lines.Err())
	}
	var o orders
	if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
		return fmt.Errorf("the orders: %w", err)
	}
	c, err := client.Dial(o.Registry)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	p := &serving{moves: o.Moves, client: c, out: json.NewEncoder(out), end: end}
	defer p.tasks.Wait()
	defer end()
	registering := time.Now()
	if err := p.open(ctx, &o); err != nil {
		return err
	}
	if err := p.say(news{What: newsUp, Registering: registering}); err != nil {
		return err
	}
	for _, s := range p.all {
		p.tasks.Go(func() { s.reports(ctx) })
	}
	// Reading cannot be given up, so this goroutine may outlast Serve; the process
	// then ends.
	go func() {
		defer end()
		for lines.Scan() {
			var o order
			if json.Unmarshal(lines.Bytes(), &o) != nil {
				return
			}
			p.obey(ctx, &o)
		}
	}()
	<-ctx.Done()
	return nil
}

// serving is a process of the fleet.
type serving struct {
	client *client.Client
	moves  bool
	all    []*served
	tasks  sync.WaitGroup
	end    context.CancelFunc

	mu  sync.Mutex // guards out
	out *json.Encoder
}

func (p *serving) say(n news) error {
	n.At = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Encode(n)
}

// open listens for each instance and registers it.
func (p *serving) open(ctx context.Context, o *orders) error {
	var g errgroup.Group
	for _, inst := range o.Instances {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s := &served{p: p, id: inst.ID, work: time.Duration(o.Work), capacity: inst.Capacity, slow: 1, at: inst.Position, http: &http.Server{}}
		s.http.Handler = http.HandlerFunc(s.serve)
		p.all = append(p.all, s)
		p.tasks.Go(func() { s.http.Serve(l) }) // until drained, or the process ends
		p.tasks.Go(func() {
			<-ctx.Done()
			s.http.Close()
		})
		inst.Address, inst.Ports = "127.0.0.1", map[string]uint16{"http": uint16(l.Addr().(*net.TCPAddr).Port)}
		inst.Lease.Mode = rollcall.LeaseSession
		g.Go(func() (err error) {
			s.reg, err = p.client.Register(ctx, inst, client.WithGrace(0))
			return err
		})
	}
	return g.Wait()
}

func (p *serving) obey(ctx context.Context, o *order) {
	if o.Drain {
		p.tasks.Go(func() { p.drain(ctx) })
		return
	}
	for _, s := range p.all {
		s.mu.Lock()
		if o.Slow > 0 {
			s.slow = o.Slow
		}
		if o.Fail != nil {
			s.fail = *o.Fail
		}
		if o.Hold != nil {
			s.hold = *o.Hold
		}
		to, goes := o.Go[s.id]
		if goes {
			s.at = &to
		}
		s.mu.Unlock()
		if goes || o.Hold != nil {
			s.report(ctx)
		}
	}
	switch {
	case o.Go != nil:
		p.say(news{What: newsThere})
	case o.Hold != nil && *o.Hold:
		p.say(news{What: newsHeld, Positions: p.positions()})
	}
}

func (p *serving) positions() map[string]rollcall.Position {
	where := map[string]rollcall.Position{}
	for _, s := range p.all {
		s.mu.Lock()
		where[s.id] = *s.at
		s.mu.Unlock()
	}
	return where
}

// drain leaves in order: no more callers, then no more requests, then no more
// registration.
func (p *serving) drain(ctx context.Context) {
	defer p.end()
	for _, s := range p.all {
		inst := s.reg.Instance()
		b, err := p.client.Drain(ctx, inst.Key(), drainWithin)
		if err != nil {
			return
		}
		p.say(news{What: newsDrained, Barrier: &b})
	}
	for _, s := range p.all {
		s.quiet(ctx)
		s.reg.Close(ctx)
		s.http.Shutdown(ctx)
	}
}
