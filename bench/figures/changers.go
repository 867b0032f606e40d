package figures

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/rpc"
)

// changers are sessions over gRPC, on one thread, with an instance each, of a service each.
// One after the other says that its instance has changed: registers it anew, with another
// build.
type changers struct {
	Addr            string
	Conns, Sessions int

	client  *rpc.Client
	streams []*rpc.Stream
	over    chan struct{} // hears when a round's changes are made
	ended   chan struct{} // closed when no more can be
	news    driver.News
	buf     []byte

	mu         sync.Mutex // guards what follows
	problem    error
	rate       float64 // changes a second
	next       time.Time
	begin, end time.Time         // of the window that counts
	due        map[int]time.Time // when each change was to be made; of a round
	answered   map[int]bool      // which of them
	changes    int
	registered int // answers
	ack        load.Histogram
}

// open opens the sessions and returns when all have their instance. They stay until the
// process ends.
func (c *changers) open() error {
	c.over, c.ended, c.due, c.news = make(chan struct{}, 1), make(chan struct{}), map[int]time.Time{}, driver.RollcallSessionNews()
	c.client = &rpc.Client{Addr: c.Addr, Conns: c.Conns, Message: c.message, Ended: func(_ *rpc.Stream, err error) {
		c.failed(fmt.Errorf("a session has ended: %v", err))
	}}
	if err := c.client.Open(); err != nil {
		return err
	}
	go func() {
		defer close(c.ended)
		c.failed(fmt.Errorf("the sessions are over: %v", c.client.Run(time.Now().Add(time.Hour), c.turn)))
	}()
	for deadline := time.Now().Add(50 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		have, problem := c.registered, c.problem
		c.mu.Unlock()
		switch {
		case problem != nil:
			return problem
		case time.Now().After(deadline):
			return fmt.Errorf("%d of %d sessions are there", have, c.Sessions)
		case have == c.Sessions:
			return nil
		}
	}
}

// run makes so many changes a second for the time of a window, as they come and whether or
// not earlier ones are answered.
func (c *changers) run(rate float64, w load.Window) error {
	c.mu.Lock()
	c.begin = time.Now().Add(w.Ramp)
	c.end = c.begin.Add(w.Length)
	c.rate, c.next, c.due, c.answered, c.ack = rate, time.Now(), map[int]time.Time{}, map[int]bool{}, load.Histogram{}
	c.mu.Unlock()
	w.Wait()
	select {
	case <-c.over:
	case <-c.ended:
	}
	return c.wrong()
}

// wrong returns the first thing that went wrong.
func (c *changers) wrong() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problem
}

// turn does what is due, and returns when there is more to do.
func (c *changers) turn(now time.Time) time.Time {
	const atOnce, gap = 50, 10 * time.Millisecond
	c.mu.Lock()
	defer c.mu.Unlock()
	for left := atOnce; left > 0 && len(c.streams) < c.Sessions; left-- {
		st := c.client.Call(len(c.streams)%c.Conns, driver.RollcallSessionMethod, nil)
		st.Send(changerOpens)
		c.streams = append(c.streams, st)
		c.say(len(c.streams) - 1)
	}
	for ; c.rate > 0 && !c.next.After(now) && c.next.Before(c.end); c.next = c.next.Add(time.Duration(rand.ExpFloat64() / c.rate * 1e9)) {
		if !c.next.Before(c.begin) {
			c.due[c.changes] = c.next
		}
		c.say(c.changes % c.Sessions)
	}
	if c.rate > 0 && c.next.Before(c.end) {
		return c.next
	}
	if c.rate > 0 {
		c.rate = 0
		c.over <- struct{}{}
	}
	return now.Add(gap)
}

// say makes a change of a session's instance.
func (c *changers) say(session int) {
	c.buf = c.news.Append(c.buf[:0], session, c.changes)
	c.streams[session].Send(c.buf)
	c.changes++
}

var (
	changerOpens = driver.Frame(&pb.SessionRequest{Say: &pb.SessionRequest_Open{Open: &pb.OpenSession{}}})
	changerPong  = driver.Frame(&pb.SessionRequest{Say: &pb.SessionRequest_Pong{Pong: &pb.Pong{}}})
)

func (c *changers) message(st *rpc.Stream, b []byte, at time.Time) {
	var m pb.SessionResponse
	if err := proto.Unmarshal(b, &m); err != nil {
		c.failed(err)
		return
	}
	switch say := m.Say.(type) {
	case *pb.SessionResponse_Ping:
		st.Send(changerPong)
	case *pb.SessionResponse_Registered:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.registered++
		if due, ok := c.due[int(m.Ref)]; ok {
			c.answered[int(m.Ref)] = true
			c.ack.Record(at.Sub(due))
		}
	case *pb.SessionResponse_Error:
		c.failed(fmt.Errorf("%s", say.Error.GetDetail()))
	case *pb.SessionResponse_Lost, *pb.SessionResponse_Closing:
		c.failed(fmt.Errorf("%v", &m))
	}
}

// acked returns the 99th percentile of how long changes waited for their answer; those
// that have none yet count as if it came now.
func (c *changers) acked() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	for change, due := range c.due {
		if !c.answered[change] {
			c.ack.Record(time.Since(due))
		}
	}
	return c.ack.Quantile(0.99)
}

func (c *changers) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.problem == nil {
		c.problem = err
	}
}
