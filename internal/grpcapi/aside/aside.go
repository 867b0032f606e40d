// Package aside does things on stacks other than their caller's. A stack that has grown
// stays large, and a server has one for each stream that it waits on: what such a stream
// does only now and then leaves it small when it is done aside, on one of few stacks that
// have grown already.
package aside

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// mostIdle is how many stacks are kept while there is nothing to do.
const mostIdle = 256

// Pool is a number of stacks: as many as are needed at once.
type Pool struct {
	tasks chan *task // to one that is idle
	ended chan struct{}
	idle  atomic.Int32
	all   sync.WaitGroup
}

type task struct {
	do    func() error
	err   error
	panic string
	done  chan struct{}
}

// New returns a pool.
func New() *Pool { return &Pool{tasks: make(chan *task), ended: make(chan struct{})} }

// Do calls do, waits for it, and returns its error. If it panics, so does Do, with a text
// that has the stack in it.
func (p *Pool) Do(do func() error) error {
	t := &task{do: do, done: make(chan struct{})}
	select {
	case p.tasks <- t:
	default:
		p.all.Go(func() { p.work(t) })
	}
	<-t.done
	if t.panic != "" {
		panic(t.panic)
	}
	return t.err
}

// End waits for the stacks, when nobody calls Do any more.
func (p *Pool) End() {
	close(p.ended)
	p.all.Wait()
}

func (p *Pool) work(t *task) {
	for {
		t.run()
		if p.idle.Add(1) > mostIdle {
			p.idle.Add(-1)
			return
		}
		select {
		case t = <-p.tasks:
			p.idle.Add(-1)
		case <-p.ended:
			return
		}
	}
}

func (t *task) run() {
	defer close(t.done)
	defer func() {
		if r := recover(); r != nil {
			t.panic = fmt.Sprintf("%v\n%s", r, debug.Stack())
		}
	}()
	t.err = t.do()
}
