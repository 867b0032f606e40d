package load

import (
	"sync"

	"github.com/rollcall-registry/rollcall"
)

// Move notes where an instance is.
func (t *Table) Move(key rollcall.Key, p rollcall.Position) {
	for {
		i := t.Handle(key)
		if i.move(p) {
			i.of.changed()
			return
		}
	}
}

// move notes a position; false if the instance is gone.
func (i *Instance) move(p rollcall.Position) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.gone.Load() {
		return false
	}
	i.position, i.placed = p, true
	if !i.queued.Load() { // after the position: whoever takes it reads that later
		i.of.t.queue.push(i)
	}
	if i.of.t.o.Moved != nil {
		i.of.t.o.Moved(i.Key(), p)
	}
	return true
}

// unplace forgets where an instance has moved, and reports whether it had. The
// caller holds its lock.
func (i *Instance) unplace() bool {
	i.of.t.queue.remove(i)
	if !i.placed {
		return false
	}
	i.placed = false
	if i.of.t.o.Forgot != nil {
		i.of.t.o.Forgot(i.Key())
	}
	return true
}

// Position returns where an instance said it is since it was registered.
func (t *Table) Position(key rollcall.Key) (p rollcall.Position, ok bool) {
	i := t.lookup(key)
	if i == nil {
		return p, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.placed {
		return p, false
	}
	return i.position, true
}

// Moved takes up to n positions that are not in the log yet, those first that
// have waited longest.
func (t *Table) Moved(n int) map[rollcall.Key]rollcall.Position {
	is := t.queue.take(n)
	taken := make(map[rollcall.Key]rollcall.Position, len(is))
	for _, i := range is {
		i.mu.Lock()
		if i.placed {
			taken[i.Key()] = i.position
		}
		i.mu.Unlock()
	}
	return taken
}

// Logged says that p has reached the log as key's position, so that it need not be
// written any more. It stays laid over the log's all the same: somebody may still
// read a state of the log from before.
func (t *Table) Logged(key rollcall.Key, p rollcall.Position) {
	i := t.lookup(key)
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.placed && i.position == p {
		t.queue.remove(i)
	}
}

// Forget forgets where an instance has moved: its registration says where it is,
// and may say other things than before.
func (t *Table) Forget(key rollcall.Key) {
	i := t.lookup(key)
	if i == nil {
		return
	}
	i.asked.Store(false)
	i.mu.Lock()
	was := i.unplace()
	i.mu.Unlock()
	if was {
		i.of.changed()
	}
}

// queue has instances wait in order, each once. It is a list through the
// instances themselves, so that one leaves it from anywhere at once and what is
// gone is not held.
type queue struct {
	mu          sync.Mutex // guards what follows, and Instance.before, behind and queued
	first, last *Instance
}

func (q *queue) push(i *Instance) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i.queued.Load() {
		return
	}
	i.queued.Store(true)
	if i.before = q.last; q.last == nil {
		q.first = i
	} else {
		q.last.behind = i
	}
	q.last = i
}

func (q *queue) remove(i *Instance) {
	if !i.queued.Load() { // nobody queues it meanwhile: its lock is held
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i.queued.Load() {
		q.unlink(i)
	}
}

func (q *queue) unlink(i *Instance) {
	if i.before == nil {
		q.first = i.behind
	} else {
		i.before.behind = i.behind
	}
	if i.behind == nil {
		q.last = i.before
	} else {
		i.behind.before = i.before
	}
	i.before, i.behind = nil, nil
	i.queued.Store(false)
}

// take takes the first n out.
func (q *queue) take(n int) (is []*Instance) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.first != nil && len(is) < n {
		is = append(is, q.first)
		q.unlink(q.first)
	}
	return is
}
