package wire

import "sync"

// Answers brings what is answered on a stream to who asked.
type Answers[T any] struct {
	mu    sync.Mutex
	refs  uint64
	asked map[uint64]chan T
}

// Ask returns a new reference, above 0, and where its answer will be. Who has
// stopped waiting drops it.
func (a *Answers[T]) Ask() (ref uint64, answer <-chan T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asked == nil {
		a.asked = map[uint64]chan T{}
	}
	a.refs++
	c := make(chan T, 1)
	a.asked[a.refs] = c
	return a.refs, c
}

// Drop forgets who asked.
func (a *Answers[T]) Drop(ref uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.asked, ref)
}

// Answer gives the answer to a reference to who asked, if anybody did.
func (a *Answers[T]) Answer(ref uint64, t T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.asked[ref]; c != nil {
		c <- t // it has room
		delete(a.asked, ref)
	}
}
