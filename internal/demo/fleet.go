package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall"
)

// process is one of the fleet, as its parent sees it.
type process struct {
	orders
	cmd    *exec.Cmd
	in     io.WriteCloser
	exited chan struct{}

	pulse // guards what follows
	said  []news
	over  bool
	wrong strings.Builder // its standard error
}

// id returns that of a process with one instance.
func (p *process) id() string { return p.Instances[0].ID }

// order has a process do something.
func (p *process) order(o order) error { return json.NewEncoder(p.in).Encode(o) }

// await waits for news of something, which came last.
func (p *process) await(ctx context.Context, what string) (got news, err error) {
	err = p.until(ctx, patience, fmt.Sprintf("news of %s that it is %s", p.id(), what), func() bool {
		for _, n := range p.said {
			if n.What == what {
				got = n
			}
		}
		return got.What != "" || p.over
	})
	if err == nil && got.What == "" {
		err = fmt.Errorf("%s has ended: %s", p.id(), strings.TrimSpace(p.wrong.String()))
	}
	return got, err
}

// forget drops the news so far, so that the next is waited for.
func (p *process) forget() {
	p.mu.Lock()
	p.said = nil
	p.mu.Unlock()
}

// fleet is all processes.
type fleet struct {
	program  []string
	registry string

	mu  sync.Mutex // guards what follows
	all []*process
}

// start starts processes and returns when all of their instances are registered.
func (f *fleet) start(ctx context.Context, all ...orders) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, o := range all {
		g.Go(func() error {
			p, err := f.run(o)
			if err == nil {
				_, err = p.await(ctx, newsUp)
			}
			return err
		})
	}
	return g.Wait()
}

// run starts a process.
func (f *fleet) run(o orders) (*process, error) {
	o.Registry = f.registry
	p := &process{orders: o, exited: make(chan struct{})}
	p.cmd = exec.Command(f.program[0], f.program[1:]...)
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	wrong, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.all = append(f.all, p)
	f.mu.Unlock()
	go p.listen(out, wrong) // until it exits, which end waits for
	return p, json.NewEncoder(p.in).Encode(p.orders)
}

// listen takes down what a process says until it has exited.
func (p *process) listen(out, wrong io.Reader) {
	defer close(p.exited)
	var reading sync.WaitGroup
	reading.Go(func() {
		for s := bufio.NewScanner(wrong); s.Scan(); {
			p.mu.Lock()
			p.wrong.WriteString(s.Text() + "\n")
			p.mu.Unlock()
		}
	})
	for s := bufio.NewScanner(out); s.Scan(); {
		var n news
		if json.Unmarshal(s.Bytes(), &n) != nil {
			continue
		}
		p.mu.Lock()
		p.said = append(p.said, n)
		p.beat()
		p.mu.Unlock()
	}
	reading.Wait()
	p.cmd.Wait()
	p.mu.Lock()
	p.over = true
	p.beat()
	p.mu.Unlock()
}

// kill kills a process as a crash does: nothing of it can say a word. It returns
// when that was.
func (p *process) kill() (time.Time, error) {
	at := time.Now()
	return at, p.cmd.Process.Kill()
}

// of returns the process of an instance.
func (f *fleet) of(id string) (*process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.all {
		for n := range p.Instances {
			if p.Instances[n].ID == id {
				return p, nil
			}
		}
	}
	return nil, fmt.Errorf("there is no instance %s", id)
}

func (f *fleet) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}

// end ends all processes and waits for that.
func (f *fleet) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.all {
		p.in.Close()
	}
	late := time.After(5 * time.Second)
	for _, p := range f.all {
		select {
		case <-p.exited:
		case <-late:
			p.cmd.Process.Kill()
			<-p.exited
		}
	}
}

// drivers is how many there are in each zone. Those of one have one process, as
// their connections end at one gateway.
const drivers = 12

// What an instance of pricing is made of.
const (
	pricingWork     = 15 * time.Millisecond
	pricingCapacity = 6
)

// plan says what the fleet is made of.
func (s *show) plan() (all []orders) {
	for _, size := range []struct {
		service  string
		work     time.Duration
		capacity uint32
		in       [3]int // so many in each zone
	}{
		{"pricing", pricingWork, pricingCapacity, [3]int{4, 3, 2}},
		{"maps", 10 * time.Millisecond, 8, [3]int{4, 2, 1}},
		{"surge", 10 * time.Millisecond, 4, [3]int{1, 0, 0}},
	} {
		for n, z := range s.zones {
			for k := range size.in[n] {
				all = append(all, one(size.service, z, string(rune('a'+k)), size.work, size.capacity))
			}
		}
	}
	for _, z := range s.zones {
		o := orders{Work: rollcall.Duration(5 * time.Millisecond), Moves: true}
		for n, c := range z.around(drivers) {
			o.Instances = append(o.Instances, rollcall.Instance{
				Service: "rides", ID: fmt.Sprintf("driver-%s-%02d", z.name, n+1), Version: "3.1.0", Locality: z.locality(), Capacity: 4,
				Position: &rollcall.Position{Lat: c.Latitude, Lon: c.Longitude},
				Capabilities: map[string]rollcall.Value{
					"seats":    rollcall.Number(float64(4 + 2*(n%2))),
					"electric": rollcall.Bool(n%3 != 0),
				},
				Metadata: map[string]string{"city": c.City},
			})
		}
		all = append(all, o)
	}
	return all
}

// one returns what a process with one instance is.
func one(service string, z *zone, name string, work time.Duration, capacity uint32) orders {
	return orders{Work: rollcall.Duration(work), Instances: []rollcall.Instance{{
		Service: service, ID: service + "-" + z.name + "-" + name, Version: "2.4.1", Locality: z.locality(),
		Position: &z.at, Capacity: capacity,
	}}}
}
