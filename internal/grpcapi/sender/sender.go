// Package sender has the goroutines that tell all streams of watches what is new.
package sender

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall/internal/watch"
)

// Pool are as many senders as can be of use to the machine. One that waits for a reader
// who is slow is replaced, and leaves when it is through.
type Pool struct {
	// Queue has the groups that they tell the news of.
	Queue *watch.Queue

	tell    func(*watch.Group)
	most    int32
	working atomic.Int32  // of those that do not wait for a reader
	wanted  chan struct{} // holds a token for each that is to begin to work
	done    chan struct{} // closed with the server
	age     atomic.Int64  // counts looks
	looking atomic.Bool

	timer *time.Timer // of look

	mu   sync.Mutex           // guards what follows
	all  map[*sender]struct{} // nil: they have not begun, or are over
	over bool
	left sync.WaitGroup
}

// sender is one of them.
type sender struct {
	since atomic.Int64 // the age when it took what it tells of; 0: nothing; replaced: it was
}

const replaced = -1

// lookEvery is how often it is looked whether a sender waits for a reader.
const lookEvery = 10 * time.Millisecond

// New returns a pool whose senders call tell with a group that has news, one at a time for
// each group.
func New(tell func(*watch.Group)) *Pool {
	p := &Pool{tell: tell, most: int32(runtime.GOMAXPROCS(0)), done: make(chan struct{})}
	p.wanted = make(chan struct{}, p.most)
	p.Queue = watch.NewQueue(p.wake)
	p.age.Store(1)
	return p
}

// Begin has them begin, unless they have.
func (p *Pool) Begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.all != nil {
		return
	}
	p.all = map[*sender]struct{}{}
	p.looking.Store(true)
	p.timer = time.AfterFunc(lookEvery, p.look)
	for range p.most {
		p.add()
	}
}

// End ends them when they are through, and waits for that.
func (p *Pool) End() {
	p.mu.Lock()
	if !p.over {
		p.over = true
		close(p.done)
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	p.left.Wait()
}

// add begins one more. The caller holds p.mu.
func (p *Pool) add() {
	s := &sender{}
	p.all[s] = struct{}{}
	p.left.Go(func() { p.run(s) })
}

// wake says that there is more to tell. It is called where news are published: while
// all work already, it costs a look at a number.
func (p *Pool) wake() {
	for {
		n := p.working.Load()
		if n >= p.most {
			return
		}
		if p.working.CompareAndSwap(n, n+1) {
			break
		}
	}
	select {
	case p.wanted <- struct{}{}:
	default: // cannot be: it has room for all
	}
}

func (p *Pool) run(s *sender) {
	for {
		select {
		case <-p.wanted:
		case <-p.done:
			return
		}
		if !p.work(s) {
			return
		}
		p.working.Add(-1)
		if p.Queue.Waits() { // what came while this one counted as at work
			p.wake()
		}
	}
}

// work tells what there is. It returns false if the sender was replaced meanwhile.
func (p *Pool) work(s *sender) bool {
	if p.looking.CompareAndSwap(false, true) {
		p.timer.Reset(lookEvery)
	}
	for g := p.Queue.Take(); g != nil; g = p.Queue.Take() {
		s.since.Store(p.age.Load())
		p.tell(g)
		if s.since.Swap(0) == replaced {
			return false
		}
	}
	return true
}

// look replaces those that have told of one thing since the look before.
func (p *Pool) look() {
	age := p.age.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	for s := range p.all {
		if since := s.since.Load(); since > 0 && age-since > 1 && s.since.CompareAndSwap(since, replaced) {
			delete(p.all, s)
			p.add()
			p.working.Add(-1)
		}
	}
	if p.Queue.Waits() {
		for range p.most {
			p.wake()
		}
	}
	p.looking.Store(false)
	if p.working.Load() > 0 && p.looking.CompareAndSwap(false, true) {
		p.timer.Reset(lookEvery)
	}
}
